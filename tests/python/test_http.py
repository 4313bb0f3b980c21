"""The HTTP API for any client: reading, errors, and HTTP itself (protocol §4)."""

import json
import time

import pytest

from processes import request
from rawsocket import Raw
from support import Worker, connect, initial, keys, milliseconds, new_thread

TASKS = "/api/v1/tasks"


def assert_error(reply, status):
    assert reply[0] == status, reply
    assert set(reply[2]) == {"detail"} and isinstance(reply[2]["detail"], str) and reply[2]["detail"]
    assert reply[1]["Content-Type"].startswith("application/json")


async def test_stream_info_counts(server, viewed):
    path = f"{TASKS}/{viewed.thread}/stream-info"
    status, headers, info = request(server, "GET", path)
    assert status == 200 and headers["Content-Type"].startswith("application/json")
    expected = {
        "thread_id": viewed.thread, "stream_key": viewed.stream, "stream_length": 0,
        "active_connections": 0, "consumer_active": False,
    }
    assert expected.items() <= info.items()
    async with connect(server, viewed.thread) as one, connect(server, viewed.thread) as two:
        await initial(one), await initial(two)
        for n in range(3):
            viewed.update(f"update {n}")
        info = request(server, "GET", path)[2]
        assert info["stream_length"] == 3 and info["active_connections"] == 2
        assert info["consumer_active"] is True


async def test_stream_info_counts_the_whole_process(start_server, redis_server, viewed):
    server = start_server(redis_server, "--workers", "4")
    path = f"{TASKS}/{viewed.thread}/stream-info"
    sockets = [await connect(server, viewed.thread) for _ in range(40)]
    for ws in sockets:
        await initial(ws)
    for _ in range(10):
        assert request(server, "GET", path)[2]["active_connections"] == 40
    for ws in sockets:
        await ws.close()


async def test_stream_info_tells_the_last_id_and_the_mode(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        last = viewed.update("one")
        info = request(server, "GET", f"{TASKS}/{viewed.thread}/stream-info")[2]
    assert info["last_stream_id"] == last
    assert isinstance(info["mode"], str) and info["lagging"] == 0


def test_stream_info_of_a_task_without_a_stream(server, thread):
    reply = request(server, "GET", f"{TASKS}/{thread}/stream-info")
    if reply[0] != 404:
        assert reply[0] == 200 and reply[2]["stream_length"] == 0


def test_the_state_of_a_task(server, worker):
    for n in range(15):
        worker.update(f"update {n}", metadata={"n": n})
    worker.result({"ok": True})
    last = worker.error("broken")
    status, _, state = request(server, "GET", f"{TASKS}/{worker.thread}")
    members = {"thread_id", "status", "updates", "result", "error_message", "metadata", "context", "stream_id"}
    assert status == 200 and members <= set(state)
    assert state["thread_id"] == worker.thread and state["status"] == "failed"
    assert [u["message"] for u in state["updates"]] == [f"update {n}" for n in range(15)]
    assert state["updates"][3]["metadata"] == {"n": 3}
    assert state["result"] == {"ok": True} and state["error_message"] == "broken"
    assert state["metadata"]["created_at"] and state["context"] == {}
    assert state["stream_id"] == last


def test_the_state_of_a_task_is_where_the_agent_has_it_too(server, worker):
    worker.update("one", metadata={"n": 1})
    worker.result({"ok": True})
    path = f"/api/v1/threads/{worker.thread}"
    assert request(server, "GET", path)[2] == request(server, "GET", f"{TASKS}/{worker.thread}")[2]
    assert_error(request(server, "GET", f"/api/v1/threads/{new_thread()}"), 404)
    assert_error(request(server, "GET", "/api/v1/threads/a.b"), 400)
    assert_error(request(server, "GET", f"{path}/cancel"), 404)
    assert_error(request(server, "DELETE", path), 405)


def test_the_context_of_a_task(server, viewed):
    viewed.redis.hset(f"sre:thread:{viewed.thread}:context", mapping={"query": "why?", "n": "7", "list": "[1]"})
    context = request(server, "GET", f"{TASKS}/{viewed.thread}")[2]["context"]
    assert context["query"] == "why?" and str(context["n"]) == "7" and context["list"] in ([1], "[1]")


def test_an_unknown_task_is_404(server, thread):
    assert_error(request(server, "GET", f"{TASKS}/{thread}"), 404)
    for action, body in ACTIONS.items():
        assert_error(request(server, "POST", f"{TASKS}/{thread}/{action}", body), 404)


@pytest.mark.parametrize("bad", ["a%20b", "x" * 129, "%ff", "a.b"])
def test_a_malformed_thread_id_is_400(server, bad):
    for path in (f"{TASKS}/{bad}", f"{TASKS}/{bad}/stream-info"):
        assert_error(request(server, "GET", path), 400)
    assert_error(request(server, "POST", f"{TASKS}/{bad}/updates", {"message": "m"}), 400)


@pytest.mark.parametrize("path", ["/api", "/api/v1/nothing", "/api/v1/tasks/x/nothing", "/healthz/x", "//", "/..", "/API/v1/tasks"])
def test_an_unknown_path_is_404(server, path):
    assert_error(request(server, "GET", path), 404)


ACTIONS = {
    "updates": {"message": "m"},
    "status": {"status": "done"},
    "result": {"result": {}},
    "error": {"error_message": "e"},
}


@pytest.mark.parametrize("method, path, allowed", [
    ("DELETE", f"{TASKS}/x", {"GET", "HEAD"}),
    ("POST", f"{TASKS}/x/stream-info", {"GET", "HEAD"}),
    ("GET", "/api/v1/triage", {"POST"}),
    ("PUT", f"{TASKS}/x/updates", {"POST"}),
    ("POST", "/healthz", {"GET", "HEAD"}),
    ("POST", "/readyz", {"GET", "HEAD"}),
    ("POST", "/metrics", {"GET", "HEAD"}),
    ("POST", TASKS, {"GET", "HEAD"}),
    ("PATCH", "/", {"GET", "HEAD"}),
])
def test_a_method_that_a_path_lacks_is_405_and_names_those_it_has(server, method, path, allowed):
    reply = request(server, method, path, b"")
    assert_error(reply, 405)
    assert {m.strip() for m in reply[1]["Allow"].split(",")} - {"OPTIONS"} == allowed


def test_health_readiness_and_metrics(server):
    assert request(server, "GET", "/healthz")[0] == 200
    assert request(server, "GET", "/readyz")[0] == 200
    status, headers, text = request(server, "GET", "/metrics")
    assert status == 200 and headers["Content-Type"].startswith("text/plain")
    assert "# TYPE" in text and "# HELP" in text
    for line in text.splitlines():
        assert line.startswith("#") or float(line.rsplit(" ", 1)[1]) >= 0


async def test_metrics_count_viewers_and_frames(start_server, redis_server, viewed):
    server = start_server(redis_server)

    def total(part):
        return sum(value for name, value in server.metrics().items() if part in name)

    before = server.metrics()
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        viewed.update("one")
        await ws.recv()
        changed = {name for name, value in server.metrics().items() if value != before.get(name)}
    for part in ("viewers", "frames", "bytes", "entries"):
        assert any(part in name for name in changed), (part, changed)
    assert total("redis") > 0


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", TASKS, "/"])
def test_head_has_the_headers_of_get_and_no_body(server, path):
    with Raw(server) as raw:
        for _ in range(2):
            raw.send(f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            status, headers, _ = raw.read_reply(head_only=True)
            assert status == 200 and int(headers["content-length"]) > 0


def test_a_connection_is_kept_alive(server, viewed):
    with Raw(server) as raw:
        for path, wanted in [("/healthz", 200), (f"{TASKS}/{viewed.thread}", 200), ("/nothing", 404), ("/healthz", 200)]:
            raw.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert raw.read_reply()[0] == wanted


def test_a_connection_ends_when_asked_to(server):
    for head in ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "GET /healthz HTTP/1.0\r\n\r\n"):
        with Raw(server) as raw:
            raw.send(head.encode())
            assert raw.read_reply()[0] == 200
            raw.read_end()


def test_requests_may_be_pipelined(server):
    with Raw(server) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 20 + b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert [raw.read_reply()[0] for _ in range(21)] == [200] * 20 + [404]


def test_a_body_may_be_chunked(server, viewed):
    head = f"POST {TASKS}/{viewed.thread}/updates HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
    with Raw(server) as raw:
        for body in (b'c\r\n{"message": \r\n9\r\n"chunks"}\r\n0\r\n\r\n', b'15\r\n{"message":"again!!"}\r\n0\r\n\r\n'):
            raw.send(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
            assert raw.read_reply()[0] == 202
    assert len(viewed.redis.xrange(viewed.stream)) == 2


def test_a_body_may_wait_for_100_continue(server, viewed):
    body = b'{"message": "patient"}'
    head = (f"POST {TASKS}/{viewed.thread}/updates HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    with Raw(server) as raw:
        raw.send(head.encode())
        assert raw.read_head()[0] == 100
        raw.send(body)
        assert raw.read_reply()[0] == 202


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00" * 20, b"HELLO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 10 + b"\xff\r\n\r\n"])
def test_garbage_is_refused_and_harms_nobody(server, garbage):
    with Raw(server) as raw:
        raw.send(garbage)
        try:
            assert raw.read_head()[0] >= 400
        except (EOFError, ConnectionError):
            pass
    assert request(server, "GET", "/healthz")[0] == 200


CORS = 'cors_origins = ["https://app.example"]\n'


def test_cors_allows_the_origins_of_the_configuration_only(start_server, redis_server):
    server = start_server(redis_server, config=CORS)
    status, headers, _ = request(server, "GET", TASKS, headers={"Origin": "https://app.example"})
    assert status == 200 and headers["Access-Control-Allow-Origin"] in ("https://app.example", "*")
    _, headers, _ = request(server, "GET", TASKS, headers={"Origin": "https://evil.example"})
    assert headers["Access-Control-Allow-Origin"] is None
    preflight = {
        "Origin": "https://app.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type",
    }
    status, headers, _ = request(server, "OPTIONS", "/api/v1/triage", headers=preflight)
    assert status in (200, 204)
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert "content-type" in headers["Access-Control-Allow-Headers"].lower()


def test_the_list_has_the_newest_tasks_first(start_server, start_redis):
    server = start_server(start_redis())
    made = [request(server, "POST", "/api/v1/triage", {"query": f"q {n}"})[2]["thread_id"] for n in range(5)]
    request(server, "POST", f"{TASKS}/{made[2]}/status", {"status": "in_progress"})
    request(server, "POST", f"{TASKS}/{made[2]}/updates", {"message": "at work"})
    status, _, reply = request(server, "GET", TASKS)
    listed = reply if isinstance(reply, list) else reply["tasks"]
    assert status == 200 and {t["thread_id"] for t in listed} == set(made)
    (touched,) = (t for t in listed if t["thread_id"] == made[2])
    assert touched["status"] == "in_progress"
    reply = request(server, "GET", f"{TASKS}?limit=2")[2]
    assert len(reply if isinstance(reply, list) else reply["tasks"]) == 2


def test_the_list_holds_at_most_200(start_server, start_redis):
    redis_server = start_redis()
    server, redis = start_server(redis_server), redis_server.client()
    for n in range(230):
        worker = Worker(redis, f"t{n}")
        redis.zadd("sre:threads:index", {worker.thread: time.time() + n})
    for limit in (200, 50, 1):
        reply = request(server, "GET", f"{TASKS}?limit={limit}")[2]
        listed = reply if isinstance(reply, list) else reply["tasks"]
        assert [t["thread_id"] for t in listed] == [f"t{n}" for n in range(229, 229 - limit, -1)]


def test_rows_of_the_index_that_are_no_tasks_do_not_count(start_server, start_redis):
    redis_server = start_redis()
    server, redis = start_server(redis_server), redis_server.client()
    index = "sre:threads:index"
    redis.zadd(index, {f"gone{n}": 1000 + n for n in range(300)})
    redis.zadd(index, {b"\xff\xfe": 2000, "not an id": 2001, "": 2002})
    for n in range(3):
        Worker(redis, f"t{n}")
        redis.zadd(index, {f"t{n}": n})
    for limit in (1, 2, 50):
        listed = request(server, "GET", f"{TASKS}?limit={limit}")[2]["tasks"]
        assert [t["thread_id"] for t in listed] == ["t2", "t1", "t0"][:limit]
    redis.zadd(index, {f"gone{n}": 1000 + n for n in range(1500)})
    assert request(server, "GET", TASKS)[::2] == (200, {"tasks": []}), "it looks at 1,000 rows"


def test_an_index_of_another_type_is_an_empty_list(start_server, start_redis):
    redis_server = start_redis()
    server, redis = start_server(redis_server), redis_server.client()
    redis.set("sre:threads:index", "x")
    assert request(server, "GET", TASKS)[::2] == (200, {"tasks": []})
    thread = request(server, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
    for action, body in ACTIONS.items():
        assert request(server, "POST", f"{TASKS}/{thread}/{action}", body)[0] == 202
    assert redis.get("sre:threads:index") == "x"


def test_a_key_of_another_type_is_told_and_nothing_is_written(server, thread):
    redis, key = server.redis, keys(thread)
    redis.set(key["status"], "queued")
    redis.set(key["updates"], "no list")
    reply = request(server, "POST", f"{TASKS}/{thread}/updates", {"message": "m"})
    assert_error(reply, 503)
    assert "WRONGTYPE" in reply[2]["detail"]
    assert not redis.exists(key["metadata"])


def test_a_readiness_that_redis_refuses_is_503(start_server, start_redis):
    redis_server = start_redis()
    server, redis = start_server(redis_server), redis_server.client()
    redis.acl_setuser("default", enabled=True, nopass=True, commands=["-get"])
    assert_error(request(server, "GET", "/readyz"), 503)


@pytest.mark.parametrize("limit", ["abc", "-1", "", "1.5", "99999999999999999999999"])
def test_a_limit_that_is_no_number_is_refused(server, limit):
    reply = request(server, "GET", f"{TASKS}?limit={limit}")
    assert_error(reply, 422 if reply[0] == 422 else 400)


def test_times_are_iso_8601_in_utc(server):
    before = time.time() * 1000 - 2000
    thread = request(server, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
    request(server, "POST", f"{TASKS}/{thread}/updates", {"message": "m"})
    state = request(server, "GET", f"{TASKS}/{thread}")[2]
    for when in (state["updates"][0]["timestamp"], state["metadata"]["created_at"]):
        assert before < milliseconds(when) < time.time() * 1000 + 2000


def test_a_task_of_the_embedded_log_reads_the_same(embedded):
    thread = request(embedded, "POST", "/api/v1/triage", {"query": "q", "context": {"a": 1}})[2]["thread_id"]
    for action, body in ACTIONS.items():
        assert request(embedded, "POST", f"{TASKS}/{thread}/{action}", body)[0] == 202
    state = request(embedded, "GET", f"{TASKS}/{thread}")[2]
    assert state["status"] == "failed" and state["result"] == {} and state["error_message"] == "e"
    assert request(embedded, "GET", f"{TASKS}/{thread}/stream-info")[2]["stream_length"] >= 5
    assert_error(request(embedded, "GET", f"{TASKS}/{new_thread()}"), 404)
    assert json.dumps(thread) in json.dumps(request(embedded, "GET", TASKS)[2])


# Whom a request is addressed to


@pytest.mark.parametrize("host, status", [
    ("localhost", 200), ("LocalHost:1", 200), ("127.0.0.1", 200), ("[::1]:8000", 200), ("10.1.2.3", 200),
    ("tasks.example", 200), ("Tasks.Example:443", 200), ("evil.example", 421), ("localhost.evil.example", 421), ("x", 421),
])
def test_a_page_that_calls_this_machine_by_its_own_name_gets_nothing(start_server, redis_server, host, status):
    for config in ('hosts = ["tasks.example"]\n', 'hosts = ["tasks.example"]\n' + ACCESS):
        server = start_server(redis_server, config=config)
        for method, path in [("GET", "/healthz"), ("GET", "/"), ("OPTIONS", "/api/v1/tasks"), ("GET", "/api/v1/ws"), ("POST", "/api/v1/triage")]:
            with Raw(server) as raw:
                raw.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n".encode())
                code = raw.read_head()[0]
            assert (code == 421) == (status == 421) and (code == status or path != "/healthz"), (method, path, code)


ACCESS = '[[access.key]]\nname = "k"\nsha256 = "' + "0" * 64 + '"\ngrants = ["list"]\n'
