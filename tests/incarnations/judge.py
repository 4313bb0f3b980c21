"""The verdict: what viewers got, against what became of the streams.

Reads the logs of viewers and the truth when both stand still, and changes neither. What it finds is
a violation (with its kind), a gap with its cause, or a silence that is one of the named exceptions.
"""

import collections

from reasons import Reasons
from rules import ZERO
from streams import TRIMMED, pair, written
from viewers import Closed, Opened

# Ends of connections that need no reason of ours.
USUAL_ENDS = {1001, 1005, 1006, 1012, 1013, "refused", "unsubscribed", "Redis is out of reach, try again later"}


class Anchor:
    """Where a viewer stands: at an entry, or at a bare position of these incarnations.

    `since` is when the position came to be: nothing before that is news to this viewer.
    """

    __slots__ = ("entry", "everything", "id", "places", "since")

    def __init__(self, stream_id, entry, places, since, everything=False):
        self.id, self.entry, self.places, self.since = stream_id, entry, places, since
        self.everything = everything

    @staticmethod
    def at(entry):
        return Anchor(entry.id, entry, entry.homes, entry.since)


class Verdict:
    def __init__(self):
        self.violations = []
        self.deliveries = self.attaches = self.derived = 0
        self.gaps, self.silences, self.ends = (collections.Counter() for _ in range(3))

    def add(self, other):
        self.violations += other.violations
        self.deliveries += other.deliveries
        self.attaches += other.attaches
        self.derived += other.derived
        for mine, theirs in ((self.gaps, other.gaps), (self.silences, other.silences), (self.ends, other.ends)):
            mine.update(theirs)

    @property
    def kinds(self):
        return collections.Counter(kind for kind, _, _ in self.violations)


class Judge:
    """`keys`: the truth by thread. `disturbed(server, since, known)`: whether that server may have
    another connection to Redis, or another Redis, since then. `lags`: whether any viewer may.
    `evicts`: Redis takes keys away whenever it likes."""

    def __init__(self, keys, disturbed=lambda *_: False, lags=False, ends=(), evicts=False):
        self.keys, self.disturbed, self.lags, self.evicts = keys, disturbed, lags, evicts
        self.usual_ends = USUAL_ENDS | set(ends)
        self.verdict = Verdict()

    def hear(self, viewers):
        """What was sent, never answered and lost is known by those who were given it. Before anybody is
        judged: those who were not may be told, too."""
        for viewer in viewers:
            key = self.keys[viewer.thread]
            frames = viewer.log if key.lost else ()
            for now, frame in frames:
                if getattr(frame, "kind", None) == "entry":
                    key.heard(pair(frame.id), frame.members.get("message"), now)

    def judge(self, viewer, ends=True):
        """`ends`: whether this viewer has to have everything now."""
        _Course(self, viewer).walk(ends)


def weight(found):
    """How much there is to tell: first of all, what is kept and did not come."""
    return sum(kind != "skipped a trimmed entry" for kind, _ in found), len(found)


class _Course(Reasons):
    """One viewer's way through its log."""

    def __init__(self, judge, viewer):
        self.judge, self.viewer, self.verdict = judge, viewer, judge.verdict
        self.key = judge.keys[viewer.thread]
        self.position, self.anchor = None, None
        self.expected, self.resuming = (), False
        self.server, self.opened = None, 0.0
        self.gap_at = None

    def violate(self, kind, text, now):
        self.verdict.violations.append((kind, f"{self.viewer.name} of {self.key.thread} on {self.server}", f"{text} at {now:.3f}"))

    def walk(self, ends):
        entries = 0
        for now, event in self.viewer.log:
            kind = getattr(event, "kind", None)
            if kind == "entry":
                entries += 1
                if event.previous != self.position:
                    self.violate("chain", f"after {self.position} came {event}", now)
                if kind not in self.expected:
                    self.violate("sequence", f"{event} where {self.expected} was expected", now)
                anchor = self.anchor
                # What comes next in the same stream, as mostly.
                if event.entry is not None and anchor and event.entry[1] is anchor.entry and anchor.entry:
                    self.anchor = event.entry[2]
                else:
                    self.entry(event, now)
                self.position = event.id
            elif isinstance(event, Opened):
                self.open(event, now)
            elif isinstance(event, Closed):
                self.verdict.ends[event.code] += 1
                if event.code not in self.judge.usual_ends:
                    self.violate("end", f"closed with {event.code}", now)
                self.expected = ()
            else:
                self.other(kind, event, now)
        self.verdict.deliveries += entries
        if ends:
            self.end()

    # What begins

    def open(self, event, now):
        self.server, self.opened = event.server, now
        self.resuming = event.since is not None
        if not self.resuming:
            self.position, self.anchor, self.expected = None, None, ("initial_state",)
            return
        self.expected = ("entry", "caught_up", "gap")
        if self.anchor is None or event.since != self.position:
            self.position = event.since if "-" in event.since else f"{event.since}-0"
            stream_id = pair(event.since)
            places = self.places(stream_id, now, 0.0) or [None]
            self.anchor = Anchor(stream_id, None, places, 0.0, everything="-" not in event.since)

    def other(self, kind, frame, now):
        if kind == "error":
            return
        if kind is None or frame.thread is None:
            return
        if kind == "derived":
            self.verdict.derived += 1
            if frame.id != self.position:
                self.violate("derived", f"{frame} at {self.position}", now)
            return
        if kind not in self.expected:
            self.violate("sequence", f"{frame} where {self.expected} was expected", now)
        if kind == "initial_state":
            self.state(frame, now)
        elif kind == "caught_up":
            self.caught_up(frame, now)
        elif kind == "gap":
            self.gap(frame, now)
        else:
            self.violate("sequence", f"{frame} is nothing that is known", now)

    def state(self, frame, now):
        self.verdict.attaches += 1
        self.expected, self.resuming = ("entry", "gap"), False
        stream_id = pair(frame.id)
        places = self.places(stream_id, now, max(self.opened, self.anchor.since if self.anchor else 0.0))
        if not places and self.key.lost:
            # The last of what was sent, never answered, and forgotten.
            self.verdict.silences["nobody knows what Redis did"] += 1
        elif not places:
            self.violate("position", f"{frame}: no stream ever ended there", now)
        before, told = self.anchor, self.gap_at
        self.gap_at = None
        back = before and before.entry and stream_id < before.id and all(p in before.places for p in places)
        # What Redis forgot may have stood under the same key as what it kept of it.
        forgot = any(row[2] and row[2].how == "older" for row in self.key.timeline)
        # What Redis evicted, nobody but Redis knows since when.
        evicted = self.judge.evicts and stream_id == ZERO
        if told and back and not forgot and not evicted:
            self.violate("backwards", f"after {self.position} a state at {frame.id}", now)
        # A stream may have ended there without an entry, and another have one of that id.
        entries = [p and p.at(stream_id) for p in places] or [None]
        entry = entries[0] if all(e is entries[0] for e in entries) else None
        self.anchor = Anchor(stream_id, entry, places, self.came_to_be(stream_id, places, now))
        self.position = frame.id

    def places(self, stream_id, now, opened):
        """The incarnations that may have ended there; None stands for no stream."""
        found, loose = [], []
        rows = self.key.timeline
        for n, (since, _, stream) in enumerate(rows):
            if since > now:
                break
            until = rows[n + 1][1] if n + 1 < len(rows) else float("inf")
            ended = [(since, until)] if stream is None and stream_id == ZERO else []
            if stream is not None:
                ended = [(a, min(b, until)) for a, b in stream.ended_at(stream_id)]
            fits = any(a <= now for a, _ in ended)
            if fits and stream not in loose:
                loose.append(stream)
            if any(a <= now and b >= opened for a, b in ended) and stream not in found:
                found.append(stream)
        return found or loose

    def came_to_be(self, stream_id, places, now):
        times = [a for p in places if p for a, _ in p.ended_at(stream_id) if a <= now]
        if not times or None in places:
            rows = [row[0] for row in self.key.timeline if row[2] is None and row[0] <= now]
            times += [row for row in rows if row <= self.opened or len(rows) == 1] or rows
        return min(times, default=self.opened)

    def caught_up(self, frame, now):
        self.expected, self.resuming = ("entry", "gap"), False
        if frame.id == self.position:
            return
        anchor = self.anchor
        if anchor.everything and anchor.entry is None:
            stream_id = pair(frame.id)
            places = self.places(stream_id, now, self.opened)
            if places:
                self.anchor = Anchor(stream_id, None, places, self.came_to_be(stream_id, places, now))
                self.position = frame.id
                return
        self.violate("caught_up", f"{frame} at {self.position}", now)
        self.position = frame.id

    # Entries

    def entry(self, frame, now):
        entry = self.resolve(frame, now)
        if entry is None:
            return
        anchor = self.anchor
        if anchor is None:
            self.violate("sequence", f"{frame} before any state", now)
        else:
            if entry.id <= anchor.id and not self.crossed(anchor, entry):
                self.violate("order", f"{frame} after {self.position}", now)
            else:
                self.step(anchor, entry, frame, now)
        self.anchor = frame.entry[2] if frame.entry else Anchor.at(entry)

    def crossed(self, anchor, entry):
        return not any(self.related(anchor, home) for home in entry.homes)

    def resolve(self, frame, now):
        """What was published as this frame; compares it once for all who got it."""
        if frame.entry is not None:
            return frame.entry[0]
        token, stream_id = frame.members.get("message"), pair(frame.id)
        entry = self.key.find(stream_id, token)
        if entry is None and token in self.key.guessed:
            entry = self.key.guessed[token]
            self.key.correct(entry, stream_id)
        if entry is None or entry.id != stream_id:
            if token in self.key.unsure:
                # Its record was evicted or lost before it came again, and it was written once more. Where
                # nothing is lost, it is counted.
                self.verdict.silences["nobody knows what Redis did"] += 1
            else:
                self.violate("content", f"{frame} was never published", now)
            return None
        for name, value in entry.members.items():
            if frame.members.get(name) != value:
                self.violate("content", f"{name} of {frame} is not {str(value)[:100]}", now)
        more = frame.members.keys() - entry.members.keys() - {"stream_id", "prev_stream_id", "thread_id", "timestamp"}
        if more or "timestamp" not in frame.members:
            self.violate("content", f"{frame} has {more}", now)
        before = None
        if len(entry.homes) == 1:
            home = entry.homes[0]
            between = home.between(ZERO, entry.id)
            before = between[-1] if between else None
        frame.entry = (entry, before, Anchor.at(entry))
        return entry

    def step(self, anchor, entry, frame, now):
        """From where the viewer stands to the next entry it got."""
        if anchor.everything and anchor.entry is None:
            if entry.homes:
                found = [self.skipped(home, ZERO, entry.id, now, trims=True) for home in entry.homes]
                self.tell(min(found, key=len), frame, now)
            return
        shared = [home for home in entry.homes if self.related(anchor, home)]
        if shared:
            found = [self.skipped(home, anchor.id, entry.id, now) for home in shared]
            self.tell(min(found, key=len), frame, now)
            return
        self.cross(anchor, entry, frame, now)

    def skipped(self, home, low, high, now, trims=False):
        """What this viewer should have got between the two: (kind, entry)."""
        found = []
        for entry in home.between(low, high):
            fate = home.fate(entry.id)
            if fate is None or fate[1] > now:
                found.append(("skipped a kept entry", entry))
            elif fate[0] == TRIMMED and not trims:
                found.append(("skipped a trimmed entry", entry))
        return found

    def tell(self, found, frame, now):
        if found:
            kinds = collections.Counter(kind for kind, _ in found)
            if self.key.blurs(now - 30, now):
                self.verdict.silences["nobody knows what Redis did"] += 1
                return
            kind = min(kinds)
            self.violate(kind, f"{dict(kinds)}, the first {found[0][1]}, before {frame}", now)

    def cross(self, anchor, entry, frame, now):
        """The next entry is of another stream, and no gap was told."""
        # What was evicted is found out late, and in which steps it began anew, not at all.
        begins = anchor.id == ZERO or any(home.how == "older" for home in entry.homes)
        evicted = self.judge.evicts and begins
        if self.key.blurs(anchor.since - 1, now) or not entry.homes or not anchor.places or evicted:
            self.verdict.silences["nobody knows what Redis did"] += 1
            return
        began = anchor.id == ZERO and None in anchor.places
        best = None
        for home in entry.homes:
            for why, low in self.unseen(anchor, home, entry, now):
                found = self.skipped(home, low if entry.id > low else ZERO, entry.id, now)
                # A copy may have lost what is still in what it is a copy of.
                if best is None or weight(found) < weight(best[1]):
                    best = (why, found)
                if not found:
                    break
            if began and best:
                others = {id(s) for _, _, s in self.key.changes(anchor.since, now) if s is not None} - {id(home)}
                best = ("streams that came and went unseen" if others else "begins", best[1])
        if best is None:
            kind = "silent begin" if began else "silent reset"
            self.violate(kind, f"from {anchor.entry or written(anchor.id)} of {anchor.places} to {frame} of {entry.homes}", now)
            return
        why, found = best
        if why != "begins":
            self.verdict.silences[why] += 1
            found = [row for row in found if row[0] != "skipped a trimmed entry"]
        self.tell(found, frame, now)

    # Gaps

    def gap(self, frame, now):
        self.expected, self.gap_at = ("initial_state",), now
        if self.position is not None and pair(frame.members["requested"]) != pair(self.position):
            self.violate("gap", f"{frame} at {self.position}", now)
        if self.anchor is None:
            self.violate("gap", f"{frame} before any state", now)
            return
        cause = self.cause(now)
        if cause is None and self.judge.evicts and frame.members["last"] == "0-0":
            # Nobody but Redis knows since when: what was written next may have been what it took.
            cause = "evicted"
        self.verdict.gaps[cause or "no cause", frame.members["reason"]] += 1
        if cause is None:
            anchor = self.anchor
            facts = [f for p in anchor.places if p for f in p.facts if f.since <= now][-3:]
            self.violate("false gap", f"{frame} at {anchor.entry or self.position} of {anchor.places}, {facts}", now)

    # The end

    def end(self):
        if self.resuming and self.expected:
            self.violate("caught_up", f"none since {self.opened:.3f}", self.opened)
        current = self.key.current
        newest = next(reversed(current.kept)) if current and current.kept else None
        if newest is None or (self.position and pair(self.position) in (newest, current.last)):
            return
        missing = [] if self.anchor is None else current.between(self.anchor.id, None)
        self.violate("never came", f"stays at {self.position}, the end is {newest}; {len(missing)} missing {missing[:2]}", 0.0)
