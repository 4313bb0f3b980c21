"""`/api/v1/ws/echo`: what a fuzzing client tries on an echo server, where no extension is needed.

The order is framing, pings, reserved bits and opcodes, fragments, UTF-8, closing, large messages.
"""

import os
import random

import pytest

from rawsocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, close_payload, frame

MIB = 1 << 20


@pytest.fixture
def raw(diagnostics):
    with Raw(diagnostics).open("/api/v1/ws/echo") as raw:
        yield raw


def assert_alive(raw):
    """It still answers, and closes when asked to."""
    raw.send_frame(TEXT, "last")
    assert raw.read_message() == (TEXT, b"last")
    raw.send_frame(CLOSE, close_payload(1000))
    assert raw.read_close() == 1000


def send_chopped(raw, data, size):
    for start in range(0, len(data), size):
        raw.send(data[start:start + size])


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, 70000])
@pytest.mark.parametrize("chop", [None, 997])
def test_a_message_comes_back(raw, kind, size, chop):
    payload = b"*" * size if kind == TEXT else os.urandom(size)
    send_chopped(raw, frame(kind, payload), chop or 1 << 30)
    assert raw.read_message() == (kind, payload)
    assert_alive(raw)


@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff\xfe\xfd", b"\xfe" * 125])
def test_a_ping_is_answered_with_its_payload(raw, payload):
    raw.send_frame(PING, payload)
    assert raw.read_pong() == payload
    assert_alive(raw)


def test_a_ping_may_come_byte_by_byte(raw):
    send_chopped(raw, frame(PING, b"\xfe" * 125), 1)
    assert raw.read_pong() == b"\xfe" * 125


@pytest.mark.parametrize("payload", [b"", b"unasked"])
def test_an_unasked_pong_is_passed_over(raw, payload):
    raw.send(frame(PONG, payload) + frame(PING, "p"))
    assert raw.read_pong() == b"p"


def test_ten_pings_get_their_pongs(raw):
    raw.send(b"".join(frame(PING, f"payload {n}") for n in range(10)))
    for n in range(10):
        assert raw.read_pong() == f"payload {n}".encode()


@pytest.mark.parametrize("kind", [TEXT, BINARY, PING])
@pytest.mark.parametrize("rsv", range(1, 8))
def test_a_reserved_bit_ends_it_after_the_message_before(raw, kind, rsv):
    raw.send(frame(TEXT, "before") + frame(kind, "a", rsv=rsv) + frame(PING, "never"))
    assert raw.read_message() == (TEXT, b"before")
    assert raw.read_close() == 1002
    raw.read_end()


@pytest.mark.parametrize("code", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("payload", [b"", b"unknown"])
def test_a_reserved_opcode_ends_it_after_the_message_before(raw, code, payload):
    send_chopped(raw, frame(TEXT, "before") + frame(code, payload) + frame(PING, "never"), 7)
    assert raw.read_message() == (TEXT, b"before")
    assert raw.read_close() == 1002


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("chop", [None, 1])
def test_fragments_become_one_message_with_pings_answered_between(raw, kind, chop):
    data = (
        frame(kind, "frag1", fin=False) + frame(PING, "p1") + frame(CONTINUATION, "", fin=False)
        + frame(CONTINUATION, "frag2", fin=False) + frame(PING, "p2") + frame(CONTINUATION, "frag3")
    )
    send_chopped(raw, data, chop or 1 << 30)
    # The server sends Pings of its own at any time.
    answers = (got for got in iter(raw.read_frame, None) if got[1] != PING)
    assert next(answers) == (True, PONG, b"p1")
    assert next(answers) == (True, PONG, b"p2")
    assert next(answers) == (True, kind, b"frag1frag2frag3")
    assert_alive(raw)


BAD_FRAGMENTS = {
    "fragmented ping": frame(PING, "a", fin=False) + frame(CONTINUATION, "b"),
    "fragmented pong": frame(PONG, "a", fin=False) + frame(CONTINUATION, "b"),
    "continuation of nothing": frame(CONTINUATION, "a") + frame(TEXT, "b"),
    "unfinished continuation of nothing": frame(CONTINUATION, "a", fin=False) + frame(TEXT, "b"),
    "a new text within": frame(TEXT, "a", fin=False) + frame(TEXT, "b"),
    "continuation after the end": frame(TEXT, "a") + frame(CONTINUATION, "b"),
}


@pytest.mark.parametrize("data", BAD_FRAGMENTS.values(), ids=BAD_FRAGMENTS.keys())
def test_fragments_in_disorder_end_it(raw, data):
    raw.send(data)
    assert raw.read_close() == 1002


VALID_TEXT = [
    "κόσμε", "\x00", "\x7f", "\x80", "\u07ff", "\u0800", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff",
    "\ue000", "\ufffd", "\ufeff", "\ufffe", "\U0001fffe", "Hello-µ@ßöäüàá-UTF-8!!", "😀" * 1000,
]


@pytest.mark.parametrize("text", VALID_TEXT)
def test_valid_utf8_comes_back_whole_and_in_fragments_of_one_byte(raw, text):
    payload = text.encode()
    raw.send_frame(TEXT, payload)
    assert raw.read_message() == (TEXT, payload)
    raw.send(b"".join(
        frame(TEXT if n == 0 else CONTINUATION, bytes([byte]), fin=n + 1 == len(payload))
        for n, byte in enumerate(payload)
    ))
    assert raw.read_message() == (TEXT, payload)
    assert_alive(raw)


INVALID_TEXT = [
    b"\x80", b"\xbf", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf",
    b"\xfc\x80\x80\x80\x80\xaf", b"\xfe", b"\xff", b"\xc0 ", b"\xe0 ", b"\xf0 ", b"\xdf", b"\xef\xbf",
    b"\xf7\xbf\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\x80\xed\xb0\x80", b"\xf4\x90\x80\x80",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited", b"\xce\xba\xe1\xbd\xb9\xcf",
    b"\xe0\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf8\x88\x80\x80\x80",
]


@pytest.mark.parametrize("payload", INVALID_TEXT)
def test_invalid_utf8_closes_with_1007(raw, payload):
    raw.send_frame(TEXT, payload)
    assert raw.read_close() == 1007
    raw.read_end()


@pytest.mark.parametrize("payload", INVALID_TEXT)
def test_invalid_utf8_in_fragments_closes_with_1007(raw, payload):
    raw.send_frame(TEXT, payload[:1], fin=False)
    raw.send_frame(CONTINUATION, payload[1:])
    assert raw.read_close() == 1007


def test_binary_messages_may_hold_any_bytes(raw):
    payload = b"".join(INVALID_TEXT)
    raw.send_frame(BINARY, payload)
    assert raw.read_message() == (BINARY, payload)


def test_two_closes_and_data_after_a_close_are_passed_over(raw):
    raw.send(frame(CLOSE, close_payload(1000)) + frame(CLOSE, close_payload(1001)) + frame(TEXT, "x") + frame(PING))
    assert raw.read_frame() == (True, CLOSE, close_payload(1000))
    with pytest.raises((EOFError, ConnectionError)):
        raw.read_frame()


@pytest.mark.parametrize("reason", [b"", b"bye", b"*" * 123])
def test_a_close_with_a_reason_is_answered(raw, reason):
    raw.send_frame(CLOSE, close_payload(1000, reason))
    assert raw.read_close() == 1000


def test_a_close_reason_of_124_bytes_is_an_error(raw):
    raw.send_frame(CLOSE, close_payload(1000, b"*" * 124))
    assert raw.read_close() == 1002


def test_a_large_message_before_a_close_comes_back_first(raw):
    raw.send(frame(TEXT, "*" * 256 * 1024) + frame(CLOSE, close_payload(1000)))
    assert len(raw.read_message()[1]) == 256 * 1024
    assert raw.read_close() == 1000


@pytest.mark.parametrize("kind", [TEXT, BINARY])
@pytest.mark.parametrize("size", [64 << 10, 256 << 10, MIB, 4 * MIB, 16 * MIB])
def test_a_large_message_comes_back(raw, kind, size):
    payload = b"*" * size
    raw.send_frame(kind, payload)
    got = raw.read_message()
    assert got[0] == kind and got[1] == payload


@pytest.mark.parametrize("part", [4 << 10, 64 << 10, MIB])
def test_a_large_message_in_fragments_comes_back(raw, part):
    payload = os.urandom(4 * MIB)
    parts = [payload[n:n + part] for n in range(0, len(payload), part)]
    for n, piece in enumerate(parts):
        raw.send_frame(BINARY if n == 0 else CONTINUATION, piece, fin=n + 1 == len(parts))
    assert raw.read_message() == (BINARY, payload)


@pytest.mark.parametrize("chop", [64, 512, 2048])
def test_a_large_message_in_small_packets_comes_back(raw, chop):
    payload = b"*" * (256 << 10)
    send_chopped(raw, frame(TEXT, payload), chop)
    assert raw.read_message() == (TEXT, payload)


def test_a_message_over_16_mib_closes_with_1009(raw):
    raw.send(bytes([0x82, 0xFF]) + (16 * MIB + 1).to_bytes(8, "big") + b"abcd")
    assert raw.read_close() == 1009


def test_a_message_sent_in_frames_of_1300_bytes_comes_back(raw):
    payload = b"*" * 65536
    pieces = [payload[n:n + 1300] for n in range(0, len(payload), 1300)]
    for n, piece in enumerate(pieces):
        raw.send_frame(TEXT if n == 0 else CONTINUATION, piece, fin=n + 1 == len(pieces))
    assert raw.read_message() == (TEXT, payload)


@pytest.mark.parametrize("size", [0, 16, 64, 256, 1024, 4096])
def test_many_messages_come_back_in_order(raw, size):
    rounds = 300
    for start in range(0, rounds, 20):
        payloads = [f"{n:08}".encode() + b"*" * size for n in range(start, start + 20)]
        raw.send(b"".join(frame(BINARY, p) for p in payloads))
        assert [raw.read_message()[1] for _ in payloads] == payloads


def test_random_fragments_and_pings_come_back_in_order(raw):
    seed = int(os.environ.get("TASKCAST_SEED", random.randrange(1 << 32)))
    print(f"TASKCAST_SEED={seed}")
    rng = random.Random(seed)
    for _ in range(50):
        payload, data = rng.randbytes(rng.randrange(3000)), b""
        cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.randrange(5)))
        bounds = [0, *cuts, len(payload)]
        for n, (start, end) in enumerate(zip(bounds, bounds[1:])):
            data += frame(BINARY if n == 0 else CONTINUATION, payload[start:end], fin=n + 2 == len(bounds))
            if n + 2 < len(bounds) and rng.random() < 0.3:
                data += frame(PING, rng.randbytes(rng.randrange(126)))
        send_chopped(raw, data, rng.choice([1, 17, 500, 1 << 20]) if len(data) < 500 else 1 << 20)
        assert raw.read_message() == (BINARY, payload)
