"""A token that ends while a viewer replays much more than the kernel keeps for it (protocol §5)."""

import json
import time

import pytest

import certificates
import processes
from rawsocket import CLOSE, TEXT, Raw
from support import Worker
from tokens import SECRET, bearer, token

ENTRIES, ENTRY_BYTES = 500, 200_000
CONFIG = f"""
[access]
[[access.jwt]]
secret = "{SECRET}"
leeway_s = 0
"""


@pytest.fixture(scope="module", params=["plain", "tls"])
def server(request, redis_server, tmp_path_factory):
    tls = certificates.make(tmp_path_factory.mktemp("tls")) if request.param == "tls" else None
    server = processes.Taskcast(redis_server, tls=tls, config=CONFIG)
    yield server
    server.remove()


@pytest.fixture(scope="module")
def replayed(redis_server):
    """A task with 100 MB of entries: it, and their ids."""
    worker = Worker(redis_server.client())
    ids = []
    for begin in range(0, ENTRIES, 50):
        with worker.redis.pipeline(transaction=False) as pipe:
            for _ in range(begin, begin + 50):
                pipe.xadd(worker.stream, {"update_type": "event", "padding": "x" * ENTRY_BYTES})
            ids += pipe.execute()
    yield worker, ids
    worker.redis.delete(worker.stream)


def begin(server, worker, seconds):
    """A viewer in the middle of it, and when its token ends."""
    ends = int(time.time()) + seconds
    mine = token({"watch": [worker.thread]}, exp=ends)
    viewer = Raw(server, 65_536).open(f"/api/v1/ws/tasks/{worker.thread}?since=0", bearer(mine))
    return viewer, ends


def wait_until(seconds):
    while time.time() < seconds:
        time.sleep(0.1)


def test_no_frame_begins_behind_its_end(server, replayed):
    worker, ids = replayed
    viewer, ends = begin(server, worker, 4)
    with viewer:
        got = [viewer.read_json() for _ in range(20)]
        wait_until(ends + 0.5)
        while (frame := viewer.read_frame())[1] != CLOSE:
            if frame[1] == TEXT:
                got.append(json.loads(frame[2]))
        assert int.from_bytes(frame[2][:2], "big") == 4001
    entries = [frame["stream_id"] for frame in got if "stream_id" in frame]
    assert 20 <= len(entries) < ENTRIES and entries == ids[: len(entries)]
    # It comes back with a new one, and goes on where it was.
    again = f"/api/v1/ws/tasks/{worker.thread}?since={entries[-1]}"
    with Raw(server).open(again, bearer(token({"watch": [worker.thread]}))) as viewer:
        assert viewer.read_json()["stream_id"] == ids[len(entries)]


def test_who_renews_it_in_the_middle_misses_nothing(server, replayed):
    worker, ids = replayed
    viewer, ends = begin(server, worker, 4)
    with viewer:
        got = [viewer.read_json() for _ in range(20)]
        viewer.send_frame(TEXT, json.dumps({"type": "auth", "token": token({"watch": [worker.thread]})}))
        # What the kernel holds is far less than what is left.
        wait_until(ends + 1)
        while (frame := viewer.read_json()).get("update_type") != "caught_up":
            got.append(frame)
    answers = [frame for frame in got if frame.get("type") == "auth"]
    entries = [frame["stream_id"] for frame in got if "stream_id" in frame]
    assert entries == ids and len(answers) == 1 and answers[0]["expires_in"] > 3_000
