//! What the parent and a client process say to each other: one JSON object per line.

use super::counters::Counters;
use crate::tls::Trust;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A set of viewers that the parent handles as one.
pub(crate) type GroupId = u32;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Command {
    Connect(Connect),
    /// Stops reading, as a viewer does whose application hangs.
    Pause {
        group: GroupId,
    },
    /// Reads again.
    Unpause {
        group: GroupId,
    },
    /// Drops every viewer of the group at once and brings each back with its last position.
    Reconnect {
        group: GroupId,
    },
    /// Replaces the group's viewers by new ones, oldest first.
    Churn {
        group: GroupId,
        per_second: f64,
        replacements: u64,
    },
    /// Closes the group's connections for good.
    Drop {
        group: GroupId,
    },
}

/// Brings a group's viewers in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Connect {
    pub(crate) group: GroupId,
    pub(crate) server: SocketAddr,
    pub(crate) host: String,
    /// None where it speaks no TLS.
    pub(crate) tls: Option<Trust>,
    /// What shows that the viewers may watch.
    pub(crate) token: Option<String>,
    /// Task ids are this, then the number of the task.
    pub(crate) prefix: String,
    pub(crate) first_task: u32,
    /// The viewers' numbers within the group; a viewer's task follows from its number.
    pub(crate) first_viewer: u32,
    pub(crate) viewers: u32,
    pub(crate) viewers_per_task: u32,
    /// Above 1, viewers share sockets, each with so many subscriptions.
    pub(crate) viewers_per_socket: u32,
    /// Handshakes at the same time.
    pub(crate) in_flight: u32,
    /// The first update that the viewers must get; 0 when they come in the middle.
    pub(crate) next_seq: u32,
}

/// What has changed in a client process since its last report.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) groups: Vec<GroupReport>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GroupReport {
    pub(crate) group: GroupId,
    /// Since the start.
    pub(crate) counters: Counters,
    /// Latencies since the last report: microseconds and how many.
    pub(crate) latencies_us: Vec<(u64, u64)>,
    /// The first thing that went wrong, if it is new.
    pub(crate) trouble: Option<String>,
}
