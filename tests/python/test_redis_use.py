"""What Taskcast asks of Redis, and what it bears: few reads, few connections, odd keys, absence."""

import asyncio
import contextlib
import json
import time
import urllib.request

import pytest

import processes
from processes import eventually, free_port, request
from rawsocket import Raw
from support import Worker, assert_chained, closed, collect, connect, initial, keys, new_thread, receive, task_path, until


def calls(redis):
    """How often each command has run, those inside scripts included."""
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in redis.info("commandstats").items()}


def test_a_thousand_viewers_who_attach_at_once_share_the_reads_of_state(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    worker.update("one")
    before = calls(worker.redis)
    sockets = [Raw(server) for _ in range(1000)]
    for raw in sockets:
        raw.send(raw.handshake_bytes(task_path(worker.thread)))
    worker.update("two")
    for raw in sockets:
        assert raw.read_head()[0] == 101
        assert raw.read_json()["update_type"] == "initial_state"
        raw.socket.close()
    reads = {name: count - before.get(name, 0) for name, count in calls(worker.redis).items()}
    for name in ("evalsha", "eval", "lrange", "get", "hgetall", "xrange", "xrevrange", "xinfo|stream"):
        assert reads.get(name, 0) <= 300, reads


def test_a_stream_with_steady_news_is_seldom_asked_for_its_facts(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "1")
    worker = Worker(redis_server.client())
    worker.update("one")
    with Raw(server).open(task_path(worker.thread)) as raw:
        assert raw.read_json()["update_type"] == "initial_state"
        before, begun = calls(worker.redis), time.monotonic()
        for n in range(300):
            worker.update(f"update {n}")
            assert raw.read_json()["message"] == f"update {n}"
        seconds = time.monotonic() - begun
        asked = calls(worker.redis)["xinfo|stream"] - before.get("xinfo|stream", 0)
    # What is kept of a second, too.
    assert 0 < asked <= 10 * seconds + 12


def sent_bytes(redis):
    """How much Redis has sent to all of its clients."""
    return redis.info("stats")["total_net_output_bytes"]


@contextlib.contextmanager
def viewer_behind_a_large_entry(server, redis):
    """A worker whose stream begins with a large entry and had another one deleted by name, and its viewer."""
    worker = Worker(redis)
    worker.raw("message", b"x" * 200_000, id="10-0")
    for n in (20, 30, 40):
        worker.publish("event", id=f"{n}-0", n=n)
    with Raw(server).open(task_path(worker.thread)) as raw:
        assert raw.read_json()["update_type"] == "initial_state"
        redis.xdel(worker.stream, "20-0")
        # Until it is known that large entries come with the facts.
        for n in (50, 60, 70):
            worker.publish("event", id=f"{n}-0", n=n)
            assert raw.read_json()["n"] == n
        yield worker, raw


@pytest.mark.parametrize("tail", ["tracking", "block"])
def test_the_facts_of_a_stream_that_begins_with_a_large_entry_come_without_it(start_server, start_redis, tail):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "1", "--tail", tail)
    with viewer_behind_a_large_entry(server, redis_server.client()) as (worker, raw):
        before, sent = calls(worker.redis), sent_bytes(worker.redis)
        for n in range(200):
            worker.update(f"update {n}")
            assert raw.read_json()["message"] == f"update {n}"
        sent = sent_bytes(worker.redis) - sent
        asked = calls(worker.redis)["xinfo|stream"] - before["xinfo|stream"]
        # With an entry deleted by name, lengths prove nothing.
        assert asked >= 200, asked
        assert sent < 5_000_000, sent


@pytest.mark.parametrize("ids", ["5-0", "5-0 6-0 7-0 8-0 9-0 70-0"])
def test_another_stream_than_one_that_began_with_a_large_entry_is_noticed(start_server, start_redis, ids):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "1")
    with viewer_behind_a_large_entry(server, redis_server.client()) as (worker, raw):
        other = worker.redis.pipeline(transaction=True)
        other.delete(worker.stream)
        for id in ids.split():
            other.xadd(worker.stream, {"n": 1}, id=id)
        other.execute()
        gap = raw.read_json()
        assert (gap["update_type"], gap["requested"], gap["reason"]) == ("gap", "70-0", "reset")
        assert raw.read_json()["update_type"] == "initial_state"
        worker.publish("event", id="80-0", n=80)
        assert raw.read_json()["n"] == 80


def test_redis_connections_do_not_grow_with_tasks(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "2")
    redis = redis_server.client()
    threads = [new_thread() for _ in range(1000)]
    for thread in threads:
        redis.set(f"sre:thread:{thread}:status", "queued")
    sockets = [Raw(server) for _ in threads]
    for raw, thread in zip(sockets, threads):
        raw.send(raw.handshake_bytes(task_path(thread)))
    for raw in sockets:
        raw.read_head(), raw.read_json()
    assert redis.info("clients")["connected_clients"] <= 12
    for n, thread in enumerate(threads):
        redis.xadd(f"sre:stream:task:{thread}", {"n": n})
    for n, raw in enumerate(sockets):
        assert raw.read_json()["n"] == n
        raw.socket.close()


def test_memory_stays_flat_over_connects_and_disconnects(start_server, redis_server, viewed):
    server = start_server(redis_server)
    viewed.update("one")

    def rounds(count):
        for _ in range(count):
            sockets = [Raw(server) for _ in range(100)]
            for raw in sockets:
                raw.send(raw.handshake_bytes(task_path(viewed.thread)))
            for raw in sockets:
                raw.read_head(), raw.read_json()
                raw.socket.close()
        return server.rss_kib()

    first = rounds(30)
    last = rounds(30)
    assert last - first < 2500, f"{first} KiB, then {last} KiB"


WRONG = {
    "string": lambda redis, key: redis.set(key, "x"),
    "list": lambda redis, key: redis.rpush(key, "x"),
    "hash": lambda redis, key: redis.hset(key, "a", "b"),
    "stream": lambda redis, key: redis.xadd(key, {"a": "b"}),
    "zset": lambda redis, key: redis.zadd(key, {"a": 1}),
    "set": lambda redis, key: redis.sadd(key, "a"),
}


@pytest.mark.parametrize("part", ["status", "updates", "result", "error", "metadata", "context", "tasks"])
@pytest.mark.parametrize("kind", ["string", "list", "set", "stream"])
async def test_a_wrong_type_under_a_key_of_state_ends_nothing(server, viewed, part, kind):
    key = keys(viewed.thread)[part]
    viewed.redis.delete(key)
    WRONG[kind](viewed.redis, key)
    healthy = Worker(viewed.redis)
    async with connect(server, healthy.thread) as ws:
        await initial(ws)
        async with connect(server, viewed.thread) as odd:
            frame = json.loads(await asyncio.wait_for(odd.recv(), 10))
            assert frame.get("update_type") == "initial_state" or "error" in frame
        healthy.update("fine")
        assert (await receive(ws))["message"] == "fine"
    assert request(server, "GET", f"/api/v1/tasks/{viewed.thread}")[0] in (200, 404)


@pytest.mark.parametrize("kind", ["string", "list", "hash", "zset"])
async def test_a_wrong_type_under_a_streams_key_disturbs_no_other_task(server, redis_server, kind):
    redis = redis_server.client()
    healthy, odd = Worker(redis), Worker(redis)
    async with connect(server, healthy.thread) as ws, connect(server, odd.thread) as broken:
        await initial(ws), await initial(broken)
        odd.update("before")
        assert (await receive(broken))["message"] == "before"
        redis.delete(odd.stream)
        WRONG[kind](redis, odd.stream)
        for n in range(5):
            healthy.update(f"update {n}")
        assert [f["message"] for f in await collect(ws, 5)] == [f"update {n}" for n in range(5)]
        redis.delete(odd.stream)
        odd.update("a stream again")
        frames = await until(broken, lambda f: f.get("message") == "a stream again" or "a stream again" in str(f))
        assert frames
    request(server, "GET", f"/api/v1/tasks/{odd.thread}/stream-info")


async def test_streams_that_begin_beside_a_wrong_type_are_read(server, redis_server):
    redis = redis_server.client()
    beginning, odd = [Worker(redis) for _ in range(5)], Worker(redis)
    async with contextlib.AsyncExitStack() as stack:
        viewers = [
            await stack.enter_async_context(connect(server, worker.thread)) for worker in [*beginning, odd]
        ]
        for viewer in viewers:
            await initial(viewer)
        # At one moment, so that one read meets all of them.
        together = redis.pipeline(transaction=True)
        together.set(odd.stream, "not a stream")
        for worker in beginning:
            for n in range(3):
                together.xadd(worker.stream, {"update_type": "progress", "message": f"update {n}"})
        together.execute()
        for viewer in viewers[:-1]:
            frames = await collect(viewer, 3)
            assert [frame["message"] for frame in frames] == [f"update {n}" for n in range(3)]
            assert_chained(frames, "0-0")


async def test_a_viewer_who_attaches_to_a_wrong_type_does_no_harm(server, redis_server):
    worker = Worker(redis_server.client())
    worker.redis.set(worker.stream, "not a stream")
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.redis.delete(worker.stream)
        worker.update("now it is one")
        await until(ws, lambda frame: "now it is one" in str(frame))


async def test_an_enormous_entry_disturbs_no_other_task(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "1")
    enormous, other = Worker(redis_server.client()), Worker(redis_server.client())
    size = 40_000_000
    async with connect(server, enormous.thread) as large, connect(server, other.thread) as small:
        await initial(large), await initial(small)
        enormous.raw("message", b"x" * size)
        for n in range(10):
            other.update(f"update {n}")
        assert [f["message"] for f in await collect(small, 10)] == [f"update {n}" for n in range(10)]
        assert len((await receive(large))["message"]) == size


async def test_redis_absent_at_start_is_said_and_served_when_it_comes(start_server, start_redis):
    port = free_port()
    server = start_server(redis_url=f"redis://127.0.0.1:{port}/0", wait=False)
    eventually(lambda: server.status("/healthz") == 200, "healthz")
    assert server.status("/readyz") == 503
    eventually(lambda: str(port) in server.log, "a word about Redis in the log")
    redis_server = start_redis(port=port)
    server.wait_ready()
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.update("at last")
        assert (await receive(ws))["message"] == "at last"


async def test_an_attach_without_redis_waits_and_then_ends_with_1013(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, config="[limits]\nattach_timeout_ms = 1500\n")
    worker = Worker(redis_server.client())
    redis_server.kill()
    async with connect(server, worker.thread) as ws:
        assert await closed(ws) == (1013, [])


async def test_an_attach_during_a_short_outage_succeeds_after_it(start_server, start_redis):
    redis_server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    worker.update("one")
    redis_server.kill()
    async with connect(server, worker.thread) as ws:
        await asyncio.to_thread(redis_server.start)
        assert (await initial(ws))["updates"][0]["message"] == "one"


async def test_a_user_a_password_and_a_database_may_stand_in_the_url(start_server, start_redis):
    redis_server = start_redis("--user", "viewer", "on", ">se%cret", "~*", "&*", "+@all")
    url = f"redis://viewer:se%25cret@127.0.0.1:{redis_server.port}/3"
    server = start_server(redis_server, redis_url=url)
    worker = Worker(redis_server.client(db=3))
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.update("in database 3")
        assert (await receive(ws))["message"] == "in database 3"
    assert "se%cret" not in server.log and "se%25cret" not in server.log


async def test_a_unix_socket_may_stand_in_the_url(start_server, start_redis):
    redis_server = start_redis("--unixsocket", "redis.sock")
    server = start_server(redis_server, redis_url=f"unix://{redis_server.dir}/redis.sock")
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.update("by file")
        assert (await receive(ws))["message"] == "by file"


async def test_a_prefix_and_a_stream_template_may_be_configured(start_server, redis_server):
    config = 'key_prefix = "acme"\nstream_key_template = "{prefix}:s:{thread_id}:x"\n'
    server = start_server(redis_server, config=config)
    redis, thread = redis_server.client(), new_thread()
    redis.set(f"acme:thread:{thread}:status", "queued")
    async with connect(server, thread) as ws:
        await initial(ws)
        redis.xadd(f"acme:s:{thread}:x", {"message": "m"})
        assert (await receive(ws))["message"] == "m"
    info = request(server, "GET", f"/api/v1/tasks/{thread}/stream-info")[2]
    assert info["stream_key"] == f"acme:s:{thread}:x"


async def test_a_redis_without_tracking_is_read_by_blocking(start_server, start_redis):
    redis_server = start_redis("--rename-command", "CLIENT", "")
    server = start_server(redis_server)
    workers = [Worker(redis_server.client()) for _ in range(5)]
    sockets = [await connect(server, worker.thread) for worker in workers]
    for ws in sockets:
        await initial(ws)
    for worker, ws in zip(workers, sockets):
        worker.update("by block")
        assert (await receive(ws))["message"] == "by block"
        await ws.close()


def test_the_embedded_log_says_that_it_keeps_nothing(embedded):
    lines = [line for line in embedded.log.splitlines() if "memory" in line.lower() or "embedded" in line.lower()]
    assert len(lines) == 1, embedded.log


def test_a_file_with_an_unknown_key_is_refused_by_name(start_server, redis_server):
    server = start_server(redis_server, config="[limits]\nno_such_limit_ms = 1\n", wait=False)
    assert server.popen.wait(10) not in (0, 101)
    assert "no_such_limit_ms" in server.log


def test_a_bad_redis_url_is_refused(start_server):
    server = start_server(redis_url="http://127.0.0.1:1/", wait=False)
    assert server.popen.wait(10) not in (0, 101)
    assert "http" in server.log and "panicked" not in server.log


def test_an_address_in_use_is_said(start_server, redis_server):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = start_server(redis_server, port=taken.getsockname()[1], wait=False)
        assert server.popen.wait(10) not in (0, 101)
    assert str(server.port) in server.log


def test_it_is_silent_in_steady_state(start_server, redis_server, viewed):
    server = start_server(redis_server)
    with Raw(server).open(task_path(viewed.thread)) as raw:
        raw.read_json()
        eventually(lambda: server.log.count("tail_connected") == 2, "the tails")
        before = server.log
        for n in range(50):
            viewed.update(f"update {n}")
            raw.read_json()
        assert server.log == before


def test_print_config_shows_what_is_in_force(redis_server):
    import subprocess

    shown = subprocess.run(
        [processes.binary(), "serve", "--redis", redis_server.url, "--workers", "3", "--print-config"],
        capture_output=True, text=True, timeout=20, env=processes.environment(),
    )
    assert shown.returncode == 0 and "workers = 3" in shown.stdout
    assert "ping_interval_ms = 30000" in shown.stdout and "stream_length_max = 10000" in shown.stdout


async def test_an_entry_is_encoded_once_whatever_the_number_of_viewers_and_workers(
    start_server, redis_server
):
    server = start_server(redis_server, "--workers", "2")
    worker = Worker(redis_server.client())

    def encoded():
        with urllib.request.urlopen(server.http + "/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("taskcast_entries_read_total "))

    async with contextlib.AsyncExitStack() as stack:
        viewers = [await stack.enter_async_context(connect(server, worker.thread)) for _ in range(20)]
        for ws in viewers:
            await initial(ws)
        before = encoded()
        for n in range(30):
            worker.publish("event", n=n)
        for ws in viewers:
            assert [frame["n"] for frame in await collect(ws, 30)] == list(range(30))
        assert encoded() - before == 30
