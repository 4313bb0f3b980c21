"""Fixtures of the siege: a server and innocents of its own for each test; figures at the end."""

import pathlib

import pytest

import processes
import siege as sieges
import tokens

# The attacks ask `/metrics` what they came to.
ACCESS = tokens.CONFIG.replace('anonymous = ["watch:public-*"]', 'anonymous = ["metrics"]')

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
    """`start_siege(attacks, *options)`: a server under its own Redis, with what the attacks need.

    `secured` is the directory of its certificate: then it speaks TLS, and lets nobody watch without a token.
    """
    started = []

    def start(attacks, *options, secured=None):
        redis = processes.RedisServer()
        started.append(redis.remove)
        with redis.client() as client:
            for attack in attacks:
                attack.prepare(client)
        if not secured:
            server = processes.Taskcast(redis, *options)
            started.append(server.remove)
            siege = sieges.Siege(redis, server)
        else:
            server = processes.Taskcast(redis, *options, tls=secured, config=ACCESS)
            started.append(server.remove)
            siege = sieges.Siege(redis, server, str(secured), tokens.API_KEY)
        started.append(siege.kill)
        return siege

    yield start
    for end in reversed(started):
        end()


@pytest.fixture
def figures(request):
    """`figures(row)`: a row of the table at the end."""
    return request.config.stash[FIGURES].append
