"""The account of memory that /metrics shows is what is held: no more, and nothing of who left."""

import time

import pytest

import stalls
import states
from processes import eventually
from test_attacks import assert_all_was_delivered

OPTIONS = ("--set", "limits.topic_linger_ms=500", "--set", "limits.memory_bytes_max=268435456")
# What the process may hold beside what it accounts for, and what each socket costs beside it.
BESIDES_MIB = 96
SOCKET_KIB = 24
# How long is attacked.
ATTACK_SECONDS = 3
# The recent logs of the innocent: some hundred small updates.
INNOCENT_MIB = 1


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "kind",
    [stalls.UnreadSubscriptions, stalls.UnreadViewers, stalls.StalledResumes]
    + [states.UnreadStates, states.SlowBodies],
    ids=lambda kind: kind.__name__,
)
def test_the_account_is_what_is_held(kind, start_siege):
    attack = kind()
    siege = start_siege([attack], *OPTIONS)
    siege.attack(attack)
    # At the moment at which the process is largest.
    grown, held = 0, 0
    end = time.monotonic() + ATTACK_SECONDS
    while time.monotonic() < end:
        now = siege.memory.growth(), siege.account_mib()
        grown, held = max((grown, held), now, key=lambda sample: sample[0])
        time.sleep(0.02)
    siege.leave()
    besides = BESIDES_MIB + attack.sockets * SOCKET_KIB / 1024
    assert held > 0
    assert grown - besides < held < grown + BESIDES_MIB
    few = "an account of what the innocent hold"
    eventually(lambda: siege.account_mib() < INNOCENT_MIB, few)
    siege.end()
    assert_all_was_delivered(siege)
    eventually(lambda: siege.topics() == 0, "the end of all topics")
    assert siege.account_mib() == 0
