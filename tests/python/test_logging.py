"""The server's own log: bounded in what it says, and nobody waits for it."""

import asyncio
import fcntl
import json
import os
import signal
import socket
import subprocess
import time

from processes import Taskcast, binary, environment, eventually, request
from support import Worker, closed, connect, initial, stream_key

LINES_PER_SECOND = 10


class Logging(Taskcast):
    """A server whose standard error is this file descriptor."""

    def __init__(self, redis_server, stderr):
        self.stderr = stderr
        super().__init__(redis_server, "--log-level", "trace", "--workers", "1")

    def spawn(self, argv, env=None):
        self.popen = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.stderr, env=env
        )


def full_pipe():
    """The ends of a pipe that takes no byte more."""
    reader, writer = os.pipe()
    flags = fcntl.fcntl(writer, fcntl.F_GETFL)
    fcntl.fcntl(writer, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        pass
    fcntl.fcntl(writer, fcntl.F_SETFL, flags)
    return reader, writer


async def serves(server):
    """Viewers get what is published, and requests are answered."""
    worker = Worker(server.redis)
    async with connect(server, worker.thread) as ws:
        await initial(ws)
        for n in range(50):
            worker.update(f"update {n}")
            assert json.loads(await ws.recv())["message"] == f"update {n}"
    assert request(server, "GET", "/healthz")[0] == 200


def dropped(server):
    return server.metrics()["taskcast_log_lines_dropped_total"]


async def test_a_disk_that_is_full_holds_nobody_up(redis_server):
    with open("/dev/full", "wb") as full:
        server = Logging(redis_server, full)
    try:
        await serves(server)
        eventually(lambda: dropped(server) > 10, "lines are counted")
        assert server.stop() == 0
    finally:
        server.remove()


async def test_a_pipe_that_nobody_reads_holds_nobody_up(redis_server):
    reader, writer = full_pipe()
    server = Logging(redis_server, writer)
    os.close(writer)
    try:
        await serves(server)

        def queue_is_full():
            for _ in range(50):
                server.status("/api/v1/tasks/nobody")
            return dropped(server)

        await asyncio.to_thread(eventually, queue_is_full, "the queue is full", 60)
        await serves(server)
        server.signal(signal.SIGTERM)
        assert server.popen.wait(20) == 0
    finally:
        server.remove()
        os.close(reader)


def test_an_error_behind_a_pipe_that_nobody_reads_ends_the_process():
    """It fails while it starts, with its log in use already."""
    reader, writer = full_pipe()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        argv = [binary(), "serve", "--embedded", "--listen", address]
        failing = subprocess.Popen(argv, stderr=writer, env=environment())
        try:
            assert failing.wait(20) == 4
        finally:
            failing.kill()
            os.close(reader)
            os.close(writer)


async def test_what_a_viewer_repeats_is_said_ten_times_a_second(start_server, redis_server):
    server = start_server(redis_server, "--log-format", "json", "--workers", "2")
    worker = Worker(server.redis)
    # Trimmed, so that an old position is a gap, told in the log.
    for n in range(3):
        worker.update(f"update {n}")
    server.redis.xtrim(stream_key(worker.thread), maxlen=1, approximate=False)

    async def repeat(seconds):
        end = asyncio.get_running_loop().time() + seconds
        number = 0
        while asyncio.get_running_loop().time() < end:
            async with connect(server, worker.thread, since="1-1") as ws:
                assert json.loads(await ws.recv())["update_type"] == "gap"
                number += 1
        return number

    began = time.monotonic()
    repeated = sum(await asyncio.gather(*(repeat(3.5) for _ in range(20))))
    assert repeated > 100

    def lines():
        lines = [json.loads(line) for line in server.log.splitlines()]
        return [line for line in lines if "gap_at_attach" in (line["message"], line.get("event"))]

    def left_out():
        return sum(line.get("left_out", 0) for line in lines())

    def told():
        return sum("left_out" not in line for line in lines()) + left_out()

    eventually(lambda: told() == repeated, "each line is said or counted")
    seconds = time.monotonic() - began + 1
    assert left_out() > 0 and len(lines()) <= LINES_PER_SECOND * seconds, len(lines())


async def test_draining_counts_sockets_and_the_tasks_watched_over_them(start_server, redis_server):
    server = start_server(redis_server, "--drain-seconds", "0")
    workers = [Worker(redis_server.client()) for _ in range(3)]
    async with connect(server, workers[0].thread) as one, connect(server, path="/api/v1/ws") as many:
        await initial(one)
        for worker in workers:
            await many.send(json.dumps({"type": "subscribe", "thread_id": worker.thread}))
            await initial(many)
        server.signal(signal.SIGTERM)
        assert [(await closed(ws))[0] for ws in (one, many)] == [1012, 1012]
    (line,) = server.said("draining")
    assert "viewers=4" in line and "sockets=2" in line
