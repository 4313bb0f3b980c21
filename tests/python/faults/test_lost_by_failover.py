"""Another master takes over without the newest entries that viewers were sent, and goes on before the
server is there. Its counts may fit by chance; over another connection they are no proof.

The failover is played by hand: a replica becomes a master before it has got everything, and the way to
Redis leads there from then on.
"""

import asyncio

import pytest

from oracle import new_worker
from processes import eventually
from redisproxy import end
from slowviewer import fill, slow, to_the_gap
from streams import do, entries_come, gap_is_told, walk
from support import Worker, initial, nothing_but_pong, receive, task_path
from ways import Switch

# A topic holds less than what a viewer lags by here, so that it is read for the viewer.
QUICK = "[limits]\nreconnect_max_ms = 200\ntopic_bytes_max = 65536\npage_entries_max = 4\n"


class Failover:
    def __init__(self, start_redis, start_server, tail):
        self.master = start_redis("--repl-diskless-sync-delay", "0")
        self.replica = start_redis("--replicaof", f"127.0.0.1 {self.master.port}")
        self.way = Switch(self.master)
        self.server = start_server(
            None, "--workers", "1", "--tail", tail, redis_url=self.way.url, config=QUICK
        )
        self.worker = new_worker(self.master)
        eventually(lambda: self.replica.client().info("replication")["master_link_status"] == "up")

    def part(self):
        """What comes from now on, the replica does not get."""
        self.worker.redis.execute_command("WAIT", 1, 5000)
        self.replica.client().replicaof("no", "one")

    async def over(self, meanwhile):
        """The replica is the master, and this has happened there when the server comes."""
        other = Worker(self.replica.client(), self.worker.thread, create=False)
        do(other, meanwhile)
        await asyncio.to_thread(self.way.to, self.replica)
        self.worker = other


@pytest.fixture(params=["tracking", "block"])
def failover(request, start_redis, start_server):
    one = Failover(start_redis, start_server, request.param)
    yield one
    one.way.close()


def adds(ids, length=None):
    trim = f" MAXLEN {length}" if length else ""
    return "; ".join(f"XADD {id}{trim}" for id in ids)


# How many entries the stream keeps and how many are lost; so many new ones that the count of what was
# removed is what was sent.
@pytest.mark.parametrize("kept, lost", [(1, 1), (3, 1), (3, 2)])
async def test_entries_that_were_lost_are_told_though_the_counts_fit(failover, viewers, kept, lost):
    replicated, gone = [10, 20, 30, 40], [50, 51][:lost]
    ws = await viewers(failover.server, failover.worker.thread)
    await initial(ws)
    do(failover.worker, adds(replicated))
    do(failover.worker, f"XTRIM MAXLEN {kept}")
    failover.part()
    do(failover.worker, adds(gone, kept))
    # Trimmed or not, it has read each of them: the first ones in one step, the last ones in another.
    position = await read_to(ws, gone[-1])
    late = await viewers(failover.server, failover.worker.thread)
    assert (await initial(late))["stream_id"] == position
    new = range(60, 60 + kept + lost)
    await failover.over(adds(new, kept))
    worker = failover.worker
    info = worker.redis.xinfo_stream(worker.stream)
    assert info["entries-added"] - info["length"] == len(replicated) + lost
    for viewer in (ws, late):
        # since, row 3: everything up to the position is gone, and more than one entry was removed.
        assert await gap_is_told(viewer, worker, position, "trimmed") == f"{new[-1]}-0"
    do(worker, "XADD 990")
    for viewer in (ws, late):
        await entries_come(viewer, [990], f"{new[-1]}-0")
        await nothing_but_pong(viewer)


async def read_to(ws, id):
    """The viewer has this entry, whatever it was told before. Its position."""
    while (frame := await receive(ws)).get("stream_id") != f"{id}-0":
        pass
    return frame["stream_id"]


async def test_each_viewer_is_told_of_entries_that_were_lost(failover, viewers):
    """Nothing is trimmed: the position is just not there. Who stayed and who comes back, with it or with
    an earlier one that is lost too, and the next one with the same."""
    do(failover.worker, adds([10, 20, 30]))
    failover.part()
    stayed = [await viewers(failover.server, failover.worker.thread) for _ in range(3)]
    for ws in stayed:
        await initial(ws)
    do(failover.worker, adds([40, 50, 60]))
    for ws in stayed:
        await entries_come(ws, [40, 50, 60], 30)
    await failover.over(adds([45, 70]))
    worker, server = failover.worker, failover.server
    for ws in stayed:
        assert await gap_is_told(ws, worker, 60, "reset") == "70-0"
    came = []
    for since in [60, 50, 40] * 4:
        ws = await viewers(server, worker.thread, since=f"{since}-0")
        came.append(ws)
        await gap_is_told(ws, worker, since, "reset")
    do(worker, "XADD 990")
    for ws in stayed + came:
        await entries_come(ws, [990], 70)
        await nothing_but_pong(ws)


async def test_who_has_nothing_that_was_lost_is_told_nothing(failover, viewers):
    """The entry of its position is there: what came after it comes, once."""
    do(failover.worker, adds([10, 20, 30]))
    ws = await viewers(failover.server, failover.worker.thread)
    assert (await initial(ws))["stream_id"] == "30-0"
    failover.part()
    await failover.over(adds([40, 50]))
    await entries_come(ws, [40, 50], 30)
    do(failover.worker, "XADD 990")
    await entries_come(ws, [990], 50)
    back = await viewers(failover.server, failover.worker.thread, since="20-0")
    await entries_come(back, [30, 40, 50, 990], 20)


async def test_a_stream_that_is_another_one_behind_a_broken_connection(failover, viewers):
    """As a Redis that comes back with nothing, and is written to before the server is there."""
    failover.replica.client().replicaof("no", "one")
    do(failover.worker, adds([10, 20, 30]))
    ws = await viewers(failover.server, failover.worker.thread)
    await initial(ws)
    Worker(failover.replica.client(), failover.worker.thread)
    await failover.over(adds([15, 25, 35, 45]))
    assert await gap_is_told(ws, failover.worker, 30, "reset") == "45-0"
    do(failover.worker, "XADD 990")
    await entries_come(ws, [990], 45)
    await nothing_but_pong(ws)


@pytest.mark.parametrize(
    "meanwhile, reason",
    [
        ("XADD 5000; XADD 5001", "reset"),
        ("XADD 5000; XADD 5001; XDEL 5000", "deleted"),
        ("XADD 5000; XADD 5001; XADD 5002; XTRIM MAXLEN 1", "trimmed"),
    ],
)
async def test_who_lags_is_told_of_entries_that_were_lost(failover, viewers, meanwhile, reason):
    """Whatever the others were told: what it lacks is not in this stream, even if what it has is."""
    do(failover.worker, "XADD 1")
    prompt = await viewers(failover.server, failover.worker.thread)
    await initial(prompt)
    with slow(failover.server, task_path(failover.worker.thread)) as viewer:
        await initial(viewer)
        failover.part()
        lost = fill(failover.worker, 1000)
        assert await walk(prompt, "1-0", lost) == []
        await failover.over(meanwhile)
        worker = failover.worker
        at = await gap_is_told(prompt, worker, 1299, reason)
        do(worker, "XADD 9000")
        await entries_come(prompt, [9000], at)
        await to_the_gap(viewer, lost)
        position = (await initial(viewer))["stream_id"]
        if position == at:
            await entries_come(viewer, [9000], at)
        assert position in (at, "9000-0")
        do(worker, "XADD 9001")
        await entries_come(viewer, [9001], 9000)


async def test_nobody_is_given_a_page_of_what_the_tail_has_not_read_yet(failover, viewers):
    """Were it lost, what the tail has would still be there, and nobody could tell that anything was."""
    do(failover.worker, adds(range(10, 21)))
    prompt = await viewers(failover.server, failover.worker.thread)
    assert (await initial(prompt))["stream_id"] == "20-0"
    failover.part()
    # All but the first, on which state and pages are read.
    _, *tails = failover.way.carried
    for carried in tails:
        carried.hold()
    do(failover.worker, adds(range(21, 61)))
    late = await viewers(failover.server, failover.worker.thread, since="18-0")
    await asyncio.sleep(0.3)
    await nothing_but_pong(late)
    await failover.over(adds([45, 70]))
    for carried in tails:
        # With what it was about to bring.
        end(carried.client)
        carried.release()
    await entries_come(prompt, [45, 70], 20)
    await entries_come(late, [19, 20, 45, 70], 18)
    assert (await receive(late))["update_type"] == "caught_up"
