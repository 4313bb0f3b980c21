"""Redis dies, stalls, refuses, forgets and fails over; viewers stay, and are told true things only."""

import asyncio
import time

import redis

from oracle import assert_everything, new_worker, truth
from processes import eventually

QUICK = "[limits]\nredis_response_timeout_ms = 700\nreconnect_max_ms = 500\n"


def assert_stayed(viewers):
    assert all(viewer.connects == 1 for viewer in viewers), [viewer.report() for viewer in viewers]


async def test_a_redis_that_is_killed_and_restarted_with_its_data(
    start_server, durable_redis, watch, publish, rng
):
    server, worker = start_server(durable_redis), new_worker(durable_redis)
    viewers = await watch(server, worker, 5)
    publisher = publish(worker.redis, worker)
    for _ in range(4):
        await asyncio.sleep(rng.uniform(0.1, 0.6))
        durable_redis.kill()
        await asyncio.sleep(rng.uniform(0, 0.5))
        await asyncio.to_thread(durable_redis.start)
    await asyncio.sleep(0.5)
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)
    assert_stayed(viewers)


async def test_a_redis_that_stalls(start_server, start_redis, watch, publish, rng):
    redis_server = start_redis()
    server, worker = start_server(redis_server, config=QUICK), new_worker(redis_server)
    viewers = await watch(server, worker, 5)
    publisher = publish(worker.redis, worker)
    for seconds in (0.3, 1.5, 2.5):
        await asyncio.sleep(rng.uniform(0.1, 0.4))
        redis_server.pause()
        await asyncio.sleep(seconds)
        redis_server.resume()
    await asyncio.sleep(0.3)
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)
    assert_stayed(viewers)


async def test_connections_to_redis_that_are_cut(server, redis_server, watch, publish, rng):
    worker = new_worker(redis_server)
    viewers = await watch(server, worker, 3)
    publisher = publish(redis_server.client(), worker)
    admin = redis_server.client()
    for _ in range(15):
        await asyncio.sleep(rng.uniform(0.02, 0.15))
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)
    assert_stayed(viewers)


async def test_a_redis_that_refuses_writes_for_a_while(start_server, start_redis, watch, publish):
    redis_server = start_redis()
    server, worker = start_server(redis_server), new_worker(redis_server)
    viewers = await watch(server, worker, 3)
    publisher = publish(worker.redis, worker)
    admin = redis_server.client()
    for setting, refuse, allow in (("maxmemory", "1", "0"), ("min-replicas-to-write", "1", "0")):
        await asyncio.sleep(0.2)
        admin.config_set(setting, refuse)
        await asyncio.sleep(0.4)
        admin.config_set(setting, allow)
    await asyncio.sleep(0.2)
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)
    assert_stayed(viewers)


async def test_a_redis_that_loads_its_data_for_a_while(start_server, durable_redis, watch, publish):
    server, worker = start_server(durable_redis), new_worker(durable_redis)
    for n in range(200):
        worker.redis.set(f"ballast {n}", "x" * 1000)
    viewers = await watch(server, worker, 3)
    publisher = publish(worker.redis, worker)
    await asyncio.sleep(0.3)
    durable_redis.kill()
    # Redis answers LOADING meanwhile: it waits before each key, and looks at its sockets often.
    durable_redis.options += ("--key-load-delay", "3000", "--loading-process-events-interval-bytes", "1024")
    await asyncio.to_thread(durable_redis.start)
    await asyncio.sleep(0.3)
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)
    assert_stayed(viewers)


async def test_a_redis_that_comes_back_empty(start_server, start_redis, watch):
    redis_server = start_redis()
    server, worker = start_server(redis_server), new_worker(redis_server)
    viewers = await watch(server, worker, 3)
    for n in range(10):
        last = worker.update(f"lost {n}")
    for viewer in viewers:
        await viewer.reach(last)
    redis_server.kill()
    await asyncio.to_thread(redis_server.start)
    worker.create()
    for n in range(10):
        last = worker.update(f"new {n}")
    await assert_everything(viewers, worker, gaps=["reset"])
    assert all(viewer.gaps for viewer in viewers)


async def test_a_redis_that_comes_back_with_older_data(start_server, start_redis, watch):
    redis_server = start_redis()
    server, worker = start_server(redis_server), new_worker(redis_server)
    viewers = await watch(server, worker, 3)
    for n in range(10):
        worker.update(f"kept {n}")
    worker.redis.save()
    for n in range(10):
        last = worker.update(f"lost {n}")
    for viewer in viewers:
        await viewer.reach(last)
    redis_server.kill()
    await asyncio.to_thread(redis_server.start)
    assert worker.redis.xlen(worker.stream) == 10
    for n in range(30):
        worker.update(f"new {n}")
    await assert_everything(viewers, worker, gaps=["reset"])
    assert all(len(viewer.gaps) == 1 for viewer in viewers)


async def test_flushall(start_server, start_redis, watch):
    redis_server = start_redis()
    server, worker = start_server(redis_server), new_worker(redis_server)
    viewers = await watch(server, worker, 3)
    for viewer in viewers:
        await viewer.reach(worker.update("before"))
    worker.redis.flushall()
    worker.create()
    for n in range(10):
        worker.update(f"after {n}")
    await assert_everything(viewers, worker, gaps=["reset"])
    assert all(viewer.gaps for viewer in viewers)


async def test_failover_to_a_replica_that_lags(start_server, start_redis, start_sentinel, watch, publish):
    master = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {master.port}")
    eventually(lambda: replica.client().info("replication")["master_link_status"] == "up")
    sentinel = start_sentinel(master.port)
    eventually(lambda: sentinel.client().info("sentinel")["master0"]["slaves"] == 1)
    server = start_server(redis_url=sentinel.url, config=QUICK)
    worker = new_worker(master)
    viewers = await watch(server, worker, 3)
    for n in range(10):
        worker.update(f"kept {n}")
    worker.redis.execute_command("WAIT", 1, 2000)
    replica.pause()
    worker.redis.execute_command("CLIENT", "KILL", "TYPE", "replica")
    for n in range(10):
        last = worker.update(f"lost {n}")
    for viewer in viewers:
        await viewer.reach(last)
    master.kill()
    replica.resume()
    await asyncio.to_thread(eventually, lambda: sentinel.master_port() == replica.port, "the failover", 30)
    publisher = publish(lambda: replica.client(), worker)
    await asyncio.sleep(1)
    publisher.stop()
    assert "lost 0" not in [message for _, message in truth(worker)]
    await assert_everything(viewers, worker, publisher.acknowledged, gaps=["reset"])
    assert all(len(viewer.gaps) == 1 for viewer in viewers), [v.report() for v in viewers]


async def test_a_planned_failover_loses_nothing(start_server, start_redis, start_sentinel, watch, publish):
    master = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {master.port}")
    eventually(lambda: replica.client().info("replication")["master_link_status"] == "up")
    sentinel = start_sentinel(master.port)
    server = start_server(redis_url=sentinel.url, config=QUICK)
    worker = new_worker(master)
    viewers = await watch(server, worker, 3)
    servers = {master.port: master, replica.port: replica}
    publisher = publish(master.client, worker)
    await asyncio.sleep(0.5)
    publisher.stop()
    worker.redis.execute_command("WAIT", 1, 5000)
    acknowledged = list(publisher.acknowledged)

    def fail_over():
        try:
            return sentinel.client().execute_command("SENTINEL", "FAILOVER", sentinel.name)
        except redis.ResponseError:  # The sentinel has not looked at the replica yet.
            return False

    await asyncio.to_thread(eventually, fail_over, "an accepted SENTINEL FAILOVER")
    await asyncio.to_thread(eventually, lambda: sentinel.master_port() == replica.port, "the failover", 30)
    publisher = publish(lambda: servers[sentinel.master_port()].client(), worker)
    await asyncio.sleep(1)
    publisher.stop()
    await assert_everything(viewers, worker, acknowledged + publisher.acknowledged)
    assert_stayed(viewers)


async def test_everything_at_once(start_server, durable_redis, watch, publish, rng):
    """Cuts, kills, stalls and restarts in random order, on two servers."""
    servers = [start_server(durable_redis, config=QUICK) for _ in range(2)]
    worker = new_worker(durable_redis)
    viewers = await watch(lambda: rng.choice(servers), worker, 8)
    publisher = publish(lambda: durable_redis.client(socket_timeout=2), worker, bytes_max=50_000)

    async def stall():
        durable_redis.pause()
        await asyncio.sleep(rng.uniform(0, 1.2))
        durable_redis.resume()

    async def crash():
        durable_redis.kill()
        await asyncio.to_thread(durable_redis.start)

    faults = [stall, crash, lambda: asyncio.to_thread(rng.choice(servers).restart)]
    end = time.monotonic() + 12
    while time.monotonic() < end:
        await asyncio.sleep(rng.uniform(0, 0.15))
        if rng.random() < 0.85:
            rng.choice(viewers).cut()
        else:
            await rng.choice(faults)()
    publisher.stop()
    await assert_everything(viewers, worker, publisher.acknowledged)
