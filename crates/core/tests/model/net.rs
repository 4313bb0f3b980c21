//! The network of the model: sends take any part of what they are given, or nothing, and what is
//! taken is at the other end at once.

use std::collections::HashMap;
use std::io::IoSlice;

use rand::RngExt as _;
use rand::rngs::StdRng;
use taskcast_core::fanout::{Count, Io, Sent};
use taskcast_core::id::{StreamId, ThreadId};
use taskcast_core::slots::Key;

use crate::client::Client;
use crate::stream::Stream;
use crate::topic::{Followed, number_of};

pub(crate) struct Net {
    pub(crate) clients: HashMap<Key, Client>,
    pub(crate) streams: Vec<Stream>,
    pub(crate) topics: Vec<Followed>,
    pub(crate) random: StdRng,
    pub(crate) lagging: i64,
    pub(crate) viewers: i64,
    pub(crate) closes: Vec<u16>,
}

impl Io for Net {
    type Topic = Followed;

    fn send(&mut self, socket: Key, slices: &[IoSlice<'_>]) -> Sent {
        let client = self.clients.get_mut(&socket).expect("a send to a socket that is gone");
        if client.broken {
            return Sent::Gone;
        }
        let sent = client.send(slices);
        client.check(&self.streams);
        match sent {
            0 => Sent::Full,
            sent => Sent::Bytes(sent),
        }
    }

    fn send_each(&mut self, sockets: &[Key], slices: &[IoSlice<'_>], results: &mut Vec<Sent>) {
        // A batch may be worked off in any order.
        let mut order: Vec<usize> = (0..sockets.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.random.random_range(0..=at));
        }
        let mut sent = vec![Sent::Full; sockets.len()];
        for at in order {
            sent[at] = self.send(sockets[at], slices);
        }
        results.extend(sent);
    }

    fn join(&mut self, thread: &ThreadId) -> Followed {
        let topic = self.topics[number_of(thread.as_str())].clone();
        topic.0.viewers.set(topic.0.viewers.get() + 1);
        topic
    }

    fn count(&mut self, what: Count, number: u64) {
        let number = number as i64;
        match what {
            Count::Lagging => self.lagging += number,
            Count::NotLagging => self.lagging -= number,
            Count::Viewer => self.viewers += number,
            Count::ViewerGone => self.viewers -= number,
            _ => {}
        }
    }

    fn count_close(&mut self, code: u16) {
        self.closes.push(code);
    }

    fn delivered(&mut self, mut positions: impl Iterator<Item = StreamId>, viewers: usize) {
        assert!(positions.next().is_some() && viewers > 0);
    }
}
