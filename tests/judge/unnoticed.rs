//! When a stream that replaced another may go unnoticed: all that it says of itself could have come
//! about in the one that was read.

use taskcast::core::judge::Known;
use taskcast::log::StreamFacts;

use crate::world::World;

/// Whether the present stream has, or had, an id that is not above all those of the one before.
pub fn ids_fell(world: &World, before: &StreamFacts) -> bool {
    let first = world.stream.as_ref().and_then(|stream| stream.history().first());
    first.is_some_and(|first| first.id <= before.last_generated)
}

/// Why it may go unnoticed, if it may.
pub fn excuse(
    world: &World,
    known: &Known,
    now: &StreamFacts,
    entries: u64,
) -> Option<&'static str> {
    let (before, position, ordinal) = (known.facts(), known.position(), known.ordinal()?);
    let withdrawn = now.deleted()? > position;
    let fell = ids_fell(world, before);
    if now.floor() <= position {
        let fits = now.added()? >= ordinal + entries + u64::from(withdrawn);
        let fits = fell && fits && is_no_less(before, now)?;
        return fits.then_some("follow: another stream unnoticed, older ids there (its ids fell)");
    }
    if now.removed()? != ordinal + u64::from(withdrawn) || !is_no_less(before, now)? {
        return None;
    }
    if fell {
        return Some("follow: another stream unnoticed, nothing older there, its ids fell");
    }
    // Of a stream whose ids only grow, nothing that one stream could not say may pass.
    let grown = before.deleted()? == taskcast::id::StreamId::ZERO || withdrawn;
    grown.then_some("follow: another stream unnoticed, nothing older there, its ids grew")
}

/// Whether nothing is less than one stream can have later on.
fn is_no_less(before: &StreamFacts, now: &StreamFacts) -> Option<bool> {
    let deleted_before = before.deleted()?;
    let deleted_since = now.deleted()? >= before.floor() && now.deleted()? > deleted_before;
    let same_newest = now.last_generated == before.last_generated;
    Some(
        now.added()? >= before.added()?
            && now.removed()? >= before.removed()?
            && now.last_generated >= before.last_generated
            && now.floor() >= before.floor()
            && (now.added()? > before.added()? || same_newest)
            && (now.deleted()? == deleted_before || deleted_since),
    )
}
