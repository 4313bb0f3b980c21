"""What a worker of today writes to keys only is told to all who watch, once, in the words of the published
interface (protocol §3.2)."""

import asyncio
import json
import random

import pytest

from processes import Taskcast
from support import collect, connect, initial, keys, milliseconds, new_thread, now, receive_any as receive, stream_key
from today import Thread

GRACE = "state_grace_ms = 100\n"


@pytest.fixture(scope="module", params=["tracking", "block"])
def quick(request, redis_server):
    server = Taskcast(redis_server, "--workers", "2", "--tail", request.param, config=GRACE)
    yield server
    server.remove()


async def nothing_but_pong(ws):
    await ws.send('{"type":"ping"}')
    assert await receive(ws) == {"type": "pong"}


async def derived(ws, update_type, position, **members):
    """The next frame is derived, and says this. It is returned."""
    frame = await receive(ws)
    assert frame["update_type"] == update_type and frame.get("derived") is True, frame
    assert frame["stream_id"] == position and "prev_stream_id" not in frame, frame
    assert {name: frame.get(name) for name in members} == members, frame
    milliseconds(frame["timestamp"])
    return frame


async def test_a_task_from_its_beginning_to_its_end(quick, today):
    async with connect(quick, today.thread) as ws:
        state = await initial(ws)
        assert (state["status"], state["task_id"]) == ("queued", today.task)
        today.status(today.task, "in_progress")
        frame = await derived(ws, "status_change", state["stream_id"], status="in_progress", task_id=today.task)
        assert frame["message"] == "Status changed to in_progress"
        assert (frame["pending_approval"], frame["resume_supported"]) == (None, None)
        position = today.told("works")
        assert (await receive(ws))["stream_id"] == position
        today.end("done")
        result = {"response": "all is well"}
        frame = await derived(ws, "result_set", position, result=result, task_id=today.task)
        assert frame["message"] == "Task result available"
        await derived(ws, "status_change", position, status="done")
        end = today.entry(update_type="turn_complete", task_id=today.task, message="Turn complete")
        assert (await receive(ws))["stream_id"] == end
        await nothing_but_pong(ws)


@pytest.mark.parametrize("status", ["failed", "cancelled", "awaiting_approval"])
async def test_every_other_end(quick, today, status):
    async with connect(quick, today.thread) as ws:
        position = (await initial(ws))["stream_id"]
        if status == "awaiting_approval":
            approval = {"tool": "restart", "reason": "because"}
            today.redis.hset(today.key(today.task, "metadata"), "pending_approval", json.dumps(approval))
            today.redis.hset(today.key(today.task, "metadata"), "resume_supported", "true")
        today.end(status)
        if status == "failed":
            frame = await derived(ws, "error_set", position, error_message="it broke", task_id=today.task)
            assert frame["message"] == "it broke"
        frame = await derived(ws, "status_change", position, status=status)
        if status == "awaiting_approval":
            assert (frame["pending_approval"], frame["resume_supported"]) == (approval, True)
            today.redis.hdel(today.key(today.task, "metadata"), "pending_approval")
            today.status(today.task, "in_progress")
            frame = await derived(ws, "status_change", position, status="in_progress")
            assert frame["pending_approval"] is None
        await nothing_but_pong(ws)


async def test_who_resumes_is_told_what_the_entries_did_not(quick, today):
    first = today.told("one")
    second = today.told("two")
    today.end("done")
    for since, rest in (("0", [first, second]), (first, [second]), (second, [])):
        async with connect(quick, today.thread, since=since) as ws:
            assert [frame["stream_id"] for frame in await collect(ws, len(rest))] == rest
            assert (await receive(ws))["update_type"] == "caught_up"
            await derived(ws, "result_set", second)
            await derived(ws, "status_change", second, status="done")
            await nothing_but_pong(ws)


async def test_what_an_entry_told_is_not_told_again(quick, today):
    """A worker of the first generation, with its entry before or after its key."""
    async with connect(quick, today.thread) as ws:
        await initial(ws)
        for n, status in enumerate(["in_progress", "awaiting_approval", "in_progress", "done"]):
            entry = {"update_type": "status_change", "status": status, "message": "m", "task_id": today.task}
            if n % 2:
                today.status(today.task, status)
                await asyncio.sleep(0.03)
                position = today.entry(**entry)
            else:
                position = today.entry(**entry)
                await asyncio.sleep(0.03)
                today.status(today.task, status)
            frame = await receive(ws)
            assert (frame["stream_id"], frame.get("derived")) == (position, None)
            await asyncio.sleep(0.3)
        await nothing_but_pong(ws)
    async with connect(quick, today.thread, since="0") as ws:
        await collect(ws, 4)
        assert (await receive(ws))["update_type"] == "caught_up"
        await nothing_but_pong(ws)


async def test_a_second_turn_begins_while_people_watch(quick, today):
    async with connect(quick, today.thread) as ws:
        position = (await initial(ws))["stream_id"]
        today.end("cancelled")
        await derived(ws, "status_change", position, status="cancelled", task_id=today.task)
        second = today.create("second")
        await derived(ws, "status_change", position, status="queued", task_id=second)
        today.status(second, "in_progress")
        await derived(ws, "status_change", position, status="in_progress", task_id=second)
        today.end("done", second)
        await derived(ws, "result_set", position, task_id=second)
        await derived(ws, "status_change", position, status="done", task_id=second)
        # The first one's keys tell nothing any more.
        today.status(today.task, "failed")
        feedback = today.entry(update_type="feedback_submitted", message="thanks")
        assert (await receive(ws))["stream_id"] == feedback
        await nothing_but_pong(ws)


async def test_a_turn_that_began_with_another_stream_is_followed(quick, today):
    today.told("one")
    second = today.create("second")
    async with connect(quick, today.thread) as ws:
        assert (await initial(ws))["task_id"] == today.task
        # No key that is tracked changes: the first update makes it the turn.
        redis, today.redis = today.redis, today.redis.pipeline()
        today.redis.delete(stream_key(today.thread))
        today.told("again", second)
        today.redis.execute()
        today.redis = redis
        gap, state = await receive(ws), await receive(ws)
        assert (gap["update_type"], gap["reason"]) == ("gap", "reset")
        assert (state["update_type"], state["task_id"]) == ("initial_state", second)
        for status in ("in_progress", "cancelled"):
            today.status(second, status)
            await derived(ws, "status_change", state["stream_id"], status=status, task_id=second)
        await nothing_but_pong(ws)


async def test_children_are_not_the_thread(quick, today):
    async with connect(quick, today.thread) as ws:
        await initial(ws)
        position = today.told("fans out")
        assert (await receive(ws))["stream_id"] == position
        today.status(today.task, "in_progress")
        await derived(ws, "status_change", position, status="in_progress", task_id=today.task)
        children = [today.create(f"child {n}") for n in range(2)]
        for child in children:
            today.status(child, "in_progress")
            today.update(child, "begins", {"parent_task_id": today.task})
            position = today.entry(update_type="agent_start", task_id=child, message="begins")
            assert (await receive(ws))["stream_id"] == position
            today.result(child, response="r", parent_task_id=today.task)
            today.status(child, "done")
            ends = {"parent_task_id": today.task, "task_id": child, "message": "Turn complete"}
            position = today.entry(update_type="turn_complete", **ends)
            assert (await receive(ws))["stream_id"] == position
        await nothing_but_pong(ws)
        today.end("done")
        await derived(ws, "result_set", position, task_id=today.task)
        await derived(ws, "status_change", position, status="done", task_id=today.task)
        await nothing_but_pong(ws)


async def test_many_who_watch_and_many_who_resume_cost_a_few_reads(quick, today):
    position = today.told("one")
    watching = [connect(quick, today.thread) for _ in range(50)]
    watching = [await ws for ws in watching]
    for ws in watching:
        await initial(ws)
    before = quick.metrics()["taskcast_state_reads_total"]
    today.status(today.task, "cancelled")
    for ws in watching:
        await derived(ws, "status_change", position, status="cancelled")
    resumed = await asyncio.gather(*(connect(quick, today.thread, since=position) for _ in range(50)))
    for ws in resumed:
        assert (await receive(ws))["update_type"] == "caught_up"
        await derived(ws, "status_change", position, status="cancelled")
    # One for all who watch, and those that the second look at the stream asks for.
    assert quick.metrics()["taskcast_state_reads_total"] - before <= 3
    for ws in watching + resumed:
        await ws.close()


async def test_in_the_thread_layout_too(quick, redis_server):
    redis, thread = redis_server.client(), Thread(redis_server.client()).thread
    redis.set(keys(thread)["status"], "queued")
    redis.hset(keys(thread)["metadata"], mapping={"created_at": now()})
    async with connect(quick, thread) as ws:
        position = (await initial(ws))["stream_id"]
        redis.set(keys(thread)["error"], "broken")
        redis.set(keys(thread)["status"], "failed")
        frame = await derived(ws, "error_set", position, error_message="broken")
        assert "task_id" not in frame
        frame = await derived(ws, "status_change", position, status="failed")
        assert not {"task_id", "pending_approval"} & frame.keys()
        # A turn begins on it.
        task = Thread(redis, thread).create("turn")
        await derived(ws, "status_change", position, status="queued", task_id=task)


async def test_what_was_told_while_nobody_watched_is_not_remembered(quick, today):
    position = today.told("one")
    async with connect(quick, today.thread) as ws:
        assert (await initial(ws))["status"] == "queued"
    today.end("cancelled")
    await asyncio.sleep(0.3)
    async with connect(quick, today.thread, since=position) as ws:
        assert (await receive(ws))["update_type"] == "caught_up"
        await derived(ws, "status_change", position, status="cancelled")
        await nothing_but_pong(ws)


@pytest.mark.parametrize("mode", ["tracking", "block"])
async def test_what_a_worker_of_the_first_generation_writes_twice_is_told_once(start_server, redis_server, mode):
    """Up to 400 ms between its key and its entry. The default grace of half a second would leave this machine
    100 ms to be late."""
    server = start_server(redis_server, "--tail", mode, config="state_grace_ms = 2000\n")
    redis = redis_server.client()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    statuses = ["in_progress", "awaiting_approval", "in_progress", "failed"]

    async def work(thread, fresh):
        async def both(part, value, **fields):
            redis.set(keys(thread)[part], value)
            await asyncio.sleep(dice.uniform(0, 0.4))
            redis.xadd(stream_key(thread), {"thread_id": thread, "timestamp": now(), "message": "m", **fields})

        await fresh
        for status in statuses:
            if status == "failed":
                await both("error", "broke", update_type="error_set", error_message="broke")
            await both("status", status, update_type="status_change", status=status)
            await asyncio.sleep(dice.choice([0, 0.05]))

    async def watch(thread, fresh, pause):
        """Stays, or leaves for a while after each change."""
        told, position = [], None
        while statuses[-1:] != told[-1:]:
            async with connect(server, thread, since=position) as ws:
                while statuses[-1:] != told[-1:]:
                    frame = await receive(ws)
                    position = frame["stream_id"]
                    if frame["update_type"] == "initial_state":
                        fresh.set_result(None)
                    elif frame["update_type"] in ("status_change", "error_set"):
                        what = frame.get("status", frame["update_type"])
                        # Who comes back is told what is so now, and may know it: error or status.
                        of_its_kind = [one for one in told if (one == "error_set") == (what == "error_set")]
                        if frame.get("derived") and pause and of_its_kind[-1:] == [what]:
                            continue
                        told.append(what)
                        if pause and frame["update_type"] == "status_change":
                            break
            await asyncio.sleep(dice.uniform(0, pause))
        async with connect(server, thread, since=position) as ws:
            assert (await receive(ws))["update_type"] == "caught_up"
            for part in ("error_set", "status_change"):
                assert (await receive(ws))["update_type"] == part
            await asyncio.sleep(0.7)
            await nothing_but_pong(ws)
        return told

    async def one(pause):
        thread, fresh = new_thread(), asyncio.get_running_loop().create_future()
        redis.set(keys(thread)["status"], "queued")
        told, _ = await asyncio.gather(watch(thread, fresh, pause), work(thread, fresh))
        return told

    for told in await asyncio.gather(*[one(pause) for pause in [0] * 10 + [0.3] * 10]):
        assert told == [*statuses[:-1], "error_set", "failed"]
