"""Those who write: a thread for some keys, each command of a key from the same one.

`Publisher` does steps (some commands, as one of four forms of one round trip), notes what became of
them, and looks where it does not know. What it writes is up to the habits in `habits.py`.
"""

import collections
import json
import random
import threading
import time

import support
from commands import Add, Other
from reconcile import numbers, reconcile
from resp import Gone, Redis, RedisError
from streams import Entry

# The commands of a step as JSON; the replies likewise, an error as {"err": …}.
SCRIPT = """
local out = {}
for i, command in ipairs(cjson.decode(ARGV[1])) do out[i] = redis.pcall(unpack(command)) or false end
return out
"""
NOT_NOW = ("READONLY", "LOADING", "MASTERDOWN", "OOM", "NOREPLICAS", "MISCONF", "EXECABORT", "BUSY", "UNBLOCKED")

# What was sent and not answered may be done for so long.
UNSURE_SECONDS = 5.0


class Update:
    """What an agent's list tells: pushed, and then perhaps written to the stream."""

    __slots__ = ("entry", "known", "since", "token")

    def __init__(self, token, since, known):
        self.token, self.since, self.known, self.entry = token, since, known, None


class Publisher(threading.Thread):
    """`world` says where Redis is and when to stop; `work` is (key, habit, seconds between steps)."""

    def __init__(self, world, work, seed):
        super().__init__(daemon=True)
        self.world, self.work = world, work
        self.rng = random.Random(seed)
        self.redis, self.generation, self.broken = None, None, False
        # The generation of Redis of which it knows everything.
        self.settled = None
        self.refusals = {}
        # Key -> what somebody else is doing to it for us, and may or may not be done.
        self.pending = {}
        # When something was sent that was not answered.
        self.unsure = float("-inf")
        # What publications over HTTP were answered.
        self.answers = collections.Counter()
        self.failure = None
        self.written = 0
        self.commands = 0

    def run(self):
        try:
            self.everything()
        except Exception as error:  # Told by the run, which would wait for it for ever.
            self.failure = error
            raise

    def everything(self):
        due = [[time.monotonic() + self.rng.random() * pause, key, habit, pause] for key, habit, pause in self.work]
        for _, key, habit, _ in due:
            with self.world.gate.shared():
                habit.renew(self, key)
        while not self.world.stopping.is_set():
            row = min(due, key=lambda row: row[0])
            wait = row[0] - time.monotonic()
            if wait > 0 and self.world.stopping.wait(wait):
                break
            with self.world.gate.shared():
                if row[1].era != self.world.era:
                    row[1].era = self.world.era
                    row[2].renew(self, row[1])
                row[2].step(self, row[1])
            row[0] = max(row[0], time.monotonic() - 1) + self.rng.expovariate(1 / row[3])
        for _, key, habit, _ in due:
            with self.world.gate.shared():
                habit.end(self, key)
        if self.redis:
            self.redis.close()

    # Steps

    def step(self, key, ops, how="pipeline"):
        """Does these commands; returns the replies, or None where that is not known."""
        if not self.ready():
            return None
        if self.world.evicts:  # Between two commands of a step it could go.
            key.may_vanish, how = True, how if how == "lua" else "multi"
        since = time.monotonic()
        try:
            replies, info = self.send(key, ops, how)
        except Gone:
            self.redis, self.unsure = None, since
            self.settle_all(key, ops, how != "pipeline" or len(ops) == 1, since)
            return None
        known = time.monotonic()
        self.commands += len(ops)
        refused = [reply for reply in [*replies, info] if self.refused(reply)]
        self.broken = self.broken or any(str(reply).startswith(NOT_NOW) for reply in refused)
        if isinstance(info, RedisError) and "no such key" not in str(info):
            self.settle_all(key, ops, how != "pipeline" or len(ops) == 1, since)
            return None
        done = [(op, r) for op, r in zip(ops, replies) if not isinstance(r, RedisError)]
        facts = numbers(info)
        if key.may_vanish and self.vanished(key, done, facts, since, known):
            return replies
        for n, (op, reply) in enumerate(done):
            op.apply(key, reply, since + n * 1e-7, known + n * 1e-7)
        if not key.settle(facts, since, known + len(done) * 1e-7):
            try:
                reconcile(self.redis, key, since=since)
                key.problems.append(f"after {[op.command for op, _ in done]} Redis has {facts}")
            except Gone:
                self.redis = None
                self.settle_all(None, (), True, since)
        return replies

    def send(self, key, ops, how):
        commands = [op.command for op in ops]
        facts = ("XINFO", "STREAM", key.stream)
        if how == "multi":
            replies = self.redis.calls([("MULTI",), *commands, ("EXEC",), facts])
            *_, done, info = replies
            return ([done] * len(ops) if isinstance(done, RedisError) else done), info
        if how == "lua":
            script = ("EVAL", SCRIPT, 2, key.stream, key.aside, json.dumps(commands))
            done, info = self.redis.calls([script, facts])
            return ([done] * len(ops) if isinstance(done, RedisError) else done), info
        *done, info = self.redis.calls([*commands, facts])
        return done, info

    def refused(self, reply):
        if not isinstance(reply, RedisError) or "no such key" in str(reply):
            return False
        word = str(reply)[:60] if str(reply).startswith("ERR") else str(reply).split(" ")[0]
        self.refusals[word] = self.refusals.get(word, 0) + 1
        return True

    def vanished(self, key, done, facts, since, known):
        """Of a key that may be gone at any moment: whether it is, and what the commands made then."""
        adds = sum(isinstance(op, Add) and reply is not None for op, reply in done)
        before = key.current.added if key.current else 0
        if facts is None:
            for op, reply in done:
                op.apply(key, reply, since, known)
            if key.current is not None:
                key.put(key.stream, None, self.looked(key), known)
        elif key.current is not None and facts[0] == adds != before + adds:
            key.put(key.stream, None, self.looked(key), known)
            for op, reply in done:
                op.apply(key, reply, since, known)
            key.settle(facts, since, known)
        else:
            return False
        return True

    def looked(self, key):
        """When it was certain for the last time what stands under the key."""
        latest = key.timeline[-1][0]
        return max(latest, key.current.facts[-1].since) if key.current and key.current.facts else latest

    # Redis comes and goes

    def ready(self, since=None):
        """Whether there is a connection to the Redis of now; makes one, and looks at all keys. What is
        pending was begun at `since`."""
        if self.world.scene.embedded:
            return False
        if self.redis and self.generation == self.world.generation and not self.broken:
            return True
        if self.redis:
            self.redis.close()
        self.redis = None
        return self.settle_all(None, (), True, since or time.monotonic())

    def settle_all(self, key, pending, atomic, since):
        """Goes on until it knows of all its keys what Redis has; `pending` was done to `key`, or not."""
        since = min(since, self.world.doubt_since or since)
        # A Redis that stood still does what it was sent after its sender has gone, and has looked.
        if since - self.unsure < UNSURE_SECONDS:
            since = min(since, self.unsure)
        while True:
            try:
                self.generation = self.world.generation
                self.redis = Redis(self.world.port)
                if self.redis.call("ROLE")[0] != "master":
                    raise Gone("no master")
                # All of them over one connection: the next one may be to a Redis with another past.
                for k, _, _ in self.work:
                    mine = pending if k is key else self.pending.get(k, ())
                    reconcile(self.redis, k, mine, atomic or k is not key, since)
                if self.generation == self.world.generation:
                    self.broken, self.settled = False, self.generation
                    return True
            except (Gone, RedisError):
                self.redis = None
                if self.world.abandoned.is_set():
                    return False
                time.sleep(0.03)

    def state(self, *commands):
        """Commands on other keys than streams: whether all were done."""
        if not self.ready():
            return False
        try:
            replies = self.redis.calls(commands)
        except Gone:
            self.redis = None
            return False
        if refused := any([self.refused(reply) for reply in replies]):
            self.broken = True
        return not refused

    def read(self, *command):
        """The reply of a command that writes nothing, however long it takes."""
        while self.ready():
            try:
                return self.redis.call(*command)
            except (Gone, RedisError):
                self.redis = None
        return None

    # What is written

    def entry(self, key, **more):
        """An entry nobody has written yet, and its fields."""
        self.written += 1
        token = f"{key.thread}:{self.written}"
        members = {"update_type": "progress", "message": token, "n": self.written, **more}
        fields = []
        for name, value in members.items():
            fields += name, value if isinstance(value, str) else json.dumps(value)
        return Entry(token, members), fields

    def status(self, key, status):
        """The state of the `thread` layout, without an entry."""
        keys = support.keys(key.thread)
        created = ("HSET", keys["metadata"], "created_at", support.now())
        self.set_status(key, keys["status"], status, created)

    def set_status(self, key, name, status, *more):
        """A status in the key of that name; whether that is known or not, it may be there from now on."""
        key.statuses.append((time.monotonic(), status))
        self.state(("SET", name, status), *more)

    def nothing(self, key):
        self.step(key, [Other("PING")])
