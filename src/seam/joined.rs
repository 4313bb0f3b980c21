//! Who comes back while several batches wait may have been one of any of them: whatever is withheld
//! from one is owed, each update once.
//!
//! An update that is withheld from several batches is told by what was read for the last of them: that
//! was settled with the most known of it.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::fanout::Batch as Number;
use crate::core::seam::Batch;

/// Those who came back, by the batches that they joined.
#[derive(Default)]
pub(super) struct Joined(Vec<Join>);

struct Join {
    number: Number,
    /// In the order of their positions.
    parts: Vec<(Number, Arc<Batch>)>,
    /// How many of them were read again.
    done: usize,
    /// What is told.
    updates: Vec<Bytes>,
}

impl Joined {
    /// The number of those who joined just these batches.
    pub(super) fn of(&self, numbers: &[Number]) -> Option<Number> {
        let is_this = |join: &&Join| join.parts.iter().map(|(it, _)| it).eq(numbers);
        self.0.iter().find(is_this).map(|join| join.number)
    }

    /// Somebody joins these batches under a number.
    pub(super) fn add(&mut self, number: Number, parts: Vec<(Number, Arc<Batch>)>) {
        self.0.push(Join { number, parts, done: 0, updates: Vec::new() });
    }

    /// A batch is told these updates; and who joined it and others is, once all of them were read.
    pub(super) fn told(&mut self, batch: Number, updates: &[Bytes]) -> Vec<(Number, Vec<Bytes>)> {
        for join in &mut self.0 {
            let Some(at) = join.parts.iter().position(|(number, _)| *number == batch) else {
                continue;
            };
            let later = &join.parts[at + 1..];
            let is_its = |update: &&Bytes| !later.iter().any(|(_, it)| it.withholds(update));
            join.updates.extend(updates.iter().filter(is_its).cloned());
            join.done += 1;
        }
        let done = self.0.extract_if(.., |join| join.done == join.parts.len());
        done.map(|join| (join.number, join.updates)).collect()
    }
}
