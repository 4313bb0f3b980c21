"""Which positions `since` can be honoured at, whoever asked before and whoever is watching.

The expectations are those of the rule `since`: an entry that is there and the last generated id are
honest; so is what alone was deleted by name; all else is a gap, each time.
"""

import asyncio
import json

import pytest

from oracle import new_worker
from processes import Taskcast, request
from streams import do, entries_come, gap_is_told
from support import collect, connect, initial, receive

FOUR = "XADD 10; XADD 20; XADD 30; XADD 40"
ONE_DELETED = f"{FOUR}; XDEL 20"
FIRST_DELETED = f"{FOUR}; XDEL 10"
TWO_DELETED = f"{FOUR}; XDEL 20 30"
CUT = f"{FOUR}; XTRIM MAXLEN 2"
EMPTIED = f"{FOUR}; XTRIM MAXLEN 0"
ANOTHER = f"{FOUR}; DEL; XADD 50; XADD 60"
LOWER = f"{FOUR}; DEL; XADD 5; XADD 45"

HONEST = [
    (FOUR, "0", [10, 20, 30, 40]),
    (FOUR, "0-0", [10, 20, 30, 40]),
    (FOUR, "10", [20, 30, 40]),
    (FOUR, "40-0", []),
    (CUT, "0", [30, 40]),
    (CUT, "30-0", [40]),
    (EMPTIED, "0", []),
    (EMPTIED, "40-0", []),
    # Deleted by name, and nothing after it.
    (ONE_DELETED, "20-0", [30, 40]),
    (FIRST_DELETED, "10-0", [20, 30, 40]),
    (TWO_DELETED, "30-0", [40]),
    (f"{FOUR}; XDEL 40", "40-0", []),
    # What was deleted after the position was withdrawn.
    (TWO_DELETED, "10-0", [40]),
    (f"{FOUR}; XDEL 30 40", "20-0", []),
    # One that is gone was deleted by name, so nothing was trimmed.
    (ONE_DELETED, "0-0", [10, 30, 40]),
    (FIRST_DELETED, "0-0", [20, 30, 40]),
    (ANOTHER, "0-0", [50, 60]),
]

NOT_HONEST = [
    # Never an entry.
    (FOUR, "5-0", "reset"),
    (FOUR, "25-0", "reset"),
    (FOUR, "45-0", "reset"),
    (ONE_DELETED, "25-0", "reset"),
    (FIRST_DELETED, "5-0", "reset"),
    # Either was deleted, with a later one, or never was here: nobody can tell.
    (ONE_DELETED, "15-0", "deleted"),
    (TWO_DELETED, "20-0", "deleted"),
    (CUT, "10-0", "trimmed"),
    (CUT, "25-0", "trimmed"),
    (CUT, "0-0", "trimmed"),
    (EMPTIED, "20-0", "trimmed"),
    (EMPTIED, "0-0", "trimmed"),
    (TWO_DELETED, "0-0", "trimmed"),
    (f"{FOUR}; XDEL 10 20", "10-0", "trimmed"),
    # Of another stream.
    (ANOTHER, "40-0", "reset"),
    (ANOTHER, "20-0", "reset"),
    (LOWER, "40-0", "reset"),
    (f"{FOUR}; DEL", "40-0", "reset"),
]


@pytest.fixture
def worker(redis_server):
    return new_worker(redis_server)


def end_of(worker):
    return worker.redis.xinfo_stream(worker.stream)["last-generated-id"]


async def assert_live(worker, there):
    do(worker, "XADD 990")
    for ws, position in there:
        await entries_come(ws, [990], position)


@pytest.mark.parametrize("history, since, ids", HONEST)
async def test_an_honest_position_is_served_each_time(
    either_tail, worker, viewers, history, since, ids
):
    do(worker, history)

    async def come():
        ws = await viewers(either_tail, worker.thread, since=since)
        position = await entries_come(ws, ids, since)
        caught_up = await receive(ws)
        assert caught_up["update_type"] == "caught_up", caught_up
        # Of "0" with nothing left, the last generated id, which is what comes next then follows.
        position = end_of(worker) if since == "0" and not ids else position
        assert caught_up["stream_id"] == position
        return ws, position

    there = [await come(), await come()]
    watching = await viewers(either_tail, worker.thread)
    there += [(watching, (await initial(watching))["stream_id"]), await come()]
    await assert_live(worker, there)


@pytest.mark.parametrize("history, since, reason", NOT_HONEST)
async def test_any_other_position_is_a_gap_each_time(
    either_tail, worker, viewers, history, since, reason
):
    """What was read for the first who came with it proves nothing for the next."""
    do(worker, history)

    async def come():
        ws = await viewers(either_tail, worker.thread, since=since)
        return ws, await gap_is_told(ws, worker, since, reason)

    there = [await come(), await come()]
    watching = await viewers(either_tail, worker.thread)
    there += [(watching, (await initial(watching))["stream_id"]), await come()]
    await assert_live(worker, there)


async def test_twelve_who_come_together_with_a_position_that_never_was_are_each_told(
    either_tail, worker, viewers
):
    do(worker, FOUR)

    async def come():
        ws = await viewers(either_tail, worker.thread, since="25-0")
        return ws, await gap_is_told(ws, worker, 25, "reset")

    await assert_live(worker, await asyncio.gather(*(come() for _ in range(12))))


async def test_a_gap_is_told_to_each_subscription(either_tail, worker):
    do(worker, FOUR)
    async with connect(either_tail, path="/api/v1/ws") as ws:
        for _ in range(3):
            subscribe = {"type": "subscribe", "thread_id": worker.thread, "since": "25-0"}
            await ws.send(json.dumps(subscribe))
            assert await gap_is_told(ws, worker, 25, "reset") == "40-0"
            await ws.send(json.dumps({"type": "unsubscribe", "thread_id": worker.thread}))


# The embedded log, which trims to a length and deletes nothing by name.

KEPT = 4


@pytest.fixture(scope="module")
def small():
    server = Taskcast(None, "--embedded", "--set", f"limits.stream_length_max={KEPT}")
    yield server
    server.remove()


def publish(server, thread, message):
    path = f"/api/v1/tasks/{thread}/updates"
    return request(server, "POST", path, {"message": message})[2]["stream_id"]


async def published(server, count):
    """A new task and the ids of its updates, between any two of which there is room."""
    thread = request(server, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
    ids = []
    for n in range(count):
        await asyncio.sleep(0.002)
        ids.append(publish(server, thread, f"update {n}"))
    return thread, ids


def behind(id):
    ms, seq = id.split("-")
    return f"{ms}-{int(seq) + 1}"


@pytest.mark.parametrize("since, reason", [
    (lambda ids: behind(ids[-3]), "reset"),
    (lambda ids: behind(ids[-1]), "reset"),
    (lambda ids: ids[0], "trimmed"),
    (lambda ids: behind(ids[0]), "trimmed"),
    (lambda ids: "0-0", "trimmed"),
], ids=["between two", "beyond the end", "trimmed", "between two that were trimmed", "0-0"])
async def test_the_embedded_log_tells_a_gap_each_time(small, viewers, since, reason):
    thread, ids = await published(small, KEPT + 5)
    there = []
    for _ in range(3):
        ws = await viewers(small, thread, since=since(ids))
        gap, state = await collect(ws, 2)
        assert gap == {
            "update_type": "gap", "thread_id": thread, "requested": since(ids),
            "first": ids[-KEPT], "last": ids[-1], "reason": reason,
        }
        assert (state["update_type"], state["stream_id"]) == ("initial_state", ids[-1])
        there.append(ws)
    live = publish(small, thread, "live")
    for ws in there:
        await entries_come(ws, [live], ids[-1])


@pytest.mark.parametrize("since, first", [("0", 0), (-KEPT, 1), (-1, KEPT)])
async def test_the_embedded_log_serves_an_honest_position_each_time(small, since, first):
    thread, ids = await published(small, KEPT + 5)
    since = since if since == "0" else ids[since]
    for _ in range(3):
        async with connect(small, thread, since=since) as ws:
            position = await entries_come(ws, ids[-KEPT:][first:], since)
            caught_up = await receive(ws)
            assert (caught_up["update_type"], caught_up["stream_id"]) == ("caught_up", position)
