"""Which updates a state shows: those proven to have their entry, and those proven old. Each other one
comes once, as its entry or derived.

The workers take their steps by hand. A further update whose entry never comes is told derived at the
end: behind it, all that was withheld has been decided.
"""

import asyncio
import itertools

import pytest

import processes
from agent import Agent, ago, comes_as_its_entry, comes_derived, shown
from processes import eventually
from support import connect, initial, nothing_but_pong


@pytest.fixture(params=["thread", "task"])
def agent(request, redis_server):
    return Agent(redis_server.client(), layout=request.param)


# For what makes no difference between layouts: the rule takes two seconds each time.
THREAD_LAYOUT = pytest.mark.parametrize("agent", ["thread"], indirect=True)
TASK_LAYOUT = pytest.mark.parametrize("agent", ["task"], indirect=True)


async def attach(ws, messages):
    """The state shows these and counts no others. Its position."""
    state = await initial(ws)
    assert shown(state) == messages
    assert state["updates_total"] == len(messages)
    return state["stream_id"]


def expire(agent):
    agent.redis.pexpire(agent.stream, 1)
    eventually(lambda: not agent.redis.exists(agent.stream), "the end of the stream")


def trim(agent):
    agent.redis.xtrim(agent.stream, maxlen=0, approximate=False)


@pytest.mark.parametrize("agent, goes", [("thread", expire), ("task", trim)], indirect=["agent"])
async def test_an_update_behind_a_stream_that_is_gone_is_shown_once(server, agent, goes):
    """No entry is left that could prove anything, so all of them wait."""
    old = [agent.push(f"update {n}") for n in range(3)]
    for item in old:
        agent.add(item)
    goes(agent)
    item = agent.push("the next")
    async with connect(server, agent.thread) as ws:
        position = await attach(ws, [])
        added = agent.add(item)
        await comes_as_its_entry(ws, item, added, position)
        for item in old:
            await comes_derived(ws, item, added)
        await nothing_but_pong(ws)
        # What was told is old for all who come.
        async with connect(server, agent.thread) as later:
            await attach(later, ["update 0", "update 1", "update 2", "the next"])
            await nothing_but_pong(later)


async def test_of_two_workers_the_slower_ones_update_is_shown_once(server, agent):
    """State A, state B, entry B, attach, entry A: that B has its entry says nothing of A."""
    slow, quick, orphan = (agent.push(message) for message in ("slow", "quick", "orphan"))
    added = agent.add(quick)
    async with connect(server, agent.thread) as ws:
        assert await attach(ws, ["quick"]) == added
        later = agent.add(slow)
        await comes_as_its_entry(ws, slow, later, added)
        await comes_derived(ws, orphan, later)
        await nothing_but_pong(ws)


@TASK_LAYOUT
async def test_a_first_update_whose_entry_comes_late_is_shown_once(server, agent):
    item, orphan = agent.push("first"), agent.push("orphan")
    async with connect(server, agent.thread) as ws:
        position = await attach(ws, [])
        await asyncio.sleep(0.26)
        added = agent.add(item)
        await comes_as_its_entry(ws, item, added, position)
        await comes_derived(ws, orphan, added)
        await nothing_but_pong(ws)


@pytest.mark.parametrize("agent, before", [("thread", 1), ("task", 3)], indirect=["agent"])
async def test_equal_messages_without_timestamps_are_shown_as_often_as_there_are(server, agent, before):
    """Which of them lacks its entry cannot be seen: none is shown, and one entry tells one."""
    ticks = [agent.push("tick", timestamp=None) for _ in range(before + 1)]
    for item in ticks[:-1]:
        last = agent.add(item)
    async with connect(server, agent.thread) as ws:
        assert await attach(ws, []) == last
        added = agent.add(ticks[-1])
        await comes_as_its_entry(ws, ticks[-1], added, last)
        for item in ticks[:-1]:
            await comes_derived(ws, item, added)
        await nothing_but_pong(ws)


async def test_of_a_publisher_faster_than_the_list_is_read_each_update_is_shown_once(server, agent):
    """More is pushed while an update waits for its entry than the list is read again for."""
    late, orphan = agent.push("late", timestamp=None), agent.push("orphan", timestamp=None)
    async with connect(server, agent.thread) as ws:
        position = await attach(ws, [])
        for n in range(150):
            item = agent.push(f"update {n}", timestamp=None)
            added = agent.add(item)
            await comes_as_its_entry(ws, item, added, position)
            position = added
        added = agent.add(late)
        await comes_as_its_entry(ws, late, added, position)
        await comes_derived(ws, orphan, added)
        await nothing_but_pong(ws)


async def test_equal_messages_that_all_have_entries_are_shown_at_once(server, agent):
    for _ in range(3):
        last = agent.both("tick", timestamp=None)
    async with connect(server, agent.thread) as ws:
        assert await attach(ws, ["tick"] * 3) == last
        item = agent.push("tick", timestamp=None)
        await comes_as_its_entry(ws, item, agent.add(item), last)
        await nothing_but_pong(ws)


async def test_a_workers_clock_makes_no_difference(server, redis_server):
    """Hours ahead or behind: shown where there is an entry, once where it comes, derived where not."""

    async def by_a_clock(hours, layout):
        agent = Agent(redis_server.client(), layout=layout)
        timestamp = ago(hours=-hours)
        last = agent.both("there", timestamp=timestamp)
        coming, orphan = (agent.push(m, timestamp=timestamp) for m in ("coming", "orphan"))
        async with connect(server, agent.thread) as ws:
            assert await attach(ws, ["there"]) == last, hours
            added = agent.add(coming)
            await comes_as_its_entry(ws, coming, added, last)
            await comes_derived(ws, orphan, added)
            await nothing_but_pong(ws)

    layouts = ("thread", "task")
    await asyncio.gather(*(by_a_clock(*of) for of in itertools.product((1, -1, 23, -23), layouts)))


async def test_an_update_without_an_entry_is_shown_behind_one_whose_entry_is_old(server, agent):
    """Its worker had its time, whatever its own timestamp says; nobody waits for it."""
    agent.push("orphan")
    last = agent.both("old", id=agent.id_ago(seconds=5))
    newest = agent.push("newest")
    async with connect(server, agent.thread) as ws:
        assert await attach(ws, ["orphan", "old"]) == last
        await comes_derived(ws, newest, last)
        await nothing_but_pong(ws)


@THREAD_LAYOUT
async def test_updates_of_days_ago_are_shown_without_a_stream(server, agent):
    """A day is more than any clock is off; an hour less is not."""
    for hours in (50, 25):
        agent.push(f"{hours} hours", timestamp=ago(hours=hours))
    younger = agent.push("23 hours", timestamp=ago(hours=23))
    async with connect(server, agent.thread) as ws:
        position = await attach(ws, ["50 hours", "25 hours"])
        await comes_derived(ws, younger, position)
        await nothing_but_pong(ws)


@pytest.mark.parametrize("timestamp", ["now", None, "not a time"])
async def test_what_is_written_in_another_way_is_the_same_update(server, agent, timestamp):
    """The list has null where the entry has {}, and escapes; and its `update_type` may be its own."""
    values = [None, {}, {"n": 1.0, "word": "é", "list": [1, {"deep": None}]}]
    for n, metadata in enumerate(values):
        last = agent.both(f"ünï {n}", metadata=metadata, update_type="tool_call", timestamp=timestamp)
    async with connect(server, agent.thread) as ws:
        assert await attach(ws, ["ünï 0", "ünï 1", "ünï 2"]) == last
        await nothing_but_pong(ws)


async def test_an_entry_of_another_task_of_the_thread_is_no_proof(server, redis_server):
    agent = Agent(redis_server.client(), layout="task")
    item = agent.push("the same")
    child = ("update_type", "progress", "message", "the same", "timestamp", item["timestamp"])
    last = agent.raw(*child, "task_id", "another")
    anyones = agent.push("anyone's")
    agent.raw("update_type", "progress", "message", "anyone's", "timestamp", anyones["timestamp"])
    async with connect(server, agent.thread) as ws:
        state = await initial(ws)
        assert shown(state) == ["anyone's"] and state["stream_id"] > last
        await comes_derived(ws, item, state["stream_id"])
        await nothing_but_pong(ws)


@pytest.mark.parametrize("log", ["server", "embedded"])
async def test_what_is_published_in_one_step_is_shown_at_once(request, log):
    server = request.getfixturevalue(log)
    thread = processes.request(server, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
    path = f"/api/v1/tasks/{thread}/updates"
    for _ in range(3):
        last = processes.request(server, "POST", path, {"message": "the same"})[2]["stream_id"]
    async with connect(server, thread) as ws:
        assert await attach(ws, ["the same"] * 3) == last
        added = processes.request(server, "POST", path, {"message": "the same"})[2]["stream_id"]
        await comes_as_its_entry(ws, {"message": "the same"}, added, last)
        await nothing_but_pong(ws)
