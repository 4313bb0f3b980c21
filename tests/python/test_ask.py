"""The application decides (protocol §5, `access.ask`): what it is asked, what counts as a yes, for how long, and
what becomes of those who watch when it takes its yes back or says nothing."""

import asyncio
import json
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from application import MISBEHAVIOURS, Application
from processes import binary, environment, eventually, request
from rawsocket import Raw
from support import Worker, assert_chained, closed, collect, connect, initial, new_thread, nothing_but_pong, receive, task_path
from tokens import API_KEY, CONFIG, bearer, b64, token

YES = {"allow": True, "seconds": 300}
NO = {"allow": False}
AUTHORIZATION = ("authorization",)


@pytest.fixture
def application():
    application = Application()
    yield application
    application.close()


@pytest.fixture
def worker(redis_server):
    worker = Worker(redis_server.client())
    worker.redis.set(worker.key("status"), "in_progress")
    return worker


@pytest.fixture
def start(start_server, redis_server, application):
    """A server that asks the application."""
    return lambda *args, **options: start_server(redis_server, *args, config=application.config(**options))


def cookie(server, value="session=ada", **headers):
    """The cookie of a page of this server."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return {"Cookie": value, "Origin": server.http, **headers}


def viewer(server, thread, value="session=ada", since=None):
    return connect(server, thread, since, additional_headers=cookie(server, value))


def status(server, worker, headers):
    return request(server, "GET", f"/api/v1/tasks/{worker.thread}", headers=headers)[0]


async def refused(server, code, **options):
    async with connect(server, **options) as ws:
        close, frames = await closed(ws)
    assert close == code and list(frames[-1])[0] == "error", (close, frames)
    return frames[-1]


# What it is asked


def test_each_verb_is_asked_as_it_is(start, application, worker):
    server = start()
    task = f"/api/v1/tasks/{worker.thread}"
    for method, path, body, asked in [
        ("GET", task, None, (worker.thread, "watch")),
        ("GET", f"/api/v1/threads/{worker.thread}", None, None),
        ("POST", f"{task}/updates", {"message": "m"}, (worker.thread, "publish")),
        ("POST", "/api/v1/triage", {"query": "q"}, ("*", "publish")),
        ("GET", "/api/v1/tasks", None, (None, "list")),
        ("GET", "/metrics", None, (None, "metrics")),
    ]:
        before = len(application.asked)
        assert request(server, method, path, body, cookie(server))[0] in (200, 202), path
        new = application.asked[before:]
        if asked is None:
            assert new == [], "the same question has its answer"
        else:
            expected = {"task": asked[0], "source": None, "verb": asked[1], "headers": {"cookie": "session=ada"}}
            assert new == [expected], path
    assert all(headers["content-type"] == "application/json" for headers in application.headers)
    # One after the other they come over one connection.
    assert application.connections == 1


async def test_a_task_of_a_source_is_asked_with_it(start, application, redis_server):
    server = start(more='[[source]]\nname = "jobs"\nkey = "jobs:{id}"\n')
    redis_server.client().xadd("jobs:a", {"n": "1"})
    async with connect(server, path="/api/v1/ws/jobs/a", additional_headers=cookie(server)) as ws:
        assert (await receive(ws))["source"] == "jobs"
    asked = application.asked[0]
    assert (asked["task"], asked["source"]) == ("a", "jobs")


def test_it_is_asked_only_where_the_others_do_not_suffice(start, application, worker):
    server = start(more=CONFIG, headers=["cookie", "authorization"])
    for headers in (bearer(token({"watch": [worker.thread]})), {"X-API-Key": API_KEY}):
        assert status(server, worker, {**cookie(server), **headers}) == 200
    assert request(server, "GET", f"/api/v1/tasks/public-{worker.thread}")[0] == 404
    assert application.asked == []
    # And what a token does not grant, it may: it knows whose it is.
    short = token({"watch": ["other"]})
    assert status(server, worker, bearer(short)) == 200
    assert application.asked[0]["headers"] == {"authorization": f"Bearer {short}"}


def test_what_counts_no_more_is_not_asked_about(start, application, worker):
    """Whose token has ended, or was taken back, is to get another one, whatever the application would say."""
    server = start(more=CONFIG, headers=AUTHORIZATION)
    ended = token({"watch": ["*"]}, seconds=-100)
    malformed = token({"watch": "*"})
    taken_back = token({"watch": ["other"]}, sub="eve")
    assert request(server, "POST", "/api/v1/revocations", {"subject": "eve"}, {"X-API-Key": API_KEY})[0] == 202
    eventually(lambda: status(server, worker, bearer(taken_back)) == 403)
    before = len(application.asked)
    assert status(server, worker, bearer(ended)) == status(server, worker, bearer(malformed)) == 401
    assert status(server, worker, bearer(taken_back)) == 403
    assert status(server, worker, {"X-API-Key": "nobody's"}) == 401
    assert len(application.asked) == before


def test_a_token_that_nobody_else_knows_is_the_applications(start, application, worker):
    server = start(more=CONFIG, headers=AUTHORIZATION)
    application.says = lambda question: {"allow": question["headers"].get("authorization") == "Bearer opaque"}
    assert status(server, worker, bearer("opaque")) == 200
    for other in ("other", token({"watch": ["*"]}, key="of another issuer, who is not configured here")):
        assert status(server, worker, bearer(other)) == 403
    assert status(server, worker, {}) == 401


async def test_a_token_goes_to_it_however_it_travels(start, application, worker):
    server = start(more="[access]\nquery_token = true\n", headers=AUTHORIZATION)
    application.says = lambda question: {"allow": question["headers"].get("authorization") == "Bearer opaque"}
    offered = ["taskcast.v2", "taskcast.token." + b64("opaque")]
    for options in [
        {"additional_headers": bearer("opaque")},
        {"subprotocols": offered},
        {"path": task_path(worker.thread) + "?token=opaque"},
    ]:
        async with connect(server, worker.thread, **options) as ws:
            await initial(ws)
    async with connect(server, worker.thread) as ws:
        await ws.send(json.dumps({"type": "auth", "token": "opaque"}))
        assert await receive(ws) == {"type": "auth", "expires_in": None}
        await initial(ws)
    async with connect(server, worker.thread) as ws:
        await ws.send(json.dumps({"type": "auth", "token": "another"}))
        assert (await closed(ws))[0] == 4003
    # Who shows nothing is as anybody is who needs a token.
    await refused(server, 4001, thread=worker.thread)


def test_headers_come_as_they_are_and_others_do_not(start, application, worker):
    server = start(headers=["Cookie", "X-Session", "authorization"])
    shown = {"X-Session": "s", "X-Other": "o", "Authorization": "Bearer t"}
    assert status(server, worker, cookie(server, "a=b; c=\"d\"", **shown)) == 200
    assert application.asked[-1]["headers"] == {"authorization": "Bearer t", "cookie": 'a=b; c="d"', "x-session": "s"}


def test_user_and_password_of_the_url_are_shown_to_the_application_and_nobody_else(start_server, redis_server, application, worker, tmp_path):
    config = application.config().replace("http://", "http://taskcast:pass%40word@")
    server = start_server(redis_server, config=config)
    assert status(server, worker, cookie(server)) == 200
    assert application.headers[0]["authorization"] == "Basic dGFza2Nhc3Q6cGFzc0B3b3Jk"
    path = tmp_path / "taskcast.toml"
    path.write_text(config)
    argv = [binary(), "serve", "--config", str(path), "--print-config"]
    shown = subprocess.run(argv, capture_output=True, text=True, env=environment()).stdout
    assert "[access.ask]" in shown and "***" in shown and "pass%40word" not in shown
    assert server.said("secret_exposed")


# Other sites' pages


def test_a_cookie_goes_to_it_for_pages_of_this_server_only(start_server, redis_server, application, worker):
    server = start_server(redis_server, config='cors_origins = ["https://app.example"]\n' + application.config())
    task, number = f"/api/v1/tasks/{worker.thread}", 0
    for headers, read, written in [
        ({}, 200, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403, 403),
        ({"Origin": server.http}, 200, 202),
        ({"Origin": "https://app.example"}, 200, 202),
        ({"Origin": "https://evil.example"}, 403, 403),
        ({"Origin": "null"}, 403, 403),
    ]:
        # Each time another cookie: nothing is answered by an answer before.
        for method, path, body, expected in [("GET", task, None, read), ("POST", f"{task}/updates", {"message": "m"}, written)]:
            number += 1
            before = len(application.asked)
            assert request(server, method, path, body, {"Cookie": f"session={number}", **headers})[0] == expected, headers
            assert (len(application.asked) > before) == (expected < 300), headers
    for origin, expected in (({"Origin": server.http}, 101), ({"Origin": "https://app.example"}, 101), ({}, 403)):
        with Raw(server) as raw:
            raw.send(raw.handshake_bytes(task_path(worker.thread), {"Cookie": "session=ada", **origin}))
            assert raw.read_head()[0] == expected, origin


def test_what_a_browser_sends_by_itself_is_no_token(start, application, worker):
    """The password that a browser knows for a site comes along with other sites' requests, too."""
    server = start(headers=AUTHORIZATION)
    basic = {"Authorization": "Basic YTpi"}
    assert status(server, worker, {**basic, "Origin": "https://evil.example"}) == 403
    assert application.asked == []
    assert status(server, worker, {**basic, "Origin": server.http}) == 200
    # A page has to set a token by itself.
    assert status(server, worker, {**bearer("t"), "Origin": "https://evil.example"}) == 200


async def test_what_is_for_everybody_is_so_for_other_sites_pages(start, application, redis_server):
    worker = Worker(redis_server.client(), thread="public-" + new_thread())
    server = start(more='[access]\nanonymous = ["watch:public-*"]\n')
    foreign = {"Cookie": "session=ada", "Origin": "https://evil.example"}
    async with connect(server, worker.thread, additional_headers=foreign) as ws:
        await initial(ws)
    assert application.asked == []


# What is a yes


LIES = [{"allow": "true"}, {"allow": 1}, {}, [True], True, b"", b"{", {"allow": True, "seconds": 0}, {"allow": True, "seconds": "60"}]


@pytest.mark.parametrize("said", [*MISBEHAVIOURS, *LIES, 204, 404, 502], ids=str)
async def test_whatever_is_no_answer_is_no_yes(start, application, worker, said):
    server = start(timeout_ms=300 if said in ("hangs", "drips") else 10_000)
    application.says = lambda question: said
    assert status(server, worker, cookie(server)) == 503
    await refused(server, 1013, thread=worker.thread, additional_headers=cookie(server))
    async with connect(server, path="/api/v1/ws", additional_headers=cookie(server)) as ws:
        await ws.send(json.dumps({"type": "subscribe", "thread_id": worker.thread}))
        frame = await receive(ws)
        assert "error" in frame and frame["thread_id"] == worker.thread
        await nothing_but_pong(ws)
    assert server.said("application_silent")


@pytest.mark.parametrize("said", [NO, 401, 403], ids=str)
async def test_a_no_is_one(start, application, worker, said):
    server = start()
    application.says = lambda question: said
    assert status(server, worker, cookie(server)) == 403
    frame = await refused(server, 4003, thread=worker.thread, additional_headers=cookie(server))
    assert frame["thread_id"] == worker.thread
    # It is not kept: who is given a right has it at once.
    application.says = lambda question: YES
    assert status(server, worker, cookie(server)) == 200


def test_nobody_there_is_no_yes(start, application, worker):
    server = start()
    application.close()
    assert status(server, worker, cookie(server)) == 503


def test_no_secret_is_logged(start, application, worker):
    server = start("--audit", "--log-level", "debug", headers=["cookie", "authorization"])
    for said in (YES, NO, "fails", {"allow": "secret-answer"}):
        application.says = lambda question: said
        status(server, worker, {**cookie(server, f"session=secret-cookie-{said}"), **bearer("secret-token")})
        request(server, "POST", f"/api/v1/tasks/{worker.thread}/updates", {"message": "m"}, cookie(server, f"session=secret-cookie-{said}"))
    assert "secret-" not in server.said("application_silent")[0] and "secret-" not in server.log
    assert any("the application" in line for line in server.said("published"))


# Equal questions, and how long a yes counts


async def test_a_herd_with_one_cookie_is_one_question(start, application, worker):
    server = start("--workers", "2")
    waiting = threading.Event()

    def says(question):
        waiting.set()
        application.go_on.wait(30)
        return YES

    application.says = says
    viewers = [connect(server, worker.thread, additional_headers=cookie(server)) for _ in range(200)]
    sockets = await asyncio.gather(*viewers)
    eventually(waiting.is_set)
    await asyncio.to_thread(eventually, lambda: request(server, "GET", "/healthz")[0] == 200)
    application.go_on.set()
    for ws in sockets:
        await initial(ws)
    assert len(application.asked) == 1
    for ws in sockets:
        await ws.close()
    application.says = lambda question: YES
    samples = metrics(server)
    assert samples['taskcast_access_questions_total{outcome="allowed"}'] == 2
    assert samples['taskcast_access_questions_total{outcome="refused"}'] == 0
    assert samples["taskcast_access_answers_reused_total"] >= 199
    assert samples["taskcast_access_questions_waiting"] == 0
    assert samples['taskcast_memory_bytes{kind="questions"}'] < 10_000


def metrics(server):
    """As somebody whom the application lets."""
    text = request(server, "GET", "/metrics", headers=cookie(server))[2]
    rows = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in rows}


def test_so_many_questions_are_under_way_and_the_others_wait(start, application, worker):
    server = start(timeout_ms=60_000)
    gate = threading.Semaphore(0)

    def says(question):
        gate.acquire(timeout=30)
        return YES

    application.says = says
    with ThreadPoolExecutor(100) as pool:
        asking = [pool.submit(status, server, worker, cookie(server, f"session={n}")) for n in range(100)]
        eventually(lambda: application.open == 64)
        for _ in range(100):
            gate.release()
        assert [asked.result() for asked in asking] == [200] * 100
    assert application.open_max == 64 and len(application.asked) == 100


async def test_a_herd_of_many_cookies_is_asked_about_in_turn_and_nobody_is_closed(start, application, worker):
    """All their yeses end within a moment, again and again: more than may be under way at a time."""
    server = start(cache_s=1, timeout_ms=60_000)
    sockets = await asyncio.gather(*(viewer(server, worker.thread, f"session={n}") for n in range(150)))
    for ws in sockets:
        await initial(ws)
    before = len(application.asked)
    await asyncio.to_thread(eventually, lambda: len(application.asked) > before + 450, "asked three times", 60)
    seen = worker.update("still there")
    for ws in sockets:
        assert (await receive(ws))["stream_id"] == seen
    assert application.open_max <= 64
    for ws in sockets:
        await ws.close()


def test_who_waits_too_long_is_told_so_and_keeps_nobody_else(start, application, worker):
    server = start(timeout_ms=500)
    application.says = lambda question: "hangs" if "slow" in question["headers"]["cookie"] else YES
    assert status(server, worker, cookie(server, "session=slow")) == 503
    assert status(server, worker, cookie(server)) == 200


async def test_when_a_yes_ends_it_is_asked_again_and_nothing_is_missed(start, application, worker):
    server = start(cache_s=1)
    async with viewer(server, worker.thread) as ws:
        position = (await initial(ws))["stream_id"]
        for _ in range(3):
            before = len(application.asked)
            await asyncio.to_thread(eventually, lambda: len(application.asked) > before)
            worker.update("still there")
            frame = await receive(ws)
            assert_chained([frame], position)
            position = frame["stream_id"]
        # It is not told that anything ends.
        await nothing_but_pong(ws)


async def test_frames_go_on_while_it_is_asked_again(start, application, worker):
    server = start(cache_s=1)
    again = threading.Event()

    def says(question):
        if len(application.asked) > 1:
            again.set()
            application.go_on.wait(30)
        return YES

    application.says = says
    async with viewer(server, worker.thread) as ws:
        await initial(ws)
        await asyncio.to_thread(eventually, again.is_set)
        worker.update("meanwhile")
        assert (await receive(ws))["message"] == "meanwhile"
        application.go_on.set()
        worker.update("and behind it")
        assert (await receive(ws))["message"] == "and behind it"


async def test_a_right_that_is_withdrawn_ends_with_4003(start, application, worker):
    server = start(cache_s=1)
    async with viewer(server, worker.thread) as gone, viewer(server, worker.thread, "session=bob") as stays:
        await initial(gone)
        await initial(stays)
        application.says = lambda question: {"allow": "bob" in question["headers"]["cookie"]}
        close, frames = await closed(gone)
        assert close == 4003 and "error" in frames[-1]
        worker.update("for bob")
        assert (await receive(stays))["message"] == "for bob"


async def test_silence_behind_a_yes_ends_with_1013_and_who_comes_back_misses_nothing(start, application, worker):
    server = start(cache_s=1, timeout_ms=500)
    async with viewer(server, worker.thread) as ws:
        await initial(ws)
        seen = worker.update("seen")
        assert (await receive(ws))["stream_id"] == seen
        application.says = lambda question: "hangs"
        close, _ = await closed(ws)
        assert close == 1013
    worker.update("missed")
    application.says = lambda question: YES
    async with viewer(server, worker.thread, since=seen) as ws:
        assert_chained(await collect(ws, 1), seen)


def test_a_shorter_yes_counts_as_long_as_it_says(start, application, worker):
    server = start()
    application.says = lambda question: {"allow": True, "seconds": 1}
    assert status(server, worker, cookie(server)) == 200
    application.says = lambda question: NO
    eventually(lambda: status(server, worker, cookie(server)) == 403)


async def test_a_body_that_takes_longer_than_its_yes_is_asked_about_again(start, application, worker):
    server = start(cache_s=1)
    body = json.dumps({"message": "m"}).encode()
    head = f"POST /api/v1/tasks/{worker.thread}/updates HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    head += f"Cookie: session=ada\r\nOrigin: {server.http}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    for said, expected in ((YES, 202), (NO, 403)):
        application.says = lambda question: YES
        with Raw(server) as raw:
            before = len(application.asked)
            raw.send(head.encode())
            await asyncio.to_thread(eventually, lambda: len(application.asked) > before)
            application.says = lambda question: said
            await asyncio.sleep(1.2)
            raw.send(body)
            assert (await asyncio.to_thread(raw.read_reply))[0] == expected
        # Until then an answer counts.
        await asyncio.sleep(1.1)


# Many tasks


async def test_each_subscription_is_asked_about(start, application, redis_server):
    workers = [Worker(redis_server.client()) for _ in range(4)]
    threads = [worker.thread for worker in workers]
    application.says = lambda question: {"allow": question["task"] != threads[1]}
    server = start(cache_s=1)
    async with connect(server, path="/api/v1/ws", additional_headers=cookie(server)) as ws:
        for thread in threads:
            await ws.send(json.dumps({"type": "subscribe", "thread_id": thread}))
        frames = await collect(ws, 4)
        assert [frame["thread_id"] for frame in frames if "error" in frame] == [threads[1]]
        assert {frame["thread_id"] for frame in frames} == set(threads)
        await ws.send(json.dumps({"type": "subscribe", "thread_id": threads[0]}))
        assert (await receive(ws))["error"] == "Already subscribed"
        # One is withdrawn: the others go on.
        application.says = lambda question: {"allow": question["task"] in threads[2:]}
        lost = await receive(ws)
        assert lost["thread_id"] == threads[0] and "error" in lost
        workers[0].update("not for it")
        seen = workers[3].update("for it")
        assert (await receive(ws))["stream_id"] == seen
        # What was withdrawn may be had again.
        application.says = lambda question: YES
        await ws.send(json.dumps({"type": "subscribe", "thread_id": threads[0]}))
        assert (await initial(ws))["thread_id"] == threads[0]


async def test_a_renewal_is_asked_about_with_its_token(start, application, worker):
    server = start(headers=AUTHORIZATION)
    application.says = lambda question: {"allow": question["headers"]["authorization"] in ("Bearer one", "Bearer two")}
    async with connect(server, worker.thread, additional_headers=bearer("one")) as ws:
        await initial(ws)
        await ws.send(json.dumps({"type": "auth", "token": "two"}))
        assert (await receive(ws))["type"] == "auth"
        await asyncio.to_thread(eventually, lambda: len(application.asked) == 2)
        worker.update("still there")
        assert (await receive(ws))["message"] == "still there"
        await ws.send(json.dumps({"type": "auth", "token": "three"}))
        close, frames = await closed(ws)
        assert close == 4003 and frames[0]["type"] == "auth" and "error" in frames[-1]


async def test_a_token_that_is_revoked_ends_what_the_application_allows(start, application, worker):
    server = start(more=CONFIG, headers=AUTHORIZATION)
    # Whoever is revoked stays so for the other tests of this Redis.
    eve = f"eve of {worker.thread}"
    async with connect(server, worker.thread, additional_headers=bearer(token({"watch": ["other"]}, sub=eve))) as ws:
        await initial(ws)
        assert request(server, "POST", "/api/v1/revocations", {"subject": eve}, {"X-API-Key": API_KEY})[0] == 202
        assert (await closed(ws))[0] == 4003


async def test_a_malformed_id_is_told_so_and_not_asked_about(start, application):
    server = start()
    async with connect(server, path="/api/v1/ws/tasks/a%20b", additional_headers=cookie(server)) as ws:
        assert await closed(ws) == (4004, [{"error": "Invalid thread id", "thread_id": "a b"}])
    assert request(server, "GET", "/api/v1/tasks/a%20b", headers=cookie(server))[0] == 400
    assert application.asked == []


def test_what_two_publish_under_one_key_is_not_the_same(start, application, worker):
    server = start()
    path, key = f"/api/v1/tasks/{worker.thread}/updates", {"Idempotency-Key": f"k-{worker.thread}"}
    post = lambda who: request(server, "POST", path, {"message": "m"}, {**cookie(server, who), **key})[2]
    assert post("session=ada") == post("session=ada") != post("session=bob")


def test_what_is_wrong_with_the_table_is_said(tmp_path):
    for table, said in [
        ('[access.ask]\nheaders = ["cookie"]', "access.ask: url must be an http:// or https:// URL"),
        ('[access.ask]\nurl = "redis://user:secret@x"', "line 2: access.ask: url must be"),
        ('[access.ask]\nurl = "http://x"\nheaders = ["a b"]', "line 3: access.ask: headers must be names"),
        ('[access.ask]\nurl = "http://x"\ncache_s = 0', "line 3: access.ask: cache_s must be 1 to 86400"),
        ('[access.ask]\nurl = "http://x"\ntimeout_ms = "1s"', "line 3: access.ask: timeout_ms must be 1 to 60000"),
        ('[access.ask]\nuri = "http://x"', "access.ask: an unknown key"),
    ]:
        path = tmp_path / "taskcast.toml"
        path.write_text(table + "\n")
        argv = [binary(), "serve", "--config", str(path), "--print-config"]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=20, env=environment())
        assert ended.returncode == 2 and said in ended.stderr and "secret" not in ended.stderr, ended.stderr
