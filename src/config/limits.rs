//! Every limit of the server, in one place: its unit is the last part of its name.
//!
//! The table below is the only list. It makes the struct, the defaults, the ranges that
//! configuration is checked against, and the comments of `--print-config`.

use std::time::Duration;

use super::form::{Form, Whole};
use super::table::{Row, settings};

/// The greatest value of a limit in bytes: 1 TiB.
const BYTES_MAX: u64 = 1 << 40;
/// The greatest value of a limit in milliseconds: a day. Keeps sums of times far from overflow.
const MILLISECONDS_MAX: u64 = 86_400_000;
/// The greatest value of a limit in seconds: ten years.
const SECONDS_MAX: u64 = 315_360_000;
/// The greatest value of any other limit, which counts things.
const COUNT_MAX: u64 = 1_000_000_000;

macro_rules! limits {
    (
        $($(#[doc = $about:literal])+ $name:ident: $type:ty = $default:literal, min $min:literal;)+
    ) => {
        settings! {
            /// The limits. One that is read from configuration is in its range and fits the others.
            struct Limits;
            $(
                $(#[doc = $about])+
                $name: $type = $default, Whole::<$type>::new($min, greatest(stringify!($name)));
            )+
            beside {}
        }
    };
}

limits! {
    /// All memory that grows with what viewers, HTTP clients or Redis send.
    memory_bytes_max: usize = 536_870_912, min 1_048_576;
    /// Where three quarters of memory_bytes_max are held, a WebSocket that took no byte for so long
    /// is closed with 1013. An HTTP client that takes none of its response for so long is cut.
    stall_timeout_ms: u64 = 30_000, min 100;
    /// Bytes that the kernel keeps unsent for one socket; what is under way is not counted.
    unsent_bytes_max: usize = 131_072, min 4_096;
    /// HTTP connections that have sent a head; one more is answered 503.
    http_connections_max: usize = 4_096, min 1;

    /// The longest message that a viewer may send; a longer one closes it with 1009.
    message_bytes_max: usize = 65_536, min 512;
    /// The longest body of an HTTP request, but never more than a quarter of memory_bytes_max; a longer one is answered 413.
    body_bytes_max: usize = 1_048_576, min 1_024;
    /// The longest head of an HTTP request.
    header_bytes_max: usize = 16_384, min 8_192;
    /// How long a client may take to send the head of a request.
    handshake_timeout_ms: u64 = 10_000, min 1;
    /// How long a client may take to send the body of a request.
    body_timeout_ms: u64 = 30_000, min 1;

    /// Time between two Pings to the same viewer.
    ping_interval_ms: u64 = 30_000, min 10;
    /// A viewer that shows no sign of life for so long is dropped; more than ping_interval_ms.
    viewer_timeout_ms: u64 = 40_000, min 10;
    /// How long a viewer may take to answer a Close.
    close_timeout_ms: u64 = 5_000, min 1;

    /// Entries that a stream is cut to, about, by what we publish ourselves.
    stream_length_max: u64 = 10_000, min 1;
    /// How long state and stream live after the last change that we publish ourselves.
    expiry_seconds: u64 = 86_400, min 1;

    /// Chunks that one topic holds beside what was read last; a viewer that lags behind them reads from
    /// the log.
    topic_bytes_max: usize = 1_048_576, min 1_024;
    /// How long a topic without viewers is kept, so that who comes back finds it.
    topic_linger_ms: u64 = 10_000, min 0;

    /// Entries in one read of the log. At least 2, as a page begins with an entry already sent.
    page_entries_max: u64 = 500, min 2;
    /// Bytes that one read of what is new asks Redis for, about; a greater entry is read alone.
    tail_read_bytes_max: usize = 8_388_608, min 65_536;
    /// Bytes in one read of the log, about; a greater entry is read whole.
    page_bytes_max: usize = 1_048_576, min 1_024;

    /// Tasks that one socket of `/api/v1/ws` may subscribe to.
    socket_subscriptions_max: usize = 1_000, min 1;
    /// A viewer that lags by more entries is closed with 1008; 0: never.
    viewer_lag_max_entries: u64 = 0, min 0;

    /// Connections that one address may have at a time, WebSockets among them; 0: any number. An IPv6
    /// network of 64 bits is one address.
    address_connections_max: u32 = 0, min 0;
    /// WebSockets that one address may open a second, as many at once; 0: any number.
    address_attaches_per_second_max: u32 = 0, min 0;
    /// Publications of one address a second, as many at once; 0: any number.
    address_publications_per_second_max: u32 = 0, min 0;
    /// WebSockets that one subject of a token may have at a time; 0: any number.
    subject_connections_max: u32 = 0, min 0;
    /// WebSockets that one subject may open a second, as many at once; 0: any number.
    subject_attaches_per_second_max: u32 = 0, min 0;
    /// Publications of one subject a second, as many at once; 0: any number.
    subject_publications_per_second_max: u32 = 0, min 0;

    /// How long an attach may wait for Redis before it is closed with 1013.
    attach_timeout_ms: u64 = 10_000, min 1;
    /// How long connecting to Redis may take.
    redis_connect_timeout_ms: u64 = 2_000, min 1;
    /// How long Redis may take to answer.
    redis_response_timeout_ms: u64 = 5_000, min 1;
    /// The first delay before reconnecting to Redis; it doubles, with jitter.
    reconnect_min_ms: u64 = 50, min 1;
    /// The longest delay before reconnecting to Redis.
    reconnect_max_ms: u64 = 5_000, min 1;
    /// Every watched stream is compared with Redis once in so long, whatever hints said.
    sweep_interval_ms: u64 = 60_000, min 100;

    /// Tasks that the embedded log keeps; the oldest go first.
    embedded_tasks_max: usize = 10_000, min 1;
    /// Bytes that the embedded log keeps; the oldest tasks go first.
    embedded_bytes_max: usize = 268_435_456, min 1_024;
}

macro_rules! durations {
    ($($name:ident: $limit:ident;)+) => {
        impl Limits {
            $(
                #[doc = concat!("[`Self::", stringify!($limit), "`] as a duration.")]
                pub fn $name(&self) -> Duration {
                    Duration::from_millis(self.$limit)
                }
            )+
        }
    };
}

durations! {
    stall_timeout: stall_timeout_ms;
    handshake_timeout: handshake_timeout_ms;
    body_timeout: body_timeout_ms;
    attach_timeout: attach_timeout_ms;
    redis_connect_timeout: redis_connect_timeout_ms;
    redis_response_timeout: redis_response_timeout_ms;
    reconnect_min: reconnect_min_ms;
    reconnect_max: reconnect_max_ms;
    sweep_interval: sweep_interval_ms;
}

impl Limits {
    /// An answer of Redis with more bytes, about, is not read on a worker's thread: a page and as
    /// much again of state.
    pub fn answer_bytes_max(&self) -> usize {
        2 * self.page_bytes_max
    }
}

/// What has to hold between two limits.
pub(super) struct Relation {
    pub(super) smaller: &'static str,
    pub(super) greater: &'static str,
    pub(super) holds: bool,
    pub(super) must_be: &'static str,
}

impl Limits {
    /// How the limits have to relate to each other.
    pub(super) fn relations(&self) -> [Relation; 3] {
        [
            // A viewer shows a sign of life once per Ping: it must get one before it is given up.
            Relation {
                smaller: "ping_interval_ms",
                greater: "viewer_timeout_ms",
                holds: self.ping_interval_ms < self.viewer_timeout_ms,
                must_be: "less than",
            },
            Relation {
                smaller: "reconnect_min_ms",
                greater: "reconnect_max_ms",
                holds: self.reconnect_min_ms <= self.reconnect_max_ms,
                must_be: "at most",
            },
            // What HTTP accepts, the embedded log must be able to keep.
            Relation {
                smaller: "body_bytes_max",
                greater: "embedded_bytes_max",
                holds: self.body_bytes_max <= self.embedded_bytes_max,
                must_be: "at most",
            },
        ]
    }
}

/// The greatest value that a limit may have, by the unit in its name.
fn greatest(name: &str) -> u64 {
    if name.contains("_bytes_") {
        BYTES_MAX
    } else if name.ends_with("_ms") {
        MILLISECONDS_MAX
    } else if name.ends_with("_seconds") {
        SECONDS_MAX
    } else {
        COUNT_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::layers::Raw;

    #[test]
    fn defaults_are_in_range_and_fit_each_other() {
        let defaults = Limits::default();
        let mut read = Limits::default();
        for row in Limits::ROWS {
            (row.set)(&mut read, &Raw::One((row.show)(&defaults).to_string())).unwrap();
        }
        assert_eq!(read, defaults);
        assert!(defaults.relations().iter().all(|relation| relation.holds));
    }

    #[test]
    fn relations_name_limits() {
        for relation in Limits::default().relations() {
            for name in [relation.smaller, relation.greater] {
                assert!(Limits::ROWS.iter().any(|row| row.name == name), "{name}");
            }
        }
    }
}
