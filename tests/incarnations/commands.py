"""The commands that publishers do to a key, and what each makes of the truth.

`command` are its arguments; `apply(key, reply, since, known)` is what it did, if it was done.
"""

from streams import Entry, Incarnation, pair, written


class Add:
    """XADD; `trim` as its arguments say it, such as ("MAXLEN", "=", 10)."""

    def __init__(self, name, entry, fields, id="*", trim=(), make=True):
        self.name, self.entry, self.trim, self.id = name, entry, trim, id
        options = ([] if make else ["NOMKSTREAM"]) + list(trim)
        self.command = ["XADD", name, *options, id, *fields]

    def apply(self, key, reply, since, known):
        if reply is None:
            return
        entry, stream_id = self.entry, pair(reply)
        if key.trial or (entry.id is not None and entry.id != stream_id):
            entry = Entry(entry.token, entry.members)
            entry.id = stream_id
        if not key.trial:  # The same publication may come to be again, where Redis forgot it.
            self.entry = entry
            key.register(entry, stream_id, since, known)
        stream = key.stream_of(self.name, since, known, "XADD")
        stream.add(entry, since, known)
        if self.trim:
            trim(stream, *self.trim, since, known)


class Trim:
    def __init__(self, name, *rule):
        self.name, self.rule = name, rule
        self.command = ["XTRIM", name, *rule]

    def apply(self, key, reply, since, known):
        if stream := key.now[self.name]:
            trim(stream, *self.rule, since, known)


def trim(stream, strategy, exactness, threshold, since, known):
    if exactness != "=":
        return  # How far it went is seen in the facts afterwards.
    if strategy == "MAXLEN":
        stream.trim(lambda _: len(stream.kept) > threshold, since, known)
    else:
        bound = pair(threshold)
        stream.trim(lambda oldest: oldest < bound, since, known)
    stream.note(since, known)


class Withdraw:
    def __init__(self, name, ids):
        self.name, self.ids = name, ids
        self.command = ["XDEL", name, *map(written, ids)]

    def apply(self, key, reply, since, known):
        if stream := key.now[self.name]:
            stream.withdraw(self.ids, since, known)
            stream.note(since, known)


class Delete:
    def __init__(self, name, word="DEL"):
        self.name = name
        self.command = [word, name]

    def apply(self, key, reply, since, known):
        if key.now[self.name] is not None:
            key.put(self.name, None, since, known)


class Rename:
    def __init__(self, source, target):
        self.source, self.target = source, target
        self.command = ["RENAME", source, target]

    def apply(self, key, reply, since, known):
        moved = key.now[self.source]
        key.put(self.source, None, since, known)
        key.put(self.target, moved, since, known)


class Copy:
    def __init__(self, source, target):
        self.source, self.target = source, target
        self.command = ["COPY", source, target, "REPLACE"]

    def apply(self, key, reply, since, known):
        if reply:
            copied = key.now[self.source].copy(since, known, self.command[0])
            key.put(self.target, copied, since, known)


class Restore(Copy):
    """A copy by DUMP and RESTORE."""

    SCRIPT = "redis.call('RESTORE', KEYS[2], 0, redis.call('DUMP', KEYS[1]), 'REPLACE') return 1"

    def __init__(self, source, target):
        super().__init__(source, target)
        self.command = ["EVAL", self.SCRIPT, 2, source, target]


class SetId:
    def __init__(self, name, last):
        self.name, self.last = name, last
        self.command = ["XSETID", name, written(last)]

    def apply(self, key, reply, since, known):
        stream = key.now[self.name]
        stream.last = self.last
        stream.moved.append((since, known))
        stream.note(since, known)


class Make:
    """A stream without entries, as a consumer group makes it."""

    def __init__(self, name):
        self.name = name
        self.command = ["XGROUP", "CREATE", name, "readers", "$", "MKSTREAM"]

    def apply(self, key, reply, since, known):
        if key.now[self.name] is None:
            stream = key.stream_of(self.name, since, known, "MKSTREAM")
            stream.moved.append((since, known))
            stream.note(since, known)


class Expire:
    def __init__(self, name, milliseconds):
        self.name = name
        self.command = ["PEXPIRE", name, milliseconds]

    def apply(self, key, reply, since, known):
        # The publisher then looks whether it is gone after each command.
        key.may_vanish = key.may_vanish or self.command[2] < 3_600_000


class Other:
    """A command that does nothing to the stream."""

    def __init__(self, *command):
        self.command = command

    def apply(self, key, reply, since, known):
        pass
