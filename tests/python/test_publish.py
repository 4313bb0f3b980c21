"""Publishing over HTTP: what it checks, what it writes, and that it is one step (protocol §4)."""

import json
import threading
import time

import pytest

from processes import eventually, request
from support import Worker, collect, connect, initial, keys, stream_key

TASKS = "/api/v1/tasks"
ADDED = {"thread_id", "timestamp", "stream_id", "prev_stream_id"}
MIB = 1 << 20


@pytest.fixture
def made(server):
    """A task that was made over HTTP."""
    status, _, body = request(server, "POST", "/api/v1/triage", {"query": "why is it slow?"})
    assert status == 202 and set(body) == {"thread_id", "status", "message"}
    assert body["status"] == "queued" and body["message"]
    return body["thread_id"]


def post(server, thread, action, body):
    status, _, reply = request(server, "POST", f"{TASKS}/{thread}/{action}", body)
    assert status == 202, reply
    return reply["stream_id"]


def events(redis, thread):
    """The events of a stream as their publisher wrote them."""
    return [
        {name: value for name, value in fields.items() if name not in ADDED}
        for _, fields in redis.xrange(stream_key(thread))
    ]


def test_triage_makes_a_task_in_the_thread_layout(server):
    body = {
        "query": "why?", "user_id": "u1", "session_id": "s1", "priority": 3, "tags": ["a", "b"],
        "context": {"cluster": "c1", "n": 1},
    }
    thread = request(server, "POST", "/api/v1/triage", body)[2]["thread_id"]
    redis, key = server.redis, keys(thread)
    assert redis.get(key["status"]) == "queued"
    metadata, context = redis.hgetall(key["metadata"]), redis.hgetall(key["context"])
    assert metadata["user_id"] == "u1" and metadata["session_id"] == "s1"
    assert metadata["priority"] == "3" and json.loads(metadata["tags"]) == ["a", "b"]
    assert metadata["created_at"]
    assert context["cluster"] == "c1" and context["n"] == "1"
    assert "why?" in context.values() or "why?" in metadata.values()
    assert abs(redis.zscore("sre:threads:index", thread) - time.time()) < 60
    assert len(thread) == 26 and thread.isalnum()
    assert all(0 < redis.ttl(key[k]) <= 86400 for k in ("status", "metadata", "context"))


async def test_a_status_is_stored_and_its_event_is_exact(server, made):
    async with connect(server, made) as ws:
        await initial(ws)
        stream_id = post(server, made, "status", {"status": "in_progress"})
        (frame,) = await collect(ws, 1)
    expected = {
        "update_type": "status_change", "status": "in_progress", "message": "Status changed to in_progress",
    }
    assert {k: v for k, v in frame.items() if k not in ADDED} == expected
    assert frame["stream_id"] == stream_id
    assert events(server.redis, made)[-1] == expected
    assert server.redis.get(keys(made)["status"]) == "in_progress"


async def test_an_update_is_stored_and_its_event_is_exact(server, made):
    async with connect(server, made) as ws:
        await initial(ws)
        post(server, made, "updates", {"message": "m1", "update_type": "tool_call", "metadata": {"a": [1, "x"]}})
        post(server, made, "updates", {"message": "m2"})
        one, two = await collect(ws, 2)
    own = {k: v for k, v in one.items() if k not in ADDED}
    assert own == {"update_type": "thread_update", "type": "tool_call", "message": "m1", "metadata": {"a": [1, "x"]}}
    assert two["update_type"] == "thread_update" and two["message"] == "m2" and two["type"] == "progress"
    assert not two.get("metadata")
    stored = [json.loads(u) for u in server.redis.lrange(keys(made)["updates"], 0, -1)]
    assert [u["message"] for u in stored] == ["m2", "m1"]
    assert set(stored[1]) == {"timestamp", "message", "update_type", "metadata"}
    assert stored[1]["update_type"] == "tool_call" and stored[1]["metadata"] == {"a": [1, "x"]}


@pytest.mark.parametrize("result", [{"root": "cause", "n": [1, 2.5, None]}, {}])
async def test_a_result_is_stored_and_its_event_is_exact(server, made, result):
    async with connect(server, made) as ws:
        await initial(ws)
        post(server, made, "result", {"result": result})
        (frame,) = await collect(ws, 1)
    own = {k: v for k, v in frame.items() if k not in ADDED}
    assert own == {"update_type": "result_set", "result": result, "message": "Task result available"}
    assert json.loads(server.redis.get(keys(made)["result"])) == result


async def test_an_error_is_stored_fails_the_task_and_has_two_events(server, made):
    async with connect(server, made) as ws:
        await initial(ws)
        last = post(server, made, "error", {"error_message": "disk full"})
        error, status = await collect(ws, 2)
    own = {k: v for k, v in error.items() if k not in ADDED}
    assert set(own) == {"update_type", "error_message", "message"}
    assert own["update_type"] == "error_set" and own["error_message"] == "disk full" and own["message"]
    assert {k: v for k, v in status.items() if k not in ADDED} == {
        "update_type": "status_change", "status": "failed", "message": "Status changed to failed",
    }
    assert status["stream_id"] == last and status["prev_stream_id"] == error["stream_id"]
    assert server.redis.get(keys(made)["error"]) == "disk full"
    assert server.redis.get(keys(made)["status"]) == "failed"


def test_every_step_renews_both_expiries(server, made):
    redis, key = server.redis, keys(made)
    bodies = {"status": {"status": "done"}, "updates": {"message": "m"}, "result": {"result": {}}, "error": {"error_message": "e"}}
    part = {"status": "status", "updates": "updates", "result": "result", "error": "error"}
    for action, body in bodies.items():
        post(server, made, action, body)
        redis.expire(stream_key(made), 50), redis.expire(key[part[action]], 50)
        post(server, made, action, body)
        assert 86000 < redis.ttl(stream_key(made)) <= 86400
        assert 86000 < redis.ttl(key[part[action]]) <= 86400


def test_100_updates_are_kept(server, made):
    for n in range(105):
        post(server, made, "updates", {"message": f"update {n}"})
    assert server.redis.llen(keys(made)["updates"]) == 100
    updates = request(server, "GET", f"{TASKS}/{made}")[2]["updates"]
    assert [u["message"] for u in updates] == [f"update {n}" for n in range(5, 105)]


def test_the_stream_is_bounded(start_server, redis_server):
    server = start_server(redis_server, config="[limits]\nstream_length_max = 200\n")
    thread = request(server, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
    for n in range(600):
        post(server, thread, "updates", {"message": f"update {n}"})
    # The bound is approximate: Redis trims whole nodes of up to 100 entries.
    assert 200 <= server.redis.xlen(stream_key(thread)) <= 320


def test_each_call_is_one_command_in_redis(server, made):
    redis, calls = server.redis, [
        ("status", {"status": "in_progress"}), ("updates", {"message": "m"}),
        ("result", {"result": {"a": 1}}), ("error", {"error_message": "e"}),
    ]
    for action, body in calls:
        post(server, made, action, body)
    with redis.monitor() as monitor:
        for action, body in calls:
            post(server, made, action, body)
        redis.echo(f"end of {made}")
        seen = []
        for command in monitor.listen():
            if "end of" in command["command"]:
                break
            if command["client_type"] != "lua" and made in command["command"]:
                seen.append(command["command"].split()[0].upper())
    assert seen == ["EVALSHA"] * 4


def test_publishing_goes_on_when_redis_forgot_the_script(server, made):
    post(server, made, "updates", {"message": "before"})
    server.redis.script_flush()
    post(server, made, "updates", {"message": "after"})
    assert [e["message"] for e in events(server.redis, made)[-2:]] == ["before", "after"]


def test_nobody_ever_sees_state_without_its_event(server, made):
    """Many readers, each in one step of Redis, while updates are published."""
    script = server.redis.register_script(
        "return {redis.call('LLEN', KEYS[1]), redis.call('XLEN', KEYS[2])}"
    )
    before = server.redis.xlen(stream_key(made))
    publisher = threading.Thread(
        target=lambda: [post(server, made, "updates", {"message": "m"}) for _ in range(90)]
    )
    publisher.start()
    while publisher.is_alive():
        updates, entries = script(keys=[keys(made)["updates"], stream_key(made)])
        assert updates == entries - before
    publisher.join()


@pytest.mark.parametrize("body", [b"", b"{", b"not json", b"\xff", b'{"query": "a"} x', b'{"query": NaN}'])
def test_a_body_that_is_no_json_is_400(server, made, body):
    headers = {"Content-Type": "application/json"}
    for path in ("/api/v1/triage", f"{TASKS}/{made}/updates", f"{TASKS}/{made}/status"):
        status, _, reply = request(server, "POST", path, body, headers)
        assert status == 400 and reply["detail"]


@pytest.mark.parametrize("action, body, member", [
    ("updates", {}, "message"),
    ("updates", {"message": 5}, "message"),
    ("updates", {"message": None}, "message"),
    ("updates", {"message": "m", "update_type": 1}, "update_type"),
    ("updates", {"message": "m", "metadata": [1]}, "metadata"),
    ("status", {}, "status"),
    ("status", {"status": "nonsense"}, "status"),
    ("status", {"status": "Done"}, "status"),
    ("status", {"status": 1}, "status"),
    ("result", {}, "result"),
    ("error", {}, "error_message"),
    ("error", {"error_message": {}}, "error_message"),
])
def test_a_body_that_is_wrong_is_422_and_names_the_member(server, made, action, body, member):
    before = events(server.redis, made)
    status, _, reply = request(server, "POST", f"{TASKS}/{made}/{action}", body)
    assert status == 422 and member in reply["detail"], reply
    assert events(server.redis, made) == before


@pytest.mark.parametrize("body, member", [
    ({}, "query"), ({"query": 1}, "query"), ({"query": "q", "user_id": 1}, "user_id"),
    ({"query": "q", "priority": "high"}, "priority"), ({"query": "q", "tags": "a"}, "tags"),
    ({"query": "q", "tags": [1]}, "tags"), ({"query": "q", "context": []}, "context"),
])
def test_a_triage_that_is_wrong_is_422_and_names_the_member(server, body, member):
    status, _, reply = request(server, "POST", "/api/v1/triage", body)
    assert status == 422 and member in reply["detail"], reply


@pytest.mark.parametrize("body", [b"[]", b"1", b'"x"', b"null"])
def test_a_body_that_is_no_object_is_422(server, made, body):
    headers = {"Content-Type": "application/json"}
    assert request(server, "POST", f"{TASKS}/{made}/updates", body, headers)[0] == 422


@pytest.mark.parametrize("status", ["queued", "in_progress", "awaiting_approval", "done", "completed", "failed", "cancelled"])
def test_each_status_of_the_field_may_be_set(server, made, status):
    post(server, made, "status", {"status": status})
    assert request(server, "GET", f"{TASKS}/{made}")[2]["status"] == status


def test_a_body_of_1_mib_is_read_and_a_larger_one_is_413(server, made):
    envelope = len('{"message": ""}')
    post(server, made, "updates", b'{"message": "' + b"x" * (MIB - envelope) + b'"}')
    too_large = b'{"message": "' + b"x" * (MIB - envelope + 1) + b'"}'
    status, _, reply = request(server, "POST", f"{TASKS}/{made}/updates", too_large)
    assert status == 413 and reply["detail"]


def test_a_chunked_body_over_1_mib_is_413_as_well(server, made):
    chunks = (b"x" * 65536 for _ in range(40))
    try:
        status, _, _ = request(server, "POST", f"{TASKS}/{made}/updates", chunks, {"Transfer-Encoding": "chunked"})
        assert status == 413
    except (BrokenPipeError, ConnectionError):
        pass
    assert request(server, "GET", "/healthz")[0] == 200


def test_publishing_to_a_task_of_an_existing_worker(server, redis_server):
    worker = Worker(redis_server.client())
    worker.update("theirs")
    post(server, worker.thread, "updates", {"message": "ours"})
    updates = request(server, "GET", f"{TASKS}/{worker.thread}")[2]["updates"]
    assert [u["message"] for u in updates] == ["theirs", "ours"]


def test_text_of_every_kind_survives(server, made):
    message = 'quotes " \\ \n\t \x00 \x1f é 😀 \u2028 </script>'
    post(server, made, "updates", {"message": message, "metadata": {"k": message}})
    update = request(server, "GET", f"{TASKS}/{made}")[2]["updates"][-1]
    assert update["message"] == message and update["metadata"] == {"k": message}


def test_numbers_in_metadata_and_result_keep_their_form(server, made):
    headers = {"Content-Type": "application/json"}
    body = b'{"result": {"big": 123456789012345678901234567890, "z": 1.10, "a": 1}}'
    assert request(server, "POST", f"{TASKS}/{made}/result", body, headers)[0] == 202
    stored = server.redis.get(keys(made)["result"])
    assert "123456789012345678901234567890" in stored and stored.index('"z"') < stored.index('"a"')


def test_redis_out_of_reach_is_503_and_nothing_is_written(start_server, start_redis):
    redis_server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    before = worker.update("before")
    redis_server.kill()
    # What is under way when Redis goes is another matter: nobody knows what became of it.
    eventually(lambda: server.status("/readyz") == 503)
    for method, path, body in [
        ("POST", "/api/v1/triage", {"query": "q"}), ("POST", f"{TASKS}/{worker.thread}/updates", {"message": "m"}),
        ("POST", f"{TASKS}/{worker.thread}/status", {"status": "done"}), ("GET", f"{TASKS}/{worker.thread}", None),
        ("GET", f"{TASKS}/{worker.thread}/stream-info", None), ("GET", TASKS, None), ("GET", "/readyz", None),
    ]:
        status, _, reply = request(server, method, path, body, timeout=30)
        assert status == 503 and "detail" in reply, (path, status, reply)
    assert request(server, "GET", "/healthz")[0] == 200
    redis_server.start()
    server.wait_ready()
    assert [i for i, _ in redis_server.client().xrange(worker.stream)] == [before]
    assert request(server, "POST", f"{TASKS}/{worker.thread}/updates", {"message": "m"})[0] == 202


def test_what_a_stalled_redis_was_asked_is_not_written_later(start_server, start_redis):
    redis_server = start_redis()
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    path = f"{TASKS}/{worker.thread}/updates"
    assert request(server, "POST", path, {"message": "warm"})[0] == 202
    redis_server.pause()
    # It is 504 where the connection was heard of just now, so that it was not looked at.
    status = request(server, "POST", path, {"message": "m"}, timeout=40)[0]
    redis_server.resume()
    assert status in (503, 504)
    server.wait_ready()
    eventually(lambda: request(server, "POST", path, {"message": "end"})[0] == 202)
    assert [e["message"] for e in events(worker.redis, worker.thread)] == ["warm", "end"]


@pytest.mark.parametrize("setting", [("maxmemory", "1"), ("min-replicas-to-write", "1")])
def test_a_redis_that_refuses_writes_is_503(start_server, start_redis, setting):
    redis_server = start_redis()
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    worker.redis.config_set(*setting)
    assert request(server, "POST", f"{TASKS}/{worker.thread}/updates", {"message": "m"})[0] == 503
    worker.redis.config_set(setting[0], "0")
    assert worker.redis.xlen(worker.stream) == 0 and worker.redis.llen(worker.key("updates")) == 0
    assert request(server, "POST", f"{TASKS}/{worker.thread}/updates", {"message": "m"})[0] == 202


def test_a_stream_that_has_no_more_ids_is_503(server, redis_server, made):
    redis, stream, last = redis_server.client(), stream_key(made), 2**64 - 1
    redis.xadd(stream, {"message": "next to last"}, id=f"{last}-{last - 1}")
    assert request(server, "POST", f"/api/v1/tasks/{made}/updates", {"message": "last"})[0] == 202
    reply = request(server, "POST", f"/api/v1/tasks/{made}/updates", {"message": "one more"})
    assert reply[0] == 503 and "exhausted" in reply[2]["detail"], reply
    assert redis.xinfo_stream(stream)["last-generated-id"] == f"{last}-{last}"


def test_redis_that_is_read_only_is_503(start_server, start_redis):
    redis_server, other = start_redis(), start_redis()
    server = start_server(redis_server)
    worker = Worker(redis_server.client())
    worker.redis.replicaof("127.0.0.1", other.port)
    status = request(server, "POST", f"{TASKS}/{worker.thread}/updates", {"message": "m"})[0]
    assert status == 503
