"""Viewers who come while the tail has not seen yet what became of a watched stream."""

import asyncio

import pytest

from support import Worker, assert_chained, collect, connect, initial, receive, until


@pytest.fixture(params=["block", "tracking"])
def tail_server(request, start_server, redis_server):
    return start_server(redis_server, "--workers", "1", "--tail", request.param)


def kind(frame):
    return frame["update_type"]


@pytest.mark.parametrize("end", ["deleted", "expired"])
async def test_who_comes_after_a_stream_is_gone_gets_nothing_of_it(tail_server, redis_server, end):
    for _ in range(5):
        worker = Worker(redis_server.client())
        async with connect(tail_server, worker.thread) as watching:
            await initial(watching)
            for n in range(3):
                worker.update(f"update {n}")
            await collect(watching, 3)
            if end == "deleted":
                worker.redis.delete(worker.stream)
            else:
                worker.redis.pexpire(worker.stream, 1)
                await asyncio.sleep(0.01)
            async with connect(tail_server, worker.thread) as ws:
                state = await initial(ws)
                assert state["stream_id"] == "0-0"
                begun = worker.update("another stream")
                frame = await receive(ws)
                assert (frame["stream_id"], frame["prev_stream_id"]) == (begun, "0-0")


async def test_caught_up_comes_behind_everything_that_redis_had(tail_server, redis_server):
    worker = Worker(redis_server.client())
    seen = worker.update("first")
    async with connect(tail_server, worker.thread) as watching:
        await initial(watching)
        for n in range(40):
            new = [worker.publish("event", n=n) for _ in range(2)]
            async with connect(tail_server, worker.thread, since=seen) as ws:
                frames = await until(ws, lambda frame: kind(frame) == "caught_up")
                assert [frame["stream_id"] for frame in frames] == [*new, new[-1]]
            seen = new[-1]
        assert_chained(await collect(watching, 80), worker.redis.xrange(worker.stream, count=1)[0][0])


async def test_the_last_id_of_an_emptied_stream_may_be_moved_on(tail_server, redis_server):
    worker = Worker(redis_server.client())
    async with connect(tail_server, worker.thread) as watching:
        await initial(watching)
        head = worker.update("deleted soon")
        await receive(watching)
        worker.redis.xdel(worker.stream, head)
        moved = f"{int(head.split('-')[0]) + 100}-0"
        worker.redis.execute_command("XSETID", worker.stream, moved)
        for since in (moved, "0"):
            async with connect(tail_server, worker.thread, since=since) as ws:
                caught_up = await receive(ws)
                assert kind(caught_up) == "caught_up", caught_up
        async with connect(tail_server, worker.thread, since=moved) as ws:
            position = (await receive(ws))["stream_id"]
            worker.update("live")
            assert_chained([await receive(ws)], position)
        # With nothing after it, a moved id may be another stream's: once.
        frame, position = await receive(watching), head
        if kind(frame) == "gap":
            assert (frame["requested"], frame["reason"]) == (head, "reset")
            position, frame = (await initial(watching))["stream_id"], await receive(watching)
        assert_chained([frame], position)


async def test_a_stream_that_begins_and_is_emptied_in_one_step_is_told(start_server, redis_server):
    for tail in ("block", "tracking"):
        options = ("--workers", "1", "--tail", tail, "--set", "limits.sweep_interval_ms=1000")
        server = start_server(redis_server, *options)
        worker = Worker(redis_server.client())
        async with connect(server, worker.thread) as ws:
            await initial(ws)
            step = worker.redis.pipeline(transaction=True)
            step.xadd(worker.stream, {"update_type": "event"}, id="5-1")
            step.xtrim(worker.stream, maxlen=0, approximate=False)
            step.execute()
            gap, state = await collect(ws, 2)
            assert (kind(gap), gap["reason"], gap["requested"]) == ("gap", "trimmed", "0-0")
            assert (kind(state), state["stream_id"]) == ("initial_state", "5-1")
            worker.publish("event", id="6-1")
            assert_chained([await receive(ws)], "5-1")
