"""A watched stream is replaced by another one, by whatever command: one gap, one state, and everything
after it."""

import asyncio
import json

import pytest

from oracle import new_worker
from streams import commands, do, do_one_by_one, entries_come, gap_is_told, walk
from support import connect, initial, nothing_but_pong, receive

# What there was, and what comes in its place. Each other stream is one that the facts give away:
# its ids or what was added are fewer, it has all that was ever added though nothing up to the viewers'
# position is there, or it has older entries and not the one at their position.
LOWER = ("10 20 30", "5 6 7 40")
SAME = ("2", "1 2")
HIGHER = ("10 20 30", "40 50 60 70")
SHORTER = ("10 20 30", "40")
AROUND = ("100", "50 99 160")
SAME_END = ("10 20 30", "5 6 30 40")
BETWEEN = ("10 20 30", "15 25 28 35 45")
PAIRS = {
    "lower": LOWER, "same": SAME, "same end": SAME_END, "between": BETWEEN, "higher": HIGHER, "shorter": SHORTER,
    "around": AROUND,
}


def added(ids):
    return "; ".join(f"XADD {id}" for id in ids.split())


def in_one_step(worker, ids):
    do(worker, f"DEL; {added(ids)}")


def unlinked(worker, ids):
    do(worker, f"UNLINK; {added(ids)}")


def by_a_script(worker, ids):
    steps = commands(worker.stream, f"DEL; {added(ids)}")
    script = "for _, step in ipairs(cjson.decode(ARGV[1])) do redis.call(unpack(step)) end"
    worker.redis.eval(script, 1, worker.stream, json.dumps(steps))


def aside(worker, ids):
    """The other stream, under another key."""
    other = f"{worker.stream}:other"
    for command in commands(other, added(ids)):
        worker.redis.execute_command(*command)
    return other


def renamed(worker, ids):
    worker.redis.rename(aside(worker, ids), worker.stream)


def copied(worker, ids):
    worker.redis.copy(aside(worker, ids), worker.stream, replace=True)


def restored(worker, ids):
    script = "redis.call('RESTORE', KEYS[1], 0, redis.call('DUMP', KEYS[2]), 'REPLACE')"
    worker.redis.eval(script, 2, worker.stream, aside(worker, ids))


def set_over(worker, ids):
    """A value of another type, for a moment."""
    with worker.redis.pipeline(transaction=True) as step:
        step.set(worker.stream, "x")
        step.delete(worker.stream)
        for command in commands(worker.stream, added(ids)):
            step.execute_command(*command)
        step.execute()


@pytest.fixture
def worker(redis_server):
    return new_worker(redis_server)


def stream_ids(worker):
    return [id for id, _ in worker.redis.xrange(worker.stream)]


async def watching(viewers, server, worker, before):
    """Two who got what there was, one live and one in their state; each with its position."""
    live = await viewers(server, worker.thread)
    await initial(live)
    do(worker, added(before))
    position = await entries_come(live, before.split(), 0)
    late = await viewers(server, worker.thread)
    return [(live, position), (late, (await initial(late))["stream_id"])]


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize(
    "replace", [in_one_step, unlinked, by_a_script, renamed, copied, restored, set_over]
)
async def test_a_stream_that_is_replaced_is_one_gap(either_tail, worker, viewers, replace, pair):
    before, after = pair
    there = await watching(viewers, either_tail, worker, before)
    replace(worker, after)
    there = [(ws, await gap_is_told(ws, worker, at, "reset")) for ws, at in there]
    do(worker, "XADD 990; XADD 991")
    for ws, position in there:
        await entries_come(ws, [990, 991], position)
        await nothing_but_pong(ws)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
async def test_a_stream_that_is_replaced_step_by_step_is_one_gap(either_tail, worker, viewers, pair):
    """The state stands wherever the stream was just read; nothing after it is missed."""
    before, after = pair
    there = await watching(viewers, either_tail, worker, before)
    do_one_by_one(worker, f"DEL; {added(after)}; XADD 990")
    for ws, position in there:
        gap = await receive(ws)
        assert (gap["update_type"], gap["requested"], gap["reason"]) == ("gap", position, "reset")
        position = (await initial(ws))["stream_id"]
        assert position in ["0-0", *stream_ids(worker)]
        assert await walk(ws, position, stream_ids(worker)) == []
        await nothing_but_pong(ws)


async def test_a_stream_that_is_replaced_again_and_again_is_a_gap_each_time(
    either_tail, worker, viewers
):
    there = await watching(viewers, either_tail, worker, "10 20 30")
    for ids in ("15 40", "50", "1 2 60", "70 80 90 95 99"):
        do(worker, f"DEL; {added(ids)}")
        there = [(ws, await gap_is_told(ws, worker, at, "reset")) for ws, at in there]
        do(worker, "XADD 100")
        there = [(ws, await entries_come(ws, [100], at)) for ws, at in there]


async def test_who_reads_page_by_page_gets_no_page_of_another_stream(start_server, redis_server):
    """Its ids stand in between those of the first one, and it has more: only the entry at the head of
    what others were sent, which no page reaches, tells them apart."""
    server = start_server(redis_server, "--set", "limits.page_entries_max=3")
    redis = redis_server.client()

    def write(key, of, ids):
        step = redis.pipeline(transaction=True)
        for id in ids:
            step.xadd(key, {"of": of}, id=f"{id}-0")
        step.execute()

    async def come(worker, since):
        async with connect(server, worker.thread, since=since) as ws:
            of, frame = "first", await receive(ws)
            while frame.get("update_type") != "caught_up":
                if frame.get("update_type") == "gap":
                    of, frame = None, await initial(ws)
                    break
                assert frame["of"] == of, frame
                frame = await receive(ws)
            return of

    for wait in range(30):
        worker = new_worker(redis_server)
        write(worker.stream, "first", range(10, 3000, 10))
        write("other", "other", range(15, 4000, 10))
        async with connect(server, worker.thread) as ws:
            position = (await initial(ws))["stream_id"]
            coming = [asyncio.create_task(come(worker, f"{since}-0")) for since in (10, 20, 500)]
            await asyncio.sleep(0.002 * wait)
            redis.rename("other", worker.stream)
            await gap_is_told(ws, worker, position, "reset")
            await asyncio.gather(*coming)


async def test_who_comes_back_after_the_gap_is_served_from_the_state_that_was_told(
    either_tail, worker, viewers
):
    there = await watching(viewers, either_tail, worker, "10 20 30")
    do(worker, "DEL; XADD 40; XADD 50; XADD 60; XADD 70")
    (ws, position), _ = [(ws, await gap_is_told(ws, worker, at, "reset")) for ws, at in there]
    await ws.close()
    do(worker, "XADD 80")
    back = await viewers(either_tail, worker.thread, since=position)
    await entries_come(back, [80], position)
    caught_up = await receive(back)
    assert (caught_up["update_type"], caught_up["stream_id"]) == ("caught_up", "80-0")


STREAMS, TIMES = 40, 15


async def test_many_streams_that_are_replaced_all_the_time_are_each_told_in_whole(
    either_tail, redis_server
):
    """What comes between two gaps is one stream's, without a hole, and the last one's comes to its
    end. Ids only grow, so that each id is of one stream, and none has had an entry removed, so that
    each can be told from the one before it, whichever of them were read."""
    workers = {worker.thread: worker for worker in (new_worker(redis_server) for _ in range(STREAMS))}
    for worker in workers.values():
        do(worker, "XADD 1")
    # All entries of a thread there ever were, by the stream that they were in.
    made = {thread: [["1-0"]] for thread in workers}
    async with connect(either_tail, path="/api/v1/ws", max_queue=None) as ws:
        for thread in workers:
            await ws.send(json.dumps({"type": "subscribe", "thread_id": thread}))
        for _ in workers:
            await initial(ws)
        for time in range(1, TIMES):
            ids = range(time * 100, time * 100 + 3 + time % 3)
            together = redis_server.client().pipeline(transaction=False)
            for thread, worker in workers.items():
                together.execute_command("MULTI")
                for command in commands(worker.stream, "DEL; " + added(" ".join(map(str, ids[:-1])))):
                    together.execute_command(*command)
                together.execute_command("EXEC")
                together.execute_command(*commands(worker.stream, f"XADD {ids[-1]}")[0])
                made[thread].append([f"{id}-0" for id in ids])
            together.execute()
        for thread, frames in (await by_thread(ws, made)).items():
            assert_told_in_whole(frames, made[thread])


async def by_thread(ws, made):
    """The frames of each thread, up to the last entry that each had."""
    ends = {thread: streams[-1][-1] for thread, streams in made.items()}
    frames = {thread: [] for thread in made}
    waiting = set(made)
    while waiting:
        frame = await receive(ws)
        frames[frame["thread_id"]].append(frame)
        if frame["update_type"] != "gap" and frame["stream_id"] == ends[frame["thread_id"]]:
            waiting.discard(frame["thread_id"])
    return frames


def assert_told_in_whole(frames, streams):
    position, stream = "1-0", streams[0]
    for frame in frames:
        if frame["update_type"] == "gap":
            assert (frame["requested"], frame["reason"]) == (position, "reset"), frame
        elif frame["update_type"] == "initial_state":
            position = frame["stream_id"]
            stream = next(ids for ids in streams if position in ids)
        else:
            assert frame["prev_stream_id"] == position, frame
            position = frame["stream_id"]
            assert stream[stream.index(position) - 1] == frame["prev_stream_id"], frame
