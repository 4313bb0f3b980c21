"""The truth: what became of each stream, command by command, as its only publisher knows it.

A key is written by one thread. Each *incarnation* is one stream that stood under the key: it has its
entries, when each was trimmed or withdrawn, and its facts after each command. A copy, a rename, an
older state that comes back share the entries of what they came from, so an entry that a viewer got
says by itself which incarnations it may stand in.

Nothing here knows viewers. Times are of `time.monotonic`: a command was done between two of them.
"""

import bisect
from collections import OrderedDict

from rules import ZERO, Facts

TRIMMED, WITHDRAWN = "trimmed", "withdrawn"
# So long before somebody was given it, something may have been written.
HEARD_SECONDS = 30


def pair(stream_id):
    """A stream id as two numbers."""
    if isinstance(stream_id, tuple):
        return stream_id
    ms, _, seq = stream_id.partition("-")
    return int(ms), int(seq or 0)


def written(stream_id):
    return f"{stream_id[0]}-{stream_id[1]}"


class Entry:
    """What was written once. `members` are what its frame must have beside what the server adds."""

    __slots__ = ("homes", "id", "known", "members", "since", "token")

    def __init__(self, token, members):
        self.token, self.members = token, members
        self.id, self.since, self.known = None, None, None
        self.homes = []

    def __repr__(self):
        return f"<{self.token} {self.id and written(self.id)}>"


class Incarnation:
    def __init__(self, since, known, how, parent=None, trial=False):
        self.since, self.known, self.how, self.parent = since, known, how, parent
        # Made only to see what commands would have made of it.
        self.trial = trial
        self.entries, self.ids = [], []
        self.kept = OrderedDict()
        # Id -> (what became of it, since, known).
        self.removed = {}
        self.added, self.last, self.deleted = 0, ZERO, ZERO
        self.facts = []
        self.ends = None
        # When XSETID or MKSTREAM made what no count tells of.
        self.moved = []

    def __repr__(self):
        return f"<incarnation {self.how} {len(self.entries)} entries, {len(self.kept)} kept>"

    @property
    def numbers(self):
        first = next(iter(self.kept)) if self.kept else ZERO
        return self.added, len(self.kept), first, self.last, self.deleted

    def note(self, since, known):
        self.facts.append(Facts(since, known, *self.numbers))

    def add(self, entry, since, known):
        self.take(entry)
        self.kept[entry.id] = entry
        self.added += 1
        self.last = entry.id
        self.note(since, known)

    def take(self, entry):
        self.entries.append(entry)
        self.ids.append(entry.id)
        if not self.trial:
            entry.homes.append(self)

    def trim(self, beyond, since, known):
        """The oldest go as long as `beyond(the oldest id)`."""
        while self.kept and beyond(next(iter(self.kept))):
            gone, _ = self.kept.popitem(last=False)
            self.removed[gone] = (TRIMMED, since, known)

    def withdraw(self, ids, since, known):
        for gone in ids:
            if self.kept.pop(gone, None):
                self.removed[gone] = (WITHDRAWN, since, known)
                self.deleted = max(self.deleted, gone)

    def copy(self, since, known, how, trial=False):
        """The same entries and facts under another name, or at a later time."""
        other = Incarnation(since, known, how, parent=self, trial=trial or self.trial)
        for entry in self.entries:
            other.take(entry)
        other.kept = OrderedDict(self.kept)
        other.removed = dict(self.removed)
        other.added, other.last, other.deleted = self.added, self.last, self.deleted
        other.note(since, known)
        return other

    def has(self, entry):
        """Whether this very entry was ever in it."""
        at = bisect.bisect_left(self.ids, entry.id)
        return any(e is entry for e in self.entries[at : at + 2])

    def at(self, stream_id):
        """Its entry of that id, if it ever had one."""
        at = bisect.bisect_left(self.ids, stream_id)
        return self.entries[at] if self.ids[at : at + 1] == [stream_id] else None

    def between(self, low, high):
        """Its entries with ids between the two, both excluded; no `high`: all behind `low`."""
        start = bisect.bisect_right(self.ids, low)
        stop = bisect.bisect_left(self.ids, high) if high else len(self.ids)
        return self.entries[start:stop]

    def after(self, low):
        """Its entries behind an id, one by one."""
        for at in range(bisect.bisect_right(self.ids, low), len(self.entries)):
            yield self.entries[at]

    def facts_within(self, since, now):
        """The facts that it had at some moment in between."""
        start = bisect.bisect_left(self.facts, since, key=lambda f: f.known)
        stop = bisect.bisect_right(self.facts, now, key=lambda f: f.since)
        return self.facts[max(0, start) : stop]

    def fate(self, stream_id):
        return self.removed.get(stream_id)

    def there(self, stream_id, facts):
        """Whether an entry with this id stood in it when it had these facts."""
        at = bisect.bisect_left(self.ids, stream_id)
        if at == len(self.ids) or self.ids[at] != stream_id or stream_id > facts.last:
            return False
        gone = self.removed.get(stream_id)
        return gone is None or gone[2] > facts.known

    def ended_at(self, stream_id):
        """When its end was there, by its last generated id or its newest entry: (since, until).

        For the judge, when all is over."""
        if self.ends is None:
            self.ends = {}
            for n, f in enumerate(self.facts):
                until = self.facts[n + 1].known if n + 1 < len(self.facts) else float("inf")
                for end in {f.last, self.newest(f) or f.last}:
                    self.ends.setdefault(end, []).append((f.since, until))
        return self.ends.get(stream_id, [])

    def newest(self, facts):
        """The newest entry that stood in it when it had these facts; only where others were after it."""
        if facts.deleted != facts.last:
            return None
        at = bisect.bisect_right(self.ids, facts.last) - 1
        while at >= 0 and not self.there(self.ids[at], facts):
            at -= 1
        return self.ids[at] if at >= 0 else ZERO

    def new(self, stream_id, facts):
        """How many entries stood in it behind this id when it had these facts."""
        return sum(self.there(e.id, facts) for e in self.between(stream_id, None) if e.id <= facts.last)


class Key:
    """One task's stream, with a name aside for what is renamed and copied.

    `timeline`: what stood under the key, and since when: (since, known, incarnation or None).
    """

    trial = False

    def __init__(self, thread, stream):
        self.thread, self.stream, self.aside = thread, stream, f"{stream}:aside"
        self.now = {self.stream: None, self.aside: None}
        # The same in the database that SWAPDB swaps with.
        self.elsewhere = dict(self.now)
        self.timeline = [(0.0, 0.0, None)]
        self.entries = {}
        # Token -> (entry, where it may have been): sent, never answered, and not in Redis afterwards.
        self.lost = {}
        # Token -> an entry that was gone again before anybody knew its id.
        self.guessed = {}
        # Tokens of publications of which a server did not know whether they were written.
        self.unsure = set()
        # Where nobody knows what Redis did: (since, known). Judged leniently, and counted.
        self.blurred = []
        self.problems = []
        self.may_vanish = False
        # What an agent has put into its list, in order; in which layout.
        self.updates, self.layout = [], None
        # The statuses that its key was given: (since, status).
        self.statuses = []
        self.era = 0

    @property
    def current(self):
        return self.now[self.stream]

    def put(self, name, incarnation, since, known):
        """Another stream, or none, stands under the name from now on."""
        self.now[name] = incarnation
        if name == self.stream:
            self.timeline.append((since, known, incarnation))

    def stream_of(self, name, since, known, how):
        """What stands under the name, made where there is nothing."""
        if self.now[name] is None:
            self.put(name, Incarnation(since, known, how, trial=self.trial), since, known)
        return self.now[name]

    def swap(self, since, known):
        self.now, self.elsewhere = self.elsewhere, self.now
        self.timeline.append((since, known, self.current))

    def emptied(self, since, known):
        for name in self.now:
            self.put(name, None, since, known)
            self.elsewhere[name] = None

    def register(self, entry, stream_id, since, known):
        entry.id, entry.since, entry.known = stream_id, since, known
        self.entries[stream_id, entry.token] = entry

    def correct(self, entry, stream_id):
        """The id of an entry for which one was guessed."""
        for home in entry.homes:
            home.ids[home.entries.index(entry)] = stream_id
            home.removed[stream_id] = home.removed.pop(entry.id)
        del self.entries[entry.id, entry.token], self.guessed[entry.token]
        self.register(entry, stream_id, entry.since, entry.known)

    def heard(self, stream_id, token, now):
        """Somebody was given this: one of those that were lost now has its id."""
        entry, homes = self.lost.get(token, (None, ()))
        if entry is None or entry.id is not None:
            return
        self.register(entry, stream_id, now - HEARD_SECONDS, now)
        for home in dict.fromkeys(homes):
            if home and (not home.ids or home.ids[-1] < stream_id):
                home.take(entry)

    def find(self, stream_id, token):
        return self.entries.get((stream_id, token))

    def settle(self, numbers, since, known):
        """Compares with what Redis says of the stream, and takes over how far it was trimmed.

        `numbers` as in `Incarnation.numbers`, none where there is no stream. False: that is not
        what our commands have made of it.
        """
        current = self.current
        if current is None or numbers is None:
            return current is None and numbers is None
        first = numbers[2]
        if current.numbers != numbers and (numbers[0], *numbers[3:]) == (current.added, current.last, current.deleted):
            beyond = (lambda oldest: oldest < first) if numbers[1] else (lambda oldest: True)
            current.trim(beyond, since, known)
        if current.numbers != numbers:
            return False
        if current.facts[-1][2:] != current.numbers:
            current.note(since, known)
        return True

    def changes(self, since, known):
        """What came to stand under the key at some moment between the two."""
        return [row for row in self.timeline if row[1] >= since and row[0] <= known]

    def rehearsal(self):
        """A key like this one, on which commands can be tried."""
        other = Key(self.thread, self.stream)
        other.trial = True
        other.now = {n: s and s.copy(s.since, s.known, s.how, trial=True) for n, s in self.now.items()}
        return other

    def blurs(self, since, known):
        return any(b >= since and a <= known for a, b in self.blurred)
