//! What the sieve leaves of the entries decides as all of them do.

use proptest::prelude::*;

use super::*;

/// How many updates are read for a batch, and again.
const READ: usize = 3;

/// An update's or an entry's message and time: few, so that many are equal.
type Words = (usize, Option<u64>);

fn words() -> impl Strategy<Value = Words> {
    (0..2_usize, prop::option::of(0..3_u64))
}

fn entries() -> impl Strategy<Value = Vec<(Words, usize)>> {
    // Most of these are of no batch's classes, or of another task.
    let one = (prop_oneof![4 => words(), 1 => (2..5_usize, Just(None))], 0..4_usize);
    prop::collection::vec(one, 0..80)
}

fn pushed_of((message, ago_ms): Words) -> Bytes {
    let message = format!("message {message}");
    ago_ms.map_or_else(|| update_without_time(&message), |ago_ms| update(&message, ago_ms))
}

/// Its number is its id.
fn told_of(seq: usize, ((message, ago_ms), of_another): (Words, usize)) -> Told {
    let mut entry = entry(&format!("message {message}"), 0, ago_ms);
    entry.id = StreamId { ms: NOW_MS, seq: seq as u64 };
    let task = if of_another == 0 { "other" } else { "k" };
    entry.fields.push(("task_id".into(), task.into()));
    Told::by(&entry).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_sieve_changes_no_verdict(
        updates in prop::collection::vec(words(), 1..8),
        batches in prop::collection::vec((1..8_usize, 0..60_u64, 0..3_usize), 1..4),
        before in prop::collection::vec(words(), 0..4),
        entries in entries(),
        shown_max in 1..3_usize,
    ) {
        let limits = Limits { shown_max, ..Limits::default() };
        let updates: Vec<Bytes> = updates.into_iter().map(pushed_of).collect();
        let known: Vec<Entry> = before
            .into_iter()
            .map(|(message, ago_ms)| entry(&format!("message {message}"), 10, ago_ms))
            .collect();
        let read_up_to = |end: usize, task_id| List {
            updates: &updates[end.saturating_sub(READ)..end],
            total: end as u64,
            task_id,
        };
        let memory = Memory::default();
        let mut batches: Vec<Batch> = batches
            .into_iter()
            .filter_map(|(end, seq, task)| {
                let task_id = [Some(&b"k"[..]), Some(b"other"), None][task];
                let list = read_up_to(end.min(updates.len()), task_id);
                let read = read(list, &known);
                let found = attach(&read, &memory, limits);
                batch_of(&found, &read, StreamId { ms: NOW_MS, seq }, &memory)
            })
            .collect();
        batches.sort_by_key(|batch| batch.position);
        let all: Vec<Told> =
            entries.into_iter().enumerate().map(|(seq, it)| told_of(seq, it)).collect();
        let mut sieve = Sieve::of_each(3 * READ);
        // Each batch is added when its state is read: what comes later is behind its position.
        let mut waiting = batches.iter().peekable();
        for told in &all {
            while let Some(batch) = waiting.next_if(|batch| batch.position < told.id) {
                sieve.add(batch);
            }
            sieve.take(*told);
        }
        waiting.for_each(|batch| sieve.add(batch));
        sieve.retain(&batches);
        for task_id in [Some(&b"k"[..]), None] {
            let read = Reread::new(read_up_to(updates.len(), task_id), StreamId::MAX);
            for batch in &batches {
                let kept = sieve.kept_for(batch);
                let told = super::super::reread(batch, &read, &kept, limits);
                prop_assert_eq!(told, super::super::reread(batch, &read, &all, limits));
            }
        }
        // Two classes, each without a withheld time and with three, for three tasks.
        prop_assert!(sieve.bytes_len() <= 3 * 2 * 4 * 3 * READ * size_of::<Told>());
    }
}
