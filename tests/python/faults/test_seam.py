"""Attaching under load: each update shows exactly once, in `initial_state.updates` or live.

What decides it is asked step by step in test_seam_rule.py and test_seam_derived.py."""

import asyncio
import time

import pytest

from oracle import new_worker
from support import connect, initial, receive

UPDATES_SHOWN = 10


def numbers(updates):
    return [int(update["message"].split()[1]) for update in updates]


async def attach_and_check(server, worker, live_count=15):
    """One viewer: what its state shows and what comes live must join without a seam."""
    async with connect(server, worker.thread) as ws:
        state = await initial(ws)
        shown, live = numbers(state["updates"]), []
        while len(live) < live_count:
            frame = await receive(ws)
            if frame["update_type"] == "thread_update":
                live += numbers([frame])
    assert live == list(range(live[0], live[0] + live_count)), live
    joined = shown + live
    if shown:
        assert joined == list(range(joined[0], joined[0] + len(joined))), (shown, live)
        assert len(shown) == min(UPDATES_SHOWN, shown[-1]), shown
    else:
        assert live[0] == 1


@pytest.mark.parametrize("layout", ["thread", "task"])
async def test_each_update_shows_exactly_once_for_viewers_who_attach_under_load(
    server, redis_server, publish, layout
):
    worker = new_worker(redis_server, layout)
    publisher = publish(redis_server.client(), worker, seconds_between=0.002)
    end = time.monotonic() + 5
    while time.monotonic() < end:
        await asyncio.gather(*(attach_and_check(server, worker) for _ in range(6)))
    publisher.stop()


@pytest.mark.parametrize("layout", ["thread", "task"])
async def test_an_update_that_is_stored_but_not_published_yet_comes_live_only(server, redis_server, layout):
    """The worker stands still between its two steps."""
    worker = new_worker(redis_server, layout)
    worker.update("update 1")
    worker.store_update("update 2")
    async with connect(server, worker.thread) as ws:
        state = await initial(ws)
        assert numbers(state["updates"]) == [1]
        worker.publish("thread_update", message="update 2", type="progress", metadata=None)
        assert numbers([await receive(ws)]) == [2]
    async with connect(server, worker.thread) as ws:
        assert numbers((await initial(ws))["updates"]) == [1, 2]


async def test_many_workers_on_one_task(server, redis_server, publish):
    """Two workers of one task, each with steps of its own: every entry once, in stream order."""
    workers = [new_worker(redis_server)]
    workers.append(type(workers[0])(redis_server.client(), workers[0].thread, create=False))
    publishers = [publish(redis_server.client(), worker) for worker in workers]
    async with connect(server, workers[0].thread) as ws:
        at = (await initial(ws))["stream_id"]
        for _ in range(200):
            frame = await receive(ws)
            assert frame["prev_stream_id"] == at
            at = frame["stream_id"]
    for publisher in publishers:
        publisher.stop()
