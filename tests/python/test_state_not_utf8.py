"""State that is not UTF-8: whoever asks for it, by WebSocket or by HTTP, gets the same of it, with
U+FFFD in the place of what cannot be read (protocol §3.1, Values)."""

import json

import pytest

from faults.agent import ago
from processes import request
from support import Worker, connect, initial, receive

REPLACED = "\ufffd"
# A byte that never is, a sequence that ends early, one that is too long, half of a pair.
BROKEN = [b"\xff", b"\xe2\x82", b"\xc0\xaf", b"\xed\xa0\x80"]
# Where it may be: in a string of a JSON value, in a name, between values, in what is no JSON at all.
VALUES = [b'{"a":"x%sy","n":1.50}', b'{"x%s":[1,"%s"]}', b'[1,%s2]', b'"%s', b"%s", b"plain %s text"]


def forms(broken):
    return [value.replace(b"%s", broken) for value in VALUES]


async def by_socket(server, worker):
    async with connect(server, worker.thread) as ws:
        return await initial(ws)


def by_http(server, worker):
    status, _, state = request(server, "GET", f"/api/v1/tasks/{worker.thread}")
    assert status == 200
    return state


def assert_told(value, raw):
    """What can be read is there, and the rest is replaced, as often as a decoder does it."""
    text = raw.decode("utf-8", "replace")
    told = json.dumps(value, ensure_ascii=False)
    assert told.count(REPLACED) == text.count(REPLACED) > 0, (value, raw)


@pytest.mark.parametrize("part", ["result", "error", "status"])
@pytest.mark.parametrize("broken", BROKEN)
async def test_values_of_state_are_the_same_by_socket_and_by_http(server, worker, part, broken):
    member = {"error": "error_message"}.get(part, part)
    for raw in forms(broken):
        worker.redis.set(worker.key(part), raw)
        state, body = await by_socket(server, worker), by_http(server, worker)
        assert state[member] == body[member], raw
        assert_told(state[member], raw)


@pytest.mark.parametrize("broken", BROKEN)
async def test_updates_are_the_same_by_socket_and_by_http(server, worker, broken):
    for raw in forms(broken):
        worker.redis.delete(worker.key("updates"))
        # All of it is shown at once, as the newest one is of two days ago.
        old = {"timestamp": ago(days=2), "message": "old", "update_type": "progress", "metadata": None}
        update = json.dumps({**old, "message": "x%s"}).encode().replace(b"%s", broken)
        push = worker.redis.rpush if worker.layout == "task" else worker.redis.lpush
        for item in (raw, update, json.dumps(old)):
            push(worker.key("updates"), item)
        state, body = await by_socket(server, worker), by_http(server, worker)
        assert state["updates"] == body["updates"] and len(state["updates"]) == 3, raw
        assert_told(state["updates"][0], raw)
        assert_told(state["updates"][1], update)


@pytest.mark.parametrize("broken", BROKEN)
async def test_an_approval_is_the_same_by_socket_and_by_http(server, redis_server, broken):
    worker = Worker(redis_server.client(), layout="task")
    for raw in forms(broken):
        worker.redis.hset(worker.key("metadata"), "pending_approval", raw)
        state, body = await by_socket(server, worker), by_http(server, worker)
        assert state["pending_approval"] == body["pending_approval"], raw
        assert_told(state["pending_approval"], raw)


@pytest.mark.parametrize("broken", BROKEN)
async def test_an_entry_and_the_state_show_a_result_alike(server, viewed, broken):
    """One implementation: what was told live is what the state says of it."""
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        for raw in forms(broken):
            viewed.redis.set(viewed.key("result"), raw)
            viewed.raw("update_type", "result_set", "result", raw)
            frame = await receive(ws)
            assert frame["result"] == (await by_socket(server, viewed))["result"], raw
            assert frame["result"] == by_http(server, viewed)["result"], raw
