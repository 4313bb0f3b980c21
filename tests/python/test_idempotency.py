"""Publications with a key: the same thing is done once and answered the same (protocol §4)."""

import concurrent.futures
import http.client

import pytest

from processes import request
from support import new_thread, stream_key

TASKS = "/api/v1/tasks"
CALLS = [
    ("updates", {"message": "m", "metadata": {"a": [1, 2]}}, {"message": "m", "metadata": {"a": [2, 1]}}),
    ("updates", {"message": "m", "update_type": "tool_call"}, {"message": "m"}),
    ("status", {"status": "in_progress"}, {"status": "done"}),
    ("result", {"result": {"a": 1}}, {"result": {"a": 2}}),
    ("error", {"error_message": "one"}, {"error_message": "other"}),
]


@pytest.fixture(params=["server", "embedded"])
def either(request):
    """A server on Redis, and one on the embedded log."""
    return request.getfixturevalue(request.param)


def post(server, path, body, key=None):
    headers = {} if key is None else {"Idempotency-Key": key}
    status, _, reply = request(server, "POST", path, body, headers)
    return status, reply


def made(server, key=None):
    status, reply = post(server, "/api/v1/triage", {"query": "q"}, key)
    assert status == 202, reply
    return reply["thread_id"]


def length(server, thread):
    """How many entries its stream has."""
    return request(server, "GET", f"{TASKS}/{thread}/stream-info")[2]["stream_length"]


@pytest.mark.parametrize("call, body, other", CALLS)
def test_the_same_is_done_once_and_answered_the_same(either, call, body, other):
    thread = made(either)
    path, key = f"{TASKS}/{thread}/{call}", new_thread()
    first = post(either, path, body, key)
    assert first[0] == 202 and first[1]["stream_id"]
    entries, state = length(either, thread), request(either, "GET", f"{TASKS}/{thread}")[2]
    assert post(either, path, body, key) == first
    # Whatever came between.
    assert post(either, path, other, "another")[0] == 202
    between = length(either, thread) - entries
    assert post(either, path, body, key) == first
    assert length(either, thread) == entries + between
    assert state["stream_id"] == first[1]["stream_id"]


@pytest.mark.parametrize("call, body, other", CALLS)
def test_another_body_with_the_same_key_is_422_and_changes_nothing(either, call, body, other):
    thread = made(either)
    path, key = f"{TASKS}/{thread}/{call}", new_thread()
    assert post(either, path, body, key)[0] == 202
    before = request(either, "GET", f"{TASKS}/{thread}")[2]
    status, reply = post(either, path, other, key)
    assert status == 422 and "Idempotency-Key" in reply["detail"]
    assert request(either, "GET", f"{TASKS}/{thread}")[2] == before
    assert post(either, path, body, key)[0] == 202
    assert request(either, "GET", f"{TASKS}/{thread}")[2] == before


def test_a_triage_that_is_repeated_has_made_one_task(either):
    key, body = new_thread(), {"query": "why?", "user_id": "ada", "tags": ["a"], "context": {"n": 1}}
    status, first = post(either, "/api/v1/triage", body, key)
    assert status == 202
    thread = first["thread_id"]
    assert post(either, f"{TASKS}/{thread}/status", {"status": "done"})[0] == 202
    assert post(either, "/api/v1/triage", body, key) == (202, first)
    state = request(either, "GET", f"{TASKS}/{thread}")[2]
    assert state["status"] == "done" and length(either, thread) == 2
    newest = request(either, "GET", f"{TASKS}?limit=200")[2]["tasks"]
    assert [task["subject"] for task in newest].count("why?") == 1
    for other in ({"query": "why not?"}, {**body, "user_id": "bob"}, {**body, "tags": []}):
        assert post(either, "/api/v1/triage", other, key)[0] == 422
    assert made(either, new_thread()) != thread


def test_a_key_counts_on_its_own_path(either):
    one, other, key = made(either), made(either), new_thread()
    answers = [
        post(either, f"{TASKS}/{one}/updates", {"message": "m"}, key),
        post(either, f"{TASKS}/{other}/updates", {"message": "m"}, key),
        post(either, f"{TASKS}/{one}/error", {"error_message": "m"}, key),
        post(either, "/api/v1/triage", {"query": "m"}, key),
    ]
    assert [status for status, _ in answers] == [202] * 4
    assert length(either, one) == 1 + 1 + 2 and length(either, other) == 1 + 1


def test_without_a_key_each_is_another(either):
    thread = made(either)
    answers = [post(either, f"{TASKS}/{thread}/updates", {"message": "m"}) for _ in range(3)]
    assert len({reply["stream_id"] for _, reply in answers}) == 3 and length(either, thread) == 4


@pytest.mark.parametrize("key", ["", " ", "a b", "a\tb", "x" * 256, "é"])
def test_a_key_that_is_none_is_400(either, key):
    thread = made(either)
    for path, body in [(f"{TASKS}/{thread}/updates", {"message": "m"}), ("/api/v1/triage", {"query": "q"})]:
        status, reply = post(either, path, body, key)
        assert status == 400 and "Idempotency-Key" in reply["detail"], reply
    assert length(either, thread) == 1


def test_two_keys_are_400(either):
    connection = http.client.HTTPConnection("127.0.0.1", either.port, timeout=15)
    connection.putrequest("POST", "/api/v1/triage")
    for name, value in [("Idempotency-Key", "a"), ("idempotency-key", "b"), ("Content-Length", "13")]:
        connection.putheader(name, value)
    connection.endheaders(b'{"query":"q"}')
    assert connection.getresponse().status == 400
    connection.close()


@pytest.mark.parametrize("key", ["k", "x" * 255, '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "!~{}:,;"])
def test_a_key_is_of_any_visible_characters(either, key):
    thread = made(either)
    path = f"{TASKS}/{thread}/updates"
    assert post(either, path, {"message": "m"}, key) == post(either, path, {"message": "m"}, key)
    assert length(either, thread) == 2


def test_what_was_refused_may_come_again(start_server, start_redis):
    for server in (start_server(start_redis()), start_server(None, "--embedded")):
        path, key = f"{TASKS}/{new_thread()}/updates", new_thread()
        assert post(server, path, {"message": "m"}, key)[0] == 404
        thread = made(server)
        path = f"{TASKS}/{thread}/updates"
        assert post(server, path, {}, key)[0] == 422
        assert post(server, path, {"message": "m"}, key)[0] == 202
        assert length(server, thread) == 2


def test_of_many_at_once_one_is_done(either):
    thread, key = made(either), new_thread()
    path = f"{TASKS}/{thread}/updates"
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(either, path, {"message": "m"}, key), range(60)))
    assert all(answer == answers[0] for answer in answers) and answers[0][0] == 202
    assert length(either, thread) == 2


def test_each_server_on_the_same_redis_knows_the_key(start_server, server):
    other, thread, key = start_server(server.redis_server), made(server), new_thread()
    path = f"{TASKS}/{thread}/updates"
    first = post(server, path, {"message": "m"}, key)
    assert post(other, path, {"message": "m"}, key) == first
    assert post(other, path, {"message": "n"}, key)[0] == 422
    other.restart()
    assert post(other, path, {"message": "m"}, key) == first
    assert length(server, thread) == 2


def test_a_key_is_known_for_a_day_and_one_of_the_servers_own_for_a_minute(start_server, start_redis):
    server = start_server(start_redis(), "--key-prefix", "acme")
    thread = made(server, "given")
    redis = server.redis
    (record,) = redis.scan_iter("acme:publication:*")
    assert 86_000 < redis.ttl(record) <= 86_410
    post(server, f"{TASKS}/{thread}/updates", {"message": "m"})
    (own,) = set(redis.scan_iter("acme:publication:*")) - {record}
    assert 50 < redis.ttl(own) <= 70
    assert not list(redis.scan_iter("sre:*"))


def test_the_record_is_in_the_same_step_as_the_publication(server):
    thread = made(server)
    redis, path = server.redis, f"{TASKS}/{thread}/updates"
    post(server, path, {"message": "warm"})
    with redis.monitor() as monitor:
        for _ in range(2):
            assert post(server, path, {"message": "m"}, "step")[0] == 202
        redis.echo(f"end of {thread}")
        seen = []
        for command in monitor.listen():
            if "end of" in command["command"]:
                break
            if command["client_type"] != "lua" and stream_key(thread) in command["command"]:
                seen.append(command["command"].split()[0].upper())
    assert seen == ["EVALSHA"] * 2
