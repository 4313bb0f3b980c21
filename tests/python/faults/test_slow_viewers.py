"""Viewers who lag where a stream is trimmed or replaced: one gap, and then everything after it."""

import asyncio
import json

import pytest

from oracle import new_worker
from processes import Taskcast, eventually, request
from rawsocket import TEXT
from slowviewer import LARGE_BYTES, LARGE_COUNT, fill, slow, to_the_gap
from streams import do, gap_is_told, walk
from support import connect, initial, task_path

# A topic holds less than what a viewer lags by here, so that it is read for the viewer.
SMALL = "limits.topic_bytes_max=65536"


@pytest.fixture(scope="module", params=["tracking", "block"])
def server(request, redis_server):
    server = Taskcast(redis_server, "--workers", "1", "--tail", request.param, "--set", SMALL)
    yield server
    server.remove()


@pytest.fixture(params=["tracking", "block"])
def server_of_its_own(request, start_redis, start_server):
    return start_server(start_redis(), "--workers", "1", "--tail", request.param, "--set", SMALL)


@pytest.fixture
def worker(redis_server):
    return new_worker(redis_server)


async def test_a_slow_viewer_who_has_nothing_yet_is_told_of_what_was_trimmed(server, worker):
    """It stands at 0-0, and another task fills its socket meanwhile."""
    other = new_worker(server.redis_server)
    async with connect(server, worker.thread) as prompt, connect(server, other.thread) as of_other:
        await initial(prompt), await initial(of_other)
        with slow(server, "/api/v1/ws") as viewer:
            await subscribe(viewer, worker, other)
            filling = fill(other, 1)
            assert await walk(of_other, "0-0", filling) == []
            ids = fill(worker, 1, 50)
            assert await walk(prompt, "0-0", ids) == []
            do(worker, "XTRIM MAXLEN 2")
            only = Only(viewer, worker.thread)
            await gap_is_told(only, worker, 0, "trimmed")
            do(worker, "XADD 900; XADD 901")
            assert await walk(only, ids[-1], ["900-0", "901-0"]) == []


async def subscribe(viewer, *workers):
    for worker in workers:
        subscribe = {"type": "subscribe", "thread_id": worker.thread}
        viewer.raw.send_frame(TEXT, json.dumps(subscribe))
        await initial(viewer)


class Only:
    """The frames of one task among those of several."""

    def __init__(self, viewer, thread):
        self.viewer, self.thread = viewer, thread

    async def recv(self):
        while json.loads(text := await self.viewer.recv())["thread_id"] != self.thread:
            pass
        return text


async def test_who_lags_again_behind_a_reset_is_not_told_a_second_time(server, worker):
    do(worker, "XADD 1; XADD 2; XADD 3")
    async with connect(server, worker.thread) as prompt:
        await initial(prompt)
        with slow(server, task_path(worker.thread)) as viewer:
            await initial(viewer)
            do(worker, "DEL; XADD 101; XADD 102; XADD 103; XADD 104")
            at = await gap_is_told(prompt, worker, 3, "reset")
            assert await gap_is_told(viewer, worker, 3, "reset") == at
            ids = fill(worker, 1000)
            assert await walk(prompt, at, ids) == []
            # A part, and it lags again.
            assert await walk(viewer, at, ids[:40]) == []
            more = fill(worker, 2000)
            assert await walk(prompt, ids[-1], more) == []
            assert await walk(viewer, ids[39], ids[40:] + more) == []
            do(worker, "XADD 9000")
            assert await walk(viewer, more[-1], ["9000-0"]) == []


async def test_who_lags_while_a_stream_is_replaced_is_told_once(server, worker):
    """What it gets of the first stream is the beginning of what it lacks; then one gap."""
    do(worker, "XADD 1")
    async with connect(server, worker.thread) as prompt:
        await initial(prompt)
        with slow(server, task_path(worker.thread)) as viewer:
            await initial(viewer)
            old = fill(worker, 1000)
            assert await walk(prompt, "1-0", old) == []
            do(worker, "DEL; XADD 5000; XADD 5001")
            at = await gap_is_told(prompt, worker, old[-1], "reset")
            ids = fill(worker, 6000)
            assert await walk(prompt, at, ids) == []
            await to_the_gap(viewer, old)
            at, after = (await initial(viewer))["stream_id"], ["5001-0", *ids]
            # A part of what follows, if there is any, and it lags again.
            part = after[after.index(at) :][:20]
            assert await walk(viewer, at, part) == []
            more = fill(worker, 7000)
            assert await walk(prompt, ids[-1], more) == []
            assert await walk(viewer, part[-1], [*after, *more]) == []


async def test_who_lags_is_told_of_another_stream_behind_a_gap_that_could_not_be_told_yet(server_of_its_own):
    """What was trimmed is known when the state to go with it cannot be read for a while. Another task
    fills the viewer's socket meanwhile."""
    server, redis = server_of_its_own, server_of_its_own.redis_server.client()
    worker, other = new_worker(server.redis_server), new_worker(server.redis_server)
    do(worker, "XADD 1")
    async with connect(server, worker.thread) as prompt, connect(server, other.thread) as of_other:
        await initial(prompt), await initial(of_other)
        with slow(server, "/api/v1/ws") as viewer:
            await subscribe(viewer, worker, other)
            assert await walk(of_other, "0-0", fill(other, 1)) == []
            old = fill(worker, 1000, 60, bytes=3000)
            assert await walk(prompt, "1-0", old) == []
            redis.execute_command("ACL", "SETUSER", "default", "-eval", "-evalsha")
            errors = server.metrics()["taskcast_redis_errors_total"]
            do(worker, "XADD 1400; XADD 1401; XTRIM MAXLEN 1")
            await asyncio.to_thread(
                eventually, lambda: server.metrics()["taskcast_redis_errors_total"] > errors, "the refused read"
            )
            do(worker, "DEL; XADD 5; XADD 2000")
            redis.execute_command("ACL", "SETUSER", "default", "+eval", "+evalsha")
            at = await gap_is_told(prompt, worker, old[-1], "reset")
            only = Only(viewer, worker.thread)
            await to_the_gap(only, old)
            assert (await initial(only))["stream_id"] == at
            do(worker, "XADD 9000")
            for ws in (prompt, only):
                assert await walk(ws, at, ["9000-0"]) == []


async def test_who_lags_behind_trims_is_told_once_and_gets_what_is_kept(server, worker):
    """Each hole is told once: two trims, each while the viewer lags."""
    do(worker, "XADD 1")
    async with connect(server, worker.thread) as prompt:
        await initial(prompt)
        with slow(server, task_path(worker.thread)) as viewer:
            position, at = (await initial(viewer))["stream_id"], "1-0"
            for begin in (1000, 2000):
                ids = fill(worker, begin)
                assert await walk(prompt, at, ids) == []
                do(worker, "XTRIM MAXLEN 3")
                at = ids[-1]
                assert await walk(viewer, position, ids) == ["trimmed"]
                position = at
            do(worker, "XADD 9000")
            assert await walk(viewer, position, ["9000-0"]) == []


async def test_a_slow_viewer_of_the_embedded_log_is_told_of_what_was_trimmed():
    server = Taskcast(None, "--embedded", "--set", "limits.stream_length_max=5", "--set", SMALL)
    try:
        thread = request(server, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
        path, body = f"/api/v1/tasks/{thread}/updates", {"message": "x" * LARGE_BYTES}
        async with connect(server, thread) as prompt:
            at = (await initial(prompt))["stream_id"]
            with slow(server, task_path(thread)) as viewer:
                position = (await initial(viewer))["stream_id"]
                for _ in range(2):
                    ids = []
                    for _ in range(LARGE_COUNT):
                        ids.append(request(server, "POST", path, body)[2]["stream_id"])
                        assert await walk(prompt, at, ids[-1:]) == []
                        at = ids[-1]
                    # The log is trimmed all the time, so there may be several holes.
                    assert set(await walk(viewer, position, ids)) == {"trimmed"}
                    position = at
    finally:
        server.remove()
