"""Tokens that are taken back (protocol §5): on every server within a second, also after a restart."""

import asyncio
import json
import subprocess
import time

import processes
import pytest
from processes import eventually, request
from rawsocket import Raw
from support import Worker, closed, connect, initial, receive
from tokens import API_KEY, CONFIG, bearer, token

WITH_LINKS = CONFIG.replace("[access]", '[access]\nsecret = "what only the servers know"')
STREAM = "sre:taskcast:revocations"


@pytest.fixture
def redis_server(start_redis):
    """Of this test alone: what is revoked stays so."""
    return start_redis()


@pytest.fixture
def worker(redis_server):
    worker = Worker(redis_server.client())
    worker.redis.set(worker.key("status"), "in_progress")
    return worker


def revoke(redis_server, *args):
    done = subprocess.run(
        [processes.binary(), "revoke", *args, "--redis", redis_server.url], capture_output=True, text=True,
        env=processes.environment(), timeout=20,
    )
    assert done.returncode == 0, done.stderr


def status(server, worker, token):
    return request(server, "GET", f"/api/v1/tasks/{worker.thread}", headers=bearer(token))[0]


async def test_who_watches_with_a_revoked_token_is_closed_on_every_server(start_server, redis_server, worker):
    servers = [start_server(redis_server, "--workers", "2", config=CONFIG) for _ in range(2)]
    ada, bob = (token({"watch": ["*"]}, sub=name, jti=f"{name}-1") for name in ("ada", "bob"))
    async with (
        connect(servers[0], worker.thread, additional_headers=bearer(ada)) as one,
        connect(servers[1], worker.thread, additional_headers=bearer(ada)) as two,
        connect(servers[1], path="/api/v1/ws", additional_headers=bearer(ada)) as many,
        connect(servers[0], worker.thread, additional_headers=bearer(bob)) as other,
    ):
        for ws in (one, two, other):
            await initial(ws)
        await many.send(json.dumps({"type": "subscribe", "thread_id": worker.thread}))
        await initial(many)
        await asyncio.to_thread(revoke, redis_server, "--subject", "ada")
        for ws in (one, two, many):
            code, frames = await closed(ws)
            assert code == 4003 and frames[-1]["error"] == "the token was revoked"
        seen = worker.update("goes on")
        assert (await receive(other))["stream_id"] == seen
    for server in servers:
        assert (status(server, worker, ada), status(server, worker, bob)) == (403, 200)
        async with connect(server, worker.thread, additional_headers=bearer(ada)) as ws:
            assert (await closed(ws))[0] == 4003
    # A token in the first message, and one of two.
    async with connect(servers[0], worker.thread) as ws:
        await ws.send(json.dumps({"type": "auth", "token": ada}))
        assert (await closed(ws))[0] == 4003
    both = {**bearer(ada), "X-API-Key": API_KEY}
    assert request(servers[0], "GET", f"/api/v1/tasks/{worker.thread}", headers=both)[0] == 403
    servers[0].restart()
    assert (status(servers[0], worker, ada), status(servers[0], worker, bob)) == (403, 200)


def test_only_what_was_issued_before(start_server, redis_server, worker):
    server, now = start_server(redis_server, config=CONFIG), int(time.time())
    old, new, unknown = (token({"watch": ["*"]}, sub="ada", iat=iat) for iat in (now - 100, now - 10, None))
    assert [status(server, worker, it) for it in (old, new, unknown)] == [200] * 3
    revoke(redis_server, "--subject", "ada", "--issued-before", str(now - 50))
    eventually(lambda: [status(server, worker, it) for it in (old, new, unknown)] == [403, 200, 403])
    # What takes less back does not give anything back.
    revoke(redis_server, "--subject", "ada", "--issued-before", str(now - 1000))
    revoke(redis_server, "--token-id", "somebody's")
    time.sleep(1)
    assert [status(server, worker, it) for it in (old, new)] == [403, 200]
    revoke(redis_server, "--subject", "ada", "--issued-before", "now")
    eventually(lambda: status(server, worker, new) == 403)


def test_one_token_alone_and_links_and_keys(start_server, redis_server, worker, tmp_path):
    path = tmp_path / "taskcast.toml"
    path.write_text(WITH_LINKS)
    server = start_server(redis_server, config=WITH_LINKS)
    one, other = (token({"watch": ["*"]}, sub="ada", jti=jti) for jti in ("1", "2"))
    made = subprocess.run(
        [processes.binary(), "token", "--watch", worker.thread, "--config", path], capture_output=True, text=True,
        env=processes.environment(),
    )
    link, link_id = made.stdout.strip(), made.stderr.split("token id ")[1].split(",")[0]
    assert [status(server, worker, it) for it in (one, other, link, API_KEY)] == [200] * 4
    revoke(redis_server, "--token-id", "1")
    revoke(redis_server, "--token-id", link_id)
    eventually(lambda: [status(server, worker, it) for it in (one, other, link, API_KEY)] == [403, 200, 403, 200])
    revoke(redis_server, "--subject", "workers")
    eventually(lambda: status(server, worker, API_KEY) == 403)


def test_entries_that_are_none_are_passed_over(start_server, redis_server, worker):
    redis, ada = redis_server.client(), token({"watch": ["*"]}, sub="ada")
    for fields in ({"x": "y"}, {"subject": b"\xff"}, {"subject": "a" * 5000}, {"token_id": ""}):
        redis.xadd(STREAM, fields)
    redis.xadd(STREAM, {"subject": "ada", "issued_before": "soon"})
    server = start_server(redis_server, config=CONFIG)
    assert status(server, worker, ada) == 403
    assert status(server, worker, API_KEY) == 200


def test_an_entry_ahead_of_the_clock_hides_none_that_comes(start_server, redis_server, worker):
    redis = redis_server.client()
    redis.xadd(STREAM, {"subject": "ada"}, id="99999999999999-0")
    server = start_server(redis_server, config=CONFIG)
    assert status(server, worker, token({"watch": ["*"]}, sub="ada")) == 403
    redis.delete(STREAM)
    revoke(redis_server, "--subject", "bob")
    eventually(lambda: status(server, worker, token({"watch": ["*"]}, sub="bob")) == 403)
    assert status(server, worker, token({"watch": ["*"]}, sub="ada")) == 403


def test_a_body_that_comes_slowly_publishes_nothing_by_a_revoked_token(start_server, redis_server, worker):
    server = start_server(redis_server, config=CONFIG)
    ada, path = token({"publish": ["*"]}, sub="ada"), f"/api/v1/tasks/{worker.thread}/updates"
    ends = token({"publish": ["*"]}, seconds=-27)
    with Raw(server) as slow, Raw(server) as late:
        for raw, credential in ((slow, ada), (late, ends)):
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {credential}\r\n"
            raw.send((head + 'Content-Length: 15\r\n\r\n{"mess').encode())
        time.sleep(0.3)
        revoke(redis_server, "--subject", "ada")
        eventually(lambda: request(server, "POST", path, {"message": "m"}, bearer(ada))[0] == 403)
        time.sleep(3.5)
        before = worker.redis.xlen(worker.stream)
        for raw, code in ((slow, 403), (late, 401)):
            raw.send(b'age":"m"}')
            assert raw.read_head()[0] == code
    assert worker.redis.xlen(worker.stream) == before


def test_many_are_read_before_anybody_is_let_in(start_server, redis_server, worker):
    redis = redis_server.client()
    pipeline = redis.pipeline(transaction=False)
    for n in range(5_000):
        pipeline.xadd(STREAM, {"subject": f"somebody {n}"})
    pipeline.execute()
    server = start_server(redis_server, config=CONFIG, wait=False)
    eventually(lambda: " listening " in server.log)
    assert status(server, worker, token({"watch": ["*"]}, sub="somebody 4999")) == 403


def test_until_it_is_known_what_was_revoked_nobody_is_let_in(start_server, start_redis, worker):
    away = start_redis()
    away.kill()
    server = start_server(away, config=CONFIG + "[limits]\nattach_timeout_ms = 500\n", wait=False)
    eventually(lambda: " listening " in server.log)
    for credential in (token({"watch": ["*"]}), API_KEY):
        assert status(server, worker, credential) == 503
    assert server.status("/readyz") == 503
    away.start()
    eventually(lambda: server.status("/readyz") == 200)
    assert status(server, worker, token({"watch": ["*"]})) in (200, 404)


def test_entries_are_kept_for_so_many_days(start_server, redis_server, worker):
    config = CONFIG.replace("[access]", "[access]\nrevocation_days = 1")
    old = int((time.time() - 2 * 86_400) * 1000)
    redis = redis_server.client()
    redis.xadd(STREAM, {"subject": "ada"}, id=f"{old}-0")
    redis.xadd(STREAM, {"subject": "bob"}, id=f"{old + 86_400_000 + 3_600_000}-0")
    server = start_server(redis_server, config=config)
    assert status(server, worker, token({"watch": ["*"]}, sub="ada")) == 200
    assert status(server, worker, token({"watch": ["*"]}, sub="bob")) == 403


@pytest.mark.parametrize("body, code", [
    ({"subject": "ada"}, 202),
    ({"token_id": "1"}, 202),
    ({"subject": "ada", "issued_before": 5}, 202),
    ({"subject": "ada", "issued_before": None}, 202),
    ({}, 422),
    ({"subject": "ada", "token_id": "1"}, 422),
    ({"subject": ""}, 422),
    ({"subject": "a" * 1025}, 422),
    ({"subject": 5}, 422),
    ({"subject": "ada", "issued_before": "now"}, 422),
    ({"subject": "ada", "issued_before": -1}, 422),
    ([], 422),
])
def test_revoking_over_http(redis_server, server_of_module, body, code):
    reply = request(server_of_module, "POST", "/api/v1/revocations", body, {"X-API-Key": API_KEY})
    assert reply[0] == code, reply


@pytest.fixture(scope="module")
def server_of_module():
    server = processes.Taskcast(None, "--embedded", config=CONFIG)
    yield server
    server.remove()


def test_who_may_publish_to_all_may_revoke_and_nobody_else(server_of_module):
    path, body = "/api/v1/revocations", {"subject": "nobody"}
    for grants, code in [({"publish": ["*"]}, 202), ({"publish": ["a*"]}, 403), ({"watch": ["*"], "list": True}, 403)]:
        assert request(server_of_module, "POST", path, body, bearer(token(grants)))[0] == code
    assert request(server_of_module, "POST", path, body)[0] == 401
    assert request(server_of_module, "GET", path, headers={"X-API-Key": API_KEY})[0] == 405


async def test_revoking_on_the_embedded_log_and_over_http_on_redis(start_server, redis_server, worker):
    embedded = start_server(None, "--embedded", config=CONFIG)
    server, beside = (start_server(redis_server, config=CONFIG) for _ in range(2))
    for asked, told in ((embedded, embedded), (server, beside)):
        thread = request(asked, "POST", "/api/v1/triage", {"query": "q"}, bearer(API_KEY))[2]["thread_id"]
        async with connect(told, thread, additional_headers=bearer(token({"watch": ["*"]}, sub="ada"))) as ws:
            await initial(ws)
            reply = request(asked, "POST", "/api/v1/revocations", {"subject": "ada"}, bearer(API_KEY))
            assert reply[0] == 202
            assert (await closed(ws))[0] == 4003


@pytest.mark.parametrize("args, says", [
    ([], "--subject"),
    (["--subject", "a", "--token-id", "b"], "cannot be used with"),
    (["--subject", ""], "1 to 1024 bytes"),
    (["--subject", "a", "--issued-before", "soon"], "seconds since 1970"),
])
def test_what_is_wrong_is_said(args, says):
    done = subprocess.run([processes.binary(), "revoke", *args], capture_output=True, text=True, env=processes.environment())
    assert done.returncode == 2 and says in done.stderr, done.stderr
