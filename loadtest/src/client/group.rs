//! A group of viewers within one client process: whom to connect next, what was counted.

use super::control::{Connect, GroupReport};
use super::counters::Counters;
use super::sequence::Track;
use super::socket::Socket;
use crate::clock::SECOND_NS;
use crate::latency::Latencies;
use std::collections::VecDeque;
use std::ops::Range;

/// How long a viewer waits after a failed attempt.
const RETRY_WAIT_NS: u64 = SECOND_NS / 5;

/// How often viewers who do not read send something.
const LIFE_INTERVAL_NS: u64 = 10 * SECOND_NS;

pub(crate) struct Group {
    pub(crate) spec: Connect,
    /// This group's part of all sockets of the process.
    pub(crate) sockets: Range<usize>,
    pub(crate) counters: Counters,
    pub(crate) recent: Latencies,
    /// Set when the viewers do not read: when they must show next that they live.
    show_life_ns: Option<u64>,
    pub(crate) in_flight: u32,
    pub(crate) in_flight_max: u32,
    to_connect: VecDeque<usize>,
    retries: VecDeque<(u64, usize)>,
    churn: Option<Churn>,
    reported: Counters,
    trouble: Option<String>,
    trouble_told: bool,
}

struct Churn {
    interval_ns: u64,
    due_ns: u64,
    left: u64,
    oldest: usize,
}

impl Group {
    /// Appends the group's records to those of the process.
    pub(crate) fn new(
        spec: Connect,
        index: u32,
        sockets: &mut Vec<Socket>,
        tracks: &mut Vec<Track>,
    ) -> Self {
        let (first_socket, first_track) = (sockets.len(), tracks.len());
        tracks.extend((0..spec.viewers).map(|_| Track::starting_at(spec.next_seq)));
        for before in (0..spec.viewers).step_by(spec.viewers_per_socket as usize) {
            sockets.push(Socket::new(&spec, index, before, first_track as u32 + before));
        }
        let sockets = first_socket..sockets.len();
        Self {
            counters: Counters::default(),
            recent: Latencies::new(),
            show_life_ns: None,
            in_flight: 0,
            in_flight_max: spec.in_flight,
            to_connect: sockets.clone().collect(),
            retries: VecDeque::new(),
            churn: None,
            reported: Counters::default(),
            trouble: None,
            trouble_told: false,
            sockets,
            spec,
        }
    }

    pub(crate) fn connect_soon(&mut self, socket: usize) {
        self.to_connect.push_back(socket);
    }

    pub(crate) fn connect_later(&mut self, socket: usize, now_ns: u64) {
        self.retries.push_back((now_ns + RETRY_WAIT_NS, socket));
    }

    /// The next socket that may connect now.
    pub(crate) fn next_to_connect(&mut self, now_ns: u64) -> Option<usize> {
        if self.in_flight >= self.in_flight_max {
            return None;
        }
        if self.retries.front().is_some_and(|(when_ns, _)| *when_ns <= now_ns) {
            return self.retries.pop_front().map(|(_, socket)| socket);
        }
        self.to_connect.pop_front()
    }

    pub(crate) fn pause(&mut self, now_ns: u64) {
        self.show_life_ns = Some(now_ns + LIFE_INTERVAL_NS);
    }

    pub(crate) fn unpause(&mut self) {
        self.show_life_ns = None;
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.show_life_ns.is_some()
    }

    /// Whether viewers who do not read are due to show that they live.
    pub(crate) fn must_show_life(&mut self, now_ns: u64) -> bool {
        let due = self.show_life_ns.is_some_and(|due_ns| due_ns <= now_ns);
        if due {
            self.show_life_ns = Some(now_ns + LIFE_INTERVAL_NS);
        }
        due
    }

    pub(crate) fn start_churn(&mut self, per_second: f64, replacements: u64, now_ns: u64) {
        self.churn = Some(Churn {
            interval_ns: (SECOND_NS as f64 / per_second) as u64,
            due_ns: now_ns,
            left: replacements,
            oldest: self.sockets.start,
        });
    }

    /// The next socket whose viewer is due to be replaced by a new one.
    pub(crate) fn next_to_replace(&mut self, now_ns: u64, sockets: &[Socket]) -> Option<usize> {
        let churn = self.churn.as_mut()?;
        let oldest = churn.oldest;
        if churn.left == 0 || churn.due_ns > now_ns || sockets[oldest].in_flight {
            return None;
        }
        churn.due_ns += churn.interval_ns;
        churn.left -= 1;
        churn.oldest = if oldest + 1 == self.sockets.end { self.sockets.start } else { oldest + 1 };
        Some(oldest)
    }

    /// When this group wants to be looked after again, whatever the sockets do.
    pub(crate) fn due_ns(&self, now_ns: u64) -> u64 {
        let connect = match self.in_flight < self.in_flight_max {
            true if !self.to_connect.is_empty() => now_ns,
            true => self.retries.front().map_or(u64::MAX, |(when_ns, _)| *when_ns),
            false => u64::MAX,
        };
        let churn = self.churn.as_ref().filter(|c| c.left > 0).map_or(u64::MAX, |c| c.due_ns);
        connect.min(churn)
    }

    /// Keeps the first thing that went wrong.
    pub(crate) fn note(&mut self, trouble: impl Into<String>) {
        if self.trouble.is_none() {
            self.trouble = Some(trouble.into());
        }
    }

    /// What is new since the last report.
    pub(crate) fn report(&mut self) -> Option<GroupReport> {
        if self.reported == self.counters && (self.trouble_told || self.trouble.is_none()) {
            return None;
        }
        self.reported = self.counters;
        let trouble = if self.trouble_told { None } else { self.trouble.clone() };
        self.trouble_told = self.trouble.is_some();
        Some(GroupReport {
            group: self.spec.group,
            counters: self.counters,
            latencies_us: self.recent.take_pairs(),
            trouble,
        })
    }
}
