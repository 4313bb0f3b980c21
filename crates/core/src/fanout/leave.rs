//! How viewers and sockets leave, and what is told to those who cannot have their task.

use super::attach::SUBSCRIPTION_BYTES;
use super::{Count, Effect, Fanout, Io, Many, Phase, Refusal, Socket, Topic, Watching};
use crate::encode;
use crate::id::ThreadId;
use crate::slots::Key;

/// So few subscriptions take next to nothing.
const SUBSCRIPTIONS_FEW: usize = 16;

impl<T: Topic> Fanout<T> {
    /// A topic cannot be read any more, for a reason that does not pass by itself: its viewers are
    /// told so.
    pub fn failed(&mut self, topic: &T, io: &mut impl Io<Topic = T>) {
        let Some(&key) = self.by_thread.get(topic.thread()) else { return };
        let Some(local) = self.topics.get(key).filter(|local| local.topic.is(topic)) else {
            return;
        };
        for viewer in local.roster.keys().to_vec() {
            self.no_longer_asking(viewer);
            if let Some(viewer) = self.viewers.get_mut(viewer) {
                viewer.phase = Phase::Refused(Refusal::Refused);
                viewer.page = None;
            }
            self.push(viewer, io);
        }
    }

    /// Tells a viewer why it cannot have its task. A socket with one task is closed; on one with
    /// many the others go on.
    pub(super) fn tell_refusal(&mut self, key: Key, refusal: Refusal, io: &mut impl Io<Topic = T>) {
        let Some(viewer) = self.viewers.get(key) else { return };
        let Some(local) = self.topics.get(viewer.topic) else { return };
        let (code, why) = refusal.told();
        let socket = viewer.socket;
        let thread = local.topic.thread().clone();
        let many =
            matches!(self.sockets.get(socket), Some(Socket { watching: Watching::Many(_), .. }));
        if many || refusal == Refusal::NotFound {
            self.put(socket, &encode::error(why, thread.as_str(), thread.source_name()), io);
        }
        if many {
            self.unsubscribe(socket, &thread, io);
        } else {
            self.close(socket, code, why, io);
        }
    }

    /// Ends one of the viewers of a socket with many.
    pub(super) fn unsubscribe(
        &mut self,
        socket: Key,
        thread: &ThreadId,
        io: &mut impl Io<Topic = T>,
    ) {
        let Some(many) = self.sockets.get_mut(socket).and_then(Socket::many) else { return };
        let Some(viewer) = many.viewers.remove(thread) else { return };
        many.charge.set(many.viewers.len() * SUBSCRIPTION_BYTES);
        if self.viewers.get(viewer).is_some_and(|viewer| viewer.pending) {
            many.pending.retain(|pending| *pending != viewer);
            many.waiting.retain(|waiting| *waiting != viewer);
        }
        many.give_back();
        self.remove_viewer(viewer, io);
        // It may have kept others from asking.
        self.go_on_many(socket, io);
    }

    /// Where a viewer waits for an answer, it waits no more.
    fn no_longer_asking(&mut self, key: Key) {
        let Some(viewer) = self.viewers.get(key) else { return };
        let asked = viewer.phase == Phase::Asking;
        if !asked && viewer.phase != Phase::Parked {
            return;
        }
        let many = self.sockets.get_mut(viewer.socket).and_then(Socket::many);
        if let Some(many) = many.filter(|_| asked) {
            many.asking = many.asking.saturating_sub(1);
        }
        if let Some(local) = self.topics.get(viewer.topic) {
            self.effects.push_back(Effect::Withdraw {
                topic: local.topic.clone(),
                viewer: key,
                attaching: viewer.attaching,
            });
        }
    }

    /// Ends a viewer. Its topic goes with the last one.
    fn remove_viewer(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        self.set_lagging(key, false, io);
        self.no_longer_asking(key);
        self.leases.forget(key);
        let Some(viewer) = self.viewers.remove(key) else { return };
        io.count(Count::ViewerGone, 1);
        let Some(local) = self.topics.get_mut(viewer.topic) else { return };
        let viewers = &mut self.viewers;
        local.roster.leave(viewer.place as usize, |moved, place| {
            if let Some(moved) = viewers.get_mut(moved) {
                moved.place = place as u32;
            }
        });
        let topic = local.topic.clone();
        if local.roster.is_empty() {
            self.by_thread.remove(topic.thread());
            self.topics.remove(viewer.topic);
        }
        self.effects.push_back(Effect::Leave(topic));
    }

    /// Ends a socket at once, with all its viewers.
    pub fn drop_socket(&mut self, key: Key, code: u16, io: &mut impl Io<Topic = T>) {
        self.remove_viewers_of(key, io);
        if self.end(key, io) {
            io.count_close(code);
        }
    }

    /// Closes a socket without viewers. Whether there was one.
    pub(super) fn end(&mut self, key: Key, io: &mut impl Io<Topic = T>) -> bool {
        let removed = self.sockets.remove(key);
        let there = removed.is_some();
        if let Some(socket) = removed {
            self.forget_pass(key, &socket);
            io.count(Count::SocketGone, 1);
            self.effects.push_back(Effect::End(key));
        }
        there
    }

    pub(super) fn remove_viewers_of(&mut self, key: Key, io: &mut impl Io<Topic = T>) {
        let Some(socket) = self.sockets.get_mut(key) else { return };
        match std::mem::replace(&mut socket.watching, Watching::Nothing) {
            Watching::One(viewer) => self.remove_viewer(viewer, io),
            Watching::Many(many) => {
                many.viewers.into_values().for_each(|viewer| self.remove_viewer(viewer, io));
            }
            Watching::Nothing | Watching::Echo => {}
        }
    }
}

impl Many {
    /// Gives back what subscriptions took that are gone, once most of them are.
    fn give_back(&mut self) {
        let left = self.viewers.len();
        if self.viewers.capacity() > 4 * left.max(SUBSCRIPTIONS_FEW) {
            self.viewers.shrink_to(2 * left);
            self.pending.shrink_to(2 * left);
            self.waiting.shrink_to(2 * left);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use super::*;
    use crate::account::{Account, Kind};
    use crate::fanout::Settings;
    use crate::fanout::read::Budget;
    use crate::slots::{Key, Slots};

    #[test]
    fn subscriptions_that_were_given_up_take_nothing() {
        let (mut slots, mut viewers) = (Slots::default(), HashMap::new());
        let keys: Vec<_> = (0..1_000).map(|_| slots.insert(())).collect();
        for (number, key) in keys.iter().enumerate() {
            viewers.insert(number.to_string().parse().unwrap(), *key);
        }
        let mut many = Many {
            viewers,
            pending: keys.iter().copied().collect(),
            waiting: keys.iter().copied().collect(),
            asking: 0,
            asking_max: 1,
            answered: None,
            budget: Budget::full(&Settings::default(), 0),
            charge: Account::new(1 << 20).charge(Kind::Subscriptions, 0),
        };
        for number in 0..1_000 {
            many.viewers.remove(&number.to_string().parse::<ThreadId>().unwrap());
            many.pending.pop_front();
            many.waiting.pop_front();
            many.give_back();
        }
        let queues: [&VecDeque<Key>; 2] = [&many.pending, &many.waiting];
        assert!(many.viewers.capacity() <= 4 * SUBSCRIPTIONS_FEW);
        assert!(queues.iter().all(|queue| queue.capacity() <= 8 * SUBSCRIPTIONS_FEW));
    }
}
