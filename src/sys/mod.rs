//! What is asked of the operating system directly: the one module in which `unsafe` is allowed.

pub(crate) mod memory;
pub(crate) mod pause;
pub(crate) mod queue;
pub(crate) mod quiet;
pub mod send;
pub(crate) mod unsent;
mod uring;
