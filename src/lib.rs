//! Taskcast: fan-out of task updates from Redis streams to very many WebSocket viewers.

pub mod cli;
pub mod client;
pub mod config;
pub mod core;
mod http;
pub mod id;
pub mod log;
pub mod metrics;
pub mod publish;
pub mod server;
pub(crate) mod sys;
pub mod timestamp;
mod worker;
