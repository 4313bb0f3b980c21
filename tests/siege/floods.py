"""Attacks that send more than anybody should."""

import itertools
import json

from attack import BLOCK_BYTES, Attack, command, fill_stream, flood, repeated, tasks
from rawsocket import CLOSE, CONTINUATION, PING, TEXT, frame
from support import task_path

MANY = "/api/v1/ws"
PINGS = repeated(frame(PING, b"x" * 125))
EMPTY_PINGS = repeated(frame(PING))
LOG_LINES_PER_SECOND = 10


def after(first, blocks):
    """Blocks behind a first one."""
    return lambda: itertools.chain([first], blocks())


class PingsAfterClose(Attack):
    """Fills its socket with Pongs while the server looks for a task and closes; then pings on."""

    seconds = (4, 6)
    pause = 0.5

    def attack(self, server, stop):
        # As many as fill the socket, but not what the server's kernel takes in meanwhile: a server
        # that reads no more before it closes would not be told of what comes after.
        bursts = [frame(PING, b"x" * 125) * count for count in range(23_000, 29_000, 1000)]
        connections = [(task_path("nobody-knows-it"), after(burst, PINGS)) for burst in bursts]
        return flood(server, stop, connections, reads=False, pause=self.pause)


class PingsAfterCloseWithoutRedis(PingsAfterClose):
    """The same while Redis hangs: what the server gives up after a while, and closes with 1013."""

    seconds = (5, 20)
    redis_answers = False

    def __init__(self, long):
        super().__init__(long)
        self.options = () if long else ("--set", "limits.attach_timeout_ms=1000")
        self.pause = 11 if long else 1.5

    def during(self, siege):
        siege.redis.pause()
        super().during(siege)
        siege.redis.resume()


class PingsAfterViolations(Attack):
    """Pings behind what ends a connection, for each reason there is."""

    seconds = (3, 6)

    def attack(self, server, stop):
        reasons = [frame(0x3), frame(TEXT, b"x" * 70_000), frame(TEXT, b"\xff"), frame(CLOSE)]
        connections = [(MANY, after(frame(PING, b"x" * 125) * 4000 + why, PINGS)) for why in reasons]
        return flood(server, stop, connections, reads=False, pause=0.5)


class UnreadPings(Attack):
    """Pings, and reads nothing."""

    seconds = (3, 6)

    def attack(self, server, stop):
        json_pings = repeated(command(type="ping"))
        return flood(server, stop, [(MANY, PINGS), (MANY, json_pings)], reads=False)


class SubscribeLoop(Attack):
    """Subscribes to new names on one socket and unsubscribes at once."""

    p99_ms = 50

    def attack(self, server, stop):
        return flood(server, stop, [(MANY, self.blocks)])

    def thread_ids(self):
        return (f"loop-{number}" for number in itertools.count())

    def blocks(self):
        threads = self.thread_ids()
        while True:
            yield b"".join(
                command(type=kind, thread_id=thread)
                for thread in itertools.islice(threads, 500)
                for kind in ("subscribe", "unsubscribe")
            )


class SubscribeLoopOverTasks(SubscribeLoop):
    """The same with tasks that exist, and have a state of 100 KB each."""

    def prepare(self, redis):
        self.threads = tasks(redis, "looped", 50)
        for thread in self.threads:
            redis.set(f"sre:thread:{thread}:result", json.dumps("x" * 100_000))

    def thread_ids(self):
        return itertools.cycle(self.threads)


class EmptyPings(Attack):
    """Empty Pings, 4 MB of them a second."""

    p99_ms = 50
    sockets = 1

    def attack(self, server, stop):
        rate = 4_000_000 * self.sockets
        return flood(server, stop, [(MANY, EMPTY_PINGS)] * self.sockets, bytes_per_second=rate)


class EmptyPingsFromTwo(EmptyPings):
    """The same from two sockets, each at that rate."""

    sockets = 2


class OneByteFragments(Attack):
    """Messages in fragments of one byte."""

    p99_ms = 100

    def attack(self, server, stop):
        more = frame(CONTINUATION, b" ", fin=False) * 60_000
        message = frame(TEXT, b" ", fin=False) + more + frame(CONTINUATION, b" ")
        return flood(server, stop, [(MANY, repeated(message))])


class RepeatedSubscribes(Attack):
    """Subscribes to what it is subscribed to."""

    p99_ms = 100

    def prepare(self, redis):
        [self.thread] = tasks(redis, "again", 1)

    def attack(self, server, stop):
        return flood(server, stop, [(MANY, repeated(command(type="subscribe", thread_id=self.thread)))])


class LargeJsonPings(Attack):
    """JSON pings as long as a message may be."""

    p99_ms = 100

    def attack(self, server, stop):
        ping = command(type="ping", padding="x" * (64 * 1024 - 50))
        return flood(server, stop, [(MANY, repeated(ping))])


class GapLoop(Attack):
    """Resumes from where nothing ever was, again and again."""

    p99_ms = 100

    def prepare(self, redis):
        [self.thread] = tasks(redis, "gap", 1)
        fill_stream(redis, self.thread, 10_000, entry_bytes=1000)

    def attack(self, server, stop):
        come = command(type="subscribe", thread_id=self.thread, since="1-1")
        go = command(type="unsubscribe", thread_id=self.thread)
        return flood(server, stop, [(MANY, repeated(come, go))])

    def check(self, siege, result):
        lines = siege.log_lines
        assert lines <= LOG_LINES_PER_SECOND * (siege.elapsed + 1), f"{lines} lines in the log"
