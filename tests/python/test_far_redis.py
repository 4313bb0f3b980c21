"""Very many streams, and a Redis that is a millisecond away: hints come after what they tell of was
read, and that is no reason to give them up."""

import asyncio
import contextlib
import json
import random

import pytest

from farredis import FarRedis
from support import connect, keys, new_thread, stream_key

STREAMS = 100_000
PER_SOCKET = 1_000
SECONDS = 40
RATE = 2_000
# Each stream is looked at all the time, so that sweeps meet what hints are on their way for.
CONFIG = "[limits]\nsweep_interval_ms = 5000\n"


async def subscribed(stack, server, threads):
    ws = await stack.enter_async_context(connect(server, path="/api/v1/ws", max_queue=None))
    for thread in threads:
        await ws.send(json.dumps({"type": "subscribe", "thread_id": thread}))
    for _ in threads:
        frame = json.loads(await asyncio.wait_for(ws.recv(), 120))
        assert frame["update_type"] == "initial_state", frame
    return ws


async def follow(ws, seen):
    async for frame in ws:
        seen.append(json.loads(frame)["message"])


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_tracking_stays_where_redis_is_a_millisecond_away(start_redis, start_server):
    redis_server = start_redis()
    far = FarRedis(redis_server, 0.001)
    server = start_server(None, redis_url=far.url, config=CONFIG)
    redis = redis_server.client()
    threads = [new_thread() for _ in range(STREAMS)]
    together = redis.pipeline(transaction=False)
    for thread in threads:
        together.set(keys(thread)["status"], "running")
    together.execute()
    async with contextlib.AsyncExitStack() as stack:
        parts = [threads[at : at + PER_SOCKET] for at in range(0, STREAMS, PER_SOCKET)]
        sockets = [await subscribed(stack, server, part) for part in parts]
        seen = []
        following = [asyncio.create_task(follow(ws, seen)) for ws in sockets]
        published = 0
        for _ in range(SECONDS * 20):
            together = redis.pipeline(transaction=False)
            for _ in range(RATE // 20):
                together.xadd(stream_key(random.choice(threads)), {"message": str(published)})
                published += 1
            together.execute()
            await asyncio.sleep(0.05)
        while len(seen) < published:
            await asyncio.sleep(0.1)
        [task.cancel() for task in following]
    assert sorted(map(int, seen)) == list(range(published))
    assert server.metrics()['taskcast_tail_mode{mode="tracking"}'] == 1
    assert "hints_unreliable" not in server.log
    far.close()
