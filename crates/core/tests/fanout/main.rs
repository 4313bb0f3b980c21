//! The fan-out, step by step.

#![allow(clippy::unwrap_used, reason = "in a test that is a failure")]

mod admission;
mod derived;
mod leases;
mod sources;
mod time;
mod world;
