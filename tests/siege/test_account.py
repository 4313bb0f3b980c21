"""The account of memory that /metrics shows is what is held: no more, and nothing of who left."""

import time

import pytest

import stalls
import states
from processes import eventually
from test_attacks import assert_all_was_delivered

OPTIONS = ("--set", "limits.topic_linger_ms=500", "--set", "limits.memory_bytes_max=268435456")
# What the process may hold beside what it accounts for, and what each socket costs beside it.
BESIDES_MIB = 64
SOCKET_KIB = 24
# How long is attacked.
ATTACK_SECONDS = 3
# What was let go is given back up to two seconds later, and the account is asked over HTTP, a moment
# after memory was looked at: what is compared is the most of each within a moment.
MOMENT_SECONDS = 2
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
    samples = []
    end = time.monotonic() + ATTACK_SECONDS
    while time.monotonic() < end:
        samples.append((time.monotonic(), siege.memory.growth(), siege.account_mib()))
        time.sleep(0.02)
    siege.leave()
    besides = BESIDES_MIB + attack.sockets * SOCKET_KIB / 1024
    for at, grown, held in samples:
        near = [sample for sample in samples if abs(sample[0] - at) <= MOMENT_SECONDS]
        assert grown - besides < max(held for _, _, held in near), samples
        assert held < max(grown for _, grown, _ in near) + BESIDES_MIB, samples
    assert max(held for _, _, held in samples) > 0
    few = "an account of what the innocent hold"
    eventually(lambda: siege.account_mib() < INNOCENT_MIB, few)
    eventually(lambda: siege.memory.growth() < BESIDES_MIB, "memory that is given back")
    siege.end()
    assert_all_was_delivered(siege)
    eventually(lambda: siege.topics() == 0, "the end of all topics")
    eventually(lambda: siege.account_mib() == 0, "an empty account")
