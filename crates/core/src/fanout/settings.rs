//! What can be set of the fan-out: every bound on memory, time and number.

use crate::source::Sources;

/// What can be set. Times are in milliseconds.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest message of a viewer, in bytes.
    pub message_bytes_max: usize,
    /// Messages of one socket that are looked at before the others have their turn.
    pub messages_per_turn: usize,
    /// Subscriptions that one socket may have.
    pub socket_subscriptions_max: usize,
    /// Subscribing that a socket may do at once,
    pub subscribe_burst: u32,
    /// and how much of it comes back in a second.
    pub subscribe_per_second: u32,
    /// Questions of one socket that may be under way.
    pub socket_questions_max: u16,
    /// A viewer that lags by more entries is closed; 0: never.
    pub viewer_lag_max_entries: u64,
    /// Time between two Pings.
    pub ping_interval_ms: u64,
    /// A viewer without a sign of life for so long is gone.
    pub viewer_timeout_ms: u64,
    /// How long the other side may take to answer a Close.
    pub close_timeout_ms: u64,
    /// Where memory is spent, a viewer that takes nothing for so long has to go.
    pub stall_timeout_ms: u64,
    /// How long frames go on behind the end of a lease, while nobody says whether it is renewed.
    pub decision_timeout_ms: u64,
    /// How long a pass waits for further news of its topic.
    pub flush_interval_ms: u64,
    /// Viewers that one slice of a pass visits: so many sends may delay another topic.
    pub viewers_per_slice: usize,
    /// Buffers in one send; what is beyond goes with the next one.
    pub slices_per_send_max: usize,
    /// Whose tasks there are beside the agent's.
    pub sources: Sources,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            message_bytes_max: 65_536,
            messages_per_turn: 256,
            socket_subscriptions_max: 1_000,
            subscribe_burst: 1_000,
            subscribe_per_second: 200,
            socket_questions_max: 16,
            viewer_lag_max_entries: 0,
            ping_interval_ms: 30_000,
            viewer_timeout_ms: 40_000,
            close_timeout_ms: 5_000,
            stall_timeout_ms: 30_000,
            decision_timeout_ms: 3_000,
            flush_interval_ms: 0,
            viewers_per_slice: 256,
            slices_per_send_max: 64,
            sources: Sources::default(),
        }
    }
}
