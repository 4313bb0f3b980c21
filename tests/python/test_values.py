"""Value rules: what becomes of an entry's fields in a frame (protocol §3)."""

import json
import re

import pytest

from support import connect, initial, milliseconds, receive

TEXT_MEMBERS = ["task_id", "update_type", "type", "status", "message", "error_message", "timestamp"]
LOOKS_LIKE_JSON = ["1", "true", "null", '{"a":1}', "[1]", '"quoted"', "-0.5e3", ""]
JSON_TEXTS = [
    "0", "-0", "1.0", "1E400", "-1.5e-300", "123456789012345678901234567890", "true", "false", "null",
    '""', '"a"', '"\\u0041\\n\\"\\\\\\/"', '"\\ud83d\\ude00"', '"é😀"', "[]", "{}", '{"a":{"b":[1,2,{"c":null}]}}',
    ' {"a" : 1 ,\t"b":[ ] } ', "\n1\r\n", '{"a":1,"a":2}', '"' + "x" * 70_000 + '"', "[" * 100 + "]" * 100,
]
NOT_JSON = [
    "", " ", "NaN", "Infinity", "-Infinity", "abc", "'a'", "01", "+1", "1.", ".5", "1e", "-", "tru", "True",
    "None", "nul", "[1,]", '{"a":1,}', "{a:1}", "[1", '"open', '{"a"}', "1 2", "[] []", '"a"b', "\ufeff1",
    '"tab\there"', '"line\nhere"', '"\\x41"', '"\\u12"', "0x10", "1_000", "/* */ 1", "\u00a01", "\x00",
    "a\x00b", "\x1b[31m", "\u2028", "😀", "</script>", "\x7f", '"\\"',
]


def members(frame):
    """The members of a frame's object, in order, repeated ones included."""
    return json.loads(frame, object_pairs_hook=list)


async def frame_of(server, worker, *fields, id="*"):
    """The text of the frame that an entry with these fields becomes."""
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        worker.raw(*fields, id=id)
        return await ws.recv()


@pytest.mark.parametrize("name", TEXT_MEMBERS + ["thread_id"])
async def test_text_members_are_always_strings(server, viewed, name):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        for value in LOOKS_LIKE_JSON:
            viewed.raw(name, value)
            assert (await receive(ws))[name] == value


async def test_any_other_complete_json_text_is_embedded_byte_for_byte(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        for value in JSON_TEXTS:
            viewed.raw("before", "x", "value", value, "after", "y")
            frame = await ws.recv()
            assert re.search(r'"value":\s?' + re.escape(value) + r',\s?"after"', frame), (value, frame[:500])
            json.loads(frame)


async def test_anything_else_is_a_json_string(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        for value in NOT_JSON:
            viewed.raw("value", value)
            assert (await receive(ws))["value"] == value


@pytest.mark.parametrize("name", ["value", "message"])
async def test_invalid_utf8_is_replaced(server, viewed, name):
    broken = [b"\xff", b"a\xc3", b"\xc3(", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xc0\xaf", b"ok\x80ok"]
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        for value in broken:
            viewed.raw(name, value)
            assert (await receive(ws))[name] == value.decode("utf-8", "replace")


async def test_invalid_utf8_within_json_is_replaced(server, viewed):
    frame = json.loads(await frame_of(server, viewed, "value", b'{"a":"\xff"}'))
    assert frame["value"] in ({"a": "\ufffd"}, '{"a":"\ufffd"}')


async def test_field_names_may_be_any_bytes(server, viewed):
    frame = await frame_of(server, viewed, b'qu"ote\\', "1", b"\xff", "2", "", "3", "nul\x00", "4", "é", "5")
    found = json.loads(frame)
    assert [found[k] for k in ('qu"ote\\', "\ufffd", "", "nul\x00", "é")] == [1, 2, 3, 4, 5]


async def test_members_keep_the_entrys_order_and_the_ids_come_after(server, viewed):
    names = ["zulu", "alpha", "mike", "Bravo", "1", "update_type"]
    frame = await frame_of(server, viewed, *(x for name in names for x in (name, "v")))
    order = [name for name, _ in members(frame)]
    assert order[: len(names)] == names
    assert set(order[len(names):]) == {"stream_id", "prev_stream_id", "thread_id", "timestamp"}
    assert order.index("stream_id") + 1 == order.index("prev_stream_id")
    assert len(order) == len(names) + 4


async def test_thread_id_and_timestamp_are_added_where_they_lack(server, viewed):
    frame = json.loads(await frame_of(server, viewed, "message", "m", id="1718000000123-4"))
    assert frame["thread_id"] == viewed.thread
    assert milliseconds(frame["timestamp"]) == 1718000000123
    assert frame["stream_id"] == "1718000000123-4"


async def test_the_publishers_thread_id_and_timestamp_are_kept(server, viewed):
    frame = await frame_of(server, viewed, "thread_id", "mine", "timestamp", "then")
    names = [name for name, _ in members(frame)]
    assert json.loads(frame)["thread_id"] == "mine" and json.loads(frame)["timestamp"] == "then"
    assert names.count("thread_id") == names.count("timestamp") == 1


async def test_a_publishers_own_ids_are_overridden(server, viewed):
    frame = await frame_of(
        server, viewed, "stream_id", "9-9", "message", "m", "prev_stream_id", "8-8", "stream_id", "7-7"
    )
    found, names = json.loads(frame), [name for name, _ in members(frame)]
    (entry,) = viewed.redis.xrange(viewed.stream)
    assert found["stream_id"] == entry[0] and found["prev_stream_id"] == "0-0"
    assert names.count("stream_id") == names.count("prev_stream_id") == 1


async def test_of_a_repeated_field_the_last_value_counts_once(server, viewed):
    frame = await frame_of(server, viewed, "a", "1", "b", "2", "a", "3")
    own = [(name, value) for name, value in members(frame) if name in "ab"]
    assert sorted(own) == [("a", 3), ("b", 2)]


async def test_prev_stream_id_is_the_entry_before(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        first, second = viewed.raw("n", "1"), viewed.raw("n", "2")
        one, two = await receive(ws), await receive(ws)
    assert one["prev_stream_id"] == "0-0" and one["stream_id"] == first
    assert two["prev_stream_id"] == first and two["stream_id"] == second


@pytest.mark.parametrize("last", ["18446744073709551614-18446744073709551615", "253402300800000-0"])
async def test_an_id_beyond_the_calendar_does_no_harm(server, viewed, last):
    frame = json.loads(await frame_of(server, viewed, "message", "m", id=last))
    assert frame["stream_id"] == last and isinstance(frame["timestamp"], str)


async def test_values_nested_very_deep_do_no_harm(server, viewed):
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        viewed.raw("value", "[" * 200_000 + "]" * 200_000)
        assert '"stream_id"' in await ws.recv()
        viewed.raw("value", "1")
        assert (await receive(ws))["value"] == 1


async def test_an_entry_of_5_mb_arrives_whole(server, viewed):
    big = "x" * 5_000_000
    async with connect(server, viewed.thread) as ws:
        await initial(ws)
        viewed.raw("message", big, "data", json.dumps([big]))
        frame = await receive(ws)
        assert frame["message"] == big and frame["data"] == [big]
        viewed.raw("message", "next")
        assert (await receive(ws))["prev_stream_id"] == frame["stream_id"]


async def test_an_entry_with_a_thousand_fields_arrives_whole(server, viewed):
    fields = [x for n in range(1000) for x in (f"f{n}", str(n))]
    frame = json.loads(await frame_of(server, viewed, *fields))
    assert [frame[f"f{n}"] for n in range(1000)] == list(range(1000))


async def test_embedded_values_follow_the_same_rules(embedded):
    from processes import request

    thread = request(embedded, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
    async with connect(embedded, thread) as ws:
        await initial(ws)
        body = b'{"message": "12", "metadata": {"n": 1.50, "s": "\\u00e9"}}'
        headers = {"Content-Type": "application/json"}
        request(embedded, "POST", f"/api/v1/tasks/{thread}/updates", body, headers)
        frame = await receive(ws)
    assert frame["message"] == "12" and frame["metadata"] == {"n": 1.5, "s": "é"}
