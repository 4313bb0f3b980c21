"""What publishers write, and how: each habit is a kind of stream."""

import json
import time

import support
from commands import Add, Copy, Delete, Expire, Make, Other, Rename, Restore, SetId, Trim, Withdraw
from publishers import Update
from streams import pair, written

FORMS = ("pipeline", "pipeline", "multi", "lua")
TEXTS = ("x" * 40, "é ü 漢字 \U0001f680", "line\nline\ttab \"quoted\" \\", "x" * 3000)
# An entry of an agent comes at once, a moment later, or when nobody waits for it any more.
LATE_SECONDS = (0.3, 1.2, 2.8)


class Habit:
    """Adds only."""

    quiet = False

    def renew(self, publisher, key):
        """The state that is there in the first place, and is made again where it was lost."""
        publisher.status(key, "in_progress")

    def step(self, publisher, key):
        publisher.step(key, self.adds(publisher, key, publisher.rng.randint(1, 5)), publisher.rng.choice(FORMS))

    def end(self, publisher, key):
        """The last word: a status, and an entry that every viewer has to end with."""
        while not publisher.world.abandoned.is_set():
            entry, fields = publisher.entry(key, status="done")
            publisher.status(key, "done")
            replies = publisher.step(key, [Other("PERSIST", key.stream), Add(key.stream, entry, fields)])
            if replies and key.current and entry.id in key.current.kept:
                key.may_vanish = False
                return
            time.sleep(0.05)

    def add(self, publisher, key, name=None, **options):
        rng, more = publisher.rng, {}
        if rng.random() < 0.1:
            more["text"] = rng.choice(TEXTS)
        if rng.random() < 0.1:
            more["metadata"] = {"of": publisher.written, "list": [1, None, "ü"]}
        entry, fields = publisher.entry(key, **more)
        return Add(name or key.stream, entry, fields, **options)

    def adds(self, publisher, key, count, **options):
        return [self.add(publisher, key, **options) for _ in range(count)]


class Quiet(Habit):
    """Little happens."""

    quiet = True

    def step(self, publisher, key):
        publisher.step(key, self.adds(publisher, key, 1))


class Short(Habit):
    """MAXLEN on each XADD."""

    def __init__(self, length, exactness="="):
        self.rule = ("MAXLEN", exactness, length)

    def step(self, publisher, key):
        count = publisher.rng.choice((1, 1, 2, 3, 6))
        if self.rule[1] == "~":  # How far it goes is seen afterwards only: one at a time.
            publisher.step(key, self.adds(publisher, key, 1, trim=self.rule))
        else:
            publisher.step(key, self.adds(publisher, key, count, trim=self.rule), publisher.rng.choice(FORMS))


class Trimmer(Habit):
    """XTRIM now and then, by length and by id."""

    def step(self, publisher, key):
        rng = publisher.rng
        ops = self.adds(publisher, key, rng.randint(1, 4))
        if key.current and key.current.kept and rng.random() < 0.4:
            oldest = list(key.current.kept)
            rules = [("MAXLEN", "=", rng.choice((0, 1, 2, 10, 30))), ("MAXLEN", "~", 100)]
            rules.append(("MINID", "=", written(rng.choice(oldest))))
            ops.append(Trim(key.stream, *rng.choice(rules)))
        publisher.step(key, ops, rng.choice(FORMS))


class Withdrawer(Habit):
    """XDEL: the newest, one, two, unread ones, all of them; the stream keeps its head or not."""

    def __init__(self, length=None):
        self.length = length

    def step(self, publisher, key):
        rng = publisher.rng
        ops = self.adds(publisher, key, rng.randint(1, 3))
        kept = list(key.current.kept) if key.current else []
        kind = rng.random()
        if kind < 0.15:  # Added and deleted in one step, others around it.
            own = self.own(publisher, key, rng.randint(2, 4))
            gone = rng.sample([pair(op.id) for op in own], rng.randint(1, 2))
            publisher.step(key, [*own, Withdraw(key.stream, gone)], rng.choice(("multi", "lua")))
            return
        if kept and kind < 0.5:
            choice = rng.choice((kept[-1:], kept[:1], kept[-2:], [rng.choice(kept)], [rng.choice(kept[-5:])]))
            ops.append(Withdraw(key.stream, choice))
        elif kept and kind < 0.52:
            ops = [Withdraw(key.stream, kept)]
        if self.length:
            ops.append(Trim(key.stream, "MAXLEN", "=", self.length))
        publisher.step(key, ops, rng.choice(FORMS))

    def own(self, publisher, key, count):
        """Entries with ids of our own."""
        ids = own_ids(key.current, count)
        ops = self.adds(publisher, key, count)
        for op, stream_id in zip(ops, ids):
            op.id = written(stream_id)
            op.command[op.command.index("*")] = op.id
        return ops


def own_ids(stream, count, low=False):
    last = stream.last if stream else (0, 0)
    start = last[0] + 1 if low else max(last[0] + 1, int(time.time() * 1000))
    return [(start + n, n % 2) for n in range(count)]


class Replacer(Habit):
    """The stream is another one, in every way that Redis has."""

    def __init__(self, expires=True, calm=0.7):
        self.expires, self.calm = expires, calm

    def step(self, publisher, key):
        rng = publisher.rng
        if key.may_vanish or rng.random() < self.calm:
            count = 1 if key.may_vanish else rng.randint(1, 4)
            publisher.step(key, self.adds(publisher, key, count), "pipeline" if count == 1 else rng.choice(FORMS))
            if not publisher.world.evicts and not key.current:
                key.may_vanish = False
            return
        ways = [self.delete, self.again, self.rename_over, self.rename_away, self.copied, self.made, self.moved]
        if self.expires:
            ways.append(self.expire)
        rng.choice(ways)(publisher, key)

    def fresh(self, publisher, key, name, count):
        """Entries for a stream that begins: with ids of the clock, or far lower ones."""
        ops = self.adds(publisher, key, count, name=name)
        if publisher.rng.random() < 0.3:
            for op, stream_id in zip(ops, own_ids(None, count, low=True)):
                op.command[op.command.index("*")] = written(stream_id)
        return ops

    def delete(self, publisher, key):
        publisher.step(key, [Delete(key.stream, publisher.rng.choice(("DEL", "UNLINK")))])
        if publisher.rng.random() < 0.5:
            time.sleep(publisher.rng.random() * 0.05)

    def again(self, publisher, key):
        """Deleted and begun anew."""
        count = publisher.rng.randint(1, 6)
        ops = [Delete(key.stream), *self.fresh(publisher, key, key.stream, count)]
        if publisher.rng.random() < 0.3:
            ops.append(Trim(key.stream, "MAXLEN", "=", 1))
        publisher.step(key, ops, publisher.rng.choice(FORMS))

    def rename_over(self, publisher, key):
        count = publisher.rng.randint(1, 6)
        ops = [*self.fresh(publisher, key, key.aside, count), Rename(key.aside, key.stream)]
        publisher.step(key, [Delete(key.aside), *ops], publisher.rng.choice(FORMS))

    def rename_away(self, publisher, key):
        if not key.current:
            return
        publisher.step(key, [Rename(key.stream, key.aside)])
        if publisher.rng.random() < 0.5:
            return
        publisher.step(key, self.adds(publisher, key, publisher.rng.randint(0, 2)))
        if key.now[key.aside]:
            publisher.step(key, [Rename(key.aside, key.stream)])

    def copied(self, publisher, key):
        """An older state comes back."""
        if not key.current:
            return
        way = publisher.rng.choice((Copy, Restore))
        publisher.step(key, [way(key.stream, key.aside)])
        publisher.step(key, self.adds(publisher, key, publisher.rng.randint(0, 3)))
        if key.now[key.aside]:
            publisher.step(key, [Rename(key.aside, key.stream)])

    def made(self, publisher, key):
        ops = [Delete(key.stream), Make(key.stream), *self.adds(publisher, key, publisher.rng.randint(0, 2))]
        publisher.step(key, ops, publisher.rng.choice(FORMS))

    def moved(self, publisher, key):
        stream = key.current
        if stream and stream.last[0] < 1 << 45:
            publisher.step(key, [SetId(key.stream, (stream.last[0] + 50, 3))])

    def expire(self, publisher, key):
        if key.current:
            milliseconds = publisher.rng.randint(1, 300)
            publisher.step(key, [Expire(key.stream, milliseconds)])


class Wild(Habit):
    """All of them in turns."""

    def __init__(self, expires=True):
        self.habits = [
            Habit(), Short(1), Short(3), Short(10), Trimmer(), Withdrawer(), Withdrawer(3), Replacer(expires, 0.5),
        ]

    def step(self, publisher, key):
        habit = self.habits[-1] if key.may_vanish else publisher.rng.choice(self.habits)
        habit.step(publisher, key)


class Agent(Habit):
    """State first, then the entry, then the expiry; in one of the two layouts.

    `orphans`: the share of updates whose worker dies before their entry.
    """

    def __init__(self, layout="thread", orphans=0.02, late=0.03):
        self.layout, self.orphans, self.late = layout, orphans, late
        self.owed = []

    def renew(self, publisher, key):
        key.layout = self.layout
        super().renew(publisher, key)
        if self.layout == "task":
            task = f"task-{key.thread}"
            publisher.state(
                ("DEL", support.keys(key.thread)["status"]),
                ("HSET", f"sre:task:{task}:metadata", "created_at", support.now(), "thread_id", key.thread),
                ("ZADD", support.keys(key.thread)["tasks"], time.time(), task),
            )
            publisher.set_status(key, self.status_key(key), "in_progress")

    def status_key(self, key):
        return f"sre:task:task-{key.thread}:status" if self.layout == "task" else support.keys(key.thread)["status"]

    def list_key(self, key):
        return f"sre:task:task-{key.thread}:updates" if self.layout == "task" else support.keys(key.thread)["updates"]

    def step(self, publisher, key):
        rng, now = publisher.rng, time.monotonic()
        if rng.random() < 0.05:
            # As workers of today do, to its key only.
            publisher.set_status(key, self.status_key(key), rng.choice(("in_progress", "awaiting_approval")))
        due = [row for row in self.owed if row[0] <= now]
        self.owed = [row for row in self.owed if row[0] > now]
        for _, update, entry, fields in due:
            self.publish(publisher, key, update, entry, fields)
        update, entry, fields = self.push(publisher, key)
        if update is None or rng.random() < self.orphans:
            return
        if rng.random() < self.late:
            self.owed.append((now + rng.choice(LATE_SECONDS), update, entry, fields))
            return
        if rng.random() < 0.3:
            time.sleep(rng.random() * 0.02)
        self.publish(publisher, key, update, entry, fields)

    def push(self, publisher, key):
        timestamp = support.now()
        task = {"task_id": f"task-{key.thread}"} if self.layout == "task" else {}
        entry, fields = publisher.entry(
            key, thread_id=key.thread, timestamp=timestamp, type="progress", metadata={"n": publisher.written}, **task
        )
        kind = "progress" if self.layout == "task" else "thread_update"
        entry.members["update_type"] = fields[fields.index("update_type") + 1] = kind
        item = json.dumps(
            {"timestamp": timestamp, "message": entry.token, "update_type": "progress", "metadata": entry.members["metadata"]}
        )
        name, since = self.list_key(key), time.monotonic()
        if self.layout == "task":
            done = publisher.state(("RPUSH", name, item))
        else:
            done = publisher.state(("LPUSH", name, item), ("LTRIM", name, 0, 99))
        if not done and not any(entry.token in row for row in publisher.read("LRANGE", name, 0, -1) or ()):
            return None, None, None
        update = Update(entry.token, since, time.monotonic())
        key.updates.append(update)
        return update, entry, fields

    def publish(self, publisher, key, update, entry, fields):
        ops = [Add(key.stream, entry, fields), Expire(key.stream, 86_400_000)]
        publisher.step(key, ops)
        if entry.id is not None:
            update.entry = entry

    def end(self, publisher, key):
        for _, update, entry, fields in self.owed:
            self.publish(publisher, key, update, entry, fields)
        if self.layout == "task":
            publisher.set_status(key, self.status_key(key), "done")
        super().end(publisher, key)
