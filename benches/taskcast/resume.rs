//! Resume: a viewer comes back to a topic with 10,000 updates held, each in a chunk of its own.

use std::hint::black_box;

use criterion::Criterion;
use taskcast::core::position::{Position, Run};

use crate::sample;

const UPDATES: usize = 10_000;

pub(crate) fn bench(criterion: &mut Criterion) {
    let log = sample::log(UPDATES, 1);
    let mut group = criterion.benchmark_group("resume, 10,000 updates held");
    for behind in [1, 100, 5_000, 10_000] {
        let mut run = Run::default();
        group.bench_function(format!("{behind} behind"), |bencher| {
            bencher.iter(|| {
                let mut position = Position::at(black_box(sample::id(UPDATES - behind)));
                assert!(position.locate(&log));
                run.gather(&log, position)
            });
        });
    }
    group.finish();
}
