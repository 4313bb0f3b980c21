//! HTTP: connections, the API, the page, health and metrics (protocol §4).
//!
//! [`connection`] serves the requests of one connection: what [`route`] says is a WebSocket endpoint
//! is answered by [`handshake`], and the connection handed over with its purpose; all else is
//! answered by [`api`]. This module knows the [`Log`], not who answers behind it; of those who watch
//! it knows what [`api::Live`] tells and where connections are [handed over](connection::HandOver).
//!
//! [`Log`]: crate::log::Log

pub(crate) mod accept;
mod allowed;
pub(crate) mod api;
mod body;
pub(crate) mod caller;
pub(crate) mod connection;
mod error;
pub(crate) mod gate;
mod handshake;
mod host;
mod origin;
mod paced;
mod page;
pub(crate) mod proxy_header;
mod query;
pub(crate) mod reads;
mod receive;
mod response;
mod route;
mod secured;
mod tasks;

#[cfg(test)]
mod tests;
