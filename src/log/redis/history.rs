//! Which server answers, and whether it has the past that it had.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;

use crate::core::history::History;

/// The sections of `INFO` that tell it.
pub(super) const SECTIONS: [&str; 2] = ["server", "replication"];

/// The history that the two sections tell of: the process, and the past that it shares with its
/// replicas or its master. That is another one after it was made a replica of another server, or a
/// master again. Where Redis does not say so, a connection has a history of its own.
pub(super) fn of(sections: [Option<Bytes>; 2]) -> History {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
    let told = || {
        let [server, replication] = &sections;
        let process = line(server.as_deref()?, "run_id:")?;
        let past = line(replication.as_deref()?, "master_replid:")?;
        Some(format!("{process} {past}"))
    };
    let of_its_own = || format!("connection {}", CONNECTIONS.fetch_add(1, Relaxed));
    History::of(&told().unwrap_or_else(of_its_own))
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
        assert!(one.goes_on(told("run_id:a\r\n", "x:y\r\nmaster_replid:b\r\n")));
        assert!(!one.goes_on(told("run_id:c\r\n", "master_replid:b\r\n")));
        assert!(!one.goes_on(told("run_id:a\r\n", "master_replid:d\r\n")));
        for [one, other] in [[told("run_id:a\r\n", ""); 2], [told("", "master_replid:b"); 2]] {
            assert!(one.goes_on(other));
        }
        assert!(!of([None, None]).goes_on(of([None, None])));
    }
}
