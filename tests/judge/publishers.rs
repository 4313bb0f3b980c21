//! Publishers of which it is known what a reader is told that reads every so many entries.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use taskcast::core::judge::Verdict;
use taskcast::id::StreamId;

use crate::counts::Counts;
use crate::naive::Stream;
use crate::reader::{Reader, Style};
use crate::redis::Redis;
use crate::world::{Command, Id, Server as _, World};

const ENTRIES: u64 = 120;

/// How many gaps are told to a reader that comes after the first `step` entries, and then reads after
/// as many again and again; and how often it reads.
fn gaps(
    server: &mut Redis,
    step: u64,
    after_each: impl Fn(u64, &World) -> Option<Command>,
) -> (u64, u64) {
    let mut world = World::default();
    server.clear();
    let random = &mut StdRng::seed_from_u64(0);
    let style = Style { entries_max: 0, by_length: false };
    let mut reader: Option<Reader> = None;
    let (mut told, mut reads) = (0, 0);
    for number in 1..=ENTRIES {
        let id = Id::Explicit(StreamId { ms: number, seq: 0 });
        world.apply(server, &Command::Add { id, length_max: None });
        if let Some(command) = after_each(number, &world) {
            world.apply(server, &command);
        }
        if !number.is_multiple_of(step) {
            continue;
        }
        let facts = world.read(server).unwrap();
        let Some(reader) = &mut reader else {
            reader = Some(Reader::attach(&world, facts, style));
            continue;
        };
        let verdict = reader.read(&world, facts, random, &mut Counts::default()).unwrap();
        told += u64::from(verdict != Verdict::Complete);
        reads += 1;
    }
    (told, reads)
}

/// The entries that are there, but for so many of the newest.
fn all_but(newest: usize, world: &World) -> Option<Command> {
    let there: Vec<_> = world.stream.iter().flat_map(Stream::there).collect();
    let older = &there[..there.len().saturating_sub(newest)];
    (!older.is_empty()).then(|| Command::Delete(older.iter().map(|entry| entry.id).collect()))
}

fn the_entry(number: u64) -> Option<Command> {
    Some(Command::Delete(vec![StreamId { ms: number, seq: 0 }]))
}

#[test]
fn publishers_that_append_or_trim_cause_no_false_gap() {
    let server = &mut Redis::start();
    for step in [1, 2, 5] {
        assert_eq!(gaps(server, step, |_, _| None).0, 0);
        for length_max in [1, 3, 10] {
            let trim = |_: u64, _: &World| Some(Command::TrimLength(length_max));
            let (told, reads) = gaps(server, step, trim);
            // It is true where the reader comes too late.
            assert_eq!(told, if step > length_max { reads } else { 0 });
            let about = |_: u64, _: &World| Some(Command::TrimAbout(length_max.max(step)));
            assert_eq!(gaps(server, step, about).0, 0);
        }
    }
}

#[test]
fn publishers_that_delete_by_name_cause_those_gaps_that_are_known() {
    let server = &mut Redis::start();
    for (step, all_but_three, all) in [(1, false, false), (2, false, true), (5, true, true)] {
        let reads = ENTRIES / step - 1;
        let expected = |told: bool| (if told { reads } else { 0 }, reads);
        let every_other =
            |number: u64, _: &World| the_entry(number).filter(|_| number.is_multiple_of(2));
        assert_eq!(gaps(server, step, every_other), expected(false));
        let but_the_first = |number: u64, _: &World| the_entry(number).filter(|_| number > 1);
        assert_eq!(gaps(server, step, but_the_first), expected(false));
        assert_eq!(gaps(server, step, |_, world| all_but(3, world)), expected(all_but_three));
        assert_eq!(gaps(server, step, |number, _| the_entry(number)), expected(all));
    }
}
