//! The seam, over every history within bounds: a few updates of a few workers in any order, with times
//! that say little, pauses, trims and deaths; an attach anywhere and its re-read. Each viewer gets each
//! update once: in his state, as its entry, or as a derived frame.
//!
//! What the rule cannot decide is counted apart. `TASKCAST_SEAM_BOUNDS=large` tries four updates where
//! that takes a minute or two, and pauses and trims in all runs but one.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test that is a failure")]

mod judge;
mod plan;
mod run;
mod world;

use plan::Time::{Another, Equal, None, Same};
use run::{Found, Run};
use taskcast_core::seam::Limits;

fn assert_once(found: &Found) {
    assert_eq!((found.losses, found.repeats), (0, 0));
}

fn are_large() -> bool {
    std::env::var("TASKCAST_SEAM_BOUNDS").is_ok_and(|bounds| bounds == "large")
}

#[test]
fn every_update_once() {
    assert_once(&Run::default().all("mixed times"));
    if are_large() {
        for times in [&[Same], &[Another], &[Equal], &[None]] {
            let run = Run { updates: 4, times, ..Run::default() };
            assert_once(&run.all(&format!("of 4, {times:?}")));
        }
    }
}

/// As the agent writes: whatever the messages, nothing is in doubt.
#[test]
fn what_the_agent_writes_is_told_once_whatever_is_pushed_meanwhile() {
    let updates = if are_large() { 4 } else { 3 };
    let run = Run { updates, times: &[Same], pushes_after: true, ..Run::default() };
    let found = run.all("the agent's times, pushes after the attach");
    assert_once(&found);
    assert_eq!(found.undecidable, 0);
}

/// Of equal updates of which one entry came: no loss, and repeats only where nothing tells.
#[test]
fn in_doubt_nothing_is_lost() {
    let run =
        Run { times: &[Another, None], pushes_after: true, trim: are_large(), ..Run::default() };
    let found = run.all("mixed times, pushes after the attach");
    assert_once(&found);
    assert!(found.undecidable > 0);
    assert_eq!(found.unseen, 0);
    // Where it cannot be seen what was pushed, an entry is of a withheld one.
    let found = Run { updates_read_again: 1, ..run }.all("the same, and little is read again");
    assert_eq!(found.losses, 0);
    assert!(found.unseen > 0);
}

#[test]
fn of_a_cut_list_every_update_once() {
    let limits = Limits { loose_max: 1, ..Limits::default() };
    let run = Run { updates_read: 2, limits, trim: are_large(), ..Run::default() };
    let cut = |run: Run| {
        let found = run.all("a cut list");
        assert_once(&found);
        assert!(found.overtaken > 0);
    };
    cut(Run { times: &[Another, None], ..run });
    if are_large() {
        cut(Run { times: &[None], updates: 4, ..run });
    }
}

#[test]
fn the_stream_may_be_read_before_the_list() {
    let run = Run { times: &[Same, None], stream_first: true, ..Run::default() };
    let run = Run { trim: are_large(), ..run };
    assert_once(&run.all("the stream first"));
}

#[test]
fn who_saw_a_list_before_knows_what_is_old() {
    let run = Run { seen: true, trim: are_large(), ..Run::default() };
    assert_once(&Run { times: &[Same, None], pause: are_large(), ..run }.all("seen before"));
    assert_once(&Run { times: &[None], ..run }.all("seen before, with a pause"));
    let equal = Run { times: &[Equal], trim: true, ..run };
    assert_once(&equal.all("seen before, equal times"));
    let limits = Limits { loose_max: 1, ..Limits::default() };
    let run = Run { times: &[None], updates_read: 2, limits, ..run };
    assert_once(&run.all("seen before, a cut list"));
}

#[test]
fn the_newest_are_shown_and_told() {
    for shown_max in [1, 2] {
        let limits = Limits { shown_max, ..Limits::default() };
        let run = Run { times: &[Same], limits, trim: false, ..Run::default() };
        assert_once(&run.all(&format!("at most {shown_max}")));
        let run = Run { updates: 4, pause: are_large(), ..run };
        assert_once(&run.all(&format!("at most {shown_max}, of 4")));
        let equal = Run { times: &[Equal], ..run };
        assert_once(&equal.all(&format!("at most {shown_max}, equal times")));
        // Without a pause: an entry that comes later than the wait, of an update that was too old to
        // be shown, cancels an equal one that is withheld, unless its time tells.
        let times = &[Same, Another, None];
        let run = Run { times, updates: 3, pause: false, trim: are_large(), ..run };
        let found = run.all(&format!("at most {shown_max}, mixed times"));
        assert_eq!(found.losses, 0);
        // One that is told though its entry came, as nothing tells, takes the place of no other one.
        let run = Run { times: &[Another, None], pushes_after: true, ..run };
        let found = run.all(&format!("at most {shown_max}, mixed times, pushes after the attach"));
        assert_eq!(found.losses, 0);
    }
}

/// The number of entries that are read decides how much is delayed, and nothing else.
#[test]
fn with_few_entries_more_is_delayed() {
    let delayed = |entries_read| {
        let run = Run { times: &[Same, None], entries_read, trim: false, ..Run::default() };
        let found = run.all(&format!("{entries_read} entries read"));
        assert_once(&found);
        found.delayed
    };
    let delayed: Vec<u64> = (0..3).map(delayed).collect();
    assert!(delayed.is_sorted_by(|few, more| few > more), "{delayed:?}");
}
