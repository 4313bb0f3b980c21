"""Connections break, servers die, drain and come back: nothing lost, nothing twice."""

import asyncio

import pytest

from oracle import assert_everything, new_worker
from rawsocket import Raw
from support import collect, connect, initial, task_path


@pytest.fixture
def worker(redis_server):
    return new_worker(redis_server)


async def test_viewers_cut_at_random_moments(server, redis_server, worker, watch, publish, rng):
    viewers = await watch(server, worker, 8)
    publisher = publish(redis_server.client(), worker, bytes_max=300_000)
    for _ in range(60):
        await asyncio.sleep(rng.uniform(0, 0.1))
        rng.choice(viewers).cut()
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)
    assert sum(viewer.connects for viewer in viewers) > 20


@pytest.mark.parametrize("layout", ["thread", "task"])
def test_viewers_cut_in_the_middle_of_a_frame(server, redis_server, layout):
    worker = new_worker(redis_server, layout)
    first = worker.update("first")
    big = worker.publish("thread_update", message="x" * 3_000_000)
    last = worker.update("last")
    for cut_at in (1, 5, 1000, 2_000_000):
        with Raw(server).open(task_path(worker.thread, first)) as raw:
            raw.take(cut_at)
    with Raw(server).open(task_path(worker.thread, first)) as raw:
        assert [raw.read_json()["stream_id"] for _ in range(2)] == [big, last]


async def test_a_server_that_is_killed_and_restarted(start_server, redis_server, worker, watch, publish, rng):
    server = start_server(redis_server)
    viewers = await watch(server, worker, 5)
    publisher = publish(redis_server.client(), worker)
    for _ in range(3):
        await asyncio.sleep(rng.uniform(0.2, 0.8))
        await asyncio.to_thread(server.restart)
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)


async def test_a_server_that_is_drained_while_the_next_one_listens(
    start_server, redis_server, worker, watch, publish, rng
):
    current = [start_server(redis_server, config="drain_seconds = 2\n")]
    viewers = await watch(lambda: current[-1], worker, 10)
    publisher = publish(redis_server.client(), worker)
    for _ in range(2):
        await asyncio.sleep(rng.uniform(0.2, 0.5))
        old = current[-1]
        old.signal(15)
        current.append(await asyncio.to_thread(start_server, redis_server, port=old.port))
        assert await asyncio.to_thread(old.popen.wait, 30) == 0
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)
    for viewer in viewers:
        assert 1012 in viewer.closes and set(viewer.closes) <= {1012, 1001, 1006}, viewer.report()


async def test_viewers_who_come_right_after_the_last_one_left_get_what_is_new(
    start_server, redis_server, worker, publish
):
    """News of a topic that a worker has just let go of must not silence it for those who come next."""
    server = start_server(redis_server, "--workers", "2")
    publish(redis_server.client(), worker, seconds_between=0.002)
    for _ in range(60):
        async with connect(server, worker.thread) as one, connect(server, worker.thread) as two:
            for ws in (one, two):
                await initial(ws)
                await collect(ws, 3)


async def test_viewers_who_go_from_server_to_server(
    start_server, server, redis_server, worker, watch, publish, rng
):
    servers = [server, start_server(redis_server), start_server(redis_server, "--workers", "1")]
    viewers = await watch(lambda: rng.choice(servers), worker, 6)
    publisher = publish(redis_server.client(), worker)
    for _ in range(60):
        await asyncio.sleep(rng.uniform(0, 0.06))
        rng.choice(viewers).cut()
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)


def test_many_who_come_back_at_once_share_the_reads_of_the_log(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "2")
    worker = new_worker(redis_server)
    ids = [worker.update(f"update {n}") for n in range(20)]

    def calls():
        stats = worker.redis.info("commandstats")
        return {name: row["calls"] for name, row in stats.items()}

    before = calls()
    sockets = [Raw(server) for _ in range(600)]
    for n, raw in enumerate(sockets):
        raw.send(raw.handshake_bytes(task_path(worker.thread, ids[n % 10])))
    for n, raw in enumerate(sockets):
        assert raw.read_head()[0] == 101
        assert [raw.read_json()["stream_id"] for _ in range(19 - n % 10)] == ids[n % 10 + 1:]
        assert raw.read_json()["update_type"] == "caught_up"
        raw.socket.close()
    reads = {name: count - before.get(name, 0) for name, count in calls().items()}
    assert all(reads.get(f"cmdstat_{name}", 0) <= 150 for name in ("xrange", "xread", "evalsha", "eval")), reads


async def test_a_herd_is_spread_over_the_drain(start_server, redis_server, worker):
    """Each of 100 viewers gets its frames, then 1012, then the end of its connection."""
    server = start_server(redis_server, config="drain_seconds = 2\n")
    sockets = [Raw(server).open(task_path(worker.thread)) for _ in range(100)]
    for raw in sockets:
        raw.read_json()
    last = worker.update("the last one")
    server.signal(15)
    for raw in sockets:
        assert raw.read_json()["stream_id"] == last
        assert raw.read_close() == 1012
        raw.socket.close()
    assert await asyncio.to_thread(server.popen.wait, 30) == 0
