//! Revocations in the log: a stream of their own, which every server reads (protocol §5).

use std::sync::Arc;

use parking_lot::Mutex;

use crate::clock;
use crate::core::access::{Revocation, Revoked};
use crate::id::{Keys, StreamId};

/// The members of an entry.
const SUBJECT: &str = "subject";
const TOKEN_ID: &str = "token_id";
/// In seconds since the Unix epoch.
const ISSUED_BEFORE: &str = "issued_before";

/// The longest subject or id of a token that can be revoked, in bytes.
pub(crate) const NAME_BYTES_MAX: usize = 1_024;
/// The most that the embedded log keeps; the oldest go first.
const EMBEDDED_MAX: usize = 10_000;

/// The key of the stream.
pub(super) fn key(keys: &Keys) -> String {
    format!("{}:taskcast:revocations", keys.prefix())
}

/// A revocation as an entry has it.
pub(super) fn fields(revocation: &Revocation) -> Vec<(&'static str, String)> {
    let of = match &revocation.of {
        Revoked::Subject(subject) => (SUBJECT, subject.to_string()),
        Revoked::Token(id) => (TOKEN_ID, id.to_string()),
    };
    let before = revocation.issued_before_ms.map(|ms| (ISSUED_BEFORE, (ms / 1000).to_string()));
    std::iter::once(of).chain(before).collect()
}

/// What an entry says; none where it is no revocation.
pub(super) fn of_fields<'a>(
    fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
) -> Option<Revocation> {
    let (mut of, mut issued_before_ms) = (None, None);
    for (name, value) in fields {
        let text = std::str::from_utf8(value).ok().filter(|text| text.len() <= NAME_BYTES_MAX);
        match std::str::from_utf8(name) {
            Ok(SUBJECT) => of = Some(Revoked::Subject(Arc::from(text?))),
            Ok(TOKEN_ID) => of = Some(Revoked::Token(Arc::from(text?))),
            // What cannot be read takes all back.
            Ok(ISSUED_BEFORE) => {
                let seconds = text.and_then(|text| text.parse::<u64>().ok());
                issued_before_ms = seconds.map(|seconds| seconds.saturating_mul(1000));
            }
            _ => {}
        }
    }
    Some(Revocation { of: of?, issued_before_ms })
}

/// Those of the embedded log.
#[derive(Default)]
pub(super) struct HeldRevocations(Mutex<Vec<(StreamId, Revocation)>>);

impl HeldRevocations {
    pub(super) fn add(&self, revocation: Revocation) {
        let mut held = self.0.lock();
        let now = StreamId { ms: clock::now_ms(), seq: 0 };
        let id = held.last().map_or(now, |(last, _)| now.max(last.successor()));
        if held.len() == EMBEDDED_MAX {
            held.remove(0);
        }
        held.push((id, revocation));
    }

    pub(super) fn after(
        &self,
        position: StreamId,
        max: u64,
    ) -> Vec<(StreamId, Option<Revocation>)> {
        let held = self.0.lock();
        let first = held.partition_point(|(id, _)| *id <= position);
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        held[first..].iter().take(max).map(|(id, it)| (*id, Some(it.clone()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for revocation in [
            Revocation { of: Revoked::Subject("ada".into()), issued_before_ms: Some(5_000) },
            Revocation { of: Revoked::Token("1".into()), issued_before_ms: None },
        ] {
            let fields = fields(&revocation);
            let bytes = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert_eq!(of_fields(bytes), Some(revocation));
        }
        for (fields, revoked) in [
            (&[("x", "y")][..], None),
            (&[("subject", "ada"), ("x", &"y".repeat(5_000))], Some(None)),
            (&[], None),
            (&[("subject", "ada"), ("issued_before", "soon")], Some(None)),
            (
                &[("subject", "ada"), ("issued_before", "18446744073709551615")],
                Some(Some(u64::MAX)),
            ),
        ] {
            let bytes = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            let read = of_fields(bytes).map(|revocation| revocation.issued_before_ms);
            assert_eq!(read, revoked, "{fields:?}");
        }
    }
}
