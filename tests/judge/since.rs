//! What is told to somebody of whom only a position is known.

use taskcast::core::gap::GapReason;
use taskcast::core::judge::{Verdict, since};
use taskcast::id::StreamId;
use taskcast::log::StreamFacts;

use crate::counts::Counts;
use crate::naive::{Number, Stream, Truth, truth};
use crate::world::World;

/// Holds the verdict against what somebody missed who got everything up to an entry.
pub fn check(
    world: &World,
    facts: &StreamFacts,
    (position, mark): (StreamId, Option<Number>),
    counts: &mut Counts,
) -> Result<Verdict, String> {
    counts.add("since: verdicts");
    let stream = world.stream.as_ref();
    let is_there = stream.into_iter().flat_map(Stream::there).any(|entry| entry.id == position);
    let verdict = since(position, facts, is_there);
    let truth = truth(stream, mark);
    match (verdict, truth) {
        (Verdict::Complete, Truth::Whole) => {}
        (Verdict::Complete, _) => {
            let given_again = stream.is_some_and(|stream| stream.gave_again(position, mark));
            if mark.is_none() || !given_again {
                return Err(format!("since={position} ({mark:?}) hides a gap: {truth:?}"));
            }
            counts.add("since: another stream unnoticed, the id was given out twice");
        }
        (Verdict::Gap(_), Truth::Trimmed) => counts.add("since: trimmed entries told"),
        (Verdict::Gap(_), Truth::Other) => counts.add("since: other streams told"),
        (Verdict::Gap(reason), Truth::Whole) => {
            let doubt = doubt(position, facts, is_there).filter(|_| reason != GapReason::Reset);
            let false_gap = || format!("since={position} tells {reason:?}, nothing is missing");
            counts.add(doubt.ok_or_else(false_gap)?);
        }
    }
    Ok(verdict)
}

/// Why it cannot be known that nothing is missing, if it cannot.
fn doubt(position: StreamId, facts: &StreamFacts, is_there: bool) -> Option<&'static str> {
    let (removed, deleted) = (facts.removed()?, facts.deleted()?);
    if is_there || facts.last_generated == position {
        return None;
    }
    if position == StreamId::ZERO {
        let two_withdrawn = removed >= 2 && deleted > position;
        return two_withdrawn.then_some("since: false gap, at 0-0 two or more withdrawn");
    }
    if facts.floor() > position {
        let only_position = removed == 1 && deleted == position;
        return (!only_position).then_some("since: false gap, nothing up to the position there");
    }
    (deleted > position).then_some("since: false gap, the position deleted and a later one too")
}
