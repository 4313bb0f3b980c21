//! Push: one viewer gets whatever it lacks, as long as its socket takes it.

use super::{Effect, Fanout, Io, Page, Phase, SocketState, Topic, Watching, pop_if};
use crate::account::Account;
use crate::chunk::Chunk;
use crate::encode;
use crate::position::{Position, Run};
use crate::slots::Key;
use crate::topic::TopicLog;

/// A frame is made for one viewer alone up to this size, in bytes.
const OTHER_CHAIN_BYTES_MAX: usize = 16 * 1024;

/// Where what a viewer lacks is.
enum Lacks {
    /// The topic holds everything from the viewer's position on.
    Held,
    /// It does, but its first frame names another entry before it than the viewer's.
    OtherChain(Box<Page>),
    /// It does not hold it any more.
    Gone,
    /// The tail has not come to the viewer's position yet.
    Ahead,
}

impl<T: Topic> Fanout<T> {
    /// Gives a viewer whatever it lacks, or has it ask for that.
    pub(super) fn push(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        loop {
            let Some(viewer) = self.viewers.get_mut(key) else { return };
            let Some(socket) = self.sockets.get(viewer.socket) else { return };
            let asks = matches!(viewer.phase, Phase::Asking | Phase::Parked);
            if asks || socket.state != SocketState::Open {
                return;
            }
            if !socket.is_free() {
                return self.wait_for_socket(key, io);
            }
            match viewer.phase {
                Phase::Waiting | Phase::Asking | Phase::Parked => return self.ask(key),
                Phase::Refused(refusal) => return self.tell_refusal(key, refusal, io),
                Phase::Following => {}
            }
            let again = match viewer.page.take() {
                Some(page) => self.push_page(key, page, io),
                None => self.push_topic(key, io),
            };
            if !again {
                return;
            }
        }
    }

    /// Sends from what was read for this viewer. Whether to go on.
    fn push_page(&mut self, key: Key, mut page: Box<Page>, io: &mut impl Io<Topic = T>) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return false };
        if let Some(place) = viewer.position.place() {
            page.run.skip_to(place);
        }
        if page.run.is_empty() {
            viewer.position = page.then.unwrap_or(Position::at(page.run.head()));
            return true;
        }
        let slices = page.run.slices(self.settings.slices_per_send_max);
        let result = io.send(viewer.socket, &slices);
        self.sent(key, &page.run, result, &mut page.state, io);
        let Some(viewer) = self.viewers.get_mut(key) else { return false };
        viewer.page = Some(page);
        true
    }

    /// Sends from the topic's log. Whether to go on.
    fn push_topic(&mut self, key: Key, io: &mut impl Io<Topic = T>) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return false };
        let Some(local) = self.topics.get(viewer.topic) else { return false };
        let topic = local.topic.clone();
        let mut run = std::mem::take(&mut self.run);
        let lacks = topic.with_log(|log| {
            // Another stream may have the same ids: look them up in the viewer's own only.
            let known = viewer.position.place().is_some() || viewer.epoch == log.epoch();
            if !known {
                return Lacks::Gone;
            }
            if !viewer.position.locate(log) {
                return if log.head() < viewer.position.id { Lacks::Ahead } else { Lacks::Gone };
            }
            if run.gather(log, viewer.position) {
                return Lacks::Held;
            }
            match first_of_other_chain(log, viewer.position, &self.account) {
                Some(page) => Lacks::OtherChain(Box::new(page)),
                None => Lacks::Gone,
            }
        });
        let more = match lacks {
            Some(Lacks::Held) if run.is_empty() => {
                viewer.has_all_of(&run);
                self.caught_up(key, io);
                self.take_derived(key) || self.take_present(key)
            }
            Some(Lacks::Held) => {
                let slices = run.slices(self.settings.slices_per_send_max);
                let result = io.send(viewer.socket, &slices);
                io.delivered(run.positions(), 1);
                self.sent(key, &run, result, &mut None, io);
                true
            }
            Some(Lacks::OtherChain(page)) => {
                viewer.position.forget_place();
                viewer.page = Some(page);
                true
            }
            Some(Lacks::Ahead) => {
                if !std::mem::replace(&mut viewer.ahead, true) {
                    self.ahead.push_back((self.now_ms, key));
                }
                false
            }
            Some(Lacks::Gone) | None => {
                viewer.position.forget_place();
                self.set_lagging(key, true, io);
                self.ask(key);
                false
            }
        };
        self.run = run;
        more
    }

    /// A viewer has everything.
    fn caught_up(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        self.set_lagging(key, false, io);
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        if !std::mem::take(&mut viewer.owes_caught_up) {
            return;
        }
        let (socket, position) = (viewer.socket, viewer.position.id);
        if let Some(local) = self.topics.get(viewer.topic) {
            let frame = encode::caught_up(local.topic.thread(), position);
            self.put(socket, &frame, io);
        }
    }

    /// A viewer has to wait until its socket takes more.
    fn wait_for_socket(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        let Some(viewer) = self.viewers.get_mut(key) else { return };
        if let Some(many) = self.sockets.get_mut(viewer.socket).and_then(super::Socket::many)
            && !std::mem::replace(&mut viewer.pending, true)
        {
            many.pending.push_back(key);
        }
        if viewer.phase == Phase::Following {
            self.set_lagging(key, true, io);
            self.close_if_too_late(key, io);
        }
    }

    /// With `viewer_lag_max_entries`, a viewer that lags by more is closed.
    fn close_if_too_late(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        let lag_max = self.settings.viewer_lag_max_entries;
        let Some(viewer) = self.viewers.get(key).filter(|_| lag_max > 0) else { return };
        let Some(local) = self.topics.get(viewer.topic) else { return };
        let appended = local.topic.with_log(|log| log.appended());
        let lag = appended.zip(viewer.received).map(|(all, has)| all.saturating_sub(has.get()));
        if let Some(lag) = lag.filter(|lag| *lag > lag_max) {
            self.effects.push_back(Effect::LagClosed(local.topic.clone(), lag));
            self.close(viewer.socket, 1008, "the viewer lags too far behind", io);
        }
    }

    /// A socket is free again: each of its viewers that waits for that has its turn.
    pub(super) fn push_all_of(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        match self.sockets.get(key).map(|socket| &socket.watching) {
            Some(Watching::One(viewer)) => self.push(*viewer, io),
            Some(Watching::Many(_)) => self.go_on_many(key, io),
            Some(Watching::Nothing | Watching::Echo) | None => {}
        }
    }

    /// Those with questions first, then those with something to be sent, each in turn, until the
    /// socket takes no more.
    pub(super) fn go_on_many(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        loop {
            let Some(socket) = self.sockets.get_mut(key) else { return };
            if socket.state != SocketState::Open || !socket.is_free() {
                return;
            }
            let Some(many) = socket.many() else { return };
            let may_ask = many.asking < many.asking_max;
            let next = pop_if(&mut many.waiting, |_| may_ask).or_else(|| many.pending.pop_front());
            let Some(next) = next else { return };
            many.answered.take_if(|answered| *answered == next);
            if let Some(viewer) = self.viewers.get_mut(next) {
                viewer.pending = false;
            }
            self.push(next, io);
        }
    }
}

/// The next entry for a viewer at a place of the log, whose position is that of no entry, or of
/// another one than stands before it there: it was told that nothing is behind it. Not a large one, nor
/// where memory is tight: a page is shared by all who ask for it.
fn first_of_other_chain(log: &TopicLog, at: Position, account: &Account) -> Option<Page> {
    let place = at.place()?;
    let (frame, previous, position) =
        log.unit_at(place).filter(|(.., position)| *position > at.id)?;
    if frame.len() > OTHER_CHAIN_BYTES_MAX || account.is_tight() {
        return None;
    }
    let bytes = encode::with_other_previous(frame, previous, at.id)?;
    let then = Some(Position::at_place(position, place + frame.len() as u64));
    let chunk = Chunk::of_one(account, bytes, at.id, position);
    Some(Page { run: Run::of_state(chunk.into()), then, state: None, lasts: false })
}
