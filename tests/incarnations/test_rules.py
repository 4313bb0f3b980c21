"""Readers that follow the rules exactly are acquitted, whatever becomes of the streams."""

import os
import random
import time

import pytest

from habits import Replacer, Short, Trimmer, Wild, Withdrawer
from judge import Judge
from reader import Reader
from run import employ, redis_key, stop
from scenes import Scene
from world import World

SECONDS = 4
HABITS = [
    (lambda: Short(1), 2), (lambda: Short(3), 2), (lambda: Short(20, "~"), 1), (Trimmer, 3), (Withdrawer, 3),
    (lambda: Withdrawer(3), 3), (Replacer, 4), (Wild, 6),
]
READERS = (
    {}, {"hops": True}, {"capped": True}, {"since": "0"}, {"since": "0-0"}, {"since": "0-0", "hops": True},
)


@pytest.mark.timeout(120)
async def test_who_follows_the_rules_is_acquitted():
    seed = int(os.environ.get("TASKCAST_SEED", random.randrange(1 << 31)))
    print(f"TASKCAST_SEED={seed}")
    rng = random.Random(seed)
    scene = Scene("rules", HABITS, servers=0)
    world = World(scene, rng)
    readers = []
    try:
        await world.start()
        keys = [(redis_key(), habit()) for habit, count in HABITS for _ in range(count)]
        world.keys = [key for key, _ in keys]
        publishers = employ(world, scene, keys, rng)
        for publisher in publishers:
            publisher.start()
        time.sleep(0.2)
        for key, _ in keys:
            readers += [Reader(world, key, rng.random(), **options) for options in READERS]
        for reader in readers:
            reader.start()
        time.sleep(SECONDS)
        stop(world, publishers)
        for reader in readers:
            reader.done.set()
        for reader in readers:
            reader.join(20)
    finally:
        world.remove()
    judge = Judge({key.thread: key for key, _ in keys}, lags=False)
    for reader in readers:
        reader.viewer.slow = reader.count is not None
        judge.judge(reader.viewer)
    verdict = judge.verdict
    print(verdict.deliveries, dict(verdict.gaps), dict(verdict.silences))
    for violation in verdict.violations[:10]:
        print(violation)
    assert not verdict.violations and not any(key.problems for key, _ in keys), verdict.kinds
    assert verdict.deliveries > 1000
