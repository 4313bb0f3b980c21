"""TLS on the listeners (protocol §5): what is spoken and what is not, certificates taken anew, and viewers
who are served as over plain connections."""

import asyncio
import json
import shutil
import socket
import ssl
import subprocess

import pytest
import websockets

import certificates as authority
import processes
from processes import eventually, request
from rawsocket import PING, PONG, TEXT, Raw, frame
from support import Worker, connect, initial, receive

MODERN = {
    "TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305",
}
EVERY_SUITE = "ALL:COMPLEMENTOFALL:@SECLEVEL=0"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return authority.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(redis_server, certificates):
    server = processes.Taskcast(redis_server, "--workers", "2", tls=certificates)
    yield server
    server.remove()


@pytest.fixture
def worker(redis_server):
    return Worker(redis_server.client())


def trusting(certificates, lowest=None, highest=None, ciphers=None):
    context = ssl.create_default_context(cafile=certificates / "authority.crt")
    # Before the bounds, so that the old versions have suites, too.
    if ciphers:
        context.set_ciphers(ciphers)
    context.minimum_version = lowest or ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = highest or ssl.TLSVersion.MAXIMUM_SUPPORTED
    return context


def shake_hands(server, context, session=None):
    """A connection over TLS, or the error."""
    bare = socket.create_connection(("127.0.0.1", server.port), timeout=15)
    try:
        return context.wrap_socket(bare, server_hostname="127.0.0.1", session=session)
    except BaseException:
        bare.close()
        raise


def fill(worker, first, count, bytes):
    """So many entries. Returns their ids."""
    with worker.redis.pipeline(transaction=False) as pipe:
        for id in range(first, first + count):
            fields = ("update_type", "event", "n", id, "padding", "x" * bytes)
            pipe.execute_command("XADD", worker.stream, f"{id}-0", *fields)
        return pipe.execute()


def get(connection, path="/healthz"):
    """The answer to a GET, from an open connection."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while more := connection.recv(65536):
        answer += more
    return answer


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_viewers_and_publishers_are_served(server, worker, certificates, version):
    context = trusting(certificates, version, version)
    async with connect(server, worker.thread, ssl=context) as ws:
        await initial(ws)
        worker.update("from a worker")
        assert (await receive(ws))["message"] == "from a worker"
        status, _, _ = request(server, "POST", f"/api/v1/tasks/{worker.thread}/updates", {"message": "over TLS"})
        assert status == 202 and (await receive(ws))["message"] == "over TLS"
        await ws.send('{"type":"ping"}')
        assert await receive(ws) == {"type": "pong"}
        await (await ws.ping(b"x" * 100))
        assert ws.transport.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
    assert ws.close_code == 1000


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_nothing_older_is_spoken(server, certificates, version):
    with pytest.warns(DeprecationWarning):
        context = trusting(certificates, version, version, EVERY_SUITE)
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION|HANDSHAKE_FAILURE"):
        shake_hands(server, context)


def test_no_weak_suite_is_taken(server, certificates):
    two = ssl.TLSVersion.TLSv1_2
    names = [suite["name"] for suite in trusting(certificates, ciphers=EVERY_SUITE).get_ciphers()]
    taken, refused = set(), 0
    for name in names:
        if name.startswith("TLS_"):
            continue
        try:
            with shake_hands(server, trusting(certificates, two, two, f"{name}:@SECLEVEL=0")) as connection:
                taken.add(connection.cipher()[0])
        except ssl.SSLError:
            refused += 1
    assert taken and taken <= MODERN and refused > 50, (taken, refused)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_was_there_resumes_with_any_worker(server, certificates, version):
    context = trusting(certificates, version, version)
    with shake_hands(server, context) as first:
        assert not first.session_reused and b"200 OK" in get(first)
        session = first.session
    resumed = 0
    # The kernel spreads them over the workers.
    for _ in range(8):
        with shake_hands(server, context, session) as again:
            assert again.session_reused and b"200 OK" in get(again)
            resumed += 1
    assert resumed == 8


def test_only_http_1_is_offered(server, certificates):
    for offered, chosen in ((["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), ([], None)):
        context = trusting(certificates)
        if offered:
            context.set_alpn_protocols(offered)
        with shake_hands(server, context) as connection:
            assert connection.selected_alpn_protocol() == chosen and b"200 OK" in get(connection)
    context = trusting(certificates)
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        shake_hands(server, context)


def test_plain_http_is_told_to_speak_tls(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=15) as plain:
        answer = get(plain)
    assert answer.startswith(b"HTTP/1.1 400 ") and b'"this address speaks TLS: use https://"' in answer
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head


def test_the_end_of_a_connection_is_told(server, worker, certificates):
    """Where it is not, a client cannot know whether somebody cut it."""
    context = trusting(certificates)
    with Raw(server, context=context).open(f"/api/v1/ws/tasks/{worker.thread}") as viewer:
        viewer.read_json()
        viewer.send_frame(0x8, b"\x03\xe8")
        assert viewer.read_close() == 1000
        assert viewer.socket.recv(1) == b""
    with shake_hands(server, context) as connection:
        assert b"200 OK" in get(connection)


@pytest.mark.parametrize("io_uring", ["auto", "off"])
async def test_a_slow_viewer_gets_every_byte(start_server, redis_server, certificates, worker, io_uring):
    """It reads nothing while much more is written than the kernel keeps, beside one who reads."""
    server = start_server(redis_server, "--workers", "1", "--io-uring", io_uring, tls=certificates)
    context = trusting(certificates)
    path = f"/api/v1/ws/tasks/{worker.thread}"
    viewers = [Raw(server, 16_384, context).open(path) for _ in range(8)]
    async with connect(server, worker.thread, ssl=context) as beside:
        await initial(beside)
        ids = fill(worker, 2, count=300, bytes=20_000)
        for id in ids:
            assert (await receive(beside))["stream_id"] == id
    eventually(lambda: server.metrics()["taskcast_viewers_lagging"] == len(viewers), "viewers that lag")
    assert server.metrics()['taskcast_memory_bytes{kind="rests"}'] > 0
    ids += fill(worker, 1_000, count=300, bytes=100)
    for viewer in viewers:
        with viewer:
            assert viewer.read_json()["update_type"] == "initial_state"
            position = "0-0"
            for id in ids:
                entry = viewer.read_json()
                assert (entry["stream_id"], entry["prev_stream_id"]) == (id, position)
                position = id
            viewer.send_frame(TEXT, '{"type":"ping"}')
            assert viewer.read_json() == {"type": "pong"}
    eventually(lambda: server.metrics()['taskcast_memory_bytes{kind="rests"}'] == 0, "nothing is kept")
    eventually(lambda: server.metrics()['taskcast_memory_bytes{kind="sessions"}'] < 30_000, "sessions are given back")


def test_what_comes_in_parts_or_at_once(server, worker, certificates):
    """A record for each byte; and many frames in one."""
    context = trusting(certificates)
    with Raw(server, context=context) as viewer:
        for byte in viewer.handshake_bytes(f"/api/v1/ws/tasks/{worker.thread}"):
            viewer.send(bytes([byte]))
        assert viewer.read_head()[0] == 101 and viewer.read_json()["update_type"] == "initial_state"
        viewer.send_frame(PING, b"one")
        assert viewer.read_pong() == b"one"
        viewer.send(b"".join(frame(PING, b"%d" % n) for n in range(200)))
        assert int(viewer.read_pong()) >= 0
        viewer.send_frame(TEXT, json.dumps({"type": "ping", "padding": "x" * 40_000}))
        while (got := viewer.read_frame())[1] == PONG:
            pass
        assert json.loads(got[2]) == {"type": "pong"}
    # Frames right behind the handshake.
    with Raw(server, context=context).open(f"/api/v1/ws/tasks/{worker.thread}", along=frame(PING, b"early")) as viewer:
        kinds = [viewer.read_frame()[1:] for _ in range(2)]
        assert (PONG, b"early") in kinds


class At:
    """A port, of which `Raw` says what is sent there."""

    token = None

    def __init__(self, port):
        self.port = port


def test_keys_are_renewed_in_the_middle(server, worker, certificates):
    """openssl asks for new keys, in both directions."""
    argv = ["openssl", "s_client", "-connect", f"127.0.0.1:{server.port}", "-tls1_3",
            "-CAfile", certificates / "authority.crt", "-verify_return_error"]
    client = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = bytearray()

    def until(text):
        while text not in said:
            more = client.stdout.read1(65536)
            assert more, bytes(said)
            said.extend(more)

    def write(data):
        client.stdin.write(data)
        client.stdin.flush()

    try:
        until(b"---\n")
        path = f"/api/v1/ws/tasks/{worker.thread}"
        write(Raw.handshake_bytes(At(server.port), path))
        until(b"initial_state")
        for number in range(3):
            write(b"K\n")
            until(b"KEYUPDATE")
            worker.update(f"after new keys {number}")
            until(b"after new keys %d" % number)
    finally:
        client.kill()
        client.wait()


def test_what_is_no_tls_ends_and_leaves_others_alone(start_server, redis_server, certificates, worker):
    server = start_server(
        redis_server, tls=certificates, config="[limits]\nhandshake_timeout_ms = 500\nmemory_bytes_max = 67108864\n"
    )
    context = trusting(certificates)
    with Raw(server, context=context).open(f"/api/v1/ws/tasks/{worker.thread}") as innocent:
        innocent.read_json()
        hello = client_hello(context)
        held = []
        for data in (b"\x16", b"\x16\x03\x01", hello[:50], hello + b"\x16\x03\x03\x40\x00" + b"x" * 9_000):
            for _ in range(50):
                bare = socket.create_connection(("127.0.0.1", server.port), timeout=15)
                bare.sendall(data)
                held.append(bare)
        for data in (b"\x16\x03\x03\x00\x05hello" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 70_000, hello[:-1] + b"\xff"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=15) as bare:
                try:
                    bare.sendall(data)
                    while bare.recv(65536):
                        pass
                except ConnectionError:
                    pass
        for bare in held:
            # It ends, in its time.
            try:
                while bare.recv(65536):
                    pass
            except ConnectionError:
                pass
            bare.close()
        worker.update("goes on")
        assert innocent.read_json()["message"] == "goes on"
        # Garbage behind the handshake ends that connection alone; also a record that never can be whole.
        for head, bytes in ((b"\x17\x03\x03\x00\x20", 32), (b"\x17\x03\x03\xff\xff", 70_000), (b"\x17\x03\x03\x43\x00", 10)):
            with Raw(server, context=context).open(f"/api/v1/ws/tasks/{worker.thread}") as other:
                other.read_json()
                bare = socket.socket(fileno=other.socket.detach())
                bare.settimeout(15)
                try:
                    bare.sendall(head + b"y" * bytes)
                    while bare.recv(65536):
                        pass
                except ConnectionError:
                    pass
                bare.close()
        worker.update("still")
        assert innocent.read_json()["message"] == "still"
    eventually(lambda: server.metrics()['taskcast_memory_bytes{kind="sessions"}'] < 20_000, "sessions are given back")
    eventually(lambda: server.metrics()["taskcast_tls_handshakes_failed_total"] == 203, "those that failed")
    assert server.metrics()["taskcast_panics_total"] == 0


def client_hello(context):
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(came, goes, server_hostname="127.0.0.1").do_handshake()
    return goes.read()


@pytest.mark.timeout(180)
async def test_a_certificate_that_is_swapped_disturbs_nobody(start_server, redis_server, worker, tmp_path):
    live = authority.make(tmp_path / "live" if (tmp_path / "live").mkdir() is None else None)
    new = authority.make(tmp_path / "new" if (tmp_path / "new").mkdir() is None else None)
    old_trust, new_trust = trusting(live), trusting(new)
    # What vouches for the old one stays where it is: only the server's own files are exchanged.
    server = start_server(redis_server, tls=live)
    viewers = [await connect(server, worker.thread, ssl=old_trust) for _ in range(1_000)]
    for ws in viewers:
        await initial(ws)

    async def all_get(message):
        worker.update(message)
        for ws in viewers:
            assert (await receive(ws))["message"] == message

    await all_get("before")
    # One file, and then the other: in between they are no pair, and the one before stays in force.
    shutil.copy(new / "server.crt", live / "server.crt")
    await asyncio.to_thread(server.said, "certificate_not_renewed")
    async with connect(server, worker.thread, ssl=old_trust) as ws:
        await initial(ws)
    await all_get("between")
    shutil.copy(new / "server.key", live / "server.key")
    await asyncio.to_thread(server.said, "certificate_renewed")
    with pytest.raises(ssl.SSLCertVerificationError):
        await connect(server, worker.thread, ssl=old_trust)
    async with connect(server, worker.thread, ssl=new_trust) as ws:
        await initial(ws)
    await all_get("behind")
    (live / "server.key").write_text("no key")
    eventually(lambda: "tls.key" in server.log, "what is wrong is said")
    await all_get("and on")
    async with connect(server, worker.thread, ssl=new_trust) as ws:
        await initial(ws)
    server.tls = new_trust
    assert server.metrics()["taskcast_viewers"] == len(viewers)
    await asyncio.gather(*(ws.close() for ws in viewers))


def test_beside_a_header_of_a_proxy_and_an_admin_address(start_server, redis_server, worker, certificates):
    admin = processes.free_port()
    server = start_server(
        redis_server, "--admin-listen", f"127.0.0.1:{admin}", "--proxy-protocol", tls=certificates, wait=False
    )
    eventually(lambda: plain_status(admin, "/readyz") == b"200", "a server that is ready")
    bare = socket.create_connection(("127.0.0.1", server.port), timeout=15)
    bare.sendall(b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([192, 0, 2, 1, 127, 0, 0, 1, 0, 1, 0, 2]))
    context = trusting(certificates)
    with context.wrap_socket(bare, server_hostname="127.0.0.1") as connection:
        assert b" 200 OK" in get(connection, f"/api/v1/tasks/{worker.thread}")


def plain_status(port, path):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=15) as plain:
            return get(plain, path).split()[1]
    except OSError:
        return None


@pytest.mark.parametrize("files, why", [
    ({"certificate": "server.crt"}, "needs tls.key beside it"),
    ({"key": "server.key"}, "needs tls.certificate beside it"),
    ({"client_ca": "authority.crt"}, "needs tls.certificate beside it"),
    ({"certificate": "missing.crt", "key": "server.key"}, "missing.crt"),
    ({"certificate": "server.key", "key": "server.key"}, "no certificate"),
    ({"certificate": "server.crt", "key": "server.crt"}, "no private key"),
    ({"certificate": "server.crt", "key": "authority.key"}, "no pair"),
    ({"certificate": "server.crt", "key": "server.key", "client_ca": "server.key"}, "tls.client_ca"),
])
def test_files_that_cannot_be_used_are_an_error(certificates, tmp_path, files, why):
    lines = [f'{key} = "{certificates / name}"\n' for key, name in files.items()]
    config = tmp_path / "taskcast.toml"
    config.write_text("[tls]\n" + "".join(lines))
    argv = [processes.binary(), "serve", "--embedded", "--listen", "127.0.0.1:0", "--config", config]
    ended = subprocess.run(argv, env=processes.environment(), capture_output=True, text=True, timeout=20)
    assert ended.returncode == 2 and why in ended.stderr, ended
