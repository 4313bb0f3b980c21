//! Signed links: tokens that this server makes itself, each to watch one task for a while (protocol §5).
//!
//! A token is `link.`, what is signed in base64url, and the signature: when it ends, which token it is, and the
//! task, as `SOURCE:ID`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ulid::Ulid;

use super::Refused;
use crate::clock;
use crate::config::{AccessTable, Secret};
use crate::core::access::{Grants, Identity, Pass};
use crate::core::source::AGENT;
use crate::id::ThreadId;

/// What a token begins with. No other kind of token does: a JSON Web Token begins with an object.
const PREFIX: &str = "link.";
/// What is signed begins with the form that it has, so that a signature is of nothing else.
const FORM: &[u8] = b"taskcast link 1\n";
/// Behind the form: the end in milliseconds, and the token's id.
const FIXED_BYTES: usize = 8 + 16;

/// What signs links, and what their signatures are checked with.
pub(crate) struct Links {
    key: hmac::Key,
    /// The one that signed before.
    previous: Option<hmac::Key>,
}

/// A link that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    /// The token.
    pub(crate) token: String,
    /// What it is known by where it is revoked.
    pub(crate) id: String,
}

impl Links {
    /// None where nothing is configured to sign them.
    pub(crate) fn of(table: &AccessTable) -> Option<Self> {
        let key = |secret: &Secret| hmac::Key::new(hmac::HMAC_SHA256, &secret.0);
        let previous = table.secret_previous.as_ref().map(key);
        table.secret.as_ref().map(|secret| Self { key: key(secret), previous })
    }

    /// A token to watch a task for so long.
    pub(crate) fn make(&self, thread: &ThreadId, lasts: Duration) -> Link {
        let (now_ms, lasts_ms) = (clock::now_ms(), u64::try_from(lasts.as_millis()));
        let ends_ms = now_ms.saturating_add(lasts_ms.unwrap_or(u64::MAX));
        let id = Ulid::from_parts(now_ms, rand::random());
        let mut signed = FORM.to_vec();
        signed.extend(ends_ms.to_be_bytes());
        signed.extend(id.to_bytes());
        let source = thread.source_name().unwrap_or(AGENT);
        signed.extend_from_slice(format!("{source}:{}", thread.as_str()).as_bytes());
        let signature = hmac::sign(&self.key, &signed);
        let [content, signature] =
            [&signed[FORM.len()..], signature.as_ref()].map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        Link { token: format!("{PREFIX}{content}.{signature}"), id: id.to_string() }
    }

    /// What a token grants; none where it is none of a link.
    pub(super) fn pass_of(&self, token: &str, now_ms: u64) -> Option<Result<Pass, Refused>> {
        let (content, signature) = token.strip_prefix(PREFIX)?.split_once('.')?;
        let not_ours = Refused::Invalid("no secret that is configured has signed this link");
        let pass = self.checked(content, signature).ok_or(not_ours);
        Some(pass.and_then(|pass| match pass.ends_ms {
            Some(ends_ms) if ends_ms > now_ms => Ok(pass),
            _ => Err(Refused::Expired),
        }))
    }

    fn checked(&self, content: &str, signature: &str) -> Option<Pass> {
        let content = URL_SAFE_NO_PAD.decode(content).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let signed = [FORM, &content].concat();
        let keys = [Some(&self.key), self.previous.as_ref()];
        let mut keys = keys.into_iter().flatten();
        if !keys.any(|key| hmac::verify(key, &signed, &signature).is_ok()) {
            return None;
        }
        let (fixed, task) = content.split_at_checked(FIXED_BYTES)?;
        let (ends_ms, id) = fixed.split_at_checked(8)?;
        let (source, task) = std::str::from_utf8(task).ok()?.split_once(':')?;
        let id = Ulid::from_bytes(id.try_into().ok()?);
        Some(Pass {
            grants: Grants::to_watch(Some(source), task),
            ends_ms: Some(u64::from_be_bytes(ends_ms.try_into().ok()?)),
            identities: vec![Identity {
                subject: None,
                token_id: Some(id.to_string().into()),
                issued_ms: Some(id.timestamp_ms()),
            }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::access::Verb;

    fn links(secret: &str, previous: Option<&str>) -> Links {
        let secret_of = |text: &str| Secret(text.as_bytes().to_vec());
        let (secret, secret_previous) = (Some(secret_of(secret)), previous.map(secret_of));
        Links::of(&AccessTable { secret, secret_previous, ..AccessTable::default() }).unwrap()
    }

    #[test]
    fn a_link_lets_one_task_be_watched_until_it_ends() {
        let (links, task) = (links("s", None), "t1".parse().unwrap());
        let link = links.make(&task, Duration::from_secs(60));
        let now_ms = clock::now_ms();
        let pass = links.pass_of(&link.token, now_ms).unwrap().unwrap();
        assert!(pass.may(Verb::Watch, &task) && !pass.may(Verb::Publish, &task));
        assert!(!pass.may(Verb::Watch, &"t12".parse().unwrap()));
        assert_eq!(pass.identities[0].token_id.as_deref(), Some(&*link.id));
        assert!(pass.identities[0].issued_ms.is_some_and(|issued| issued <= now_ms));
        let later = links.pass_of(&link.token, now_ms + 61_000);
        assert_eq!(later, Some(Err(Refused::Expired)));
    }

    #[test]
    fn what_another_secret_signed_is_refused_but_for_the_one_before() {
        let task = "t1".parse().unwrap();
        let link = links("old", None).make(&task, Duration::from_secs(60)).token;
        let now_ms = clock::now_ms();
        let is_good = |links: Links, token: &str| links.pass_of(token, now_ms).unwrap().is_ok();
        assert!(is_good(links("new", Some("old")), &link));
        assert!(!is_good(links("new", None), &link));
        assert!(!is_good(links("new", Some("older")), &link));
        let ours = || links("old", None);
        let mut spoilt: Vec<String> = (PREFIX.len()..link.len())
            .map(|at| {
                let mut bytes = link.clone().into_bytes();
                bytes[at] ^= 1;
                String::from_utf8(bytes).unwrap()
            })
            // The last character of each part has bits that say nothing; those must be 0.
            .filter(|token| *token != link)
            .collect();
        spoilt.extend(["link..", "link.a.b", "link.YQ.", "link.."].map(str::to_owned));
        for token in spoilt {
            let pass = ours().pass_of(&token, now_ms);
            assert!(pass.is_none_or(|pass| pass.is_err()), "{token}");
        }
        assert_eq!(ours().pass_of("eyJhbGciOiJub25lIn0.e30.", now_ms), None);
    }
}
