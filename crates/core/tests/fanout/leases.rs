//! What the application lets sockets watch: asked before they begin, and again when that ends.

use std::sync::Arc;

use taskcast_core::access::{Grants, Pass, Verb};
use taskcast_core::fanout::{Admission, Denied, Effect, Granted, Purpose, Question};
use taskcast_core::slots::Key;

use crate::world::World;

const NO: Denied = Denied { code: 4003, why: "no" };
const SILENCE: Denied = Denied { code: 1013, why: "silence" };

/// What its own pass grants, and whether it has shown anything that the application is shown.
fn granted(tasks: &[&str], is_known: bool) -> Granted {
    let mut grants = Grants::default();
    tasks.iter().for_each(|tasks| grants.add_tasks(Verb::Watch, tasks).unwrap());
    let pass = Arc::new(Pass { grants, ..Pass::default() });
    Granted { pass, ends_ms: None, is_known, asks: true }
}

fn task(id: &str) -> Purpose {
    Purpose::Task { thread: Ok(id.parse().unwrap()), since: None }
}

impl World {
    fn comes(&mut self, purpose: Purpose, granted: Granted) -> Key {
        let key = self.fanout.connect(&mut self.net);
        self.fanout.begin(key, purpose, Admission::Granted(granted), &mut self.net);
        key
    }

    /// The questions that are to be asked, with their tasks.
    fn questions(&mut self) -> Vec<(Question, String)> {
        let mut questions = Vec::new();
        while let Some(effect) = self.fanout.next_effect() {
            if let Effect::Decide { question, thread } = effect {
                questions.push((question, thread.to_string()));
            }
        }
        questions
    }

    fn decide(&mut self, question: Question, decision: Result<u64, Denied>) {
        self.fanout.decided(question, decision, &mut self.net);
    }

    /// Everything that is asked is answered so, for so long; how many questions that were.
    fn decide_all(&mut self, lasts_ms: u64) -> usize {
        let questions = self.questions();
        let number = questions.len();
        questions.into_iter().for_each(|(it, _)| self.decide(it, Ok(self.now_ms + lasts_ms)));
        number
    }

    /// Time goes by, with questions that stay.
    fn passes(&mut self, ms: u64) {
        self.now_ms += ms;
        self.fanout.set_now(self.now_ms);
        self.fanout.tick(&mut self.net);
    }

    fn said(&self, key: Key) -> String {
        String::from_utf8_lossy(self.net.taken.get(&key).map_or(&[], |taken| taken)).into_owned()
    }

    fn subscribe(&mut self, key: Key, id: &str) {
        let message = format!(r#"{{"type":"subscribe","thread_id":"{id}"}}"#);
        self.say(key, 1, message.as_bytes());
    }
}

#[test]
fn it_is_asked_only_where_the_pass_does_not_suffice() {
    let mut world = World::new();
    world.comes(task("a"), granted(&["a"], true));
    assert!(world.questions().is_empty() && world.fanout.viewers() == 1);
    let key = world.comes(task("b"), granted(&["a"], true));
    let questions = world.questions();
    assert!(questions.len() == 1 && questions[0].1 == "b" && world.fanout.viewers() == 1);
    world.decide(questions[0].0, Ok(world.now_ms + 60_000));
    assert_eq!((world.fanout.viewers(), world.said(key).as_str()), (2, ""));
    // An answer counts once.
    world.decide(questions[0].0, Err(NO));
    assert_eq!((world.fanout.viewers(), world.net.closes.len()), (2, 0));
}

#[test]
fn a_no_is_told_and_closes_and_so_does_silence() {
    let mut world = World::new();
    for (decision, code) in [(NO, 4003), (SILENCE, 1013)] {
        let key = world.comes(task("a"), granted(&[], true));
        let (question, _) = world.questions().remove(0);
        world.decide(question, Err(decision));
        assert!(
            world
                .said(key)
                .contains(&format!("\"error\":\"{}\",\"thread_id\":\"a\"", decision.why))
        );
        assert_eq!(world.net.closes.pop(), Some(code));
    }
    assert_eq!(world.fanout.viewers(), 0);
}

#[test]
fn who_has_shown_nothing_may_send_a_token_behind_a_no() {
    let mut world = World::new();
    let key = world.comes(task("a"), granted(&[], false));
    let (question, _) = world.questions().remove(0);
    world.decide(question, Err(NO));
    world.say(key, 1, br#"{"type":"auth","token":"secret"}"#);
    let tokens = std::iter::from_fn(|| world.fanout.next_effect());
    assert_eq!(tokens.filter(|it| matches!(it, Effect::Authenticate { .. })).count(), 1);
    world.fanout.authenticated(key, Ok(granted(&[], true)), &mut world.net);
    assert_eq!((world.decide_all(60_000), world.fanout.viewers()), (1, 1));
    // Without one it is closed as anybody is.
    world.comes(task("a"), granted(&[], false));
    let (question, _) = world.questions().remove(0);
    world.decide(question, Err(NO));
    world.wait(5_020, |world| world.say(key, 0xa, b""));
    assert_eq!(world.net.closes, [4001]);
}

#[test]
fn each_subscription_is_asked_about_and_what_is_behind_it_waits() {
    let mut world = World::new();
    let key = world.comes(Purpose::Tasks, granted(&["free"], true));
    world.subscribe(key, "a");
    world.subscribe(key, "b");
    let (a, of) = world.questions().remove(0);
    assert!(of == "a" && world.questions().is_empty() && world.fanout.viewers() == 0);
    world.decide(a, Ok(world.now_ms + 60_000));
    world.fanout.go_on_reading(key, &mut world.net);
    let (b, of) = world.questions().remove(0);
    assert!(of == "b" && world.fanout.viewers() == 1);
    world.decide(b, Err(NO));
    world.subscribe(key, "free");
    assert_eq!((world.fanout.viewers(), world.questions().len()), (2, 0));
    assert!(world.said(key).contains("{\"error\":\"no\",\"thread_id\":\"b\"}"));
    assert!(world.net.closes.is_empty());
}

#[test]
fn when_a_yes_ends_it_is_asked_again_and_frames_go_on_meanwhile() {
    let mut world = World::new();
    let key = world.comes(task("a"), granted(&[], true));
    assert_eq!(world.decide_all(10_000), 1);
    world.passes(9_990);
    assert!(world.questions().is_empty());
    world.passes(10);
    let (first, _) = world.questions().remove(0);
    assert_eq!(world.fanout.viewers(), 1);
    world.decide(first, Ok(world.now_ms + 10_000));
    world.passes(10_000);
    let (second, _) = world.questions().remove(0);
    // The answer to another question says nothing.
    world.decide(first, Ok(world.now_ms + 10_000));
    world.passes(2_990);
    assert_eq!((world.fanout.viewers(), world.net.closes.len()), (1, 0));
    // And who never answers has not said yes.
    world.passes(10);
    assert_eq!((world.fanout.viewers(), world.net.closes.as_slice()), (0, &[1013][..]));
    world.decide(second, Ok(world.now_ms + 10_000));
    assert!(world.fanout.viewers() == 0 && !world.said(key).contains("auth_expiring"));
}

#[test]
fn a_right_that_is_withdrawn_ends_a_socket_of_one_task_and_one_of_many() {
    let mut world = World::new();
    let one = world.comes(task("a"), granted(&[], true));
    assert_eq!(world.decide_all(1_000), 1);
    let many = world.comes(Purpose::Tasks, granted(&["free"], true));
    for id in ["a", "b", "free"] {
        world.subscribe(many, id);
        world.decide_all(1_000);
        world.fanout.go_on_reading(many, &mut world.net);
    }
    assert_eq!(world.fanout.viewers(), 4);
    world.passes(1_000);
    for (question, id) in world.questions() {
        world.decide(question, if id == "a" { Err(NO) } else { Ok(world.now_ms + 60_000) });
    }
    assert_eq!(world.fanout.viewers(), 2);
    world.passes(10);
    assert_eq!(world.net.closes, [4003]);
    assert!(world.said(one).contains("\"error\":\"no\""));
    assert!(world.said(many).contains("{\"error\":\"no\",\"thread_id\":\"a\"}"));
}

#[test]
fn what_ends_while_a_socket_is_full_is_all_told_once_it_is_not() {
    let mut world = World::new();
    let many = world.comes(Purpose::Tasks, granted(&[], true));
    for id in ["a", "b"] {
        world.subscribe(many, id);
        world.decide_all(1_000);
    }
    world.net.room.insert(many, 1);
    world.say(many, 1, br#"{"type":"ping"}"#);
    world.passes(1_000);
    for (question, _) in world.questions() {
        world.decide(question, Err(NO));
    }
    let said = world.drain(many);
    assert!(said.contains("\"thread_id\":\"a\"") && said.contains("\"thread_id\":\"b\""), "{said}");
}

#[test]
fn a_renewal_asks_anew_about_what_it_does_not_grant() {
    let mut world = World::new();
    let many = world.comes(Purpose::Tasks, granted(&[], true));
    for id in ["a", "b"] {
        world.subscribe(many, id);
        assert_eq!(world.decide_all(1_000), 1);
    }
    world.fanout.authenticated(many, Ok(granted(&["b"], true)), &mut world.net);
    let questions = world.questions();
    assert!(questions.len() == 1 && questions[0].1 == "a");
    world.decide(questions[0].0, Ok(world.now_ms + 5_000));
    // What the pass grants needs no leave any more.
    world.passes(2_000);
    assert_eq!((world.questions().len(), world.fanout.viewers()), (0, 2));
    world.passes(3_000);
    assert_eq!(world.questions().len(), 1);
}

#[test]
fn who_sends_one_token_after_the_other_gains_no_time_by_it() {
    let mut world = World::new();
    let key = world.comes(task("a"), granted(&[], true));
    assert_eq!((world.decide_all(1_000), world.fanout.viewers()), (1, 1));
    let mut asked = Vec::new();
    for _ in 0..50 {
        world.passes(100);
        world.fanout.authenticated(key, Ok(granted(&[], true)), &mut world.net);
        // What is answered to the one before is late.
        let late: Vec<(Question, String)> = std::mem::replace(&mut asked, world.questions());
        late.into_iter().for_each(|(question, _)| world.decide(question, Err(NO)));
    }
    assert_eq!((world.fanout.viewers(), &world.net.closes[..]), (0, &[1013][..]));
}

#[test]
fn what_is_decided_behind_the_end_of_a_pass_begins_nothing() {
    let mut world = World::new();
    let ends = |granted: Granted| Granted { ends_ms: Some(500), ..granted };
    let many = world.comes(Purpose::Tasks, ends(granted(&[], true)));
    world.subscribe(many, "a");
    let (question, _) = world.questions().remove(0);
    world.passes(500);
    world.decide(question, Ok(world.now_ms + 60_000));
    assert_eq!((world.fanout.viewers(), world.net.closes.as_slice()), (0, &[4001][..]));
}

#[test]
fn leases_are_charged_and_given_back() {
    let mut world = World::new();
    let held = world.account.bytes();
    let keys: Vec<Key> = (0..100).map(|_| world.comes(task("a"), granted(&[], true))).collect();
    assert_eq!(world.decide_all(60_000), 100);
    assert!(world.account.bytes() > held + 100 * 600);
    for key in keys {
        world.fanout.drop_socket(key, 1006, &mut world.net);
    }
    assert_eq!(world.account.bytes(), held);
}
