//! The fan-out against a naive model: thousands of random steps over topics, positions, flush order,
//! sends that are cut at any byte, messages that come in pieces, trims, pages, new streams, time and
//! spent memory. Every viewer gets exactly the frames behind where it began, whole and in order; every
//! Ping that could be answered is; and what was held is given back to the byte.
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
mod net;
mod stream;
mod topic;

use std::collections::{HashMap, VecDeque};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use taskcast_core::account::{Account, Charge, Kind};
use taskcast_core::fanout::{
    Admission, Answer, Appetite, Effect, Fanout, Purpose, Settings, Topic as _,
};
use taskcast_core::id::StreamId;
use taskcast_core::position::{Position, Run};
use taskcast_core::since::Since;
use taskcast_core::slots::Key;
use taskcast_core::topic::TopicLog;

use client::Client;
use desk::Question;
use net::Net;
use stream::Stream;
use topic::Followed;

/// The last one is of no task.
const STREAMS: usize = 4;
const SOCKETS_MAX: usize = 12;
const WORLDS: u64 = 40;
const MEMORY_BYTES_MAX: usize = 4_000_000;

struct World {
    fanout: Fanout<Followed>,
    net: Net,
    account: Account,
    /// Memory that something else takes.
    elsewhere: Option<Charge>,
    now_ms: u64,
    news: Vec<Followed>,
    questions: VecDeque<(Key, Question)>,
    /// Answers that are on their way.
    answers: VecDeque<(Key, Answer)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let account = Account::new(MEMORY_BYTES_MAX);
        let settings = Settings {
            message_bytes_max: 1_000,
            messages_per_turn: 4,
            socket_subscriptions_max: STREAMS,
            subscribe_burst: 20,
            subscribe_per_second: 50,
            socket_questions_max: 2,
            viewer_timeout_ms: 4_000,
            ping_interval_ms: 3_000,
            close_timeout_ms: 500,
            stall_timeout_ms: 2_000,
            viewers_per_slice: 3,
            slices_per_send_max: 3,
            ..Settings::default()
        };
        let streams: Vec<Stream> =
            (0..STREAMS).map(|number| Stream::new(number, number == STREAMS - 1)).collect();
        let topics = streams
            .iter()
            .map(|stream| Followed::new(stream.number, TopicLog::new(stream.last)))
            .collect();
        Self {
            fanout: Fanout::new(settings, account.clone(), 0),
            net: Net {
                clients: HashMap::new(),
                streams,
                topics,
                random: StdRng::seed_from_u64(seed),
                lagging: 0,
                viewers: 0,
                closes: Vec::new(),
            },
            account,
            elsewhere: None,
            now_ms: 0,
            news: Vec::new(),
            questions: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }

    fn chance(&mut self, of: f64) -> bool {
        self.net.random.random_bool(of)
    }

    fn any_client(&mut self) -> Option<Key> {
        let mut keys: Vec<Key> = self.net.clients.keys().copied().collect();
        keys.sort_by_key(|key| key.to_bits());
        (!keys.is_empty()).then(|| keys[self.net.random.random_range(0..keys.len())])
    }

    fn step(&mut self) {
        let number = self.net.random.random_range(0..STREAMS - 1);
        let client = self.any_client();
        match self.net.random.random_range(0..1_000) {
            0..180 => self.net.streams[number].add(&mut self.net.random),
            180..330 => _ = self.tail(number),
            330..420 => self.tell_news(),
            420..540 => self.fanout.flush_some(&mut self.net),
            540..700 => client.into_iter().for_each(|key| self.make_room(key)),
            700..760 => client.into_iter().for_each(|key| self.say_something(key)),
            760..850 => client.into_iter().for_each(|key| self.read(key)),
            850..880 => self.connect(),
            880..940 => {
                self.answer_one();
                self.deliver_one();
            }
            940..955 => {
                let head = self.net.topics[number].with_log(TopicLog::head).unwrap();
                self.net.streams[number].delete(head, &mut self.net.random);
            }
            955..959 => {
                let length = self.net.random.random_range(0..30);
                self.net.streams[number].trim(length);
            }
            959..962 => self.net.streams[number].reset(&mut self.net.random),
            962..966 => self.net.topics[number].0.log.borrow_mut().release(),
            966..970 => {
                let bytes_max = self.net.random.random_range(0..500);
                self.net.topics[number].0.log.borrow_mut().trim(bytes_max);
            }
            970..990 => self.let_time_pass(),
            990..993 => self.spend_memory(),
            _ => client.into_iter().for_each(|key| self.leave(key)),
        }
        self.settle_effects();
    }

    fn tail(&mut self, number: usize) -> bool {
        let Net { streams, topics, random, .. } = &mut self.net;
        let topic = &topics[number];
        let grown = desk::tail(&self.account, &streams[number], topic, random);
        if grown && topic.0.viewers.get() > 0 && !topic.0.told.replace(true) {
            self.news.push(topic.clone());
        }
        grown
    }

    fn tell_news(&mut self) {
        std::mem::take(&mut self.news).iter().for_each(|topic| self.fanout.news(topic));
    }

    /// The other side reads: a byte, some, or all that there is.
    fn make_room(&mut self, key: Key) {
        let more = match self.net.random.random_range(0..10) {
            0..3 => 1,
            3..9 => self.net.random.random_range(1..300),
            _ => 100_000,
        };
        self.net.clients.get_mut(&key).unwrap().room += more;
        // There may be room before anybody says so.
        if self.chance(0.7) {
            self.fanout.writable(key, &mut self.net);
        }
    }

    fn say_something(&mut self, key: Key) {
        let random = &mut self.net.random;
        let kind = random.random_range(0..10);
        let stream = random.random_range(0..STREAMS);
        let (malformed, nothing) = (random.random_bool(0.5), random.random_range(0..900));
        let since = Self::any_since(&self.net.streams[stream], random);
        let asked_for = &self.net.streams[stream];
        let client = self.net.clients.get_mut(&key).unwrap();
        match kind {
            0..3 => client.ping(),
            3..5 => client.json_ping(),
            5 => client.say(2, &vec![b'x'; nothing]),
            6 | 7 if !client.is_single => client.subscribe(asked_for, since),
            8 if !client.is_single => client.unsubscribe(stream),
            9 if !client.is_single => client.subscribe_badly(malformed),
            _ => client.say(1, &vec![b'{'; nothing]),
        }
    }

    fn any_since(stream: &Stream, random: &mut StdRng) -> Option<StreamId> {
        let kept = stream.after(StreamId::ZERO, usize::MAX);
        match random.random_range(0..6) {
            0 | 1 => None,
            2 => Some(StreamId::ZERO),
            3 => Some(stream.last),
            4 if !kept.is_empty() => Some(kept[random.random_range(0..kept.len())]),
            // Of no stream, or of one that is gone.
            _ => Some(StreamId { ms: random.random_range(1..2_000), seq: 77 }),
        }
    }

    fn connect(&mut self) {
        if self.net.clients.len() >= SOCKETS_MAX {
            return;
        }
        let random = &mut self.net.random;
        let room = if random.random_bool(0.3) { 0 } else { random.random_range(0..2_000) };
        let whole_frames = random.random_bool(0.4);
        let is_single = random.random_bool(0.5);
        let stream = random.random_range(0..STREAMS - 1);
        let since = Self::any_since(&self.net.streams[stream], random);
        let mut client = Client::new(room, whole_frames, is_single);
        let purpose = if is_single {
            client.expect(&self.net.streams[stream], since);
            let since = since.map(Since::After);
            Purpose::Task { thread: Ok(topic::thread(stream)), since }
        } else {
            Purpose::Tasks
        };
        let key = self.fanout.connect(&mut self.net);
        assert!(self.net.clients.insert(key, client).is_none());
        self.fanout.begin(key, purpose, Admission::Open, &mut self.net);
    }

    /// The server reads what the client says, as much as it wants to.
    fn read(&mut self, key: Key) {
        match self.fanout.appetite(key) {
            Appetite::Unread => self.fanout.go_on_reading(key, &mut self.net),
            Appetite::Hungry => {
                let number = self.net.random.random_range(1..100);
                let Some(client) = self.net.clients.get_mut(&key) else { return };
                let number = number.min(client.says.len());
                let mut input: Vec<u8> = client.says.drain(..number).collect();
                if !input.is_empty() {
                    self.fanout.received(key, &mut input, &mut self.net);
                }
            }
            Appetite::Sated => {}
        }
    }

    fn let_time_pass(&mut self) {
        self.now_ms += self.net.random.random_range(1..900);
        self.fanout.set_now(self.now_ms);
        self.fanout.tick(&mut self.net);
    }

    /// Something else takes the memory, or gives it back.
    fn spend_memory(&mut self) {
        self.elsewhere = match self.elsewhere {
            Some(_) => None,
            None => {
                let bytes = self.net.random.random_range(0..MEMORY_BYTES_MAX);
                Some(self.account.charge(Kind::Bodies, bytes))
            }
        };
    }

    /// A client goes: without a word, broken, or with a Close.
    fn leave(&mut self, key: Key) {
        match self.net.random.random_range(0..4) {
            0 => self.fanout.ended(key, &mut self.net),
            1 => self.net.clients.get_mut(&key).unwrap().broken = true,
            2 => self.fanout.drop_socket(key, 1006, &mut self.net),
            _ => self.net.clients.get_mut(&key).unwrap().say(8, &1000_u16.to_be_bytes()),
        }
    }

    /// The log answers one who asks; the answer has its own way to go.
    fn answer_one(&mut self) -> bool {
        let Some((key, question)) = self.questions.pop_front() else { return false };
        let Net { streams, topics, random, .. } = &mut self.net;
        let (stream, topic) = (&streams[question.topic], &topics[question.topic]);
        match desk::answer(&self.account, stream, topic, question, random) {
            Some(answer) => self.answers.push_back((key, answer)),
            None => self.questions.push_back((key, question)),
        }
        true
    }

    fn deliver_one(&mut self) {
        if self.chance(0.7)
            && let Some((key, answer)) = self.answers.pop_front()
        {
            self.fanout.answered(key, answer, &mut self.net);
        }
    }

    fn settle_effects(&mut self) {
        while let Some(effect) = self.fanout.next_effect() {
            match effect {
                Effect::Authenticate { .. } | Effect::Decide { .. } | Effect::Refused { .. } => {
                    unreachable!("nobody is asked here")
                }
                Effect::Ask { topic, viewer, wants, epoch, .. } => {
                    let topic = topic.0.number;
                    self.questions.push_back((viewer, Question { topic, wants, epoch }));
                }
                Effect::Withdraw { viewer, .. } => {
                    let before = self.questions.len() + self.answers.len();
                    self.questions.retain(|(waiting, _)| *waiting != viewer);
                    self.answers.retain(|(waiting, _)| *waiting != viewer);
                    assert_eq!(self.questions.len() + self.answers.len(), before - 1);
                }
                Effect::Leave(topic) => topic.0.viewers.set(topic.0.viewers.get() - 1),
                Effect::End(key) => {
                    assert!(self.net.clients.remove(&key).is_some(), "it ended twice");
                }
                Effect::Read(_) | Effect::Shut(_) | Effect::ReadState(_) => {}
                Effect::LagClosed(..) => panic!("there is no bound on the lag"),
            }
        }
        let asked: Vec<Key> = self.questions.iter().map(|(key, _)| *key).collect();
        assert!(asked.iter().enumerate().all(|(at, key)| !asked[..at].contains(key)));
    }

    /// From every place, the log holds exactly what the stream was given behind it, or says that
    /// it does not.
    fn check_logs(&self) {
        for (stream, topic) in self.net.streams.iter().zip(&self.net.topics) {
            let log = &*topic.0.log.borrow();
            let floor = log.floor().filter(|floor| !stream.is_skipped(*floor));
            if let Some(mut floor) = floor.map(Position::at) {
                let mut run = Run::default();
                assert!(floor.locate(log) && run.gather(log, floor));
                let bytes: usize = run.slices(usize::MAX).iter().map(|slice| slice.len()).sum();
                assert!(bytes <= log.bytes(), "more is held than counts");
            }
            let kept = stream.after(StreamId::ZERO, usize::MAX);
            let mut located_before = false;
            let is_sent = |id: &StreamId| !stream.is_skipped(*id);
            for (number, id) in kept.iter().enumerate().filter(|(_, id)| is_sent(id)) {
                let mut position = Position::at(*id);
                let located = position.locate(log);
                let ahead = *id > log.head();
                assert!(!located_before || located || ahead, "a hole in the log");
                if !located {
                    continue;
                }
                located_before = true;
                let mut run = Run::default();
                assert!(run.gather(log, position), "located, and not there");
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
                assert!(behind.filter(|id| is_sent(id)).eq(&held), "other entries behind {id}");
            }
        }
    }

    /// Everybody reads all, and everything that is under way arrives.
    fn settle(&mut self) {
        self.elsewhere = None;
        let mut quiet = 0;
        for _ in 0..10_000 {
            let mut busy = false;
            // So long that those who rest, are ahead or wait for the other's Close have their turn.
            self.now_ms += 60;
            self.fanout.set_now(self.now_ms);
            self.fanout.tick(&mut self.net);
            for number in 0..STREAMS - 1 {
                busy |= self.tail(number);
            }
            self.tell_news();
            while self.fanout.has_passes() {
                busy = true;
                self.fanout.flush_some(&mut self.net);
            }
            self.settle_effects();
            for _ in 0..self.questions.len() {
                busy |= self.answer_one();
            }
            while let Some((key, answer)) = self.answers.pop_front() {
                busy = true;
                self.fanout.answered(key, answer, &mut self.net);
                self.settle_effects();
            }
            let mut keys: Vec<Key> = self.net.clients.keys().copied().collect();
            keys.sort_by_key(|key| key.to_bits());
            for key in keys {
                let Some(client) = self.net.clients.get_mut(&key) else { continue };
                busy |= !client.says.is_empty() || client.room != usize::MAX;
                client.room = usize::MAX;
                self.fanout.writable(key, &mut self.net);
                self.read(key);
                self.settle_effects();
            }
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > 30 {
                return self.check_settled();
            }
        }
        panic!("it does not come to rest");
    }

    fn check_settled(&mut self) {
        for (_, client) in self.net.clients.iter().filter(|(_, client)| client.closed.is_none()) {
            client.assert_has_everything(&self.net.streams);
        }
        assert_eq!(self.account.bytes_of(Kind::Rests), 0, "a rest without a frame");
        assert_eq!(self.net.viewers as usize, self.fanout.viewers());
        assert_eq!(self.net.lagging, 0, "nobody lags");
        assert!(self.net.topics.iter().all(|topic| topic.0.lagging.get() == 0));
        assert_eq!(self.net.clients.len(), self.fanout.sockets());
        // From here on the sockets take what there is room for again.
        self.net.clients.values_mut().for_each(|client| client.room = 0);
    }

    /// Everybody goes; nothing is held for anybody any more, and nobody is asked for.
    fn end(mut self) {
        // In the middle of something.
        (0..200).for_each(|_| self.step());
        self.fanout.drain(2_000);
        for _ in 0..400 {
            self.now_ms += 10;
            self.fanout.set_now(self.now_ms);
            self.fanout.tick(&mut self.net);
            self.settle_effects();
        }
        assert_eq!((self.fanout.sockets(), self.net.viewers), (0, 0));
        assert!(self.questions.is_empty() && self.answers.is_empty(), "asked for nobody");
        assert!(self.fanout.topics().next().is_none());
        self.net.topics.iter().for_each(|topic| topic.0.log.borrow_mut().release());
        self.elsewhere = None;
        drop(self.fanout);
        assert_eq!(self.account.bytes(), 0, "something is charged for nothing");
        assert!(Kind::ALL.iter().all(|kind| self.account.bytes_of(*kind) == 0));
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
            }
        }
        world.end();
    }
}
