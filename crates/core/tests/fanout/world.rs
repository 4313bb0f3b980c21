//! A fan-out whose sockets and clock are the test's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::IoSlice;
use std::rc::Rc;

use taskcast_core::account::Account;
use taskcast_core::chunk::Chunk;
use taskcast_core::fanout::{
    self, Admission, Answer, Batch, Count, Effect, Fanout, Io, Purpose, Sent, Settings,
};
use taskcast_core::form::ws::unmask;
use taskcast_core::id::{StreamId, ThreadId};
use taskcast_core::slots::Key;
use taskcast_core::topic::TopicLog;

#[derive(Clone)]
pub(crate) struct Topic(pub(crate) Rc<(ThreadId, RefCell<TopicLog>)>);

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
pub(crate) struct Net {
    pub(crate) room: HashMap<Key, usize>,
    pub(crate) taken: HashMap<Key, Vec<u8>>,
    pub(crate) closes: Vec<u16>,
    pub(crate) topics: HashMap<ThreadId, Topic>,
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
        let known = self.topics.entry(thread.clone());
        let begin = || RefCell::new(TopicLog::new(StreamId::ZERO));
        known.or_insert_with(|| Topic(Rc::new((thread.clone(), begin())))).clone()
    }

    fn count(&mut self, _: Count, _: u64) {}

    fn count_close(&mut self, code: u16) {
        self.closes.push(code);
    }

    fn delivered(&mut self, _: impl Iterator<Item = StreamId>, _: usize) {}
}

/// A fan-out with its sockets and its clock.
pub(crate) struct World {
    pub(crate) fanout: Fanout<Topic>,
    pub(crate) net: Net,
    pub(crate) account: Account,
    pub(crate) now_ms: u64,
    pub(crate) ended: HashMap<Key, u64>,
}

impl World {
    pub(crate) fn new() -> Self {
        let account = Account::new(1_000_000);
        Self {
            fanout: Fanout::new(Settings::default(), account.clone(), 0),
            net: Net::default(),
            account,
            now_ms: 0,
            ended: HashMap::new(),
        }
    }

    pub(crate) fn connect(&mut self, purpose: Purpose) -> Key {
        let key = self.fanout.connect(&mut self.net);
        self.fanout.begin(key, purpose, Admission::Open, &mut self.net);
        key
    }

    /// A viewer of a task whose state is large, on a socket that takes a part of it.
    pub(crate) fn attach_to_full_socket(&mut self) -> Key {
        self.attach(10, &vec![b'x'; 100_000], None)
    }

    /// A viewer of a task, on a socket that takes so many bytes, who is given this as its state.
    pub(crate) fn attach(&mut self, room: usize, state: &[u8], batch: Option<Batch>) -> Key {
        let key = self.fanout.connect(&mut self.net);
        self.net.room.insert(key, room);
        let purpose = Purpose::Task { thread: Ok("t".parse().unwrap()), since: None };
        self.fanout.begin(key, purpose, Admission::Open, &mut self.net);
        let state = state.to_vec().into();
        let chunk = Chunk::of_one(&self.account, state, StreamId::ZERO, StreamId::ZERO);
        let chunk = chunk.into();
        self.answer(&Answer::State { chunk, epoch: 0, then: None, batch, version: 0 });
        key
    }

    /// Whoever asks the desk is answered so.
    pub(crate) fn answer(&mut self, answer: &Answer) {
        while let Some(effect) = self.fanout.next_effect() {
            if let Effect::Ask { viewer, .. } = effect {
                self.fanout.answered(viewer, answer.clone(), &mut self.net);
            }
        }
    }

    /// The socket takes everything from now on; what it has taken in all.
    pub(crate) fn drain(&mut self, key: Key) -> String {
        self.net.room.insert(key, usize::MAX);
        self.fanout.writable(key, &mut self.net);
        String::from_utf8_lossy(&self.net.taken[&key]).into_owned()
    }

    pub(crate) fn say(&mut self, key: Key, opcode: u8, payload: &[u8]) {
        let mut bytes = vec![0x80 | opcode, 0x80 | payload.len() as u8, 7, 7, 7, 7];
        let mut payload = payload.to_vec();
        unmask(&mut payload, [7; 4]);
        bytes.extend(payload);
        self.fanout.received(key, &mut bytes, &mut self.net);
    }

    /// Time goes by in steps of 10 ms; `each` is done in each of them.
    pub(crate) fn wait(&mut self, ms: u64, mut each: impl FnMut(&mut Self)) {
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
