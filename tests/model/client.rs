//! The other end of a socket: takes the bytes, and checks every frame against the naive streams.

use std::collections::HashMap;

use taskcast::id::StreamId;

use crate::stream::Stream;

/// What one subscription has seen.
struct Seen {
    position: StreamId,
    /// It begins with a state.
    owed_state: bool,
    owed_caught_up: Owed,
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
    received: Vec<u8>,
    seen: HashMap<usize, Seen>,
    /// Right behind a `gap` comes this stream's state, and nothing between.
    behind_gap: Option<usize>,
    pub(crate) pongs_sent: u64,
    pongs: u64,
}

impl Client {
    pub(crate) fn new(room: usize, whole_frames: bool) -> Self {
        Self {
            room,
            whole_frames,
            received: Vec::new(),
            seen: HashMap::new(),
            behind_gap: None,
            pongs_sent: 0,
            pongs: 0,
        }
    }

    /// A subscription begins. False where there was one of the same stream before: what is still
    /// under way of that one could be mixed up with this one.
    pub(crate) fn subscribe(&mut self, stream: usize, since: Option<StreamId>) -> bool {
        let seen = Seen {
            position: since.unwrap_or_default(),
            owed_state: since.is_none(),
            owed_caught_up: if since.is_some() { Owed::Yes } else { Owed::No },
        };
        if self.seen.contains_key(&stream) {
            return false;
        }
        self.seen.insert(stream, seen);
        true
    }

    /// What the kernel does with a vectored send: takes what there is room for.
    pub(crate) fn send(&mut self, slices: &[std::io::IoSlice<'_>]) -> Option<usize> {
        assert!(slices.iter().any(|slice| !slice.is_empty()), "a send of nothing");
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
        (sent > 0).then_some(sent)
    }

    /// Checks the frames that are complete.
    pub(crate) fn check(&mut self, streams: &[Stream]) {
        let received = std::mem::take(&mut self.received);
        let mut rest = &received[..];
        while let Some((opcode, payload, whole)) = split_frame(rest) {
            match opcode {
                0x81 => self.check_text(payload, &rest[..whole], streams),
                0x8a => {
                    assert_eq!(payload, self.pongs.to_be_bytes(), "pongs are in order");
                    assert_eq!(self.behind_gap, None, "a pong between a gap and its state");
                    self.pongs += 1;
                }
                other => panic!("no frame begins with {other:#x}"),
            }
            rest = &rest[whole..];
        }
        self.received = rest.to_vec();
    }

    fn check_text(&mut self, payload: &[u8], frame: &[u8], streams: &[Stream]) {
        let text = std::str::from_utf8(payload).unwrap();
        let mut words = text.split(' ');
        let kind = words.next().unwrap();
        let number: usize = words.next().unwrap().parse().unwrap();
        let id: StreamId = words.next().unwrap().parse().unwrap();
        let stream = &streams[number];
        let seen = self.seen.get_mut(&number).unwrap();
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
                assert!(!stream.is_honest(id), "a gap where nothing is missing");
                self.behind_gap = Some(number);
                if seen.owed_caught_up == Owed::Yes {
                    seen.owed_caught_up = Owed::Perhaps;
                }
            }
            "caught_up" => {
                assert_ne!(seen.owed_caught_up, Owed::No, "caught up twice");
                seen.owed_caught_up = Owed::No;
                // Who asks for everything of a stream that keeps nothing is caught up at once.
                assert!(id == seen.position || seen.position == StreamId::ZERO);
                seen.position = id;
            }
            other => panic!("{other}"),
        }
    }

    /// Nothing is left that the viewer of a stream should have.
    pub(crate) fn assert_has_everything_of(&self, stream: &Stream) {
        let seen = &self.seen[&stream.number];
        assert!(self.received.is_empty(), "half a frame is left");
        assert_eq!(seen.position, stream.last, "the last entry has not come");
        assert!(!seen.owed_state && self.behind_gap.is_none());
        assert_ne!(seen.owed_caught_up, Owed::Yes);
        assert_eq!(self.pongs, self.pongs_sent);
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
