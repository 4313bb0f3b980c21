"""The WebSocket handshake, with any client and with none (RFC 6455 §4, protocol §3)."""

import json

import pytest

from processes import request
from rawsocket import TEXT, Raw, frame
from support import task_path

PING_TEXT = '{"type":"ping"}'


def refused(server, path, headers):
    with Raw(server) as raw:
        raw.send(raw.handshake_bytes(path, headers))
        status, reply, body = raw.read_reply()
        assert "detail" in json.loads(body)
        return status, reply


def test_the_accept_key_is_the_one_of_the_rfc(server, viewed):
    with Raw(server) as raw:
        raw.send(raw.handshake_bytes(task_path(viewed.thread), {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}))
        status, headers = raw.read_head()
    assert status == 101
    assert headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert headers["upgrade"].lower() == "websocket" and headers["connection"].lower() == "upgrade"


@pytest.mark.parametrize("headers", [
    {"Connection": "keep-alive, Upgrade"},
    {"Connection": "Upgrade,keep-alive"},
    {"Connection": "UPGRADE", "Upgrade": "WebSocket"},
    {"Upgrade": "websocket, h2c"},
    {"Origin": "https://elsewhere.example"},
    {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"},
    {"X-Padding": "x" * 6000},
])
def test_handshakes_that_are_fine(server, viewed, headers):
    with Raw(server).open(task_path(viewed.thread), headers) as raw:
        assert raw.read_json()["update_type"] == "initial_state"


def test_bytes_sent_along_with_the_handshake_are_read(server, viewed):
    along = frame(TEXT, PING_TEXT) + frame(TEXT, PING_TEXT)
    with Raw(server).open(task_path(viewed.thread), along=along) as raw:
        kinds = [raw.read_json().get("type") for _ in range(3)]
    assert sorted(kinds, key=str) == [None, "pong", "pong"]


def test_half_a_frame_sent_along_with_the_handshake_is_kept(server, viewed):
    whole = frame(TEXT, PING_TEXT)
    with Raw(server).open(task_path(viewed.thread), along=whole[:5]) as raw:
        raw.read_json()
        raw.send(whole[5:])
        assert raw.read_json() == {"type": "pong"}


def test_a_handshake_may_come_byte_by_byte(server, viewed):
    with Raw(server) as raw:
        for byte in raw.handshake_bytes(task_path(viewed.thread)):
            raw.send(bytes([byte]))
        assert raw.read_head()[0] == 101


def test_a_handshake_may_follow_other_requests_on_the_connection(server, viewed):
    with Raw(server) as raw:
        raw.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert raw.read_reply()[0] == 200
        raw.open(task_path(viewed.thread))
        assert raw.read_json()["thread_id"] == viewed.thread


@pytest.mark.parametrize("version", ["8", "14", "", "x"])
def test_another_version_is_refused_with_426(server, viewed, version):
    status, headers = refused(server, task_path(viewed.thread), {"Sec-WebSocket-Version": version})
    assert status == 426 and headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("headers", [
    {"Sec-WebSocket-Key": None},
    {"Sec-WebSocket-Key": ""},
    {"Sec-WebSocket-Key": "short"},
])
def test_a_missing_or_bad_key_is_refused_with_400(server, viewed, headers):
    assert refused(server, task_path(viewed.thread), headers)[0] == 400


@pytest.mark.parametrize("headers", [
    {"Connection": None, "Upgrade": None},
    {"Connection": "keep-alive"},
    {"Upgrade": "h2c"},
])
def test_a_request_that_asks_for_no_websocket_is_told_so(server, viewed, headers):
    assert refused(server, task_path(viewed.thread), headers)[0] in (400, 426)


def test_only_get_opens_a_websocket(server, viewed):
    status, headers, body = request(server, "POST", task_path(viewed.thread), b"")
    assert status == 405 and "GET" in headers["Allow"] and "detail" in body


def test_a_websocket_on_an_unknown_path_is_refused_with_404(server):
    assert refused(server, "/api/v1/ws/nothing", {})[0] == 404


def test_the_echo_endpoint_is_there_for_diagnostics_only(server, diagnostics):
    assert refused(server, "/api/v1/ws/echo", {})[0] == 404
    with Raw(diagnostics).open("/api/v1/ws/echo") as raw:
        raw.send_frame(TEXT, "hello")
        assert raw.read_message() == (TEXT, b"hello")


def test_where_origins_are_configured_a_websocket_from_elsewhere_is_refused(start_server, redis_server, viewed):
    server = start_server(redis_server, config='cors_origins = ["https://app.example"]\n')
    with Raw(server).open(task_path(viewed.thread), {"Origin": "https://app.example"}) as raw:
        assert raw.read_json()["update_type"] == "initial_state"
    assert refused(server, task_path(viewed.thread), {"Origin": "https://evil.example"})[0] == 403
    with Raw(server).open(task_path(viewed.thread)) as raw:
        assert raw.read_json()["update_type"] == "initial_state"


def test_headers_over_the_limit_are_refused(server, viewed):
    with Raw(server) as raw:
        raw.send(raw.handshake_bytes(task_path(viewed.thread), {"X-Padding": "x" * 300_000}))
        try:
            assert raw.read_head()[0] in (400, 413, 431)
        except (EOFError, ConnectionError):
            pass
    assert request(server, "GET", "/healthz")[0] == 200


def test_a_handshake_that_never_ends_is_cut(start_server, redis_server):
    server = start_server(redis_server, config="[limits]\nhandshake_timeout_ms = 500\n")
    with Raw(server) as silent, Raw(server) as slow:
        slow.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A")
        slow.read_end()
        silent.read_end()
