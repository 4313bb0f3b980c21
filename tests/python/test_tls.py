"""Redis behind TLS: `rediss://`, for whose certificate the system's roots vouch, those of `redis_ca`, or
nobody."""

import subprocess

import pytest

import certificates as authority
from processes import binary, environment, eventually, free_port, request
from support import Worker, connect, initial, receive


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A directory with the certificate of an authority, and that of 127.0.0.1 with its key."""
    return authority.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_redis(start_redis, certificates):
    """A Redis that also listens with TLS: it, and the URL for that."""
    port = free_port()
    redis_server = start_redis(
        "--tls-port", port, "--tls-auth-clients", "no",
        "--tls-cert-file", certificates / "server.crt", "--tls-key-file", certificates / "server.key",
    )
    return redis_server, f"rediss://127.0.0.1:{port}/0"


async def assert_served(server, redis_server):
    """Both kinds of connections work: for what is new, and for what is asked now and then."""
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.update("over TLS")
        assert (await receive(ws))["message"] == "over TLS"
        assert request(server, "POST", f"/api/v1/tasks/{worker.thread}/updates", {"message": "back"})[0] == 202
        assert (await receive(ws))["message"] == "back"


async def test_viewers_are_served_where_the_system_vouches(start_server, tls_redis, certificates, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "authority.crt"))
    redis_server, url = tls_redis
    await assert_served(start_server(redis_url=url), redis_server)


async def test_viewers_are_served_where_an_authority_of_ones_own_vouches(start_server, tls_redis, certificates):
    redis_server, url = tls_redis
    server = start_server(redis_url=url, config=f'redis_ca = "{certificates / "authority.crt"}"')
    await assert_served(server, redis_server)


def test_the_command_line_knows_the_authority(tls_redis, certificates):
    argv = [binary(), "task", "new", "why?", "--redis", tls_redis[1], "--redis-ca", certificates / "authority.crt"]
    assert subprocess.run(argv, env=environment(), capture_output=True).returncode == 0


def test_only_the_authority_that_was_named_is_trusted(start_server, tls_redis, certificates, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "authority.crt"))
    other = authority.make(tmp_path) / "authority.crt"
    assert_refused(start_server(None, "--redis-ca", str(other), redis_url=tls_redis[1], wait=False))


@pytest.mark.parametrize("url, content, why", [
    ("rediss://h", None, "No such file"),
    ("rediss://h", "", "no certificate"),
    ("rediss://h", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "redis_ca"),
    ("redis://h", "", "needs a rediss:// URL"),
    ("rediss://h#insecure", "", "must not end in #insecure"),
])
def test_an_authority_that_cannot_be_used_is_an_error(tmp_path, url, content, why):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    argv = [binary(), "serve", "--listen", "127.0.0.1:0", "--redis", url, "--redis-ca", path]
    ended = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=20)
    assert ended.returncode == 2 and why in ended.stderr, ended


def test_a_certificate_that_nobody_vouches_for_is_refused(start_server, tls_redis):
    assert_refused(start_server(redis_url=tls_redis[1], wait=False))


def assert_refused(server):
    eventually(lambda: server.status("/healthz") == 200, f"a server\n{server.log}")
    status, _, reply = request(server, "GET", "/readyz")
    assert status == 503 and "certificate" in reply["detail"]
