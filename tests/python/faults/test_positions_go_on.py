"""Where entries are deleted or the last id is moved: between two gaps positions only go forward, and
`prev_stream_id` names what this viewer was sent before, whatever others were (protocol §3.1)."""

import json

import pytest
import redis

from oracle import new_worker
from streams import do, entries_come, full, gap_is_told, walk
from support import connect, in_order, initial, nothing_but_pong, receive

THREE = "XADD 10; XADD 20; XADD 30"


@pytest.fixture
def worker(redis_server):
    return new_worker(redis_server)


async def resume(viewers, server, worker, since, ids, position):
    """A viewer who gets these entries and is then caught up at this position."""
    ws = await viewers(server, worker.thread, since=since)
    await entries_come(ws, ids, since)
    caught_up = await receive(ws)
    assert (caught_up["update_type"], caught_up["stream_id"]) == ("caught_up", full(position))
    return ws, full(position)


async def attach(viewers, server, worker, position):
    ws = await viewers(server, worker.thread)
    assert (await initial(ws))["stream_id"] == full(position)
    return ws, full(position)


async def assert_chain_goes_on(worker, there, ids=(100, 101)):
    do(worker, "; ".join(f"XADD {id}" for id in ids))
    for ws, position in there:
        await entries_come(ws, ids, position)
        await nothing_but_pong(ws)


@pytest.mark.parametrize("watched", [False, True])
async def test_the_newest_entry_is_deleted(either_tail, worker, viewers, watched):
    """Who saw it stands at it, and so does who attaches; who never saw it, does not."""
    there = [await attach(viewers, either_tail, worker, 0)] if watched else []
    do(worker, THREE)
    there = [(ws, await entries_come(ws, [10, 20, 30], at)) for ws, at in there]
    do(worker, "XDEL 30")
    there += [
        await resume(viewers, either_tail, worker, "30-0", [], 30),
        await resume(viewers, either_tail, worker, "20-0", [], 20),
        await resume(viewers, either_tail, worker, "10-0", [20], 20),
        await resume(viewers, either_tail, worker, "0", [10, 20], 20),
        await attach(viewers, either_tail, worker, 30),
    ]
    await assert_chain_goes_on(worker, there)


async def test_who_stands_at_a_deleted_entry_goes_on_from_what_was_read_for_all(
    either_tail, worker, viewers
):
    """Its own place in the stream shows nothing any more of what was trimmed."""
    do(worker, THREE)
    there = await attach(viewers, either_tail, worker, 30)
    do(worker, "XADD 40; XDEL 40")
    alone = await attach(viewers, either_tail, worker, 40)
    back = await resume(viewers, either_tail, worker, "20-0", [30], 30)
    before = either_tail.metrics()["taskcast_replays_from_redis_total"]
    do(worker, "XADD 50; XTRIM MAXLEN 1")
    for ws, position in (there, alone, back):
        await entries_come(ws, [50], position)
        await nothing_but_pong(ws)
    assert either_tail.metrics()["taskcast_replays_from_redis_total"] == before


@pytest.mark.parametrize("watched", [False, True])
async def test_who_comes_back_to_one_of_several_deleted_ends_is_answered(
    either_tail, worker, viewers, watched
):
    """Behind its position there is nothing, and it is behind the last entry that there is."""
    do(worker, THREE)
    there = [await attach(viewers, either_tail, worker, 30)] if watched else []
    for id in (40, 50):
        do(worker, f"XADD {id}; XDEL {id}")
        there.append(await attach(viewers, either_tail, worker, id))
    before = either_tail.metrics()["taskcast_redis_round_trips_total"]
    if watched:
        # The server has read on from 30: whether 40 ever was in this stream cannot be seen.
        ws = await viewers(either_tail, worker.thread, since="40-0")
        gap = await receive(ws)
        assert (gap["update_type"], gap["reason"], gap["requested"]) == ("gap", "deleted", "40-0")
        assert (await initial(ws))["stream_id"] == "50-0"
        there.append((ws, "50-0"))
    else:
        there.append(await resume(viewers, either_tail, worker, "40-0", [], 40))
    there += [
        await resume(viewers, either_tail, worker, "50-0", [], 50),
        await resume(viewers, either_tail, worker, "30-0", [], 30),
        await resume(viewers, either_tail, worker, "20-0", [30], 30),
    ]
    assert either_tail.metrics()["taskcast_redis_round_trips_total"] - before < 30
    await assert_chain_goes_on(worker, there)


async def test_very_many_at_a_deleted_entry_share_a_large_one(either_tail, worker, viewers):
    do(worker, THREE)
    await attach(viewers, either_tail, worker, 30)
    do(worker, "XADD 40; XDEL 40")
    there = [await attach(viewers, either_tail, worker, 40) for _ in range(30)]
    worker.redis.xadd(worker.stream, {"message": "x" * 2_000_000}, id="50-0")
    most = 0
    for ws, position in there:
        frame = await receive(ws)
        assert (frame["stream_id"], frame["prev_stream_id"]) == ("50-0", position)
        most = max(most, either_tail.metrics()['taskcast_memory_bytes{kind="chunks"}'])
    assert most < 10_000_000, most
    await assert_chain_goes_on(worker, [(ws, "50-0") for ws, _ in there])


@pytest.mark.parametrize("watched", [False, True])
async def test_an_entry_nobody_saw_is_deleted(either_tail, worker, viewers, watched):
    do(worker, THREE)
    there = [await attach(viewers, either_tail, worker, 30)] if watched else []
    do(worker, "XADD 40; XADD 50; XADD 60; XDEL 50 60")
    there = [(ws, await entries_come(ws, [40], at)) for ws, at in there]
    there += [
        await resume(viewers, either_tail, worker, "20-0", [30, 40], 40),
        await resume(viewers, either_tail, worker, "40-0", [], 40),
        # The last generated id is honest, whoever gave it out.
        await resume(viewers, either_tail, worker, "60-0", [], 60),
        await attach(viewers, either_tail, worker, 60),
    ]
    await assert_chain_goes_on(worker, there)


@pytest.mark.parametrize("emptied", ["XDEL 10 20 30", "XTRIM MAXLEN 0"])
async def test_a_stream_that_was_emptied_is_caught_up_with_at_its_last_id(
    either_tail, worker, viewers, emptied
):
    do(worker, THREE)
    there = [await attach(viewers, either_tail, worker, 30)]
    do(worker, emptied)
    there += [
        await resume(viewers, either_tail, worker, "0", [], 30),
        await resume(viewers, either_tail, worker, "30-0", [], 30),
        await attach(viewers, either_tail, worker, 30),
    ]
    await assert_chain_goes_on(worker, there)


@pytest.mark.parametrize("watched", [False, True])
async def test_the_last_id_is_moved_on(either_tail, worker, viewers, watched):
    """With the next entry in the same step: without one it may be told as another stream."""
    do(worker, THREE)
    there = [await attach(viewers, either_tail, worker, 30)] if watched else []
    do(worker, "XSETID 50-0; XADD 60")
    there = [(ws, await entries_come(ws, [60], at)) for ws, at in there]
    there += [
        await resume(viewers, either_tail, worker, "30-0", [60], 60),
        await resume(viewers, either_tail, worker, "60-0", [], 60),
        await attach(viewers, either_tail, worker, 60),
    ]
    await assert_chain_goes_on(worker, there)


async def test_who_comes_to_a_last_id_that_was_moved_on_stands_at_it(either_tail, worker, viewers):
    do(worker, f"{THREE}; XSETID 50-0")
    there = [
        await resume(viewers, either_tail, worker, "50-0", [], 50),
        await resume(viewers, either_tail, worker, "30-0", [], 30),
        await resume(viewers, either_tail, worker, "0", [10, 20, 30], 30),
        await attach(viewers, either_tail, worker, 50),
    ]
    await assert_chain_goes_on(worker, there)


async def test_a_last_id_that_is_moved_on_alone_is_one_gap_at_most(either_tail, worker, viewers):
    """Nothing proves it to be the same stream, and no other command tells of it. Whoever comes meanwhile
    makes no difference for who was there."""
    do(worker, THREE)
    ws, position = await attach(viewers, either_tail, worker, 30)
    do(worker, "XSETID 50-0")
    there = [
        await resume(viewers, either_tail, worker, "30-0", [], 30),
        await resume(viewers, either_tail, worker, "50-0", [], 50),
        await attach(viewers, either_tail, worker, 50),
    ]
    do(worker, "XADD 60; XADD 61")
    for ws, position in [(ws, position), *there]:
        ids = await ids_to(ws, "61-0", position)
        assert ids == sorted(ids, key=in_order)


async def ids_to(ws, end, position):
    """Where the viewer stands after each frame, up to this entry; one gap at most, and the chain."""
    ids, gaps = [position], 0
    while ids[-1] != end:
        frame = await receive(ws)
        if frame["update_type"] == "gap":
            assert (frame["requested"], frame["reason"]) == (ids[-1], "reset"), frame
            gaps += 1
            frame = await initial(ws)
        else:
            assert frame["prev_stream_id"] == ids[-1], frame
        ids.append(frame["stream_id"])
    assert gaps <= 1
    return ids


async def test_a_last_id_that_is_moved_back_is_another_stream(either_tail, worker, viewers):
    """The newest entries are gone and ids below them are free again."""
    do(worker, "XADD 10; XADD 20; XADD 30; XADD 40")
    there = [await attach(viewers, either_tail, worker, 40)]
    try:
        do(worker, "XDEL 30 40; XSETID 20-0; XADD 25")
    except redis.ResponseError as error:
        pytest.skip(f"from 7.2 on Redis refuses it: {error}")
    there = [(ws, await gap_is_told(ws, worker, at, "reset")) for ws, at in there]
    assert there[0][1] == "25-0"
    # Until ids are past the greatest that was deleted, each new entry may be told as another stream.
    do(worker, "XADD 100")
    for ws, position in there:
        assert set(await walk(ws, position, ["100-0"])) <= {"reset"}
    await assert_chain_goes_on(worker, [(ws, "100-0") for ws, _ in there], (110, 111))


async def test_caught_up_never_goes_back(either_tail, worker, viewers):
    """Of one viewer, over several connections, while the newest entry is deleted each time."""
    do(worker, "XADD 10")
    ws, position = await attach(viewers, either_tail, worker, 10)
    for id in range(20, 100, 10):
        do(worker, f"XADD {id}; XADD {id + 1}")
        position = await entries_come(ws, [id, id + 1], position)
        do(worker, f"XDEL {id + 1}")
        await ws.close()
        ws, position = await resume(viewers, either_tail, worker, position, [], position)


async def test_one_socket_of_many_tasks_keeps_each_position(either_tail, worker, redis_server):
    other = new_worker(redis_server)
    do(worker, f"{THREE}; XDEL 30")
    do(other, "XADD 5")
    async with connect(either_tail, path="/api/v1/ws") as ws:
        subscribe = {"type": "subscribe", "thread_id": worker.thread, "since": "10-0"}
        await ws.send(json.dumps(subscribe))
        await entries_come(ws, [20], 10)
        assert (await receive(ws))["stream_id"] == "20-0"
        await ws.send(json.dumps({"type": "subscribe", "thread_id": other.thread}))
        await initial(ws)
        do(worker, "XADD 100")
        await entries_come(ws, [100], 20)
        do(other, "XADD 6")
        assert await walk(ws, "5-0", ["6-0"]) == []
