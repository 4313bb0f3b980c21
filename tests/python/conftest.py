"""Fixtures: Redis and Taskcast as real processes.

`redis_server`, `server`, `embedded` and `diagnostics` are shared by the tests of a module, which
keep apart by their thread ids. A test that breaks something starts its own with `start_redis`,
`start_server` and `start_sentinel`.
"""

import pytest

import jobs
import processes
import support
import today as agent_of_today


@pytest.fixture(scope="module")
def redis_server():
    server = processes.RedisServer()
    yield server
    server.remove()


@pytest.fixture(scope="module")
def server(redis_server):
    server = processes.Taskcast(redis_server)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def embedded():
    server = processes.Taskcast(None, "--embedded")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def diagnostics(redis_server):
    server = processes.Taskcast(redis_server, "--diagnostics")
    yield server
    server.remove()


def _factory(make):
    started = []

    def start(*args, **options):
        started.append(make(*args, **options))
        return started[-1]

    yield start
    for process in reversed(started):
        process.remove()


@pytest.fixture
def start_redis():
    """`start_redis("--appendonly", "yes")`: a Redis of this test alone."""
    yield from _factory(processes.RedisServer)


@pytest.fixture
def start_sentinel():
    yield from _factory(processes.Sentinel)


@pytest.fixture
def start_server():
    """`start_server(redis, "--workers", "1", config="…")`: a Taskcast of this test alone."""
    yield from _factory(processes.Taskcast)


@pytest.fixture
def thread():
    """A thread id that no other test uses."""
    return support.new_thread()


@pytest.fixture
def today(redis_server):
    """A worker of the agent of today with a new task."""
    return agent_of_today.Today(redis_server.client())


@pytest.fixture
def job(redis_server):
    """A publisher of the source `jobs`, with a stream of its own."""
    return jobs.Job(redis_server.client())


@pytest.fixture
def run(redis_server):
    """The same of the source `runs`."""
    return jobs.Run(redis_server.client())


@pytest.fixture(params=["thread", "task"])
def worker(request, redis_server):
    """A worker of each layout with a new task on the module's Redis."""
    return support.Worker(redis_server.client(), layout=request.param)


@pytest.fixture
def viewed(redis_server):
    """A worker of the `thread` layout, for rules that have nothing to do with the layout."""
    return support.Worker(redis_server.client())
