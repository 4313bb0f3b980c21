"""Who may do what (protocol §5): each endpoint for each credential, each way in which a token travels, and
tokens of every kind that counts or does not."""

import asyncio
import json
import re
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from application import Application
from processes import ROOT, Taskcast, binary, environment, request
from rawsocket import CLOSE, TEXT, Raw
from support import Worker, closed, connect, initial, new_thread, receive, task_path
from tokens import API_KEY, CONFIG, SECRET, KeyPair, b64, bearer, by_hand, token

ALL = {"watch": ["*"], "publish": ["*"], "list": True, "metrics": True}


@pytest.fixture(scope="module")
def server(redis_server):
    server = Taskcast(redis_server, config=CONFIG + "[[source]]\nname = \"jobs\"\nkey = \"jobs:{id}\"\n", wait=False)
    server.wait_ready()
    yield server
    server.remove()


@pytest.fixture
def worker(redis_server):
    worker = Worker(redis_server.client())
    worker.redis.set(worker.key("status"), "in_progress")
    return worker


# Each endpoint, with what it needs: what is not in this table is found by the test below.
def endpoints(thread):
    task = f"/api/v1/tasks/{thread}"
    return [
        ("GET", "/", None),
        ("GET", "/assets/app.js", None),
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("OPTIONS", task, None),
        ("GET", "/metrics", "metrics"),
        ("GET", "/api/v1/tasks", "list"),
        ("GET", task, "watch"),
        ("GET", f"/api/v1/threads/{thread}", "watch"),
        ("GET", f"{task}/stream-info", "watch"),
        ("HEAD", f"{task}/stream-info", "watch"),
        ("POST", f"{task}/updates", "publish"),
        ("POST", f"{task}/status", "publish"),
        ("POST", f"{task}/result", "publish"),
        ("POST", f"{task}/error", "publish"),
        ("POST", "/api/v1/triage", "create"),
        ("POST", "/api/v1/revocations", "create"),
    ]


# Who opens one of these is looked at on it.
SOCKETS = ["/api/v1/ws/tasks/t", "/api/v1/ws/jobs/t", "/api/v1/ws", "/api/v1/ws/echo"]
# Names for the same, and what only a source has.
OTHERS = ["/favicon.ico", "/api/v1/jobs/t/stream-info"]


def test_each_path_of_the_server_is_in_these_tables():
    """What the table of paths is made of, in the source: whoever adds to it has to add here."""
    source = (ROOT / "src/http/route.rs").read_text()
    calls, of = (source.split(begins)[1].split("\n    }\n")[0] for begins in ("fn name(self)", "fn of(path"))
    of_task = source.split("fn of_task(")[1].split("\n    }\n")[0]
    parts = {part for text in (calls, of, of_task) for part in re.findall(r'"([^"]+)"', text)}
    paths = [path for _, path, _ in endpoints("t")] + SOCKETS + OTHERS
    assert len(parts) > 15 and not [part for part in parts if not any(part in path for path in paths)]


BODIES = {
    "updates": {"message": "m"},
    "status": {"status": "done"},
    "result": {"result": {}},
    "error": {"error_message": "e"},
    "triage": {"query": "q"},
    "revocations": {"subject": "nobody"},
}


def credentials(thread):
    """Name, headers, and the verbs that are granted on this task."""
    other = "other" + thread
    return [
        ("nobody", {}, set()),
        ("watches it", bearer(token({"watch": [thread]})), {"watch"}),
        ("watches what begins so", bearer(token({"watch": [thread[:6] + "*"]})), {"watch"}),
        ("watches it as the agent's", bearer(token({"watch": [f"sre:{thread}"]})), {"watch"}),
        ("watches another", bearer(token({"watch": [other]})), set()),
        ("watches a source's", bearer(token({"watch": [f"jobs:{thread}", "jobs:*"]})), set()),
        ("publishes to it", bearer(token({"publish": [thread]})), {"publish"}),
        ("publishes to another", bearer(token({"publish": [other]})), set()),
        ("publishes to all", bearer(token({"publish": ["*"]})), {"publish", "create"}),
        ("lists", bearer(token({"list": True})), {"list"}),
        ("measures", bearer(token({"metrics": True})), {"metrics"}),
        ("may nothing", bearer(token({"list": False, "metrics": False, "watch": []})), set()),
        ("has no grants", bearer(token()), set()),
        ("has a key", {"X-API-Key": API_KEY}, {"watch", "publish", "create", "list", "metrics"}),
        ("has a key as a token", bearer(API_KEY), {"watch", "publish", "create", "list", "metrics"}),
        ("has both", {**bearer(token({"watch": [other]})), "X-API-Key": API_KEY}, {"watch", "publish", "create", "list", "metrics"}),
    ]


def test_each_endpoint_for_each_credential(server, worker):
    for name, headers, may in credentials(worker.thread):
        for method, path, verb in endpoints(worker.thread):
            body = BODIES.get(path.rsplit("/", 1)[1]) if method == "POST" else None
            status, reply, _ = request(server, method, path, body, headers)
            if verb is None or verb in may:
                assert status in (200, 202, 204), (name, method, path, status)
            else:
                assert status == (403 if headers else 401), (name, method, path, status)
                assert ("WWW-Authenticate" in reply) == (status == 401)


def test_each_endpoint_for_what_the_application_allows(start_server, redis_server, worker):
    """The cookie says what it is to allow; there is no other credential."""
    application = Application()
    verb = lambda question: "create" if question["task"] == "*" else question["verb"]
    allows = lambda question: verb(question) in question["headers"]["cookie"].removeprefix("may=").split("+")
    application.says = lambda question: {"allow": allows(question)}
    try:
        server = start_server(redis_server, config=application.config())
        for may in ("nothing", "watch", "publish", "create", "list", "metrics", "watch+list", "publish+create"):
            headers = {"Cookie": f"may={may}", "Origin": server.http}
            for method, path, verb_of_path in endpoints(worker.thread):
                body = BODIES.get(path.rsplit("/", 1)[1]) if method == "POST" else None
                status, _, _ = request(server, method, path, body, headers)
                allowed = verb_of_path is None or verb_of_path in may.split("+")
                assert status in ((200, 202, 204) if allowed else (403,)), (may, method, path, status)
    finally:
        application.close()


def test_nobody_learns_which_tasks_there_are(server, worker):
    for path in ("", "/stream-info"):
        there = request(server, "GET", f"/api/v1/tasks/{worker.thread}{path}", headers=bearer(token({"watch": ["x"]})))
        not_there = request(server, "GET", f"/api/v1/tasks/{new_thread()}{path}", headers=bearer(token({"watch": ["x"]})))
        assert (there[0], there[2]) == (not_there[0], not_there[2])


async def refused(server, thread, code, **options):
    async with connect(server, thread, **options) as ws:
        close, frames = await closed(ws)
    assert close == code and list(frames[-1])[0] == "error", (close, frames)


async def test_a_socket_for_each_credential(server, worker):
    for name, headers, may in credentials(worker.thread):
        if "watch" in may:
            async with connect(server, worker.thread, additional_headers=headers) as ws:
                assert (await initial(ws))["status"] == "in_progress", name
        elif headers:
            await refused(server, worker.thread, 4003, additional_headers=headers)
            await refused(server, new_thread(), 4003, additional_headers=headers)


async def test_what_is_for_everybody_needs_no_token(server, redis_server):
    worker = Worker(redis_server.client(), thread="public-" + new_thread())
    worker.redis.set(worker.key("status"), "queued")
    async with connect(server, worker.thread) as ws:
        assert (await initial(ws))["status"] == "queued"
    assert request(server, "GET", f"/api/v1/tasks/{worker.thread}")[0] == 200
    # What a token grants comes to that.
    async with connect(server, worker.thread, additional_headers=bearer(token({"watch": ["x"]}))) as ws:
        await initial(ws)


async def test_who_says_nothing_is_closed(server, worker):
    await refused(server, worker.thread, 4001)
    async with connect(server, path="/api/v1/ws") as ws:
        # Some tasks are for everybody.
        await ws.send(json.dumps({"type": "subscribe", "thread_id": worker.thread}))
        assert (await receive(ws))["thread_id"] == worker.thread
        await ws.send('{"type":"ping"}')
        assert await receive(ws) == {"type": "pong"}


# Where a token travels


async def test_a_token_as_the_first_message(server, worker):
    async with connect(server, worker.thread) as ws:
        await ws.send(json.dumps({"type": "auth", "token": token({"watch": [worker.thread]}, leeway=None)}))
        reply = await receive(ws)
        assert reply["type"] == "auth" and 3600 <= reply["expires_in"] <= 3630
        assert (await initial(ws))["status"] == "in_progress"
    async with connect(server, worker.thread) as ws:
        await ws.send(json.dumps({"type": "auth", "token": "nobody's"}))
        assert (await closed(ws))[0] == 4001


async def test_a_token_as_a_subprotocol(server, worker, start_server, redis_server):
    offered = ["taskcast.v2", "taskcast.token." + b64(token({"watch": ["*"]}))]
    async with connect(server, worker.thread, subprotocols=offered) as ws:
        assert ws.subprotocol == "taskcast.v2"
        await initial(ws)
    named = start_server(redis_server, config=CONFIG.replace("[access]", '[access]\nsubprotocols = ["bearer"]'))
    async with connect(named, worker.thread, subprotocols=["bearer", token({"watch": ["*"]})]) as ws:
        assert ws.subprotocol == "bearer"
        await initial(ws)
    await refused(server, worker.thread, 4001, subprotocols=["taskcast.v2", "taskcast.token.!!"])


async def test_the_subprotocol_is_answered_where_nobody_is_asked(start_server, redis_server, worker):
    server = start_server(redis_server)
    async with connect(server, worker.thread, subprotocols=["other", "taskcast.v2"]) as ws:
        assert ws.subprotocol == "taskcast.v2"
        await initial(ws)
        await ws.send(json.dumps({"type": "auth", "token": "any"}))
        assert await receive(ws) == {"type": "auth", "expires_in": None}


async def test_a_token_in_the_query_only_where_that_is_allowed(server, worker, start_server, redis_server):
    query = f"?token={token({'watch': ['*']})}"
    assert request(server, "GET", f"/api/v1/tasks/{worker.thread}{query}")[0] == 401
    allowed = start_server(redis_server, config=CONFIG.replace("[access]", "[access]\nquery_token = true"))
    assert request(allowed, "GET", f"/api/v1/tasks/{worker.thread}{query}")[0] == 200
    async with connect(allowed, path=task_path(worker.thread) + query) as ws:
        await initial(ws)


def cookies(token, **headers):
    return {"Cookie": f"a=b; session={token}", **{name.replace("_", "-"): value for name, value in headers.items()}}


def test_a_cookie_counts_for_pages_of_this_server_only(start_server, redis_server, worker):
    config = 'cors_origins = ["https://app.example"]\n' + CONFIG.replace("[access]", '[access]\ncookie = "session"')
    server = start_server(redis_server, config=config)
    own, good = f"http://127.0.0.1:{server.port}", token(ALL)
    task = f"/api/v1/tasks/{worker.thread}"
    for headers, read, written in [
        ({}, 200, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 200, 403),
        ({"Sec_Fetch_Site": "none"}, 200, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403, 403),
        ({"Origin": own}, 200, 202),
        ({"Origin": "https://app.example"}, 200, 202),
        ({"Origin": "https://evil.example", "Sec_Fetch_Site": "same-origin"}, 403, 403),
        ({"Origin": "null"}, 403, 403),
    ]:
        assert request(server, "GET", task, headers=cookies(good, **headers))[0] == read, headers
        reply = request(server, "POST", f"{task}/updates", {"message": "m"}, cookies(good, **headers))
        assert reply[0] == written, headers
    # Where a token of another kind is there, the cookie does not count.
    both = {**cookies(good, Origin="https://evil.example"), **bearer(good)}
    assert request(server, "GET", task, headers=both)[0] == 200
    for origin, status in (({"Origin": own}, 101), ({"Origin": "https://evil.example"}, 403), ({}, 403)):
        with Raw(server) as raw:
            raw.send(raw.handshake_bytes(task_path(worker.thread), {**cookies(good), **origin}))
            assert raw.read_head()[0] == status, origin


# Which tokens count


ALGORITHMS = ["RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_public_key_in_a_file(start_server, redis_server, worker, tmp_path, algorithm):
    pair, other = KeyPair(algorithm), KeyPair(algorithm)
    path = tmp_path / "key.pem"
    path.write_text(pair.pem)
    server = start_server(redis_server, config=f'[[access.jwt]]\npublic_key_file = "{path}"\n')
    good = pair.token({"watch": ["*"]})
    assert status(server, worker, good) == 200
    assert status(server, worker, other.token({"watch": ["*"]})) == 401
    # What is public is no secret.
    signed = by_hand({"alg": "HS256"}, {"exp": int(time.time()) + 60, "taskcast": ALL}, hmac_of(pair.pem))
    assert status(server, worker, signed) == 401


def hmac_of(secret):
    import hashlib
    import hmac

    return lambda message: hmac.new(secret.encode(), message, hashlib.sha256).digest()


def status(server, worker, token):
    return request(server, "GET", f"/api/v1/tasks/{worker.thread}", headers=bearer(token))[0]


def signed(header, claims):
    return by_hand(header, made_now(claims), hmac_of(SECRET))


def made_now(claims):
    if not isinstance(claims, dict):
        return claims
    now = int(time.time())
    return {name: it.form(now + it.seconds) if isinstance(it, From) else it for name, it in claims.items()}


class From:
    """A time, so many seconds from when the token is made."""

    def __init__(self, seconds, form=lambda time: time):
        self.seconds, self.form = seconds, form


GOOD = {"exp": From(3600), "taskcast": {"watch": ["*"]}}


@pytest.mark.parametrize("header, claims, code", [
    ({"alg": "HS256"}, GOOD, 200),
    ({"alg": "HS256", "typ": "JWT", "x": {"y": 1}}, GOOD, 200),
    ({"alg": "HS256"}, {**GOOD, "exp": From(3600.5)}, 200),
    ({"alg": "HS256"}, {**GOOD, "exp": From(-20)}, 200),
    ({"alg": "HS256"}, {**GOOD, "exp": From(-40)}, 401),
    ({"alg": "HS256"}, {**GOOD, "exp": -1}, 401),
    ({"alg": "HS256"}, {**GOOD, "exp": From(3600, str)}, 401),
    ({"alg": "HS256"}, '{"exp":1e300,"taskcast":{"watch":["*"]}}', 401),
    ({"alg": "HS256"}, '{"exp":1e999,"taskcast":{"watch":["*"]}}', 401),
    ({"alg": "HS256"}, {**GOOD, "exp": None}, 401),
    ({"alg": "HS256"}, {"taskcast": {"watch": ["*"]}}, 401),
    ({"alg": "HS256"}, {**GOOD, "nbf": From(20)}, 200),
    ({"alg": "HS256"}, {**GOOD, "nbf": From(3000)}, 401),
    ({"alg": "HS256"}, {**GOOD, "nbf": "0"}, 401),
    ({"alg": "HS384"}, GOOD, 401),
    ({"alg": "none"}, GOOD, 401),
    ({"alg": "None"}, GOOD, 401),
    ({"alg": "hs256"}, GOOD, 401),
    ({"alg": ["HS256"]}, GOOD, 401),
    ({}, GOOD, 401),
    ({"alg": "HS256", "crit": ["exp"], "exp": 1}, GOOD, 401),
    ({"alg": "HS256", "crit": []}, GOOD, 401),
    ({"alg": "HS256", "kid": 5}, GOOD, 401),
    ({"alg": "RS256"}, GOOD, 401),
    ("[]", GOOD, 401),
    ("{", GOOD, 401),
    ({"alg": "HS256"}, "[]", 401),
    ({"alg": "HS256"}, "[" * 5000, 401),
    ({"alg": "HS256"}, {**GOOD, "taskcast": {"watch": "*"}}, 401),
    ({"alg": "HS256"}, {**GOOD, "taskcast": {"watch": ["*", 5]}}, 401),
    ({"alg": "HS256"}, {**GOOD, "taskcast": {"watch": ["*"], "publish": [""]}}, 401),
    ({"alg": "HS256"}, {**GOOD, "taskcast": {"watch": ["*"], "list": "yes"}}, 401),
    ({"alg": "HS256"}, {**GOOD, "taskcast": ["watch:*"]}, 401),
    ({"alg": "HS256"}, {**GOOD, "taskcast": None}, 401),
    ({"alg": "HS256"}, {**GOOD, "iss": "anybody", "aud": ["somebody"]}, 200),
])
def test_only_well_made_tokens_count(server, worker, header, claims, code):
    assert status(server, worker, signed(header, claims)) == code


@pytest.mark.parametrize("mangle", [
    lambda token: token[:-2],
    lambda token: token + "A",
    lambda token: token + ".x",
    lambda token: token.rsplit(".", 1)[0] + ".",
    lambda token: token.rsplit(".", 1)[0],
    lambda token: token.replace(".", "..", 1),
    lambda token: "." + token,
    lambda token: token.swapcase(),
    lambda token: "..",
    lambda token: "x" * 8000,
    lambda token: token.split(".")[0] + "." + b64('{"exp":9999999999,"taskcast":{"watch":["*"]}}') + "." + token.split(".")[2],
])
def test_a_token_that_was_touched_does_not_count(server, worker, mangle):
    assert status(server, worker, mangle(token({"watch": ["*"]}))) == 401


def test_issuer_audience_and_claim_are_as_configured(start_server, redis_server, worker):
    options = 'issuer = "https://login.example"\naudience = "taskcast"\nclaim = "https://x.example/grants"\nleeway_s = 0\n'
    server = start_server(redis_server, config=f'[[access.jwt]]\nsecret = "{SECRET}"\n{options}')
    good = {"iss": "https://login.example", "aud": ["a", "taskcast"], "https://x.example/grants": {"watch": ["*"]}}
    for change, code in [
        ({}, 200),
        ({"aud": "taskcast"}, 200),
        ({"aud": "other"}, 401),
        ({"aud": None}, 401),
        ({"iss": "https://login.example/"}, 401),
        ({"iss": None}, 401),
        ({"iss": ["https://login.example"]}, 401),
        ({"https://x.example/grants": None, "taskcast": {"watch": ["*"]}}, 403),
        ({"exp": int(time.time()) - 5}, 401),
    ]:
        claims = {name: value for name, value in {"exp": int(time.time()) + 60, **good, **change}.items() if value is not None}
        assert status(server, worker, signed({"alg": "HS256"}, claims)) == code, change


# Renewal and the end


async def test_a_token_that_ends_closes_and_one_that_is_renewed_does_not(server, worker):
    short = token({"watch": [worker.thread]}, seconds=-20)
    async with connect(server, worker.thread, additional_headers=bearer(short)) as ending:
        async with connect(server, worker.thread, additional_headers=bearer(short)) as renewed:
            position = (await initial(renewed))["stream_id"]
            await initial(ending)
            await renewed.send(json.dumps({"type": "auth", "token": token({"watch": [worker.thread]})}))
            assert (await receive(renewed))["type"] == "auth"
            close, frames = await closed(ending)
            assert close == 4001 and [list(frame) for frame in frames] == [["error"]]
            first = worker.update("still there")
            assert (await receive(renewed))["prev_stream_id"] == position
            # What it may no longer watch ends.
            await renewed.send(json.dumps({"type": "auth", "token": token({"watch": ["other"]})}))
            close, frames = await closed(renewed)
            assert close == 4003 and frames[0]["type"] == "auth" and "error" in frames[-1]
    async with connect(server, worker.thread, since=first, additional_headers=bearer(token({"watch": ["*"]}))) as ws:
        assert (await receive(ws))["update_type"] == "caught_up"


async def test_of_many_tasks_only_what_is_no_longer_granted_ends(server, redis_server):
    workers = [Worker(redis_server.client()) for _ in range(3)]
    for worker in workers:
        worker.redis.set(worker.key("status"), "queued")
    threads = [worker.thread for worker in workers]
    async with connect(server, path="/api/v1/ws", additional_headers=bearer(token({"watch": threads}))) as ws:
        for thread in threads:
            await ws.send(json.dumps({"type": "subscribe", "thread_id": thread}))
            await initial(ws)
        await ws.send(json.dumps({"type": "auth", "token": token({"watch": threads[:1]})}))
        assert (await receive(ws))["type"] == "auth"
        lost = [await receive(ws) for _ in range(2)]
        assert {frame["thread_id"] for frame in lost} == set(threads[1:]) and all("error" in frame for frame in lost)
        workers[1].update("not for it")
        seen = workers[0].update("for it")
        assert (await receive(ws))["stream_id"] == seen
        await ws.send(json.dumps({"type": "subscribe", "thread_id": threads[2]}))
        assert "error" in await receive(ws)


async def test_a_renewal_in_the_middle_of_a_replay_misses_nothing(server, worker):
    ids = [worker.redis.xadd(worker.stream, {"message": "x" * 20_000}) for _ in range(500)]
    options = {"additional_headers": bearer(token({"watch": ["*"]}))}
    async with connect(server, worker.thread, since="0", **options) as ws:
        got = [(await receive(ws))["stream_id"] for _ in range(20)]
        await ws.send(json.dumps({"type": "auth", "token": token({"watch": [worker.thread]})}))
        while len(got) < len(ids):
            frame = await receive(ws)
            if "type" not in frame:
                got.append(frame["stream_id"])
        assert got == ids


async def test_who_reads_slowly_is_given_no_frame_that_begins_behind_the_end(server, worker):
    for _ in range(300):
        worker.redis.xadd(worker.stream, {"message": "x" * 20_000})
    with Raw(server, 16_384) as raw:
        raw.open(task_path(worker.thread, since="0"), bearer(token({"watch": ["*"]}, seconds=-20)))
        await asyncio.sleep(11)
        frames = []
        while (frame := await asyncio.to_thread(raw.read_frame))[1] == TEXT:
            frames.append(frame)
        # What was on its way comes, and then the end.
        assert frame[1] == CLOSE and int.from_bytes(frame[2][:2], "big") == 4001
        assert 0 < len(frames) < 300


def test_a_publication_is_that_of_its_subject(server, worker):
    """Under the same key, what another one publishes is something else."""
    path, key = f"/api/v1/tasks/{worker.thread}/updates", {"Idempotency-Key": f"k-{worker.thread}"}
    ada, bob = (bearer(token({"publish": ["*"]}, sub=name)) for name in ("ada", "bob"))
    first = request(server, "POST", path, {"message": "m"}, {**ada, **key})[2]
    again = request(server, "POST", path, {"message": "m"}, {**ada, **key})[2]
    other = request(server, "POST", path, {"message": "n"}, {**bob, **key})
    assert first == again and other[0] == 202 and other[2] != first
    made = [request(server, "POST", "/api/v1/triage", {"query": "q"}, {**who, **key})[2]["thread_id"] for who in (ada, ada, bob)]
    assert made[0] == made[1] != made[2]


def test_watch_says_where_a_token_comes_from(server, worker):
    argv = [binary(), "watch", worker.thread, "--url", f"http://127.0.0.1:{server.port}"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, env=environment())
    assert done.returncode == 2 and "TASKCAST_TOKEN" in done.stderr and "--token-file" in done.stderr, done.stderr


def test_publishing_may_be_off(start_server, redis_server, worker):
    server = start_server(redis_server, config='publish = "off"\n' + CONFIG)
    for path, body in [("triage", {"query": "q"}), (f"tasks/{worker.thread}/updates", {"message": "m"})]:
        assert request(server, "POST", f"/api/v1/{path}", body, {"X-API-Key": API_KEY})[0] == 403
    assert request(server, "GET", "/api/v1/tasks", headers={"X-API-Key": API_KEY})[0] == 200


@pytest.mark.parametrize("address, config, says", [("0.0.0.0:0", "", True), ("127.0.0.1:0", "", False), ("0.0.0.0:0", CONFIG, False)])
def test_who_is_open_to_everyone_says_so(tmp_path, address, config, says):
    path = tmp_path / "taskcast.toml"
    path.write_text(config)
    argv = [binary(), "serve", "--embedded", "--listen", address, "--config", str(path)]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        lines = []
        while not lines or " listening " not in lines[-1]:
            lines.append(process.stderr.readline())
        process.kill()
    assert any(" open_to_everyone:" in line for line in lines) == says, lines


def test_what_is_wrong_with_a_key_is_said(tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("no key")
    for table, said in [
        (f'[[access.jwt]]\npublic_key_file = "{key}"', "access.jwt: its key is no public key in PEM"),
        ('[[access.jwt]]\nissuer = "x"', "taskcast.toml, line 1: access.jwt: must have exactly one of"),
    ]:
        path = tmp_path / "taskcast.toml"
        path.write_text(table + "\n")
        argv = [binary(), "serve", "--embedded", "--listen", "127.0.0.1:0", "--config", str(path)]
        ended = subprocess.run(argv, capture_output=True, text=True, timeout=20, env=environment())
        assert ended.returncode == 2 and said in ended.stderr, ended.stderr


def test_no_secret_is_shown(tmp_path):
    path = tmp_path / "taskcast.toml"
    path.write_text(CONFIG)
    argv = [binary(), "serve", "--config", str(path), "--print-config"]
    shown = subprocess.run(argv, capture_output=True, text=True, env=environment()).stdout
    assert 'secret = "***"' in shown and SECRET not in shown and "[[access.key]]" in shown


# Sets of keys


class KeyServer:
    """A real HTTP server that gives a set of keys, or misbehaves."""

    def __init__(self):
        self.keys, self.behaviour, self.asked = [], None, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked += 1
                body, code = json.dumps({"keys": outer.keys}).encode(), 200
                if outer.behaviour == "fails":
                    code = 500
                elif outer.behaviour == "hangs":
                    outer.go_on.wait(30)
                elif outer.behaviour == "redirects":
                    self.send_response(302)
                    self.send_header("Location", "/elsewhere")
                    self.end_headers()
                    return
                elif outer.behaviour is not None:
                    body = outer.behaviour
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.go_on = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/keys"

    def close(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def key_server():
    server = KeyServer()
    yield server
    server.close()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("place", ["url", "file"])
def test_a_set_of_keys(start_server, redis_server, worker, tmp_path, key_server, algorithm, place):
    first, second = KeyPair(algorithm), KeyPair(algorithm)
    key_server.keys = [first.jwk(kid="1", alg=algorithm, use="sig"), second.jwk(kid="2")]
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": key_server.keys}))
    where = f'jwks_url = "{key_server.url}"' if place == "url" else f'jwks_file = "{path}"'
    server = start_server(redis_server, config=f"[[access.jwt]]\n{where}\n")
    for pair, kid, code in [(first, "1", 200), (second, "2", 200), (second, None, 200), (second, "1", 401), (first, "2", 401), (KeyPair(algorithm), "1", 401), (first, "3", 401)]:
        assert status(server, worker, pair.token({"watch": ["*"]}, kid)) == code, kid
    assert place == "file" or key_server.asked <= 2, "an unknown key is asked for at most every ten seconds"


def test_whose_keys_cannot_be_read_is_not_refused_for_ever(start_server, redis_server, worker, key_server):
    key_server.behaviour = "fails"
    config = f'[[access.jwt]]\njwks_url = "{key_server.url}"\n[[access.jwt]]\nsecret = "{SECRET}"\n'
    server = start_server(redis_server, config=config)
    assert status(server, worker, KeyPair("ES256").token({"watch": ["*"]})) == 503
    assert status(server, worker, token({"watch": ["*"]})) == 200


def test_what_a_set_of_keys_may_not_be(start_server, redis_server, worker, key_server):
    """Whatever it has, what is signed with a good key of it counts, and nothing else."""
    good, other = KeyPair("ES256"), KeyPair("ES256")
    odd = [
        {"kty": "oct", "k": b64("public"), "kid": "oct", "alg": "HS256"},
        {"kty": "RSA", **{n: v for n, v in good.jwk().items() if n != "kty"}, "kid": "wrong kty"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": "short"},
        {"kty": "new", "kid": "new"},
        other.jwk(kid="enc", use="enc"),
        other.jwk(kid="alg", alg="ES384"),
        5, None, [], {"kty": 5},
    ]
    key_server.keys = [*odd, other.jwk(kid="same"), good.jwk(kid="same")]
    server = start_server(redis_server, config=f'[[access.jwt]]\njwks_url = "{key_server.url}"\n')
    assert status(server, worker, good.token({"watch": ["*"]}, "same")) == 200
    assert status(server, worker, other.token({"watch": ["*"]}, "same")) == 200
    for kid in ("enc", "alg", "oct", "wrong kty", "short", "new"):
        assert status(server, worker, other.token({"watch": ["*"]}, kid)) == 401, kid
    public = by_hand({"alg": "HS256", "kid": "oct"}, made_now(GOOD), hmac_of("public"))
    assert status(server, worker, public) == 401


@pytest.mark.parametrize("behaviour", ["fails", "hangs", "redirects", b"", b"[]", b'{"keys":5}', b"[" * 100_000, b" " * 400_000])
def test_without_keys_nobody_is_let_in_and_nobody_called_a_liar(start_server, redis_server, worker, key_server, behaviour):
    key_server.behaviour = behaviour
    server = start_server(redis_server, config=f'[[access.jwt]]\njwks_url = "{key_server.url}"\n')
    assert status(server, worker, KeyPair("ES256").token({"watch": ["*"]})) == 503


def test_the_last_good_keys_go_on_when_there_are_no_others(start_server, redis_server, worker, key_server):
    pair = KeyPair("ES256")
    key_server.keys = [pair.jwk(kid="1")]
    server = start_server(redis_server, config=f'[[access.jwt]]\njwks_url = "{key_server.url}"\n')
    assert status(server, worker, pair.token({"watch": ["*"]}, "1")) == 200
    key_server.behaviour = "fails"
    assert status(server, worker, pair.token({"watch": ["*"]}, "2")) == 401
    assert status(server, worker, pair.token({"watch": ["*"]}, "1")) == 200


# The terminal


@pytest.mark.parametrize("way", ["file", "variable"])
def test_watch_shows_a_token(server, worker, tmp_path, way):
    def watch(token):
        path = tmp_path / "token"
        path.write_text(f"{token}\n")
        argv = [binary(), "watch", worker.thread, "--url", server.http, "--json"]
        env = environment()
        if way == "file":
            argv += ["--token-file", str(path)]
        else:
            env |= {"TASKCAST_TOKEN": token}
        return subprocess.run(argv, capture_output=True, text=True, timeout=30, env=env)

    worker.redis.set(worker.key("status"), "done")
    good = watch(token({"watch": [worker.thread]}))
    assert good.returncode == 0 and '"initial_state"' in good.stdout, good.stderr
    for bad, said in [(token({"watch": ["other"]}), "does not grant"), ("nobody's", "no token of anybody")]:
        ended = watch(bad)
        assert ended.returncode == 2 and said in ended.stderr and bad not in ended.stderr, ended.stderr
