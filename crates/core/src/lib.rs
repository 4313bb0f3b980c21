//! The core of Taskcast: from a stream's entries to the bytes that every viewer gets.
//!
//! Knows no Redis, no clock, no socket and no task, so that all of it is tested without them. What
//! this crate depends on holds it to that, and `tests/tidy.rs` of the server looks for the rest.

pub mod access;
pub mod account;
pub mod backoff;
pub mod chunk;
pub mod digits;
pub mod encode;
pub mod entry;
pub mod facts;
pub mod fanout;
pub mod form;
pub mod gap;
pub mod hash;
pub mod history;
pub mod id;
pub mod inbound;
pub mod json;
pub mod judge;
pub mod position;
pub mod present;
pub mod roster;
pub mod seam;
pub mod since;
pub mod slots;
pub mod snapshot;
pub mod source;
pub mod state;
pub mod timestamp;
pub mod topic;
