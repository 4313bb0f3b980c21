"""Certificates of clients: whose one is, is a credential (protocol §5)."""

import asyncio
import datetime
import json
import socket
import ssl
import subprocess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import certificates as authority
import processes
from support import Worker, closed, connect, initial, receive, receive_any
from tokens import SECRET, bearer, token

CONFIG = f"""
[access]
anonymous = []
[[access.jwt]]
secret = "{SECRET}"
[[access.key]]
name = "worker one"
subject = 'CN=worker-1,O=Example\\, Inc,C=DE'
grants = ["publish:*", "watch:w-*"]
[[access.key]]
name = "watcher"
subject = "CN=watcher"
grants = ["watch:*"]
[tls]
client_ca = "{{directory}}/clients.crt"
"""
WORKER = [(NameOID.COUNTRY_NAME, "DE"), (NameOID.ORGANIZATION_NAME, "Example, Inc"), (NameOID.COMMON_NAME, "worker-1")]


def name(parts):
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])


class Clients:
    """An authority of clients' certificates."""

    def __init__(self, directory):
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = name([(NameOID.COMMON_NAME, "clients")])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.write("clients.crt", self.certificate(self.name, self.key, constraints))

    def certificate(self, subject, key, constraints, begins=-3600, ends=3600):
        now = datetime.datetime.now(datetime.timezone.utc)
        at = lambda seconds: now + datetime.timedelta(seconds=seconds)
        builder = x509.CertificateBuilder(self.name, subject, key.public_key(), x509.random_serial_number(),
                                          at(begins), at(ends))
        return builder.add_extension(constraints, critical=True).sign(self.key, hashes.SHA256())

    def write(self, file, certificate):
        (self.directory / file).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def context(self, trusted, subject, **times):
        """Of a client with such a certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        constraints = x509.BasicConstraints(ca=False, path_length=None)
        self.write("client.crt", self.certificate(name(subject), key, constraints, **times))
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (self.directory / "client.key").write_bytes(key.private_bytes(encoding, form, serialization.NoEncryption()))
        context = ssl.create_default_context(cafile=trusted / "authority.crt")
        context.load_cert_chain(self.directory / "client.crt", self.directory / "client.key")
        return context


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return authority.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return Clients(tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def server(redis_server, certificates, clients):
    config = CONFIG.format(directory=clients.directory)
    server = processes.Taskcast(redis_server, tls=certificates, config=config)
    yield server
    server.remove()


@pytest.fixture
def worker(redis_server):
    return Worker(redis_server.client(), thread=f"w-{processes.free_port()}-{id(object())}")


@pytest.fixture
def nobody(certificates):
    return ssl.create_default_context(cafile=certificates / "authority.crt")


@pytest.fixture
def as_worker(clients, certificates):
    return clients.context(certificates, WORKER)


def publish(server, worker, context, **headers):
    path = f"/api/v1/tasks/{worker.thread}/updates"
    return processes.request(server, "POST", path, {"message": "x"}, headers=headers, context=context)[0]


def read(server, worker, context, **headers):
    return processes.request(server, "GET", f"/api/v1/tasks/{worker.thread}", headers=headers, context=context)[0]


async def test_a_subject_is_a_credential(server, worker, clients, certificates, nobody, as_worker):
    watcher = clients.context(certificates, [(NameOID.COMMON_NAME, "watcher")])
    other = clients.context(certificates, [(NameOID.COMMON_NAME, "worker-1")])
    assert [publish(server, worker, it) for it in (as_worker, watcher, other, nobody)] == [202, 401, 401, 401]
    assert [read(server, worker, it) for it in (as_worker, watcher, other, nobody)] == [200, 200, 401, 401]
    other_task = Worker(worker.redis, thread=f"other-{worker.thread}")
    assert [read(server, other_task, it) for it in (as_worker, watcher)] == [401, 200]
    async with connect(server, worker.thread, ssl=as_worker) as ws:
        await initial(ws)
        worker.update("seen")
        assert (await receive(ws))["message"] == "seen"


async def test_a_token_beside_it_adds_to_it(server, worker, as_worker):
    other_task = Worker(worker.redis, thread=f"other-{worker.thread}")
    mine = token({"watch": [other_task.thread]})
    assert read(server, other_task, as_worker, **bearer(mine)) == 200
    assert publish(server, other_task, as_worker, **bearer(mine)) == 202
    async with connect(server, path="/api/v1/ws", ssl=as_worker) as ws:
        await ws.send(json.dumps({"type": "auth", "token": mine}))
        assert (await receive_any(ws))["type"] == "auth"
        for task in (worker, other_task):
            await ws.send(json.dumps({"type": "subscribe", "thread_id": task.thread}))
            assert (await initial(ws))["thread_id"] == task.thread
    # And it stays what it is where the token counts for nothing.
    assert read(server, worker, as_worker, **bearer("nothing")) == 401


def test_who_is_of_another_authority_or_has_ended_does_not_come_in(server, worker, clients, certificates, tmp_path):
    strange = Clients(tmp_path).context(certificates, WORKER)
    ended = clients.context(certificates, WORKER, begins=-7200, ends=-60)
    early = clients.context(certificates, WORKER, begins=3600, ends=7200)
    for context in (strange, ended, early):
        # Since TLS 1.3 a client learns of it with its first answer.
        with pytest.raises((ssl.SSLError, ConnectionError)):
            read(server, worker, context)


async def test_a_page_of_another_site_cannot_use_it(server, worker, as_worker):
    """A browser shows it on behalf of every page."""
    evil = {"Origin": "https://evil.example"}
    assert publish(server, worker, as_worker, **evil) == 401
    assert read(server, worker, as_worker, **evil) == 401
    assert read(server, worker, as_worker, **{"Sec-Fetch-Site": "cross-site"}) == 401
    assert read(server, worker, as_worker, **{"Sec-Fetch-Site": "same-origin"}) == 200
    assert publish(server, worker, as_worker, Origin=server.http) == 202
    async with connect(server, worker.thread, ssl=as_worker, origin="https://evil.example") as ws:
        assert (await closed(ws))[0] == 4001
    async with connect(server, worker.thread, ssl=as_worker, origin=server.http) as ws:
        await initial(ws)


def test_who_resumes_need_not_show_it_again(server, worker, as_worker):
    def ask(session):
        bare = socket.create_connection(("127.0.0.1", server.port), timeout=15)
        with as_worker.wrap_socket(bare, server_hostname="127.0.0.1", session=session) as connection:
            path = f"/api/v1/tasks/{worker.thread}"
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
            status = connection.recv(12)
            while connection.recv(65536):
                pass
            return status, connection.session_reused, connection.session

    status, reused, session = ask(None)
    assert (status, reused) == (b"HTTP/1.1 200", False)
    for _ in range(4):
        assert ask(session)[:2] == (b"HTTP/1.1 200", True)


async def test_it_counts_until_it_ends(server, worker, clients, certificates):
    soon = clients.context(certificates, WORKER, ends=4)
    async with connect(server, worker.thread, ssl=soon) as ws:
        await initial(ws)
        assert (await closed(ws))[0] == 4001


async def test_one_of_a_proxy_proves_nothing_of_those_behind_it(
    start_server, redis_server, worker, clients, certificates, as_worker
):
    config = "trusted_proxies = [\"127.0.0.1\"]\n" + CONFIG.format(directory=clients.directory)
    server = await asyncio.to_thread(start_server, redis_server, tls=certificates, config=config)
    forwarded = {"X-Forwarded-For": "192.0.2.7"}
    assert publish(server, worker, as_worker, **forwarded) == 401


@pytest.mark.parametrize("lines, why", [
    ('subject = "CN=a"\nsha256 = "00"', "instead of sha256"),
    ('subject = ""', "must be the subject"),
    ('subject = "no name"', "must be the subject"),
    ("", "must be the SHA-256"),
])
def test_a_key_has_one_of_both(tmp_path, lines, why):
    config = tmp_path / "taskcast.toml"
    config.write_text(f'[[access.key]]\nname = "a"\ngrants = ["list"]\n{lines}\n')
    argv = [processes.binary(), "serve", "--embedded", "--listen", "127.0.0.1:0", "--config", config]
    ended = subprocess.run(argv, env=processes.environment(), capture_output=True, text=True, timeout=20)
    assert ended.returncode == 2 and why in ended.stderr, ended
