"""Attacks that do not read what they asked for, or ask for it again and again."""

import json
import threading
import time

from redis import Redis

from attack import Attack, command, fill_stream, open_many, small, tasks
from processes import eventually
from rawsocket import CLOSE, TEXT, Raw
from support import in_order, stream_key, task_path

MANY = "/api/v1/ws"


def hold(stop, opened):
    """Keeps connections without reading."""
    stop.wait()
    return len(opened)


class UnreadSubscriptions(Attack):
    """Subscribes to 300 tasks with results of 1 MB, on one socket that is never read."""

    growth_mib = 128
    p99_ms = 250

    def prepare(self, redis):
        self.threads = tasks(redis, "result", 300)
        for thread in self.threads:
            redis.set(f"sre:thread:{thread}:result", json.dumps("x" * 1_000_000))

    def attack(self, server, stop):
        raw = small(server).open(MANY)
        for thread in self.threads:
            raw.send(command(type="subscribe", thread_id=thread))
        return hold(stop, [raw])


class UnreadViewers(UnreadSubscriptions):
    """The same with a socket for each of them, and little memory: each has a frame half sent."""

    sockets = 300
    options = ("--set", "limits.memory_bytes_max=67108864")

    def attack(self, server, stop):
        def attach(number):
            return small(server).open(task_path(self.threads[number]))

        return hold(stop, open_many(self.sockets, attach, stop))


class StalledResumes(Attack):
    """Resumes from the beginning of 300 large tasks and reads nothing."""

    growth_mib = 128
    sockets = 300
    options = ("--set", "limits.memory_bytes_max=67108864")

    def prepare(self, redis):
        self.threads = tasks(redis, "large", 300)
        for thread in self.threads:
            fill_stream(redis, thread, 1_500_000)

    def attack(self, server, stop):
        def attach(number):
            return small(server).open(task_path(self.threads[number], 0))

        return hold(stop, open_many(self.sockets, attach, stop))


class StalledViewers(Attack):
    """100 viewers of a task that goes on, none of which reads. It is the kernel that pays."""

    kernel_mib = 64
    sockets = 100

    def prepare(self, redis):
        [self.thread] = tasks(redis, "stalled", 1)
        self.redis_port = redis.get_connection_kwargs()["port"]

    def attack(self, server, stop):
        def attach(_):
            return Raw(server).open(task_path(self.thread))

        opened = open_many(self.sockets, attach, stop)
        with Redis(port=self.redis_port) as worker:
            for _ in range(20):
                fill_stream(worker, self.thread, 1_000_000, entry_bytes=10_000)
                stop.wait(0.1)
        return hold(stop, opened)


class OneFrameUnread(Attack):
    """300 viewers of one task, none of which reads; its updates are large. Memory is little."""

    growth_mib = 80
    account_mib = 16
    sockets = 300
    tasks = 1
    options = ("--set", f"limits.memory_bytes_max={16 << 20}")

    def prepare(self, redis):
        self.threads = tasks(redis, "news", self.tasks)
        self.redis_port = redis.get_connection_kwargs()["port"]

    def attack(self, server, stop):
        def attach(number):
            return small(server).open(task_path(self.threads[number % self.tasks]))

        opened = open_many(self.sockets, attach, stop)
        with Redis(port=self.redis_port) as worker:
            for thread in self.threads:
                fill_stream(worker, thread, 720_000, entry_bytes=240_000)
        return hold(stop, opened)

    def during(self, siege):
        self.held_mib = 0
        end = time.monotonic() + self.seconds[self.long]
        while time.monotonic() < end:
            self.held_mib = max(self.held_mib, siege.account_mib())
            time.sleep(0.02)

    def check(self, siege, result):
        # What is about to come is held too, and a frame more than that.
        assert self.held_mib < self.account_mib * 1.25


class LargeNewsUnread(OneFrameUnread):
    """The same with a task for each of 150 viewers: more news than there is memory."""

    sockets = 150
    tasks = 150


class UnknownInOutage(Attack):
    """Asks for 4,000 tasks that nobody knows while Redis hangs, and leaves."""

    redis_answers = False
    seconds = (3, 3)
    gone_seconds = 30

    def attack(self, server, stop):
        opened = open_many(4, lambda _: Raw(server).open(MANY), stop)
        for place, raw in enumerate(opened):
            for number in range(1000):
                raw.send(command(type="subscribe", thread_id=f"unknown-{place}-{number}"))
        return hold(stop, opened)

    def during(self, siege):
        siege.redis.pause()
        super().during(siege)
        siege.leave()
        try:
            few = siege.topics_before + 20  # Those of the innocent.
            eventually(lambda: siege.topics() <= few, "the end of its topics", self.gone_seconds)
        finally:
            siege.redis.resume()


class ResumeLoop(Attack):
    """10 clients resume from the beginning of a task of 20 MB in a loop; one from its middle."""

    p99_ms = 250

    def prepare(self, redis):
        [self.thread] = tasks(redis, "resumed", 1)
        fill_stream(redis, self.thread, 20_000_000)
        self.entries = [i for i, _ in redis.xrange(stream_key(self.thread))]

    def attack(self, server, stop):
        loops = [threading.Thread(target=self.loop, args=(server, stop, n)) for n in range(10)]
        for loop in loops:
            loop.start()
        served = self.resume_from_the_middle(server, stop)
        for loop in loops:
            loop.join()
        return served

    def loop(self, server, stop, number):
        """Some read a part and leave, some all of it."""
        wanted = 20_000_000 if number % 2 else 100_000
        while not stop.is_set():
            try:
                with Raw(server).open(task_path(self.thread, 0)) as raw:
                    while wanted and not stop.is_set() and raw.socket.recv(1 << 20):
                        wanted -= 1 << 20
                        if wanted < 0:
                            break
            except (OSError, EOFError, AssertionError):
                stop.wait(0.05)

    def resume_from_the_middle(self, server, stop):
        """The seconds that each resume took, and how many were told to come back later.

        Raises where one did not get everything once.
        """
        middle = len(self.entries) // 2
        seconds, sent_away = [], 0
        while not stop.wait(0.2) or not seconds:
            began, left = time.monotonic(), self.entries[middle:]
            while not self.resume(server, left):
                sent_away += 1
            seconds.append(time.monotonic() - began)
        return seconds, sent_away

    def resume(self, server, left):
        """Takes what comes behind the first of these; false where it has to come back for the rest."""
        with Raw(server).open(task_path(self.thread, left[0])) as raw:
            while True:
                opcode, payload = raw.read_message()
                if opcode == CLOSE and payload[:2] == (1013).to_bytes(2, "big"):
                    return False
                assert opcode == TEXT, (opcode, payload)
                frame = json.loads(payload)
                if frame["update_type"] == "caught_up":
                    assert len(left) == 1, left[:2]
                    return True
                position, expected = left[:2]
                assert frame["stream_id"] == expected, frame
                assert frame["prev_stream_id"] == position, frame
                assert in_order(position) < in_order(expected)
                del left[0]

    def check(self, siege, served):
        seconds, sent_away = served
        siege.note(f"{len(seconds)} resumes, the slowest took {max(seconds):.2f} s")
        assert sent_away == 0
