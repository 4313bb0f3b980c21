"""The log itself changes: trimmed, deleted, re-created, expired, renumbered. Viewers live and away."""

import asyncio

import pytest

from oracle import assert_everything, new_worker
from rawsocket import Raw
from support import connect, in_order, initial, receive, task_path


@pytest.fixture
def worker(redis_server):
    return new_worker(redis_server)


async def seen(viewers, worker, count=5):
    """The viewers have seen a few entries."""
    for n in range(count):
        last = worker.update(f"old {n}")
    for viewer in viewers:
        await viewer.reach(last)
    return last


async def assert_reset(viewers, worker):
    await assert_everything(viewers, worker, gaps=["reset"])
    assert all(viewer.gaps for viewer in viewers), "nobody was told"


RE_CREATIONS = {"higher": "*", "lower": "5-{}", "far higher": "99999999999999-{}"}


@pytest.mark.parametrize("ids", RE_CREATIONS.values(), ids=RE_CREATIONS.keys())
@pytest.mark.parametrize("pause", [0, 0.4])
async def test_a_stream_that_is_deleted_and_re_created_under_live_viewers(server, worker, watch, ids, pause):
    viewers = await watch(server, worker, 3)
    await seen(viewers, worker)
    worker.redis.delete(worker.stream)
    await asyncio.sleep(pause)
    for n in range(1, 9):
        worker.publish("thread_update", id=ids.format(n), message=f"new {n}")
    await assert_reset(viewers, worker)


@pytest.mark.parametrize("ids", RE_CREATIONS.values(), ids=RE_CREATIONS.keys())
async def test_a_stream_that_is_replaced_in_one_step(server, worker, watch, ids):
    """No moment without a stream: only the stream's own facts tell."""
    viewers = await watch(server, worker, 3)
    await seen(viewers, worker)
    with worker.redis.pipeline(transaction=True) as pipe:
        pipe.delete(worker.stream)
        for n in range(1, 9):
            pipe.xadd(worker.stream, {"message": f"new {n}"}, id=ids.format(n))
        pipe.execute()
    await assert_reset(viewers, worker)


@pytest.mark.parametrize("ids", RE_CREATIONS.values(), ids=RE_CREATIONS.keys())
async def test_a_stream_that_is_re_created_while_viewers_are_away(start_server, redis_server, worker, watch, ids):
    server = start_server(redis_server)
    viewers = await watch(server, worker, 3)
    await seen(viewers, worker)
    server.kill()
    worker.redis.delete(worker.stream)
    for n in range(1, 9):
        worker.publish("thread_update", id=ids.format(n), message=f"new {n}")
    await asyncio.to_thread(server.start)
    await assert_reset(viewers, worker)


async def test_a_stream_that_expires(server, worker, watch):
    viewers = await watch(server, worker, 3)
    await seen(viewers, worker)
    worker.redis.pexpire(worker.stream, 200)
    await asyncio.sleep(0.5)
    for n in range(8):
        worker.update(f"new {n}")
    await assert_reset(viewers, worker)


async def test_a_stream_that_was_empty_when_its_viewers_came_is_not_reset(server, worker, watch):
    viewers = await watch(server, worker, 3)
    for n in range(8):
        worker.update(f"first {n}")
    await assert_everything(viewers, worker)


async def test_trims_behind_prompt_viewers_go_unnoticed(server, worker, watch):
    viewers = await watch(server, worker, 3)
    for n in range(100):
        last = worker.update(f"update {n}")
        if n % 20 == 19:
            for viewer in viewers:
                await viewer.reach(last)
            worker.redis.xtrim(worker.stream, maxlen=1, approximate=False)
    for viewer in viewers:
        await viewer.reach(last)
        assert [f["message"] for f in viewer.frames] == [f"update {n}" for n in range(100)]
        assert not viewer.gaps and not viewer.problems


async def test_entries_deleted_before_viewers_come_back_are_just_not_there(
    start_server, redis_server, worker, watch
):
    server = start_server(redis_server)
    viewers = await watch(server, worker, 2)
    await seen(viewers, worker)
    server.kill()
    ids = [worker.update(f"new {n}") for n in range(10)]
    worker.redis.xdel(worker.stream, *ids[2:5])
    await asyncio.to_thread(server.start)
    for viewer in viewers:
        await viewer.reach(ids[-1])
        assert [f["stream_id"] for f in viewer.frames[5:]] == ids[:2] + ids[5:]
        assert not viewer.gaps and not viewer.problems


@pytest.mark.parametrize("with_a_later_one", [False, True])
async def test_a_position_deleted_while_viewers_are_away(
    start_server, redis_server, worker, watch, with_a_later_one
):
    """Alone, it is known to have been in this stream."""
    server = start_server(redis_server)
    viewers = await watch(server, worker, 2)
    last = await seen(viewers, worker)
    server.kill()
    ids = [worker.update(f"new {n}") for n in range(5)]
    worker.redis.xdel(worker.stream, last, *ids[1 : 1 + with_a_later_one])
    await asyncio.to_thread(server.start)
    if with_a_later_one:
        await assert_everything(viewers, worker, gaps=["deleted"])
    for viewer in viewers:
        await viewer.reach(ids[-1])
        assert len(viewer.gaps) == with_a_later_one and not viewer.problems
        assert with_a_later_one or [f["stream_id"] for f in viewer.frames[-5:]] == ids


async def test_positions_trimmed_while_viewers_are_away(start_server, redis_server, worker, watch):
    server = start_server(redis_server)
    viewers = await watch(server, worker, 2)
    await seen(viewers, worker)
    server.kill()
    for n in range(50):
        worker.update(f"new {n}")
    worker.redis.xtrim(worker.stream, maxlen=10, approximate=False)
    await asyncio.to_thread(server.start)
    await assert_everything(viewers, worker, gaps=["trimmed"])
    assert all(len(viewer.gaps) == 1 for viewer in viewers)


async def test_a_clock_that_steps_back(server, worker, watch, publish):
    """Redis never gives out a smaller id: after an entry of tomorrow, `*` counts on from there."""
    viewers = await watch(server, worker, 3)
    await seen(viewers, worker)
    tomorrow = int(worker.redis.time()[0]) * 1000 + 86_400_000
    worker.publish("thread_update", id=f"{tomorrow}-0", message="of tomorrow")
    for n in range(10):
        assert worker.update(f"after {n}").startswith(f"{tomorrow}-")
    await assert_everything(viewers, worker)
    viewers[0].cut()
    # With an entry in the same step: without one nothing tells it from another stream.
    with worker.redis.pipeline(transaction=True) as step:
        step.execute_command("XSETID", worker.stream, f"{tomorrow + 5000}-7")
        step.xadd(worker.stream, {"message": "the first of later"})
        step.execute()
    for n in range(10):
        assert worker.update(f"later {n}").startswith(f"{tomorrow + 5000}-")
    await assert_everything(viewers, worker)


def lagging(server, worker):
    """A viewer that takes its first frame and then does not read; and where it stands."""
    raw = Raw(server).open(task_path(worker.thread))
    return raw, raw.read_json()["stream_id"]


def fill(worker, megabytes):
    """So many megabytes of entries, 20 KB each."""
    ids = []
    for _ in range(megabytes):
        with worker.redis.pipeline(transaction=False) as pipe:
            for _ in range(50):
                pipe.xadd(worker.stream, {"update_type": "thread_update", "message": "x" * 20_000})
            ids += pipe.execute()
    return ids


async def test_a_viewer_that_does_not_read_falls_behind_and_gets_everything(start_server, start_redis, watch):
    redis_server = start_redis()
    server, worker = start_server(redis_server), new_worker(redis_server)
    prompt = await watch(server, worker, 2)

    async def publish_to_the_prompt(megabytes):
        ids, most_kib = [], 0
        for _ in range(megabytes):
            ids += fill(worker, 1)
            for viewer in prompt:
                await viewer.reach(ids[-1])
                viewer.frames.clear()
            most_kib = max(most_kib, server.rss_kib())
        return ids, most_kib

    _, before_kib = await publish_to_the_prompt(15)
    raw, position = lagging(server, worker)
    with raw:
        ids, after_kib = await publish_to_the_prompt(50)
        assert after_kib - before_kib < 20_000, f"{before_kib} KiB, then {after_kib} KiB"

        def read_all():
            at = position
            for wanted in ids:
                frame = raw.read_json()
                assert (frame["stream_id"], frame["prev_stream_id"]) == (wanted, at)
                at = wanted

        await asyncio.to_thread(read_all)
        live = worker.update("live")
        assert raw.read_json()["stream_id"] == live


async def test_a_log_trimmed_under_a_viewer_that_lags(start_server, start_redis, watch):
    redis_server = start_redis()
    server, worker = start_server(redis_server), new_worker(redis_server)
    prompt = await watch(server, worker, 1)
    raw, position = lagging(server, worker)
    with raw:
        ids = fill(worker, 25)
        await prompt[0].reach(ids[-1])
        worker.redis.xtrim(worker.stream, maxlen=10, approximate=False)

        def read_until_gap():
            at, n = position, 0
            while (frame := raw.read_json())["update_type"] != "gap":
                assert (frame["stream_id"], frame["prev_stream_id"]) == (ids[n], at)
                at, n = frame["stream_id"], n + 1
            return at, frame

        at, gap = await asyncio.to_thread(read_until_gap)
        assert gap["requested"] == at and gap["reason"] == "trimmed"
        assert (gap["first"], gap["last"]) == (ids[-10], ids[-1])
        state = raw.read_json()
        assert state["update_type"] == "initial_state" and in_order(state["stream_id"]) >= in_order(ids[-1])
        live = worker.update("live")
        frame = raw.read_json()
        assert frame["stream_id"] == live and frame["prev_stream_id"] == state["stream_id"]


async def test_a_viewer_beyond_the_configured_lag_is_closed_with_1008(start_server, start_redis, watch):
    redis_server = start_redis()
    server = start_server(redis_server, config="[limits]\nviewer_lag_max_entries = 100\n")
    worker = new_worker(redis_server)
    prompt = await watch(server, worker, 1)
    raw, _ = lagging(server, worker)
    with raw:
        ids = fill(worker, 25)
        await prompt[0].reach(ids[-1])
        assert await asyncio.to_thread(raw.read_close) in (1008, "dropped")


async def test_one_slow_viewer_delays_no_other(start_server, start_redis, watch):
    """Whoever reads gets everything while many others do not read at all."""
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "1")
    worker = new_worker(redis_server)
    slow = [lagging(server, worker)[0] for _ in range(20)]
    prompt = await watch(server, worker, 2)
    ids = fill(worker, 10)
    for viewer in prompt:
        await viewer.reach(ids[-1])
    await assert_everything(prompt, worker)
    for raw in slow:
        raw.socket.close()


@pytest.mark.parametrize("added, kept", [(2, 1), (300, 100)])
async def test_a_stream_that_begins_with_a_hole_is_told_as_a_gap(server, worker, added, kept):
    """The viewer stands at 0-0; what was trimmed before the first read must not be skipped."""
    async with connect(server, worker.thread) as ws:
        assert (await initial(ws))["stream_id"] == "0-0"
        at_once = worker.redis.pipeline(transaction=True)
        for n in range(added):
            at_once.xadd(worker.stream, {"n": n}, maxlen=kept, approximate=False)
        at_once.execute()
        gap = await receive(ws)
        assert (gap["update_type"], gap["requested"], gap["reason"]) == ("gap", "0-0", "trimmed")
