"""What a reader of a stream can know to have missed: the two tables of the judge, as pure functions.

The oracle asks them only whether a silence or a gap is one of the named exceptions: whether what
Redis says could have looked complete, or had to look doubtful, at some moment in question.
"""

from typing import NamedTuple

ZERO = (0, 0)


class Facts(NamedTuple):
    """A stream as it stood between two commands of its publisher. Ids are pairs of numbers.

    It came to be at a moment between `since` and `known`, which are times of our own clock.
    """

    since: float
    known: float
    added: int
    length: int
    first: tuple
    last: tuple
    deleted: tuple

    @property
    def removed(self):
        return self.added - self.length

    @property
    def floor(self):
        return self.first if self.length else (self.last[0], self.last[1] + 1)


def none(since, known):
    """No stream: everything is 0."""
    return Facts(since, known, 0, 0, ZERO, ZERO, ZERO)


def is_none(facts):
    return facts.last == ZERO and facts.added == 0 and facts.length == 0


def follow(position, ordinal, before, facts, new):
    """One reader over one connection: at `position`, with `ordinal` entries behind it.

    `before` are the facts of its last read; `new` says how many entries it reads now.
    """
    if is_none(facts):
        return "complete" if position == ZERO and ordinal == 0 else "reset"
    moved = facts.deleted != before.deleted and facts.deleted < max(before.deleted, before.floor)
    if (
        facts.added < before.added
        or facts.removed < before.removed
        or facts.last < before.last
        or facts.floor < before.floor
        or (facts.added == before.added and facts.last != before.last)
        or moved
    ):
        return "reset"
    withdrawn = 1 if facts.deleted > position else 0
    if facts.floor <= position:
        return "reset" if facts.added - ordinal < new + withdrawn else "complete"
    if facts.removed < ordinal + withdrawn:
        return "reset"
    return "complete" if facts.removed == ordinal + withdrawn else "trimmed"


def since(position, facts, there):
    """Who comes with a position and nothing else; `there`: whether its entry is in the stream."""
    if there or facts.last == position:
        return "complete"
    removed, deleted = facts.removed, facts.deleted
    if position == ZERO:
        return "complete" if removed == 0 or (removed == 1 and deleted > ZERO) else "trimmed"
    if facts.floor > position:
        if removed == 1 and deleted == position:
            return "complete"
        return "reset" if removed == 0 or (removed == 1 and deleted > position) else "trimmed"
    if deleted == position:
        return "complete"
    return "deleted" if deleted > position else "reset"
