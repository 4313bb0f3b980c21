//! The slot map, with as many values as a worker has viewers.

use std::hint::black_box;

use criterion::Criterion;
use taskcast::core::slots::Slots;

const VIEWERS: usize = 10_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slots");
    let mut slots = Slots::default();
    let keys: Vec<_> = (0..VIEWERS).map(|number| slots.insert([number; 8])).collect();
    // Neighbours in time are not neighbours in memory.
    let mut at = 0;
    let mut next = || {
        at = (at + 7_919) % VIEWERS;
        keys[at]
    };
    group.bench_function("get", |bencher| {
        bencher.iter(|| slots.get(black_box(next())).is_some());
    });
    group.bench_function("insert and remove", |bencher| {
        bencher.iter(|| {
            let key = slots.insert(black_box([0; 8]));
            slots.remove(key)
        });
    });
    group.finish();
}
