"""Frames from a viewer, well-formed and not, on a task's socket: close codes 1002, 1007, 1009."""

import json

import pytest

from rawsocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, close_payload, frame
from support import Worker, task_path

PING_TEXT = '{"type":"ping"}'
LIMIT = 64 * 1024


@pytest.fixture
def raw(server, viewed):
    with Raw(server).open(task_path(viewed.thread)) as raw:
        assert raw.read_json()["update_type"] == "initial_state"
        yield raw


def assert_pong_message(raw):
    assert raw.read_json() == {"type": "pong"}


PROTOCOL_ERRORS = {
    "unmasked": frame(TEXT, "a", mask=False),
    "unmasked and empty": frame(TEXT, "", mask=False),
    "unmasked ping": frame(PING, "", mask=False),
    **{f"reserved bits {rsv}": frame(TEXT, "a", rsv=rsv) for rsv in range(1, 8)},
    "reserved bits on a ping": frame(PING, "a", rsv=4),
    **{f"opcode {code}": frame(code, "a") for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "ping of 126 bytes": frame(PING, b"x" * 126),
    "pong of 126 bytes": frame(PONG, b"x" * 126),
    "close of 126 bytes": frame(CLOSE, close_payload(1000, b"x" * 124)),
    "fragmented ping": frame(PING, "a", fin=False),
    "fragmented pong": frame(PONG, "a", fin=False),
    "fragmented close": frame(CLOSE, close_payload(1000), fin=False),
    "continuation of nothing": frame(CONTINUATION, "a"),
    "unfinished continuation of nothing": frame(CONTINUATION, "a", fin=False),
    "text within a text": frame(TEXT, "a", fin=False) + frame(TEXT, "b"),
    "binary within a text": frame(TEXT, "a", fin=False) + frame(BINARY, "b"),
    "continuation after the end": frame(TEXT, "a", fin=False) + frame(CONTINUATION, "b") + frame(CONTINUATION, "c"),
    "length with the top bit": bytes([0x81, 0xFF]) + b"\xff" * 8 + b"abcd",
    "close with one byte": frame(CLOSE, b"\x03"),
    **{f"close code {code}": frame(CLOSE, close_payload(code))
       for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)},
}


@pytest.mark.parametrize("data", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS.keys())
def test_a_protocol_error_closes_with_1002(raw, data):
    raw.send(data)
    assert raw.read_close() == 1002
    raw.read_end()


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 3000, 3999, 4000, 4999])
def test_a_valid_close_code_is_answered_in_kind(raw, code):
    raw.send_frame(CLOSE, close_payload(code, "tschüß".encode()))
    assert raw.read_close() == code
    raw.read_end()


def test_a_close_without_a_code_is_answered(raw):
    raw.send_frame(CLOSE)
    assert raw.read_close() in (None, 1000)
    raw.read_end()


INVALID_TEXT = [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"ok\xce\xba\xe1\xbd"]


@pytest.mark.parametrize("payload", INVALID_TEXT)
def test_text_of_invalid_utf8_closes_with_1007(raw, payload):
    raw.send_frame(TEXT, payload)
    assert raw.read_close() == 1007
    raw.read_end()


def test_fragmented_text_of_invalid_utf8_closes_with_1007(raw):
    raw.send(frame(TEXT, b"\xce", fin=False) + frame(CONTINUATION, b"x"))
    assert raw.read_close() == 1007


def test_a_close_reason_of_invalid_utf8_closes_with_1007(raw):
    raw.send_frame(CLOSE, close_payload(1000, b"\xff"))
    assert raw.read_close() in (1002, 1007)
    raw.read_end()


def test_a_character_may_be_split_over_fragments(raw):
    text = '{"type":"ping","é":"😀"}'.encode()
    for n, byte in enumerate(text):
        raw.send_frame(TEXT if n == 0 else CONTINUATION, bytes([byte]), fin=n == len(text) - 1)
    assert_pong_message(raw)


@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_a_message_at_the_limit_is_read(raw, kind):
    raw.send_frame(kind, b"x" * LIMIT)
    raw.send_frame(TEXT, PING_TEXT)
    assert_pong_message(raw)


@pytest.mark.parametrize("kind", [TEXT, BINARY])
def test_a_message_over_the_limit_closes_with_1009(raw, kind):
    raw.send_frame(kind, b"x" * (LIMIT + 1))
    assert raw.read_close() == 1009
    raw.read_end()


def test_a_message_that_announces_too_much_is_not_waited_for(raw):
    raw.send(bytes([0x82, 0xFF]) + (1 << 40).to_bytes(8, "big") + b"abcd")
    assert raw.read_close() == 1009


def test_fragments_that_add_up_over_the_limit_close_with_1009(raw):
    raw.send_frame(TEXT, b"x" * 30_000, fin=False)
    raw.send_frame(CONTINUATION, b"x" * 30_000, fin=False)
    raw.send_frame(CONTINUATION, b"x" * 30_000, fin=False)
    assert raw.read_close() == 1009


def test_very_many_empty_fragments_do_no_harm(raw):
    raw.send(frame(TEXT, "", fin=False) + frame(CONTINUATION, "", fin=False) * 5000 + frame(CONTINUATION, PING_TEXT))
    assert_pong_message(raw)


def test_control_frames_may_come_between_fragments(raw):
    raw.send(frame(TEXT, '{"type":', fin=False) + frame(PING, "one") + frame(PONG, "unasked"))
    assert raw.read_pong() == b"one"
    raw.send(frame(PING, "two") + frame(CONTINUATION, '"pi', fin=False) + frame(CONTINUATION, 'ng"}'))
    assert raw.read_pong() == b"two"
    assert_pong_message(raw)


def test_a_close_between_fragments_ends_it(raw):
    raw.send(frame(TEXT, "{", fin=False) + frame(CLOSE, close_payload(1000)))
    assert raw.read_close() == 1000


def test_frames_may_come_byte_by_byte(raw):
    for byte in frame(TEXT, PING_TEXT) + frame(PING, "p") + frame(TEXT, PING_TEXT):
        raw.send(bytes([byte]))
    assert_pong_message(raw)
    assert raw.read_pong() == b"p"
    assert_pong_message(raw)


def test_many_frames_may_come_at_once(raw):
    raw.send(frame(TEXT, PING_TEXT) * 200)
    for _ in range(200):
        assert_pong_message(raw)


def test_many_pings_at_once_are_answered_in_order_and_the_last_for_sure(raw):
    raw.send(b"".join(frame(PING, str(n)) for n in range(300)))
    seen = [-1]
    while seen[-1] != 299:
        _, opcode, payload = raw.read_frame()
        assert opcode == PONG
        seen.append(int(payload))
    assert seen == sorted(set(seen))


def test_a_frame_may_use_a_longer_length_than_it_needs_or_is_refused(raw):
    raw.send_frame(TEXT, PING_TEXT, length_code=126)
    _, opcode, payload = raw.read_frame()
    assert (opcode, payload[:2]) == (CLOSE, b"\x03\xea") or json.loads(payload) == {"type": "pong"}


def test_nothing_is_sent_after_the_close(server, redis_server):
    worker = Worker(redis_server.client())
    with Raw(server).open(task_path(worker.thread)) as raw:
        raw.read_json()
        raw.send(frame(CLOSE, close_payload(1000)))
        while raw.read_frame()[1] != CLOSE:
            pass
        worker.update("too late")
        with pytest.raises((EOFError, ConnectionError)):
            raw.read_frame()


def test_a_viewer_that_vanishes_within_a_frame_disturbs_nobody(server, viewed):
    with Raw(server).open(task_path(viewed.thread)) as stays:
        stays.read_json()
        for cut in (1, 2, 5, 8):
            with Raw(server).open(task_path(viewed.thread)) as leaves:
                leaves.send(frame(TEXT, PING_TEXT)[:cut])
        viewed.update("still here")
        assert stays.read_json()["message"] == "still here"
