"""What the user of Redis may not do is said, and never taken for something that is not there."""

import asyncio
import time

import pytest

from processes import eventually, request
from redisproxy import RedisProxy
from support import Worker, assert_chained, closed, collect, connect, initial, new_thread, receive


@pytest.fixture
def limited(start_redis, start_server):
    """`limited("-get", wait=False)`: a server whose user of Redis has these rules; and its Redis."""

    def start(*rules, wait=True):
        redis_server = start_redis()
        redis_server.client().execute_command("ACL", "SETUSER", "tc", "on", ">secret", "~*", "&*", "+@all", *rules)
        url = f"redis://tc:secret@127.0.0.1:{redis_server.port}/0"
        return start_server(redis_server, "--workers", "1", redis_url=url, wait=wait), redis_server

    return start


def set_rules(redis_server, *rules):
    redis_server.client().execute_command("ACL", "SETUSER", "tc", *rules)


@pytest.mark.parametrize("command", ["xinfo", "xlen", "xrange", "xrevrange", "get", "lrange", "hlen", "hgetall", "zrevrange", "xread"])
async def test_a_right_that_every_task_needs_is_named(limited, command):
    server, redis_server = limited(f"-{command}", wait=False)
    eventually(lambda: server.status("/healthz") == 200, "healthz")

    def named():
        status, _, body = request(server, "GET", "/readyz")
        return status == 503 and command in str(body).lower()

    eventually(named, f"503 with {command}")
    eventually(lambda: "rights_missing" in server.log and command in server.log.lower(), "the log")
    worker = Worker(redis_server.client())
    worker.update("one")
    if command in ("xinfo", "xrevrange", "get", "zrevrange", "lrange"):
        async with connect(server, worker.thread) as ws:
            assert await closed(ws) == (1011, [])
    set_rules(redis_server, f"+{command}")
    eventually(lambda: server.status("/readyz") == 200, "ready again")
    async with connect(server, worker.thread) as ws:
        assert (await initial(ws))["status"] == "queued"


async def test_rights_for_some_tasks_only_close_the_others(limited):
    server, redis_server = limited("resetkeys", "~sre:thread:*", "~sre:stream:task:ok-*")
    good = Worker(redis_server.client(), thread=f"ok-{new_thread()}")
    bad = Worker(redis_server.client())
    async with connect(server, good.thread) as ws:
        position = (await initial(ws))["stream_id"]
        async with connect(server, bad.thread) as refused:
            assert await closed(refused) == (1011, [])
        for n in range(5):
            good.update(f"update {n}")
        assert_chained(await collect(ws, 5), position)
    assert server.status("/readyz") == 200
    assert server.said(bad.thread)


async def test_a_task_whose_rights_are_taken_away_is_closed_and_the_others_go_on(limited):
    server, redis_server = limited()
    good = Worker(redis_server.client(), thread=f"ok-{new_thread()}")
    bad = Worker(redis_server.client())
    async with connect(server, good.thread) as ws, connect(server, bad.thread) as refused:
        position = (await initial(ws))["stream_id"]
        await initial(refused)
        set_rules(redis_server, "resetkeys", "~sre:thread:*", "~sre:stream:task:ok-*")
        bad.update("nobody sees it")
        code, frames = await closed(refused)
        assert (code, frames) == (1011, [])
        for n in range(20):
            good.update(f"update {n}")
        assert_chained(await collect(ws, 20), position)
    lines = server.said("read_refused")
    assert len(lines) == 1 and bad.stream in lines[0], server.log
    assert server.status("/readyz") == 200
    set_rules(redis_server, "~*")
    async with connect(server, bad.thread) as ws:
        await initial(ws)
        bad.update("back")
        assert (await receive(ws))["message"] == "back"


@pytest.mark.parametrize("taken", [["-xread"], ["resetkeys", "~sre:thread:*"]])
async def test_rights_that_are_away_for_a_moment_cost_nothing(limited, taken):
    server, redis_server = limited()
    workers = [Worker(redis_server.client()) for _ in range(3)]
    viewers = [await connect(server, worker.thread) for worker in workers]
    positions = [(await initial(ws))["stream_id"] for ws in viewers]
    set_rules(redis_server, *taken)
    for worker in workers:
        worker.update("meanwhile")
    await asyncio.sleep(0.5)
    set_rules(redis_server, "+@all", "~*")
    # Long before the sweep, which comes by once a minute.
    for ws, position in zip(viewers, positions):
        frame = await receive(ws)
        assert frame["message"] == "meanwhile"
        assert_chained([frame], position)
        await ws.close()


async def test_a_gap_that_was_found_is_told_however_the_stream_looks_later(limited):
    """The state to go with it cannot be read for a while, and then the stream is the first one again."""
    server, redis_server = limited()
    redis, worker = redis_server.client(), Worker(redis_server.client())
    for id in (10, 20, 30):
        redis.xadd(worker.stream, {"n": id}, id=f"{id}-0")
    async with connect(server, worker.thread) as ws:
        assert (await initial(ws))["stream_id"] == "30-0"
        redis.xadd(worker.stream, {"n": 40}, id="40-0")
        assert_chained([await receive(ws)], "30-0")
        reads = server.metrics()["taskcast_tail_reads_total"]
        set_rules(redis_server, "-eval", "-evalsha")
        redis.rename(worker.stream, "aside")
        redis.xadd(worker.stream, {"n": 1}, id="1-0")
        await asyncio.to_thread(
            eventually, lambda: server.metrics()["taskcast_tail_reads_total"] > reads, "the read of another stream"
        )
        await asyncio.sleep(0.2)
        redis.rename("aside", worker.stream)
        redis.xadd(worker.stream, {"n": 50}, id="50-0")
        set_rules(redis_server, "+eval", "+evalsha")
        gap = await receive(ws)
        assert (gap["update_type"], gap["requested"], gap["reason"]) == ("gap", "40-0", "reset")
        assert (await initial(ws))["stream_id"] == "50-0"
        redis.xadd(worker.stream, {"n": 60}, id="60-0")
        assert_chained([await receive(ws)], "50-0")


async def test_who_may_run_no_scripts_any_more_is_read_without(limited):
    """The tail asks a stream with a large first entry by one for its facts, where it may."""
    server, redis_server = limited()
    worker = Worker(redis_server.client())
    worker.raw("message", b"x" * 200_000)
    removed = worker.update("is deleted by name")
    worker.update("last")
    async with connect(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
        worker.redis.xdel(worker.stream, removed)
        for n in range(20):
            if n == 10:
                set_rules(redis_server, "-eval")
            worker.update(f"update {n}")
            frame = await receive(ws)
            assert_chained([frame], position)
            position = frame["stream_id"]
    denied = worker.redis.execute_command("ACL", "LOG")
    assert any("eval" in map(str, entry.values()) for entry in denied), denied


async def test_a_user_who_may_not_track_is_read_by_blocking(limited):
    server, redis_server = limited("-client|tracking")
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.update("by block")
        assert (await receive(ws))["message"] == "by block"
    assert request(server, "GET", f"/api/v1/tasks/{worker.thread}/stream-info")[2]["mode"] == "block"
    assert server.said("tracking_refused")


def test_a_password_that_is_missing_is_said_once(start_redis, start_server):
    redis_server = start_redis()
    redis_server.client().config_set("requirepass", "SECRET")
    server = start_server(redis_url=f"redis://127.0.0.1:{redis_server.port}/0", wait=False)
    eventually(lambda: "NOAUTH" in server.log, "a word about the password in the log")
    time.sleep(2)
    assert "redis_back" not in server.log and "tail_connected" not in server.log
    # The tails of both workers, and who asks for state.
    assert server.log.count("NOAUTH") <= 4, server.log
    assert request(server, "GET", "/readyz")[0] == 503


def test_a_password_is_never_repeated(start_redis, start_server):
    def unknown(command):
        words = command.split(b"\r\n")[2::2]
        if words[0] not in (b"HELLO", b"AUTH"):
            return None
        # As Redis does it.
        args = " ".join(f"'{word.decode()}'" for word in words[1:])
        return f"-ERR unknown command '{words[0].decode()}', with args beginning with: {args}\r\n".encode()

    proxy = RedisProxy(start_redis(), unknown)
    url = f"redis://:SECRET@127.0.0.1:{proxy.port}/0"
    server = start_server(redis_url=url, wait=False)
    eventually(lambda: "redis_unreachable" in server.log, "a word about Redis in the log")
    status, _, body = request(server, "GET", "/readyz")
    assert status == 503
    assert "SECRET" not in server.log and "SECRET" not in str(body)
    proxy.close()


def test_what_may_be_written_in_part_only_is_not_called_unwritten(limited):
    server, redis_server = limited("-hset")
    worker = Worker(redis_server.client())
    path = f"/api/v1/tasks/{worker.thread}/updates"
    status, _, body = request(server, "POST", path, {"message": "m"})
    assert status == 504 and "only a part was written" in body["detail"]
    for rule in ("-xadd", "-@all"):
        set_rules(redis_server, rule)
        before = worker.redis.xlen(worker.stream)
        assert request(server, "POST", path, {"message": "m"})[0] == 503
        assert worker.redis.xlen(worker.stream) == before
    set_rules(redis_server, "+@all", "resetkeys", "~sre:thread:*", "~sre:stream:*", "~sre:threads:*")
    status, _, body = request(server, "POST", path, {"message": "m"})
    assert status == 503 and worker.redis.xlen(worker.stream) == before


@pytest.mark.parametrize("rules", [["-multi"], ["-info"]])
async def test_without_multi_or_info_all_is_delivered(limited, rules):
    server, redis_server = limited(*rules)
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
        for maxlen in (None, 3, None, 1):
            for n in range(4):
                worker.redis.xadd(worker.stream, {"message": str(n)}, maxlen=maxlen, approximate=False)
                frames = await collect(ws, 1)
                assert_chained(frames, position)
                position = frames[-1]["stream_id"]
