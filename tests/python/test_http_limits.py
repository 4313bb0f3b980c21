"""What one HTTP client can take of the server: memory, time, connections, files (protocol §4)."""

import asyncio
import json
import os
import signal
import socket
import time

import pytest

from processes import environment, eventually, request
from rawsocket import Raw
from support import Worker, connect, initial, keys, receive

TASKS = "/api/v1/tasks"
MIB = 1 << 20


def limits(**values):
    """A configuration with these limits, and what else has to change with them."""
    return "[limits]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())


def get(path, *headers):
    return "".join([f"GET {path} HTTP/1.1\r\nHost: localhost\r\n", *(f"{h}\r\n" for h in headers), "\r\n"]).encode()


def post(path, length):
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n".encode()


def growth_mib(server, before_kib):
    return (server.rss_kib() - before_kib) / 1024


def files(server):
    """How many files the server has open."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def charged(server, kind="bodies"):
    """What the account says is held of bodies."""
    return server.metrics()[f'taskcast_memory_bytes{{kind="{kind}"}}']


def large_task(redis, mib, each=100 * 1024):
    """A task with that many MiB of updates."""
    worker = Worker(redis)
    update = json.dumps({"timestamp": "t", "message": "x" * each, "update_type": "progress", "metadata": None})
    for _ in range(mib * MIB // len(update)):
        redis.lpush(worker.key("updates"), update)
    return worker


def ended(raw, seconds):
    """Whether the server ends the connection within that time; what it sent is thrown away."""
    raw.socket.settimeout(seconds)
    try:
        while raw.socket.recv(1 << 16):
            pass
        return True
    except ConnectionError:
        return True
    except TimeoutError:
        return False


# Time


def test_a_body_has_its_time_in_all_not_per_pause(start_server, redis_server):
    server = start_server(redis_server, config=limits(body_timeout_ms=1500))
    with Raw(server) as raw:
        raw.send(post("/api/v1/triage", 1000) + b"{")
        began = time.monotonic()
        raw.socket.settimeout(0.2)
        reply = b""
        while not reply and time.monotonic() < began + 20:
            raw.send(b" ")
            try:
                reply = raw.socket.recv(1 << 16)
            except TimeoutError:
                pass
        assert reply.startswith(b"HTTP/1.1 408 "), reply
        assert b'{"detail":' in reply and b"connection: close" in reply.lower()
        assert ended(raw, 20)


def test_a_head_has_its_time_in_all_not_per_pause(start_server, redis_server):
    server = start_server(redis_server, config=limits(handshake_timeout_ms=1000))
    with Raw(server) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\n")
        end = time.monotonic() + 20
        with pytest.raises(OSError):
            while time.monotonic() < end:
                raw.send(b"x: y\r\n")
                time.sleep(0.1)


def test_who_takes_nothing_of_an_answer_is_cut_and_gives_back_what_it_held(start_server, redis_server):
    server = start_server(redis_server, config=limits(stall_timeout_ms=1500))
    worker = large_task(redis_server.client(), 10)
    request(server, "GET", f"{TASKS}/{worker.thread}")
    before, open_before = server.rss_kib(), files(server)
    stalled = []
    for _ in range(60):
        raw = Raw(server)
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.send(get(f"{TASKS}/{worker.thread}"))
        stalled.append(raw)
    for raw in stalled:
        raw.socket.recv(1, socket.MSG_PEEK)
    assert charged(server, "responses") == int(stalled[0].read_head()[1]["content-length"])
    assert growth_mib(server, before) < 100, "they share one answer"
    # Before any of them reads on: who is not cut yet would be one who takes it slowly.
    eventually(lambda: charged(server, "responses") == 0, "what was held is given back")
    eventually(lambda: files(server) <= open_before, "each is cut")
    for raw in stalled:
        with pytest.raises(ConnectionError):
            while raw.socket.recv(MIB):
                pass


def test_who_takes_an_answer_slowly_is_not_cut(start_server, redis_server):
    server = start_server(redis_server, config=limits(stall_timeout_ms=700))
    worker = large_task(redis_server.client(), 10)
    whole = request(server, "GET", f"{TASKS}/{worker.thread}")[2]
    with Raw(server) as raw:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        raw.send(get(f"{TASKS}/{worker.thread}"))
        status, headers = raw.read_head()
        size, parts = int(headers["content-length"]), [raw.buffer]
        while (have := sum(map(len, parts))) < size:
            data = raw.socket.recv(MIB)
            assert data, f"it was cut after {have} of {size} bytes"
            parts.append(data)
            time.sleep(0.003)
    assert status == 200 and json.loads(b"".join(parts)) == whole


# Memory


def test_responses_that_are_taken_slowly_leave_room_for_what_is_sent(start_server, redis_server):
    server = start_server(redis_server, config=limits(memory_bytes_max=32 * MIB, attach_timeout_ms=3000))
    workers = [large_task(redis_server.client(), 4) for _ in range(6)]
    slow = [Raw(server) for _ in workers]
    for raw, worker in zip(slow, workers):
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.send(get(f"{TASKS}/{worker.thread}"))
    eventually(lambda: charged(server, "responses") > 3 * MIB)
    for size in (10, 60_000, 500_000):
        assert request(server, "POST", "/api/v1/triage", {"query": "q" * size})[0] == 202
    assert charged(server, "responses") < 9 * MIB
    for raw in slow:
        raw.socket.close()
    eventually(lambda: charged(server, "responses") == 0, "what was held is given back")


def test_bodies_that_do_not_go_on_are_bounded_by_the_account(start_server, redis_server):
    server = start_server(redis_server, config=limits(memory_bytes_max=32 * MIB, body_timeout_ms=6000))
    before = server.rss_kib()
    half_read = []
    body = b" " * (MIB - 1)
    for _ in range(100):
        raw = Raw(server)
        raw.socket.settimeout(0)
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MIB)
        raw.socket.send(post("/api/v1/triage", MIB) + body)
        half_read.append(raw)
    deadline = time.monotonic() + 3
    peak = 0
    while time.monotonic() < deadline:
        for raw in half_read:
            try:
                raw.socket.send(b" ")
            except OSError:
                pass
        peak = max(peak, growth_mib(server, before))
        time.sleep(0.05)
    assert peak < 32 + 24, f"{peak} MiB"
    # One that is small is served all the while.
    assert request(server, "POST", "/api/v1/triage", {"query": "q" * 50_000})[0] == 202
    for raw in half_read:
        assert ended(raw, 20), "each is closed at its deadline"
    eventually(lambda: charged(server) == 0, "what was held is given back")


def test_a_body_for_which_there_never_is_room_is_too_long(start_server, redis_server):
    server = start_server(redis_server, config=limits(memory_bytes_max=MIB))
    status, _, body = request(server, "POST", "/api/v1/triage", {"query": "q" * 900_000})
    assert status == 413 and "at most" in body["detail"]
    assert request(server, "POST", "/api/v1/triage", {"query": "q" * 100_000})[0] == 202
    assert server.metrics()["taskcast_memory_refused_total"] == 0


def test_a_body_that_waits_for_room_goes_on_when_there_is_some(start_server, redis_server):
    server = start_server(redis_server, config=limits(memory_bytes_max=4 * MIB))
    body = json.dumps({"query": "q" * 900_000}).encode()
    with Raw(server) as first, Raw(server) as second, Raw(server) as third:
        for raw in (first, second):
            raw.send(post("/api/v1/triage", len(body)) + body[:-1])
        third.send(post("/api/v1/triage", len(body)) + body)
        time.sleep(0.5)
        first.socket.close()
        second.send(body[-1:])
        assert second.read_reply()[0] == 202
        assert third.read_reply()[0] == 202


def test_a_body_for_which_there_is_no_room_in_its_time_is_503(start_server, redis_server):
    server = start_server(redis_server, config=limits(memory_bytes_max=4 * MIB, body_timeout_ms=2000))
    with Raw(server) as raw, Raw(server) as other:
        # Its time has begun, and it holds little yet.
        raw.send(b"POST /api/v1/triage HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n")
        little = eventually(lambda: charged(server))
        time.sleep(1)
        other.send(post("/api/v1/triage", 600_000) + b" " * 500_000)
        eventually(lambda: charged(server) > little + 500_000)
        raw.send(f"{600_000:x}\r\n".encode() + b" " * 600_000)
        status, headers, body = raw.read_reply()
        assert status == 503 and headers["connection"] == "close" and "memory" in json.loads(body)["detail"]
    assert server.metrics()["taskcast_memory_refused_total"] == 1


def test_a_read_for_which_there_is_no_room_in_its_time_is_503(start_server, redis_server):
    server = start_server(redis_server, config=limits(memory_bytes_max=7 * MIB, attach_timeout_ms=1000))
    worker = large_task(redis_server.client(), 1)
    half_read = [Raw(server) for _ in range(30)]
    for raw in half_read[:4]:
        raw.send(post("/api/v1/triage", 900_000) + b" " * 500_000)
    # Small ones may hold more, but no body all of it.
    for raw in half_read[4:]:
        raw.send(post("/api/v1/triage", 60_000) + b" " * 50_000)
    refused = eventually(lambda: (reply := request(server, "GET", f"{TASKS}/{worker.thread}"))[0] == 503 and reply)
    assert refused[2]["detail"]
    assert request(server, "GET", "/healthz")[0] == 200
    for raw in half_read:
        raw.socket.close()
    eventually(lambda: request(server, "GET", f"{TASKS}/{worker.thread}")[0] == 200)


def test_a_read_that_has_begun_is_not_given_up(start_server, redis_server):
    server = start_server(redis_server, config=limits(attach_timeout_ms=100))
    worker = large_task(redis_server.client(), 60)
    status, _, state = request(server, "GET", f"{TASKS}/{worker.thread}", timeout=60)
    assert status == 200 and len(state["updates"]) > 500


def test_a_body_that_means_nothing_is_not_kept(start_server, redis_server):
    server = start_server(redis_server)
    before = server.rss_kib()
    with Raw(server) as raw:
        raw.send(f"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MIB}\r\n\r\n".encode() + b"x" * MIB)
        assert raw.read_reply()[0] == 200
    assert growth_mib(server, before) < 8


def test_a_state_larger_than_the_account_is_read_all_the_same(start_server, redis_server):
    server = start_server(redis_server, config=limits(memory_bytes_max=4 * MIB))
    worker = large_task(redis_server.client(), 8)
    worker.redis.set(worker.key("result"), json.dumps("r" * (3 * MIB)))
    state = request(server, "GET", f"{TASKS}/{worker.thread}")[2]
    assert len(state["updates"]) == 81 and len(state["result"]) == 3 * MIB
    eventually(lambda: request(server, "GET", f"{TASKS}/{worker.thread}")[0] == 200)


# Reads


@pytest.mark.parametrize("layout", ["thread", "task"])
def test_a_large_state_reads_as_a_small_one_does(server, redis_server, layout):
    redis = redis_server.client()
    worker = Worker(redis, layout=layout)
    for n in range(30):
        worker.update(f"{n} " + "x" * 100_000, metadata={"n": n})
    worker.result({"large": "é" * 2_000_000})
    last = worker.error("broken")
    redis.hset(f"sre:thread:{worker.thread}:context", mapping={"query": "why?"})
    state = request(server, "GET", f"{TASKS}/{worker.thread}")[2]
    assert [update["metadata"]["n"] for update in state["updates"]] == list(range(30))
    assert state["result"] == {"large": "é" * 2_000_000} and state["status"] == "failed"
    assert (state["error_message"], state["stream_id"], state["context"]["query"]) == ("broken", last, "why?")
    assert state["metadata"]["created_at"]


def test_equal_reads_are_one_but_none_is_older_than_its_question(server, redis_server):
    redis = redis_server.client()
    worker = large_task(redis, 10)
    before = redis.info("commandstats")["cmdstat_lrange"]["calls"] if "cmdstat_lrange" in redis.info("commandstats") else 0
    asking = [Raw(server) for _ in range(60)]
    for raw in asking:
        raw.send(get(f"{TASKS}/{worker.thread}"))
    for raw in asking:
        assert raw.read_reply()[0] == 200
        raw.socket.close()
    calls = redis.info("commandstats")["cmdstat_lrange"]["calls"] - before
    assert calls < 60, f"{calls} pieces for what three reads bring"
    path = f"{TASKS}/{worker.thread}"
    with Raw(server) as earlier:
        for n in range(20):
            earlier.send(get(path))
            assert request(server, "POST", f"{path}/status", {"status": "in_progress" if n % 2 else "done"})[0] == 202
            wanted = "in_progress" if n % 2 else "done"
            assert request(server, "GET", path)[2]["status"] == wanted
            earlier.read_reply()


async def test_large_reads_leave_redis_time_for_others(server, redis_server):
    redis = redis_server.client()
    tasks = [large_task(redis, 10) for _ in range(3)]
    watched = Worker(redis)
    redis.config_resetstat()
    redis.config_set("slowlog-log-slower-than", 50_000)
    redis.slowlog_reset()
    async with connect(server, watched.thread) as ws:
        await initial(ws)
        asking = []
        for n in range(60):
            raw = Raw(server)
            raw.send(get(f"{TASKS}/{tasks[n % 3].thread}"))
            asking.append(raw)
        for n in range(20):
            watched.update(f"{n}")
            assert (await receive(ws))["message"] == f"{n}"
        for raw in asking:
            assert (await asyncio.to_thread(raw.read_reply))[0] == 200
            raw.socket.close()
    slow = [entry for entry in redis.slowlog_get() if b"LRANGE" in str(entry["command"]).encode() or b"EVAL" in str(entry["command"]).encode()]
    assert not slow, "no single step of a read takes 50 ms of Redis"


def test_the_list_reads_what_it_shows(start_server, start_redis):
    redis_server = start_redis()
    server, redis = start_server(redis_server), redis_server.client()
    update = json.dumps({
        "timestamp": "t", "message": "m" * 200_000, "update_type": "progress",
        "metadata": {"progress": 40, "evidence": ["e" * 200_000]},
    })
    for n in range(200):
        worker = Worker(redis, f"t{n}", layout="task" if n % 2 else "thread")
        redis.set(worker.key("result"), "r" * MIB if n < 50 else "1")
        redis.lpush(worker.key("updates"), *([update] * 2))
        redis.hset(keys(worker.thread)["metadata"], mapping={"subject": f"s{n}", "notes": "n" * 10_000})
        redis.zadd("sre:threads:index", {worker.thread: 1000 + n})
    before = redis.info("stats")["total_net_output_bytes"]
    rows = request(server, "GET", f"{TASKS}?limit=200")[2]["tasks"]
    read = redis.info("stats")["total_net_output_bytes"] - before
    assert [row["thread_id"] for row in rows] == [f"t{n}" for n in range(199, -1, -1)]
    for row in rows:
        assert row["progress"] == 40 and row["subject"] == f"s{row['thread_id'][1:]}" and row["created_at"]
        assert row["status"] == "queued" and row["message"] == "m" * 4096
    assert read < 4 * MIB, f"{read} bytes of Redis for a list"
    answered = [request(server, "GET", f"{TASKS}?limit=200", timeout=60)[0] for _ in range(5)]
    assert answered == [200] * 5


def test_thirty_lists_at_once_are_answered(start_server, start_redis):
    redis_server = start_redis()
    server, redis = start_server(redis_server), redis_server.client()
    for n in range(200):
        worker = Worker(redis, f"t{n}")
        worker.result("r" * 200_000)
        redis.zadd("sre:threads:index", {worker.thread: n})
    asking = [Raw(server) for _ in range(30)]
    for raw in asking:
        raw.send(get(f"{TASKS}?limit=200"))
    assert [raw.read_reply()[0] for raw in asking] == [200] * 30


def test_a_task_that_may_not_be_read_is_left_out_of_the_list(start_server, start_redis):
    redis_server = start_redis()
    redis = redis_server.client()
    for n in range(5):
        redis.zadd("sre:threads:index", {Worker(redis, f"t{n}").thread: n})
    redis.acl_setuser("some", enabled=True, nopass=True, commands=["+@all"], keys=["*"])
    redis.execute_command("ACL", "SETUSER", "some", "resetkeys", "~sre:thread:t[0-3]:*", "~sre:thread:t[0-3]",
                          "~sre:thread:-*", "~sre:threads:index", "~sre:stream:*", "resetchannels", "&*")
    server = start_server(redis_url=f"redis://some:x@127.0.0.1:{redis_server.port}/0", wait=False)
    eventually(lambda: server.status("/healthz") == 200)
    rows = eventually(lambda: request(server, "GET", TASKS)[2].get("tasks"))
    assert [row["thread_id"] for row in rows] == ["t3", "t2", "t1", "t0"]
    assert request(server, "GET", f"{TASKS}/t4")[0] == 503
    redis.execute_command("ACL", "SETUSER", "some", "-getrange")
    status, _, reply = request(server, "GET", TASKS)
    assert status == 503 and "getrange" in reply["detail"].lower()


def test_each_request_has_its_own_time_where_redis_hangs(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, config=limits(redis_response_timeout_ms=500, attach_timeout_ms=1500))
    redis_server.pause()
    asking = [Raw(server) for _ in range(40)]
    for n, raw in enumerate(asking):
        raw.send(get((f"{TASKS}/t{n % 5}", f"{TASKS}/t{n}/stream-info", TASKS, "/readyz")[n % 4]))
    began = time.monotonic()
    for raw in asking:
        status, _, body = raw.read_reply()
        assert status == 503 and json.loads(body)["detail"]
    # Not one behind the other.
    assert time.monotonic() - began < 10
    redis_server.resume()
    eventually(lambda: request(server, "GET", TASKS)[0] == 200)


# Connections and files


def test_one_connection_too_many_is_503_until_another_ends(start_server, redis_server):
    server = start_server(redis_server, config=limits(http_connections_max=4))
    eventually(lambda: request(server, "GET", "/healthz")[0] == 200)
    held = []

    def one_more():
        raw = Raw(server)
        raw.send(get("/healthz"))
        return raw, raw.read_reply()

    while len(held) < 4:
        raw, reply = one_more()
        if reply[0] == 200:
            held.append(raw)
        else:
            raw.socket.close()
    with Raw(server) as silent:
        raw, (status, headers, body) = one_more()
        assert status == 503 and headers["connection"] == "close" and json.loads(body)["detail"]
        raw.read_end()
        # Those that are in go on, and so do viewers: their connections leave at once.
        held[0].send(get("/healthz"))
        assert held[0].read_reply()[0] == 200
        with Raw(server) as viewer:
            viewer.open("/api/v1/ws")
        held.pop().socket.close()
        assert eventually(lambda: one_more()[1][0] == 200)
        silent.send(b"x")


def test_files_are_kept_back_for_redis(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "2")
    thread = Worker(redis_server.client()).thread
    argv = server.popen.args
    server.stop()
    server.spawn(["prlimit", "--nofile=200:200", *argv], environment())
    server.wait_ready()
    with Raw(server) as viewer:
        viewer.open(f"/api/v1/ws/tasks/{thread}")
        assert viewer.read_json()["update_type"] == "initial_state"
        taken = []
        while len(taken) < 250:
            raw = Raw(server)
            taken.append(raw)
            raw.send(raw.handshake_bytes("/api/v1/ws"))
            if raw.read_head()[0] == 503:
                break
        assert 100 < len(taken) < 200
        # On the last files, health is still told, and everybody else is asked to come again.
        silent = [Raw(server) for _ in range(20)]
        for path, wanted in (("/healthz", 200), ("/api/v1/tasks", 503)) * 3:
            with Raw(server) as raw:
                raw.send(get(path))
                assert raw.read_reply()[0] == wanted
                raw.read_end()
        for raw in silent:
            assert ended(raw, 10), "a head has a second there"
        with redis_server.client() as redis:
            redis.client_kill_filter(_type="normal", skipme=True)
        Worker(redis_server.client(), thread, create=False).update("after")
        assert viewer.read_json()["message"] == "after"
        for raw in taken:
            raw.socket.close()


# RFC 9112


@pytest.mark.parametrize("head, wanted", [
    (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    (b"GET /api/v1/ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 400),
    (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    (b"GET /healthz HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", 200),
])
def test_a_request_has_one_host(server, head, wanted):
    with Raw(server) as raw:
        raw.send(head)
        status, headers, body = raw.read_reply()
        assert status == wanted
        if wanted == 400:
            assert json.loads(body)["detail"] and headers["connection"] == "close"


@pytest.mark.parametrize("sent, wanted", [
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n", 400),
    (b"\xff\xfe\r\n\r\n", 400),
])
def test_what_is_no_request_is_told_so_in_json(server, sent, wanted):
    with Raw(server) as raw:
        raw.send(sent)
        status, headers, body = raw.read_reply()
        assert status == wanted and headers["content-type"] == "application/json"
        assert set(json.loads(body)) == {"detail"}


# The end


async def test_who_was_connected_at_the_end_is_answered(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server, "--workers", "2")
    thread = Worker(redis_server.client()).thread
    silent = [Raw(server) for _ in range(20)]
    body = b'{"query":"why?"}'
    half = Raw(server)
    half.send(post("/api/v1/triage", len(body)) + body[:5])
    waiting = Raw(server)
    redis_server.pause()
    waiting.send(get(f"{TASKS}/{thread}"))
    await asyncio.sleep(0.3)
    server.signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    redis_server.resume()
    half.send(body[5:])
    assert half.read_reply()[0] == 202
    assert waiting.read_reply()[0] == 200
    for n, raw in enumerate(silent):
        if n % 2:
            raw.send(get("/healthz"))
            assert raw.read_reply()[0] == 200
        else:
            raw.open(f"/api/v1/ws/tasks/{thread}")
            assert raw.read_close() == 1012
            raw.socket.close()
    for raw in [*silent, half, waiting]:
        raw.socket.close()
    assert server.popen.wait(20) == 0


async def test_who_connects_as_the_server_is_ended_is_answered(start_server, redis_server):
    server = start_server(redis_server, "--workers", "2")
    came = []
    for n in range(200):
        raw = Raw(server)
        raw.send(get("/healthz") if n % 2 else raw.handshake_bytes("/api/v1/ws"))
        came.append(raw)
        if n == 150:
            server.pause()
    server.signal(signal.SIGTERM)
    server.resume()
    for n, raw in enumerate(came):
        assert raw.read_head()[0] == (200 if n % 2 else 101)
        if not n % 2:
            assert raw.read_close() == 1012
        raw.socket.close()
    assert server.popen.wait(30) == 0


def test_two_embedded_logs_on_one_address_are_refused(start_server):
    first = start_server(None, "--embedded")
    second = start_server(None, "--embedded", port=first.port, wait=False)
    assert second.popen.wait(20) == 4
    assert "cannot listen" in second.log and str(first.port) in second.log
    assert first.status("/healthz") == 200
    third = start_server(None, "--embedded", wait=False)
    third.kill()
    third.spawn([third.popen.args[0], "demo", "--listen", f"127.0.0.1:{first.port}"], environment())
    assert third.popen.wait(20) == 4
    assert "cannot listen" in third.log


def test_a_redis_server_may_take_an_address_over(start_server, redis_server):
    first = start_server(redis_server)
    second = start_server(redis_server, port=first.port)
    eventually(lambda: "worker_started" in second.log, "a second one")
    assert first.stop() == 0
    second.wait_ready()
    assert second.status("/healthz") == 200
