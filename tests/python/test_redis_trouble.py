"""Redis that is there and cannot be used: busy, hung, a node of a Cluster, behind an odd proxy."""

import asyncio
import concurrent.futures
import threading
import time

import pytest
import redis

from processes import eventually, free_port, request
from redisproxy import CLOSE, RedisProxy
from support import Worker, assert_chained, closed, collect, connect, initial, new_thread, receive


def mode(server):
    return request(server, "GET", f"/api/v1/tasks/{new_thread()}/stream-info")[2]["mode"]


async def assert_live(server, worker, message):
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.update(message)
        assert (await receive(ws))["message"] == message


@pytest.fixture
def proxied(start_redis, start_server):
    """`proxied(rule)`: a server behind a proxy, and the proxy."""
    proxies = []

    def start(rule, *args, wait=True):
        redis_server = start_redis()
        proxies.append(RedisProxy(redis_server, rule))
        url = proxies[-1].url
        return start_server(redis_server, "--workers", "1", *args, redis_url=url, wait=wait), proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


@pytest.mark.parametrize("word", [b"HELLO", b"TRACKING"])
@pytest.mark.parametrize("answer", [b"-ERR something odd\r\n", b"-WHAT is this\r\n", CLOSE])
async def test_what_may_pass_is_followed_by_tracking_later(proxied, word, answer):
    refusing = threading.Event()
    refusing.set()
    server, proxy = proxied(lambda command: answer if word in command and refusing.is_set() else None)
    worker = Worker(proxy.redis_server.client())
    await assert_live(server, worker, "by block")
    assert mode(server) == "block"
    refusing.clear()
    await asyncio.to_thread(eventually, lambda: mode(server) == "tracking", "tracking", 30)
    await assert_live(server, worker, "by tracking")


async def test_what_is_not_supported_is_read_by_blocking(proxied):
    answer = b"-ERR unknown command 'HELLO', with args beginning with: '3'\r\n"
    server, proxy = proxied(lambda command: answer if b"HELLO" in command else None)
    await assert_live(server, Worker(proxy.redis_server.client()), "by block")
    assert mode(server) == "block" and len(server.said("tracking_refused")) == 1


async def test_a_refusal_to_wait_is_no_refusal_to_read(proxied):
    answer = b"-ERR blocking commands are not allowed\r\n"
    server, proxy = proxied(lambda command: answer if b"BLOCK" in command else None, "--tail", "block")
    worker = Worker(proxy.redis_server.client())
    async with connect(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
        connections = proxy.connections
        for n in range(10):
            worker.update(f"update {n}")
            await asyncio.sleep(0.1)
        assert_chained(await collect(ws, 10), position)
        assert proxy.connections - connections < 5


@pytest.mark.parametrize("word", [b"XREAD", b"CLIENT"])
@pytest.mark.parametrize("error", ["MASTERDOWN Link with MASTER is down", "LOADING Redis is loading", "BUSY Redis is busy"])
async def test_reconnects_back_off_whatever_step_failed(proxied, word, error):
    refusing = threading.Event()
    answer = f"-{error}\r\n".encode()
    server, proxy = proxied(lambda command: answer if word in command and refusing.is_set() else None)
    worker = Worker(proxy.redis_server.client())
    async with connect(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
        refusing.set()
        proxy.redis_server.client().client_kill_filter(_type="normal", skipme=True)
        worker.update("meanwhile")
        connections, lines = proxy.connections, server.log.count("\n")
        await asyncio.sleep(3)
        assert proxy.connections - connections < 40
        assert server.log.count("\n") - lines < 10, server.log
        refusing.clear()
        frame = await receive(ws)
        assert frame["message"] == "meanwhile"
        assert_chained([frame], position)


async def test_a_replica_without_its_master_and_then_with_data_of_its_own(start_redis, start_server):
    master = start_redis()
    replica = start_redis(
        "--replicaof", f"127.0.0.1 {master.port}", "--replica-serve-stale-data", "no"
    )
    eventually(lambda: replica.client().info("replication")["master_link_status"] == "up", "the replica")
    server = start_server(replica, "--workers", "1")
    worker = Worker(master.client())
    eventually(lambda: replica.client().exists(worker.key("status")), "replication")
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        master.kill()
        client = replica.client()
        eventually(lambda: _is_stale(client), "MASTERDOWN")
        before = client.info("stats")["total_connections_received"]
        await asyncio.sleep(3)
        assert client.info("stats")["total_connections_received"] - before < 60
        assert server.log.count("redis_lost") + server.log.count("redis_unreachable") <= 3, server.log
        client.replicaof("NO", "ONE")
        worker.redis = client
        worker.update("from the replica")
        assert (await receive(ws))["message"] == "from the replica"


def _is_stale(client):
    try:
        client.get("x")
    except redis.RedisError as error:
        return "MASTERDOWN" in str(error) or "link" in str(error).lower()
    return False


async def test_a_redis_that_is_busy_while_the_server_starts_is_tracked_afterwards(start_redis, start_server):
    redis_server = start_redis("--busy-reply-threshold", "50")
    spinning = threading.Thread(target=_spin, args=(redis_server,), daemon=True)
    spinning.start()
    await asyncio.sleep(0.5)
    server = start_server(redis_server, wait=False)
    eventually(lambda: server.status("/healthz") == 200, "healthz")
    await asyncio.sleep(1)
    assert server.status("/readyz") == 503
    eventually(lambda: _kill_script(redis_server), "the end of the script")
    await asyncio.to_thread(server.wait_ready)
    worker = Worker(redis_server.client())
    await asyncio.to_thread(eventually, lambda: mode(server) == "tracking", "tracking", 30)
    await assert_live(server, worker, "by tracking")


def _spin(redis_server):
    try:
        redis_server.client(socket_timeout=60).eval("while true do end", 0)
    except redis.RedisError:
        pass


def _kill_script(redis_server):
    try:
        return redis_server.client().execute_command("SCRIPT", "KILL")
    except redis.RedisError:
        return False


def test_requests_at_a_hung_redis_do_not_wait_for_each_other(start_redis, start_server):
    redis_server = start_redis()
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    redis_server.pause()

    def ask(number):
        if number % 4 == 0:
            return request(server, "GET", "/readyz", timeout=15)[0]
        return request(server, "POST", f"/api/v1/tasks/{worker.thread}/updates", {"message": "m"}, timeout=15)[0]

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        # 504: it was sent, as Redis was heard of just before.
        assert set(pool.map(ask, range(40))) <= {503, 504}
        # Now there is no connection any more: one is made, once for all.
        assert set(pool.map(ask, range(40))) == {503}
    redis_server.resume()
    eventually(lambda: ask(1) == 202, "a publication")


def test_scripts_that_are_flushed_all_the_time_are_run(start_redis, start_server):
    redis_server = start_redis()
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    stop = threading.Event()

    def flush():
        client = redis_server.client()
        while not stop.is_set():
            client.script_flush()

    threads = [threading.Thread(target=flush) for _ in range(2)]
    [thread.start() for thread in threads]
    try:
        for n in range(50):
            body = {"message": f"update {n}"}
            assert request(server, "POST", f"/api/v1/tasks/{worker.thread}/updates", body)[0] == 202
            assert request(server, "GET", f"/api/v1/tasks/{worker.thread}")[0] == 200
    finally:
        stop.set()
        [thread.join() for thread in threads]
    assert worker.redis.xlen(worker.stream) == 50


def test_a_publication_after_a_pause_is_written_once(start_redis, start_server):
    redis_server = start_redis("--timeout", "1")
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    for n in range(3):
        path = f"/api/v1/tasks/{worker.thread}/updates"
        assert request(server, "POST", path, {"message": f"update {n}"})[0] == 202
        time.sleep(2.5)
    messages = [fields["message"] for _, fields in worker.redis.xrange(worker.stream)]
    assert messages == ["update 0", "update 1", "update 2"]


@pytest.mark.parametrize("tail", ["tracking", "block"])
async def test_idle_connections_of_the_tail_are_kept(start_redis, start_server, tail):
    redis_server = start_redis("--timeout", "2")
    server = start_server(redis_server, "--tail", tail, "--set", "limits.sweep_interval_ms=600000")
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        await asyncio.sleep(5)
        worker.redis = redis_server.client()
        worker.update("still there")
        assert (await receive(ws))["message"] == "still there"
    assert "redis_lost" not in server.log


def test_the_first_publication_after_a_restart_of_redis_is_written_once(start_redis, start_server):
    redis_server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    path = f"/api/v1/tasks/{worker.thread}/updates"
    for n in range(4):
        assert request(server, "POST", path, {"message": f"update {n}"})[0] == 202
        time.sleep(0.5)
        redis_server.kill()
        redis_server.start()
    messages = [fields["message"] for _, fields in redis_server.client().xrange(worker.stream)]
    assert messages == [f"update {n}" for n in range(4)]


async def test_a_node_of_a_cluster_is_not_ready_and_says_why(start_redis, start_server):
    redis_server = start_redis("--cluster-enabled", "yes", "--cluster-port", free_port())
    server = start_server(redis_server, wait=False)
    eventually(lambda: server.status("/healthz") == 200, "healthz")
    eventually(lambda: "Cluster is not supported" in server.log, "the log")
    status, _, body = request(server, "GET", "/readyz")
    assert status == 503 and "Cluster is not supported" in str(body)
    async with connect(server, new_thread()) as ws:
        assert (await closed(ws))[0] in (1011, 1013)
    assert "Cluster is not supported" in server.said("attach_refused")[0]
    assert server.status("/readyz") == 503


async def test_a_tracking_table_that_is_too_small_is_said_once(start_redis, start_server):
    redis_server = start_redis("--tracking-table-max-keys", "40")
    server = start_server(redis_server, "--workers", "2")
    workers = [Worker(redis_server.client()) for _ in range(200)]
    viewers = [await connect(server, worker.thread) for worker in workers]
    for ws, worker in zip(viewers, workers):
        await initial(ws)
        worker.update("first")
    for ws in viewers:
        assert (await receive(ws))["message"] == "first"
    await asyncio.to_thread(eventually, lambda: mode(server) == "block", "the fall-back", 30)
    await asyncio.sleep(3)
    (line,) = server.said("tracking_table_too_small")
    assert "tracking-table-max-keys" in line
    before = server.metrics()["taskcast_tail_reads_total"]
    await asyncio.sleep(2)
    assert server.metrics()["taskcast_tail_reads_total"] - before < 1_000
    for ws, worker in zip(viewers, workers):
        worker.update("second")
    for ws in viewers:
        assert (await receive(ws))["message"] == "second"
        await ws.close()
