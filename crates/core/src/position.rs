//! Where a viewer stands in its topic, and how a send moves it.
//!
//! A viewer always stands between two units. What a socket took of a unit, it must get the rest of
//! before anything else: that [`Rest`] is the socket's and the viewer stands behind the unit. So
//! control frames and other topics' frames go in at frame boundaries only.

use std::io::IoSlice;
use std::sync::Arc;

use crate::chunk::{Chunk, Rest};
use crate::id::StreamId;
use crate::topic::{Held, Renewal, TopicLog};

/// A viewer's position in the log: the stream id, and its place in the topic where that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The last thing that the viewer was given, or is being given by its socket's rest.
    pub id: StreamId,
    place: u64,
}

const UNKNOWN: u64 = 0;

/// Places in a page start here; a place in a page and one in the topic are never compared.
const PAGE_ORIGIN: u64 = 1;

impl Position {
    /// A position whose place in the topic is not known.
    pub fn at(id: StreamId) -> Self {
        Self { id, place: UNKNOWN }
    }

    /// A position at a place.
    pub fn at_place(id: StreamId, place: u64) -> Self {
        Self { id, place }
    }

    /// The place in the topic; none where it has to be looked up by the id.
    pub fn place(&self) -> Option<u64> {
        (self.place != UNKNOWN).then_some(self.place)
    }

    /// Looks the place up where it is unknown; whether it is known now.
    pub fn locate(&mut self, log: &TopicLog) -> bool {
        if self.place == UNKNOWN {
            self.place = log.locate(self.id).unwrap_or(UNKNOWN);
        }
        self.place != UNKNOWN
    }

    /// The topic no longer holds what comes next: only the id counts.
    pub fn forget_place(&mut self) {
        self.place = UNKNOWN;
    }
}

/// Everything that viewers at one place lack: the chunks from there to the head.
#[derive(Debug, Default)]
pub struct Run {
    held: Vec<Held>,
    place: u64,
    end: u64,
    head: StreamId,
    /// Number of units with frames.
    units: usize,
    /// How many units the topic had ever been given when this was gathered; 0 for a page.
    appended: u64,
    epoch: u32,
    /// It begins with a gap and a state that everybody is told.
    renewal: Option<Renewal>,
}

impl Run {
    /// Gathers what a viewer at `position` lacks; false where the topic does not hold all of it.
    pub fn gather(&mut self, log: &TopicLog, position: Position) -> bool {
        self.held.clear();
        self.place = position.place;
        self.end = log.end();
        self.head = log.sent();
        self.appended = log.appended();
        self.epoch = log.epoch();
        let complete = log.since(position.id, position.place, &mut self.held);
        self.renewal =
            self.held.first().filter(|held| held.is_renewal()).map(|_| log.renewal().clone());
        self.count_units();
        complete
    }

    fn count_units(&mut self) {
        let place = self.place;
        let units = |held: &Held| held.chunk.frames_from(held.first_unit_from(place));
        self.units = self.held.iter().map(units).sum();
    }

    /// A state, or a gap with its state: all of a chunk, wherever the viewer stood before.
    pub fn of_state(chunk: Arc<Chunk>) -> Self {
        let head = chunk.last_sent();
        let held = vec![Held::new(PAGE_ORIGIN, chunk)];
        let end = held[0].end();
        let mut run = Self { held, place: PAGE_ORIGIN, end, head, units: 0, ..Self::default() };
        run.count_units();
        run
    }

    /// What comes behind `after` in chunks that were read for a viewer; none where `after` is no
    /// place in the first of them.
    pub fn of_page(chunks: Vec<Arc<Chunk>>, after: StreamId) -> Option<Self> {
        let first = chunks.first()?;
        let place = PAGE_ORIGIN + first.offset_after(after)? as u64;
        let head = chunks.last()?.last_sent();
        let mut end = PAGE_ORIGIN;
        let held = chunks
            .into_iter()
            .map(|chunk| {
                let held = Held::new(end, chunk);
                end = held.end();
                held
            })
            .collect();
        let mut run = Self { held, place, end, head, units: 0, ..Self::default() };
        run.skip_to(place);
        Some(run)
    }

    /// Goes on from another place of the same chunks.
    pub fn skip_to(&mut self, place: u64) {
        self.place = place;
        self.held.retain(|held| held.end() > place);
        self.count_units();
    }

    /// The position behind this run.
    pub fn head(&self) -> StreamId {
        self.head
    }

    /// How many of the topic's units a viewer has who has all of this run, and in which epoch that
    /// is; none for a page.
    pub fn reaches(&self) -> Option<(u64, u32)> {
        (self.appended > 0).then_some((self.appended, self.epoch))
    }

    /// Who is given the gap and the state that it begins with, if it does.
    pub fn renewal(&self) -> Option<&Renewal> {
        self.renewal.as_ref()
    }

    /// The place behind this run.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// The place from which this run goes on.
    pub fn place(&self) -> u64 {
        self.place
    }

    /// The bytes, one slice a chunk, the first `slices_max` of them.
    pub fn slices(&self, slices_max: usize) -> Vec<IoSlice<'_>> {
        self.held
            .iter()
            .take(slices_max)
            .map(|held| {
                let skip = self.place.saturating_sub(held.start) as usize;
                IoSlice::new(&held.chunk.bytes[skip..])
            })
            .collect()
    }

    /// The positions of the units in this run, for the measurement of their age.
    pub fn positions(&self) -> impl Iterator<Item = StreamId> + '_ {
        self.held.iter().flat_map(|held| {
            let first = held.first_unit_from(self.place);
            let mut end = first.checked_sub(1).map_or(0, |before| held.chunk.units[before].end);
            let units = held.chunk.units[first..].iter();
            units
                .filter(move |unit| std::mem::replace(&mut end, unit.end) != unit.end)
                .map(|unit| unit.position)
        })
    }

    /// Whether there is more than that many slices.
    pub fn exceeds(&self, slices_max: usize) -> bool {
        self.held.len() > slices_max
    }

    /// Moves a viewer that stood at the start of this run and whose socket took `sent` bytes. The
    /// rest of a unit that was sent in part is for the socket to keep.
    pub fn advance(&self, position: &mut Position, sent: usize) -> Advanced {
        let reached = self.place + sent as u64;
        if reached == self.end {
            *position = Position { id: self.head, place: self.end };
            return Advanced { complete: true, units: self.units, rest: None };
        }
        let mut units = 0;
        let mut rest = None;
        for held in &self.held {
            let first = held.first_unit_from(self.place);
            units += held.chunk.frames_from(first);
            if reached >= held.end() {
                continue;
            }
            let within = reached.saturating_sub(held.start) as usize;
            let Some((number, unit)) = held.chunk.unit_at(within) else { break };
            units -= held.chunk.frames_from(number.max(first));
            if let Some(id) = held.chunk.sent_before(within) {
                // Between two units. Where nothing was sent, the position stays what it was.
                if units > 0 {
                    *position = Position { id, place: reached };
                }
            } else {
                rest = Some(held.chunk.remainder(within..unit.end));
                *position = Position { id: unit.position, place: held.start + unit.end as u64 };
                units += 1;
            }
            break;
        }
        Advanced { complete: false, units, rest }
    }
}

/// How far a send moved a viewer.
#[derive(Debug)]
pub struct Advanced {
    /// To the end of the run.
    pub complete: bool,
    /// Over that many units, the one that was sent in part included.
    pub units: usize,
    /// What is left of the unit that was sent in part.
    pub rest: Option<Rest>,
}
