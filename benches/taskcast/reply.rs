//! The reply parser: an XREAD's answer of 100 usual updates, by the reader of our own, and by the
//! Redis client into values of its own.

use std::fmt::Write;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput};
use taskcast::log::redis::resp::Scanner;
use taskcast::log::redis::xread;

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
    let answer = Bytes::from(answer());
    assert_eq!(xread::streams(&answer).unwrap()[0].1.len(), ENTRIES);
    let mut group = criterion.benchmark_group("reply, 100 entries");
    group.throughput(Throughput::Elements(ENTRIES as u64));
    group.bench_function("own reader", |bencher| {
        bencher.iter(|| {
            let end = Scanner::default().scan(black_box(&answer)).unwrap().unwrap();
            xread::streams(&answer.slice(..end))
        });
    });
    group.bench_function("Redis client", |bencher| {
        bencher.iter(|| redis::parse_redis_value(black_box(&answer)).unwrap());
    });
    group.finish();
}
