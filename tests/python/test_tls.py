"""Redis behind TLS: `rediss://`, whose certificate the system's roots vouch for, or do not."""

import subprocess

import pytest

from processes import eventually, free_port, request
from support import Worker, collect, connect, initial


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A directory with the certificate of an authority, and that of 127.0.0.1 with its key."""
    directory = tmp_path_factory.mktemp("tls")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    def certify(name, *words):
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")
        openssl("req", "-x509", *key, "-out", f"{name}.crt", "-subj", f"/CN={name}", "-days", "2", *words)

    certify("authority")
    certify(
        "server", "-CA", "authority.crt", "-CAkey", "authority.key",
        "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE",
    )
    return directory


@pytest.fixture
def tls_redis(start_redis, certificates):
    """A Redis that also listens with TLS: it, and the URL for that."""
    port = free_port()
    redis_server = start_redis(
        "--tls-port", port, "--tls-auth-clients", "no",
        "--tls-cert-file", certificates / "server.crt", "--tls-key-file", certificates / "server.key",
    )
    return redis_server, f"rediss://127.0.0.1:{port}/0"


async def test_viewers_are_served_from_a_redis_behind_tls(
    start_server, tls_redis, certificates, monkeypatch
):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "authority.crt"))
    redis_server, url = tls_redis
    server = start_server(redis_url=url)
    worker = Worker(redis_server.client())
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.update("over TLS")
        (frame,) = await collect(ws, 1)
    assert frame["message"] == "over TLS"


def test_a_certificate_that_nobody_vouches_for_is_refused(start_server, tls_redis):
    server = start_server(redis_url=tls_redis[1], wait=False)
    eventually(lambda: server.status("/healthz") == 200, f"a server\n{server.log}")
    status, _, reply = request(server, "GET", "/readyz")
    assert status == 503 and "certificate" in reply["detail"]
