"""Readers that follow the rules exactly are acquitted, whatever becomes of the streams."""

import asyncio
import os
import random
import time

import pytest

from chaos import Chaos
from habits import Replacer, Short, Trimmer, Wild, Withdrawer
from judge import Judge
from reader import Reader
from run import employ, redis_key, stop
from scenes import DURABLE, REPLICATED, Scene
from world import World

SECONDS = 4
HABITS = [
    (lambda: Short(1), 2), (lambda: Short(3), 2), (lambda: Short(20, "~"), 1), (Trimmer, 3), (Withdrawer, 3),
    (lambda: Withdrawer(3), 3), (lambda: Replacer(False), 4), (lambda: Wild(False), 6),
]
EXPIRING = [*HABITS[:-2], (Replacer, 4), (Wild, 6)]
READERS = (
    {}, {"hops": True}, {"capped": True}, {"since": "0"}, {"since": "0-0"}, {"since": "0-0", "hops": True},
)


SCENES = {
    "replaced": Scene("replaced", EXPIRING, servers=0),
    "failing over": Scene("failing over", HABITS, ("fail_over", "plan_over"), REPLICATED, replicas=1, servers=0),
    "forgetful": Scene("forgetful", HABITS, ("lose_redis", "forget"), DURABLE, servers=0),
    "swapped": Scene("swapped", HABITS, ("swap", "flush_other"), servers=0),
}


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", SCENES)
async def test_who_follows_the_rules_is_acquitted(name):
    seed = int(os.environ.get("TASKCAST_SEED", random.randrange(1 << 31)))
    print(f"TASKCAST_SEED={seed}")
    rng = random.Random(seed)
    scene = SCENES[name]
    world = World(scene, rng)
    readers = []
    try:
        await world.start()
        keys = [(redis_key(), habit()) for habit, count in scene.habits for _ in range(count)]
        world.keys = [key for key, _ in keys]
        publishers = world.publishers = employ(world, scene, keys, rng)
        for publisher in publishers:
            publisher.start()
        time.sleep(0.2)
        for key, _ in keys:
            readers += [Reader(world, key, rng.random(), **options) for options in READERS]
        for reader in readers:
            reader.start()
        await Chaos(world, None, rng.random()).go_on(SECONDS)
        await asyncio.to_thread(stop, world, publishers)
        for reader in readers:
            reader.done.set()
        for reader in readers:
            reader.join(20)
    finally:
        world.remove()
    judge = Judge({key.thread: key for key, _ in keys}, world.disturbed)
    for reader in readers:
        reader.viewer.slow = reader.count is not None
        judge.judge(reader.viewer)
    verdict = judge.verdict
    print(verdict.deliveries, dict(verdict.gaps), dict(verdict.silences))
    for violation in verdict.violations[:10]:
        print(violation)
    assert not verdict.violations and not any(key.problems for key, _ in keys), verdict.kinds
    assert verdict.deliveries > 1000
