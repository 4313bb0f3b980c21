"""Which of a thread's tasks is its turn: the newest that is no child, as the agent of today makes them."""

import pytest

from processes import request
from support import connect, initial
from today import Thread


@pytest.fixture
def thread(redis_server):
    return Thread(redis_server.client())


async def turn_of(server, thread):
    async with connect(server, thread.thread) as ws:
        return (await initial(ws))["task_id"]


async def test_the_newest_task_is_the_turn(server, thread):
    first = thread.create("first")
    assert await turn_of(server, thread) == first
    thread.update(first, "works")
    thread.status(first, "done")
    second = thread.create("second")
    assert await turn_of(server, thread) == second


async def test_a_task_without_updates_counts_once_the_one_before_it_has_ended(server, thread):
    first = thread.create("first")
    thread.update(first, "works")
    thread.status(first, "in_progress")
    second = thread.create("second")
    assert await turn_of(server, thread) == first
    thread.update(second, "works, too")
    assert await turn_of(server, thread) == second
    third = thread.create("third")
    thread.status(second, "failed")
    assert await turn_of(server, thread) == third


@pytest.mark.parametrize("named", ["by its update", "by its result", "by the parent"])
async def test_a_child_is_no_turn(server, thread, named):
    parent = thread.create("parent")
    thread.update(parent, "begins")
    children = [thread.create(f"child {n}") for n in range(3)]
    assert await turn_of(server, thread) == parent
    for child in children:
        match named:
            case "by its update":
                thread.update(child, "begins", {"parent_task_id": parent})
            case "by its result":
                thread.update(child, "begins")
                thread.result(child, parent_task_id=parent, response="r")
            case "by the parent":
                thread.update(child, "begins")
    if named == "by the parent":
        thread.update(parent, "fans out", {"child_task_ids": children})
    assert await turn_of(server, thread) == parent
    # Whatever becomes of the parent.
    thread.status(parent, "done")
    assert await turn_of(server, thread) == parent
    again = thread.create("again")
    assert await turn_of(server, thread) == again


async def test_children_beyond_those_that_are_looked_at_show_their_parent(server, thread):
    parent = thread.create("parent")
    thread.update(parent, "begins")
    for n in range(60):
        thread.update(thread.create(f"child {n}"), "begins", {"parent_task_id": parent})
    assert await turn_of(server, thread) == parent


async def test_what_is_no_json_makes_no_child(server, thread):
    first = thread.create("first")
    thread.update(first, "x")
    odd = thread.create("odd")
    thread.redis.rpush(thread.key(odd, "updates"), '{"metadata": {"parent_task_id": ')
    assert await turn_of(server, thread) == odd
    listed = thread.create("listed")
    thread.update(listed, "x")
    for text in ("null", "[]", '{"metadata": 1}', '{"metadata":{"child_task_ids":7}}', f'"{listed} child_task_ids"'):
        thread.redis.rpush(thread.key(odd, "updates"), text)
    assert await turn_of(server, thread) == listed


async def test_what_is_published_goes_to_the_turn(server, thread):
    parent = thread.create("parent")
    thread.update(parent, "begins")
    thread.update(thread.create("child"), "begins", {"parent_task_id": parent})
    path = f"/api/v1/tasks/{thread.thread}"
    assert request(server, "POST", f"{path}/status", {"status": "done"})[0] == 202
    assert thread.redis.get(thread.key(parent, "status")) == "done"
    status, _, state = request(server, "GET", path)
    assert (status, state["status"]) == (200, "done")
