//! The other end of a socket: takes the bytes, checks every frame against the naive streams, and says
//! something itself now and then.

use std::collections::{HashMap, VecDeque};
use std::io::IoSlice;

use serde_json::Value;
use taskcast_core::form::ws::unmask;
use taskcast_core::id::StreamId;

use crate::stream::Stream;
use crate::topic::number_of;

/// What one subscription has seen.
struct Seen {
    position: StreamId,
    /// It begins with a state.
    owed_state: bool,
    owed_caught_up: Owed,
    /// Which of its stream's lives it was when this was asked for.
    asked_in: u64,
    /// Once the answer to this Ping has come, nothing of it comes any more.
    ends_with: Option<u64>,
}

/// Whether a frame is to come: behind a gap, `caught_up` may come or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owed {
    No,
    Perhaps,
    Yes,
}

/// A socket's client. The kernel's part of the socket takes `room` more bytes.
pub(crate) struct Client {
    pub(crate) room: usize,
    /// It takes whole frames only, as long as one fits.
    whole_frames: bool,
    /// It has one task, and no messages.
    pub(crate) is_single: bool,
    /// A send to it fails.
    pub(crate) broken: bool,
    received: Vec<u8>,
    seen: HashMap<usize, Seen>,
    /// Right behind a `gap` comes this stream's state, and nothing between.
    behind_gap: Option<usize>,
    /// What it has to say still, in whole frames, masked.
    pub(crate) says: VecDeque<u8>,
    pings_sent: u64,
    pongs: u64,
    json_pings_sent: u64,
    json_pongs: u64,
    /// A send was cut, so answers to Pings may have been left out since.
    was_full: bool,
    /// What is wrong with its subscriptions, in the order in which it will be told.
    errors: VecDeque<&'static str>,
    /// The server has said Close.
    pub(crate) closed: Option<u16>,
}

impl Client {
    pub(crate) fn new(room: usize, whole_frames: bool, is_single: bool) -> Self {
        Self {
            room,
            whole_frames,
            is_single,
            broken: false,
            received: Vec::new(),
            seen: HashMap::new(),
            behind_gap: None,
            says: VecDeque::new(),
            pings_sent: 0,
            pongs: 0,
            json_pings_sent: 0,
            json_pongs: 0,
            was_full: false,
            errors: VecDeque::new(),
            closed: None,
        }
    }

    /// A subscription begins.
    pub(crate) fn expect(&mut self, stream: &Stream, since: Option<StreamId>) {
        let seen = Seen {
            position: since.unwrap_or_default(),
            owed_state: since.is_none(),
            owed_caught_up: if since.is_some() { Owed::Yes } else { Owed::No },
            asked_in: stream.life,
            ends_with: None,
        };
        assert!(self.seen.insert(stream.number, seen).is_none());
    }

    /// Asks for a stream, of which it has nothing.
    pub(crate) fn subscribe(&mut self, stream: &Stream, since: Option<StreamId>) {
        let since_member = since.map(|since| format!(",\"since\":\"{since}\"")).unwrap_or_default();
        let number = stream.number;
        let text = format!("{{\"type\":\"subscribe\",\"thread_id\":\"t{number}\"{since_member}}}");
        if self.seen.contains_key(&number) {
            return;
        }
        self.expect(stream, since);
        self.say(1, text.as_bytes());
    }

    /// Wants no more of a stream.
    pub(crate) fn unsubscribe(&mut self, stream: usize) {
        let ping = self.pings_sent;
        let Some(seen) = self.seen.get_mut(&stream) else { return };
        if seen.ends_with.is_none() {
            seen.ends_with = Some(ping);
            let text = format!("{{\"type\":\"unsubscribe\",\"thread_id\":\"t{stream}\"}}");
            self.say(1, text.as_bytes());
            self.ping();
        }
    }

    /// Asks for something that cannot be.
    pub(crate) fn subscribe_badly(&mut self, malformed: bool) {
        let (error, text) = if malformed {
            ("Invalid thread id", "{\"type\":\"subscribe\",\"thread_id\":\"t 0\"}")
        } else {
            ("Invalid since", "{\"type\":\"subscribe\",\"thread_id\":\"t0\",\"since\":7}")
        };
        self.errors.push_back(error);
        self.say(1, text.as_bytes());
    }

    pub(crate) fn ping(&mut self) {
        let payload = self.pings_sent.to_be_bytes();
        self.pings_sent += 1;
        self.say(9, &payload);
    }

    pub(crate) fn json_ping(&mut self) {
        self.json_pings_sent += 1;
        self.say(1, b"{\"type\":\"ping\"}");
    }

    /// Says something, as one frame.
    pub(crate) fn say(&mut self, opcode: u8, payload: &[u8]) {
        let mask = [3, 1, 4, 1];
        let mut payload = payload.to_vec();
        unmask(&mut payload, mask);
        self.says.push_back(0x80 | opcode);
        match payload.len() {
            short @ 0..126 => self.says.push_back(0x80 | short as u8),
            long => {
                self.says.push_back(0x80 | 126);
                self.says.extend((long as u16).to_be_bytes());
            }
        }
        self.says.extend(mask);
        self.says.extend(payload);
    }

    /// What the kernel does with a vectored send: takes what there is room for.
    pub(crate) fn send(&mut self, slices: &[IoSlice<'_>]) -> usize {
        assert!(slices.iter().any(|slice| !slice.is_empty()), "a send of nothing");
        assert_eq!(self.closed, None, "something behind the Close");
        let between_frames = self.received.is_empty();
        let before = self.received.len();
        for slice in slices {
            let room = self.room - (self.received.len() - before);
            self.received.extend_from_slice(&slice[..slice.len().min(room)]);
        }
        if self.whole_frames && between_frames {
            let mut whole = 0;
            while let Some((_, _, length)) = split_frame(&self.received[whole..]) {
                whole += length;
            }
            if whole > 0 {
                self.received.truncate(whole);
            }
        }
        let sent = self.received.len() - before;
        self.room -= sent;
        self.was_full |= sent < slices.iter().map(|slice| slice.len()).sum();
        sent
    }

    /// Checks the frames that are complete.
    pub(crate) fn check(&mut self, streams: &[Stream]) {
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while let Some((opcode, payload, whole)) = split_frame(rest) {
            match opcode {
                0x81 if payload.starts_with(b"{") => self.check_json(payload),
                0x81 => self.check_text(payload, &rest[..whole], streams),
                0x8a => self.check_pong(u64::from_be_bytes(payload.try_into().unwrap())),
                0x89 => self.say(10, payload),
                0x88 => {
                    self.closed = Some(u16::from_be_bytes([payload[0], payload[1]]));
                    assert_eq!(rest.len(), whole, "something behind the Close");
                }
                other => panic!("no frame begins with {other:#x}"),
            }
            rest = &rest[whole..];
        }
        self.received = rest.to_vec();
    }

    /// While the socket is free every Ping is answered, in order; else the newest.
    fn check_pong(&mut self, number: u64) {
        assert_eq!(self.behind_gap, None, "a pong between a gap and its state");
        assert!(number >= self.pongs && number < self.pings_sent, "pongs are in order");
        assert!(number == self.pongs || self.was_full, "a Ping was not answered");
        self.pongs = number + 1;
        if number + 1 == self.pings_sent {
            self.was_full = false;
        }
        self.seen.retain(|_, seen| seen.ends_with.is_none_or(|ping| ping > number));
    }

    fn check_json(&mut self, payload: &[u8]) {
        let frame: Value = serde_json::from_slice(payload).unwrap();
        let text = |name: &str| frame[name].as_str().unwrap();
        if frame.get("type").is_some() {
            self.json_pongs += 1;
            assert!(self.json_pongs <= self.json_pings_sent);
        } else if frame.get("error").is_some() {
            self.check_error(text("error"), text("thread_id"));
        } else {
            assert_eq!(text("update_type"), "caught_up");
            let id: StreamId = text("stream_id").parse().unwrap();
            let seen = self.seen.get_mut(&number_of(text("thread_id"))).unwrap();
            assert_ne!(seen.owed_caught_up, Owed::No, "caught up twice");
            seen.owed_caught_up = Owed::No;
            // Who asks for everything of a stream that keeps nothing is caught up at once.
            assert!(id == seen.position || seen.position == StreamId::ZERO);
            seen.position = id;
        }
    }

    fn check_error(&mut self, error: &str, thread: &str) {
        if error == "Thread not found" || error.starts_with("Redis is out of reach") {
            self.seen.remove(&number_of(thread)).unwrap();
            return;
        }
        assert_eq!(self.errors.pop_front(), Some(error), "errors are told in order");
    }

    fn check_text(&mut self, payload: &[u8], frame: &[u8], streams: &[Stream]) {
        let text = std::str::from_utf8(payload).unwrap();
        let mut words = text.split(' ');
        let kind = words.next().unwrap();
        let number: usize = words.next().unwrap().parse().unwrap();
        let id: StreamId = words.next().unwrap().parse().unwrap();
        let stream = &streams[number];
        let seen = self.seen.get_mut(&number).expect("something of a stream that nobody watches");
        if let Some(owed) = self.behind_gap.take() {
            assert_eq!((kind, number), ("state", owed), "something between a gap and its state");
            seen.position = id;
            return;
        }
        match kind {
            "entry" => {
                assert!(!seen.owed_state, "an entry before the state");
                let given = stream.given(id).unwrap();
                assert_eq!(frame, given.frame, "another entry's bytes");
                if seen.position == StreamId::ZERO {
                    assert!(stream.nothing_kept_before(id), "an entry is left out at the start");
                } else {
                    assert!(stream.follows(id, seen.position), "an entry is lost or repeated");
                }
                seen.position = id;
            }
            "state" => {
                assert!(std::mem::take(&mut seen.owed_state), "a state that nobody asked for");
                seen.position = id;
            }
            "gap" => {
                // Who asked for everything of a stream that kept nothing stood at its end.
                let stands_there = id == seen.position || seen.position == StreamId::ZERO;
                assert!(stands_there, "a gap from where the viewer does not stand");
                // Who had everything of a stream of which nothing is sent still stands at the start of
                // it, which is not the start of the stream that took its place.
                let had_another = seen.owed_caught_up == Owed::No && seen.asked_in != stream.life;
                let is_missing = !stream.is_honest(id) || id == StreamId::ZERO && had_another;
                assert!(is_missing, "a gap where nothing is missing");
                self.behind_gap = Some(number);
                if seen.owed_caught_up == Owed::Yes {
                    seen.owed_caught_up = Owed::Perhaps;
                }
            }
            other => panic!("{other}"),
        }
    }

    /// Nothing is left that it should have.
    pub(crate) fn assert_has_everything(&self, streams: &[Stream]) {
        assert!(self.received.is_empty(), "half a frame is left");
        assert_eq!(self.behind_gap, None);
        assert_eq!(self.pongs, self.pings_sent, "the newest Ping is answered");
        assert!(self.json_pings_sent == 0 || self.json_pongs > 0);
        assert!(self.errors.is_empty(), "an error was not told");
        for (number, seen) in &self.seen {
            let has_all = streams[*number].has_nothing_behind(seen.position);
            assert!(has_all, "the last entry has not come");
            assert!(!seen.owed_state);
            assert_ne!(seen.owed_caught_up, Owed::Yes);
        }
    }
}

/// Opcode byte, payload and whole length of the first frame, once it is complete.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let length = usize::from(*bytes.get(1)?);
    let (length, header) = match length {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        length => (length, 2),
    };
    let payload = bytes.get(header..header + length)?;
    Some((bytes[0], payload, header + length))
}
