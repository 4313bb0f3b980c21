"""From where requests come: trusted proxies, the PROXY protocol, limits per address and subject, the audit, and
the listener for those who look after the server (protocol §5)."""

import contextlib
import json
import re
import socket
import struct
import subprocess
import time

import pytest

import processes
from processes import eventually, request
from rawsocket import Raw
from support import Worker, closed, connect, initial, task_path
from tokens import API_KEY, CONFIG, bearer, token

FORWARDED = {"X-Forwarded-For": "198.51.100.7"}
PROXIED = 'trusted_proxies = ["127.0.0.0/8"]\n'


@pytest.fixture
def worker(redis_server):
    worker = Worker(redis_server.client())
    worker.redis.set(worker.key("status"), "in_progress")
    return worker


def forwarded(address):
    return {"X-Forwarded-For": address}


def publish(server, worker, headers=None):
    return request(server, "POST", f"/api/v1/tasks/{worker.thread}/updates", {"message": "m"}, headers)


# Limits


async def test_an_address_has_so_many_connections(start_server, redis_server, worker):
    config = PROXIED + "[limits]\naddress_connections_max = 2\n"
    server = start_server(redis_server, config=config)
    one, other = forwarded("198.51.100.7"), forwarded("198.51.100.8")
    async with connect(server, worker.thread, additional_headers=one) as first:
        await initial(first)
        async with connect(server, worker.thread, additional_headers=one) as second:
            await initial(second)
            with Raw(server) as raw:
                raw.send(raw.handshake_bytes(task_path(worker.thread), one))
                status, headers = raw.read_head()
                assert status == 429 and int(headers["retry-after"]) >= 1
            assert request(server, "GET", f"/api/v1/tasks/{worker.thread}", headers=one)[0] == 429
            async with connect(server, worker.thread, additional_headers=other) as third:
                await initial(third)
        # Who goes gives its place back.
        eventually(lambda: request(server, "GET", f"/api/v1/tasks/{worker.thread}", headers=one)[0] == 200)
        async with connect(server, worker.thread, additional_headers=one) as again:
            await initial(again)


def test_connections_that_say_nothing_count(start_server, redis_server):
    server = start_server(redis_server, config="[limits]\naddress_connections_max = 3\n")
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(3)]
        time.sleep(0.3)
        assert request(server, "GET", "/healthz")[0] == 429
        silent.pop().close()
        eventually(lambda: request(server, "GET", "/healthz")[0] == 200)


async def test_an_address_attaches_and_publishes_at_its_pace(start_server, redis_server, worker):
    limits = "[limits]\naddress_attaches_per_second_max = 5\naddress_publications_per_second_max = 4\n"
    server = start_server(redis_server, config=PROXIED + limits)
    statuses = until_too_much(lambda _: publish(server, worker, FORWARDED))
    assert [reply[0] for reply in statuses[:4]] == [202] * 4
    refused = [reply for reply in statuses if reply[0] == 429]
    assert refused and all(reply[1]["Retry-After"] == "1" for reply in refused)
    assert publish(server, worker, forwarded("198.51.100.8"))[0] == 202
    # What was refused was not written.
    written = sum(reply[0] == 202 for reply in statuses) + 1
    assert worker.redis.xlen(worker.stream) == written
    handshakes = until_too_much(lambda _: handshake(server, worker, FORWARDED))
    assert [reply[0] for reply in handshakes[:5]] == [101] * 5 and handshakes[-1][0] == 429
    eventually(lambda: publish(server, worker, FORWARDED)[0] == 202)


async def test_a_subject_has_limits_from_wherever_it_comes(start_server, redis_server, worker):
    limits = "[limits]\nsubject_connections_max = 2\nsubject_publications_per_second_max = 3\n"
    server = start_server(redis_server, config=PROXIED + CONFIG + limits)
    ada, bob = (token({"watch": ["*"], "publish": ["*"]}, sub=name) for name in ("ada", "bob"))
    replies = until_too_much(lambda n: publish(server, worker, {**bearer(ada), **forwarded(f"198.51.100.{n}")}))
    assert [reply[0] for reply in replies[:3]] == [202] * 3 and replies[-1][0] == 429
    assert publish(server, worker, bearer(bob))[0] == 202
    async with connect(server, worker.thread, additional_headers=bearer(ada)) as one:
        await initial(one)
        # By its first message, too; and one that is renewed has its place already.
        async with connect(server, worker.thread) as two:
            for _ in range(2):
                await two.send(json.dumps({"type": "auth", "token": ada}))
            await live(two)
            with Raw(server) as raw:
                raw.send(raw.handshake_bytes(task_path(worker.thread), bearer(ada)))
                assert raw.read_head()[0] == 429
            async with connect(server, worker.thread) as three:
                await three.send(json.dumps({"type": "auth", "token": ada}))
                assert (await closed(three))[0] == 1013
            async with connect(server, worker.thread, additional_headers=bearer(bob)) as other:
                await initial(other)
    eventually(lambda: opens(server, worker, bearer(ada)))


def opens(server, worker, headers):
    return handshake(server, worker, headers)[0] == 101


def handshake(server, worker, headers):
    with Raw(server) as raw:
        raw.send(raw.handshake_bytes(task_path(worker.thread), headers))
        return raw.read_head()


def until_too_much(ask):
    """The replies up to the first that is 429: however slow this machine is, one of many comes too soon."""
    replies = []
    while len(replies) < 200 and (not replies or replies[-1][0] != 429):
        replies.append(ask(len(replies)))
    return replies


async def live(ws):
    while json.loads(await ws.recv()).get("update_type") != "initial_state":
        pass


def test_who_is_no_proxy_says_nothing_of_others(start_server, redis_server, worker):
    """What somebody says of himself does not count, unless he is trusted."""
    server = start_server(redis_server, config="[limits]\naddress_publications_per_second_max = 2\n")
    replies = until_too_much(lambda n: publish(server, worker, forwarded(f"198.51.100.{n}")))
    assert replies[-1][0] == 429


def test_what_a_client_says_of_itself_neither_hides_nor_harms(start_server, redis_server, worker):
    """A proxy passes `Forwarded` on as it came, and adds to a list that may be no text."""
    config = PROXIED + "audit = true\n" + CONFIG + "[limits]\naddress_connections_max = 2\naddress_publications_per_second_max = 3\n"
    server = start_server(redis_server, config=config)
    for n in range(12):
        with Raw(server) as raw:
            listed = [b"\xff, 198.51.100.7", b"9.9.9.9, 198.51.100.7"][n % 2]
            raw.send(
                f"POST /api/v1/tasks/{worker.thread}/updates HTTP/1.1\r\nHost: localhost\r\nForwarded: for=8.8.8.{n}\r\n"
                f"X-API-Key: {API_KEY}\r\nContent-Length: 15\r\nX-Forwarded-For: ".encode()
                + listed + b'\r\n\r\n{"message":"m"}'
            )
            status = raw.read_head()[0]
            assert status in (202, 429)
        # The proxy itself looks whether the server lives.
        assert request(server, "GET", "/readyz")[0] == 200
    assert {line["from"] for line in lines(server, "published")} == {"198.51.100.7"}
    assert worker.redis.xlen(worker.stream) < 12


# The PROXY protocol


def header(address, version=0x21, signature=b"\r\n\r\n\0\r\nQUIT\n"):
    packed = socket.inet_aton(address) + socket.inet_aton("10.0.0.1") + struct.pack("!HH", 1234, 8000)
    return signature + bytes([version, 0x11]) + struct.pack("!H", len(packed)) + packed


def ask(server, head, path="/healthz"):
    """The status of what is asked behind a header; none where the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), 10) as sock:
        sock.sendall(head + f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        try:
            reply = sock.recv(4096)
        except ConnectionResetError:
            return None
    return int(reply.split()[1]) if reply else None


def test_a_proxy_passes_connections_on(start_server, redis_server):
    config = "proxy_protocol = true\n[limits]\naddress_connections_max = 1\n"
    server = start_server(redis_server, config=config, wait=False)
    eventually(lambda: ask_if_up(server))
    assert ask(server, b"") is None
    assert ask(server, b"PROXY TCP4 198.51.100.7 10.0.0.1 1 2\r\n") is None
    assert ask(server, header("198.51.100.7", version=0x11)) is None
    assert ask(server, header("198.51.100.7", signature=b"\r\n\r\n\0\r\nQUIT\r")) is None
    # The connection before may not have ended yet.
    with eventually(lambda: held(server, header("198.51.100.7"))):
        assert ask(server, header("198.51.100.7")) == 429
        assert ask(server, header("198.51.100.8")) == 200
        # The proxy itself.
        assert ask(server, header("198.51.100.7", version=0x20)) == 200
    # `taskcast health` speaks for itself.
    done = subprocess.run(
        [processes.binary(), "health", "--listen", f"127.0.0.1:{server.port}"], capture_output=True,
        env={**processes.environment(), "TASKCAST_PROXY_PROTOCOL": "true"},
    )
    assert done.returncode == 0, done.stderr


def held(server, head):
    """A connection that was answered and stays; none where there is one too many."""
    sock = socket.create_connection(("127.0.0.1", server.port), 10)
    sock.sendall(head + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    if sock.recv(4096).startswith(b"HTTP/1.1 200 "):
        return sock
    sock.close()
    return None


def ask_if_up(server):
    try:
        return ask(server, header("198.51.100.9")) == 200
    except ConnectionRefusedError:
        return False


def test_only_trusted_proxies_pass_connections_on(start_server, redis_server):
    config = 'proxy_protocol = true\ntrusted_proxies = ["192.0.2.0/24"]\n'
    server = start_server(redis_server, config=config, wait=False)
    eventually(lambda: "listening" in server.log)
    assert ask(server, header("198.51.100.7")) is None


# The audit


def lines(server, event):
    """The lines of an event, each as a dictionary."""
    found = [line for line in server.log.splitlines() if f": {event} " in line]
    return [dict(re.findall(r'(\w+)="?([^" ]*)"?', line)) for line in found]


async def test_the_audit_says_who_did_what_and_from_where(start_server, redis_server, worker):
    server = start_server(redis_server, config=PROXIED + "audit = true\n" + CONFIG)
    key = {"X-API-Key": API_KEY, **FORWARDED}
    for n in range(30):
        assert publish(server, worker, key)[0] == 202
    made = request(server, "POST", "/api/v1/triage", {"query": "q"}, key)[2]
    assert publish(server, worker, {**bearer(token({"watch": ["*"]}, sub="ada")), **FORWARDED})[0] == 403
    assert publish(server, worker, {**bearer("nobody's s3cr3t"), **FORWARDED})[0] == 401
    async with connect(server, worker.thread, additional_headers={**bearer(token({"watch": ["x"]}, sub="bob")), **FORWARDED}) as ws:
        assert (await closed(ws))[0] == 4003
    async with connect(server, path="/api/v1/ws", additional_headers=bearer(token({"watch": ["x"]}, sub="eve"))) as ws:
        await ws.send(json.dumps({"type": "subscribe", "thread_id": worker.thread}))
        await ws.recv()
    eventually(lambda: len(lines(server, "published")) == 31)
    published = lines(server, "published")
    assert all(line["who"] == "workers" and line["from"] == "198.51.100.7" for line in published)
    assert {line["stream_id"] for line in published if line["what"] == "updates"} == {i for i, _ in worker.redis.xrange(worker.stream)}
    assert [line["thread_id"] for line in published if line["what"] == "triage"] == [made["thread_id"]]
    eventually(lambda: {line["who"] for line in lines(server, "refused")} >= {"ada", "unknown", "bob", "eve"})
    for line in lines(server, "refused"):
        assert line["from"] == ("127.0.0.1" if line["who"] == "eve" else "198.51.100.7")
    assert "s3cr3t" not in server.log and API_KEY not in server.log


async def test_who_has_several_tokens_is_all_of_them(start_server, redis_server, worker):
    config = PROXIED + "audit = true\n" + CONFIG + "[limits]\nsubject_publications_per_second_max = 2\n"
    server = start_server(redis_server, config=config)
    both = lambda n: {"X-API-Key": API_KEY, **bearer(token(sub=f"somebody {n}"))}
    replies = until_too_much(lambda n: publish(server, worker, both(n)))
    assert [reply[0] for reply in replies[:2]] == [202, 202] and replies[-1][0] == 429
    names = lambda: {re.search('who="([^"]*)"', line)[1] for line in server.said(": published ")}
    eventually(lambda: names() >= {"somebody 0 + workers", "somebody 1 + workers"}, "both in the audit")


async def test_a_token_in_the_first_message_is_paced_too(start_server, redis_server, worker):
    server = start_server(redis_server, config=CONFIG + "[limits]\nsubject_attaches_per_second_max = 1\n")
    ada, codes = token({"watch": ["*"]}, sub="ada"), []
    while len(codes) < 50 and 1013 not in codes:
        async with connect(server, worker.thread) as ws:
            await ws.send(json.dumps({"type": "auth", "token": ada}))
            first = json.loads(await ws.recv())
            codes.append(1013 if "error" in first else 101)
            if first.get("type") == "auth":
                # Renewed, it opens nothing.
                await ws.send(json.dumps({"type": "auth", "token": ada}))
                await live(ws)
    assert codes[0] == 101 and 1013 in codes


def test_no_line_of_the_log_is_anybody_elses(start_server, redis_server, worker):
    server = start_server(redis_server, config="audit = true\n" + CONFIG)
    name = "a%0A2026-11-28T00:00:00Z  INFO taskcast::published: published who=%22admin%22 %1B[31m%C2%9B".replace(" ", "%20")
    for path in (f"/api/v1/ws/tasks/{name}", f"/api/v1/tasks/{name}"):
        for headers in (bearer("nonsense"), bearer(token(sub="a\nb\x1b[31m"))):
            with Raw(server) as raw:
                raw.send(raw.handshake_bytes(path, headers))
                raw.read_head()
    eventually(lambda: len(lines(server, "refused")) >= 2)
    text = server.log
    begins = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z +[A-Z]+ taskcast")
    assert all(begins.match(line) for line in text.splitlines()) and "\x1b" not in text and "\x9b" not in text
    assert not any("taskcast::published:" in line.split(" who=")[0] for line in text.splitlines())


def test_a_publication_whose_publisher_goes_is_told(start_server, start_redis):
    own = start_redis()
    worker = Worker(own.client())
    worker.redis.set(worker.key("status"), "in_progress")
    server = start_server(own, config="audit = true\n" + CONFIG)
    own.pause()
    with Raw(server) as raw:
        head = f"POST /api/v1/tasks/{worker.thread}/updates HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {API_KEY}\r\n"
        raw.send((head + 'Content-Length: 15\r\n\r\n{"message":"m"}').encode())
        time.sleep(0.5)
    eventually(lambda: lines(server, "perhaps_published"))
    own.resume()
    told = lines(server, "perhaps_published")
    assert [(line["who"], line["thread_id"]) for line in told] == [("workers", worker.thread)]


def test_refusals_are_ten_lines_a_second(start_server, redis_server, worker):
    server = start_server(redis_server, config="audit = true\n" + CONFIG)
    began = time.monotonic()
    for _ in range(200):
        assert publish(server, worker, bearer("nobody's"))[0] == 401
    seconds = time.monotonic() - began
    eventually(lambda: "lines_left_out" in server.log)
    assert len(lines(server, "refused")) <= 10 * (seconds + 2)


def test_without_the_audit_nothing_is_said(start_server, redis_server, worker):
    server = start_server(redis_server, config=CONFIG)
    assert publish(server, worker, {"X-API-Key": API_KEY})[0] == 202 and publish(server, worker)[0] == 401
    assert not lines(server, "published") and not lines(server, "refused")


# Where it listens


def get(port, path, host="127.0.0.1", family=socket.AF_INET):
    with socket.socket(family) as sock:
        sock.settimeout(10)
        sock.connect((host, port))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        return int(sock.recv(4096).split()[1])


def test_several_addresses(redis_server, tmp_path):
    first, second, third = (processes.free_port() for _ in range(3))
    path = tmp_path / "taskcast.toml"
    path.write_text(f'workers = 2\nlisten = ["127.0.0.1:{first}", "127.0.0.1:{second}", "[::1]:{third}"]\n')
    argv = [processes.binary(), "serve", "--redis", redis_server.url, "--config", path]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=processes.environment()) as process:
        try:
            while " listening " not in (line := process.stderr.readline()):
                assert line, "it ended"
            for port, host, family in [(first, "127.0.0.1", socket.AF_INET), (second, "127.0.0.1", socket.AF_INET), (third, "::1", socket.AF_INET6)]:
                for _ in range(8):
                    assert get(port, "/healthz", host, family) == 200
        finally:
            process.terminate()
            process.stderr.read()


@pytest.mark.parametrize("config", [
    'listen = "127.0.0.1:{port}"\nadmin_listen = "127.0.0.1:{port}"\n',
    'listen = "127.0.0.1:{port}"\nadmin_listen = "0.0.0.0:{port}"\n',
    'listen = ["127.0.0.1:{port}", "127.0.0.1:{port}"]\n',
])
def test_an_address_is_listened_on_once(tmp_path, config):
    path = tmp_path / "taskcast.toml"
    path.write_text(config.format(port=processes.free_port()))
    argv = [processes.binary(), "serve", "--embedded", "--config", path]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, env=processes.environment())
    assert done.returncode == 2 and "is listened on twice" in done.stderr, done.stderr


def test_what_is_for_those_who_look_after_the_server_is_there_only(start_server, redis_server):
    admin = processes.free_port()
    server = start_server(redis_server, config=f'admin_listen = "127.0.0.1:{admin}"\n' + CONFIG, wait=False)
    eventually(lambda: "listening_for_admin" in server.log and " listening " in server.log)
    eventually(lambda: get(admin, "/readyz") == 200)
    for path in ("/healthz", "/readyz", "/metrics"):
        assert (get(admin, path), get(server.port, path)) == (200, 404), path
    for path in ("/", "/api/v1/tasks", "/api/v1/ws", "/assets/app.js"):
        assert get(admin, path) == 404, path
    assert get(server.port, "/") == 200
    path = server.dir / "taskcast.toml"
    done = subprocess.run([processes.binary(), "health", "--ready", "--config", path], env=processes.environment())
    assert done.returncode == 0
