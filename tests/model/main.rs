//! The core against a naive model: thousands of random steps over topics, positions, flush order,
//! sends that are cut at any byte, control frames in between, trims, pages and new streams. Every
//! viewer gets exactly the frames behind where it began, whole and in order.
//!
//! The seed is printed; `TASKCAST_SEED` repeats it, `TASKCAST_STEPS` makes a run longer.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "in a test that is a failure"
)]

mod client;
mod desk;
mod stream;
mod worker;

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use taskcast::core::position::{Position, Run};
use taskcast::core::slots::{Key, Slots};
use taskcast::id::StreamId;

use desk::Answer;
use worker::Worker;

const STREAMS: usize = 3;
const SOCKETS_MAX: usize = 12;
const WORLDS: u64 = 40;

/// The worker, and the answers that are on their way to it.
struct World {
    worker: Worker,
    answers: VecDeque<(Key, Answer)>,
    random: StdRng,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut worker = Worker::default();
        (0..STREAMS).for_each(|_| worker.add_stream());
        Self { worker, answers: VecDeque::new(), random: StdRng::seed_from_u64(seed) }
    }

    fn any<T>(slots: &Slots<T>, random: &mut StdRng) -> Option<Key> {
        (!slots.is_empty()).then(|| slots.keys().nth(random.random_range(0..slots.len())))?
    }

    fn step(&mut self) {
        let Self { worker, random, .. } = self;
        let number = random.random_range(0..STREAMS);
        let socket = Self::any(&worker.sockets, random);
        match random.random_range(0..1_000) {
            0..200 => worker.streams[number].add(random),
            200..360 => desk::tail(worker, number, random),
            360..520 => _ = worker.flush_slice(number),
            520..720 => self.make_room(socket),
            720..800 => socket.into_iter().for_each(|socket| worker.pong(socket)),
            800..860 => self.subscribe(number, socket),
            860..940 => {
                self.answer_one();
                self.deliver_one();
            }
            940..960 => {
                let head = worker.topics[number].log.head();
                worker.streams[number].delete(head, random);
            }
            960..965 => worker.streams[number].trim(random.random_range(0..30)),
            965..968 => worker.streams[number].reset(random),
            968..976 => worker.topics[number].log.release(),
            976..979 => worker.topics[number].log.trim(random.random_range(0..500)),
            979..985 => socket.into_iter().for_each(|socket| worker.release_stalled(socket)),
            985..990 => worker.ask_for_those_ahead(),
            990..995 => {
                let viewer = Self::any(&worker.viewers, random);
                viewer.into_iter().for_each(|viewer| worker.remove_viewer(viewer));
            }
            _ => socket.into_iter().for_each(|socket| worker.drop_socket(socket)),
        }
    }

    /// The other side reads: a byte, some, or all that there is.
    fn make_room(&mut self, socket: Option<Key>) {
        let Some((key, socket)) =
            socket.and_then(|key| Some((key, self.worker.sockets.get_mut(key)?)))
        else {
            return;
        };
        socket.client.room += match self.random.random_range(0..10) {
            0..3 => 1,
            3..9 => self.random.random_range(1..300),
            _ => 100_000,
        };
        self.worker.writable(key);
    }

    fn subscribe(&mut self, stream: usize, socket: Option<Key>) {
        let Self { worker, random, .. } = self;
        let kept = worker.streams[stream].after(StreamId::ZERO, usize::MAX);
        let since = match random.random_range(0..6) {
            0 | 1 => None,
            2 => Some(StreamId::ZERO),
            3 => Some(worker.streams[stream].last),
            4 if !kept.is_empty() => Some(kept[random.random_range(0..kept.len())]),
            // Of no stream, or of one that is gone.
            _ => Some(StreamId { ms: random.random_range(1..2_000), seq: 77 }),
        };
        let key = match socket {
            Some(key) if random.random_bool(0.3) => key,
            _ if worker.sockets.len() < SOCKETS_MAX => {
                worker.connect(random.random_range(0..2_000), random.random_bool(0.4))
            }
            _ => return,
        };
        worker.subscribe(key, stream, since);
    }

    /// The log answers one who asks; the answer has its own way to go.
    fn answer_one(&mut self) -> bool {
        let Some((key, wants)) = self.worker.asks.pop_front() else { return false };
        if let Some(viewer) = self.worker.viewers.get(key) {
            let topic = viewer.topic;
            let answer = desk::answer(&mut self.worker, topic, wants, &mut self.random);
            self.answers.push_back((key, answer));
        }
        true
    }

    fn deliver_one(&mut self) {
        if self.random.random_bool(0.7)
            && let Some((key, answer)) = self.answers.pop_front()
        {
            self.worker.answered(key, answer);
        }
    }

    /// From every place, the log holds exactly what the stream was given behind it, or says that
    /// it does not.
    fn check_logs(&self) {
        for (stream, topic) in self.worker.streams.iter().zip(&self.worker.topics) {
            if let Some(mut floor) = topic.log.floor().map(Position::at) {
                let mut run = Run::default();
                assert!(floor.locate(&topic.log) && run.gather(&topic.log, floor));
                let bytes: usize = run.slices(usize::MAX).iter().map(|slice| slice.len()).sum();
                assert_eq!(bytes, topic.log.bytes());
            }
            let kept = stream.after(StreamId::ZERO, usize::MAX);
            let mut located_before = false;
            for (number, id) in kept.iter().enumerate() {
                let mut position = Position::at(*id);
                let located = position.locate(&topic.log);
                let ahead = *id > topic.log.head();
                assert!(!located_before || located || ahead, "a hole in the log");
                if !located {
                    continue;
                }
                located_before = true;
                let mut run = Run::default();
                assert!(run.gather(&topic.log, position));
                let bytes: Vec<u8> =
                    run.slices(usize::MAX).iter().flat_map(|slice| slice.to_vec()).collect();
                let expected: Vec<u8> = run
                    .positions()
                    .flat_map(|id| stream.given(id).unwrap().frame.to_vec())
                    .collect();
                assert!(bytes == expected, "other bytes behind {id}");
                // What was deleted may still be held.
                let held: Vec<_> = run.positions().filter(|id| !stream.is_deleted(*id)).collect();
                let behind = kept[number + 1..].iter().take_while(|id| **id <= run.head());
                assert!(behind.eq(&held), "other entries behind {id}");
            }
        }
    }

    /// Everybody reads all, and everything that is under way arrives.
    fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut busy = false;
            for number in 0..STREAMS {
                let head = self.worker.topics[number].log.head();
                desk::tail(&mut self.worker, number, &mut self.random);
                busy |= head != self.worker.topics[number].log.head();
                while self.worker.flush_slice(number) {
                    busy = true;
                }
            }
            self.worker.ask_for_those_ahead();
            while self.answer_one() {
                busy = true;
            }
            while let Some((key, answer)) = self.answers.pop_front() {
                busy = true;
                self.worker.answered(key, answer);
            }
            for key in self.worker.sockets.keys().collect::<Vec<_>>() {
                let socket = self.worker.sockets.get_mut(key).unwrap();
                socket.client.room = usize::MAX;
                busy |= socket.blocked;
                self.worker.writable(key);
            }
            if !busy {
                return self.fill_sockets();
            }
        }
        panic!("it does not come to rest");
    }

    /// From here on the sockets take what there is room for again.
    fn fill_sockets(&mut self) {
        for key in self.worker.sockets.keys().collect::<Vec<_>>() {
            self.worker.sockets.get_mut(key).unwrap().client.room = 0;
        }
    }

    fn check_viewers(&self) {
        for key in self.worker.viewers.keys() {
            let viewer = self.worker.viewers.get(key).unwrap();
            let socket = self.worker.sockets.get(viewer.socket).unwrap();
            socket.client.assert_has_everything_of(&self.worker.streams[viewer.topic]);
        }
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

#[test]
fn every_viewer_gets_exactly_what_comes_after_its_position() {
    let fixed = number_from_environment("TASKCAST_SEED");
    let steps = number_from_environment("TASKCAST_STEPS").unwrap_or(5_000);
    for _ in 0..fixed.map_or(WORLDS, |_| 1) {
        let seed = fixed.unwrap_or_else(rand::random);
        println!("TASKCAST_SEED={seed}");
        let mut world = World::new(seed);
        for step in 0..steps {
            world.step();
            if step % 200 == 0 {
                world.check_logs();
            }
            if step % 500 == 499 {
                world.settle();
                world.check_viewers();
            }
        }
    }
}
