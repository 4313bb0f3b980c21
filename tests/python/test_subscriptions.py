"""Many tasks over one socket: `GET /api/v1/ws`, subscribe and unsubscribe."""

import asyncio
import json

import pytest

from support import Worker, assert_chained, closed, collect, connect, initial, new_thread, nothing_but_pong, receive

PATH = "/api/v1/ws"


def socket(server):
    return connect(server, path=PATH)


async def subscribe(ws, thread, **more):
    await ws.send(json.dumps({"type": "subscribe", "thread_id": thread, **more}))


async def unsubscribe(ws, thread):
    await ws.send(json.dumps({"type": "unsubscribe", "thread_id": thread}))


@pytest.fixture
def three(redis_server):
    return [Worker(redis_server.client(), layout=layout) for layout in ("thread", "task", "thread")]


async def test_a_fresh_socket_gets_nothing_but_answers_to_pings(server):
    async with socket(server) as ws:
        await nothing_but_pong(ws)


async def test_a_subscription_gets_the_frames_of_a_socket_of_its_own(server, worker):
    worker.update("before")
    async with socket(server) as many, connect(server, worker.thread) as own:
        await subscribe(many, worker.thread)
        one, two = await initial(many), await initial(own)
        one.pop("timestamp"), two.pop("timestamp")
        assert one == two
        worker.update("live")
        worker.status("done")
        for _ in range(2):
            assert await many.recv() == await own.recv()


async def test_each_frame_names_its_task(server, three):
    async with socket(server) as ws:
        for worker in three:
            await subscribe(ws, worker.thread)
        states = {f["thread_id"]: f for f in await collect(ws, 3)}
        for n in range(5):
            for worker in three:
                worker.update(f"update {n}")
        frames = await collect(ws, 15)
    for worker in three:
        own = [f for f in frames if f["thread_id"] == worker.thread]
        assert [f["message"] for f in own] == [f"update {n}" for n in range(5)]
        assert_chained(own, states[worker.thread]["stream_id"])


async def test_a_subscription_may_resume(server, worker):
    ids = [worker.update(f"update {n}") for n in range(5)]
    async with socket(server) as ws:
        await subscribe(ws, worker.thread, since=ids[1])
        frames = await collect(ws, 4)
    assert [f["stream_id"] for f in frames[:3]] == ids[2:]
    assert frames[3] == {"update_type": "caught_up", "thread_id": worker.thread, "stream_id": ids[-1]}


async def test_a_subscription_gets_gaps(server, viewed):
    viewed.update("one")
    async with socket(server) as ws:
        await subscribe(ws, viewed.thread, since="99999999999999-0")
        gap, state = await collect(ws, 2)
    assert gap["reason"] == "reset" and gap["thread_id"] == viewed.thread
    assert state["update_type"] == "initial_state"


async def test_after_unsubscribe_nothing_more_comes(server, three):
    gone, stays, _ = three
    async with socket(server) as ws:
        await subscribe(ws, gone.thread), await subscribe(ws, stays.thread)
        await collect(ws, 2)
        await unsubscribe(ws, gone.thread)
        await nothing_but_pong(ws)
        gone.update("unseen")
        stays.update("seen")
        assert (await receive(ws))["message"] == "seen"
        await nothing_but_pong(ws)
        await subscribe(ws, gone.thread)
        assert (await initial(ws))["updates"][-1]["message"] == "unseen"


async def test_an_error_for_one_task_leaves_the_others_alone(server, viewed):
    missing = new_thread()
    async with socket(server) as ws:
        await subscribe(ws, viewed.thread)
        await initial(ws)
        await subscribe(ws, missing)
        assert await receive(ws) == {"error": "Thread not found", "thread_id": missing}
        await subscribe(ws, "not valid!")
        assert await receive(ws) == {"error": "Invalid thread id", "thread_id": "not valid!"}
        await subscribe(ws, viewed.thread, since="nonsense")
        error = await receive(ws)
        assert "error" in error and error["thread_id"] == viewed.thread
        viewed.update("still here")
        assert (await receive(ws))["message"] == "still here"


async def test_everything_else_is_ignored(server, viewed):
    async with socket(server) as ws:
        for message in ('{"type":"subscribe"}', '{"type":"unsubscribe"}', '{"thread_id":"x"}', "[]", "x", b"\xff",
                        json.dumps({"type": "unsubscribe", "thread_id": new_thread()})):
            await ws.send(message)
        await subscribe(ws, viewed.thread)
        frames = [await receive(ws)]
        while frames[-1].get("update_type") != "initial_state":
            assert "error" in frames[-1]
            frames.append(await receive(ws))


async def test_a_second_subscription_to_a_task_repeats_no_entry(server, viewed):
    async with socket(server) as ws:
        await subscribe(ws, viewed.thread)
        await initial(ws)
        await subscribe(ws, viewed.thread)
        await ws.send('{"type":"ping"}')
        while (await receive(ws)).get("type") != "pong":
            pass
        viewed.update("once")
        assert (await receive(ws))["message"] == "once"
        await nothing_but_pong(ws)


async def test_a_socket_has_a_limit_on_its_subscriptions(server, redis_server):
    redis = redis_server.client()
    threads = [new_thread() for _ in range(1001)]
    with redis.pipeline(transaction=False) as pipe:
        for thread in threads:
            pipe.set(f"sre:thread:{thread}:status", "queued")
        pipe.execute()
    async with socket(server) as ws:
        for thread in threads[:1000]:
            await subscribe(ws, thread)
        states = await collect(ws, 1000)
        assert {s["thread_id"] for s in states} == set(threads[:1000])
        await subscribe(ws, threads[1000])
        error = await receive(ws)
        assert "error" in error and error["thread_id"] == threads[1000]
        await unsubscribe(ws, threads[0])
        await subscribe(ws, threads[1000])
        assert (await initial(ws))["thread_id"] == threads[1000]


async def test_one_tasks_replay_does_not_hold_up_anothers_live_updates(server, redis_server):
    long, live = Worker(redis_server.client()), Worker(redis_server.client())
    with long.redis.pipeline(transaction=False) as pipe:
        for _ in range(9000):
            pipe.xadd(long.stream, {"update_type": "thread_update", "message": "x" * 2000})
        pipe.execute()
    async with socket(server) as ws:
        await subscribe(ws, live.thread)
        await initial(ws)
        await subscribe(ws, long.thread, since="0")
        while (await receive(ws))["thread_id"] != long.thread:
            pass
        live.update("in between")
        replayed = 1
        while (frame := await receive(ws))["thread_id"] != live.thread:
            replayed += 1
        assert frame["message"] == "in between" and replayed < 9000
        while (frame := await receive(ws))["update_type"] != "caught_up":
            replayed += 1
        assert replayed == 9000


async def test_stream_info_counts_subscriptions(server, viewed):
    from processes import request

    path = f"/api/v1/tasks/{viewed.thread}/stream-info"
    async with socket(server) as ws:
        await subscribe(ws, viewed.thread)
        await initial(ws)
        assert request(server, "GET", path)[2]["active_connections"] == 1
        await unsubscribe(ws, viewed.thread)
        await nothing_but_pong(ws)
        assert request(server, "GET", path)[2]["active_connections"] == 0


async def test_sigterm_closes_it_with_1012(start_server, redis_server, viewed):
    server = start_server(redis_server)
    async with socket(server) as ws:
        await subscribe(ws, viewed.thread)
        await initial(ws)
        stopping = asyncio.get_running_loop().run_in_executor(None, server.stop, 30)
        assert (await closed(ws))[0] == 1012
        assert await stopping == 0


async def test_a_socket_that_was_full_gets_the_last_entry_of_each_task(server, redis_server):
    """No news comes after the stall: the socket itself has to remember whose turn it is."""
    workers = [Worker(redis_server.client(), layout="thread") for _ in range(80)]
    async with socket(server) as ws:
        for worker in workers:
            await subscribe(ws, worker.thread)
        states = {f["thread_id"]: f for f in await collect(ws, len(workers))}
        for worker in workers:
            at_once = worker.redis.pipeline(transaction=True)
            for n in range(5):
                at_once.xadd(worker.stream, {"n": n, "filler": "x" * 180_000})
            at_once.execute()
            await asyncio.sleep(0.05)
        frames = await collect(ws, 5 * len(workers))
    for worker in workers:
        own = [f for f in frames if f["thread_id"] == worker.thread]
        assert [f["n"] for f in own] == list(range(5))
        assert_chained(own, states[worker.thread]["stream_id"])
