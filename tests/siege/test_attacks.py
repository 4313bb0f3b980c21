"""What one client may do to a server: the innocent get everything, and memory stays bounded."""

import pytest

import certificates
import floods
import handshakes
import stalls
import states
import weights

ATTACKS = [
    floods.PingsAfterClose,
    floods.PingsAfterCloseWithoutRedis,
    floods.PingsAfterViolations,
    floods.UnreadPings,
    floods.SubscribeLoop,
    floods.SubscribeLoopOverTasks,
    floods.EmptyPings,
    floods.EmptyPingsFromTwo,
    floods.OneByteFragments,
    floods.RepeatedSubscribes,
    floods.LargeJsonPings,
    floods.GapLoop,
    stalls.UnreadSubscriptions,
    stalls.UnreadViewers,
    stalls.StalledResumes,
    stalls.StalledViewers,
    stalls.OneFrameUnread,
    stalls.LargeNewsUnread,
    stalls.UnknownInOutage,
    stalls.ResumeLoop,
    states.UnreadStates,
    states.UnreadStatesUntilTheDeadline,
    states.StatesAtOnce,
    states.DifferentStatesAtOnce,
    states.SlowBodies,
    states.SmallBodiesAtAHungRedis,
    states.LargeTasksListed,
    states.DifferentListsAtOnce,
    weights.LargeBehindSmall,
    weights.LargeUpdates,
    weights.ManyFields,
    weights.ManyValuesListed,
]

# Not worth its time in the short form.
LONG_ONLY = [states.UnreadStatesUntilTheDeadline]


def forms():
    """Each attack in its short form, and in its long one for `-m long`."""
    for kind in ATTACKS:
        if kind not in LONG_ONLY:
            yield pytest.param(kind, False, id=kind.__name__)
        yield pytest.param(kind, True, id=f"{kind.__name__}-long", marks=pytest.mark.long)


def assert_all_was_delivered(siege):
    """Every update once and in order, without being closed; and everybody was let in."""
    assert siege.server.running, siege.server.log[-2000:]
    report = siege.report
    assert not report.problems, report.problems[:5]
    assert not report.closes, report.closes
    assert report.updates and report.delays
    assert not siege.failures, siege.failures


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind, long", list(forms()))
def test_one_attack(kind, long, start_siege, figures):
    attack = kind(long)
    siege = start_siege([attack], *attack.options)
    siege.attack(attack)
    attack.during(siege)
    siege.leave()
    siege.end()
    row = siege.figures(attack.name, attack.growth_mib, attack.p99_ms)
    figures(row)
    assert_all_was_delivered(siege)
    assert not attack.redis_answers or not siege.report.refused, siege.report.refused[:5]
    attack.check(siege, *siege.results)
    assert row.growth_mib < attack.growth_mib
    assert row.kernel_mib < attack.kernel_mib


@pytest.fixture(scope="session")
def certified(tmp_path_factory):
    """A directory with a certificate, its key, and the authority that vouches for it."""
    return certificates.make(tmp_path_factory.mktemp("tls"))


OF_TLS = [handshakes.HalfHandshakes, handshakes.Handshakes, handshakes.GarbageBehindHandshakes]

# One of each sort, in the short form.
SECURED_SHORT = [*OF_TLS, floods.UnreadPings, stalls.UnreadViewers, states.UnreadStates, states.SlowBodies]


def secured_forms():
    for kind in [*OF_TLS, *ATTACKS]:
        marks = () if kind in SECURED_SHORT else pytest.mark.long
        yield pytest.param(kind, id=kind.__name__, marks=marks)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", list(secured_forms()))
def test_one_attack_over_tls_without_a_token(kind, start_siege, certified, figures):
    """Who has no token gets nothing, so what an attack needs to come of it does not count."""
    attack = kind()
    siege = start_siege([attack], *attack.options, secured=certified)
    siege.attack(attack)
    siege.wait(attack.seconds[False])
    siege.leave()
    siege.end()
    siege.failures.clear()
    row = siege.figures(f"{attack.name}, TLS", attack.growth_mib, attack.p99_ms)
    figures(row)
    assert_all_was_delivered(siege)
    assert not siege.report.refused, siege.report.refused[:5]
    assert row.growth_mib < attack.growth_mib
    assert row.kernel_mib < attack.kernel_mib
