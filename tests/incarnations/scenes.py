"""The scenes of a run: what there is, who writes what, and which faults there are."""

import dataclasses

from habits import Agent, Habit, Quiet, Replacer, Short, Trimmer, Wild, Withdrawer
from posting import Embedded, Http
from world import TINY


@dataclasses.dataclass
class Scene:
    name: str
    # How many streams of each habit there are; a habit is made for each.
    habits: list
    faults: tuple = ()
    redis_options: tuple = ()
    replicas: int = 0
    sentinel: bool = False
    servers: int = 2
    limits: str = ""
    flushes: tuple = (0, 0, 25)
    over_ways: float = 0.2
    evicts: bool = False
    # Whether agents' lists outlive the faults, so that the seam can be judged.
    seam: bool = True
    # Whether any viewer may be served by pages.
    lags: bool = False
    first_tail: int = 0
    seconds_between: float = 0.4
    ends: tuple = ()
    # The log in memory, without a Redis.
    embedded: bool = False
    quiet: type = Quiet


def agents(count=6):
    return [(lambda: Agent("thread"), count // 2), (lambda: Agent("task"), count - count // 2)]


def plain():
    return [(Habit, 6), (lambda: Short(1000, "~"), 2), (Http, 3), *agents()]


def trimmed():
    return [
        (lambda: Short(1), 2), (lambda: Short(3), 2), (lambda: Short(10), 2), (lambda: Short(100, "~"), 1),
        (Trimmer, 3), (Withdrawer, 2), (lambda: Withdrawer(3), 2),
    ]


def replaced(expires=True):
    """`expires` not where a stream may go or come back meanwhile: nobody could tell when it expired."""
    return [(lambda: Replacer(expires), 4), (lambda: Wild(expires), 4)]


LINKS = ("cut", "cut_front", "cut_within", "stall", "slow_down", "pieces", "black_hole", "stall_front")
KILLS = ("kill_redis", "pause_redis", "kill_server", "drain_server")
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
REPLICATED = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
GONE = (4004, "Thread not found")
OUT_OF_REACH = (1011, "Redis refuses, see the server's log", 503)

SCENES = {
    scene.name: scene
    for scene in (
        Scene("healthy", plain()),
        Scene("trimmed", plain() + trimmed()),
        Scene("replaced", trimmed() + replaced()),
        Scene("links", plain() + trimmed(), LINKS, servers=3, over_ways=0.5, lags=True),
        Scene("links, replaced", trimmed() + replaced(), LINKS, servers=3, over_ways=0.5, first_tail=1, lags=True),
        Scene("killed", plain() + trimmed(), KILLS + LINKS[:2], DURABLE, servers=3, ends=OUT_OF_REACH, lags=True),
        Scene(
            "embedded", [(lambda: Embedded(5), 16)], ("cut_front", "stall_front"), servers=1, embedded=True,
            quiet=lambda: Embedded(5, quiet=True), limits="stream_length_max = 5", over_ways=0.5,
        ),
        Scene("forgetful", plain() + replaced(False), ("lose_redis", "forget"), DURABLE, seam=False, ends=OUT_OF_REACH + GONE),
        Scene("tiny", plain() + trimmed() + replaced(), LINKS[:2], limits=TINY, lags=True, first_tail=1),
        Scene("swapped", plain() + trimmed() + replaced(False), ("swap", "flush_other", "swap"), seam=False, ends=GONE),
        Scene(
            "evicting", plain() + trimmed(), ("squeeze",), ("--maxmemory-policy", "allkeys-random"), seam=False,
            evicts=True, ends=GONE,
        ),
        Scene(
            "failing over", plain() + trimmed() + replaced(False), ("fail_over", "plan_over", "cut"),
            REPLICATED, replicas=1, servers=3, seam=False, ends=OUT_OF_REACH + GONE,
        ),
        Scene(
            "sentinel", plain() + trimmed() + replaced(False), ("fail_over_by_sentinel",),
            REPLICATED, replicas=1, sentinel=True, seam=False, ends=OUT_OF_REACH + GONE,
        ),
    )
}
