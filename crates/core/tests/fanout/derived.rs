//! What was withheld from a state, and is told to those who were given it: once, and not before what
//! came until then.

use std::sync::Arc;

use taskcast_core::chunk::{Chunk, Unit};
use taskcast_core::fanout::{Admission, Answer, Batch, Derived, Purpose};
use taskcast_core::id::StreamId;
use taskcast_core::position::Position;
use taskcast_core::since::Since;
use taskcast_core::slots::Key;

use crate::world::{Topic, World};

const STATE: &[u8] = b"<state>";
const UPDATE: &str = "\"message\":\"withheld\"";

fn batch(number: u32) -> Batch {
    Batch::new(number).unwrap()
}

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

impl World {
    fn topic(&self) -> Topic {
        self.net.topics[&"t".parse().unwrap()].clone()
    }

    /// What was withheld from a batch is told.
    fn derive(&mut self, number: u32) {
        let (topic, update) = (self.topic(), "{\"message\":\"withheld\"}".into());
        let derived = Arc::new(Derived::new(&self.account, vec![update]));
        topic.0.1.borrow_mut().derive(batch(number), &derived);
        self.fanout.derive(&topic, batch(number), &derived, &mut self.net);
    }

    fn chunk(&self, text: &'static str, after: u64, position: u64) -> Chunk {
        let unit = Unit { end: text.len(), position: id(position) };
        Chunk::new(&self.account, text.into(), [unit].into(), id(after))
    }

    fn append(&mut self, text: &'static str, after: u64, position: u64) {
        let chunk = self.chunk(text, after, position);
        self.topic().0.1.borrow_mut().append(chunk.into());
        self.flush();
    }

    /// Everybody is told of a gap.
    fn renew(&mut self, text: &'static str, after: u64, position: u64, number: u32) {
        let chunk = self.chunk(text, after, position);
        self.topic().0.1.borrow_mut().renew(chunk.into(), Some(batch(number)), 0);
        self.flush();
    }

    fn flush(&mut self) {
        let topic = self.topic();
        self.fanout.news(&topic);
        while self.fanout.has_passes() {
            self.fanout.flush_some(&mut self.net);
        }
    }

    fn told(&mut self, key: Key) -> usize {
        self.drain(key).matches(UPDATE).count()
    }
}

#[test]
fn only_those_of_the_batch_are_told_and_once() {
    let mut world = World::new();
    let others = world.attach(usize::MAX, STATE, Some(batch(1)));
    let nobody = world.attach(usize::MAX, STATE, None);
    let ours = world.attach(usize::MAX, STATE, Some(batch(2)));
    world.derive(2);
    world.derive(2);
    world.append("<entry>", 0, 5);
    let told = [others, nobody, ours].map(|key| world.told(key));
    assert_eq!(told, [0, 0, 1]);
    let taken = world.drain(ours);
    assert!(taken.starts_with("<state>") && taken.ends_with("<entry>"), "{taken}");
    assert!(taken.contains("\"stream_id\":\"0-0\"") && !taken.contains("prev_stream_id"));
}

#[test]
fn who_lags_is_told_behind_everything_that_came_before() {
    let mut world = World::new();
    let slow = world.attach(3, STATE, Some(batch(1)));
    world.append("<entry>", 0, 5);
    world.derive(1);
    let taken = world.drain(slow);
    let (entry, told) = (taken.find("<entry>").unwrap(), taken.find(UPDATE).unwrap());
    assert!(taken.starts_with("<state>") && entry < told, "{taken}");
    assert!(taken.contains("\"stream_id\":\"5-0\""), "{taken}");
    assert_eq!(world.told(slow), 1);
}

#[test]
fn what_a_full_socket_took_a_part_of_is_not_told_twice() {
    let mut world = World::new();
    let key = world.attach(STATE.len() + 40, STATE, Some(batch(1)));
    world.derive(1);
    // So long that pages are taken back from sockets that take nothing.
    world.wait(15_000, |_| ());
    world.append("<entry>", 0, 5);
    assert_eq!(world.told(key), 1);
    assert!(world.drain(key).ends_with("<entry>"));
}

#[test]
fn who_comes_to_a_gap_later_is_of_its_batch_too() {
    let mut world = World::new();
    let prompt = world.attach(usize::MAX, STATE, Some(batch(1)));
    let slow = world.attach(STATE.len(), STATE, Some(batch(1)));
    world.renew("<gap>", 0, 5, 2);
    world.derive(1);
    assert_eq!(world.told(prompt), 0, "it was given another state");
    world.derive(2);
    assert_eq!([prompt, slow].map(|key| world.told(key)), [1, 1]);
    assert!(world.drain(slow).starts_with("<state><gap>"));
}

#[test]
fn who_comes_back_to_a_gap_is_not_caught_up() {
    let mut world = World::new();
    let _other = world.attach(usize::MAX, STATE, None);
    let key = world.fanout.connect(&mut world.net);
    world.net.room.insert(key, 3);
    let since = Some(Since::After(id(1)));
    let purpose = Purpose::Task { thread: Ok("t".parse().unwrap()), since };
    world.fanout.begin(key, purpose, Admission::Open, &mut world.net);
    let then = Some(Position::at_place(id(5), world.topic().0.1.borrow().end()));
    let chunks = vec![world.chunk("<page>", 1, 5).into()];
    world.answer(&Answer::After { chunks, then, epoch: 0, batch: None, derived: None });
    world.renew("<gap>", 5, 9, 1);
    world.append("<entry>", 9, 10);
    assert_eq!(world.drain(key), "<page><gap><entry>");
}

#[test]
fn what_is_told_at_several_positions_is_made_once_for_each() {
    let mut world = World::new();
    let update: bytes::Bytes = vec![b'x'; 10_000].into();
    let derived = Arc::new(Derived::new(&world.account, vec![update]));
    let viewers: Vec<Key> = (0..20).map(|_| world.attach(60, STATE, Some(batch(1)))).collect();
    let topic = world.topic();
    world.fanout.derive(&topic, batch(1), &derived, &mut world.net);
    for &key in &viewers {
        world.fanout.writable(key, &mut world.net);
    }
    // The frames, the update, and a part of them for each socket that took the beginning.
    assert!(world.account.bytes() < 60_000, "{}", world.account.bytes());
    drop(derived);
}
