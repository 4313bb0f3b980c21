//! Whom sockets are of: what they may watch, until when, and how they end.

use std::sync::Arc;

use taskcast_core::access::{Grants, Identity, Pass, Revocation, Revoked, Verb};
use taskcast_core::fanout::{Admission, Denied, Effect, Granted, Purpose};
use taskcast_core::slots::Key;

use crate::world::World;

fn granted(tasks: &[&str], ends_ms: Option<u64>, is_known: bool) -> Granted {
    let mut grants = Grants::default();
    tasks.iter().for_each(|tasks| grants.add_tasks(Verb::Watch, tasks).unwrap());
    Granted { pass: Arc::new(Pass { grants, ..Pass::default() }), ends_ms, is_known, asks: false }
}

fn task(id: &str) -> Purpose {
    Purpose::Task { thread: Ok(id.parse().unwrap()), since: None }
}

impl World {
    fn arrive(&mut self, purpose: Purpose, admission: Admission) -> Key {
        let key = self.fanout.connect(&mut self.net);
        self.fanout.begin(key, purpose, admission, &mut self.net);
        key
    }

    /// The token that a socket sent.
    fn token(&mut self) -> Option<String> {
        while let Some(effect) = self.fanout.next_effect() {
            if let Effect::Authenticate { token, .. } = effect {
                return Some(token.into());
            }
        }
        None
    }

    fn text_of(&self, key: Key) -> String {
        String::from_utf8_lossy(self.net.taken.get(&key).map_or(&[], |taken| taken)).into_owned()
    }
}

#[test]
fn who_may_is_let_in_and_who_may_not_is_told_and_closed() {
    let mut world = World::new();
    let may = world.arrive(task("a"), Admission::Granted(granted(&["a"], None, true)));
    assert!(matches!(world.fanout.next_effect(), Some(Effect::Ask { .. })));
    let not = world.arrive(task("b"), Admission::Granted(granted(&["a"], None, true)));
    assert_eq!((world.text_of(may).as_str(), world.net.closes.as_slice()), ("", &[4003][..]));
    assert!(world.text_of(not).contains("\"thread_id\":\"b\""), "{}", world.text_of(not));
    assert_eq!(world.fanout.viewers(), 1);
    let denied = Denied::unauthenticated("no");
    world.arrive(task("a"), Admission::Refused(denied));
    assert_eq!(world.net.closes, [4003, 4001]);
}

#[test]
fn who_says_nothing_is_closed_after_five_seconds() {
    let mut world = World::new();
    world.arrive(task("a"), Admission::Granted(granted(&[], None, false)));
    world.arrive(Purpose::Tasks, Admission::Granted(granted(&[], None, false)));
    let anonymous = world.arrive(task("b"), Admission::Granted(granted(&["b"], None, false)));
    assert_eq!(world.fanout.viewers(), 1);
    world.wait(4_990, |world| assert!(world.net.closes.is_empty()));
    world.wait(20, |_| {});
    assert_eq!(world.net.closes, [4001, 4001]);
    world.wait(20_000, |_| {});
    assert!(world.net.closes.len() == 2 && !world.text_of(anonymous).contains("error"));
}

#[test]
fn a_token_that_is_sent_lets_in_and_what_is_behind_it_waits_for_that() {
    let mut world = World::new();
    let key = world.arrive(Purpose::Tasks, Admission::Granted(granted(&[], None, false)));
    world.say(key, 1, br#"{"type":"auth","token":"secret"}"#);
    world.say(key, 1, br#"{"type":"subscribe","thread_id":"a"}"#);
    assert_eq!(world.token().as_deref(), Some("secret"));
    assert_eq!((world.fanout.viewers(), world.text_of(key).as_str()), (0, ""));
    // However long it takes: it was sent in time.
    world.wait(6_000, |_| {});
    let ends_ms = Some(world.now_ms + 120_500);
    world.fanout.authenticated(key, Ok(granted(&["a"], ends_ms, true)), &mut world.net);
    assert!(
        world.text_of(key).ends_with("{\"type\":\"auth\",\"expires_in\":120}"),
        "{}",
        world.text_of(key)
    );
    world.fanout.go_on_reading(key, &mut world.net);
    assert_eq!(world.fanout.viewers(), 1);
    world.say(key, 1, br#"{"type":"subscribe","thread_id":"b"}"#);
    assert!(world.text_of(key).contains("\"thread_id\":\"b\"") && world.fanout.viewers() == 1);
    // And one that does not count closes.
    world.say(key, 1, br#"{"type":"auth","token":7}"#);
    assert_eq!(world.token().as_deref(), Some(""));
    let denied = Denied::unauthenticated("no");
    world.fanout.authenticated(key, Err(denied), &mut world.net);
    assert_eq!(world.net.closes, [4001]);
}

#[test]
fn before_the_end_it_is_told_and_from_the_end_on_nothing_begins() {
    let mut world = World::new();
    let key = world.arrive(task("a"), Admission::Granted(granted(&["a"], Some(100_000), true)));
    world.wait(39_990, |world| world.say(key, 0xa, b""));
    assert!(!world.text_of(key).contains("auth"));
    world.wait(10, |_| {});
    assert!(world.text_of(key).ends_with("{\"type\":\"auth_expiring\",\"expires_in\":60}"));
    world.wait(59_990, |world| world.say(key, 0xa, b""));
    assert_eq!((world.fanout.viewers(), world.net.closes.len()), (1, 0));
    world.wait(10, |_| {});
    assert_eq!((world.fanout.viewers(), world.net.closes.as_slice()), (0, &[4001][..]));
}

#[test]
fn a_renewal_moves_the_end_and_takes_away_what_it_does_not_grant() {
    let mut world = World::new();
    let one = world.arrive(task("a"), Admission::Granted(granted(&["a"], Some(90_000), true)));
    let many =
        world.arrive(Purpose::Tasks, Admission::Granted(granted(&["*"], Some(90_000), true)));
    for id in ["a", "b"] {
        let subscribe = format!(r#"{{"type":"subscribe","thread_id":"{id}"}}"#);
        world.say(many, 1, subscribe.as_bytes());
    }
    world.wait(80_000, |world| [one, many].iter().for_each(|key| world.say(*key, 0xa, b"")));
    for key in [one, many] {
        let renewed = granted(&["b"], Some(300_000), true);
        world.fanout.authenticated(key, Ok(renewed), &mut world.net);
    }
    assert_eq!((world.fanout.viewers(), world.net.closes.as_slice()), (1, &[4003][..]));
    assert!(world.text_of(many).contains("\"thread_id\":\"a\"}"), "{}", world.text_of(many));
    world.wait(20_000, |world| world.say(many, 0xa, b""));
    assert_eq!((world.fanout.viewers(), world.net.closes.len()), (1, 1));
}

#[test]
fn a_herd_whose_passes_end_together_is_closed_over_seconds() {
    let mut world = World::new();
    let admission = || Admission::Granted(granted(&["a"], Some(1_000), true));
    let keys: Vec<Key> = (0..1_500).map(|_| world.arrive(task("a"), admission())).collect();
    let mut most = 0;
    let mut before = 0;
    world.wait(6_000, |world| {
        let closed = world.net.closes.len();
        most = most.max(closed - before);
        before = closed;
        assert!(world.now_ms < 1_000 || world.fanout.viewers() == 0);
        assert!(world.now_ms >= 1_000 || closed == 0);
    });
    assert_eq!(world.net.closes, vec![4001; keys.len()]);
    assert!(most < 100, "{most} in ten milliseconds");
}

#[test]
fn behind_a_close_nothing_is_said_of_a_pass() {
    let mut world = World::new();
    let admission = || Admission::Granted(granted(&["a"], Some(61_000), true));
    let key = world.arrive(task("a"), admission());
    world.say(key, 8, &1000u16.to_be_bytes());
    let said = world.text_of(key).len();
    world.wait(2_000, |_| {});
    assert_eq!(world.text_of(key).len(), said);
    let drained = world.arrive(task("a"), admission());
    world.fanout.drain(60_000);
    world.wait(4_000, |_| {});
    assert_eq!(world.net.closes, [1000, 1012]);
    assert!(!world.text_of(drained).contains("auth"));
}

#[test]
fn where_nobody_is_asked_a_token_is_answered_and_means_nothing() {
    let mut world = World::new();
    let key = world.arrive(Purpose::Tasks, Admission::Open);
    world.say(key, 1, br#"{"type":"auth","token":"x"}"#);
    assert_eq!(world.token(), None);
    assert!(world.text_of(key).ends_with("{\"type\":\"auth\",\"expires_in\":null}"));
}

#[test]
fn whose_pass_is_revoked_is_closed_and_gets_nothing_more() {
    let mut world = World::new();
    let of = |subject: &str| {
        let mut granted = granted(&["a"], None, true);
        let identity = Identity { subject: Some(subject.into()), ..Identity::default() };
        Arc::make_mut(&mut granted.pass).identities.push(identity);
        Admission::Granted(granted)
    };
    let ada = world.arrive(task("a"), of("ada"));
    world.arrive(task("a"), of("bob"));
    assert_eq!(world.fanout.viewers(), 2);
    let revocation = Revocation { of: Revoked::Subject("ada".into()), issued_before_ms: None };
    let is_revoked = |pass: &Pass| revocation.takes_any_of(pass);
    world.fanout.revoke(is_revoked, &mut world.net);
    assert_eq!((world.fanout.viewers(), world.net.closes.as_slice()), (1, &[4003][..]));
    assert!(world.text_of(ada).contains("revoked"));
    // Once is enough.
    world.fanout.revoke(is_revoked, &mut world.net);
    assert_eq!(world.net.closes, [4003]);
}
