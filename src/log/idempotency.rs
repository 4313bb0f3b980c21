//! Which publication is which: the key that a publisher gives it, and what follows from that.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{Context, SHA256};

/// The longest key, in bytes (protocol §4).
const KEY_BYTES_MAX: usize = 255;
/// A publisher may come again with a key of its own for so long.
const GIVEN_KEY_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// And with one of ours.
const OWN_KEY_LIFETIME: Duration = Duration::from_secs(60);

/// What a publisher calls one thing that is to be done once, however often it is asked for: 1 to
/// 255 visible ASCII characters. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    text: Arc<str>,
    is_own: bool,
}

impl IdempotencyKey {
    /// A key that nobody has used, for a publication that came without one. The log knows it for
    /// 60 s, and one that was given for a day.
    pub fn unique() -> Self {
        Self { text: ulid::Ulid::generate().to_string().into(), is_own: true }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl FromStr for IdempotencyKey {
    type Err = InvalidIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, InvalidIdempotencyKey> {
        let well_formed = (1..=KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !well_formed {
            return Err(InvalidIdempotencyKey);
        }
        Ok(Self { text: text.into(), is_own: false })
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The text is no idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidIdempotencyKey;

impl fmt::Display for InvalidIdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an idempotency key is 1 to {KEY_BYTES_MAX} visible ASCII characters")
    }
}

impl std::error::Error for InvalidIdempotencyKey {}

/// The id of a publication. Of those with the same path and key the first is done, and the others
/// are answered as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicationId {
    key: IdempotencyKey,
    name: Digest,
    content: Digest,
}

impl PublicationId {
    /// The id of what is published under this key. `path` says what is done to what: the same key on
    /// another path is another id. `content` is what is published there.
    pub fn new(key: IdempotencyKey, path: &[&str], content: &[impl AsRef<str>]) -> Self {
        let name = Digest::of(path.iter().copied().chain([key.as_str()]));
        Self { name, content: Digest::of(content.iter().map(AsRef::as_ref)), key }
    }

    /// Its key.
    pub fn key(&self) -> &IdempotencyKey {
        &self.key
    }

    /// Under what it is remembered: path and key.
    pub(super) fn name(&self) -> Digest {
        self.name
    }

    /// What is published.
    pub(super) fn content(&self) -> Digest {
        self.content
    }

    /// Whether its key is of our making, for repeats of our own.
    pub(super) fn is_own(&self) -> bool {
        self.key.is_own
    }

    /// How long it has to be remembered after it was answered.
    pub(super) fn lifetime(&self) -> Duration {
        if self.is_own() { OWN_KEY_LIFETIME } else { GIVEN_KEY_LIFETIME }
    }
}

impl Default for PublicationId {
    /// The id of a publication like no other.
    fn default() -> Self {
        Self::new(IdempotencyKey::unique(), &[], &[""])
    }
}

/// Stands for texts of any length. Half of SHA-256 is enough: who makes two that are equal deceives
/// nobody but himself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Digest([u8; 16]);

impl Digest {
    fn of<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut context = Context::new(&SHA256);
        for text in texts {
            // The length first: "ab", "c" are other texts than "a", "bc".
            context.update(&(text.len() as u64).to_le_bytes());
            context.update(text.as_bytes());
        }
        let mut half = [0; 16];
        half.iter_mut().zip(context.finish().as_ref()).for_each(|(to, from)| *to = *from);
        Self(half)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> IdempotencyKey {
        text.parse().unwrap()
    }

    #[test]
    fn a_key_is_1_to_255_visible_ascii_characters() {
        for text in ["a", "!~\"{}", &"x".repeat(255), IdempotencyKey::unique().as_str()] {
            assert_eq!(key(text).to_string(), text);
        }
        for text in ["", " ", "a b", "a\t", "é", "a\u{7f}", &"x".repeat(256)] {
            assert_eq!(text.parse::<IdempotencyKey>(), Err(InvalidIdempotencyKey), "{text:?}");
        }
    }

    #[test]
    fn an_id_is_known_by_its_path_and_key_and_by_nothing_else() {
        let id = |path: &[&str], text: &str| PublicationId::new(key(text), path, &["c"]).name();
        let one = id(&["status", "t"], "k");
        assert_eq!(one, PublicationId::new(key("k"), &["status", "t"], &["other"]).name());
        for other in [
            id(&["status", "u"], "k"),
            id(&["result", "t"], "k"),
            id(&["status", "t"], "l"),
            id(&["statust"], "k"),
            id(&["status"], "tk"),
            PublicationId::default().name(),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn a_digest_is_the_first_half_of_sha_256() {
        // Of the length of nothing: eight zeros.
        let digest = Digest::of([""].into_iter());
        assert_eq!(digest.to_string(), "af5570f5a1810b7af78caf4bc70a660f");
    }

    #[test]
    fn what_is_given_is_remembered_for_a_day_and_what_is_ours_for_a_minute() {
        let given = PublicationId::new(key("k"), &[], &["c"]);
        assert_eq!((given.lifetime().as_secs(), given.is_own()), (86_400, false));
        let own = PublicationId::default();
        assert_eq!((own.lifetime().as_secs(), own.is_own()), (60, true));
    }
}
