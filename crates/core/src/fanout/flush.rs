//! Flush: gives each viewer of a topic everything from its position to the head, in one send.
//!
//! A pass over a topic goes in slices, in turn with other topics; what is appended meanwhile is
//! included for those whose turn has not come. A socket that takes no more is left where it is
//! until the kernel says that it is writable; then its viewers go on from their positions.

use std::num::NonZeroU64;

use super::{Count, Fanout, Io, Pass, Phase, Sent, SocketState, Topic, Viewer};
use crate::position::{Position, Run};
use crate::present::Version;
use crate::slots::Key;
use crate::topic::Renewal;

/// Slices before the sockets are looked at again.
const SLICES_PER_TURN: usize = 4;

impl<T: Topic> Fanout<T> {
    /// A topic's log has grown.
    pub fn news(&mut self, topic: &T) {
        let Some(&key) = self.by_thread.get(topic.thread()) else { return };
        let Some(local) = self.topics.get_mut(key) else { return };
        if !local.topic.is(topic) {
            return;
        }
        match local.pass {
            Pass::None => {
                local.pass = Pass::Queued;
                local.roster.begin_pass();
                match self.settings.flush_interval_ms {
                    0 => self.passes.push_back(key),
                    interval_ms => self.delayed.push_back((self.now_ms + interval_ms, key)),
                }
            }
            Pass::Queued | Pass::Again => local.pass = Pass::Again,
        }
    }

    /// Whether somebody waits for a slice of a pass.
    pub fn has_passes(&self) -> bool {
        !self.passes.is_empty()
    }

    /// Does some slices of the passes whose turn it is.
    pub fn flush_some(&mut self, io: &mut impl Io<Topic = T>) {
        for _ in 0..SLICES_PER_TURN {
            let Some(key) = self.passes.pop_front() else { return };
            if self.flush_slice(key, io) {
                self.passes.push_back(key);
            }
        }
    }

    /// One slice of a topic's pass. Whether there is more to do.
    fn flush_slice(&mut self, key: Key, io: &mut impl Io<Topic = T>) -> bool {
        let Some(local) = self.topics.get_mut(key) else { return false };
        let topic = local.topic.clone();
        // From here on news is told again: it came after what this slice sees.
        topic.listen();
        match local.roster.next_slice(self.settings.viewers_per_slice) {
            &[alone] => self.push(alone, io),
            visited => {
                let visited = visited.to_vec();
                self.flush_together(&topic, visited, io);
            }
        }
        let Some(local) = self.topics.get_mut(key) else { return false };
        if !local.roster.pass_is_over() {
            return true;
        }
        let again = local.pass == Pass::Again;
        local.pass = if again { Pass::Queued } else { Pass::None };
        if again {
            local.roster.begin_pass();
        }
        again
    }

    /// Gives viewers what they lack, as many as possible in one batch.
    fn flush_together(&mut self, topic: &T, visited: Vec<Key>, io: &mut impl Io<Topic = T>) {
        let mut ready = Vec::with_capacity(visited.len());
        for viewer in visited {
            match self.place_to_send_from(viewer) {
                Some((position, socket)) => ready.push((viewer, socket, position)),
                None => self.push(viewer, io),
            }
        }
        // Nearly all stand at the same place: one group, one look at the log.
        while let Some(&(_, _, position)) = ready.first() {
            let (group, others) = ready.into_iter().partition(|(_, _, at)| *at == position);
            ready = others;
            self.send_group(topic, position, group, io);
        }
    }

    /// Where a viewer stands, if all it needs is a send from there.
    fn place_to_send_from(&self, key: Key) -> Option<(Position, Key)> {
        let viewer = self.viewers.get(key)?;
        let owed = viewer.page.is_some() || viewer.owes_caught_up || viewer.derived.is_some();
        if viewer.phase != Phase::Following || owed {
            return None;
        }
        viewer.position.place()?;
        let socket = self.sockets.get(viewer.socket)?;
        (socket.state == SocketState::Open && socket.is_free())
            .then_some((viewer.position, viewer.socket))
    }

    /// Sends to viewers that stand at the same place.
    fn send_group(
        &mut self,
        topic: &T,
        at: Position,
        group: Vec<(Key, Key, Position)>,
        io: &mut impl Io<Topic = T>,
    ) {
        let mut run = std::mem::take(&mut self.run);
        let gathered = topic.with_log(|log| (run.gather(log, at), log.present().told()));
        let Some((true, told)) = gathered else {
            self.run = run;
            group.into_iter().for_each(|(viewer, ..)| self.push(viewer, io));
            return;
        };
        if run.is_empty() {
            // What is new is skipped, if anything is: that is no lag.
            for (viewer, ..) in &group {
                if let Some(viewer) = self.viewers.get_mut(*viewer) {
                    viewer.has_all_of(&run);
                }
            }
            self.run = run;
            for (viewer, ..) in group {
                if self.may_lack_state(viewer, told) {
                    self.push(viewer, io);
                }
            }
            return;
        }
        let slices = run.slices(self.settings.slices_per_send_max);
        let (viewers, sockets): (Vec<Key>, Vec<Key>) =
            group.into_iter().map(|(viewer, socket, _)| (viewer, socket)).unzip();
        let mut results = Vec::with_capacity(sockets.len());
        io.send_each(&sockets, &slices, &mut results);
        io.delivered(run.positions(), viewers.len());
        let mut unfinished = Vec::new();
        for (viewer, result) in viewers.into_iter().zip(results) {
            let finished = self.sent(viewer, &run, result, &mut None, io);
            if !finished || self.may_lack_state(viewer, told) {
                unfinished.push(viewer);
            }
        }
        self.run = run;
        // They go on, or wait for their socket in the order in which they came.
        unfinished.into_iter().for_each(|viewer| self.push(viewer, io));
    }

    /// Moves a viewer by what its socket took of a run; with a state, of which `state` is the epoch and
    /// the version, it begins anew. False where it should be pushed again.
    pub(super) fn sent(
        &mut self,
        key: Key,
        run: &Run,
        result: Sent,
        state: &mut Option<(u32, Version)>,
        io: &mut impl Io<Topic = T>,
    ) -> bool {
        let Some(viewer) = self.viewers.get_mut(key) else { return true };
        let socket_key = viewer.socket;
        io.count(Count::Sends, 1);
        let sent = match result {
            Sent::Bytes(sent) => sent,
            Sent::Full => 0,
            Sent::Gone => {
                self.drop_socket(socket_key, 1006, io);
                return true;
            }
        };
        io.count(Count::BytesSent, sent as u64);
        let advanced = run.advance(&mut viewer.position, sent);
        io.count(Count::FramesSent, advanced.units as u64);
        viewer.moved(run, advanced.units, state);
        if advanced.complete {
            viewer.has_all_of(run);
            return true;
        }
        // Where there was more than one send can hold, the socket may well take the rest.
        let cut_by_us =
            run.exceeds(self.settings.slices_per_send_max) && advanced.rest.is_none() && sent > 0;
        if !cut_by_us {
            self.block(socket_key, advanced.rest, sent > 0, io);
        }
        false
    }
}

impl Viewer {
    /// It was sent so many units of a run.
    fn moved(&mut self, run: &Run, units: usize, state: &mut Option<(u32, Version)>) {
        // Whatever a topic holds is of its present stream.
        if let Some((_, epoch)) = run.reaches().filter(|_| units > 0) {
            self.epoch = epoch;
        }
        if let Some(Renewal { batch, derived, version }) = run.renewal().filter(|_| units > 0) {
            self.batch = batch.filter(|_| derived.is_none());
            self.derived = derived.clone();
            self.owes_caught_up = false;
            self.has_state(*version);
        }
        if let Some(received) = &mut self.received {
            *received = received.saturating_add(units as u64);
        }
        if let Some((epoch, version)) = state.take_if(|_| units > 0) {
            self.attaching = false;
            self.owes_caught_up = false;
            self.epoch = epoch;
            self.has_state(version);
            // Counted from where it stands now.
            self.received = None;
        }
    }

    /// It was given a state of this version.
    pub(super) fn has_state(&mut self, version: Version) {
        self.version = version;
        self.since = None;
    }

    /// It was sent a run of its topic to the end.
    pub(super) fn has_all_of(&mut self, run: &Run) {
        if let Some((received, epoch)) = run.reaches() {
            self.received = NonZeroU64::new(received);
            self.epoch = epoch;
        }
    }
}
