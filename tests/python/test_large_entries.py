"""Entries that are so large that reading them takes time: they are delivered like all others, and
the work is not done on a worker's thread."""

import asyncio
import json
import pathlib

import pytest

from processes import eventually, request
from support import Worker, assert_chained, collect, connect, initial, receive, until

LARGE = 100_000_000


def cpu_ticks(server):
    """The user time of each thread, by the thread's name. Sending is in nobody's user time."""
    ticks = {}
    for task in pathlib.Path(f"/proc/{server.pid}/task").iterdir():
        name, fields = (task / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
        ticks[name] = int(fields.split()[11])
    return ticks


async def message_bytes(ws):
    """The length of the message in the next frame, which may be larger than JSON is fun for."""
    frame = await asyncio.wait_for(ws.recv(), 60)
    return len(json.loads(frame)["message"])


async def test_an_entry_of_100_mb_is_read_and_encoded_beside_the_workers(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "1")
    large, other = Worker(redis_server.client()), Worker(redis_server.client())
    async with connect(server, large.thread) as ws, connect(server, other.thread) as small:
        await initial(ws), await initial(small)
        before = cpu_ticks(server)
        stream_id = large.raw("message", b"x" * LARGE)
        for n in range(20):
            other.update(f"update {n}")
        assert [f["message"] for f in await collect(small, 20)] == [f"update {n}" for n in range(20)]
        assert await message_bytes(ws) == LARGE
        used = {name: ticks - before[name] for name, ticks in cpu_ticks(server).items()}
        assert used["worker-0"] < used["lane"], used
        # The stream stays there, in order.
        large.update("small again")
        frame = await receive(ws)
        assert (frame["message"], frame["prev_stream_id"]) == ("small again", stream_id)
    metrics = server.metrics()
    assert metrics["taskcast_lane_streams_total"] == 1
    assert not any(name.startswith("taskcast_gaps_total") and value for name, value in metrics.items())


@pytest.mark.parametrize("tail", ["tracking", "block"])
async def test_large_and_small_entries_come_in_order_and_chained(start_server, start_redis, tail):
    server = start_server(start_redis(), "--tail", tail)
    worker = Worker(server.redis)
    sizes = [10, 300_000, 10, 10, 1_000_000, 2_000_000, 10, 300_000, 10]
    worker.update("before")
    async with connect(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
        for size in sizes:
            worker.publish("thread_update", message="x" * size)
        frames = await collect(ws, len(sizes))
        assert [len(frame["message"]) for frame in frames] == sizes
        assert_chained(frames, position)
    assert server.metrics()["taskcast_lane_streams_total"] == 1


async def test_who_comes_to_a_task_with_large_entries_is_served(start_server, start_redis):
    server = start_server(start_redis(), "--workers", "1")
    worker, other = Worker(server.redis), Worker(server.redis)
    sizes = [10, 5_000_000, 10, 7_000_000]
    ids = [worker.publish("thread_update", message="x" * size) for size in sizes]
    before = cpu_ticks(server)
    async with connect(server, other.thread) as small, connect(server, worker.thread) as ws:
        await initial(small)
        assert (await initial(ws))["stream_id"] == ids[-1]
        for since in range(len(ids)):
            async with connect(server, worker.thread, ids[since]) as back:
                frames = await collect(back, len(ids) - since)
                assert [len(f["message"]) for f in frames[:-1]] == sizes[since + 1 :]
                assert frames[-1]["update_type"] == "caught_up"
                assert_chained(frames[:-1], ids[since])
        other.update("fine")
        assert (await receive(small))["message"] == "fine"
    used = {name: ticks - before[name] for name, ticks in cpu_ticks(server).items()}
    assert used["worker-0"] <= used["lane"], used


async def test_large_state_is_shown_and_listed(start_server, start_redis):
    server = start_server(start_redis(), "--workers", "1")
    worker = Worker(server.redis)
    result = {"text": "x" * 5_000_000}
    worker.result(result)
    worker.redis.zadd("sre:threads:index", {worker.thread: 1.0})
    async with connect(server, worker.thread) as ws:
        assert (await initial(ws))["result"] == result
    status, _, state = request(server, "GET", f"/api/v1/tasks/{worker.thread}")
    assert (status, state["result"]) == (200, result)
    status, _, listed = request(server, "GET", "/api/v1/tasks")
    assert status == 200 and [task["thread_id"] for task in listed["tasks"]] == [worker.thread]


@pytest.mark.parametrize("change", ["deleted", "created again", "flushed", "trimmed"])
async def test_what_happens_to_a_stream_in_the_lane_is_told(start_server, start_redis, change):
    server = start_server(start_redis())
    worker = Worker(server.redis)
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.publish("thread_update", message="x" * 1_000_000)
        worker.publish("thread_update", message="last")
        position = (await collect(ws, 2))[-1]["stream_id"]
        if change == "flushed":
            worker.redis.flushall()
        elif change == "trimmed":
            # One after the other in one step, so that the tail sees only the end of it.
            with worker.redis.pipeline(transaction=True) as step:
                for n in range(5):
                    step.xadd(worker.stream, {"n": n})
                step.xtrim(worker.stream, maxlen=2, approximate=False)
                step.execute()
        else:
            worker.redis.delete(worker.stream)
        if change == "created again":
            worker.update("anew")
        frames = await until(ws, lambda frame: frame.get("update_type") == "initial_state")
        assert frames[-2]["update_type"] == "gap" and frames[-2]["requested"] == position
        assert frames[-2]["reason"] == ("trimmed" if change == "trimmed" else "reset")


async def test_redis_lost_and_back_loses_nothing_of_a_stream_in_the_lane(start_server, start_redis):
    redis_server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
        worker.publish("thread_update", message="x" * 1_000_000)
        frames = await collect(ws, 1)
        await asyncio.to_thread(redis_server.kill)
        await asyncio.to_thread(redis_server.start)
        for n in range(3):
            worker.publish("thread_update", message=f"update {n}")
        frames += await collect(ws, 3)
        assert_chained(frames, position)
    eventually(lambda: server.status("/readyz") == 200, "ready again")
