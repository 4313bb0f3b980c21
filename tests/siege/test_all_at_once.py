"""Every attack on one server at the same time, and little memory."""

import pytest

from test_attacks import ATTACKS, LONG_ONLY, assert_all_was_delivered

MEMORY_MIB = 128
OPTIONS = ("--set", f"limits.memory_bytes_max={MEMORY_MIB << 20}")
# What may be outside the account: the program, its stacks, what the allocator keeps.
BESIDES_MIB = 64
# What a socket costs beside the account (docs/operations.md).
SOCKET_KIB = 24
FORMS = [
    pytest.param(False, id="short"),
    pytest.param(True, id="long", marks=pytest.mark.long),
]
SECONDS = {False: 15, True: 60}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("long", FORMS)
def test_all_attacks_at_once(long, start_siege, figures):
    attacks = [kind(long) for kind in ATTACKS if kind.redis_answers and kind not in LONG_ONLY]
    siege = start_siege(attacks, *OPTIONS)
    for attack in attacks:
        siege.attack(attack)
    siege.wait(SECONDS[long])
    siege.leave()
    siege.end()
    sockets = sum(attack.sockets for attack in attacks)
    bound_mib = MEMORY_MIB + BESIDES_MIB + sockets * SOCKET_KIB / 1024
    row = siege.figures("all at once", bound_mib, p99_ms_max=1000)
    figures(row)
    assert_all_was_delivered(siege)
    assert not siege.report.refused, siege.report.refused[:5]
    assert siege.memory.before + row.growth_mib < bound_mib
