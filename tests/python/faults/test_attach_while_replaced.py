"""Who attaches while a watched stream is replaced gets one consistent state and everything after it.

The replies of one connection to Redis wait meanwhile, each connection in turn: so what was read over
it is of before, and what is read over the others is of after, or the other way round.
"""

import asyncio

import pytest

from oracle import new_worker
from streams import do, full, walk
from support import connect, initial, nothing_but_pong, receive
from ways import HoldingWay


@pytest.fixture(params=["tracking", "block"])
def behind(request, redis_server, start_server):
    """A server and the way on which its replies can be held."""
    way = HoldingWay(redis_server)
    options = ("--workers", "1", "--tail", request.param, "--set", "limits.sweep_interval_ms=1000")
    yield start_server(None, *options, redis_url=way.url), way
    for carried in way.carried:
        carried.release()
    way.close()


async def something_waits(carried):
    """Until a reply is held, or until it is clear that none comes on this connection."""
    await asyncio.to_thread(carried.waits.wait, 0.2)


def of(time):
    """The entries of the stream that comes in the place of the one before; ids only grow."""
    return [time * 100 + n for n in range(3)]


def replaced(time):
    return "DEL; " + "; ".join(f"XADD {id}" for id in of(time))


async def assert_consistent(ws, position, before, after):
    """`position` is of either stream. Of the first one, there is one gap; of the second one, none; and
    then everything of it."""
    before, after = [[full(id) for id in ids] for ids in (before, after)]
    assert position in before or position in after, (position, before, after)
    # Nothing of the first stream comes any more: the position is its end.
    assert position not in before or position == before[-1]
    gaps = await walk(ws, position, after)
    assert gaps == (["reset"] if position in before else []), (position, gaps)


async def rounds(behind, worker, attach):
    """For each connection: its replies are held, `attach` begins, the stream is replaced, and the
    replies come. Who was there before is told one gap each time."""
    server, way = behind
    do(worker, "; ".join(f"XADD {id}" for id in of(1)))
    async with connect(server, worker.thread) as watching:
        at, before = (await initial(watching))["stream_id"], of(1)
        time = 1
        # More connections may be made meanwhile.
        for carried in list(way.carried):
            time += 1
            after = [*of(time), time * 100 + 90]
            carried.hold()
            attaching = asyncio.create_task(attach(server, worker, before, after))
            await something_waits(carried)
            do(worker, replaced(time))
            await asyncio.sleep(0.05)
            carried.release()
            await asyncio.sleep(0.02)
            do(worker, f"XADD {after[-1]}")
            await attaching
            assert await walk(watching, at, [full(id) for id in after]) == ["reset"]
            await nothing_but_pong(watching)
            at, before = full(after[-1]), after


@pytest.fixture
def worker(redis_server):
    return new_worker(redis_server)


async def test_a_state_that_is_read_while_a_stream_is_replaced(behind, worker):
    async def attach(server, worker, before, after):
        async with connect(server, worker.thread) as ws:
            await assert_consistent(ws, (await initial(ws))["stream_id"], before, after)
            await nothing_but_pong(ws)

    await rounds(behind, worker, attach)


async def test_a_resume_while_a_stream_is_replaced(behind, worker):
    """It gets the rest of the first stream and is then told, or it is told at once; and no second
    time."""

    async def attach(server, worker, before, after):
        since = full(before[-2])
        async with connect(server, worker.thread, since=since) as ws:
            frame = await receive(ws)
            if frame["update_type"] == "gap":
                assert (frame["requested"], frame["reason"]) == (since, "reset")
                position = (await initial(ws))["stream_id"]
                assert position in map(full, after)
            else:
                position = full(before[-1])
                assert (frame["stream_id"], frame["prev_stream_id"]) == (position, since)
            await assert_consistent(ws, position, before, after)
            await nothing_but_pong(ws)

    await rounds(behind, worker, attach)


async def test_many_who_attach_while_a_stream_is_replaced_all_the_time(either_tail, worker):
    """No reply is held; chance decides which stream each meets first, and of later ones it is told."""
    times, ids = 40, []
    do(worker, "XADD 1")

    async def attach():
        async with connect(either_tail, worker.thread) as ws:
            position = (await initial(ws))["stream_id"]
            frames = []
            while position != full(times * 100 + 90):
                frame = await receive(ws)
                frames.append(frame)
                if frame["update_type"] == "gap":
                    assert frame["requested"] == position, frames
                    state = await initial(ws)
                    # Else the gap has no cause: it is still the same stream.
                    assert stream_of(state["stream_id"]) > stream_of(position), frames
                    position = state["stream_id"]
                else:
                    assert frame["prev_stream_id"] == position, frames
                    # The one before is there: within a stream there is no hole.
                    assert frame["stream_id"] in follows(position), frames
                    position = frame["stream_id"]

    attaching = []
    for time in range(1, times + 1):
        do(worker, replaced(time))
        attaching += [asyncio.create_task(attach()) for _ in range(3)]
        await asyncio.sleep(0.005)
    do(worker, f"XADD {times * 100 + 90}")
    await asyncio.gather(*attaching)


def stream_of(id):
    return int(id.split("-")[0]) // 100


def follows(position):
    """What may come behind an entry: the next of its stream, or its last one, added at the end."""
    id = int(position.split("-")[0])
    ids = [*of(id // 100), id // 100 * 100 + 90]
    return [full(next_id) for next_id in ids if next_id > id][:1]


async def test_very_many_who_come_back_and_very_many_gaps_do_not_wait_for_each_other(
    either_tail, redis_server
):
    """Who comes back waits for its stream and for room at Redis, and so does the tail."""
    workers = [new_worker(redis_server) for _ in range(24)]
    for worker in workers:
        do(worker, replaced(1))
    sockets = [await connect(either_tail, worker.thread).__aenter__() for worker in workers]
    for ws in sockets:
        await initial(ws)

    async def come_back(worker, time):
        # From before all that the server knows, so that it reads a page.
        async with connect(either_tail, worker.thread, since=full(of(time)[0])) as ws:
            while "prev_stream_id" in (frame := await receive(ws)):
                pass
            assert frame["update_type"] in ("gap", "caught_up")

    for time in range(2, 42):
        coming = [asyncio.create_task(come_back(worker, time - 1)) for worker in workers]
        await asyncio.sleep(0.002 * (time % 6))
        with redis_server.client().pipeline(transaction=True) as step:
            for worker in workers:
                step.delete(worker.stream)
                for id in of(time):
                    step.xadd(worker.stream, {"n": id}, id=full(id))
            step.execute()
        await asyncio.gather(*coming)
    for worker, ws in zip(workers, sockets):
        gaps = await walk(ws, full(of(1)[-1]), [full(id) for id in of(41)])
        assert set(gaps) == {"reset"}, gaps
        await ws.close()
    assert "redis_lost" not in either_tail.log
    assert either_tail.metrics()["taskcast_redis_errors_total"] == 0
