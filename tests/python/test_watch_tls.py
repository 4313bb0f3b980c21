"""`taskcast watch` and `taskcast health` over TLS: whom they believe, and what they say where they do not."""

import shutil
import socket
import subprocess
import threading

import pytest

import certificates
from processes import Taskcast, binary, environment, eventually, free_port
from test_health_command import health
from watching import Watching


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(redis_server, tls):
    server = Taskcast(redis_server, tls=tls)
    yield server
    server.remove()


@pytest.fixture
def strange(tmp_path):
    """An authority that vouches for nobody here."""
    return certificates.make(tmp_path) / "authority.crt"


def refusal(url, *options):
    """What is said by one who ends at once, as nothing can be watched there."""
    argv = [binary(), "watch", "t", "--url", url, *options]
    ended = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2, ended
    return ended.stderr


def complaint(url, *options):
    """What is said first by one who goes on trying."""
    argv = [binary(), "watch", "t", "--url", url, *options]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, env=environment()) as process:
        said = process.stderr.readline()
        assert process.poll() is None
        process.kill()
    return said


@pytest.mark.parametrize("whose", ["--ca", "SSL_CERT_FILE"])
def test_a_task_is_watched_to_its_end(server, viewed, tls, monkeypatch, whose):
    options = ("--ca", str(tls / "authority.crt"))
    if whose == "SSL_CERT_FILE":
        monkeypatch.setenv(whose, options[1])
        options = ()
    watching = Watching(server, viewed.thread, *options)
    viewed.update("over TLS")
    assert watching.told("thread_update")["message"] == "over TLS"
    viewed.update("x" * 300_000)
    viewed.status("done")
    assert watching.end() == 0
    assert len(watching.frames[2]["message"]) == 300_000


def test_an_address_of_ipv6_is_one_that_a_certificate_can_be_for(redis_server, viewed, tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("there is no ::1 here")
    port = free_port()
    certificates.make(tmp_path, "IP:::1")
    files = ["--tls-certificate", tmp_path / "server.crt", "--tls-key", tmp_path / "server.key"]
    argv = [binary(), "serve", "--listen", f"[::1]:{port}", "--redis", redis_server.url, *files]
    with subprocess.Popen(argv, env=environment(), stderr=subprocess.DEVNULL) as server:
        viewed.status("done")
        url, ca = f"wss://[::1]:{port}", tmp_path / "authority.crt"
        argv = [binary(), "watch", viewed.thread, "--url", url, "--ca", ca]
        ended = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=30)
        server.kill()
    assert ended.returncode == 0, ended


def test_it_goes_on_over_a_restart(start_server, redis_server, viewed, tls):
    server = start_server(redis_server, tls=tls)
    watching = Watching(server, viewed.thread, "--ca", str(tls / "authority.crt"))
    viewed.update("before")
    watching.told("thread_update")
    server.kill()
    viewed.update("meanwhile")
    server.start()
    viewed.status("done")
    assert watching.end() == 0
    told = [frame["message"] for frame in watching.frames if frame["update_type"] == "thread_update"]
    assert told == ["before", "meanwhile"]


def test_who_takes_a_servers_place_is_not_believed(start_server, redis_server, viewed, tls, tmp_path):
    server = start_server(redis_server, tls=tls)
    watching = Watching(server, viewed.thread, "--ca", str(tls / "authority.crt"))
    server.kill()
    start_server(redis_server, port=server.port, tls=certificates.make(tmp_path))
    assert watching.end() == 2


def test_an_authority_that_is_not_known_is_the_end(server, strange, tls, monkeypatch):
    said = refusal(server.http, "--ca", strange)
    assert "no trusted authority vouches for the certificate of 127.0.0.1" in said and "--ca" in said
    # --ca stands instead of the system's.
    monkeypatch.setenv("SSL_CERT_FILE", str(tls / "authority.crt"))
    refusal(server.http, "--ca", strange)
    monkeypatch.setenv("SSL_CERT_FILE", str(strange))
    assert "no trusted authority" in refusal(server.ws)


def test_a_system_without_authorities_is_said(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    said = refusal(server.http)
    assert "cannot use the authorities" in said and "--ca" in said


def test_a_certificate_for_another_host_is_the_end(server, tls):
    said = refusal(f"https://localhost:{server.port}", "--ca", tls / "authority.crt")
    assert "the certificate that localhost shows" in said and "127.0.0.1" in said


def test_an_authoritys_own_certificate_is_the_end(start_server, redis_server, tls, tmp_path):
    """As `openssl req -x509` makes one, where nothing else is said."""
    shutil.copy(tls / "authority.crt", tmp_path / "server.crt")
    shutil.copy(tls / "authority.key", tmp_path / "server.key")
    shutil.copy(tls / "authority.crt", tmp_path / "authority.crt")
    server = start_server(redis_server, tls=tmp_path, wait=False)
    server.said("listening")
    assert "CA:TRUE" in refusal(server.http, "--ca", tls / "authority.crt")


@pytest.mark.parametrize("content, why", [
    (None, "No such file"),
    ("", "no certificate"),
    ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "authorities"),
])
def test_a_file_of_authorities_that_cannot_be_used_is_said(tmp_path, content, why):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    said = refusal("https://127.0.0.1:1", "--ca", path)
    assert why in said and str(path) in said


def test_authorities_without_tls_are_a_mistake(tls):
    assert "https://" in refusal("http://127.0.0.1:1", "--ca", tls / "authority.crt")


def test_the_wrong_scheme_is_said(server, start_server, redis_server, tls):
    assert "use https://" in refusal(f"http://127.0.0.1:{server.port}")
    plain = start_server(redis_server)
    said = complaint(f"https://127.0.0.1:{plain.port}", "--ca", tls / "authority.crt")
    assert "what answers speaks none" in said and "scheme" in said


def test_a_server_that_says_nothing_is_given_up(tls):
    """The handshake is a part of the connection, which has its time."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        held = []
        threading.Thread(target=lambda: held.append(silent.accept()), daemon=True).start()
        assert "no connection within 10 s" in complaint(url, "--ca", tls / "authority.crt")


def test_health_is_asked_over_tls_and_no_certificate_is_held_against_it(server, tls, tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    listen = f"127.0.0.1:{server.port}"
    files = f'certificate = "{tls / "server.crt"}"\nkey = "{tls / "server.key"}"\n'
    path = tmp_path / "taskcast.toml"
    path.write_text(f'listen = "{listen}"\n[tls]\n{files}')
    assert health("--config", str(path)) == (0, '{"status":"ok"}\n')
    assert health("--config", str(path), "--ready") == (0, '{"status":"ready"}\n')
    assert health("--config", str(path), "--listen", f"0.0.0.0:{server.port}")[0] == 0
    code, said = health("--listen", listen)
    assert code == 1 and "TLS" in said
    nowhere = f"127.0.0.1:{free_port()}"
    code, said = health("--config", str(path), "--listen", nowhere)
    assert code == 1 and f"https://{nowhere}/healthz" in said


def test_health_of_an_admin_listener_is_asked_without_tls(start_server, redis_server, tls):
    admin = f"127.0.0.1:{free_port()}"
    server = start_server(redis_server, "--admin-listen", admin, tls=tls, wait=False)
    variables = {
        "TASKCAST_LISTEN": f"127.0.0.1:{server.port}", "TASKCAST_ADMIN_LISTEN": admin,
        "TASKCAST_TLS_CERTIFICATE": str(tls / "server.crt"), "TASKCAST_TLS_KEY": str(tls / "server.key"),
    }
    eventually(lambda: health(**variables)[0] == 0)


def test_health_behind_a_proxy_says_first_for_whom_it_speaks(start_server, redis_server, tls):
    server = start_server(redis_server, "--proxy-protocol", tls=tls, wait=False)
    server.said("listening")
    variables = {
        "TASKCAST_LISTEN": f"127.0.0.1:{server.port}", "TASKCAST_PROXY_PROTOCOL": "true",
        "TASKCAST_TLS_CERTIFICATE": str(tls / "server.crt"), "TASKCAST_TLS_KEY": str(tls / "server.key"),
    }
    assert health(**variables)[0] == 0
