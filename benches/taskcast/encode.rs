//! Encode: one entry as a frame.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use taskcast::core::encode;

use crate::sample;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let (account, thread) = (sample::account(), sample::thread());
    for (name, bytes) in [("100 B", 100), ("1 KB", 1_000), ("100 KB", 100_000)] {
        let entries = [sample::entry(1, bytes)];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| encode::entries(&account, &thread, sample::id(0), black_box(&entries)));
        });
    }
    group.finish();
}
