"""Fixtures of the siege: a server and innocents of its own for each test; figures at the end."""

import pathlib

import pytest

import processes
import siege as sieges

FIGURES = pytest.StashKey[list]()


def pytest_configure(config):
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter, config):
    if rows := config.stash[FIGURES]:
        terminalreporter.section("siege")
        terminalreporter.line(sieges.HEAD)
        for row in rows:
            terminalreporter.line(row.line())


@pytest.fixture(scope="session", autouse=True)
def a_release_build():
    """Figures of a debug build would say nothing."""
    path = pathlib.Path(processes.binary())
    assert "debug" not in path.parts, f"{path}: the siege needs a release build (tests/run siege)"


@pytest.fixture
def start_siege():
    """`start_siege(attacks, *options)`: a server under its own Redis, with what the attacks need."""
    started = []

    def start(attacks, *options):
        redis = processes.RedisServer()
        started.append(redis.remove)
        with redis.client() as client:
            for attack in attacks:
                attack.prepare(client)
        server = processes.Taskcast(redis, *options)
        started.append(server.remove)
        siege = sieges.Siege(redis, server)
        started.append(siege.kill)
        return siege

    yield start
    for end in reversed(started):
        end()


@pytest.fixture
def figures(request):
    """`figures(row)`: a row of the table at the end."""
    return request.config.stash[FIGURES].append
