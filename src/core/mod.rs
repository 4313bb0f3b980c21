//! The core: from a stream's entries to the bytes that every viewer gets.
//!
//! Knows no Redis, no clock and no socket type (`tests/tidy.rs` holds it to that), so that all of
//! it is tested without them.

pub mod chunk;
pub mod encode;
pub mod frame;
pub mod inbound;
pub mod json;
pub mod position;
pub mod roster;
pub mod slots;
pub mod topic;
