"""What is withheld from states holds next to nothing, and nothing of who left."""

import json

import pytest

from attack import tasks
from processes import RedisServer, Taskcast, eventually, request
from rawsocket import Raw
from support import Worker, keys, stream_key, task_path

OPTIONS = ("--workers", "2", "--set", "limits.memory_bytes_max=268435456")
# More than two seconds, in which the updates are withheld.
SECONDS = 8
# What withheld updates may take: next to nothing, and what others read meanwhile.
ANSWERS_MIB = 16
MIB = 1024 * 1024


@pytest.fixture
def redis():
    server = RedisServer()
    yield server
    server.remove()


@pytest.fixture
def server(redis):
    server = Taskcast(redis, *OPTIONS)
    yield server
    server.remove()


def push(redis, thread, number, update_bytes):
    """Updates without entries, that nobody saw before."""
    pipeline = redis.pipeline(transaction=False)
    for at in range(number):
        update = {"message": f"{at} " + "x" * update_bytes}
        pipeline.lpush(keys(thread)["updates"], json.dumps(update))
    pipeline.execute()


def answers_mib(server):
    return server.metrics()['taskcast_memory_bytes{kind="answers"}'] / MIB


# One attach from which large updates are withheld, and many from which small ones are.
@pytest.mark.parametrize(
    ("threads", "updates", "update_bytes", "attaches"), [(1, 32, 7_000_000, 1), (16, 30, 60_000, 8)]
)
@pytest.mark.timeout(60)
def test_withheld_updates_leave_room_for_others(
    redis, server, threads, updates, update_bytes, attaches
):
    with redis.client() as client:
        names = tasks(client, "victim", threads)
        Worker(client, "large")
        client.set(keys("large")["result"], json.dumps("r" * 4_000_000))
        for thread in names:
            client.xadd(stream_key(thread), {"message": "first"})
            push(client, thread, updates, update_bytes)
    viewers = []
    for _ in range(attaches):
        for thread in names:
            viewers.append(Raw(server).open(task_path(thread)))
            assert viewers[-1].read_json()["updates"] == []
    assert answers_mib(server) < ANSWERS_MIB
    for viewer in viewers:
        viewer.socket.close()
    eventually(lambda: answers_mib(server) == 0, "an empty account of answers", SECONDS)
    assert request(server, "GET", "/api/v1/tasks/large")[0] == 200
    with Raw(server).open(task_path("large")) as viewer:
        assert len(viewer.read_json()["result"]) == 4_000_000
