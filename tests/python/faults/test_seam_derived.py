"""An update that never got its entry, as its worker died in between, is told derived: once, at the
viewer's position and as no part of the chain, to all who came while it might have been on its way."""

import json

import pytest

from agent import Agent, ago, assert_derived, comes_as_its_entry, comes_derived, shown
from streams import do
from support import collect, connect, initial, nothing_but_pong, receive


@pytest.fixture(params=["thread", "task"])
def agent(request, redis_server):
    return Agent(redis_server.client(), layout=request.param)


# For what makes no difference between layouts: the rule takes two seconds each time.
THREAD_LAYOUT = pytest.mark.parametrize("agent", ["thread"], indirect=True)
TASK_LAYOUT = pytest.mark.parametrize("agent", ["task"], indirect=True)


async def attach(viewers, server, agent, messages):
    """A viewer whose state shows these; and its position."""
    ws = await viewers(server, agent.thread)
    state = await initial(ws)
    assert shown(state) == messages
    return ws, state["stream_id"]


async def test_a_worker_that_died_is_told_to_all_who_came_meanwhile(server, agent, viewers):
    agent.both("first")
    orphan = agent.push("orphan")
    early = [await attach(viewers, server, agent, ["first"]) for _ in range(3)]
    # Another worker goes on.
    item = agent.push("goes on")
    added = agent.add(item)
    for ws, position in early:
        await comes_as_its_entry(ws, item, added, position)
    late, position = await attach(viewers, server, agent, ["first", "goes on"])
    assert position == added
    everybody = [*(ws for ws, _ in early), late]
    for ws in everybody:
        await comes_derived(ws, orphan, added)
    # It is no part of the chain.
    item = agent.push("last")
    last = agent.add(item)
    for ws in everybody:
        await comes_as_its_entry(ws, item, last, added)
        await nothing_but_pong(ws)
    ws, _ = await attach(viewers, server, agent, ["first", "orphan", "goes on", "last"])
    await nothing_but_pong(ws)


@TASK_LAYOUT
async def test_who_comes_back_is_told_too(server, agent, viewers):
    """Its position is behind what its first state left out."""
    item = agent.push("first")
    agent.add(item)
    orphan = agent.push("orphan")
    ws, position = await attach(viewers, server, agent, ["first"])
    await ws.close()
    back = [await viewers(server, agent.thread, since=since) for since in (position, "0")]
    await comes_as_its_entry(back[1], item, position, "0-0")
    for ws in back:
        caught_up = await receive(ws)
        assert (caught_up["update_type"], caught_up["stream_id"]) == ("caught_up", position)
    for ws in back:
        await comes_derived(ws, orphan, position)
        await nothing_but_pong(ws)


@TASK_LAYOUT
async def test_who_comes_back_from_before_such_a_state_is_told_nothing_twice(
    server, agent, viewers, redis_server
):
    """It had the update as an entry, of which the stream has nothing any more."""
    one = agent.push("first")
    first = agent.add(one)
    early, _ = await attach(viewers, server, agent, ["first"])
    item = agent.push("trimmed")
    trimmed = agent.add(item)
    await comes_as_its_entry(early, item, trimmed, first)
    await early.close()
    redis = redis_server.client()
    last = redis.xadd(agent.stream, {"message": "no update"}, maxlen=1, approximate=False)
    # Of its entry nothing is known to who comes now.
    late, position = await attach(viewers, server, agent, [])
    assert position == last
    ws = await viewers(server, agent.thread, since=trimmed)
    assert (await receive(ws))["stream_id"] == last
    assert (await receive(ws))["update_type"] == "caught_up"
    for told in (one, item):
        await comes_derived(late, told, last)
    await nothing_but_pong(ws)


async def test_who_comes_back_is_told_what_a_later_state_does_not_withhold(server, agent, viewers):
    """The updates that the later one shows are newer than the one without an entry."""
    orphan = agent.push("orphan")
    first, position = await attach(viewers, server, agent, [])
    for n in range(10):
        item = agent.push(f"update {n}")
        added = agent.add(item)
        await comes_as_its_entry(first, item, added, position)
        position = added
    late = agent.push("late")
    other, _ = await attach(viewers, server, agent, [f"update {n}" for n in range(10)])
    await first.close()
    back = await viewers(server, agent.thread, since=position)
    assert (await receive(back))["update_type"] == "caught_up"
    # They are told when the last of them has been waited for.
    for item in (orphan, late):
        await comes_derived(back, item, position)
    await nothing_but_pong(back)
    await comes_derived(other, late, position)
    await nothing_but_pong(other)


@pytest.mark.parametrize("gone", ["trimmed", "deleted"])
async def test_what_came_as_its_entry_is_not_told_again_though_the_entry_is_gone(
    server, agent, viewers, gone
):
    item = agent.push("update")
    orphan = agent.push("orphan")
    ws, position = await attach(viewers, server, agent, [])
    added = agent.add(item)
    await comes_as_its_entry(ws, item, added, position)
    last = added
    if gone == "deleted":
        agent.redis.xdel(agent.stream, added)
    else:
        last = agent.redis.xadd(agent.stream, {"n": 1}, maxlen=1, approximate=False)
        assert (await receive(ws))["stream_id"] == last
    await comes_derived(ws, orphan, last)
    await nothing_but_pong(ws)


@THREAD_LAYOUT
async def test_an_entry_that_comes_after_all_comes_too(server, agent, viewers):
    """The only repeat there is."""
    item = agent.push("late")
    ws, position = await attach(viewers, server, agent, [])
    await comes_derived(ws, item, position)
    await comes_as_its_entry(ws, item, agent.add(item), position)
    await nothing_but_pong(ws)


@THREAD_LAYOUT
async def test_of_many_the_newest_ten_are_told(server, agent, viewers):
    items = [agent.push(f"update {n}") for n in range(13)]
    ws, position = await attach(viewers, server, agent, [])
    for item in items[-10:]:
        await comes_derived(ws, item, position)
    await nothing_but_pong(ws)
    # They have waited long enough for whoever comes.
    ws, _ = await attach(viewers, server, agent, [item["message"] for item in items[-10:]])
    await nothing_but_pong(ws)


@TASK_LAYOUT
async def test_of_those_withheld_the_newest_ten_that_did_not_come_are_told(server, agent, viewers):
    """Those whose entries come take no place of the others."""
    items = [agent.push(f"update {n}") for n in range(14)]
    ws, position = await attach(viewers, server, agent, [])
    for item in items[-4:]:
        added = agent.add(item)
        await comes_as_its_entry(ws, item, added, position)
        position = added
    for item in items[:-4]:
        await comes_derived(ws, item, position)
    await nothing_but_pong(ws)


@TASK_LAYOUT
async def test_a_state_that_comes_after_a_gap_withholds_as_any(server, agent, viewers):
    agent.push("of yesterday", timestamp=ago(hours=25))
    do(agent, "XADD 10")
    ws, _ = await attach(viewers, server, agent, ["of yesterday"])
    orphan = agent.push("orphan")
    do(agent, "DEL; XADD 20")
    gap = await receive(ws)
    assert (gap["update_type"], gap["reason"]) == ("gap", "reset"), gap
    state = await initial(ws)
    assert shown(state) == ["of yesterday"] and state["stream_id"] == "20-0"
    await comes_derived(ws, orphan, "20-0")
    await nothing_but_pong(ws)


async def test_on_a_socket_of_many_tasks_it_names_its_task(server, redis_server):
    agents = [Agent(redis_server.client(), layout=layout) for layout in ("thread", "task", "thread")]
    orphans = [agent.push("orphan") for agent in agents]
    async with connect(server, path="/api/v1/ws") as ws:
        for agent in agents:
            await ws.send(json.dumps({"type": "subscribe", "thread_id": agent.thread}))
            assert shown(await initial(ws)) == []
        # Of a task that is no longer watched nothing comes.
        await ws.send(json.dumps({"type": "unsubscribe", "thread_id": agents[0].thread}))
        frames = {frame["thread_id"]: frame for frame in await collect(ws, 2)}
        for agent, orphan in list(zip(agents, orphans))[1:]:
            assert_derived(frames[agent.thread], orphan, "0-0")
        await nothing_but_pong(ws)


async def test_an_entry_of_the_stream_before_is_none_of_this_one(server, agent, viewers):
    """Its id may lie among those of the new stream, whose last id is not known before something comes."""
    item = agent.push("pushed")
    early, position = await attach(viewers, server, agent, [])
    await comes_as_its_entry(early, item, agent.add(item), position)
    do(agent, "DEL")
    gap, state = await receive(early), await receive(early)
    assert (gap["update_type"], gap["reason"], shown(state)) == ("gap", "reset", [])
    late, position = await attach(viewers, server, agent, [])
    other = agent.push("other")
    added = agent.add(other)
    for ws in (early, late):
        await comes_as_its_entry(ws, other, added, position)
        await comes_derived(ws, item, added)
        await nothing_but_pong(ws)
