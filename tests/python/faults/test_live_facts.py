"""What live viewers are told of a stream that is trimmed, thinned out or replaced while nobody reads.

Each change is one step for Redis, so that only the facts of the stream tell what happened. The
expectations are those of `follow`: while something up to the viewers' position is there, nothing
after it was trimmed; else what was removed since tells (`entries-added` less `length`), one of it may
have been withdrawn by name where an id after the position was.
"""

import pytest

from oracle import new_worker
from streams import do, do_one_by_one, entries_come, gap_is_told, walk
from support import initial, nothing_but_pong, receive

# What was read, what happens then, and the entries that come.
NOTHING_MISSING = [
    ("10 20 30", "XADD 40 MAXLEN 1", [40]),
    ("10 20 30", "XTRIM MAXLEN 0; XADD 40", [40]),
    ("10 20 30", "XADD 40; XADD 50; XTRIM MINID 40", [40, 50]),
    ("10 20 30", "XADD 40; XADD 50 MINID 40", [40, 50]),
    ("10 20 30", "XTRIM MAXLEN 0", []),
    # Deleted behind the viewers.
    ("10 20 30", "XDEL 20 30; XADD 40", [40]),
    ("10 20 30", "XDEL 10 20 30; XADD 40", [40]),
    ("10 20 30", "XDEL 10 20 30", []),
    # Withdrawn before it was read, beside older ones: any number.
    ("10 20 30", "XADD 40; XDEL 40", []),
    ("10 20 30", "XADD 40; XADD 50; XDEL 40 50", []),
    ("10 20", "XADD 30; XADD 40; XADD 50; XDEL 30 40; XADD 60", [50, 60]),
    ("10", "XADD 20; XADD 30; XADD 40; XDEL 20 30 40; XADD 50", [50]),
    # Withdrawn before it was read, and nothing older is there: one.
    ("10", "XADD 20; XDEL 20; XADD 30 MAXLEN 1", [30]),
    ("10 20 30", "XADD 40; XDEL 40; XADD 50 MAXLEN 1", [50]),
    ("", "XADD 10; XDEL 10; XADD 20", [20]),
    ("", "XADD 10; XDEL 10", []),
    # The last id is moved on.
    ("10 20 30", "XSETID 35-0; XADD 40", [40]),
]

NINE = "; ".join(f"XADD {n} MAXLEN 2" for n in range(1, 10))

TRIMMED = [
    ("10 20 30", "XADD 40; XADD 50 MAXLEN 1"),
    ("10 20 30", "XADD 40; XTRIM MAXLEN 0"),
    ("10 20 30", "XADD 40; XADD 50; XTRIM MINID 50"),
    ("10 20 30", "XADD 40; XADD 50 MINID 45"),
    ("10 20 30", "XADD 40; XADD 50; XADD 60; XDEL 50; XTRIM MINID 60"),
    ("10 20 30", "XADD 40; XADD 50; XADD 60; XDEL 40 50; XADD 70 MAXLEN 1"),
    ("", "XADD 10; XTRIM MAXLEN 0"),
    ("", "XADD 10; XADD 20 MAXLEN 1"),
    ("", NINE),
    # Both were withdrawn, but nobody can tell that from one that was trimmed.
    ("10", "XADD 20; XADD 25; XDEL 20 25; XADD 30 MAXLEN 1"),
]

# Each of these is another stream, which one fact alone gives away.
RESET = [
    ("100", "DEL; XADD 50; XADD 99; XADD 150; XADD 160; XDEL 150"),
    ("2", "DEL; XADD 1; XADD 2"),
    ("2", "DEL; XADD 1; XADD 2; XADD 3"),
    ("50", "DEL; XADD 10; XADD 20"),
    ("3", "DEL; XADD 4"),
    ("10 20 30", "DEL; XADD 40"),
    ("10 20 30", "DEL; XADD 15; XADD 40; XADD 50; XADD 60"),
    ("10 20 30", "DEL; XADD 40; XADD 50; XADD 60; XADD 70"),
    ("10 20 30", "DEL; XADD 40; XADD 50; XADD 60; XADD 70 MAXLEN 2"),
    ("10 20 30; XDEL 20", "DEL; XADD 40; XADD 50; XADD 60; XADD 70 MAXLEN 1"),
    ("10 20 30", "DEL"),
]


@pytest.fixture
def worker(redis_server):
    return new_worker(redis_server)


@pytest.fixture
def watched(viewers, worker):
    """`await watched(server, before)`: a viewer who got these entries as they came, and one who came
    behind them; each with its position."""

    async def start(server, before):
        numbers, _, rest = before.partition(";")
        live = await viewers(server, worker.thread)
        await initial(live)
        if before:
            do(worker, "; ".join([f"XADD {n}" for n in numbers.split()] + [rest]))
        kept = [id for id, _ in worker.redis.xrange(worker.stream)]
        position = await entries_come(live, kept, 0)
        late = await viewers(server, worker.thread)
        return [(live, position), (late, (await initial(late))["stream_id"])]

    return start


async def assert_goes_on(worker, at):
    """The next entry comes, chained to where each stands, and nothing before it."""
    do(worker, "XADD 990")
    for ws, position in at:
        await entries_come(ws, [990], position)
        await nothing_but_pong(ws)


@pytest.mark.parametrize("before, change, ids", NOTHING_MISSING)
async def test_where_nothing_is_missing_no_gap_is_told(
    either_tail, worker, watched, before, change, ids
):
    there = await watched(either_tail, before)
    do(worker, change)
    at = [(ws, await entries_come(ws, ids, position)) for ws, position in there]
    await assert_goes_on(worker, at)


@pytest.mark.parametrize("before, change", TRIMMED)
async def test_what_was_trimmed_unread_is_told_once(either_tail, worker, watched, before, change):
    there = await watched(either_tail, before)
    do(worker, change)
    at = [(ws, await gap_is_told(ws, worker, p, "trimmed")) for ws, p in there]
    await assert_goes_on(worker, at)


@pytest.mark.parametrize("before, change", RESET)
async def test_another_stream_is_told_once(either_tail, worker, watched, before, change):
    there = await watched(either_tail, before)
    do(worker, change)
    at = [(ws, await gap_is_told(ws, worker, p, "reset")) for ws, p in there]
    await assert_goes_on(worker, at)


@pytest.mark.parametrize("tail", ["tracking", "block"])
async def test_a_hole_is_told_though_sends_wait_for_each_other(
    start_server, redis_server, worker, watched, tail
):
    """`flush_interval_ms` keeps entries that were read from the viewer who stands before the hole."""
    options = ("--workers", "1", "--tail", tail, "--flush-interval-ms", "25")
    there = await watched(start_server(redis_server, *options), "")
    do(worker, NINE)
    at = [(ws, await gap_is_told(ws, worker, p, "trimmed")) for ws, p in there]
    await assert_goes_on(worker, at)


@pytest.mark.parametrize("tail", ["tracking", "block"])
async def test_nothing_is_skipped_in_silence_where_trims_race_with_reads(
    start_server, redis_server, tail, viewers
):
    """Each command by itself: what was read in time comes, and each hole is told."""
    options = ("--workers", "1", "--tail", tail, "--flush-interval-ms", "25")
    server = start_server(redis_server, *options)
    for _ in range(10):
        worker = new_worker(redis_server)
        ws = await viewers(server, worker.thread)
        await initial(ws)
        do_one_by_one(worker, NINE)
        assert set(await walk(ws, "0-0", [f"{n}-0" for n in range(1, 10)])) <= {"trimmed"}


@pytest.mark.parametrize("entries, size", [(8, 200_000), (100, 12_000), (3, 700_000)])
async def test_a_burst_beyond_what_a_topic_holds_that_trims_what_was_seen_is_no_gap(
    either_tail, worker, viewers, entries, size
):
    """It is given out of what was read: the stream has nothing of before any more."""
    ws = await viewers(either_tail, worker.thread)
    position = (await initial(ws))["stream_id"]
    for burst in range(5):
        with worker.redis.pipeline(transaction=True) as step:
            for n in range(entries):
                step.xadd(worker.stream, {"n": n, "x": "x" * size}, maxlen=entries, approximate=False)
            ids = step.execute()
        for id in ids:
            frame = await receive(ws)
            assert (frame.get("stream_id"), frame.get("prev_stream_id")) == (id, position), str(frame)[:300]
            position = id
    await nothing_but_pong(ws)
