//! What the fan-out needs from outside, and what it gives back.

use std::io::IoSlice;
use std::sync::Arc;

use crate::access::Pass;
use crate::account::Charge;
use crate::fanout::{Question, Wants};
use crate::id::{StreamId, ThreadId};
use crate::slots::Key;
use crate::topic::TopicLog;

/// A topic as the whole process shares it.
pub trait Topic: Clone {
    /// The task.
    fn thread(&self) -> &ThreadId;
    /// Looks at the log for a moment; nothing where it has not begun.
    fn with_log<R>(&self, look: impl FnOnce(&TopicLog) -> R) -> Option<R>;
    /// What is appended from here on is to be told by [`Fanout::news`](super::Fanout::news) again.
    fn listen(&self);
    /// One more of its viewers lags, or one less.
    fn count_lagging(&self, lagging: bool);
    /// Whether both are the same.
    fn is(&self, other: &Self) -> bool;
}

/// What the fan-out does at once.
pub trait Io {
    /// The topics that it is about.
    type Topic: Topic;

    /// Sends to a socket what it takes of these slices, without waiting.
    fn send(&mut self, socket: Key, slices: &[IoSlice<'_>]) -> Sent;

    /// Sends the same to each of these sockets; the results in their order.
    fn send_each(&mut self, sockets: &[Key], slices: &[IoSlice<'_>], results: &mut Vec<Sent>);

    /// The topic of a thread, with one more viewer here.
    fn join(&mut self, thread: &ThreadId) -> Self::Topic;

    /// Counts something.
    fn count(&mut self, what: Count, number: u64);

    /// A socket was closed with this code; 1006 where there was no Close frame.
    fn count_close(&mut self, code: u16);

    /// Entries were handed to that many sockets, for the measurement of their ages.
    fn delivered(&mut self, positions: impl Iterator<Item = StreamId>, viewers: usize);
}

/// What came of a send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The socket took so many bytes. Where that is less than it was given, it is full.
    Bytes(usize),
    /// It takes nothing now.
    Full,
    /// It is broken.
    Gone,
}

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A socket came,
    Socket,
    /// or went.
    SocketGone,
    /// A viewer came,
    Viewer,
    /// or went.
    ViewerGone,
    /// A viewer lags,
    Lagging,
    /// or does no more.
    NotLagging,
    /// Frames handed to sockets.
    FramesSent,
    /// Bytes handed to sockets.
    BytesSent,
    /// Calls that handed something to a socket.
    Sends,
    /// Sends that the socket did not take whole.
    SendsBlocked,
    /// Pings.
    PingsSent,
    /// Viewers that were dropped because they showed no sign of life.
    Timeouts,
    /// Viewers that were closed because memory is spent and they took nothing.
    Stalled,
}

/// What is to be done about something.
#[derive(Debug)]
pub enum Effect<T> {
    /// A viewer waits for an answer of its topic's desk.
    Ask {
        /// The topic.
        topic: T,
        /// The viewer.
        viewer: Key,
        /// What it wants.
        wants: Wants,
        /// It is not known yet whether there is such a thread.
        attaching: bool,
        /// The epoch that its position is of; none where that came from outside.
        epoch: Option<u32>,
        /// How many units of the topic's log it has, where that is known.
        received: Option<u64>,
    },
    /// It waits no more.
    Withdraw {
        /// The topic.
        topic: T,
        /// The viewer.
        viewer: Key,
        /// It was attaching.
        attaching: bool,
    },
    /// Somebody waits for the topic's state, to be told what of it he lacks: it is to be read, once for
    /// all.
    ReadState(T),
    /// A viewer of the topic left.
    Leave(T),
    /// The socket may be read again.
    Read(Key),
    /// Nothing more will be sent: shut that direction.
    Shut(Key),
    /// The socket is to be closed; its key means nothing any more.
    End(Key),
    /// A socket sends a token: what it grants is to be found, and told by
    /// [`Fanout::authenticated`](super::Fanout::authenticated).
    Authenticate {
        /// The socket.
        socket: Key,
        /// The token.
        token: Box<str>,
        /// What is held for it.
        charge: Charge,
    },
    /// The application is to be asked whether a socket may watch a task, and what it says told by
    /// [`Fanout::decided`](super::Fanout::decided).
    Decide {
        /// The question.
        question: Question,
        /// The task.
        thread: ThreadId,
    },
    /// Somebody was not given what he asked for.
    Refused {
        /// His socket.
        socket: Key,
        /// What he has, where that is known.
        pass: Option<Arc<Pass>>,
        /// The task.
        task: Option<Box<str>>,
        /// The reason, in words.
        why: &'static str,
    },
    /// A viewer was closed because it lagged by that many entries.
    LagClosed(T, u64),
}
