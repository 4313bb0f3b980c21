//! What happens to a stream between two reads, at random.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use taskcast::id::StreamId;

use crate::naive::Stream;
use crate::reader::Reader;
use crate::world::{Command, Id, World};

/// What may happen in a history.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Each publication cuts the stream to this.
    pub length_max: Option<u64>,
    /// The publishers' trims and other ids than the clock's.
    pub commands: bool,
    pub deletes: bool,
    pub replaces: bool,
    pub fails_over: bool,
}

impl Plan {
    pub fn random(random: &mut StdRng) -> Self {
        let length_max = [None, None, None, Some(1), Some(3)].choose(random).copied().flatten();
        Self {
            length_max,
            commands: random.random_bool(0.9),
            deletes: random.random_bool(0.7),
            replaces: random.random_bool(0.6),
            fails_over: random.random_bool(0.2),
        }
    }

    /// The next commands.
    pub fn next(&self, world: &World, reader: &Reader, random: &mut StdRng) -> Vec<Command> {
        match random.random_range(0..100) {
            50..65 if self.commands => vec![trim(world, random)],
            65..82 if self.deletes => delete(world, reader, random),
            82..90 if self.replaces && self.commands => replacement(world, reader, random),
            82..94 if self.replaces => self.other_key(world, random),
            94..100 if self.fails_over && world.has_saved() && random.random_bool(0.4) => {
                vec![Command::FailOver]
            }
            94..100 if self.fails_over => vec![Command::Save],
            _ => vec![Command::Add { id: self.id(world, random), length_max: self.length_max }],
        }
    }

    fn id(&self, world: &World, random: &mut StdRng) -> Id {
        let last = world.stream.as_ref().map(Stream::last_id);
        match random.random_range(0..10) {
            _ if !self.commands => Id::Clock,
            0 => Id::Clock,
            1 => Id::Next(last.map_or(7, |last| last.ms)),
            2 => Id::Explicit(last.unwrap_or(StreamId { ms: 9, seq: 0 }).successor()),
            _ => Id::Explicit(above(last.unwrap_or(StreamId { ms: 20, seq: 0 }), random)),
        }
    }

    fn other_key(&self, world: &World, random: &mut StdRng) -> Vec<Command> {
        let there = world.stream.is_some();
        match random.random_range(0..12) {
            _ if !self.commands => vec![Command::Remove],
            0..3 if there => vec![Command::RenameAway],
            3..6 if world.parked.is_some() => vec![Command::RenameOver],
            6..8 if !there => vec![Command::MakeStream],
            8 => vec![Command::Expire],
            9 if there => vec![Command::Remove, Command::MakeStream],
            _ => vec![Command::Remove],
        }
    }
}

fn trim(world: &World, random: &mut StdRng) -> Command {
    let length_max = *[0, 1, 1, 3, 3].choose(random).unwrap();
    let history = world.stream.as_ref().map_or(&[][..], Stream::history);
    match history.choose(random) {
        Some(entry) if random.random_bool(0.3) => Command::TrimBelow(entry.id),
        _ if random.random_bool(0.3) => Command::TrimAbout(length_max),
        _ => Command::TrimLength(length_max),
    }
}

fn delete(world: &World, reader: &Reader, random: &mut StdRng) -> Vec<Command> {
    let there = world.stream.iter().flat_map(Stream::there);
    let there: Vec<StreamId> = there.map(|entry| entry.id).collect();
    let unread = there.partition_point(|id| *id <= reader.known.position());
    let (last, unread) = (there.last().copied().into_iter().collect(), there[unread..].to_vec());
    let ids: Vec<StreamId> = match random.random_range(0..9) {
        0..3 => there.sample(random, 1).copied().collect(),
        3 => there.sample(random, 2).copied().collect(),
        4 => unread,
        5..7 => unread.sample(random, 1).copied().collect(),
        7 => last,
        _ => there,
    };
    if ids.is_empty() { Vec::new() } else { vec![Command::Delete(ids)] }
}

/// Another stream, with greater, lower or equal ids, of which the counts often fit what the reader
/// expects.
fn replacement(world: &World, reader: &Reader, random: &mut StdRng) -> Vec<Command> {
    let mut commands = vec![Command::Remove];
    if world.stream.is_some() && random.random_bool(0.1) {
        commands = vec![Command::RenameAway];
    }
    let last = reader.known.facts().last_generated;
    let history = world.stream.as_ref().map_or(&[][..], Stream::history);
    let ordinal = reader.known.ordinal().unwrap_or(0);
    let mut id = match random.random_range(0..10) {
        0..5 => above(last.max(world.stream.as_ref().map_or(last, Stream::last_id)), random),
        5 => history.choose(random).map_or(last, |entry| entry.id),
        6 => reader.last.0,
        _ => StreamId { ms: last.ms.saturating_sub(random.random_range(0..ordinal + 4)), seq: 0 },
    };
    id = id.max(StreamId { ms: 1, seq: 0 });
    let new = random.random_range(0..4);
    let removed = match random.random_range(0..6) {
        0 => 0,
        1 => random.random_range(0..3),
        2 => ordinal.saturating_sub(1),
        3 => ordinal + 1,
        _ => ordinal,
    };
    let mut ids = Vec::new();
    for _ in 0..removed + new {
        ids.push(id);
        commands.push(Command::Add { id: Id::Explicit(id), length_max: None });
        id = if random.random_bool(0.5) { id.successor() } else { above(id, random) };
    }
    let trimmed_at_end = random.random_bool(0.7);
    if trimmed_at_end {
        commands.push(Command::TrimLength(new));
    }
    if random.random_bool(0.3) {
        commands.extend(ids.choose(random).map(|id| Command::Delete(vec![*id])));
    }
    commands
}

fn above(id: StreamId, random: &mut StdRng) -> StreamId {
    StreamId { ms: id.ms + random.random_range(1..4), seq: 0 }
}
