//! The topic's log: append, and what a viewer behind one update gets.

use std::hint::black_box;

use criterion::{BatchSize, Criterion};
use taskcast::core::position::{Position, Run};
use taskcast::core::topic::TopicLog;

use crate::sample;

const UPDATES: usize = 1_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("topic");
    let chunks = sample::chunks(UPDATES, 1);
    let half = chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>() / 2;
    group.bench_function("append and trim, 1,000 updates", |bencher| {
        let empty = || TopicLog::new(sample::id(0));
        bencher.iter_batched(
            empty,
            |mut log| {
                for chunk in &chunks {
                    log.append(chunk.clone());
                    log.trim(half);
                }
                log
            },
            BatchSize::SmallInput,
        );
    });
    let log = sample::log(UPDATES, 1);
    group.bench_function("locate, 1 update behind", |bencher| {
        bencher.iter(|| log.locate(black_box(sample::id(UPDATES - 1))));
    });
    for behind in [1, 10, 100] {
        let mut position = Position::at(sample::id(UPDATES - behind));
        assert!(position.locate(&log));
        let mut run = Run::default();
        group.bench_function(format!("since, {behind} behind"), |bencher| {
            bencher.iter(|| run.gather(black_box(&log), position));
        });
    }
    group.finish();
}
