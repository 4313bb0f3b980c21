"""Attacks with what Redis takes long to read: while it makes an answer, it does nothing else."""

import itertools
import json
import threading
import time

from attack import Attack, command, fill_stream, flood, get, open_many, small, tasks
from rawsocket import Raw
from support import keys, task_path

MANY = "/api/v1/ws"


class Weight(Attack):
    seconds = (4, 10)
    p99_ms = 1000


class LargeBehindSmall(Weight):
    """Resumes from the beginning of a stream of small entries with large ones behind them."""

    growth_mib = 128
    sockets = 5
    options = ("--set", "limits.memory_bytes_max=67108864")

    def prepare(self, redis):
        [self.thread] = tasks(redis, "large-behind-small", 1)
        fill_stream(redis, self.thread, 20_000, entry_bytes=100)
        for _ in range(3):
            fill_stream(redis, self.thread, 30_000_000, entry_bytes=900_000)

    def attack(self, server, stop):
        came = 0
        while not stop.is_set():
            opened = open_many(5, lambda _: small(server).open(task_path(self.thread, 0)), stop)
            came += len(opened)
            stop.wait(1.5)
            for raw in opened:
                raw.socket.close()
        return came


class LargeUpdates(Weight):
    """Subscribes and unsubscribes, within its budget, to tasks with large updates."""

    growth_mib = 128

    def prepare(self, redis):
        self.threads = tasks(redis, "large-updates", 10)
        update = json.dumps({"message": "x" * 300_000, "update_type": "progress"})
        for thread in self.threads:
            redis.lpush(keys(thread)["updates"], *[update] * 24)

    def attack(self, server, stop):
        turn = b"".join(
            command(type=kind, thread_id=thread)
            for thread in self.threads
            for kind in ("unsubscribe", "subscribe")
        )
        return flood(server, stop, [(MANY, lambda: itertools.repeat(turn))] * 3)


class ManyFields(Weight):
    """Reads and watches tasks with a context of 75,000 members, which one POST makes."""

    growth_mib = 128
    sockets = 6

    def prepare(self, redis):
        self.threads = tasks(redis, "fields", 3)
        for thread in self.threads:
            redis.hset(keys(thread)["context"], mapping={f"{n:x}": "1" for n in range(75_000)})

    def attack(self, server, stop):
        def read(number):
            for turn in itertools.count(number):
                if stop.is_set():
                    return
                thread = self.threads[turn % len(self.threads)]
                try:
                    if number % 2:
                        with Raw(server).open(task_path(thread)) as raw:
                            raw.read_json()
                    else:
                        raw = get(server, f"/api/v1/tasks/{thread}")
                        raw.read_reply()
                        raw.socket.close()
                except (OSError, EOFError, AssertionError):
                    stop.wait(0.05)

        readers = [threading.Thread(target=read, args=(number,), daemon=True) for number in range(6)]
        for reader in readers:
            reader.start()
        stop.wait()
        for reader in readers:
            reader.join(30)


class ManyValuesListed(Weight):
    """Lists tasks whose newest update is an object of 75,000 members."""

    sockets = 30

    def prepare(self, redis):
        metadata = {f"{number:x}": 1 for number in range(75_000)}
        update = json.dumps({"message": "m", "metadata": metadata}, separators=(",", ":"))
        for thread in tasks(redis, "values", 100):
            redis.lpush(keys(thread)["updates"], update)
            redis.zadd("sre:threads:index", {thread: time.time()})

    def attack(self, server, stop):
        statuses = []
        while not stop.is_set():
            opened = [get(server, f"/api/v1/tasks?limit={200 - number}") for number in range(30)]
            for raw in opened:
                statuses.append(raw.read_reply()[0])
                raw.socket.close()
        return statuses

    def check(self, siege, statuses):
        assert 200 in statuses and set(statuses) <= {200, 503}, set(statuses)
