"""Attaching with `since`: replay, `caught_up`, `gap` and its reasons (protocol §3)."""

import pytest

from support import Worker, assert_chained, collect, connect, initial, nothing_but_pong, receive, until


async def replay(server, worker, since):
    """The frames of a resume up to `caught_up`, which is left out; there must be no gap."""
    async with connect(server, worker.thread, since=since) as ws:
        frames = await until(ws, lambda frame: frame["update_type"] in ("caught_up", "gap"))
        assert_caught_up(worker, frames[-1], frames[-2]["stream_id"] if len(frames) > 1 else None)
        return frames[:-1]


def assert_caught_up(worker, frame, position=None):
    assert set(frame) == {"update_type", "thread_id", "stream_id"}, frame
    assert frame["update_type"] == "caught_up" and frame["thread_id"] == worker.thread
    assert position is None or frame["stream_id"] == position


async def assert_gap(server, worker, since, reason):
    """A resume that cannot be honoured: `gap`, `initial_state`, and on from there."""
    async with connect(server, worker.thread, since=since) as ws:
        gap, state = await collect(ws, 2)
        assert set(gap) == {"update_type", "thread_id", "requested", "first", "last", "reason"}
        entries = worker.redis.xrange(worker.stream)
        assert gap["update_type"] == "gap" and gap["thread_id"] == worker.thread
        assert gap["requested"] == since and gap["reason"] == reason
        if entries:
            assert (gap["first"], gap["last"]) == (entries[0][0], entries[-1][0])
        assert state["update_type"] == "initial_state"
        await nothing_but_pong(ws)
        live = worker.update("live")
        frame = await receive(ws)
        assert frame["stream_id"] == live and frame["prev_stream_id"] == state["stream_id"]
        return gap


@pytest.fixture
def ten(worker):
    """A worker and the ids of the ten updates it has published."""
    return worker, [worker.update(f"update {n}") for n in range(10)]


@pytest.mark.parametrize("seen", range(0, 11, 2))
async def test_a_resume_gets_every_entry_after_its_position(server, ten, seen):
    worker, ids = ten
    since = ids[seen - 1] if seen else "0"
    frames = await replay(server, worker, since)
    assert [f["stream_id"] for f in frames] == ids[seen:]
    assert_chained(frames, ids[seen - 1] if seen else "0-0")


async def test_since_0_is_everything_retained(server, ten):
    worker, ids = ten
    worker.redis.xtrim(worker.stream, maxlen=4, approximate=False)
    frames = await replay(server, worker, "0")
    assert [f["stream_id"] for f in frames] == ids[6:]


async def test_the_position_before_everything_is_honest_while_nothing_was_trimmed(server, ten):
    """It is what a state without a stream names, unlike `0`."""
    worker, ids = ten
    assert [f["stream_id"] for f in await replay(server, worker, "0-0")] == ids
    worker.redis.xtrim(worker.stream, maxlen=4, approximate=False)
    await assert_gap(server, worker, "0-0", "trimmed")


async def test_since_0_of_a_task_without_a_stream_is_nothing(server, worker):
    assert await replay(server, worker, "0") == []


async def test_since_may_be_milliseconds_alone(server, viewed):
    for n in (1, 2, 3):
        viewed.publish("thread_update", id=f"{n}-0", message="m")
    assert [f["stream_id"] for f in await replay(server, viewed, "2")] == ["3-0"]


async def test_live_entries_follow_caught_up(server, ten):
    worker, ids = ten
    async with connect(server, worker.thread, since=ids[4]) as ws:
        frames = await collect(ws, 5)
        assert_caught_up(worker, await receive(ws), ids[-1])
        live = [worker.update(f"live {n}") for n in range(5)]
        frames += await collect(ws, 5)
    assert [f["stream_id"] for f in frames] == ids[5:] + live
    assert_chained(frames, ids[4])


async def test_a_replayed_frame_is_the_live_frame(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        viewed.update("one", metadata={"a": 1})
        viewed.result({"b": 2})
        live = [await ws.recv() for _ in range(2)]
    async with connect(server, viewed.thread, since="0") as ws:
        assert [await ws.recv() for _ in range(2)] == live


async def test_a_long_replay_is_complete(server, viewed):
    with viewed.redis.pipeline(transaction=False) as pipe:
        for n in range(5000):
            pipe.xadd(viewed.stream, {"update_type": "thread_update", "message": f"update {n}"})
        ids = pipe.execute()
    frames = await replay(server, viewed, "0")
    assert [f["stream_id"] for f in frames] == ids
    assert_chained(frames, "0-0")


async def test_a_position_that_was_trimmed_away(server, ten):
    worker, ids = ten
    worker.redis.xtrim(worker.stream, maxlen=3, approximate=False)
    await assert_gap(server, worker, ids[2], "trimmed")


async def test_the_oldest_entry_that_is_left_is_an_honest_position(server, ten):
    worker, ids = ten
    worker.redis.xtrim(worker.stream, maxlen=3, approximate=False)
    assert [f["stream_id"] for f in await replay(server, worker, ids[7])] == ids[8:]


async def test_the_entry_before_the_oldest_one_is_no_honest_position(server, ten):
    worker, ids = ten
    worker.redis.xtrim(worker.stream, maxlen=3, approximate=False)
    await assert_gap(server, worker, ids[6], "trimmed")


async def test_a_position_that_alone_was_deleted_is_honest(server, ten):
    worker, ids = ten
    worker.redis.xdel(worker.stream, ids[5])
    assert [f["stream_id"] for f in await replay(server, worker, ids[5])] == ids[6:]


async def test_a_position_that_was_deleted_with_a_later_one(server, ten):
    """Nothing tells it from one that never was in this stream."""
    worker, ids = ten
    worker.redis.xdel(worker.stream, ids[5], ids[7])
    await assert_gap(server, worker, ids[5], "deleted")


async def test_an_entry_deleted_after_the_position_is_just_not_there(server, ten):
    worker, ids = ten
    worker.redis.xdel(worker.stream, ids[5])
    frames = await replay(server, worker, ids[4])
    assert [f["stream_id"] for f in frames] == ids[6:]
    assert frames[0]["prev_stream_id"] == ids[4]


async def test_a_position_that_never_was_an_entry(server, viewed):
    viewed.publish("thread_update", id="100-0", message="a")
    viewed.publish("thread_update", id="200-0", message="b")
    async with connect(server, viewed.thread, since="150-0") as ws:
        gap, state = await collect(ws, 2)
    assert gap["update_type"] == "gap" and gap["requested"] == "150-0"
    assert gap["reason"] in ("deleted", "reset")
    assert state["update_type"] == "initial_state" and state["stream_id"] == "200-0"


async def test_a_position_that_never_was_an_entry_is_a_gap_each_time(server, thread, redis_server):
    """What was read for the first who came with it is no proof for the next."""
    worker = Worker(redis_server.client(), thread)
    for ms in (10, 20, 30, 40):
        worker.raw("n", ms, id=f"{ms}-0")
    for _ in range(3):
        async with connect(server, thread, since="25-0") as ws:
            gap, state = await collect(ws, 2)
            assert gap["update_type"] == "gap" and gap["requested"] == "25-0", gap
            assert state["update_type"] == "initial_state" and state["stream_id"] == "40-0"


async def test_a_position_beyond_the_streams_end(server, ten):
    worker, ids = ten
    ms = int(ids[-1].split("-")[0])
    await assert_gap(server, worker, f"{ms + 100_000}-0", "reset")


async def test_the_last_generated_id_is_an_honest_position_when_its_entry_is_gone(server, ten):
    worker, ids = ten
    worker.redis.xdel(worker.stream, ids[-1])
    async with connect(server, worker.thread, since=ids[-1]) as ws:
        assert_caught_up(worker, await receive(ws), ids[-1])
        live = worker.update("live")
        frame = await receive(ws)
        assert frame["stream_id"] == live and frame["prev_stream_id"] == ids[-1]


async def test_an_emptied_stream_still_has_its_last_id(server, ten):
    worker, ids = ten
    worker.redis.xtrim(worker.stream, maxlen=0, approximate=False)
    assert await replay(server, worker, ids[-1]) == []
    async with connect(server, worker.thread, since=ids[0]) as ws:
        gap, state = await collect(ws, 2)
    assert gap["update_type"] == "gap" and gap["reason"] == "trimmed"
    assert state["stream_id"] == ids[-1]


@pytest.mark.parametrize("new_ids", ["lower", "higher"])
async def test_a_stream_that_was_deleted_and_re_created(server, ten, new_ids):
    worker, ids = ten
    worker.redis.delete(worker.stream)
    for n in range(3):
        worker.publish("thread_update", id=f"{n + 5}-0" if new_ids == "lower" else "*", message="new")
    await assert_gap(server, worker, ids[4], "reset")


async def test_a_stream_that_is_gone(server, ten):
    worker, ids = ten
    worker.redis.delete(worker.stream)
    await assert_gap(server, worker, ids[4], "reset")


async def test_a_resume_of_a_thread_that_is_gone_is_4004(server, thread):
    from support import closed

    async with connect(server, thread, since="5-0") as ws:
        assert await closed(ws) == (4004, [{"error": "Thread not found", "thread_id": thread}])


async def test_the_position_of_an_initial_state_is_honest(server, ten):
    worker, ids = ten
    async with connect(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
    assert position == ids[-1] and await replay(server, worker, position) == []


async def test_the_position_of_an_initial_state_without_a_stream_resumes(server, worker):
    async with connect(server, worker.thread) as ws:
        assert (await initial(ws))["stream_id"] == "0-0"
    ids = [worker.update("one"), worker.update("two")]
    assert [f["stream_id"] for f in await replay(server, worker, "0-0")] == ids


async def test_two_servers_that_share_a_redis_continue_each_other(server, start_server, redis_server, worker):
    other = start_server(redis_server)
    async with connect(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
        seen = [worker.update(f"update {n}") for n in range(5)]
        frames = await collect(ws, 5)
    missed = [worker.update(f"missed {n}") for n in range(5)]
    async with connect(other, worker.thread, since=frames[-1]["stream_id"]) as ws:
        frames += await collect(ws, 5)
        assert_caught_up(worker, await receive(ws), missed[-1])
    assert [f["stream_id"] for f in frames] == seen + missed
    assert_chained(frames, position)


async def test_the_embedded_log_resumes(embedded):
    from processes import request

    thread = request(embedded, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
    post = lambda n: request(embedded, "POST", f"/api/v1/tasks/{thread}/updates", {"message": f"{n}"})[2]["stream_id"]
    ids = [post(n) for n in range(5)]
    async with connect(embedded, thread, since=ids[1]) as ws:
        frames = await collect(ws, 4)
        assert [f["stream_id"] for f in frames[:3]] == ids[2:] and frames[3]["update_type"] == "caught_up"
        live = post("live")
        assert (await receive(ws))["stream_id"] == live
    async with connect(embedded, thread, since="99999999999999-0") as ws:
        gap, state = await collect(ws, 2)
        assert gap["reason"] == "reset" and state["update_type"] == "initial_state"


async def test_viewers_at_many_positions_each_get_their_part(server, redis_server):
    worker = Worker(redis_server.client())
    ids = [worker.update(f"update {n}") for n in range(30)]
    sockets = [await connect(server, worker.thread, since=position) for position in ids]
    live = worker.update("live")
    for n, ws in enumerate(sockets):
        frames = await until(ws, lambda frame: frame.get("stream_id") == live and "prev_stream_id" in frame)
        events = [f for f in frames if f["update_type"] != "caught_up"]
        assert [f["stream_id"] for f in events] == ids[n + 1:] + [live]
        assert_chained(events, ids[n])
        await ws.close()
