//! A slow viewer at a position of its own, in a stream that a reader follows.

use rand::RngExt as _;
use rand::rngs::StdRng;
use taskcast::core::gap::GapReason;
use taskcast::core::judge::{Verdict, behind};
use taskcast::id::StreamId;
use taskcast::log::StreamFacts;

use crate::counts::Counts;
use crate::naive::{Number, Stream, Truth, truth};
use crate::reader::Reader;
use crate::world::World;

pub struct Viewer {
    position: StreamId,
    mark: Option<Number>,
    ordinal: Option<u64>,
}

impl Viewer {
    /// Begins where the reader is, with or without its count.
    pub fn attach(reader: &Reader, random: &mut StdRng) -> Self {
        let ordinal = reader.known.ordinal().filter(|_| random.random_bool(0.5));
        Self { position: reader.known.position(), mark: reader.mark, ordinal }
    }

    /// Begins before everything.
    pub fn at_zero(random: &mut StdRng) -> Self {
        let ordinal = random.random_bool(0.5).then_some(0);
        Self { position: StreamId::ZERO, mark: None, ordinal }
    }

    /// Reads a page of a stream for which the reader vouches, and not further than the reader is;
    /// false where it is told of a gap.
    pub fn read(
        &mut self,
        world: &World,
        (reader, facts): (&Reader, &StreamFacts),
        random: &mut StdRng,
        counts: &mut Counts,
    ) -> Result<bool, String> {
        counts.add("viewer: pages");
        let stream = world.stream.as_ref();
        match (behind(self.position, self.ordinal, facts), truth(stream, self.mark)) {
            (Verdict::Complete, Truth::Whole) => {
                self.take_some(world, reader.known.position(), random);
                return Ok(true);
            }
            (Verdict::Complete, truth) => {
                return Err(format!("a viewer at {} misses what is {truth:?}", self.position));
            }
            (Verdict::Gap(GapReason::Reset), Truth::Whole | Truth::Trimmed) => {
                return Err(format!("a viewer at {} is told of another stream", self.position));
            }
            (_, Truth::Trimmed) => counts.add("viewer: trimmed entries told"),
            (_, Truth::Other) => counts.add("viewer: other streams told"),
            (Verdict::Gap(reason), Truth::Whole) => {
                let doubt = self.doubt(stream, facts);
                counts.add(doubt.ok_or_else(|| {
                    format!("a viewer at {} is told {reason:?}, and misses nothing", self.position)
                })?);
            }
        }
        Ok(false)
    }

    fn doubt(&self, stream: Option<&Stream>, facts: &StreamFacts) -> Option<&'static str> {
        let exact = stream?.ordinal(self.mark)?;
        if facts.floor() <= self.position {
            return None;
        }
        if facts.deleted()? > self.position && facts.removed()? > exact + 1 {
            return Some("viewer: false gap, two or more withdrawn and nothing older there");
        }
        let taken = self.ordinal.unwrap_or(u64::from(self.position != StreamId::ZERO));
        (taken < exact).then_some("viewer: false gap, ordinal too low and nothing older there")
    }

    fn take_some(&mut self, world: &World, up_to: StreamId, random: &mut StdRng) {
        let there = world.stream.iter().flat_map(Stream::there);
        let from = self.position;
        let behind = there.skip_while(|entry| entry.id <= from);
        let known = behind.take_while(|entry| entry.id <= up_to);
        for entry in known.take(random.random_range(0..3)) {
            (self.position, self.mark) = (entry.id, Some(entry.number));
            self.ordinal = self.ordinal.map(|ordinal| ordinal + 1);
        }
    }
}
