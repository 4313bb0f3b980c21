"""From and to viewers: unknown threads, what viewers send, heartbeat, the end (protocol §3)."""

import asyncio
import json
import time
import urllib.parse

import pytest
import websockets

from processes import request
from rawsocket import CLOSE, PING, PONG, TEXT, Raw
from support import (
    Worker, closed, collect, connect, initial, new_thread, nothing_but_pong, receive, task_path,
)


async def test_an_unknown_thread_gets_an_error_and_4004(server, thread):
    async with connect(server, thread) as ws:
        assert await closed(ws) == (4004, [{"error": "Thread not found", "thread_id": thread}])


@pytest.mark.parametrize("bad", ["a b", "a.b", "ü", "a:b", "x" * 129, "a\nb", "%", '"', "\x00", "a" * 2000])
async def test_a_malformed_thread_gets_an_error_and_4004(server, bad):
    async with connect(server, urllib.parse.quote(bad, safe="")) as ws:
        assert await closed(ws) == (4004, [{"error": "Invalid thread id", "thread_id": bad}])


async def test_a_percent_encoded_thread_id_is_the_decoded_one(server, viewed):
    encoded = "".join(f"%{byte:02x}" for byte in viewed.thread.encode())
    async with connect(server, encoded) as ws:
        assert (await initial(ws))["thread_id"] == viewed.thread


async def test_a_thread_id_may_have_128_characters(server, redis_server):
    worker = Worker(redis_server.client(), "x-_" + new_thread().ljust(125, "y"))
    async with connect(server, worker.thread) as ws:
        assert (await initial(ws))["thread_id"] == worker.thread


async def test_a_ping_message_is_answered_with_pong(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        for ping in ('{"type":"ping"}', ' { "type" : "ping" , "id": 7 } ', '{"id":{},"type":"\\u0070ing"}'):
            await ws.send(ping)
            assert await receive(ws) == {"type": "pong"}


IGNORED = [
    "", " ", "ping", '"ping"', "null", "0", "1e999", "true", "[]", '["ping"]', '[{"type":"ping"}]', "{}",
    '{"type":"PING"}', '{"type":["ping"]}', '{"type":null}', '{"type":{"type":"ping"}}', '{"type":"ping"',
    '{"type":"pong"}', '{"type":"subscribe","thread_id":"x"}', '{"Type":"ping"}', "\x00", "é😀", "{" * 1000,
    "[" * 50_000, "x" * 65_000, b"", b'{"type":"ping"}', b"\xff\xfe", b"\x00" * 60_000,
]


async def test_anything_else_from_a_viewer_is_ignored(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        for message in IGNORED:
            await ws.send(message)
        await nothing_but_pong(ws)
        viewed.update("still here")
        assert (await receive(ws))["message"] == "still here"


async def test_two_viewers_get_the_same_frames(server, viewed):
    async with connect(server, viewed.thread) as one, connect(server, viewed.thread) as two:
        await initial(one), await initial(two)
        for n in range(10):
            viewed.update(f"update {n}")
        assert await collect(one, 10) == await collect(two, 10)


async def test_a_viewer_gets_nothing_of_another_task(server, redis_server, viewed):
    other = Worker(redis_server.client())
    async with connect(server, viewed.thread) as ws, connect(server, other.thread) as theirs:
        await initial(ws), await initial(theirs)
        other.update("theirs")
        await receive(theirs)
        await nothing_but_pong(ws)


async def test_frames_are_text_frames_that_hold_one_object_each(server, viewed):
    with Raw(server).open(task_path(viewed.thread)) as raw:
        assert raw.read_json()["update_type"] == "initial_state"
        viewed.update("one")
        viewed.update("two")
        for message in ("one", "two"):
            fin, opcode, payload = raw.read_data_frame()
            assert fin and opcode == TEXT and json.loads(payload)["message"] == message


async def test_a_viewers_close_is_answered_with_its_code(server, viewed):
    with Raw(server).open(task_path(viewed.thread)) as raw:
        raw.read_json()
        raw.send_frame(CLOSE, b"\x03\xe8bye")
        assert raw.read_close() == 1000
        raw.read_end()


async def test_a_viewer_that_leaves_is_no_longer_counted(server, viewed):
    def count():
        return request(server, "GET", f"/api/v1/tasks/{viewed.thread}/stream-info")[2]["active_connections"]

    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        assert count() == 1
    with Raw(server).open(task_path(viewed.thread)) as raw:
        raw.read_json()
    while count():
        await asyncio.sleep(0.05)


LIMITS = "[limits]\nping_interval_ms = 300\nviewer_timeout_ms = 900\n"


@pytest.fixture(scope="module")
def impatient(redis_server):
    from processes import Taskcast

    server = Taskcast(redis_server, config=LIMITS)
    yield server
    server.remove()


def pings_until_dropped(raw):
    count = 0
    try:
        while True:
            count += raw.read_frame()[1] == PING
    except (EOFError, ConnectionError):
        return count


def test_a_silent_viewer_is_pinged_and_then_dropped(impatient, viewed):
    with Raw(impatient).open(task_path(viewed.thread)) as raw:
        assert pings_until_dropped(raw) >= 1


@pytest.mark.parametrize("sign", ["pong", "text"])
def test_a_viewer_that_shows_a_sign_of_life_stays(impatient, viewed, sign):
    end = time.monotonic() + 2.5
    with Raw(impatient).open(task_path(viewed.thread)) as raw:
        raw.read_json()
        while time.monotonic() < end:
            _, opcode, payload = raw.read_frame()
            if opcode == PING:
                assert len(payload) <= 125
                raw.send_frame(PONG, payload) if sign == "pong" else raw.send_frame(TEXT, "alive")


async def test_an_ordinary_client_outlives_many_heartbeats(impatient, viewed):
    async with connect(impatient, viewed.thread, ping_interval=None) as ws:
        await initial(ws)
        await asyncio.sleep(2.5)
        viewed.update("after")
        assert (await receive(ws))["message"] == "after"


async def test_a_ping_frame_is_answered_with_its_payload(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        await asyncio.wait_for(await ws.ping(b"x" * 125), 10)


async def test_sigterm_closes_viewers_with_1012_and_exits_0(start_server, redis_server, viewed):
    server = start_server(redis_server)
    sockets = [await connect(server, viewed.thread) for _ in range(20)]
    for ws in sockets:
        await initial(ws)
    stopping = asyncio.get_running_loop().run_in_executor(None, server.stop, 30)
    for ws in sockets:
        assert await closed(ws) == (1012, [])
    assert await stopping == 0


async def test_sigint_ends_the_server_as_well(start_server, redis_server, viewed):
    import signal

    server = start_server(redis_server)
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        server.signal(signal.SIGINT)
        assert (await closed(ws))[0] == 1012
    assert await asyncio.to_thread(server.popen.wait, 30) == 0


async def test_a_client_that_compresses_is_served_without_compression(server, viewed):
    async with connect(server, viewed.thread, compression="deflate") as ws:
        assert not ws.response.headers.get("Sec-WebSocket-Extensions")
        await initial(ws)


async def test_a_subprotocol_that_nobody_knows_is_not_chosen(server, viewed):
    async with connect(server, viewed.thread, subprotocols=["graphql-ws"]) as ws:
        assert ws.subprotocol is None
        await initial(ws)


@pytest.mark.parametrize("since", ["abc", "", "-", "1-", "-1", "1-2-3", "$", "+1", "0x1", "1-a",
                                   "99999999999999999999", "1-99999999999999999999", " 1"])
async def test_a_malformed_since_is_http_400(server, viewed, since):
    with pytest.raises(websockets.InvalidStatus) as refused:
        await connect(server, viewed.thread, since=urllib.parse.quote(since))
    assert refused.value.response.status_code == 400
    assert "detail" in json.loads(refused.value.response.body)
