//! Each update once and in order, whatever connections do and repeat.

use proptest::prelude::*;

use super::*;

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

fn entry(prev: u64, ms: u64) -> String {
    format!(r#"{{"update_type":"x","stream_id":"{}","prev_stream_id":"{}"}}"#, id(ms), id(prev))
}

fn initial(ms: u64) -> String {
    format!(r#"{{"update_type":"initial_state","stream_id":"{}"}}"#, id(ms))
}

fn take(chain: &mut Chain, frame: &str) -> Result<Option<Update>, Broken> {
    chain.take(frame.as_bytes())
}

#[test]
fn entries_follow_the_state_one_by_one() {
    let mut chain = Chain::new();
    assert_eq!(chain.connect(), None);
    assert_eq!(
        take(&mut chain, &entry(4, 5)),
        Err(Broken::NoState { stream_id: id(5) }),
        "an entry before the state"
    );
    let state = Update::Initial { stream_id: Some(id(5)), lost: false };
    assert_eq!(take(&mut chain, &initial(5)), Ok(Some(state)));
    let next = Update::Entry { stream_id: id(6), prev_stream_id: id(5) };
    assert_eq!(take(&mut chain, &entry(5, 6)), Ok(Some(next)));
    assert_eq!(take(&mut chain, &entry(5, 6)), Ok(None));
    assert_eq!(take(&mut chain, &entry(2, 3)), Ok(None));
    assert_eq!(chain.repeats(), 2);
    let skipped = Broken::Skipped { at: id(6), stream_id: id(8), prev_stream_id: id(7) };
    assert_eq!(take(&mut chain, &entry(7, 8)), Err(skipped));
    assert_eq!(chain.connect(), Some(id(6).into()), "the position stays at the last good entry");
}

#[test]
fn everything_retained_begins_anywhere_and_goes_on_without_a_hole() {
    let mut chain = Chain::since(Since::Retained);
    chain.connect();
    assert!(take(&mut chain, &entry(41, 42)).is_ok());
    assert!(take(&mut chain, &entry(43, 44)).is_err());
}

#[test]
fn what_is_retained_is_asked_for_until_something_came() {
    let mut chain = Chain::since(Since::Retained);
    assert_eq!(chain.connect(), Some(Since::Retained));
    assert_eq!(chain.connect(), Some(Since::Retained));
    assert!(take(&mut chain, &entry(41, 42)).is_ok());
    assert_eq!(chain.connect(), Some(id(42).into()));
    let mut chain = Chain::new();
    chain.connect();
    assert!(take(&mut chain, &initial(0)).is_ok());
    assert_eq!(chain.connect(), Some(Since::After(StreamId::ZERO)));
    assert!(take(&mut chain, &entry(41, 42)).is_err());
}

#[test]
fn where_nothing_is_retained_caught_up_gives_the_position() {
    let mut chain = Chain::since(Since::Retained);
    chain.connect();
    let caught_up = r#"{"update_type":"caught_up","stream_id":"7-0"}"#;
    assert_eq!(take(&mut chain, caught_up), Ok(Some(Update::CaughtUp)));
    assert_eq!(chain.position(), Some(id(7)));
    assert!(take(&mut chain, &entry(7, 9)).is_ok());
    assert_eq!(take(&mut chain, caught_up), Ok(Some(Update::CaughtUp)));
    assert_eq!(chain.position(), Some(id(9)));
}

#[test]
fn after_a_gap_comes_a_state_which_may_lie_before() {
    let mut chain = Chain::since(id(9).into());
    chain.connect();
    let gap =
        r#"{"update_type":"gap","requested":"9-0","first":"1-0","last":null,"reason":"reset"}"#;
    let update =
        Gap { requested: Some(id(9)), first: Some(id(1)), last: None, reason: "reset".to_owned() };
    assert_eq!(take(&mut chain, gap), Ok(Some(Update::Gap(update))));
    assert!(take(&mut chain, &entry(1, 2)).is_err());
    let state = Update::Initial { stream_id: Some(id(1)), lost: false };
    assert_eq!(take(&mut chain, &initial(1)), Ok(Some(state)));
    assert!(take(&mut chain, &entry(1, 2)).is_ok());
}

#[test]
fn a_state_elsewhere_without_a_gap_is_a_loss() {
    let mut chain = Chain::since(id(3).into());
    chain.connect();
    let lost = |ms, lost| Ok(Some(Update::Initial { stream_id: Some(id(ms)), lost }));
    assert_eq!(take(&mut chain, &initial(3)), lost(3, false));
    assert_eq!(take(&mut chain, &initial(5)), lost(5, true));
}

/// What an honest server sends from `since` on: everything after it, some of it repeatedly.
fn replay(stream: &[u64], since: Option<Since>, repeats: &[usize]) -> Vec<String> {
    let mut frames = Vec::new();
    if since.is_none() {
        frames.push(initial(0));
    }
    let after = since.map(Since::position).unwrap_or_default();
    let links = std::iter::once(0).chain(stream.iter().copied()).zip(stream.iter().copied());
    for (n, (prev, ms)) in links.filter(|(_, ms)| id(*ms) > after).enumerate() {
        let times = 1 + usize::from(repeats.contains(&n));
        frames.extend(std::iter::repeat_n(entry(prev, ms), times));
    }
    frames
}

fn stream() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::btree_set(1..1000_u64, 1..40).prop_map(|stream| stream.into_iter().collect())
}

proptest! {
    #[test]
    fn over_any_cuts_and_repeats_each_entry_comes_once(
        stream in stream(),
        cuts in prop::collection::vec(0..50_usize, 0..6),
        repeats in prop::collection::vec(0..40_usize, 0..6),
    ) {
        let mut chain = Chain::new();
        let mut seen = Vec::new();
        for cut in cuts.into_iter().chain([usize::MAX]) {
            for frame in replay(&stream, chain.connect(), &repeats).iter().take(cut) {
                if let Some(Update::Entry { stream_id, .. }) = take(&mut chain, frame)? {
                    seen.push(stream_id.ms);
                }
            }
        }
        prop_assert_eq!(seen, stream);
    }

    #[test]
    fn an_entry_that_is_left_out_is_missed_at_the_next_one(
        stream in stream(),
        hole in any::<prop::sample::Index>(),
    ) {
        let mut frames = replay(&stream, None, &[]);
        let hole = 1 + hole.index(stream.len());
        frames.remove(hole);
        let mut chain = Chain::new();
        chain.connect();
        let good = frames.iter().take_while(|frame| take(&mut chain, frame).is_ok()).count();
        prop_assert_eq!(good, hole);
    }

    #[test]
    fn no_bytes_and_no_values_disturb_it(
        bytes in any::<Vec<u8>>(),
        names in prop::collection::vec(
            prop::sample::select(vec![
                "update_type", "stream_id", "prev_stream_id", "error", "reason", "message",
            ]),
            0..6,
        ),
        values in prop::collection::vec(
            prop::sample::select(vec![
                "null", "7", "\"1-0\"", "\"gap\"", "\"initial_state\"", "{\"a\":[]}",
                "\"\\ud800\"", "\"\\\"\"", "\"-\"", "1e999",
            ]),
            6,
        ),
    ) {
        let mut chain = Chain::since(id(1).into());
        chain.connect();
        let _ = chain.take(&bytes);
        let members: Vec<_> =
            names.iter().zip(&values).map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let _ = take(&mut chain, &format!("{{{}}}", members.join(",")));
    }
}
