//! Viewers' JSON messages: what `simd-json` makes of them, as a value to look into, and what
//! `serde_json` does, into a struct that borrows what it needs and builds nothing of the rest, as
//! the fan-out does it.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput};
use serde::Deserialize;
use simd_json::prelude::*;

/// The limit of a viewer's message.
const LARGE_BYTES: usize = 64 * 1024;

/// What of a message means something.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    thread_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    since: Option<Cow<'a, str>>,
}

/// A ping with a member that fills it up: `item` over and over between `ends`.
fn large(ends: [&str; 2], item: &str) -> String {
    let (start, end) = (format!("{{\"type\":\"ping\",\"x\":{}", ends[0]), format!("{}}}", ends[1]));
    let items = (LARGE_BYTES - start.len() - end.len()) / item.len();
    start + item.repeat(items).trim_end_matches(',') + &end
}

fn by_simd_json(text: &str) -> bool {
    let mut text = text.as_bytes().to_vec();
    let Ok(message) = simd_json::to_borrowed_value(&mut text) else { return false };
    message.get_str("type") == Some("ping")
}

fn by_serde_json(text: &str) -> bool {
    let Ok(message) = serde_json::from_str::<Message<'_>>(text) else { return false };
    black_box((&message.thread_id, &message.since));
    message.kind == "ping"
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    let messages = [
        ("ping", "{\"type\": \"ping\" }".to_string()),
        ("64 KiB, a string", large(["\"", "\""], "a")),
        ("64 KiB, numbers", large(["[", "]"], "1,")),
        ("64 KiB, objects", large(["[", "]"], "{\"a\":[]},")),
    ];
    for (name, text) in &messages {
        assert!(by_simd_json(text) && by_serde_json(text));
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(format!("{name}: simd-json"), |bencher| {
            bencher.iter(|| by_simd_json(black_box(text)));
        });
        group.bench_function(format!("{name}: serde_json"), |bencher| {
            bencher.iter(|| by_serde_json(black_box(text)));
        });
    }
    group.finish();
}
