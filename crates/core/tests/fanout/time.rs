//! What time brings to the viewers of a fan-out: to the millisecond, as the clock is the test's.

use taskcast_core::account::Kind;
use taskcast_core::fanout::{Appetite, Purpose, Settings};
use taskcast_core::slots::Key;

use crate::world::World;

#[test]
fn who_is_silent_for_forty_seconds_is_dropped_then_and_not_at_some_later_ping() {
    let mut world = World::new();
    let keys: Vec<Key> = (0..300).map(|_| world.connect(Purpose::Tasks)).collect();
    let alive = world.connect(Purpose::Tasks);
    world.wait(60_000, |world| {
        if world.now_ms.is_multiple_of(30_000) {
            world.say(alive, 0xa, b"");
        }
    });
    for key in keys {
        let ended_ms = world.ended[&key];
        assert!((40_000..=41_500).contains(&ended_ms), "{ended_ms}");
    }
    assert_eq!(world.fanout.sockets(), 1);
}

#[test]
fn a_ping_comes_every_thirty_seconds_spread_over_them() {
    let mut world = World::new();
    let keys: Vec<Key> = (0..300).map(|_| world.connect(Purpose::Tasks)).collect();
    let mut at_once = 0;
    world.wait(30_250, |world| {
        let pinged = world.net.taken.drain().filter(|(_, bytes)| bytes == &[0x89, 0]).count();
        at_once = at_once.max(pinged);
        keys.iter().for_each(|key| world.say(*key, 0xa, b""));
        assert!(world.ended.is_empty());
    });
    assert!((1..10).contains(&at_once), "{at_once}");
}

#[test]
fn a_socket_beyond_its_budget_is_not_read_and_counts_as_alive() {
    let mut world = World::new();
    let key = world.connect(Purpose::Tasks);
    let subscribe = br#"{"type":"subscribe","thread_id":"a","since":"x"}"#;
    for _ in 1..Settings::default().subscribe_burst {
        world.say(key, 1, subscribe);
        assert_eq!(world.fanout.appetite(key), Appetite::Hungry);
    }
    // From here on as many come as there is room for: the socket is never read for long.
    world.wait(60_000, |world| {
        while world.fanout.appetite(key) == Appetite::Hungry {
            world.say(key, 1, subscribe);
        }
    });
    let told = world.net.taken[&key].windows(5).filter(|part| part == b"error").count();
    assert!((12_000..=13_100).contains(&told), "{told} in a minute, at 200 a second");
    assert_eq!(world.fanout.sockets(), 1);
    world.say(key, 0xa, b"");
}

#[test]
fn where_memory_is_spent_who_takes_nothing_has_to_go_and_who_takes_something_does_not() {
    let mut world = World::new();
    let (stalled, slow) = (world.attach_to_full_socket(), world.attach_to_full_socket());
    let goes_on = |world: &mut World| {
        world.say(stalled, 0xa, b"");
        if world.now_ms.is_multiple_of(20_000) {
            world.net.room.insert(slow, 1);
            world.fanout.writable(slow, &mut world.net);
        }
    };
    world.wait(60_000, goes_on);
    assert!(world.net.closes.is_empty(), "there is memory enough");
    let spent = world.account.charge(Kind::Bodies, 900_000);
    world.wait(40_000, goes_on);
    assert_eq!(world.net.closes, [1013]);
    assert!(world.ended.contains_key(&stalled) && !world.ended.contains_key(&slow));
    drop(spent);
}
