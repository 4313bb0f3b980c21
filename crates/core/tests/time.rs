//! What time brings to the viewers of a fan-out: to the millisecond, as the clock is the test's.

#![allow(clippy::unwrap_used, reason = "in a test that is a failure")]

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IoSlice;
use std::rc::Rc;

use taskcast_core::account::{Account, Kind};
use taskcast_core::chunk::Chunk;
use taskcast_core::fanout::{
    self, Answer, Appetite, Count, Effect, Fanout, Io, Purpose, Sent, Settings,
};
use taskcast_core::form::ws::unmask;
use taskcast_core::id::{StreamId, ThreadId};
use taskcast_core::slots::Key;
use taskcast_core::topic::TopicLog;

#[derive(Clone)]
struct Topic(Rc<(ThreadId, RefCell<TopicLog>)>);

impl fanout::Topic for Topic {
    fn thread(&self) -> &ThreadId {
        &self.0.0
    }

    fn with_log<R>(&self, look: impl FnOnce(&TopicLog) -> R) -> Option<R> {
        Some(look(&self.0.1.borrow()))
    }

    fn listen(&self) {}

    fn count_lagging(&self, _: bool) {}

    fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }
}

/// Sockets that take so many bytes more, and keep them.
#[derive(Default)]
struct Net {
    room: HashMap<Key, usize>,
    taken: HashMap<Key, Vec<u8>>,
    closes: Vec<u16>,
}

impl Io for Net {
    type Topic = Topic;

    fn send(&mut self, socket: Key, slices: &[IoSlice<'_>]) -> Sent {
        let room = self.room.entry(socket).or_insert(usize::MAX);
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        let sent = bytes.len().min(*room);
        *room -= sent;
        self.taken.entry(socket).or_default().extend_from_slice(&bytes[..sent]);
        if sent == 0 { Sent::Full } else { Sent::Bytes(sent) }
    }

    fn send_each(&mut self, sockets: &[Key], slices: &[IoSlice<'_>], results: &mut Vec<Sent>) {
        results.extend(sockets.iter().map(|socket| self.send(*socket, slices)));
    }

    fn join(&mut self, thread: &ThreadId) -> Topic {
        Topic(Rc::new((thread.clone(), RefCell::new(TopicLog::new(StreamId::ZERO)))))
    }

    fn count(&mut self, _: Count, _: u64) {}

    fn count_close(&mut self, code: u16) {
        self.closes.push(code);
    }

    fn delivered(&mut self, _: impl Iterator<Item = StreamId>, _: usize) {}
}

struct World {
    fanout: Fanout<Topic>,
    net: Net,
    account: Account,
    now_ms: u64,
    ended: HashMap<Key, u64>,
}

impl World {
    fn new() -> Self {
        let account = Account::new(1_000_000);
        Self {
            fanout: Fanout::new(Settings::default(), account.clone(), 0),
            net: Net::default(),
            account,
            now_ms: 0,
            ended: HashMap::new(),
        }
    }

    fn connect(&mut self, purpose: Purpose) -> Key {
        let key = self.fanout.connect(&mut self.net);
        self.fanout.begin(key, purpose, &mut self.net);
        key
    }

    /// A viewer of a task whose state is large, on a socket that takes a part of it.
    fn attach_to_full_socket(&mut self) -> Key {
        let key = self.fanout.connect(&mut self.net);
        self.net.room.insert(key, 10);
        let purpose = Purpose::Task { thread: Ok("t".parse().unwrap()), since: None };
        self.fanout.begin(key, purpose, &mut self.net);
        let bytes = vec![b'x'; 100_000].into();
        let chunk = Chunk::of_one(&self.account, bytes, StreamId::ZERO, StreamId::ZERO);
        let answer = Answer::State { chunk: chunk.into(), epoch: 0, then: None, batch: None };
        while let Some(effect) = self.fanout.next_effect() {
            if let Effect::Ask { viewer, .. } = effect {
                self.fanout.answered(viewer, answer.clone(), &mut self.net);
            }
        }
        key
    }

    fn say(&mut self, key: Key, opcode: u8, payload: &[u8]) {
        let mut bytes = vec![0x80 | opcode, 0x80 | payload.len() as u8, 7, 7, 7, 7];
        let mut payload = payload.to_vec();
        unmask(&mut payload, [7; 4]);
        bytes.extend(payload);
        self.fanout.received(key, &mut bytes, &mut self.net);
    }

    /// Time goes by in steps of 10 ms; `each` is done in each of them.
    fn wait(&mut self, ms: u64, mut each: impl FnMut(&mut Self)) {
        for _ in 0..ms / 10 {
            self.now_ms += 10;
            self.fanout.set_now(self.now_ms);
            self.fanout.tick(&mut self.net);
            each(self);
            while let Some(effect) = self.fanout.next_effect() {
                if let Effect::End(key) = effect {
                    self.ended.insert(key, self.now_ms);
                }
            }
        }
    }
}

#[test]
fn who_is_silent_for_forty_seconds_is_dropped_then_and_not_at_some_later_ping() {
    let mut world = World::new();
    let keys: Vec<Key> = (0..300).map(|_| world.connect(Purpose::Tasks)).collect();
    let alive = world.connect(Purpose::Tasks);
    world.wait(60_000, |world| {
        if world.now_ms.is_multiple_of(30_000) {
            world.say(alive, 0xa, b"");
        }
    });
    for key in keys {
        let ended_ms = world.ended[&key];
        assert!((40_000..=41_500).contains(&ended_ms), "{ended_ms}");
    }
    assert_eq!(world.fanout.sockets(), 1);
}

#[test]
fn a_ping_comes_every_thirty_seconds_spread_over_them() {
    let mut world = World::new();
    let keys: Vec<Key> = (0..300).map(|_| world.connect(Purpose::Tasks)).collect();
    let mut at_once = 0;
    world.wait(30_250, |world| {
        let pinged = world.net.taken.drain().filter(|(_, bytes)| bytes == &[0x89, 0]).count();
        at_once = at_once.max(pinged);
        keys.iter().for_each(|key| world.say(*key, 0xa, b""));
        assert!(world.ended.is_empty());
    });
    assert!((1..10).contains(&at_once), "{at_once}");
}

#[test]
fn a_socket_beyond_its_budget_is_not_read_and_counts_as_alive() {
    let mut world = World::new();
    let key = world.connect(Purpose::Tasks);
    let subscribe = br#"{"type":"subscribe","thread_id":"a","since":"x"}"#;
    for _ in 1..Settings::default().subscribe_burst {
        world.say(key, 1, subscribe);
        assert_eq!(world.fanout.appetite(key), Appetite::Hungry);
    }
    // From here on as many come as there is room for: the socket is never read for long.
    world.wait(60_000, |world| {
        while world.fanout.appetite(key) == Appetite::Hungry {
            world.say(key, 1, subscribe);
        }
    });
    let told = world.net.taken[&key].windows(5).filter(|part| part == b"error").count();
    assert!((12_000..=13_100).contains(&told), "{told} in a minute, at 200 a second");
    assert_eq!(world.fanout.sockets(), 1);
    world.say(key, 0xa, b"");
}

#[test]
fn where_memory_is_spent_who_takes_nothing_has_to_go_and_who_takes_something_does_not() {
    let mut world = World::new();
    let (stalled, slow) = (world.attach_to_full_socket(), world.attach_to_full_socket());
    let goes_on = |world: &mut World| {
        world.say(stalled, 0xa, b"");
        if world.now_ms.is_multiple_of(20_000) {
            world.net.room.insert(slow, 1);
            world.fanout.writable(slow, &mut world.net);
        }
    };
    world.wait(60_000, goes_on);
    assert!(world.net.closes.is_empty(), "there is memory enough");
    let spent = world.account.charge(Kind::Bodies, 900_000);
    world.wait(40_000, goes_on);
    assert_eq!(world.net.closes, [1013]);
    assert!(world.ended.contains_key(&stalled) && !world.ended.contains_key(&slow));
    drop(spent);
}
