"""Why a viewer may be told a gap, and why another stream may come without a word.

Causes are what became of the streams; doubts and exceptions are those that the rules name.
"""

import bisect
import itertools

import rules
from rules import ZERO
from streams import TRIMMED, WITHDRAWN

# How many facts of each side of a replacement are tried.
FACTS_TRIED = 60
# What is deleted by name so soon after it came may be seen by no read.
UNSEEN_SECONDS = 1.0


def tried(facts):
    """The first ones and the last ones: a slow viewer gets late what was read early."""
    return facts if len(facts) <= 2 * FACTS_TRIED else facts[:FACTS_TRIED] + facts[-FACTS_TRIED:]


class Reasons:
    """Of a viewer's course: needs `judge`, `viewer`, `key`, `server`, `anchor` and `resuming`."""

    # Silences

    def doubtful(self, since, now):
        """Whether counts prove nothing: another connection, of the viewer or of the server."""
        return self.resuming or self.judge.lags or self.viewer.slow or self.judge.disturbed(self.server, since, now)

    def unseen(self, anchor, home, entry, now):
        """The named exceptions by which nobody could see that this is another stream: each with the
        position behind which its entries are then owed."""
        # It was read while this entry was there.
        after = [f for f in home.facts if f.since <= now and home.there(entry.id, f)]
        after = after[: 10 * FACTS_TRIED]
        if anchor.id == ZERO or self.doubtful(anchor.since, now):
            for facts in after:
                if rules.since(anchor.id, facts, home.there(anchor.id, facts)) == "complete":
                    yield "an id that was given out twice", anchor.id
                    break
        positions = set()
        for place in anchor.places:
            before = [rules.none(0, 0)]
            if place is not None:
                before = self.read_to(place, anchor, now)
            for old, facts in itertools.product(before, after):
                for position, ordinal in self.known(anchor, place, old, facts):
                    if position not in positions and self.fits(position, ordinal, old, facts, home):
                        positions.add(position)
                        yield "facts that fit by chance", position
            for ordinal in self.too_low(place, anchor):
                # Of what it knew before, only what the entries told of themselves.
                if any(self.fits(anchor.id, ordinal, rules.none(0, 0), facts, home) for facts in after):
                    yield "facts that fit by chance", anchor.id
                    break

    def too_low(self, place, anchor):
        """Ordinals of a reader who did not see what came and went before its position, nor read the facts
        since."""
        if place is None:
            return range(0)
        rank = bisect.bisect_right(place.ids, anchor.id)
        unseen = sum(e.id <= anchor.id for e in self.brief(place))
        return range(max(1, rank - unseen), rank)

    def read_to(self, place, anchor, now):
        """The facts of reads after which the reader may have stood there."""
        facts = [f for f in place.facts if f.since <= now and f.last >= anchor.id]
        if not (self.judge.lags or self.viewer.slow):
            # Whatever was behind it was given as well.
            facts = [f for f in facts[: 10 * FACTS_TRIED] if not place.new(anchor.id, f)]
        return tried(facts)

    def known(self, anchor, place, old, facts):
        """What a reader may know after a read with the old facts: its position and its ordinal."""
        yield old.last, old.added
        if place is not None and (self.judge.lags or self.viewer.slow):
            # It read a part only: the ordinal is that of the entry, or lower. Of those, the lowest fits
            # where any does, or the one that is just what was removed.
            rank = bisect.bisect_right(place.ids, anchor.id)
            yield from ((anchor.id, o) for o in {1, facts.removed, facts.removed - 1} if 1 <= o <= rank)

    def fits(self, position, ordinal, old, facts, home):
        new = home.new(position, facts)
        # Where many streams have news, a read brings three entries of each, and proves less.
        reads = {new, min(new, 1 if self.judge.lags or self.viewer.slow else 3)}
        return any(rules.follow(position, ordinal, old, facts, n) == "complete" for n in reads)

    # Gaps

    def cause(self, now):
        """Why this viewer may be told that something is missing."""
        anchor = self.anchor
        rows = [row for row in self.key.changes(anchor.since, now) if row[1] > 0]
        if anchor.places == [None]:
            begun = [n for n, row in enumerate(rows) if row[2] is not None]
            if begun and rows[begun[0] + 1 :]:
                return "another stream"
        elif any(not self.goes_on(anchor, row[2], now) for row in rows):
            return "another stream"
        streams = anchor.places if anchor.places != [None] else [row[2] for row in rows]
        # A copy goes on with what it is a copy of.
        streams = {id(s): s for s in [*streams, *(row[2] for row in rows)] if s is not None}.values()
        if any(self.trimmed(stream, anchor, now) for stream in streams):
            return "trimmed unread"
        if self.key.blurs(anchor.since - 1, now):
            return "nobody knows what Redis did"
        for stream in streams:
            if why := self.doubt(stream, anchor, now):
                return why
        if any(row[2] and row[2].how == "older" and row[0] <= now <= row[1] for row in self.key.timeline):
            # What was written to the one before, and never answered, is known to nobody.
            return "nobody knows what Redis did"
        return None

    def goes_on(self, anchor, stream, now):
        """Whether a viewer who stands there may go on in what now stands under the key."""
        if stream is None or not self.related(anchor, stream) or anchor.id > stream.last:
            return stream is None and None in anchor.places and len(anchor.places) == 1
        # What others of its streams had behind this position is lost here.
        others = [place for place in anchor.places if place is not None and place is not stream]
        return not any(e.since <= now and not stream.has(e) for other in others for e in other.between(anchor.id, None))

    @staticmethod
    def related(anchor, stream):
        """Whether the position is one of this stream: a copy of where it was has it too."""
        if stream in anchor.places:
            return True
        if stream.facts[0].last < anchor.id or anchor.entry is not None and not stream.has(anchor.entry):
            return False
        while stream := stream.parent:
            if stream in anchor.places:
                return True
        return False

    def trimmed(self, stream, anchor, now):
        """Whether something after the position was trimmed: the first that nobody withdrew tells."""
        for entry in stream.after(anchor.id):
            fate = stream.fate(entry.id)
            if fate is None or fate[0] == TRIMMED:
                return fate is not None and fate[1] <= now
        return False

    def doubt(self, stream, anchor, now):
        if any(since <= now and known >= anchor.since for since, known in stream.moved):
            return "XSETID"
        facts = stream.facts_within(anchor.since, now)
        withdrawn = []
        for entry in stream.after(anchor.id):
            if entry.since > now:
                break
            fate = stream.fate(entry.id)
            if fate and fate[0] == WITHDRAWN and fate[1] <= now:
                withdrawn.append(fate[2])
        for f in facts:
            if f.floor > anchor.id and sum(known <= f.known for known in withdrawn) >= 2:
                return "two withdrawn, nothing before them left"
        if any(f.floor > anchor.id for f in facts) and self.came_and_went(stream, anchor):
            return "one deleted by name unseen, nothing before it left"
        if self.doubtful(anchor.since, now):
            for f in facts:
                if rules.since(anchor.id, f, stream.there(anchor.id, f)) != "complete":
                    return "a position that is gone, and no counts to believe"
        return None

    @staticmethod
    def withdrawn(stream):
        """What was deleted by name, with what became of it."""
        fates = ((e, stream.fate(e.id)) for e in stream.entries)
        return [(e, fate) for e, fate in fates if fate and fate[0] == WITHDRAWN]

    @staticmethod
    def brief(stream):
        """What was deleted by name so soon that no read may have seen it."""
        return [e for e, (_, _, known) in Reasons.withdrawn(stream) if known - e.since <= UNSEEN_SECONDS]

    @staticmethod
    def came_and_went(stream, anchor):
        """Whether one that was deleted by name, before the position, may have come and gone unseen, so that
        the reader's count of what was added is too low: the first of its stream, between two reads that ask
        for the length alone; or any, where a read brought a part of what there was."""
        withdrawn = Reasons.withdrawn(stream)
        for entry, (_, _, known) in sorted(withdrawn, key=lambda row: row[1][1]):
            if known - entry.since > UNSEEN_SECONDS:
                break
            if entry.id <= anchor.id:
                return True
        lately = [e for e in Reasons.brief(stream) if e.id <= anchor.id]
        return any(e.since > anchor.since - UNSEEN_SECONDS for e in lately)
