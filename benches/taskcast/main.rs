//! What the parts of an update's way cost. `cargo bench`, or `cargo bench -- flush` for a part of
//! it; the results are in `benches/README.md`.

#![allow(missing_docs, reason = "criterion's macros make public functions")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a benchmark that is a failure"
)]

mod encode;
mod flush;
mod handshake;
mod message;
mod reply;
mod resume;
mod sample;
mod slots;
mod source;
mod topic;
mod verify;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};

/// All of it stays below five minutes.
fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! {
    name = benches;
    config = short();
    targets = encode::bench, slots::bench, topic::bench, flush::bench, handshake::bench,
        reply::bench, resume::bench, message::bench, source::bench,
        verify::bench
}
criterion_main!(benches);
