//! The reply parser: an XREAD's answer of 100 usual updates, from its bytes and from its values.

use std::fmt::Write;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use taskcast::log::redis::reply;

use crate::sample;

const ENTRIES: usize = 100;

/// The answer in the third version of Redis' protocol.
fn answer() -> Vec<u8> {
    let mut out = format!("%1\r\n$1\r\nk\r\n*{ENTRIES}\r\n");
    let put = |out: &mut String, text: &[u8]| {
        let text = std::str::from_utf8(text).unwrap();
        write!(out, "${}\r\n{text}\r\n", text.len()).unwrap();
    };
    for number in 1..=ENTRIES {
        let entry = sample::entry(number, sample::USUAL_BYTES);
        out.push_str("*2\r\n");
        put(&mut out, entry.id.to_string().as_bytes());
        write!(out, "*{}\r\n", entry.fields.len() * 2).unwrap();
        for (name, value) in &entry.fields {
            put(&mut out, name);
            put(&mut out, value);
        }
    }
    out.into_bytes()
}

pub(crate) fn bench(criterion: &mut Criterion) {
    let answer = answer();
    let value = redis::parse_redis_value(&answer).unwrap();
    assert_eq!(reply::streams(value.clone())[0].1.len(), ENTRIES);
    let mut group = criterion.benchmark_group("reply, 100 entries");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("from bytes", |bencher| {
        bencher.iter(|| reply::streams(redis::parse_redis_value(black_box(&answer)).unwrap()));
    });
    group.bench_function("from values", |bencher| {
        bencher.iter_batched(|| value.clone(), reply::streams, BatchSize::SmallInput);
    });
    group.finish();
}
