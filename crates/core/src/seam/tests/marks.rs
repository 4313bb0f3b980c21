//! What this server saw before.

use super::super::list::Stands;
use super::*;

fn attached_at(list: List<'_>, now_ms: u64, memory: &Memory) -> (usize, usize) {
    let read = Read { now_ms, ..read(list, &[]) };
    let found = attach(&read, memory, Limits::default());
    (found.shown.len(), found.withheld.len())
}

#[test]
fn what_was_seen_two_seconds_ago_is_old() {
    let updates = [update("a", 20), update("b", 10)];
    let mut memory = Memory::default();
    memory.saw(&list(&updates[..1]), NOW_MS);
    assert_eq!(attached_at(list(&updates), NOW_MS + 1999, &memory), (0, 2));
    assert_eq!(attached_at(list(&updates), NOW_MS + 2000, &memory), (1, 1));
    assert_eq!(attached_at(list(&updates[..1]), NOW_MS + 2000, &memory), (1, 0));
}

#[test]
fn what_was_waited_for_is_old_whatever_the_time() {
    let updates = [update("a", 20), update("b", 10)];
    let mut memory = Memory::default();
    memory.waited_for(list(&updates[..1]).newest().unwrap());
    assert_eq!(attached_at(list(&updates), NOW_MS, &memory), (1, 1));
}

/// Of a list that is read again a while after [`NOW_MS`].
fn batch_of_list(list: List<'_>, memory: &Memory) -> Batch {
    let read = Read { now_ms: NOW_MS + 1500, ..read(list, &[]) };
    let found = attach(&read, memory, Limits::default());
    batch_of(&found, &read, StreamId::ZERO, memory).unwrap()
}

#[test]
fn one_reread_serves_all_who_saw_the_same_newest() {
    let updates = [update("a", 20), update("b", 10)];
    let mut memory = Memory::default();
    memory.saw(&list(&updates[..1]), NOW_MS);
    let due_ms = |list, memory: &Memory| batch_of_list(list, memory).due_ms;
    assert_eq!(due_ms(list(&updates[..1]), &memory), NOW_MS + 2000);
    assert_eq!(due_ms(list(&updates), &memory), NOW_MS + 3500);
    memory.saw(&list(&updates[..1]), NOW_MS + 1000);
    assert_eq!(due_ms(list(&updates[..1]), &memory), NOW_MS + 2000);
}

#[test]
fn a_list_that_grows_all_the_time_has_old_updates_too_and_few_are_remembered() {
    let updates: Vec<Bytes> = (0..400).map(|n| update(&n.to_string(), 10)).collect();
    let mut memory = Memory::default();
    for n in 1..400 {
        let now_ms = NOW_MS + 10 * n as u64;
        let (shown, withheld) = attached_at(list(&updates[..n]), now_ms, &memory);
        if n > 220 {
            assert!(shown == 10 && withheld <= 210, "{n}: {shown} {withheld}");
        }
        memory.saw(&list(&updates[..n]), now_ms);
    }
    assert!(size_of_val(&memory) <= 64);
    assert!(format!("{memory:?}").matches("place").count() <= 22);
}

#[test]
fn a_clock_that_goes_back_delays() {
    let updates = [update("a", 20)];
    let mut memory = Memory::default();
    memory.saw(&list(&updates), NOW_MS + 60_000);
    assert_eq!(attached_at(list(&updates), NOW_MS, &memory), (0, 1));
    memory.saw(&list(&updates), NOW_MS);
    assert_eq!(memory.old_at_ms(&list(&updates), NOW_MS), NOW_MS + 2000);
    assert_eq!(attached_at(list(&updates), NOW_MS + 2000, &memory), (1, 0));
}

#[test]
fn an_equal_update_that_comes_later_is_not_the_one_that_was_seen() {
    let tick = update_without_time("tick");
    let (one, two) = ([tick.clone()], [tick.clone(), tick]);
    let mut memory = Memory::default();
    memory.saw(&list(&one), NOW_MS);
    assert_eq!(attached_at(list(&two), NOW_MS + 2000, &memory), (1, 1));
    // Of a list that was cut, the place tells which it was.
    let newest = List { total: 2, ..list(&one) };
    assert_eq!(attached_at(newest, NOW_MS + 2000, &memory), (0, 1));
}

#[test]
fn of_a_thread_list_that_loses_updates_the_oldest_that_is_equal_counts() {
    let thread = |updates| List { total: 100, task_id: None, ..list(updates) };
    let updates = [update("a", 20), update("b", 10), update("b", 10), update("c", 5)];
    let mut memory = Memory::default();
    memory.saw(&thread(&updates[..3]), NOW_MS);
    assert_eq!(attached_at(thread(&updates), NOW_MS + 2000, &memory), (2, 2));
    assert_eq!(attached_at(thread(&updates[3..]), NOW_MS + 2000, &memory), (0, 1));
}

#[test]
fn another_tasks_list_is_another_list() {
    let updates = [update("a", 20)];
    let mut memory = Memory::default();
    memory.saw(&list(&updates), NOW_MS);
    let other = List { task_id: Some(b"other"), ..list(&updates) };
    assert_eq!(attached_at(other, NOW_MS + 2000, &memory), (0, 1));
}

fn told_of(batch: &Batch, list: List<'_>, came: &[Entry]) -> usize {
    let came: Vec<Told> = came.iter().filter_map(Told::by).collect();
    let reread = Reread::new(list, StreamId::MAX);
    super::super::reread(batch, &reread, &came, Limits::default()).len()
}

#[test]
fn an_entry_of_these_words_is_the_withheld_ones_unless_a_new_update_is_known() {
    let updates = [update_without_time("a")];
    let read = read(list(&updates), &[]);
    let memory = Memory::default();
    let found = attach(&read, &memory, Limits::default());
    let batch = batch_of(&found, &read, StreamId::ZERO, &memory).unwrap();
    let came = [coming("a", None)];
    assert_eq!(told_of(&batch, list(&updates), &came), 0);
    // More was pushed than was read,
    let pushed = [update("b", 0)];
    assert_eq!(told_of(&batch, List { total: 9, ..list(&pushed) }, &came), 0);
    // the list was begun again, or it is another task's.
    assert_eq!(told_of(&batch, list(&pushed), &came), 0);
    assert_eq!(told_of(&batch, List { task_id: Some(b"other"), ..list(&updates) }, &came), 0);
    // One that says the same was pushed, and was read.
    let pushed = [update_without_time("a")];
    assert_eq!(told_of(&batch, List { total: 9, ..list(&pushed) }, &came), 1);
}

#[test]
fn without_a_copy_an_update_is_told_where_the_list_still_has_it() {
    let updates = [update("a", 30), update("b", 20), update("c", 10)];
    let read = read(list(&updates), &[]);
    let memory = Memory::default();
    let found = attach(&read, &memory, Limits::default());
    let copy = |update: &Bytes| (*update == updates[0]).then(|| update.clone());
    let batch = Batch::of(&found, &read, StreamId::ZERO, &memory, copy).unwrap();
    assert_eq!(batch.copies().collect::<Vec<_>>(), [&updates[0]]);
    let told = |list, came: &[Told]| {
        super::super::reread(&batch, &Reread::new(list, StreamId::MAX), came, Limits::default())
    };
    assert_eq!(told(list(&updates), &[]), updates);
    let came = [Told::by(&coming("c", Some(10))).unwrap()];
    assert_eq!(told(list(&updates), &came), updates[..2]);
    // Of those that left the list there is the copy.
    assert_eq!(
        told(List { total: 3, ..list(&updates[2..]) }, &[]),
        [&updates[..1], &updates[2..]].concat()
    );
    assert_eq!(told(list(&[]), &[]), updates[..1]);
}

#[test]
fn who_is_owed_the_same_is_as_the_other_whatever_is_kept() {
    let updates = [update("a", 20), update("b", 10)];
    let memory = Memory::default();
    let batch = |list, position, is_kept: bool| {
        let read = read(list, &[]);
        let found = attach(&read, &memory, Limits::default());
        let copy = |update: &Bytes| is_kept.then(|| update.clone());
        Batch::of(&found, &read, position, &memory, copy).unwrap()
    };
    let at = StreamId { ms: NOW_MS, seq: 0 };
    let kept = batch(list(&updates), at, true);
    assert!(kept.is_as(&batch(list(&updates), at, false)));
    assert!(!kept.is_as(&batch(list(&updates), StreamId { seq: 1, ..at }, true)));
    assert!(!kept.is_as(&batch(list(&updates[..1]), at, true)));
    assert!(!kept.is_as(&batch(list(&updates[1..]), at, true)));
    assert!(!kept.is_as(&batch(List { task_id: None, ..list(&updates) }, at, true)));
}

/// A full list of the thread layout, whose oldest updates go.
fn full(updates: &[Bytes]) -> List<'_> {
    let newest = &updates[updates.len().saturating_sub(100)..];
    List { updates: newest, total: newest.len() as u64, task_id: None }
}

fn numbered(from: usize, to: usize) -> Vec<Bytes> {
    (from..to).map(|n| update_without_time(&n.to_string())).collect()
}

#[test]
fn an_update_that_says_what_an_old_one_said_is_not_old_nor_what_is_before_it() {
    let tick = update_without_time("tick");
    let mut updates = [numbered(0, 100), vec![tick.clone()]].concat();
    let mut memory = Memory::default();
    memory.waited_for(full(&updates).newest().unwrap());
    updates.extend(numbered(200, 300));
    assert_eq!(attached_at(full(&updates), NOW_MS, &memory), (0, 100));
    updates.extend([update_without_time("other"), tick]);
    assert_eq!(attached_at(full(&updates), NOW_MS, &memory), (0, 100));
}

#[test]
fn what_is_behind_an_older_update_that_says_the_same_is_not_pushed_since() {
    let tick = update_without_time("tick");
    let updates = [numbered(0, 60), vec![tick.clone()], numbered(60, 100), vec![tick]].concat();
    let mark = full(&updates).newest().unwrap();
    let more = [updates, numbered(200, 203)].concat();
    assert_eq!(full(&more).find(mark), Stands::At(96));
}

#[test]
fn of_a_full_list_that_ends_with_equal_updates_the_newest_may_be_a_new_one() {
    let ticks = |number| vec![update_without_time("tick"); number];
    let tocks = |n: usize| update_without_time(["tick", "tock"][n % 2]);
    for (updates, waits_anew) in [
        ([numbered(0, 95), ticks(5)].concat(), true),
        ([numbered(0, 92), (0..8).map(tocks).collect()].concat(), true),
        ([numbered(0, 98), ticks(2)].concat(), false),
        ([numbered(0, 50), ticks(1), numbered(50, 98), ticks(1)].concat(), false),
    ] {
        let mut memory = Memory::default();
        memory.saw(&full(&updates), NOW_MS);
        let batch = batch_of_list(full(&updates), &memory);
        assert_eq!(batch.due_ms, NOW_MS + if waits_anew { 3500 } else { 2000 });
        assert_eq!(batch.is_as(&batch), !waits_anew);
    }
    // Where no update leaves the list, its length tells.
    let (updates, mut memory) = (ticks(100), Memory::default());
    memory.saw(&list(&updates), NOW_MS);
    assert_eq!(batch_of_list(list(&updates), &memory).due_ms, NOW_MS + 2000);
}

#[test]
fn what_is_withheld_was_not_pushed_since_where_older_updates_say_what_the_newest_say() {
    let (ticks, timed) = (vec![update_without_time("tick"); 4], update("a", 20));
    let old = [numbered(0, 1), ticks.clone(), numbered(1, 91)].concat();
    let updates = [&old[..], &[timed], &ticks].concat();
    let mut memory = Memory::default();
    memory.waited_for(full(&old).newest().unwrap());
    let batch = batch_of_list(full(&updates), &memory);
    let tick = || coming("tick", None);
    let came = [coming("a", Some(20)), tick(), tick(), tick(), tick()];
    // The older ones are the first ones then, with nothing before them that could tell.
    let then = [updates, numbered(200, 201)].concat();
    assert_eq!(told_of(&batch, full(&then), &came), 0);
    // A few of those that were there are enough to know them again.
    let later = [then, numbered(201, 290)].concat();
    assert_eq!(told_of(&batch, full(&later), &came), 0);
    // And one that says the same was pushed since.
    let later = [later, ticks[..1].to_vec()].concat();
    assert_eq!(told_of(&batch, full(&later), &came), 1);
}

#[test]
fn of_updates_that_repeat_some_may_have_been_pushed_since() {
    for (period, pushed) in [(1, 1), (1, 80), (3, 3), (3, 78), (40, 40)] {
        let updates: Vec<Bytes> = numbered(0, period).into_iter().cycle().take(200).collect();
        let (then, now) = (full(&updates[..120]), full(&updates[..120 + pushed]));
        let mark = then.newest().unwrap();
        match now.find_last(mark, &then.hashes(), |at| now.hash_at(at)) {
            Stands::At(at) => assert!(at < 100 - pushed, "{period} {pushed}: {at}"),
            stands => panic!("{period} {pushed}: {stands:?}"),
        }
    }
}

#[test]
fn an_update_of_a_full_list_stands_no_further_from_its_beginning_than_it_did() {
    let steps = [numbered(0, 2), vec![update_without_time("tick")]].concat();
    let mark = full(&steps).newest().unwrap();
    let more = [&steps[..], &numbered(3, 110)].concat();
    assert_eq!(full(&more).find(mark), Stands::Before);
    let again = [&more[..], &steps].concat();
    assert_eq!(full(&again).find(mark), Stands::Before);
    let kept = [&steps[..], &numbered(3, 100)].concat();
    assert_eq!(full(&kept).find(mark), Stands::At(2));
}
