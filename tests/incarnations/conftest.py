"""What all runs together came to, at the end."""

import collections

import pytest

REPORTS = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[REPORTS] = []


@pytest.fixture
def reports(request):
    return request.config.stash[REPORTS]


def pytest_terminal_summary(terminalreporter, config):
    reports = config.stash[REPORTS]
    if not reports:
        return
    terminalreporter.section("incarnations")
    total = collections.Counter()
    gaps, silences, kinds, faults = (collections.Counter() for _ in range(4))
    for report in reports:
        verdict = report.verdict
        total.update(
            deliveries=verdict.deliveries, states=verdict.attaches, commands=report.commands,
            violations=len(verdict.violations), derived=verdict.derived,
        )
        gaps.update(cause for (cause, _), n in verdict.gaps.items() for _ in range(n))
        silences.update(verdict.silences)
        kinds.update(verdict.kinds)
        faults.update(report.faults)
        if verdict.violations or report.problems:
            terminalreporter.line(f"{report.scene} TASKCAST_SEED={report.seed}: {dict(verdict.kinds)}")
    terminalreporter.line(f"{len(reports)} runs: {dict(total)}")
    terminalreporter.line(f"faults: {dict(faults)}")
    terminalreporter.line(f"gaps told: {sum(gaps.values())}: {dict(gaps)}")
    terminalreporter.line(f"named exceptions: {dict(silences)}")
    terminalreporter.line(f"violations: {dict(kinds)}")
