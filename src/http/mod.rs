//! HTTP: the API, the page, health and metrics (protocol §4).
//!
//! [`api::respond`] answers every request that is no WebSocket handshake. It knows the [`Log`], not
//! who answers behind it, and of the running server only what [`api::Live`] tells.
//!
//! [`Log`]: crate::log::Log

pub(crate) mod accept;
pub(crate) mod api;
mod body;
mod cors;
mod error;
pub(crate) mod handshake;
mod page;
mod percent;
mod route;
mod tasks;

#[cfg(test)]
mod tests;
