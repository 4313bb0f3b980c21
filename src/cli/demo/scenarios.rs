//! What the simulated agent pretends to look into.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use serde_json::{Map, Value};

/// One task from its query to its result.
pub(super) struct Scenario {
    pub(super) query: String,
    pub(super) host: &'static str,
    pub(super) steps: Vec<Step>,
    pub(super) result: Value,
    /// What it ends with instead, now and then.
    pub(super) failure: String,
}

/// One update of a task.
pub(super) struct Step {
    pub(super) kind: &'static str,
    pub(super) message: String,
    pub(super) metadata: Map<String, Value>,
}

impl Step {
    /// Whether a person has to agree first.
    pub(super) fn needs_approval(&self) -> bool {
        self.kind == "approval"
    }
}

/// Gives scenarios in turn, so that tasks that run side by side differ; hosts by chance.
pub(super) struct Scenarios {
    next: AtomicUsize,
}

impl Scenarios {
    pub(super) fn new() -> Self {
        Self { next: AtomicUsize::new(rand::random_range(0..TEXTS.len())) }
    }

    pub(super) fn next(&self) -> Scenario {
        let text = &TEXTS[self.next.fetch_add(1, Relaxed) % TEXTS.len()];
        text.on(HOSTS[rand::random_range(0..HOSTS.len())])
    }
}

const HOSTS: [&str; 6] =
    ["cache-eu-1", "cache-eu-2", "sessions-us-1", "queue-us-3", "ratelimit-ap-1", "feed-eu-7"];

/// A scenario as it is written; `{host}` stands for the host.
struct Text {
    query: &'static str,
    /// Kind, message, metadata.
    steps: &'static [(&'static str, &'static str, &'static str)],
    result: &'static str,
    failure: &'static str,
}

impl Text {
    fn on(&self, host: &'static str) -> Scenario {
        let filled = |text: &str| text.replace("{host}", host);
        let step = |(kind, message, metadata): &(&'static str, &str, &str)| Step {
            kind,
            message: filled(message),
            metadata: serde_json::from_str(&filled(metadata)).unwrap_or_default(),
        };
        Scenario {
            query: filled(self.query),
            host,
            steps: self.steps.iter().map(step).collect(),
            result: serde_json::from_str(&filled(self.result)).unwrap_or_default(),
            failure: filled(self.failure),
        }
    }
}

const TEXTS: &[Text] = &[
    Text {
        query: "Memory on {host} has been rising for two hours. What fills it?",
        steps: &[
            ("progress", "Collecting facts about {host}", "{}"),
            ("tool_call", "INFO memory", r#"{"tool":"redis_info","section":"memory"}"#),
            (
                "tool_result",
                "used_memory 6.91 GB of 8.00 GB, fragmentation 1.08",
                r#"{"tool":"redis_info","used_memory":7419658240,"maxmemory":8589934592}"#,
            ),
            (
                "tool_call",
                "Sampling 20,000 keys by prefix",
                r#"{"tool":"key_sample","keys":20000}"#,
            ),
            (
                "tool_result",
                "71 % of the sampled bytes are under report:html:*",
                r#"{"tool":"key_sample","prefix":"report:html:","share":0.71}"#,
            ),
            (
                "progress",
                "None of the sampled report keys has an expiry",
                r#"{"without_ttl":14211}"#,
            ),
            ("tool_call", "Reading the deployments of the last day", r#"{"tool":"deployments"}"#),
            (
                "tool_result",
                "reporting 2.14.0 went out 2 h 10 min ago and dropped the TTL",
                r#"{"tool":"deployments","service":"reporting","version":"2.14.0"}"#,
            ),
            ("progress", "Writing the summary", "{}"),
        ],
        result: r#"{"summary":"Rendered reports are cached without an expiry since reporting 2.14.0.","root_cause":"TTL lost in reporting 2.14.0","severity":"high","actions":["Set a TTL of 6 h on report:html:*","Roll reporting back to 2.13.2"],"confidence":0.93}"#,
        failure: "key_sample: {host} did not answer within 5 s, three times in a row",
    },
    Text {
        query: "p99 latency of {host} jumped from 2 ms to 80 ms",
        steps: &[
            (
                "progress",
                "Comparing latency before and after the jump",
                r#"{"before_ms":2.1,"after_ms":80.4}"#,
            ),
            ("tool_call", "SLOWLOG GET 50", r#"{"tool":"slowlog","entries":50}"#),
            (
                "tool_result",
                "43 of 50 slow commands are KEYS user:*",
                r#"{"tool":"slowlog","command":"KEYS","count":43,"slowest_us":91220}"#,
            ),
            ("tool_call", "CLIENT LIST", r#"{"tool":"client_list"}"#),
            (
                "tool_result",
                "All of them come from 10.2.8.41, name admin-export",
                r#"{"tool":"client_list","address":"10.2.8.41","name":"admin-export"}"#,
            ),
            ("reflection", "A nightly export should not run at noon; checking its schedule", "{}"),
            (
                "tool_result",
                "The schedule was edited today at 11:52",
                r#"{"tool":"scheduler","job":"admin-export"}"#,
            ),
            ("progress", "Latency follows the export's runs exactly", r#"{"correlation":0.98}"#),
        ],
        result: r#"{"summary":"A misplaced export walks the whole keyspace with KEYS every minute.","root_cause":"admin-export scheduled every minute","severity":"high","actions":["Put the schedule back to 02:00","Use SCAN in the export","Forbid KEYS by ACL"],"confidence":0.97}"#,
        failure: "slowlog: NOPERM this user has no permissions to run 'slowlog|get' on {host}",
    },
    Text {
        query: "Replica of {host} lags behind by minutes",
        steps: &[
            ("progress", "Reading replication offsets", r#"{"lag_bytes":912340221}"#),
            ("tool_call", "INFO replication", r#"{"tool":"redis_info","section":"replication"}"#),
            (
                "tool_result",
                "The link went down 14 times within the hour; each time a full resync",
                r#"{"tool":"redis_info","full_syncs":14,"partial_syncs":0}"#,
            ),
            (
                "tool_call",
                "CONFIG GET repl-backlog-size",
                r#"{"tool":"config","name":"repl-backlog-size"}"#,
            ),
            (
                "tool_result",
                "The backlog holds 1 MB, which is 0.4 s of writes",
                r#"{"tool":"config","bytes":1048576,"write_bytes_per_second":2621440}"#,
            ),
            (
                "approval",
                "Approved: raise repl-backlog-size to 512 MB",
                r#"{"tool":"config_set","approved_by":"on-call"}"#,
            ),
            (
                "tool_result",
                "repl-backlog-size is 512 MB now",
                r#"{"tool":"config_set","bytes":536870912}"#,
            ),
            ("progress", "The replica resumed in part and caught up", r#"{"lag_bytes":0}"#),
        ],
        result: r#"{"summary":"The replication backlog was too small for the write rate, so each short break cost a full resync.","root_cause":"repl-backlog-size of 1 MB","severity":"medium","changes":[{"setting":"repl-backlog-size","from":"1mb","to":"512mb"}],"confidence":0.95}"#,
        failure: "config_set: nobody approved the change of {host} in time",
    },
    Text {
        query: "Clients of {host} report \"max number of clients reached\"",
        steps: &[
            ("tool_call", "INFO clients", r#"{"tool":"redis_info","section":"clients"}"#),
            (
                "tool_result",
                "9,998 of 10,000 connections are in use",
                r#"{"connected":9998,"maxclients":10000}"#,
            ),
            (
                "tool_call",
                "Grouping connections by owner and idle time",
                r#"{"tool":"client_list"}"#,
            ),
            (
                "tool_result",
                "checkout holds 8,120, nearly all idle for more than 10 minutes",
                r#"{"tool":"client_list","service":"checkout","connections":8120,"idle_s":612}"#,
            ),
            (
                "reflection",
                "Idle connections that grow with each deploy: old pools are never closed",
                "{}",
            ),
            (
                "tool_result",
                "checkout was deployed 9 times today",
                r#"{"tool":"deployments","count":9}"#,
            ),
            (
                "approval",
                "Approved: close connections that are idle for over 10 minutes",
                r#"{"approved_by":"on-call"}"#,
            ),
            (
                "tool_result",
                "8,034 connections closed, no error reported",
                r#"{"tool":"client_kill","closed":8034}"#,
            ),
            ("progress", "Connections stay at 1,900 for two minutes", r#"{"connected":1900}"#),
        ],
        result: r#"{"summary":"checkout leaks its connection pool on every deploy.","root_cause":"Old pools are not closed on shutdown","severity":"high","actions":["Close the pool in checkout's shutdown hook","Set timeout 300 on the server"],"closed_connections":8034,"confidence":0.9}"#,
        failure: "client_list: the connection to {host} was refused: max number of clients reached",
    },
    Text {
        query: "Hit rate of {host} fell from 97 % to 61 % overnight",
        steps: &[
            ("progress", "Comparing hits and misses hour by hour", r#"{"hours":24}"#),
            (
                "tool_result",
                "The fall begins at 03:00 and takes 20 minutes",
                r#"{"from":0.97,"to":0.61}"#,
            ),
            ("tool_call", "INFO stats", r#"{"tool":"redis_info","section":"stats"}"#),
            (
                "tool_result",
                "evicted_keys rises by 4,100 per second",
                r#"{"tool":"redis_info","evicted_per_second":4100}"#,
            ),
            (
                "tool_call",
                "Looking for what was written since 03:00",
                r#"{"tool":"key_sample","keys":10000}"#,
            ),
            (
                "tool_result",
                "embedding:* is new: 2.2 million keys of 6 KB",
                r#"{"tool":"key_sample","prefix":"embedding:","keys":2200000,"bytes_each":6144}"#,
            ),
            (
                "progress",
                "Estimating what both workloads need together",
                r#"{"needed_gb":21,"available_gb":8}"#,
            ),
        ],
        result: r#"{"summary":"A new workload pushes the old one out of memory.","root_cause":"2.2 million embeddings share the cache of {host}","severity":"medium","actions":["Give embeddings an instance of their own","Until then, volatile-lfu and a TTL on embedding:*"],"confidence":0.88}"#,
        failure: "redis_info: {host} failed over during the analysis; its counters began anew",
    },
    Text {
        query: "Are backups of {host} good? The auditors ask",
        steps: &[
            ("progress", "Listing the snapshots of the last 30 days", r#"{"found":30}"#),
            ("tool_call", "Checking sums and sizes", r#"{"tool":"backup_list"}"#),
            ("tool_result", "30 of 30 have the right sum", r#"{"tool":"backup_list","valid":30}"#),
            (
                "tool_call",
                "Restoring the newest into a scratch instance",
                r#"{"tool":"restore","target":"scratch-4"}"#,
            ),
            ("progress", "Restored 3.1 of 9.4 GB", r#"{"restored_gb":3.1}"#),
            ("progress", "Restored 6.6 of 9.4 GB", r#"{"restored_gb":6.6}"#),
            ("tool_result", "Restored 9.4 GB in 41 s", r#"{"tool":"restore","seconds":41}"#),
            ("tool_call", "Comparing 5,000 keys with {host}", r#"{"tool":"compare","keys":5000}"#),
            (
                "tool_result",
                "4,996 equal, 4 changed since the snapshot",
                r#"{"tool":"compare","equal":4996,"changed":4}"#,
            ),
        ],
        result: r#"{"summary":"Every snapshot of the last 30 days is valid; the newest restores in 41 s.","root_cause":null,"severity":"none","evidence":{"snapshots":30,"restored_gb":9.4,"compared_keys":5000},"confidence":0.99}"#,
        failure: "restore: scratch-4 ran out of disk at 6.6 of 9.4 GB",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_is_whole() {
        for text in TEXTS {
            for (_, _, metadata) in text.steps {
                assert!(serde_json::from_str::<Map<String, Value>>(metadata).is_ok(), "{metadata}");
            }
            let scenario = text.on("h1");
            assert!(scenario.result.is_object(), "{}", text.result);
            assert!(scenario.steps.len() >= 7);
            let texts = [&scenario.query, &scenario.failure, &scenario.result.to_string()];
            assert!(texts.iter().all(|text| !text.contains("{host}")));
        }
    }
}
