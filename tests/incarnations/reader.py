"""A reader that does what the rules say and nothing else, straight from Redis.

It plays viewers whom nobody could serve better. What the judge finds on them is its own mistake, or
one of the rules; what it excuses shows what the rules cost.
"""

import json
import random
import threading
import time

import rules
from reconcile import numbers
from resp import Gone, Redis, RedisError
from rules import ZERO, Facts
from streams import pair, written
from viewers import Closed, Frame, Viewer

STEP_SECONDS = 0.03


class Reader(threading.Thread):
    """One viewer of a key; `capped` reads three entries at a time, as a slow one is served."""

    def __init__(self, world, key, seed, capped=False, hops=False, since=None):
        super().__init__(daemon=True)
        self.world, self.key, self.rng = world, key, random.Random(seed)
        self.hops, self.count = hops, 3 if capped else None
        self.viewer = Viewer(f"a reader, capped={capped} hops={hops} since={since}", key.thread)
        self.since = since
        self.done = threading.Event()
        self.at, self.position, self.ordinal, self.before = ZERO, ZERO, 0, rules.none(0, 0)

    def run(self):
        self.connect()
        while True:
            try:
                self.watch()
                return
            except (Gone, RedisError):
                self.connect()

    def connect(self):
        """To the Redis of now."""
        while True:
            try:
                self.generation = self.world.generation
                self.redis = Redis(self.world.port)
                if self.redis.call("ROLE")[0] == "master":
                    return
            except (Gone, RedisError):
                pass
            time.sleep(0.05)

    def watch(self):
        if self.viewer.log and isinstance(self.viewer.log[-1][1], Closed):
            self.come_back(written(self.at))
        elif self.viewer.log:
            self.come_back_to_redis()
        elif self.since is None:
            facts, _, _ = self.look(ZERO)
            self.viewer.begin("Redis", None)
            self.state(facts)
        else:
            self.come_back(self.since)
        while True:
            last = self.done.is_set()
            if self.generation != self.world.generation:
                raise Gone("another master")
            if self.hops and self.rng.random() < 0.1:
                self.viewer.log.append((time.monotonic(), Closed(1006)))
                time.sleep(self.rng.random() * 0.1)
                self.come_back(written(self.at))
            else:
                more = self.follow()
                if last and not more:
                    return
            if not last:
                time.sleep(self.rng.expovariate(1 / STEP_SECONDS))

    def look(self, behind, count=None):
        """The facts, whether the entry at `behind` is there, and the entries after it."""
        capped = ("COUNT", count) if count else ()
        stream = self.key.stream
        replies = self.redis.calls([
            ("MULTI",), ("XINFO", "STREAM", stream), ("XRANGE", stream, written(behind), written(behind)),
            ("XRANGE", stream, f"({written(behind)}", "+", *capped), ("EXEC",),
        ])[-1]
        if isinstance(replies, RedisError) or any(isinstance(r, RedisError) for r in replies[1:]):
            raise Gone(str(replies))
        found = numbers(replies[0])
        facts = Facts(0, 0, *found) if found else rules.none(0, 0)
        return facts, bool(replies[1]), [(pair(i), i, fields) for i, fields in replies[2]]

    def follow(self):
        facts, _, entries = self.look(self.position, self.count)
        verdict = rules.follow(self.position, self.ordinal, self.before, facts, len(entries))
        if verdict != "complete":
            self.gap(verdict, facts)
            return True
        self.send(entries)
        if entries and len(entries) == self.count:
            self.position, self.ordinal = entries[-1][0], self.ordinal + len(entries)
        else:
            self.position, self.ordinal = facts.last, facts.added
        self.before = facts
        return bool(entries)

    def come_back(self, since):
        everything = since == "0"
        facts, there, entries = self.look(pair(since))
        self.viewer.begin("Redis", since)
        self.at = pair(since)
        verdict = "complete" if everything else rules.since(self.at, facts, there)
        if verdict != "complete":
            self.gap(verdict, facts)
            return
        self.send(entries)
        if everything and not entries:
            self.at = facts.last
        self.note(update_type="caught_up", stream_id=written(self.at))
        self.position, self.ordinal, self.before = facts.last, facts.added, facts

    def come_back_to_redis(self):
        """Over another connection, perhaps to another Redis, counts prove nothing."""
        facts, there, entries = self.look(self.at)
        verdict = rules.since(self.at, facts, there)
        if verdict != "complete" and self.position != self.at:
            facts, there, entries = self.look(self.position)
            verdict = rules.since(self.position, facts, there)
        if verdict != "complete":
            self.gap(verdict, facts)
            return
        self.send(entries)
        self.position, self.ordinal, self.before = facts.last, facts.added, facts

    def gap(self, reason, facts):
        self.note(update_type="gap", requested=written(self.at), first="0-0", last="0-0", reason=reason)
        self.state(facts)

    def state(self, facts):
        self.note(update_type="initial_state", stream_id=written(facts.last), updates=[], updates_total=0)
        self.at = self.position = facts.last
        self.ordinal, self.before = facts.added, facts

    def send(self, entries):
        for stream_id, text, fields in entries:
            pairs = zip(fields[::2], fields[1::2])
            members = {n: json.loads(v) if n in ("n", "metadata") else v for n, v in pairs}
            self.note(**members, timestamp="", stream_id=text, prev_stream_id=written(self.at))
            self.at = stream_id

    def note(self, **members):
        frame = Frame(json.dumps({"thread_id": self.key.thread, **members}).encode())
        self.viewer.take(frame, time.monotonic())
