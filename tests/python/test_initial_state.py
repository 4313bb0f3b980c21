"""Attaching: `initial_state` at a position, in both layouts (protocol §2 and §3)."""

import json
import time

import pytest

from support import (
    Worker, assert_chained, collect, connect, initial, keys, milliseconds, new_thread, receive,
)

MEMBERS = {
    "update_type", "thread_id", "status", "updates", "updates_total", "result", "error_message",
    "stream_id", "timestamp",
}
TASK_MEMBERS = {"task_id", "pending_approval", "resume_supported"}


async def attach(server, worker):
    async with connect(server, worker.thread) as ws:
        return await initial(ws)


async def test_initial_state_has_exactly_its_members(server, worker):
    state = await attach(server, worker)
    expected = MEMBERS | (TASK_MEMBERS if worker.layout == "task" else set())
    assert set(state) == expected


async def test_initial_state_of_a_new_task(server, worker):
    state = await attach(server, worker)
    assert state["thread_id"] == worker.thread
    assert state["status"] == "queued"
    assert state["updates"] == [] and state["updates_total"] == 0
    assert state["result"] is None and state["error_message"] is None
    assert state["stream_id"] == "0-0"
    assert abs(milliseconds(state["timestamp"]) - time.time() * 1000) < 60_000


async def test_initial_state_holds_everything_the_worker_stored(server, worker):
    worker.update("first", "tool_call", {"tool": "x", "n": 1.50})
    worker.result({"answer": 42, "list": [1, None, "a"]})
    last = worker.error("it broke")
    state = await attach(server, worker)
    assert state["status"] == "failed"
    assert state["result"] == {"answer": 42, "list": [1, None, "a"]}
    assert state["error_message"] == "it broke"
    assert state["stream_id"] == last
    (update,) = state["updates"]
    assert set(update) == {"timestamp", "message", "update_type", "metadata"}
    assert update["message"] == "first" and update["update_type"] == "tool_call"
    assert update["metadata"] == {"tool": "x", "n": 1.50}


async def test_initial_state_holds_the_newest_10_updates_oldest_first(server, worker):
    for n in range(25):
        worker.update(f"update {n}")
    state = await attach(server, worker)
    assert [u["message"] for u in state["updates"]] == [f"update {n}" for n in range(15, 25)]
    assert state["updates_total"] == 25


async def test_the_thread_layout_keeps_100_updates(server, redis_server):
    worker = Worker(redis_server.client())
    for n in range(120):
        worker.update(f"update {n}")
    state = await attach(server, worker)
    assert state["updates_total"] == 100
    assert state["updates"][-1]["message"] == "update 119"


async def test_initial_state_is_followed_by_every_entry_after_its_position(server, worker):
    worker.update("before")
    async with connect(server, worker.thread) as ws:
        state = await initial(ws)
        ids = [worker.update(f"after {n}") for n in range(20)]
        frames = await collect(ws, 20)
    assert [f["stream_id"] for f in frames] == ids
    assert_chained(frames, state["stream_id"])


async def test_the_updates_are_passed_on_byte_for_byte(server, redis_server):
    worker = Worker(redis_server.client())
    stored = '{"timestamp": "x",  "message":"a\\u0041", "n": 1.0e0, "update_type":"p","metadata":null}'
    worker.redis.lpush(worker.key("updates"), stored)
    worker.publish("thread_update", message="aA")
    async with connect(server, worker.thread) as ws:
        assert stored in await ws.recv()


async def test_the_result_is_passed_on_byte_for_byte(server, worker):
    stored = '{"b": 1.10, "a":[1E400,-0],"a":"\\u00e9"}'
    worker.redis.set(worker.key("result"), stored)
    async with connect(server, worker.thread) as ws:
        assert f'"result":{stored}' in (await ws.recv()).replace('"result": ', '"result":')


async def test_an_error_that_looks_like_json_stays_a_string(server, worker):
    worker.redis.set(worker.key("error"), "404")
    assert (await attach(server, worker))["error_message"] == "404"


@pytest.mark.parametrize("status", ["in_progress", "awaiting_approval", "completed", "paused", "1"])
async def test_a_status_is_passed_on_as_it_is_known_or_not(server, worker, status):
    worker.redis.set(worker.key("status"), status)
    assert (await attach(server, worker))["status"] == status


@pytest.mark.parametrize("kept", ["status", "metadata"])
async def test_a_thread_exists_by_its_status_or_its_metadata(server, redis_server, kept):
    worker = Worker(redis_server.client())
    worker.redis.delete(*(worker.key(k) for k in ("status", "metadata") if k != kept))
    state = await attach(server, worker)
    assert state["status"] == ("queued" if kept == "status" else None)


async def test_the_task_layout_is_read_first(server, redis_server):
    old = Worker(redis_server.client())
    old.redis.set(old.key("error"), "of the thread layout")
    new = Worker(old.redis, old.thread, "task")
    new.redis.set(new.key("status"), "done")
    state = await attach(server, new)
    assert state["task_id"] == new.task
    assert state["status"] == "done" and state["error_message"] is None


async def test_the_task_layout_tells_of_the_newest_task(server, redis_server):
    worker = Worker(redis_server.client(), layout="task")
    worker.redis.zadd(keys(worker.thread)["tasks"], {"newer": time.time() + 5, "older": 1})
    worker.redis.set("sre:task:newer:status", "awaiting_approval")
    worker.redis.rpush("sre:task:newer:updates", '{"message": "asks"}')
    worker.redis.hset(
        "sre:task:newer:metadata",
        mapping={"pending_approval": '{"tool": "restart", "n": 1}', "resume_supported": "true"},
    )
    state = await attach(server, worker)
    assert state["task_id"] == "newer" and state["status"] == "awaiting_approval"
    assert state["pending_approval"] == {"tool": "restart", "n": 1}
    assert state["resume_supported"] is True
    worker.redis.delete("sre:task:newer:status", "sre:task:newer:metadata", "sre:task:newer:updates")


async def test_a_task_without_approval_has_none(server, redis_server):
    state = await attach(server, Worker(redis_server.client(), layout="task"))
    assert state["pending_approval"] is None
    assert not state["resume_supported"]


async def test_a_thread_of_the_task_layout_exists_by_its_metadata_alone(server, redis_server):
    thread = new_thread()
    redis_server.client().hset(keys(thread)["metadata"], "created_at", "x")
    async with connect(server, thread) as ws:
        assert (await initial(ws))["status"] is None


async def test_a_thread_whose_state_is_gone_exists_while_its_stream_does(server, redis_server):
    worker = Worker(redis_server.client(), create=False)
    position = worker.publish("thread_update", message="left over")
    async with connect(server, worker.thread) as ws:
        state = await initial(ws)
        assert state["status"] is None and state["updates"] == []
        assert state["stream_id"] == position
        worker.publish("thread_update", message="live")
        assert (await receive(ws))["message"] == "live"


async def test_the_embedded_log_has_the_same_initial_state(embedded):
    from processes import request

    status, _, made = request(embedded, "POST", "/api/v1/triage", {"query": "why?"})
    assert status == 202
    thread = made["thread_id"]
    request(embedded, "POST", f"/api/v1/tasks/{thread}/updates", {"message": "one"})
    async with connect(embedded, thread) as ws:
        state = await initial(ws)
        assert set(state) == MEMBERS
        assert [u["message"] for u in state["updates"]] == ["one"]
        request(embedded, "POST", f"/api/v1/tasks/{thread}/status", {"status": "completed"})
        frame = await receive(ws)
        assert frame["status"] == "completed"
        assert_chained([frame], state["stream_id"])


async def test_a_broken_update_in_the_list_does_no_harm(server, worker):
    for value in (b"not json", b"\xff", b"", b"null"):
        worker.redis.lpush(worker.key("updates"), value)
    worker.update("fine")
    async with connect(server, worker.thread) as ws:
        frame = await ws.recv()
        assert any(u and "message" in u for u in json.loads(frame)["updates"] if isinstance(u, dict))
