//! The seam against a naive world: random histories of a real list and stream, in Redis and in the
//! embedded log, read as the server reads them and settled by the rule that ships. Workers die between
//! their two steps or take their time, say the same again, write times that tell little or none; streams
//! are trimmed and expire; lists are longer than what is read. Viewers attach anywhere, two seconds
//! later it is read again, and each is held against what it is owed: every update once, in its state, as
//! its entry, or as a derived frame. What nobody could tell is counted and printed by its name.
//!
//! No history waits: the clocks are the test's, entries get their ids from it. The seed is printed;
//! `TASKCAST_SEED` repeats it, `TASKCAST_HISTORIES` makes a run longer.

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
mod desk;
mod embedded;
mod excuses;
mod history;
mod judge;
mod plan;
mod redis;
mod server;
mod viewer;
mod words;
mod world;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

use common::number_from_environment;
use counts::Counts;
use history::History;
use plan::{Plan, Residual};
use server::Server;

const HISTORIES: u64 = 1_000;

/// Runs histories on a server, and prints what they came to.
fn run(server: &mut impl Server, plan: impl Fn(&mut StdRng) -> Plan) {
    let first = number_from_environment("TASKCAST_SEED").unwrap_or_else(rand::random);
    let histories = number_from_environment("TASKCAST_HISTORIES").unwrap_or(HISTORIES);
    let mut counts = Counts::default();
    println!("TASKCAST_SEED={first}");
    for number in 0..histories {
        let seed = first.wrapping_add(number);
        let plan = plan(&mut StdRng::seed_from_u64(seed));
        if let Err((error, story)) = History::new(server, plan, seed).run(&mut counts) {
            let repeat = format!("TASKCAST_SEED={seed} TASKCAST_HISTORIES=1");
            panic!("{}\n{error}\n{repeat}", story.join("\n"));
        }
    }
    println!("{counts}");
}

#[test]
fn what_the_agent_writes_is_told_once() {
    run(&mut redis::Redis::start(), Plan::of_agents);
}

#[test]
fn every_update_is_told_once() {
    run(&mut redis::Redis::start(), Plan::random);
}

#[test]
fn what_nobody_can_tell_is_known_by_what_makes_it() {
    run(&mut redis::Redis::start(), |random| {
        let residual = *Residual::ALL.choose(random).unwrap();
        Plan::with(residual, random)
    });
}

#[test]
fn in_one_step_nothing_is_withheld() {
    for length_max in [3, 1_000] {
        run(&mut embedded::Embedded::new(length_max), Plan::in_one_step);
    }
}
