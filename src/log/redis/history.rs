//! Which server answers, and whether it has the past that it had.

use bytes::Bytes;

use crate::core::history::History;

/// The sections of `INFO` that tell it.
pub(super) const SECTIONS: [&str; 2] = ["server", "replication"];

/// The history that the two sections tell of: the process, and the past that it shares with its
/// replicas or its master. That is another one after it was made a replica of another server, or a
/// master again. None where Redis does not say so.
pub(super) fn of(sections: [Option<Bytes>; 2]) -> Option<History> {
    let [server, replication] = &sections;
    let process = line(server.as_deref()?, "run_id:")?;
    let past = line(replication.as_deref()?, "master_replid:")?;
    Some(History::of(&format!("{process} {past}")))
}

/// Where Redis does not say which server it is, all of its connections are taken to be to the same
/// one, as long as the tail's lasts.
pub(in crate::log) fn unknown() -> History {
    History::of("")
}

fn line<'a>(text: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(text).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_a_process_and_its_past() {
        let told = |server: &'static str, replication: &'static str| {
            of([Some(server.into()), Some(replication.into())])
        };
        let one = told("# Server\r\nrun_id:a\r\n", "role:master\r\nmaster_replid:b\r\n");
        assert!(one.is_some());
        assert_eq!(one, told("run_id:a\r\n", "x:y\r\nmaster_replid:b\r\n"));
        assert_ne!(one, told("run_id:c\r\n", "master_replid:b\r\n"));
        assert_ne!(one, told("run_id:a\r\n", "master_replid:d\r\n"));
        for odd in [told("run_id:a\r\n", ""), told("", "master_replid:b"), of([None, None])] {
            assert_eq!(odd, None);
        }
    }
}
