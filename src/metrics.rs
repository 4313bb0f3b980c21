//! What the server counts: one table of every metric, and the Prometheus text and the page of
//! documentation that follow from it.
//!
//! Each worker counts for itself, so that no counter is contended; a scrape adds them up.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::core::account::{Account, Kind as Held};
use crate::core::gap::GapReason;

/// Upper bounds of the histogram of an entry's age at delivery, in milliseconds.
const AGE_BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000, 30_000, 300_000];

/// Close codes that are counted by name; others count as `other`.
const CLOSE_CODES: [u16; 13] =
    [1000, 1001, 1002, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4001, 4003, 4004];

/// What comes of questions to the application, in the order of their numbers.
const OUTCOMES: [&str; 3] = ["allowed", "refused", "unanswered"];

/// The reasons of gaps, in the order of their numbers.
const GAP_REASONS: [GapReason; 3] = [GapReason::Trimmed, GapReason::Deleted, GapReason::Reset];

/// One metric. Its name in the text has `taskcast_` before it.
struct Metric {
    name: &'static str,
    /// As Prometheus calls it.
    kind: &'static str,
    /// What tells its samples apart, where it has several.
    label: &'static str,
    help: &'static str,
    /// Where its samples come from.
    samples: fn(&Scrape<'_>, &mut Samples<'_>),
}

/// What samples are made of.
struct Scrape<'a> {
    metrics: &'a Metrics,
    gauges: &'a Gauges,
}

/// Adding a metric that is one number is one line: its kind, its field, its name and what it is.
macro_rules! metrics {
    (
        workers { $($worker_kind:ident $worker:ident = $worker_name:literal, $worker_help:literal;)+ }
        process { $($kind:ident $field:ident = $name:literal, $help:literal;)+ }
        looked_up { $($gauge_kind:ident $gauge:ident = $gauge_name:literal, $gauge_help:literal;)+ }
    ) => {
        /// The counters of one worker, on cache lines of its own.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct WorkerMetrics {
            $(#[doc = $worker_help] pub $worker: AtomicU64,)+
            /// How far the last of those who lag is behind, in milliseconds of its topic's entries.
            pub lag_ms_max: AtomicU64,
            closes: [AtomicU64; CLOSE_CODES.len() + 1],
            ages: [AtomicU64; AGE_BOUNDS_MS.len() + 1],
            age_sum_ms: AtomicU64,
        }

        /// All counters of a process.
        #[derive(Debug, Default)]
        pub struct Metrics {
            /// By worker.
            pub workers: Box<[WorkerMetrics]>,
            $(#[doc = $help] pub $field: AtomicU64,)+
            gaps: [AtomicU64; GAP_REASONS.len()],
        }

        /// Values that are not counted here but looked up when they are asked for.
        #[derive(Debug, Clone)]
        pub struct Gauges {
            $(#[doc = $gauge_help] pub $gauge: u64,)+
            /// How changes are learned of: `tracking`, `block` or `embedded`.
            pub mode: &'static str,
            /// What is held.
            pub account: Account,
            /// Viewers of each source, where there are others than the agent's.
            pub source_viewers: Vec<(String, u64)>,
            /// Questions to the application, by what came of them.
            pub questions: [u64; OUTCOMES.len()],
        }

        impl Gauges {
            /// All of them 0 but these.
            pub fn new(mode: &'static str, account: Account) -> Self {
                let (source_viewers, questions) = (Vec::new(), [0; OUTCOMES.len()]);
                Self { $($gauge: 0,)+ mode, account, source_viewers, questions }
            }
        }

        /// The metrics that are one number each.
        const NUMBERS: &[Metric] = &[
            $(Metric {
                name: $worker_name,
                kind: stringify!($worker_kind),
                label: "",
                help: $worker_help,
                samples: |scrape, out| out.one(scrape.metrics.sum(|worker| &worker.$worker)),
            },)+
            $(Metric {
                name: $gauge_name,
                kind: stringify!($gauge_kind),
                label: "",
                help: $gauge_help,
                samples: |scrape, out| out.one(scrape.gauges.$gauge),
            },)+
            $(Metric {
                name: $name,
                kind: stringify!($kind),
                label: "",
                help: $help,
                samples: |scrape, out| out.one(scrape.metrics.$field.load(Relaxed)),
            },)+
        ];
    };
}

metrics! {
    workers {
        gauge viewers = "viewers", "Viewers that are attached; each task of a socket with many counts.";
        gauge sockets = "sockets", "WebSocket connections that are open.";
        gauge lagging = "viewers_lagging", "Viewers that have not got everything, because their socket takes no more.";
        counter attaches = "attaches_total", "Attaches, resumes included.";
        counter frames_sent = "frames_sent_total", "Frames handed to sockets.";
        counter bytes_sent = "bytes_sent_total", "Bytes handed to sockets.";
        counter sends = "sends_total", "Calls that handed something to a socket.";
        counter sends_blocked = "sends_blocked_total", "Sends that a socket did not take whole.";
        counter pings_sent = "pings_sent_total", "Heartbeats sent.";
        counter timeouts = "viewer_timeouts_total", "Viewers dropped without a sign of life.";
    }
    process {
        counter entries_read = "entries_read_total", "Entries read from streams.";
        counter entries_skipped = "entries_skipped_total", "Those of them that their source has skipped.";
        counter tail_reads = "tail_reads_total", "Reads of what changed.";
        counter hints = "hints_total", "Streams that Redis said had changed.";
        counter rescans = "rescans_total", "Looks at every stream, after a reconnect.";
        counter sweep_finds = "sweep_finds_total", "Streams in which a sweep found what no hint had told of.";
        counter lane_streams = "lane_streams_total", "Streams given to the lane because of a large entry.";
        counter redis_connects = "redis_connects_total", "Connections opened to read streams.";
        counter replays_from_memory = "replays_from_memory_total", "Resumes from memory.";
        counter replays_from_redis = "replays_from_redis_total", "Resumes and lagging viewers served from a read of the log.";
    }
    looked_up {
        gauge topics = "topics", "Streams that are watched.";
        gauge topics_bytes = "topics_bytes", "Bytes of recent updates held in memory.";
        gauge memory_bytes_max = "memory_bytes_max", "What all kinds of taskcast_memory_bytes may come to together.";
        counter memory_refused = "memory_refused_total", "Requests answered 503 and viewers closed with 1013 because memory_bytes_max was reached.";
        gauge redis_up = "redis_up", "1 when every worker reaches Redis.";
        counter redis_round_trips = "redis_round_trips_total", "Commands for state, pages and publishing.";
        counter redis_errors = "redis_errors_total", "Those of them that failed, but for what is asked again and what the one who asked got wrong.";
        counter state_reads = "state_reads_total", "Reads of a task's state.";
        counter page_reads = "page_reads_total", "Reads of a part of a stream.";
        gauge access_questions_waiting = "access_questions_waiting", "Questions to the application of access.ask that are under way or wait for their turn.";
        counter access_answers_reused = "access_answers_reused_total", "Answers of the application that were there already, or came to an equal question.";
        counter tls_handshakes = "tls_handshakes_total", "TLS handshakes that were done, resumed ones included.";
        counter tls_handshakes_failed = "tls_handshakes_failed_total", "Connections that did not come to the end of their TLS handshake.";
        gauge tls_certificate_ends = "tls_certificate_ends_seconds", "When the certificate ends, in seconds since the Unix epoch; 0 without TLS.";
        counter panics = "panics_total", "Times a part of the server panicked.";
        counter log_lines_dropped = "log_lines_dropped_total", "Lines of the server's own log that could not be written.";
    }
}

/// The metrics that are more than one number.
const FAMILIES: &[Metric] = &[
    Metric {
        name: "viewer_lag_seconds_max",
        kind: "gauge",
        label: "",
        help: "How far the last viewer is behind its topic, in seconds of the entries' times.",
        samples: |scrape, out| {
            let workers = scrape.metrics.workers.iter();
            let lag_ms = workers.map(|worker| worker.lag_ms_max.load(Relaxed)).max();
            out.one(seconds(lag_ms.unwrap_or(0)));
        },
    },
    Metric {
        name: "source_viewers",
        kind: "gauge",
        label: "source",
        help: "Viewers of each source, where sources are configured; sre is the agent's.",
        samples: |scrape, out| {
            for (source, viewers) in &scrape.gauges.source_viewers {
                out.of(source, viewers);
            }
        },
    },
    Metric {
        name: "memory_bytes",
        kind: "gauge",
        label: "kind",
        help: "Bytes held of what viewers, HTTP clients and Redis send.",
        samples: |scrape, out| {
            for kind in Held::ALL {
                out.of(kind.as_str(), scrape.gauges.account.bytes_of(kind));
            }
        },
    },
    Metric {
        name: "gaps_total",
        kind: "counter",
        label: "reason",
        help: "Gaps told: trimmed, deleted or reset.",
        samples: |scrape, out| {
            for reason in GAP_REASONS {
                out.of(reason.as_str(), scrape.metrics.gaps[reason as usize].load(Relaxed));
            }
        },
    },
    Metric {
        name: "access_questions_total",
        kind: "counter",
        label: "outcome",
        help: "Questions to the application of access.ask: allowed, refused or unanswered.",
        samples: |scrape, out| {
            for (outcome, number) in OUTCOMES.iter().zip(scrape.gauges.questions) {
                out.of(outcome, number);
            }
        },
    },
    Metric {
        name: "closes_total",
        kind: "counter",
        label: "code",
        help: "Sockets closed, by code; 1006 broke off without a Close.",
        samples: |scrape, out| {
            for (at, code) in CLOSE_CODES.iter().enumerate() {
                out.of(code, scrape.metrics.sum(|worker| &worker.closes[at]));
            }
            out.of("other", scrape.metrics.sum(|worker| &worker.closes[CLOSE_CODES.len()]));
        },
    },
    Metric {
        name: "tail_mode",
        kind: "gauge",
        label: "mode",
        help: "1 for how changes are learned of: tracking, block or embedded.",
        samples: |scrape, out| out.of(scrape.gauges.mode, 1),
    },
    Metric {
        name: "entry_age_seconds",
        kind: "histogram",
        label: "le",
        help: "Age of entries at delivery, by the clock of Redis.",
        samples: |scrape, out| scrape.metrics.ages(out),
    },
];

fn table() -> impl Iterator<Item = &'static Metric> {
    NUMBERS.iter().chain(FAMILIES)
}

/// The table as a page of documentation shows it, in Markdown.
pub fn reference() -> String {
    let mut page = "| metric | type | what |\n|---|---|---|\n".to_owned();
    for metric in table() {
        let label = match metric.label {
            "" | "le" => String::new(),
            label => format!("{{{label}}}"),
        };
        // Writing to a String does not fail, here and below.
        _ = writeln!(page, "| `{}{label}` | {} | {} |", metric.name, metric.kind, metric.help);
    }
    page
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

    /// The Prometheus text format.
    pub fn render(&self, gauges: &Gauges) -> String {
        let scrape = Scrape { metrics: self, gauges };
        let mut text = String::with_capacity(8192);
        for metric in table() {
            let Metric { name, kind, help, .. } = metric;
            _ = writeln!(text, "# HELP taskcast_{name} {help}\n# TYPE taskcast_{name} {kind}");
            (metric.samples)(&scrape, &mut Samples { metric, text: &mut text });
        }
        text
    }

    pub(crate) fn sum(&self, of: impl Fn(&WorkerMetrics) -> &AtomicU64) -> u64 {
        self.workers.iter().map(|worker| of(worker).load(Relaxed)).sum()
    }

    fn ages(&self, out: &mut Samples<'_>) {
        let mut count = 0;
        for (at, bound) in AGE_BOUNDS_MS.iter().enumerate() {
            count += self.sum(|worker| &worker.ages[at]);
            out.write("_bucket", Some(&seconds(*bound)), count);
        }
        count += self.sum(|worker| &worker.ages[AGE_BOUNDS_MS.len()]);
        out.write("_bucket", Some(&"+Inf"), count);
        out.write("_sum", None, seconds(self.sum(|worker| &worker.age_sum_ms)));
        out.write("_count", None, count);
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Where the samples of a metric are written.
struct Samples<'a> {
    metric: &'static Metric,
    text: &'a mut String,
}

impl Samples<'_> {
    /// The only sample.
    fn one(&mut self, value: impl Display) {
        self.write("", None, value);
    }

    /// The sample with this value of the label.
    fn of(&mut self, label_value: impl Display, value: impl Display) {
        self.write("", Some(&label_value), value);
    }

    fn write(&mut self, suffix: &str, label_value: Option<&dyn Display>, value: impl Display) {
        let Metric { name, label, .. } = self.metric;
        _ = match label_value {
            Some(of) => writeln!(self.text, "taskcast_{name}{suffix}{{{label}=\"{of}\"}} {value}"),
            None => writeln!(self.text, "taskcast_{name}{suffix} {value}"),
        };
    }
}

#[cfg(test)]
mod tests;
