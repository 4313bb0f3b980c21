"""What a publisher does when it does not know what Redis did: it looks, and finds the story that fits.

After an answer that was lost, a failover, a restart, an eviction, an expiry.
"""

import time

from commands import Add
from resp import Gone, RedisError
from streams import TRIMMED, WITHDRAWN, Entry, Incarnation, pair


def numbers(info):
    """The facts of a reply to XINFO STREAM; none where there is no stream."""
    if isinstance(info, RedisError):
        if "no such key" in str(info):
            return None
        raise info
    by_name = dict(zip(info[::2], info[1::2]))
    first = by_name["first-entry"]
    return (
        by_name["entries-added"],
        by_name["length"],
        pair(first[0]) if first else (0, 0),
        pair(by_name["last-generated-id"]),
        pair(by_name["max-deleted-entry-id"]),
    )


def look(redis, key):
    """The stream's facts and its entries as (id, token), of one moment; what is aside goes."""
    commands = [("MULTI",), ("XINFO", "STREAM", key.stream), ("XRANGE", key.stream, "-", "+"), ("EXEC",)]
    found = redis.calls(commands)[-1]
    if isinstance(found, RedisError) or found is None:
        raise Gone(str(found))
    if isinstance(found[1], RedisError):
        raise Gone(str(found[1]))
    redis.call("DEL", key.aside)
    return numbers(found[0]), [(pair(i), token(fields)) for i, fields in found[1]]


def token(fields):
    return dict(zip(fields[::2], fields[1::2])).get("message")


def reconcile(redis, key, pending=(), atomic=True, since=0.0):
    """`pending`: commands of which no answer came. Afterwards the truth is what Redis has."""
    before = key.current
    facts, entries = look(redis, key)
    now = time.monotonic()
    ids = {name: stream_id for stream_id, name in entries}
    for count in [0, len(pending)] if atomic else range(len(pending) + 1):
        done = pending[:count]
        if fits(key, done, ids, facts, entries, since, now):
            for n, op in enumerate(done):
                op.apply(key, answer(key, op, ids), since, now + n * 1e-7)
            assert key.settle(facts, since, now)
            break
    else:
        take_over(key, pending, facts, entries, since, now)
    for op in pending:
        if isinstance(op, Add) and op.entry.id is None:
            # It may have been lost several times over, as it comes again until it is answered.
            _, homes = key.lost.setdefault(op.entry.token, (op.entry, []))
            # Of a key that may go at any moment, what was there may have gone before.
            homes.append(None if key.may_vanish else before)
        elif isinstance(op, Add):
            key.lost.pop(op.entry.token, None)
    if key.now[key.aside] is not None:
        key.put(key.aside, None, since, now)


def answer(key, op, ids):
    """What Redis must have answered, where that matters.

    The id of an entry that is gone again is not known: it gets one between its neighbours.
    """
    if not isinstance(op, Add):
        return 1
    if stream_id := ids.get(op.entry.token):
        return stream_id
    if op.id != "*":
        return pair(op.id)
    stream = key.now[op.name]
    if not key.trial:
        key.guessed[op.entry.token] = op.entry
    return (stream.last[0], stream.last[1] + 1e-3) if stream else (0, 1e-3)


def fits(key, done, ids, facts, entries, since, now):
    """Whether these commands make what is there of what was there."""
    trial = key.rehearsal()
    try:
        for op in done:
            op.apply(trial, answer(trial, op, ids), since, now)
    except (AttributeError, TypeError):
        return False  # It would have been refused.
    if not trial.settle(facts, since, now):
        return False
    kept = list(trial.current.kept) if trial.current else []
    return kept == [stream_id for stream_id, _ in entries]


def take_over(key, pending, facts, entries, since, now):
    """Redis has another history than the one we were told: what is there is the truth from now on."""
    if facts is None:
        if key.current is not None:
            key.put(key.stream, None, since, now)
        return
    waiting = {op.entry.token: op for op in pending if isinstance(op, Add)}
    found = []
    for stream_id, name in entries:
        entry = key.find(stream_id, name)
        if entry is None and name in waiting:
            op = waiting[name]
            if op.entry.id is not None:
                op.entry = Entry(name, op.entry.members)
            entry = op.entry
            key.register(entry, stream_id, since, now)
        if entry is None:
            key.problems.append(f"{name} {stream_id} is in Redis, and nobody wrote it")
            return
        found.append(entry)
    other = Incarnation(since, now, "older", parent=origin(key, found, facts))
    other.added, _, _, other.last, other.deleted = facts
    inherit(other, found, since, now)
    other.note(since, now)
    key.put(key.stream, other, since, now)


def origin(key, found, facts):
    """The incarnation that it goes back to."""
    known = [row[2] for row in reversed(key.timeline) if row[2] is not None]
    for entry in reversed(found):
        if entry.homes:
            return entry.homes[-1]
    return next((stream for stream in known if any(f[2:] == facts for f in stream.facts)), None)


def inherit(other, found, since, now):
    """The entries that it has, and those that it had: what is known of these is of its origin."""
    kept = {entry.id: entry for entry in found}
    past = other.parent.entries if other.parent else []
    mine = {e.id: e for e in past if e.id <= other.last}
    mine.update(kept)
    for stream_id in sorted(mine):
        entry = mine[stream_id]
        other.take(entry)
        if stream_id in kept:
            other.kept[stream_id] = entry
            continue
        gone = other.parent.removed.get(stream_id)
        first = next(iter(kept), None)
        how = TRIMMED if first is None or stream_id < first else WITHDRAWN
        other.removed[stream_id] = gone or (how, since, now)
