"""More news than one answer of Redis should hold, or may: it is asked for in parts that fit."""

import asyncio
import contextlib
import threading

import pytest

from processes import eventually, request
from support import Worker, assert_chained, closed, collect, connect, initial, receive

MIB = 1024 * 1024


@pytest.fixture
def tight(start_redis, start_server):
    """A server on a Redis that ends connections which would be sent more than 16 MB; and the Redis."""
    redis_server = start_redis("--client-output-buffer-limit", "normal 16mb 0 0", "--save", "")
    return start_server(redis_server, "--workers", "1"), redis_server


async def lengths(ws, count):
    """The lengths of the messages of that many entries, and the frames."""
    frames = await collect(ws, count)
    return [len(frame["message"]) for frame in frames], frames


@pytest.mark.parametrize("sizes", [[100_000] * 200, [250_000] * 80, [1_000_000] * 20, [10_000_000] * 2])
async def test_news_beyond_the_limit_of_redis_come_in_parts(tight, sizes):
    server, redis_server = tight
    large, other = Worker(redis_server.client()), Worker(redis_server.client())
    async with connect(server, large.thread) as ws, connect(server, other.thread) as small:
        position, other_position = (await initial(ws))["stream_id"], (await initial(small))["stream_id"]
        large.publish("event", message="hello")
        assert (await receive(ws))["message"] == "hello"
        server.pause()
        for size in sizes:
            large.raw("message", b"x" * size)
        server.resume()
        for n in range(10):
            other.update(f"update {n}")
            frame = await receive(small)
            assert frame["message"] == f"update {n}"
            assert_chained([frame], other_position)
            other_position = frame["stream_id"]
        found, frames = await lengths(ws, len(sizes))
        assert found == sizes
        position = redis_server.client().xrange(large.stream, count=1)[0][0]
        assert_chained(frames, position)
        large.update("small again")
        assert (await receive(ws))["message"] == "small again"
    assert not any(name.startswith("taskcast_gaps_total") and value for name, value in server.metrics().items())


async def test_a_stream_that_begins_with_entries_near_the_limit_is_read(tight):
    server, redis_server = tight
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        for _ in range(2):
            worker.raw("message", b"x" * 10_000_000)
        found, frames = await lengths(ws, 2)
        assert found == [10_000_000] * 2
        assert_chained(frames, "0-0")


async def test_an_entry_that_redis_may_not_send_closes_its_task_and_no_other(tight):
    server, redis_server = tight
    large, others = Worker(redis_server.client()), [Worker(redis_server.client()) for _ in range(5)]
    async with contextlib.AsyncExitStack() as stack:
        ws = await stack.enter_async_context(connect(server, large.thread))
        viewers = [await stack.enter_async_context(connect(server, worker.thread)) for worker in others]
        for viewer in [ws, *viewers]:
            await initial(viewer)
        large.raw("message", b"x" * 20_000_000)
        for n in range(10):
            for worker in others:
                worker.update(f"update {n}")
            await asyncio.sleep(0.05)
        for viewer in viewers:
            assert [f["message"] for f in await collect(viewer, 10)] == [f"update {n}" for n in range(10)]
        assert await closed(ws) == (1011, [])
        lines = server.said("read_refused")
        assert len(lines) == 1 and "client-output-buffer-limit" in lines[0] and large.stream in lines[0]
        # Nobody who comes is told anything else, and nobody else is disturbed.
        async with connect(server, large.thread) as late:
            assert (await closed(late))[0] == 1011
        for worker, viewer in zip(others, viewers):
            worker.update("fine")
            assert (await receive(viewer))["message"] == "fine"
    redis_server.client().config_set("client-output-buffer-limit", "normal 0 0 0")
    async with connect(server, large.thread) as ws:
        await initial(ws)
        large.update("as ever")
        assert (await receive(ws))["message"] == "as ever"


@pytest.mark.parametrize("tail", ["tracking", "block"])
async def test_small_streams_beside_a_large_entry_stay_off_the_lane(start_redis, start_server, tail):
    server = start_server(start_redis(), "--workers", "1", "--tail", tail)
    redis = server.redis
    workers, large = [Worker(redis) for _ in range(40)], Worker(redis)
    async with contextlib.AsyncExitStack() as stack:
        viewers = []
        for worker in [*workers, large]:
            viewers.append(await stack.enter_async_context(connect(server, worker.thread)))
            await initial(viewers[-1])
        for size in (300_000, 2_000_000):
            # At one moment, so that one read meets all of them.
            together = redis.pipeline(transaction=True)
            for worker in workers[:20]:
                together.xadd(worker.stream, {"message": "small", "padding": "x" * 5_000})
            together.xadd(large.stream, {"message": "x" * size})
            for worker in workers[20:]:
                together.xadd(worker.stream, {"message": "small"})
            together.execute()
            for viewer in viewers[:-1]:
                assert (await receive(viewer))["message"] == "small"
            assert len((await receive(viewers[-1]))["message"]) == size
    assert server.metrics()["taskcast_lane_streams_total"] == 1


async def live(stack, server, workers):
    """A viewer of each, which has seen a small entry of its stream."""
    viewers = []
    for worker in workers:
        viewers.append(await stack.enter_async_context(connect(server, worker.thread)))
        await initial(viewers[-1])
        worker.publish("event", message="hello")
        assert (await receive(viewers[-1]))["message"] == "hello"
    return viewers


@pytest.mark.parametrize("tail", ["tracking", "block"])
@pytest.mark.parametrize("streams", [2, 3])
async def test_an_entry_that_no_read_has_room_for_keeps_nobody_from_what_is_behind_it(
    start_redis, start_server, tail, streams
):
    config = "[limits]\ntail_read_bytes_max = 65536\n"
    server = start_server(start_redis(), "--workers", "1", "--tail", tail, config=config)
    redis = server.redis
    workers = [Worker(redis) for _ in range(streams)]
    async with contextlib.AsyncExitStack() as stack:
        viewers = await live(stack, server, workers)
        server.pause()
        for place, worker in enumerate(workers):
            together = redis.pipeline(transaction=False)
            for number in range(1_200):
                # Of values that are small by themselves.
                large = {f"part-{part}": "x" * 200_000 for part in range(4)} if place == 0 else {}
                together.xadd(worker.stream, {"number": number} | (large if number == 400 else {}))
            together.execute()
        server.resume()
        for viewer in viewers:
            frames = [await receive(viewer) for _ in range(1_200)]
            assert [frame["number"] for frame in frames] == list(range(1_200))


class Peak:
    """The greatest value that a function gave while this was entered."""

    def __init__(self, of):
        self.of, self.value, self.over = of, 0, threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()

    def watch(self):
        while not self.over.wait(0.01):
            self.value = max(self.value, self.of())


async def stall(start_redis, start_server, streams, entries, entry_bytes, config="", small=0):
    """So much news in each of so many streams while the server stands still, behind so many small ones:
    the growth of the server, what Redis held for its connections, and what was in its account, in MiB."""
    redis_server = start_redis()
    server = start_server(redis_server, config=config)
    redis = redis_server.client()
    workers = [Worker(redis) for _ in range(streams)]
    async with contextlib.AsyncExitStack() as stack:
        viewers = await live(stack, server, workers)
        server.pause()
        payload = "x" * entry_bytes
        for worker in workers:
            together = redis.pipeline(transaction=False)
            for number in range(small + entries):
                together.xadd(worker.stream, {"message": payload if number >= small else "x"})
            together.execute()
        before = server.rss_kib()

        async def follow(ws):
            for number in range(small + entries):
                frame = await asyncio.wait_for(ws.recv(), 300)
                assert (len(frame) > entry_bytes) == (number >= small)

        buffers = redis_server.client()
        of_redis, of_account = Peak(lambda: buffers.info("memory")["mem_clients_normal"]), Peak(lambda: account(server))
        with of_redis, of_account, Peak(server.rss_kib) as rss:
            server.resume()
            await asyncio.gather(*map(follow, viewers))
        return (rss.value - before) / 1024, of_redis.value / MIB, of_account.value / MIB


def account(server):
    """What is in the account of a server, in bytes."""
    return sum(value for name, value in server.metrics().items() if name.startswith("taskcast_memory_bytes{"))


# Redis copies the large one at the end with each small one that is read: a minute of work for it.
@pytest.mark.timeout(240)
@pytest.mark.parametrize("entries, entry_bytes", [(1, 2_000_000), (20, 100_000), (500, 4_000)])
@pytest.mark.parametrize("small", [0, 300])
async def test_much_news_after_a_stall_is_read_in_parts(start_redis, start_server, entries, entry_bytes, small):
    config = "[limits]\nmemory_bytes_max = 67108864\ntail_read_bytes_max = 2097152\n"
    grown, held, accounted = await stall(start_redis, start_server, 60, entries, entry_bytes, config, small)
    # Nobody knows that large ones come behind small ones: Redis is asked for many, once.
    assert small or held < 64, f"Redis held {held} MiB for its connections"
    assert accounted < 72, f"{accounted} MiB were in the account"
    assert grown < 128, f"the server grew by {grown} MiB"


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("entries, entry_bytes", [(4, 1_000_000), (40, 100_000), (1_000, 4_000)])
async def test_a_gigabyte_of_news_after_a_stall(start_redis, start_server, entries, entry_bytes):
    grown, held, _ = await stall(start_redis, start_server, 250, entries, entry_bytes)
    print(f"the server grew by {grown:.0f} MiB, Redis held {held:.0f} MiB for its connections")
    assert held < 256 and grown < 256
