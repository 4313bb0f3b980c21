"""`SWAPDB` puts other streams under all keys, and Redis tells nobody: the next sweep finds it."""

import pytest

from oracle import new_worker
from streams import do, entries_come, gap_is_told
from support import Worker, initial, nothing_but_pong


@pytest.fixture(params=["tracking", "block"])
def swapping(request, start_redis, start_server):
    """A server, a worker on the database that it watches, one of the same task on another database,
    and what swaps the two."""
    redis_server = start_redis()
    options = ("--workers", "1", "--tail", request.param, "--set", "limits.sweep_interval_ms=1000")
    server = start_server(redis_server, *options)
    worker = new_worker(redis_server)
    other = Worker(redis_server.client(db=1), worker.thread)
    return server, worker, other, lambda: redis_server.client().swapdb(0, 1)


OTHERS = {
    "lower": "XADD 5; XADD 6",
    "higher": "XADD 40; XADD 50; XADD 60; XADD 70",
    # What the viewer has last is there, too.
    "lower, with the same end": "XADD 5; XADD 6; XADD 7; XADD 30",
    "shorter, with the same end": "XADD 30",
    "longer, around": "XADD 15; XADD 25; XADD 35; XADD 45; XADD 55",
    "none": "",
}


@pytest.mark.parametrize("others", OTHERS.values(), ids=OTHERS)
async def test_streams_that_are_swapped_are_told_by_the_next_sweep(swapping, viewers, others):
    server, worker, other, swap = swapping
    do(worker, "XADD 10; XADD 20; XADD 30")
    ws = await viewers(server, worker.thread)
    await initial(ws)
    if others:
        do(other, others)
    swap()
    position = await gap_is_told(ws, worker, 30, "reset")
    assert position == (f"{others.split()[-1]}-0" if others else "0-0")
    # What is written from now on is watched as before.
    for id in (990, 991):
        do(worker, f"XADD {id}")
        position = await entries_come(ws, [id], position)
    await nothing_but_pong(ws)
    swap()
    assert await gap_is_told(ws, worker, 991, "reset") == "30-0"


async def test_a_stream_that_is_swapped_in_where_there_was_none_comes_in_whole(swapping, viewers):
    server, worker, other, swap = swapping
    ws = await viewers(server, worker.thread)
    assert (await initial(ws))["stream_id"] == "0-0"
    do(other, "XADD 1; XADD 2")
    swap()
    await entries_come(ws, [1, 2], 0)
    do(worker, "XADD 3")
    await entries_come(ws, [3], 2)
    await nothing_but_pong(ws)
