//! Tasks of a source beside the agent's: an end before somebody's position, and tasks that are waited for.

use std::sync::Arc;

use taskcast_core::chunk::{After, Chunk, Ended, Unit};
use taskcast_core::fanout::{Admission, Answer, Derived, Effect, Purpose, Refusal, Settings};
use taskcast_core::id::{StreamId, ThreadId};
use taskcast_core::position::Position;
use taskcast_core::since::Since;
use taskcast_core::slots::Key;
use taskcast_core::source::{Definition, End, Rule, Source};

use crate::world::World;

fn task() -> ThreadId {
    let definition = Definition {
        name: "jobs".into(),
        key: "jobs:{id}".into(),
        end: vec![Rule::Has("end".into())],
        end_only_if_last: true,
        ..Definition::default()
    };
    ThreadId::of(&Arc::new(Source::new(definition).unwrap()), "t").unwrap()
}

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

/// A chunk of entries with these frames; one that is empty is skipped.
fn chunk(world: &World, after: After, frames: &[(u64, &str)]) -> Chunk {
    let mut bytes = String::new();
    let mut units = Vec::new();
    for (position, frame) in frames {
        bytes.push_str(frame);
        units.push(Unit { end: bytes.len(), position: id(*position) });
    }
    Chunk::new(&world.account, bytes.into(), units.into(), after)
}

/// A viewer who comes back behind an end, on a socket that takes so many bytes.
fn behind_an_end(world: &mut World, room: usize) -> Key {
    let thread = task();
    let key = world.fanout.connect(&mut world.net);
    world.net.room.insert(key, room);
    let purpose = Purpose::Task { thread: Ok(thread.clone()), since: Some(Since::After(id(5))) };
    world.fanout.begin(key, purpose, Admission::Open, &mut world.net);
    let ended = Ended { position: id(5), end: End { failed: true }, behind: 0 };
    let log = &world.net.topics[&thread].0.1;
    let after = After::from(StreamId::ZERO);
    let chunk = chunk(world, after, &[(5, "<the end>")]).ending(Some(ended));
    log.borrow_mut().append(chunk.into());
    let then = Some(Position::at_place(id(5), log.borrow().end()));
    let derived = Some(Arc::new(Derived::ended(&world.account, ended)));
    let chunks = Vec::new();
    world.answer(&Answer::After { chunks, then, epoch: 0, batch: None, derived });
    key
}

#[test]
fn an_end_before_a_position_is_told_behind_caught_up() {
    let mut world = World::new();
    let key = behind_an_end(&mut world, usize::MAX);
    let told = world.drain(key);
    let (caught_up, end) = told.split_once("caught_up").unwrap();
    assert!(caught_up.len() < 40, "{told}");
    assert!(end.contains(
        r#""update_type":"end","thread_id":"t","source":"jobs","stream_id":"5-0","failed":true"#
    ));
    assert_eq!(told.matches("\"end\"").count(), 1, "{told}");
}

#[test]
fn an_end_that_is_taken_back_before_it_is_told_is_not() {
    let mut world = World::new();
    let key = behind_an_end(&mut world, 10);
    let thread = task();
    let skipped = chunk(&world, id(5).into(), &[(6, "")]);
    world.net.topics[&thread].0.1.borrow_mut().append(skipped.into());
    let told = world.drain(key);
    assert!(told.contains("caught_up") && !told.contains("\"end\""), "{told}");
}

#[test]
fn what_is_skipped_moves_nobody_and_the_next_entry_comes() {
    let mut world = World::new();
    let key = behind_an_end(&mut world, usize::MAX);
    let topic = world.net.topics[&task()].clone();
    for (frames, after) in [(&[(6, ""), (7, "")][..], 5), (&[(8, ""), (9, "<next>"), (10, "")], 7)]
    {
        let after = After { position: id(after), sent: id(5) };
        topic.0.1.borrow_mut().append(chunk(&world, after, frames).into());
        world.fanout.news(&topic);
        while world.fanout.has_passes() {
            world.fanout.flush_some(&mut world.net);
        }
    }
    assert!(world.drain(key).ends_with("<next>"));
    assert!(world.fanout.next_effect().is_none_or(|it| !matches!(it, Effect::Ask { .. })));
}

#[test]
fn a_task_that_is_waited_for_keeps_no_other_from_asking() {
    let questions_max = usize::from(Settings::default().socket_questions_max);
    let mut world = World::new();
    let key = world.connect(Purpose::Tasks);
    for number in 0..=questions_max {
        let text = format!("{{\"type\":\"subscribe\",\"thread_id\":\"t{number}\"}}");
        world.say(key, 1, text.as_bytes());
    }
    let mut asked = asks(&mut world);
    assert_eq!(asked.len(), questions_max);
    world.fanout.answered(asked[0], Answer::NotYet, &mut world.net);
    let last = asks(&mut world);
    assert_eq!(last.len(), 1);
    // It is none of those that are under way: what is answered later makes room once.
    world.fanout.answered(asked[0], Answer::Refused(Refusal::NotFound), &mut world.net);
    assert!(world.drain(key).contains("Thread not found"));
    asked.extend(last);
    for viewer in &asked[1..] {
        world.fanout.answered(*viewer, Answer::Refused(Refusal::NotFound), &mut world.net);
    }
    assert_eq!(world.drain(key).matches("Thread not found").count(), questions_max + 1);
}

fn asks(world: &mut World) -> Vec<Key> {
    let mut asked = Vec::new();
    while let Some(effect) = world.fanout.next_effect() {
        if let Effect::Ask { viewer, .. } = effect {
            asked.push(viewer);
        }
    }
    asked
}
