//! Forms: an entry as the bytes of a transport.

pub mod ws;
