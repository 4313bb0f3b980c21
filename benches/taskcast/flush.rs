//! Flush: everything that is pending to every viewer of a topic, over socket pairs, as a worker
//! does it. What the other ends read is not timed.

use std::io::{self, IoSlice, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use taskcast::config::Switch;
use taskcast::core::position::{Position, Run};
use taskcast::core::topic::TopicLog;
use taskcast::sys::send::{Sender, Target, What};

use crate::sample;

/// Sends of one batch, as in a worker's slice.
const VIEWERS_PER_SLICE: usize = 256;

/// Buffers in one send, as in a worker's.
const SLICES_PER_SEND_MAX: usize = 64;

/// Updates that came together lie in one chunk.
const UPDATES_PER_CHUNK: usize = 10;

/// A pair takes two of the 20,000 files that a process often may have; a few are left for others.
const VIEWERS: [usize; 3] = [100, 1_000, 9_900];

struct Viewers {
    pairs: Vec<(UnixStream, UnixStream)>,
    positions: Vec<Position>,
    buffer: Vec<u8>,
}

impl Viewers {
    fn new(number: usize) -> io::Result<Self> {
        let pair = || -> io::Result<_> {
            let (near, far) = UnixStream::pair()?;
            near.set_nonblocking(true)?;
            far.set_nonblocking(true)?;
            Ok((near, far))
        };
        Ok(Self {
            pairs: (0..number).map(|_| pair()).collect::<io::Result<_>>()?,
            positions: vec![Position::at(sample::id(0)); number],
            buffer: vec![0; 256 * 1024],
        })
    }

    /// One pass: each viewer stands at the start and has everything afterwards.
    fn flush(&mut self, log: &TopicLog, sender: &mut Sender) {
        let mut start = Position::at(sample::id(0));
        assert!(start.locate(log));
        let mut run = Run::default();
        let mut results = Vec::with_capacity(VIEWERS_PER_SLICE);
        for (slice, pairs) in self.pairs.chunks(VIEWERS_PER_SLICE).enumerate() {
            let first = slice * VIEWERS_PER_SLICE;
            assert!(run.gather(log, start));
            let slices: Vec<IoSlice<'_>> = run.slices(SLICES_PER_SEND_MAX);
            let targets: Vec<Target<'_>> = pairs
                .iter()
                .zip(first as u32..)
                .map(|((near, _), slot)| Target { slot, socket: near.as_fd() })
                .collect();
            results.clear();
            sender.send_each(&targets, What::Same(&slices), &mut results);
            for (position, sent) in self.positions[first..].iter_mut().zip(&results) {
                let sent = *sent.as_ref().unwrap();
                *position = start;
                assert!(run.advance(position, sent).complete);
            }
        }
    }

    fn read_all(&mut self) {
        for (_, far) in &mut self.pairs {
            while far.read(&mut self.buffer).is_ok_and(|read| read == self.buffer.len()) {}
        }
    }

    fn timed(&mut self, flushes: u64, log: &TopicLog, sender: &mut Sender) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..flushes {
            let began = Instant::now();
            self.flush(log, sender);
            took += began.elapsed();
            self.read_all();
        }
        took
    }
}

pub(crate) fn bench(criterion: &mut Criterion) {
    for switch in [Switch::Off, Switch::On] {
        let mut sender = match Sender::new(switch) {
            Ok(sender) => sender,
            Err(error) => {
                eprintln!("flush: {error}");
                continue;
            }
        };
        let mut group = criterion.benchmark_group(format!("flush, {}", sender.name()));
        group.sampling_mode(SamplingMode::Flat);
        for number in VIEWERS {
            let mut viewers = Viewers::new(number).expect("too few files: see ulimit -n");
            for ((near, _), slot) in viewers.pairs.iter().zip(0..) {
                sender.register(Target { slot, socket: near.as_fd() });
            }
            group.throughput(Throughput::Elements(number as u64));
            for pending in [1, 10, 100] {
                let log = sample::log(pending, UPDATES_PER_CHUNK);
                let name = format!("{pending} pending");
                group.bench_function(BenchmarkId::new(name, number), |bencher| {
                    bencher.iter_custom(|flushes| viewers.timed(flushes, &log, &mut sender));
                });
            }
            (0..number as u32).for_each(|slot| sender.forget(slot));
        }
        group.finish();
    }
}
