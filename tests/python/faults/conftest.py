"""Fixtures of the fault suite: a seed that is printed, and viewers that leave with the test."""

import contextlib
import os
import random

import pytest
import pytest_asyncio

import oracle
import processes
import support

DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture
def rng():
    """Chance, repeatable: TASKCAST_SEED=… runs the same again."""
    seed = int(os.environ.get("TASKCAST_SEED", random.randrange(1 << 32)))
    print(f"TASKCAST_SEED={seed}")
    return random.Random(seed)


@pytest.fixture(scope="module", params=["tracking", "block"])
def either_tail(request, redis_server):
    """A server that notices changes in this way, and looks for what nobody hinted at each second."""
    sweep = "limits.sweep_interval_ms=1000"
    server = processes.Taskcast(
        redis_server, "--workers", "1", "--tail", request.param, "--set", sweep
    )
    yield server
    server.remove()


@pytest.fixture
def durable_redis(start_redis):
    """A Redis that loses nothing it acknowledged."""
    return start_redis(*DURABLE)


@pytest_asyncio.fixture
async def viewers():
    """`await viewers(server, thread, since=…)`: a connection that ends with the test."""
    async with contextlib.AsyncExitStack() as stack:
        yield lambda *args, **options: stack.enter_async_context(support.connect(*args, **options))


@pytest_asyncio.fixture
async def watch(rng):
    """`await watch(server, worker, 5)`: viewers that have their first state."""
    everybody = []

    async def start(servers, worker, count=1):
        viewers = [oracle.Viewer(servers, worker.thread, rng) for _ in range(count)]
        everybody.extend(viewers)
        for viewer in viewers:
            await viewer.attached()
        return viewers

    yield start
    await oracle.leave(everybody)


@pytest.fixture
def publish(rng):
    """`publish(client, worker)`: a publisher that stops with the test at the latest."""
    started = []

    def start(client, worker, **options):
        started.append(oracle.Publisher(client, worker, rng, **options))
        return started[-1]

    yield start
    for publisher in started:
        publisher.stop()
