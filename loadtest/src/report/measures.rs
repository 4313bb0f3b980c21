//! The names of the measures that more than one part knows.

pub(crate) const CPU_PER_DELIVERY: &str = "CPU per delivery";
pub(crate) const CPU_PER_NEW_VIEWER: &str = "CPU per new viewer";
pub(crate) const CPU_PER_RETURN: &str = "CPU per viewer that came back";
pub(crate) const CPU_PER_HEARTBEAT: &str = "CPU per heartbeat";
pub(crate) const CPU_PER_DEPARTURE: &str = "CPU per departure";
pub(crate) const CPU_OF_CLIENTS: &str = "CPU of the clients";
pub(crate) const CPU_OF_REDIS: &str = "CPU of Redis";
pub(crate) const MEMORY_PER_VIEWER: &str = "memory per viewer";
pub(crate) const MEMORY_OF_ALL: &str = "memory with all of them";
pub(crate) const MEMORY_AFTER_WORK: &str = "memory after the work";
pub(crate) const ARRIVALS_PER_SECOND: &str = "arrivals per second";
pub(crate) const DELIVERIES_PER_SECOND: &str = "deliveries per second";
pub(crate) const LATENCY_P50: &str = "latency p50";
pub(crate) const LATENCY_P99: &str = "latency p99";
