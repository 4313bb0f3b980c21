//! What is shown to the application, what makes questions equal, and how long a yes counts.

use super::*;
use crate::access::{Rules, Transport};
use crate::config::AccessTable;

fn asker(headers: &[&str], cache_s: u64) -> Asker {
    let table = AskTable {
        url: "http://app/may".parse().unwrap(),
        authorization: None,
        headers: headers.iter().map(|name| (*name).to_owned()).collect(),
        timeout_ms: 1_000,
        cache_s,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _on = runtime.enter();
    Asker::new(&table, &Account::new(1 << 20)).unwrap()
}

fn request(pairs: &[(&'static str, &'static [u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

/// What is shown of a request, as JSON, and whether something is left out.
fn shown(names: &[&str], headers: &HeaderMap, own_page: Option<bool>) -> (String, bool) {
    let asker = asker(names, 60);
    let rules = Rules::new(&AccessTable::default());
    let carried = Carried::of(headers, None, own_page, Transport::Read, &rules);
    let shown = asker.show(headers, &carried).unwrap();
    (json!(shown.to_json()).to_string(), asker.leaves_out(headers, &carried))
}

#[test]
fn what_is_named_is_shown_and_what_browsers_send_by_themselves_to_own_pages_only() {
    let headers = request(&[
        ("cookie", b"a=b"),
        ("cookie", b"c=d"),
        ("x-one", b"1"),
        ("x-one", b"2"),
        ("x-odd", b"\xff"),
        ("x-other", b"o"),
    ]);
    let names = ["cookie", "x-odd", "x-one"];
    let all = "{\"cookie\":\"a=b; c=d\",\"x-one\":\"1, 2\"}".to_owned();
    for own_page in [Some(true), None] {
        assert_eq!(shown(&names, &headers, own_page), (all.clone(), false));
    }
    let foreign = shown(&names, &headers, Some(false));
    assert_eq!(foreign, ("{\"x-one\":\"1, 2\"}".to_owned(), true));
    assert!(!shown(&["x-one"], &headers, Some(false)).1);
    let names = ["authorization"];
    let token = request(&[("authorization", b"bearer t")]);
    let bearer = "{\"authorization\":\"Bearer t\"}".to_owned();
    assert_eq!(shown(&names, &token, Some(false)), (bearer, false));
    let password = request(&[("authorization", b"Basic YTpi")]);
    assert_eq!(shown(&names, &password, Some(false)), ("{}".to_owned(), true));
    let basic = "{\"authorization\":\"Basic YTpi\"}".to_owned();
    assert_eq!(shown(&names, &password, Some(true)), (basic, false));
}

#[test]
fn a_token_that_comes_later_stands_for_the_one_before() {
    let asker = asker(&["authorization", "cookie"], 60);
    let rules = Rules::new(&AccessTable::default());
    let headers = request(&[("cookie", b"a=b"), ("authorization", b"Bearer one")]);
    let carried = Carried::of(&headers, None, Some(true), Transport::Socket, &rules);
    let one = asker.show(&headers, &carried).unwrap();
    let two = asker.show_token(&one, "two").unwrap();
    let expected = json!({"authorization": "Bearer two", "cookie": "a=b"});
    assert_eq!(json!(two.to_json()), expected);
    assert_ne!(one.hash(), two.hash());
    assert_eq!(one.hash(), asker.show_token(&two, "one").unwrap().hash());
    let held = asker.account.bytes();
    drop((one, two));
    assert!(held > 500 && asker.account.bytes() == 0);
}

#[test]
fn questions_are_equal_only_where_everything_is() {
    let asker = asker(&["cookie"], 60);
    let rules = Rules::new(&AccessTable::default());
    let shown = |value: &'static [u8]| {
        let headers = request(&[("cookie", value)]);
        let carried = Carried::of(&headers, None, Some(true), Transport::Read, &rules);
        asker.show(&headers, &carried).unwrap()
    };
    let (a, b) = (shown(b"a"), shown(b"b"));
    let wish = |verb, source, task| Wish { verb, source, task };
    let all = [
        wish(Verb::Watch, None, Some("t")).hash(&a),
        wish(Verb::Watch, None, Some("t")).hash(&b),
        wish(Verb::Publish, None, Some("t")).hash(&a),
        wish(Verb::Watch, Some("t"), None).hash(&a),
        wish(Verb::Watch, Some(""), Some("t")).hash(&a),
        wish(Verb::Watch, Some("t"), Some("t")).hash(&a),
        wish(Verb::List, None, None).hash(&a),
    ];
    for (at, hash) in all.iter().enumerate() {
        assert!(!all[..at].contains(hash), "{at}");
    }
    assert_eq!(all[0], wish(Verb::Watch, None, Some("t")).hash(&shown(b"a")));
}

#[test]
fn a_yes_counts_for_the_smaller_of_both_times_and_at_least_a_second() {
    let asker = asker(&[], 60);
    let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
    for (said, random, lasts) in [
        (None, 0.0, 60.0),
        (seconds(300.0), 0.0, 60.0),
        (seconds(10.0), 0.0, 10.0),
        (seconds(10.0), 1.0, 9.0),
        (seconds(0.001), 1.0, 1.0),
        (Some(Duration::MAX), 0.5, 57.0),
    ] {
        let is = asker.lasts(said, random).as_secs_f64();
        assert!((is - lasts).abs() < 1e-6, "{said:?}: {is}");
    }
}
