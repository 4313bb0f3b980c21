//! A worker: one thread with its sockets, and the fan-out to them.
//!
//! Everything that happens to viewers is decided by [`Fanout`], on the worker's own thread; this is
//! the poll loop around it. The tasks beside it are listed in [`thread`].

mod admission;
mod followed;
mod lag;
mod secured;
mod sockets;
pub(crate) mod thread;
mod together;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};
use tokio::time::Instant;

use crate::access::Arrival;
use crate::audit::Who;
use crate::config::Config;
use crate::core::fanout::{Admission, Appetite, Effect, Fanout, Settings};
use crate::core::slots::Key;
use crate::desk::{self, Waiter};
use crate::newcomer::Newcomer;
use crate::readings;
use crate::shared::{Shared, WorkerMessage};
use crate::tls::Bare;
use crate::topic::Topic;
use admission::denied;
use followed::Followed;
use sockets::{Received, Sockets};

/// Bytes that are read from a socket at a time, into a buffer that all sockets share,
const READ_BYTES: usize = 16 * 1024;

/// and where memory is spent.
const READ_BYTES_FULL: usize = 2 * 1024;

/// Bytes that are read from all sockets before those who wait for news have their turn.
const READ_BYTES_PER_TURN: usize = 256 * 1024;

/// Socket events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;

/// So long after its time a question to the application is given up.
const DECISION_SLACK_MS: u64 = 1_000;

/// A lagging viewer's question has no deadline: it waits for Redis as long as it takes.
const NO_DEADLINE: Duration = Duration::from_secs(365 * 86_400);

/// The viewers of one thread.
pub(crate) struct Worker {
    number: usize,
    shared: Arc<Shared>,
    poll: Poll,
    events: Option<Events>,
    fanout: Fanout<Followed>,
    sockets: Sockets,
    /// Sockets to be read, in the order of their turns.
    readable: VecDeque<Key>,
    buffer: Vec<u8>,
    lag: lag::LagWatch,
    started: Instant,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, number: usize) -> io::Result<Self> {
        let poll = Poll::new()?;
        Ok(Self {
            number,
            events: Some(Events::with_capacity(EVENTS_MAX)),
            fanout: Fanout::new(settings(&shared.config), shared.account.clone(), 0),
            sockets: Sockets::new(shared.clone(), number, poll.registry().try_clone()?)?,
            readable: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            lag: lag::LagWatch::new(),
            started: Instant::now(),
            poll,
            shared,
        })
    }

    /// The kernel's queue of socket events, to wait for.
    pub(crate) fn poll(&self) -> &Poll {
        &self.poll
    }

    /// How it sends to many sockets.
    pub(crate) fn sends_by(&self) -> &'static str {
        self.sockets.sends_by()
    }

    /// Takes a socket over after its handshake, with what came along with the handshake.
    pub(crate) fn adopt(
        &mut self,
        bare: Bare,
        mut early: Vec<u8>,
        newcomer: Newcomer,
    ) -> io::Result<()> {
        self.look_at_clock();
        let Newcomer { purpose, arrival, guest } = newcomer;
        let asks = guest.shown.is_some();
        let admission = match arrival {
            Arrival::Open => Admission::Open,
            Arrival::Granted(pass, is_known) => match self.check_anew(&pass) {
                Ok(()) => Admission::Granted(self.granted(pass, is_known, asks)),
                Err(denied) => Admission::Refused(denied),
            },
            Arrival::Refused(refused) => Admission::Refused(denied(refused)),
        };
        let key = self.fanout.connect(&mut self.sockets);
        let registered = self.sockets.insert(key, bare, guest);
        if registered.is_err() {
            self.fanout.drop_socket(key, 1006, &mut self.sockets);
        } else {
            self.fanout.begin(key, purpose, admission, &mut self.sockets);
        }
        if !early.is_empty() {
            self.fanout.received(key, &mut early, &mut self.sockets);
            // What is over its budget for now is looked at in its turn.
            self.queue(key);
        }
        self.settle();
        registered
    }

    /// Begins to close every socket with 1012.
    pub(crate) fn drain(&mut self, limit: Duration) {
        self.look_at_clock();
        self.fanout.drain(limit.as_millis() as u64);
    }

    /// Does what there is to do, up to a slice of each kind of work. Whether there is more.
    pub(crate) fn turn(&mut self) -> bool {
        self.look_at_clock();
        self.take_messages();
        self.fanout.tick(&mut self.sockets);
        self.read_some();
        self.fanout.flush_some(&mut self.sockets);
        self.settle();
        self.measure_lag();
        if self.number == 0 {
            self.shared.shrink_if_tight();
        }
        self.fanout.has_passes() || !self.readable.is_empty()
    }

    /// When something has to be done at the latest.
    pub(crate) fn next_deadline(&self) -> Instant {
        self.started + Duration::from_millis(self.fanout.next_deadline_ms())
    }

    /// Number of open sockets.
    pub(crate) fn sockets(&self) -> usize {
        self.fanout.sockets()
    }

    /// Takes what the kernel tells of the sockets.
    pub(crate) fn take_events(&mut self) {
        self.look_at_clock();
        let Some(mut events) = self.events.take() else { return };
        loop {
            if let Err(error) = self.poll.poll(&mut events, Some(Duration::ZERO)) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                tracing::error!(worker = self.number, %error, "poll_failed");
                break;
            }
            let mut number = 0;
            for event in &events {
                number += 1;
                let key = Key::from_bits(event.token().0 as u64);
                if event.is_writable() {
                    self.sockets.flush(key);
                    self.fanout.writable(key, &mut self.sockets);
                }
                let ends = event.is_read_closed() || event.is_error();
                if ends {
                    self.sockets.hang_up(key);
                }
                if event.is_readable() || ends {
                    self.queue(key);
                }
            }
            self.settle();
            if number < EVENTS_MAX {
                break;
            }
        }
        self.events = Some(events);
    }

    fn look_at_clock(&mut self) {
        self.fanout.set_now(self.started.elapsed().as_millis() as u64);
    }

    fn take_messages(&mut self) {
        for message in self.shared.clone().inboxes[self.number].take() {
            match message {
                WorkerMessage::New(topic) => self.fanout.news(&self.followed(topic)),
                WorkerMessage::Failed(topic) => {
                    let topic = self.followed(topic);
                    self.fanout.failed(&topic, &mut self.sockets);
                }
                WorkerMessage::Derived(topic, batch, derived) => {
                    let topic = self.followed(topic);
                    self.fanout.derive(&topic, batch, &derived, &mut self.sockets);
                }
                WorkerMessage::Answer(viewer, answer) => {
                    self.fanout.answered(viewer, answer, &mut self.sockets);
                }
                WorkerMessage::Revoked => {
                    let access = self.shared.access.clone();
                    self.fanout.revoke(|pass| access.has_revoked(pass), &mut self.sockets);
                }
                WorkerMessage::Authenticated(socket, result) => {
                    let result = result.map_err(denied).and_then(|(pass, shown)| {
                        self.check_anew(&pass)?;
                        self.sockets.seat(socket, &pass)?;
                        let asks = shown.is_some();
                        self.sockets.show(socket, shown);
                        Ok(self.granted(pass, true, asks))
                    });
                    self.fanout.authenticated(socket, result, &mut self.sockets);
                }
                WorkerMessage::Decided(question, decision) => {
                    let decision = decision.map(|ends| self.at_ms(ends)).map_err(denied);
                    self.fanout.decided(question, decision, &mut self.sockets);
                }
            }
        }
    }

    fn followed(&self, topic: Arc<Topic>) -> Followed {
        Followed { topic, worker: self.number }
    }

    fn queue(&mut self, key: Key) {
        if self.sockets.queue(key) {
            self.readable.push_back(key);
        }
    }

    /// Reads some of the sockets that have something.
    fn read_some(&mut self) {
        let mut bytes_left = READ_BYTES_PER_TURN;
        for _ in 0..self.readable.len() {
            let Some(key) = self.readable.pop_front() else { return };
            self.sockets.unqueue(key);
            bytes_left = bytes_left.saturating_sub(self.read(key));
            if bytes_left == 0 {
                return;
            }
        }
    }

    /// Reads what a socket has, up to its turn's end. What that cost, in bytes.
    fn read(&mut self, key: Key) -> usize {
        match self.fanout.appetite(key) {
            Appetite::Hungry => {}
            Appetite::Unread => {
                self.fanout.go_on_reading(key, &mut self.sockets);
                self.queue(key);
                return READ_BYTES;
            }
            // Where the other side is gone, nobody waits for what it sent.
            Appetite::Sated if self.sockets.is_hung_up(key) => {
                self.fanout.ended(key, &mut self.sockets);
                return 0;
            }
            Appetite::Sated => return 0,
        }
        let full = self.shared.account.is_full_of_input();
        let bytes_max = if full { READ_BYTES_FULL } else { READ_BYTES };
        match self.sockets.read(key, &mut self.buffer, bytes_max) {
            Ok(Received { ended: true, .. }) => {
                self.fanout.ended(key, &mut self.sockets);
                0
            }
            Ok(Received { bytes, more, .. }) => {
                self.fanout.received(key, &mut self.buffer[..bytes], &mut self.sockets);
                if more || self.fanout.appetite(key) == Appetite::Unread {
                    self.queue(key);
                }
                bytes
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.fanout.drop_socket(key, 1006, &mut self.sockets);
                0
            }
        }
    }

    /// Does what the fan-out asks for.
    fn settle(&mut self) {
        while let Some(effect) = self.fanout.next_effect() {
            match effect {
                Effect::Ask { topic, viewer, wants, attaching, epoch, received } => {
                    let attach_timeout = self.shared.config.limits.attach_timeout();
                    let patience = if attaching { attach_timeout } else { NO_DEADLINE };
                    let deadline = Instant::now() + patience;
                    let waiter = Waiter::new((self.number, viewer), wants, attaching, deadline)
                        .standing(epoch, received);
                    desk::wait(&self.shared, &topic.topic, waiter);
                }
                Effect::Withdraw { topic, viewer, attaching } => {
                    desk::withdraw(&topic.topic, self.number, viewer, attaching);
                }
                Effect::ReadState(followed) => {
                    readings::read_for_one(&self.shared, &followed.topic);
                }
                Effect::Leave(followed) => {
                    self.shared.topics.leave(&followed.topic, self.number, self.shared.now_ms());
                }
                Effect::Read(key) => self.queue(key),
                Effect::Shut(key) => self.sockets.shut(key),
                Effect::End(key) => self.sockets.remove(key),
                Effect::Authenticate { socket, token, charge } => {
                    self.authenticate(socket, token, charge);
                }
                Effect::Decide { question, thread } => self.decide(question, thread),
                Effect::Refused { socket, pass, task, why } => {
                    if let Some(from) = self.sockets.address_of(socket) {
                        Who::of(pass.as_deref(), from)
                            .refused(task.as_deref().unwrap_or_default(), why);
                    }
                }
                Effect::LagClosed(followed, lag_entries) => {
                    let thread_id = &followed.topic.thread;
                    tracing::info!(%thread_id, lag_entries, "lagging_viewer_closed");
                }
            }
        }
    }
}

/// Whoever asks the application keeps to its time: this is for whom no answer comes of a fault.
fn decision_timeout_ms(config: &Config) -> u64 {
    config.access.ask.as_ref().map_or(0, |ask| ask.timeout_ms) + DECISION_SLACK_MS
}

fn settings(config: &Config) -> Settings {
    let limits = &config.limits;
    Settings {
        message_bytes_max: limits.message_bytes_max,
        socket_subscriptions_max: limits.socket_subscriptions_max,
        viewer_lag_max_entries: limits.viewer_lag_max_entries,
        ping_interval_ms: limits.ping_interval_ms,
        viewer_timeout_ms: limits.viewer_timeout_ms,
        close_timeout_ms: limits.close_timeout_ms,
        stall_timeout_ms: limits.stall_timeout_ms,
        decision_timeout_ms: decision_timeout_ms(config),
        flush_interval_ms: config.flush_interval_ms,
        sources: config.sources.sources.clone(),
        ..Settings::default()
    }
}
