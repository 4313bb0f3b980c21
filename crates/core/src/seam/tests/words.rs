//! What makes an update and an entry say the same.

use super::*;
use crate::seam::said::Said;

fn same(update: &str, fields: &[(&str, &str)]) -> bool {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.to_string())).collect();
    let told = Told::by(&entry_of(0, &fields)).unwrap();
    let said = Said::by_update(update.as_bytes());
    said.class == Some(told.class) && said.at_us == told.at_us
}

#[test]
fn values_are_compared_parsed() {
    for (update, metadata) in [
        (r#"{"message":"a"}"#, "{}"),
        (r#"{"message":"a","metadata":null}"#, "{}"),
        (r#"{"message":"a","metadata":{}}"#, "null"),
        (r#"{"message":"a","metadata":{}}"#, "{ }"),
        (r#"{"message":"a","metadata":{}}"#, "not json"),
        (r#"{"message":"a","metadata":{"b":1,"c":[2.0,"\u00e4"]}}"#, r#"{"c": [2, "ä"], "b": 1}"#),
        (r#"{"message":"a","metadata":{"b":1e-05}}"#, r#"{"b": 0.00001}"#),
        (r#"{"message":"a","metadata":"{\"b\":1}"}"#, r#"{"b":1}"#),
        (r#"{"message":"\u0061","metadata":{}}"#, "{}"),
        (r#"{"message":"x","message":"a"}"#, "{}"),
    ] {
        assert!(same(update, &[("message", "a"), ("metadata", metadata)]), "{update} {metadata}");
    }
    for (update, metadata) in [
        (r#"{"message":"A"}"#, "{}"),
        (r#"{"message":"a","metadata":{"b":1}}"#, "{}"),
        (r#"{"message":"a","metadata":{"b":1}}"#, r#"{"b":"1"}"#),
        (r#"{"message":"a","metadata":{"b":1}}"#, r#"{"b":1.5}"#),
        (r#"{"message":"a","metadata":{"b":9007199254740993}}"#, r#"{"b":9007199254740992}"#),
        (r#"{"message":"a","metadata":[1,2]}"#, "[2,1]"),
        (r#"{"message":"a","metadata":{"b":{"c":1}}}"#, r#"{"c":{"b":1}}"#),
        (r#"{"message":"a","timestamp":"2024-06-10T06:13:20"}"#, "{}"),
    ] {
        assert!(!same(update, &[("message", "a"), ("metadata", metadata)]), "{update} {metadata}");
    }
    assert!(same(r#"{"message":"a"}"#, &[("message", "a")]));
    assert!(same(r#"{"message":5}"#, &[("message", "5")]));
}

#[test]
fn the_publishers_own_word_does_not_matter() {
    let update = r#"{"message":"a","update_type":"progress"}"#;
    assert!(same(update, &[("update_type", "thread_update"), ("message", "a")]));
}

#[test]
fn times_are_compared_as_times() {
    let update = r#"{"message":"a","timestamp":"2024-06-10T08:13:20+02:00"}"#;
    assert!(same(update, &[("message", "a"), ("timestamp", "2024-06-10T06:13:20.000Z")]));
    assert!(!same(update, &[("message", "a"), ("timestamp", "2024-06-10T06:13:20.001Z")]));
    let update = r#"{"message":"a","timestamp":5}"#;
    assert!(same(update, &[("message", "a"), ("timestamp", "yesterday")]));
}

#[test]
fn metadata_that_nests_too_deep_counts_as_none_in_both() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let update = format!(r#"{{"message":"a","metadata":{deep}}}"#);
    assert!(same(&update, &[("message", "a"), ("metadata", &deep)]));
}

#[test]
fn long_metadata_is_not_looked_at_however_it_is_written() {
    let of = |text: &str, number: usize| format!(r#"{{"b":"{}"}}"#, text.repeat(number));
    let update = |metadata: &str| format!(r#"{{"message":"a","metadata":{metadata}}}"#);
    // 8 characters are around them.
    let enough = 16 * 1024 - 8;
    assert!(!same(&update(&of("x", enough)), &[("message", "a"), ("metadata", &of("y", enough))]));
    let (long, other) = (of("x", enough + 1), of("y", enough + 1));
    for (message, metadata, is_same) in
        [("a", &*other, true), ("b", &long, false), ("a", "{}", false), ("a", "[1]", false)]
    {
        assert_eq!(same(&update(&long), &[("message", message), ("metadata", metadata)]), is_same);
    }
    let as_text = serde_json::to_string(&long).unwrap();
    assert!(same(&update(&as_text), &[("message", "a"), ("metadata", &other)]));
    for (escaped, itself, number) in [
        (r"\u00e4", "\u{e4}", enough),
        (r"\u20AC", "\u{20ac}", enough),
        (r"\ud83d\uDE00", "\u{1f600}", enough),
        (r"\n", r"\n", enough),
        (r"\u00e4", "\u{e4}", enough + 1),
    ] {
        let (update, metadata) = (update(&of(escaped, number)), of(itself, number));
        assert!(same(&update, &[("message", "a"), ("metadata", &metadata)]), "{escaped} {number}");
        let other = of("x", number);
        let is_same = number > enough;
        assert_eq!(same(&update, &[("message", "a"), ("metadata", &other)]), is_same);
    }
    let spaces = format!("{{{}\"b\": 1}}", " ".repeat(enough + 9));
    assert!(same(&update(&spaces), &[("message", "a"), ("metadata", r#"{"b":1}"#)]));
}

#[test]
fn of_an_entry_the_last_of_equal_names_counts_and_without_a_message_it_tells_nothing() {
    assert!(same(r#"{"message":"b"}"#, &[("message", "a"), ("message", "b")]));
    assert_eq!(Told::by(&entry_of(0, &[("status", "done".into())])), None);
}

#[test]
fn entries_of_another_task_are_of_another_list() {
    let of = |task_id: &str| {
        let fields = [("message", "a".to_owned()), ("task_id", task_id.to_owned())];
        Told::by(&entry_of(0, &fields)).unwrap()
    };
    assert!(of("k").is_of(Some(b"k")) && of("k").is_of(None));
    assert!(!of("child").is_of(Some(b"k")));
    let updates = [update("a", 20)];
    let mut child = entry("a", 10, Some(20));
    child.fields.push(("task_id".into(), "child".into()));
    assert_eq!(attached(&updates, &[child.clone()]), (vec![], vec![0]));
    let in_thread_layout = List { task_id: None, ..list(&updates) };
    let found = attach(&read(in_thread_layout, &[child]), &Memory::default(), Limits::default());
    assert_eq!(found.shown, [0]);
}

#[test]
fn updates_of_any_form_are_withheld_and_told() {
    let updates: Vec<Bytes> =
        ["[1]", "not json", "{\"message\":null}", "", "{\"message\":\"\\ud800\"}"]
            .map(Bytes::from)
            .into();
    assert_eq!(attached(&updates, &[]), (vec![], (0..5).collect()));
    assert_eq!(told_later(&updates, &[], &[], &[coming("a", None)]), updates);
    // They do not stand in the way of what they are before.
    let updates = [&updates[..], &[update("a", 2000)]].concat();
    assert_eq!(attached(&updates, &[entry("a", 2000, Some(2000))]), ((0..6).collect(), vec![]));
}
