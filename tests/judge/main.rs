//! The judge against a naive stream: random histories of a real stream, in Redis and in the embedded
//! log, and after each read what every kind of reader is owed. A reader is told of a gap wherever an
//! entry was trimmed before it got it, or another stream took the place of its own; and nowhere else;
//! except where `taskcast_core::judge` says that it cannot be told. Those cases are counted and
//! printed, and each is held against what makes it one.
//!
//! The seed is printed; `TASKCAST_SEED` repeats it, `TASKCAST_HISTORIES` makes a run longer. The ids
//! that the server's clock gives are the only thing that differs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    reason = "in a test that is a failure"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/counts.rs"]
mod counts;
mod embedded;
mod naive;
mod plan;
mod publishers;
mod reader;
mod redis;
mod since;
mod unnoticed;
mod viewer;
mod world;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use taskcast::core::judge::Verdict;
use taskcast::id::StreamId;

use common::number_from_environment;
use counts::Counts;
use naive::{Number, Truth, truth};
use plan::Plan;
use reader::{Reader, Style};
use viewer::Viewer;
use world::{Server, World};

const HISTORIES: u64 = 3_000;
/// Of those in memory, which can do less: one in so many.
const EMBEDDED_PART: u64 = 10;

/// Everybody who reads a stream.
struct Readers {
    reader: Reader,
    viewer: Viewer,
    /// Positions that somebody who is away may come back with.
    away: Vec<(StreamId, Option<Number>)>,
    style: Style,
}

impl Readers {
    fn read(
        &mut self,
        world: &mut World,
        server: &mut impl Server,
        random: &mut StdRng,
        counts: &mut Counts,
    ) -> Result<(), String> {
        let facts = world.read(server)?;
        let known = &self.reader.known;
        let mut positions = vec![self.reader.last, (known.position(), self.reader.mark)];
        positions.push((StreamId::ZERO, None));
        positions.extend(self.away.choose(random));
        for position in positions {
            since::check(world, &facts, position, counts)?;
        }
        self.away.push(self.reader.last);

        let same = truth(world.stream.as_ref(), self.reader.mark) != Truth::Other;
        if world.failed_over {
            counts.add("failovers");
        }
        let again = world.failed_over || random.random_bool(0.05);
        let told = if again {
            self.reader = Reader::attach(world, facts, self.style);
            false
        } else {
            self.reader.read(world, facts, random, counts)? != Verdict::Complete
        };
        let vouched = same && !again && !told;
        if !vouched || !self.viewer.read(world, (&self.reader, &facts), random, counts)? {
            self.viewer = Viewer::attach(&self.reader, random);
        }
        (world.went, world.failed_over) = (0, false);
        Ok(())
    }
}

/// Some reads of a stream, and what happens between them.
fn history(
    server: &mut impl Server,
    plan: Plan,
    seed: u64,
    counts: &mut Counts,
) -> Result<(), (String, Vec<String>)> {
    let random = &mut StdRng::seed_from_u64(seed);
    let mut world = World::default();
    world.story.push(format!("{plan:?}"));
    server.clear();
    let style = Style {
        entries_max: *[0, 0, 1, 3].choose(random).unwrap(),
        by_length: random.random_bool(0.3),
    };
    let reader = Reader::attach(&world, taskcast::log::StreamFacts::default(), style);
    let viewer = Viewer::at_zero(random);
    let mut readers = Readers { reader, viewer, away: Vec::new(), style };
    // The reader comes anywhere, not only before everything.
    let mut before = if random.random_bool(0.5) { 0 } else { random.random_range(1..12) };
    for _ in 0..random.random_range(4..12) {
        for _ in 0..before.max(random.random_range(0..5)) {
            for command in plan.next(&world, &readers.reader, random) {
                world.apply(server, &command);
            }
        }
        if before > 0 {
            let facts = world.read(server).map_err(|error| (error, world.story.clone()))?;
            readers.reader = Reader::attach(&world, facts, style);
            readers.viewer = Viewer::attach(&readers.reader, random);
            (before, world.went, world.failed_over) = (0, 0, false);
            continue;
        }
        let read = readers.read(&mut world, server, random, counts);
        read.map_err(|error| (error, world.story.clone()))?;
    }
    counts.add("histories");
    Ok(())
}

/// Runs histories on a server, and prints what they came to.
fn run(server: &mut impl Server, histories: u64, plan: impl Fn(&mut StdRng) -> Plan) -> Counts {
    let first = number_from_environment("TASKCAST_SEED").unwrap_or_else(rand::random);
    let mut counts = Counts::default();
    println!("TASKCAST_SEED={first}");
    for number in 0..histories {
        let seed = first.wrapping_add(number);
        let plan = plan(&mut StdRng::seed_from_u64(seed));
        if let Err((error, story)) = history(server, plan, seed, &mut counts) {
            let repeat = format!("TASKCAST_SEED={seed} TASKCAST_HISTORIES=1");
            panic!("{error}\n{}\n{repeat}", story.join("\n"));
        }
    }
    println!("{counts}");
    counts
}

fn histories() -> u64 {
    number_from_environment("TASKCAST_HISTORIES").unwrap_or(HISTORIES)
}

#[test]
fn a_reader_in_redis_is_told_what_it_missed_and_nothing_else() {
    run(&mut redis::Redis::start(), histories(), Plan::random);
}

#[test]
fn a_reader_in_memory_is_told_what_it_missed_and_nothing_else() {
    for length_max in [1, 3, 1_000] {
        let mut server = embedded::Embedded::new(length_max);
        run(&mut server, histories().div_ceil(EMBEDDED_PART), |random| Plan {
            length_max: Some(length_max),
            commands: false,
            deletes: false,
            replaces: random.random_bool(0.5),
            fails_over: false,
        });
    }
}
