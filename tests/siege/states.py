"""Attacks on the HTTP API."""

import json
import time

from attack import Attack, ended, get, open_many, small, tasks
from processes import eventually
from rawsocket import Raw
from support import keys

BODY_BYTES = 1_000_000


def give_updates(redis, thread, total_bytes=10_000_000):
    """As many updates as a worker keeps, of so many bytes together."""
    update = {"message": "x" * (total_bytes // 100), "update_type": "progress"}
    redis.rpush(keys(thread)["updates"], *[json.dumps(update)] * 100)


def post_head(server, path, length):
    """The head of a POST whose body has so many bytes."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


class UnreadStates(Attack):
    """60 times the state of a task with 10 MB of updates, and no more than its first byte is read."""

    growth_mib = 300
    sockets = 60
    seconds = (8, 10)
    p99_ms = 1000

    def prepare(self, redis):
        [self.thread] = tasks(redis, "updates", 1)
        give_updates(redis, self.thread)

    def attack(self, server, stop):
        def begin(_):
            raw = get(server, f"/api/v1/tasks/{self.thread}", receive_bytes=4096)
            raw.socket.settimeout(1)
            try:
                raw.socket.recv(1)
            except TimeoutError:
                pass
            return raw

        opened = open_many(self.sockets, begin, stop)
        stop.wait()
        return len(opened)


class UnreadStatesUntilTheDeadline(UnreadStates):
    """The same, held until the server has cut them: then it holds nothing more."""

    seconds = (0, 10)

    def during(self, siege):
        super().during(siege)
        deadline = 30 + 20
        eventually(lambda: siege.memory.growth() < 64, "the end of the responses", deadline)


class StatesAtOnce(Attack):
    """60 times the state of a task with 10 MB of updates, at once, and read."""

    growth_mib = 300
    sockets = 60
    seconds = (6, 16)
    p99_ms = 1000
    different = 1

    def prepare(self, redis):
        self.threads = tasks(redis, f"at-once-{self.different}", self.different)
        for thread in self.threads:
            give_updates(redis, thread)

    def attack(self, server, stop):
        paths = [f"/api/v1/tasks/{self.threads[n % self.different]}" for n in range(self.sockets)]
        opened = [get(server, path) for path in paths]
        statuses = []
        for raw in opened:
            raw.socket.settimeout(60)
            try:
                status, _, body = raw.read_reply()
                assert status != 200 or len(body) > 10_000_000, len(body)
            except (OSError, EOFError) as error:
                status = repr(error)
            statuses.append(status)
        return statuses

    def check(self, siege, statuses):
        counts = {status: statuses.count(status) for status in statuses}
        siege.note(f"answers: {counts}")
        assert set(statuses) <= {200, 503}, counts


class DifferentStatesAtOnce(StatesAtOnce):
    """The same of 20 tasks: they cannot share an answer."""

    growth_mib = 300
    different = 20


class SlowBodies(Attack):
    """2,000 bodies of 1 MB, most of each sent, then a byte every 7 s."""

    growth_mib = 600
    seconds = (10, 50)
    p99_ms = 1000
    sockets = 2000

    def attack(self, server, stop):
        head = post_head(server, "/api/v1/triage", BODY_BYTES + 40_000)

        def begin(_):
            raw = Raw(server)
            raw.send(head)
            raw.socket.setblocking(False)
            return raw

        opened = open_many(self.sockets, begin, stop)
        block = memoryview(b"{" + b" " * (BODY_BYTES - 1))
        left = {raw: block for raw in opened}
        next_byte = time.monotonic() + 7
        while not stop.is_set():
            moved = sum(self.push(raw, left) for raw in opened)
            if time.monotonic() >= next_byte:
                next_byte += 7
                left = {raw: rest or memoryview(b" ") for raw, rest in left.items()}
            if not moved:
                stop.wait(0.05)
        return {"opened": len(opened), "ended": ended([raw.socket for raw in opened])}

    def push(self, raw, left):
        try:
            sent = raw.socket.send(left[raw][: 1 << 18]) if left[raw] else 0
            left[raw] = left[raw][sent:]
            return sent
        except OSError:
            return 0

    def check(self, siege, result):
        siege.note(f"{result['ended']} of {result['opened']} bodies cut")
        if self.long:
            assert result["ended"] == result["opened"], result


class SmallBodiesAtAHungRedis(Attack):
    """2,000 updates of 60 KB, each of very many members, while Redis hangs."""

    growth_mib = 128
    seconds = (6, 12)
    sockets = 2000
    redis_answers = False
    options = ("--set", "limits.memory_bytes_max=67108864")

    def prepare(self, redis):
        [self.thread] = tasks(redis, "small-bodies", 1)

    def during(self, siege):
        siege.redis.pause()
        try:
            super().during(siege)
            siege.leave()
        finally:
            siege.redis.resume()

    def attack(self, server, stop):
        metadata = {f"{number:04x}": 1 for number in range(5_500)}
        body = json.dumps({"message": "x", "metadata": metadata}, separators=(",", ":")).encode()
        head = post_head(server, f"/api/v1/tasks/{self.thread}/updates", len(body))

        def begin(_):
            raw = Raw(server)
            raw.socket.settimeout(1)
            raw.send(head + body)
            return raw

        opened = open_many(self.sockets, begin, stop)
        stop.wait()
        return len(opened)


class LargeTasksListed(Attack):
    """Lists 200 tasks with results of 1 MB, 30 times at once."""

    p99_ms = 250
    redis_mib = 16
    limits = [200] * 30

    def prepare(self, redis):
        threads = tasks(redis, "listed", 200)
        for thread in threads:
            redis.set(keys(thread)["result"], json.dumps("x" * 1_000_000))
            redis.zadd("sre:threads:index", {thread: time.time()})
        self.sent_before = self.sent_by(redis)

    def sent_by(self, redis):
        return redis.info("stats")["total_net_output_bytes"]

    def attack(self, server, stop):
        statuses = []
        while True:
            opened = [get(server, f"/api/v1/tasks?limit={limit}") for limit in self.limits]
            for raw, limit in zip(opened, self.limits):
                status, _, body = raw.read_reply()
                rows = len(json.loads(body)["tasks"]) if status == 200 else 0
                statuses.append((status, limit - rows))
                raw.socket.close()
            if stop.wait(1) or not self.long:
                return statuses

    def check(self, siege, statuses):
        assert set(statuses) == {(200, 0)}, set(statuses)
        with siege.redis.client() as client:
            sent = (self.sent_by(client) - self.sent_before) / (1 << 20)
        siege.note(f"{sent:.1f} MiB from Redis")
        rounds = len(statuses) / 30
        assert sent < self.redis_mib * rounds, f"{sent:.1f} MiB from Redis"


class DifferentListsAtOnce(LargeTasksListed):
    """The same, no two of them as long: they cannot share an answer."""

    redis_mib = 64
    limits = range(171, 201)
