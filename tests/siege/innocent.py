"""Those who follow the rules while others attack: what they were sent, and how late.

One process plays three of them. A worker publishes 20 updates a second. A viewer watches them,
answers Pings and comes back with its last position whenever it is closed. A newcomer attaches to
other tasks, again and again.
"""

import functools
import json
import socket
import ssl
import threading
import time
from dataclasses import dataclass, field

import redis

from processes import eventually
from rawsocket import CLOSE, PING, PONG, TEXT, Raw
from support import Worker, stream_key, task_path

UPDATES_PER_SECOND = 20
SECONDS_BETWEEN_ATTACHES = 0.25
CATCH_UP_SECONDS = 60


@dataclass
class Report:
    """What came of them; times in milliseconds."""

    delays: list = field(default_factory=list)
    attaches: list = field(default_factory=list)
    updates: int = 0
    closes: list = field(default_factory=list)
    refused: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    def since(self, earlier):
        """The delays that were measured after an earlier moment (see `Innocent.now`)."""
        return [ms for at, ms in self.delays if at >= earlier]


def percentile(values, percent):
    """The value that so many percent do not exceed; none where there are no values."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)] if ranked else float("nan")


@dataclass
class Server:
    """An address, for `Raw`; and with what one comes there."""

    port: int
    #: The directory with the authority of a server that speaks TLS.
    authority: str | None = None
    token: str | None = None

    @property
    def tls(self):
        return self.authority and trusting(self.authority)


@functools.cache
def trusting(directory):
    return ssl.create_default_context(cafile=f"{directory}/authority.crt")


def follow_the_rules(server, redis_port, thread, others, ready, stop):
    """The three of them until they are told to stop; a `Report`."""
    report = Report()
    viewer = Viewer(server, thread, report)
    eventually(lambda: viewer.position, "the innocent viewer's first state")
    newcomer = Newcomer(server, others, report)
    worker = Publisher(redis_port, thread, report)
    ready.set()
    stop.wait()
    newcomer.leave()
    worker.leave()
    viewer.prove_everything(worker.client())
    viewer.leave()
    return report


class Part(threading.Thread):
    """One of them, on a thread of its own."""

    def __init__(self, report):
        super().__init__(daemon=True)
        self.report = report
        self.leaving = threading.Event()

    def leave(self):
        self.leaving.set()
        self.join(CATCH_UP_SECONDS)


class Publisher(Part):
    """A worker that publishes at its pace, come what may: who is late is late for all that waits."""

    def __init__(self, redis_port, thread, report):
        super().__init__(report)
        self.redis_port = redis_port
        self.worker = Worker(self.client(), thread, create=False)
        self.start()

    def client(self):
        return redis.Redis(port=self.redis_port, decode_responses=True, socket_timeout=5)

    def run(self):
        due = time.monotonic()
        while not self.leaving.is_set():
            due += 1 / UPDATES_PER_SECOND
            self.leaving.wait(max(0, due - time.monotonic()))
            self.publish(due)

    def publish(self, due):
        while not self.leaving.is_set():
            try:
                self.worker.publish("thread_update", message="innocent", due=str(due))
                self.report.updates += 1
                return
            except (redis.RedisError, OSError):
                time.sleep(0.05)


class Viewer(Part):
    """A viewer of one task over all its connections."""

    def __init__(self, server, thread, report):
        super().__init__(report)
        self.server = server
        self.thread = thread
        self.position = None
        self.first = None
        self.seen = []
        self.start()

    def run(self):
        while not self.leaving.is_set():
            try:
                with Raw(self.server).open(task_path(self.thread, self.position)) as raw:
                    self.watch(raw)
            except (OSError, EOFError, AssertionError) as error:
                if not self.leaving.is_set():
                    self.report.closes.append(repr(error)[:200])
                    time.sleep(0.05)

    def leave(self):
        self.leaving.set()
        self.raw.socket.shutdown(socket.SHUT_RDWR)
        self.join(CATCH_UP_SECONDS)

    def watch(self, raw):
        self.raw = raw
        raw.socket.settimeout(CATCH_UP_SECONDS)
        while not self.leaving.is_set():
            _, opcode, payload = raw.read_frame()
            if opcode == PING:
                raw.send_frame(PONG, payload)
            elif opcode == CLOSE:
                self.report.closes.append(int.from_bytes(payload[:2], "big"))
                return
            elif opcode == TEXT:
                self.take(json.loads(payload))

    def take(self, frame):
        arrived = time.monotonic()
        kind = frame.get("update_type")
        if kind == "initial_state" and self.position is None:
            self.first = self.position = frame["stream_id"]
        elif "prev_stream_id" in frame:
            if frame["prev_stream_id"] != self.position:
                self.report.problems.append(f"after {self.position} came {frame}")
            self.position = frame["stream_id"]
            self.seen.append(self.position)
            due = float(frame["due"])
            self.report.delays.append((due, (arrived - due) * 1000))
        elif kind != "caught_up" and not frame.get("derived"):
            self.report.problems.append(f"{frame} at {self.position}")

    def prove_everything(self, client):
        """It ends with exactly what Redis has."""
        entries = [i for i, _ in client.xrange(stream_key(self.thread), min=f"({self.first}")]
        try:
            eventually(lambda: self.position == entries[-1], "the last update", CATCH_UP_SECONDS)
        except AssertionError:
            self.report.problems.append(f"stays at {self.position} before {entries[-1]}")
        if self.seen != entries:
            self.report.problems.append(f"{len(self.seen)} updates came, of {len(entries)}")


class Newcomer(Part):
    """Attaches to one task after the other and leaves when it has the state."""

    def __init__(self, server, threads, report):
        super().__init__(report)
        self.server = server
        self.threads = threads
        self.start()

    def run(self):
        turn = 0
        while not self.leaving.wait(SECONDS_BETWEEN_ATTACHES):
            turn += 1
            began = time.monotonic()
            try:
                with Raw(self.server).open(task_path(self.threads[turn % len(self.threads)])) as raw:
                    frame = raw.read_json()
                assert frame.get("update_type") == "initial_state", frame
                self.report.attaches.append((time.monotonic() - began) * 1000)
            except (OSError, EOFError, AssertionError) as error:
                self.report.refused.append(repr(error)[:200])
