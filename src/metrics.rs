//! What the server counts, and the Prometheus text of it.
//!
//! Each worker counts for itself, so that no counter is contended; a scrape adds them up.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::core::gap::GapReason;

/// Upper bounds of the histogram of an entry's age at delivery, in milliseconds.
const AGE_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 30_000, 300_000];

/// Close codes that are counted by name; others count as `other`.
const CLOSE_CODES: [u16; 11] = [1000, 1001, 1002, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4004];

/// All counters of a process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// By worker.
    pub workers: Box<[WorkerMetrics]>,
    /// Entries that the tails read.
    pub entries_read: AtomicU64,
    /// Reads by the tails.
    pub tail_reads: AtomicU64,
    /// Streams that Redis told of.
    pub hints: AtomicU64,
    /// Times that every stream was looked at.
    pub rescans: AtomicU64,
    /// Streams in which a sweep found what no hint had told of.
    pub sweep_finds: AtomicU64,
    /// Streams that were given to the lane, for their large entries.
    pub lane_streams: AtomicU64,
    /// Connections that the tails opened.
    pub redis_connects: AtomicU64,
    /// Resumes that were served from memory.
    pub replays_from_memory: AtomicU64,
    /// Resumes and lagging viewers that were served from a read of the log.
    pub replays_from_redis: AtomicU64,
    gaps: [AtomicU64; 3],
}

/// The counters of one worker, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerMetrics {
    /// Sockets that are open.
    pub sockets: AtomicU64,
    /// Viewers: sockets, or subscriptions where a socket has many.
    pub viewers: AtomicU64,
    /// Viewers that have not got everything, because their socket takes no more.
    pub lagging: AtomicU64,
    /// How far the last of them lags, in milliseconds of its topic's entries.
    pub lag_ms_max: AtomicU64,
    /// Attaches, resumes included.
    pub attaches: AtomicU64,
    /// Frames handed to sockets.
    pub frames_sent: AtomicU64,
    /// Bytes handed to sockets.
    pub bytes_sent: AtomicU64,
    /// Calls that handed something to a socket.
    pub sends: AtomicU64,
    /// Sends that the socket did not take whole.
    pub sends_blocked: AtomicU64,
    /// Pings sent.
    pub pings_sent: AtomicU64,
    /// Viewers that were dropped because they showed no sign of life.
    pub timeouts: AtomicU64,
    closes: [AtomicU64; CLOSE_CODES.len() + 1],
    ages: [AtomicU64; AGE_BOUNDS_MS.len() + 1],
    age_sum_ms: AtomicU64,
}

impl WorkerMetrics {
    /// A socket was closed with this code; 1006 where there was no Close frame.
    pub fn count_close(&self, code: u16) {
        let known = CLOSE_CODES.iter().position(|known| *known == code);
        add(&self.closes[known.unwrap_or(CLOSE_CODES.len())], 1);
    }

    /// An entry was delivered to that many viewers at this age.
    pub fn observe_age(&self, age_ms: u64, viewers: u64) {
        let bucket = AGE_BOUNDS_MS.partition_point(|bound| *bound < age_ms);
        add(&self.ages[bucket], viewers);
        add(&self.age_sum_ms, age_ms.saturating_mul(viewers));
    }
}

/// Adds to a counter that only one thread writes: no locked instruction is needed.
pub fn add(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(number), Relaxed);
}

/// Subtracts from such a counter.
pub fn subtract(counter: &AtomicU64, number: u64) {
    counter.store(counter.load(Relaxed).wrapping_sub(number), Relaxed);
}

/// Values that are not counted but looked up when they are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gauges {
    /// Topics.
    pub topics: usize,
    /// Bytes that all topics hold.
    pub topics_bytes: usize,
    /// Whether Redis is reached.
    pub redis_up: bool,
    /// How changes are learned of: `tracking`, `block` or `embedded`.
    pub mode: &'static str,
    /// Commands that the shared connection sent, and those that failed.
    pub redis_round_trips: u64,
    /// See `redis_round_trips`.
    pub redis_errors: u64,
    /// Reads of a task's state.
    pub state_reads: u64,
    /// Reads of a part of a stream.
    pub page_reads: u64,
}

impl Metrics {
    /// For that many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            workers: (0..workers).map(|_| WorkerMetrics::default()).collect(),
            ..Self::default()
        }
    }

    /// A gap was told to a viewer, or to all viewers of a topic at once.
    pub fn count_gap(&self, reason: GapReason) {
        self.gaps[reason as usize].fetch_add(1, Relaxed);
    }

    fn sum(&self, of: impl Fn(&WorkerMetrics) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| of(worker).load(Relaxed)).sum()
    }

    /// The Prometheus text format.
    pub fn render(&self, gauges: &Gauges) -> String {
        let mut out = Text(String::with_capacity(8192));
        out.gauge("viewers", "Viewers that are attached.", self.sum(|w| &w.viewers));
        out.gauge("sockets", "WebSocket connections that are open.", self.sum(|w| &w.sockets));
        out.gauge(
            "viewers_lagging",
            "Viewers that have not got everything.",
            self.sum(|w| &w.lagging),
        );
        let lag_ms = self.workers.iter().map(|worker| worker.lag_ms_max.load(Relaxed)).max();
        out.head("viewer_lag_seconds_max", "gauge", "How far the last viewer lags.");
        let lag = lag_ms.unwrap_or(0) as f64 / 1000.0;
        // Writing to a String does not fail, here and below.
        _ = writeln!(out.0, "taskcast_viewer_lag_seconds_max {lag}");
        out.gauge("topics", "Streams that are watched.", gauges.topics as u64);
        out.gauge(
            "topics_bytes",
            "Bytes of encoded entries held in memory.",
            gauges.topics_bytes as u64,
        );
        out.gauge("redis_up", "1 when every worker reaches Redis.", gauges.redis_up.into());
        out.counter("attaches_total", "Attaches, resumes included.", self.sum(|w| &w.attaches));
        out.counter("frames_sent_total", "Frames sent.", self.sum(|w| &w.frames_sent));
        out.counter("bytes_sent_total", "Bytes sent.", self.sum(|w| &w.bytes_sent));
        out.counter("sends_total", "Calls that sent something.", self.sum(|w| &w.sends));
        out.counter(
            "sends_blocked_total",
            "Sends that a socket did not take whole.",
            self.sum(|w| &w.sends_blocked),
        );
        out.counter("pings_sent_total", "Heartbeats sent.", self.sum(|w| &w.pings_sent));
        out.counter(
            "viewer_timeouts_total",
            "Viewers dropped without a sign of life.",
            self.sum(|w| &w.timeouts),
        );
        for (name, help, counter) in [
            ("entries_read_total", "Entries read from streams.", &self.entries_read),
            ("tail_reads_total", "Reads of what changed.", &self.tail_reads),
            ("hints_total", "Streams that Redis said had changed.", &self.hints),
            ("rescans_total", "Times every stream was looked at.", &self.rescans),
            ("lane_streams_total", "Streams given to the lane.", &self.lane_streams),
            ("sweep_finds_total", "Streams whose change no hint had told.", &self.sweep_finds),
            ("redis_connects_total", "Connections the tails opened.", &self.redis_connects),
            ("replays_from_memory_total", "Resumes from memory.", &self.replays_from_memory),
            ("replays_from_redis_total", "Replays read from the log.", &self.replays_from_redis),
        ] {
            out.counter(name, help, counter.load(Relaxed));
        }
        out.counter(
            "redis_round_trips_total",
            "Commands sent for state, pages and publishing.",
            gauges.redis_round_trips,
        );
        out.counter("redis_errors_total", "Those that failed.", gauges.redis_errors);
        out.counter("state_reads_total", "Reads of a task's state.", gauges.state_reads);
        out.counter("page_reads_total", "Reads of a part of a stream.", gauges.page_reads);
        out.head("gaps_total", "counter", "Gaps told, by reason.");
        for reason in [GapReason::Trimmed, GapReason::Deleted, GapReason::Reset] {
            let count = self.gaps[reason as usize].load(Relaxed);
            out.labelled("gaps_total", "reason", reason.as_str(), count);
        }
        out.head("closes_total", "counter", "Sockets closed, by code.");
        for (at, code) in CLOSE_CODES.iter().enumerate() {
            let count = self.sum(|w| &w.closes[at]);
            out.labelled("closes_total", "code", &code.to_string(), count);
        }
        let others = self.sum(|w| &w.closes[CLOSE_CODES.len()]);
        out.labelled("closes_total", "code", "other", others);
        out.head("tail_mode", "gauge", "How changes are learned of.");
        out.labelled("tail_mode", "mode", gauges.mode, 1);
        self.render_ages(&mut out);
        out.0
    }

    fn render_ages(&self, out: &mut Text) {
        out.head(
            "entry_age_seconds",
            "histogram",
            "Age of entries at delivery, by the clock of Redis.",
        );
        let mut count = 0;
        for (at, bound) in AGE_BOUNDS_MS.iter().enumerate() {
            count += self.sum(|w| &w.ages[at]);
            let bound = (*bound as f64 / 1000.0).to_string();
            out.labelled("entry_age_seconds_bucket", "le", &bound, count);
        }
        count += self.sum(|w| &w.ages[AGE_BOUNDS_MS.len()]);
        out.labelled("entry_age_seconds_bucket", "le", "+Inf", count);
        let sum = self.sum(|w| &w.age_sum_ms) as f64 / 1000.0;
        _ = writeln!(out.0, "taskcast_entry_age_seconds_sum {sum}");
        _ = writeln!(out.0, "taskcast_entry_age_seconds_count {count}");
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        _ = writeln!(self.0, "# HELP taskcast_{name} {help}\n# TYPE taskcast_{name} {kind}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        _ = writeln!(self.0, "taskcast_{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        _ = writeln!(self.0, "taskcast_{name} {value}");
    }

    fn labelled(&mut self, name: &str, label: &str, value: &str, number: u64) {
        _ = writeln!(self.0, "taskcast_{name}{{{label}=\"{value}\"}} {number}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_histogram_is_cumulative() {
        let metrics = Metrics::new(2);
        metrics.workers[0].observe_age(1, 10);
        metrics.workers[1].observe_age(30, 5);
        metrics.workers[1].observe_age(1_000_000, 1);
        let text = metrics.render(&Gauges::default());
        assert!(text.contains("taskcast_entry_age_seconds_bucket{le=\"0.001\"} 10\n"), "{text}");
        assert!(text.contains("taskcast_entry_age_seconds_bucket{le=\"0.05\"} 15\n"), "{text}");
        assert!(text.contains("taskcast_entry_age_seconds_bucket{le=\"+Inf\"} 16\n"), "{text}");
        assert!(text.contains("taskcast_entry_age_seconds_count 16\n"), "{text}");
    }

    #[test]
    fn closes_are_counted_by_code() {
        let metrics = Metrics::new(1);
        metrics.workers[0].count_close(1012);
        metrics.workers[0].count_close(4999);
        let text = metrics.render(&Gauges::default());
        assert!(text.contains("taskcast_closes_total{code=\"1012\"} 1\n"), "{text}");
        assert!(text.contains("taskcast_closes_total{code=\"other\"} 1\n"), "{text}");
    }
}
