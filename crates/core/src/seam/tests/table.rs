//! The decision table.

use super::*;

#[test]
fn an_update_with_its_entry_is_shown() {
    let updates = [update("a", 30), update("b", 20)];
    let entries = [entry("a", 29, Some(30)), entry("b", 19, Some(20))];
    assert_eq!(attached(&updates, &entries), (vec![0, 1], vec![]));
}

#[test]
fn updates_of_a_class_are_shown_where_each_can_have_an_entry() {
    let updates = [update_without_time("a"), update_without_time("a")];
    let entries = [entry("a", 9, Some(9)), entry("a", 5, None), entry("a", 4, None)];
    assert_eq!(attached(&updates, &entries[..2]), (vec![0, 1], vec![]));
    assert_eq!(attached(&updates, &entries), (vec![0, 1], vec![]));
}

#[test]
fn without_proof_an_update_is_withheld_and_told_where_no_entry_comes() {
    let updates = [update("a", 3000), update("b", 20)];
    let entries = [entry("a", 2999, Some(3000))];
    assert_eq!(attached(&updates, &entries), (vec![0], vec![1]));
    assert_eq!(told_later(&updates, &entries, &[], &[coming("b", Some(20))]), [""; 0]);
    assert_eq!(told_later(&updates, &entries, &[], &[]), updates[1..]);
}

#[test]
fn an_orphan_behind_an_entry_that_is_two_seconds_old_is_shown_at_once() {
    let updates = [update("orphan", 2100), update("b", 2050)];
    assert_eq!(attached(&updates, &[entry("b", 2000, Some(2050))]), (vec![0, 1], vec![]));
    assert_eq!(attached(&updates, &[entry("b", 1999, Some(2050))]), (vec![1], vec![0]));
}

#[test]
fn another_workers_entry_may_be_late() {
    let updates = [update("a", 20), update("b", 15)];
    let entries = [entry("b", 10, Some(15))];
    assert_eq!(attached(&updates, &entries), (vec![1], vec![0]));
    assert_eq!(told_later(&updates, &entries, &[], &[coming("a", Some(20))]), [""; 0]);
    assert_eq!(told_later(&updates, &entries, &[], &[]), updates[..1]);
}

#[test]
fn of_an_uneven_class_all_are_withheld_and_as_many_told_as_did_not_come() {
    let updates = [update_without_time("a"), update_without_time("a")];
    let entries = [entry("a", 5, None)];
    assert_eq!(attached(&updates, &entries), (vec![], vec![0, 1]));
    assert_eq!(told_later(&updates, &entries, &[], &[]).len(), 2);
    assert_eq!(told_later(&updates, &entries, &[], &[coming("a", None)]).len(), 1);
}

#[test]
fn of_updates_that_are_equal_in_all_nothing_tells_which_has_its_entry() {
    let tick = update("tick", 900);
    let exact = |n: u64| (update(&n.to_string(), 50 - n), entry(&n.to_string(), 5, Some(50 - n)));
    let (others, mut entries): (Vec<Bytes>, Vec<Entry>) = (0..9).map(exact).unzip();
    let updates = [&[tick.clone(), tick.clone()], &others[..], &[tick]].concat();
    entries.push(entry("tick", 800, Some(900)));
    // The last one may be it, or the first one, which is too old to be shown.
    assert_eq!(attached(&updates, &entries), ((2..11).collect(), vec![0, 1, 11]));
    let came = |number| vec![coming("tick", Some(900)); number];
    assert_eq!(told_later(&updates, &entries, &[], &came(2)), updates[11..]);
    assert_eq!(told_later(&updates, &entries, &[], &came(1)).len(), 2);
    entries.extend([entry("tick", 700, Some(900)), entry("tick", 600, Some(900))]);
    assert_eq!(attached(&updates, &entries), ((2..12).collect(), vec![]));
}

#[test]
fn an_entry_that_may_be_of_one_that_is_shown_is_of_a_withheld_one_that_is_equal_in_all() {
    let tick = update("tick", 2100);
    let updates = [tick.clone(), update("b", 2050), tick.clone(), tick];
    let entries = [entry("b", 2000, Some(2050)), entry("tick", 9, Some(2100))];
    // The first one is old; its entry may have been trimmed away, or come too late.
    assert_eq!(attached(&updates, &entries), (vec![0, 1], vec![2, 3]));
    let told = |came| told_later(&updates, &entries, &[], &vec![coming("tick", Some(2100)); came]);
    assert_eq!([told(0).len(), told(1).len(), told(2).len(), told(3).len()], [2, 1, 0, 0]);
}

#[test]
fn entries_that_came_are_first_of_all_those_of_new_updates() {
    let updates = [update_without_time("a")];
    let pushed = [update_without_time("a")];
    let one = [coming("a", None)];
    assert_eq!(told_later(&updates, &[], &pushed, &one), updates);
    assert_eq!(told_later(&updates, &[], &pushed, &[one.clone(), one].concat()), [""; 0]);
}

#[test]
fn an_entry_of_a_new_update_with_its_time_cancels_nothing() {
    let updates = [update("a", 20)];
    let pushed = [update("a", 10)];
    let came = [coming("a", Some(10))];
    assert_eq!(told_later(&updates, &[], &pushed, &came), updates);
    let both = [coming("a", Some(20)), coming("a", Some(10))];
    assert_eq!(told_later(&updates, &[], &pushed, &both), [""; 0]);
}

#[test]
fn equal_in_all_the_doubt_tells_once_more() {
    let updates = [update("a", 20)];
    let pushed = [update("a", 20)];
    assert_eq!(told_later(&updates, &[], &pushed, &[coming("a", Some(20))]), updates);
    let both = [coming("a", Some(20)), coming("a", Some(20))];
    assert_eq!(told_later(&updates, &[], &pushed, &both), [""; 0]);
}

#[test]
fn only_entries_behind_the_batch_and_up_to_the_read_count() {
    let updates = [update("a", 20)];
    let read = read(list(&updates), &[]);
    let memory = Memory::default();
    let found = attach(&read, &memory, Limits::default());
    let position = StreamId { ms: NOW_MS, seq: 5 };
    let batch = batch_of(&found, &read, position, &memory).unwrap();
    let told = |id, position| {
        let came = Told::by(&Entry { id, ..coming("a", Some(20)) }).unwrap();
        let reread = Reread::new(list(&updates), position);
        super::super::reread(&batch, &reread, &[came], Limits::default()).len()
    };
    let later = StreamId { ms: NOW_MS + 2000, seq: 0 };
    assert_eq!(told(position, later), 1);
    assert_eq!(told(StreamId { seq: 6, ..position }, later), 0);
    assert_eq!(told(later, later), 0);
    assert_eq!(told(StreamId { seq: 1, ..later }, later), 1);
}

#[test]
fn of_times_that_are_two_seconds_apart_no_entry_is_the_updates() {
    let updates = [update("a", 2500)];
    assert_eq!(attached(&updates, &[entry("a", 10, Some(500))]), (vec![0], vec![]));
    assert_eq!(attached(&updates, &[entry("a", 10, Some(499))]), (vec![], vec![0]));
    // Those with times take their own, and leave the one without to who has none near.
    let updates = [update("a", 9000), update("a", 20)];
    let near = entry("a", 10, Some(15));
    let entries = [entry("a", 11, None), near.clone()];
    assert_eq!(attached(&updates, &entries), (vec![0, 1], vec![]));
    assert_eq!(attached(&updates, &[near.clone(), near]), (vec![], vec![0, 1]));
}

#[test]
fn a_stream_that_was_trimmed_shows_what_is_before_an_old_entry() {
    let updates: Vec<Bytes> = (0..12).map(|n| update(&n.to_string(), 9_000 - n)).collect();
    let entries = [entry("11", 8_000, Some(8_989))];
    assert_eq!(attached(&updates, &entries), ((2..12).collect(), vec![]));
    // An entry proves nothing of what was pushed behind its update.
    let entries = [entry("5", 8_000, Some(8_995))];
    assert_eq!(attached(&updates, &entries), ((0..6).collect(), (6..12).collect()));
}

#[test]
fn a_stream_that_expired_shows_what_is_a_day_old() {
    let day = 24 * 60 * 60 * 1000;
    assert_eq!(attached(&[update("a", day + 1)], &[]), (vec![0], vec![]));
    assert_eq!(attached(&[update("a", day)], &[]), (vec![], vec![0]));
    assert_eq!(told_later(&[update("a", day)], &[], &[], &[]).len(), 1);
    let updates = [update("a", 9), update("b", day + 1), update("c", 5)];
    assert_eq!(attached(&updates, &[]), (vec![0, 1], vec![2]));
}

#[test]
fn the_cap_is_where_it_is_told() {
    let updates: Vec<Bytes> = (0..30).map(|n| update(&n.to_string(), 100 - n)).collect();
    assert_eq!(attached(&updates, &[]), (vec![], (0..30).collect()));
    assert_eq!(told_later(&updates, &[], &[], &[]), updates[20..]);
    let came: Vec<Entry> = (20..30).map(|n| coming(&n.to_string(), Some(100 - n))).collect();
    assert_eq!(told_later(&updates, &[], &[], &came), updates[10..20]);
    // What is withheld among ten that are shown makes room for older ones.
    let but_one = (0..30).filter(|&n| n != 25);
    let entries: Vec<Entry> =
        but_one.map(|n| entry(&n.to_string(), 50 - n, Some(100 - n))).collect();
    let (shown, withheld) = attached(&updates, &entries);
    assert_eq!(shown, (19..30).filter(|&n| n != 25).collect::<Vec<_>>());
    assert_eq!(withheld, [25]);
}

#[test]
fn an_entry_of_an_update_that_was_neither_shown_nor_withheld_cancels_nothing() {
    let exact = |n: u64| (update(&n.to_string(), 50 - n), entry(&n.to_string(), 5, Some(50 - n)));
    let (between, entries): (Vec<Bytes>, Vec<Entry>) = (0..10).map(exact).unzip();
    // With its time it is known again, without one it may be of either.
    for (first, last, came) in [
        (update("a", 99), update("a", 9), coming("a", Some(99))),
        (update_without_time("a"), update_without_time("a"), coming("a", None)),
    ] {
        let updates =
            [std::slice::from_ref(&first), &between[..], std::slice::from_ref(&last)].concat();
        assert_eq!(attached(&updates, &entries), ((1..11).collect(), vec![11]));
        assert_eq!(told_later(&updates, &entries, &[], std::slice::from_ref(&came)), [last]);
    }
}

#[test]
fn an_update_in_doubt_takes_no_ones_place() {
    let others: Vec<Bytes> = (0..10).map(|n| update(&n.to_string(), 50 - n)).collect();
    let tick = update_without_time("tick");
    let updates = [std::slice::from_ref(&tick), &others[..], std::slice::from_ref(&tick)].concat();
    assert_eq!(told_later(&updates, &[], &[], &[coming("tick", None)]), updates[1..]);
}

#[test]
fn nor_does_one_that_is_told_though_its_entry_may_have_come() {
    let others: Vec<Bytes> = (0..10).map(|n| update(&n.to_string(), 50 - n)).collect();
    // Its entry or that of the one that was pushed since: nothing tells.
    for (tick, ago_ms) in [(update_without_time("tick"), None), (update("tick", 10), Some(10))] {
        let updates = [&others[..], std::slice::from_ref(&tick)].concat();
        let came = [coming("tick", ago_ms)];
        assert_eq!(told_later(&updates, &[], &[], &came), others);
        assert_eq!(told_later(&updates, &[], std::slice::from_ref(&tick), &came), updates);
        // Or of two that are withheld.
        let updates = [std::slice::from_ref(&tick), &updates[..]].concat();
        assert_eq!(told_later(&updates, &[], &[], &came), updates[1..]);
    }
    // Of one with another time it is not: then the newest ten are told.
    let updates: Vec<Bytes> = (0..11).map(|n| update("tick", 50 - n)).collect();
    let (pushed, came) = ([update("tick", 5)], [coming("tick", Some(5))]);
    assert_eq!(told_later(&updates, &[], &pushed, &came), updates[1..]);
}

#[test]
fn of_a_cut_list_old_entries_prove_nothing_of_equal_updates() {
    let updates: Vec<Bytes> = (0..4).map(|_| update_without_time("tick")).collect();
    let entries: Vec<Entry> = (0..8).map(|n| entry("tick", 80 - n, None)).collect();
    let part = List { total: 8, ..list(&updates) };
    let limits = |loose_max| Limits { loose_max, ..Limits::default() };
    let shown = |loose_max| {
        attach(&read(part, &entries), &Memory::default(), limits(loose_max)).shown.len()
    };
    assert_eq!((shown(4), shown(3)), (4, 0));
    // Exact ones count wherever they are.
    let updates = [update("a", 90)];
    let entries: Vec<Entry> = std::iter::once(entry("a", 80, Some(90)))
        .chain((0..9).map(|n| entry("b", 70 - n, None)))
        .collect();
    let part = List { total: 8, ..list(&updates) };
    assert_eq!(attach(&read(part, &entries), &Memory::default(), limits(1)).shown, [0]);
}

#[test]
fn a_thread_list_that_is_full_is_cut_even_if_it_was_read_whole() {
    let updates: Vec<Bytes> = (0..100).map(|_| update_without_time("tick")).collect();
    let entries: Vec<Entry> = (0..100).map(|n| entry("tick", 110 - n, None)).collect();
    let shown = |task_id| {
        let read = read(List { task_id, ..list(&updates) }, &entries);
        attach(&read, &Memory::default(), Limits::default()).shown.len()
    };
    assert_eq!((shown(Some(&b"k"[..])), shown(None)), (10, 0));
}

#[test]
fn it_is_read_on_where_that_may_show_more() {
    let updates = [update("a", 20)];
    let reads_on = |entries: &[Entry], total, entries_total| {
        let list = List { total, ..list(&updates) };
        let read = Read { entries_total, ..read(list, entries) };
        attach(&read, &Memory::default(), Limits::default()).reads_on
    };
    let proof = [entry("a", 10, Some(20))];
    assert!(reads_on(&[], 2, 0));
    assert!(reads_on(&[], 1, 1));
    assert!(!reads_on(&[], 1, 0));
    assert!(!reads_on(&proof, 2, 2));
}
