"""The judge finds what is put into the frames of a run without faults, and what histories owe.

The first half spoils recorded frames; the second plays small histories by hand.
"""

import asyncio
import copy
import json

import pytest

from commands import Add, Copy, Delete, Make, Rename, SetId, Trim, Withdraw
from habits import Habit, Short
from judge import Judge, Verdict
from publishers import Update
from run import run
from scenes import Scene
from seam import judge_seam
from streams import Entry, Key, written
from viewers import Frame, Opened, Viewer


@pytest.fixture(scope="module")
def recorded():
    """A healthy run of two seconds."""
    scene = Scene("recorded", [(Habit, 2), (lambda: Short(1000, "~"), 1)])
    report = asyncio.run(run(scene, 1, 2))
    assert not report.verdict.violations and not report.problems, report.text()
    return report


def kinds(report, spoil):
    """The kinds of violations after `spoil(log, n)` at an entry in the middle of a log."""
    viewer = next(v for v in report.viewers if v.name.startswith("who stays"))
    spoiled = copy.copy(viewer)
    spoiled.log = list(viewer.log)
    places = [n for n, (_, e) in enumerate(spoiled.log) if getattr(e, "kind", None) == "entry"]
    spoil(spoiled.log, places[len(places) // 2])
    judge = Judge(report.keys)
    judge.judge(spoiled)
    return set(judge.verdict.kinds)


def changed(log, at, **members):
    now, frame = log[at]
    log[at] = (now, Frame(json.dumps({**frame.members, **members}).encode()))


def made(log, n, **members):
    return (log[n][0], Frame(json.dumps({"thread_id": log[n][1].thread, **members}).encode()))


def drop(log, n):
    del log[n]


def drop_and_mend_the_chain(log, n):
    changed(log, n + 1, prev_stream_id=log[n][1].previous)
    del log[n]


def repeat(log, n):
    log.insert(n, log[n])


def repeat_and_mend_the_chain(log, n):
    log.insert(n + 1, log[n])
    changed(log, n + 1, prev_stream_id=log[n][1].id)


def swap(log, n):
    log[n], log[n + 1] = log[n + 1], log[n]


def gap_without_cause(log, n):
    position = log[n - 1][1].id
    gap = dict(update_type="gap", requested=position, first=position, last=position, reason="trimmed")
    log[n:n] = [made(log, n, **gap), made(log, n, update_type="initial_state", stream_id=position, updates=[])]


def gap_without_state(log, n):
    position = log[n - 1][1].id
    log.insert(n, made(log, n, update_type="gap", requested=position, first=position, last=position, reason="reset"))


def second_state(log, n):
    log.insert(n, made(log, n, update_type="initial_state", stream_id=log[n - 1][1].id, updates=[]))


def state_too_far(log, n):
    first = next(i for i, (_, e) in enumerate(log) if getattr(e, "kind", None) == "initial_state")
    changed(log, first, stream_id=log[n][1].id)
    changed(log, first + 1, prev_stream_id=log[n][1].id)


def state_where_nothing_was(log, n):
    first = next(i for i, (_, e) in enumerate(log) if getattr(e, "kind", None) == "initial_state")
    changed(log, first, stream_id="77-7")
    changed(log, first + 1, prev_stream_id="77-7")


def other_content(log, n):
    changed(log, n, n=-1)


def another_message(log, n):
    changed(log, n, message="nobody's")


def end_missing(log, n):
    del log[n:]


def last_missing(log, n):
    entries = [i for i, (_, e) in enumerate(log) if getattr(e, "kind", None) == "entry"]
    del log[entries[-1] :]


@pytest.mark.parametrize(
    "spoil, found",
    [
        (drop, "chain"), (drop, "skipped a kept entry"), (drop_and_mend_the_chain, "skipped a kept entry"),
        (repeat, "order"), (repeat_and_mend_the_chain, "order"), (swap, "order"), (swap, "skipped a kept entry"),
        (gap_without_cause, "false gap"), (gap_without_state, "sequence"), (second_state, "sequence"),
        (state_too_far, "position"), (state_where_nothing_was, "position"),
        (other_content, "content"), (another_message, "content"), (end_missing, "never came"), (last_missing, "never came"),
    ],
)
def test_what_is_spoiled_is_found(recorded, spoil, found):
    assert found in kinds(recorded, spoil)


def test_nothing_is_found_where_nothing_was_spoiled(recorded):
    assert not kinds(recorded, lambda log, n: None)


# Histories by hand


class History:
    """Commands and what a viewer gets, one after the other, a second apart."""

    def __init__(self):
        self.key, self.now = Key("t", "s"), 100.0
        self.viewer, self.position = Viewer("somebody", "t"), None
        self.entries = {}

    def do(self, *ops):
        self.now += 1
        for op in ops:
            op.apply(self.key, getattr(op, "reply", 1), self.now, self.now + 0.1)
        return self

    def add(self, n, name="s", trim=()):
        """An entry `n-0`, not yet done."""
        entry = Entry(f"m{n} {len(self.entries)}", {"message": f"m{n} {len(self.entries)}"})
        self.entries[n] = entry
        op = Add(name, entry, [], trim=trim)
        op.reply = f"{n}-0"
        return op

    def adds(self, *numbers):
        return self.do(*(self.add(n) for n in numbers))

    def note(self, **members):
        self.now += 1
        frame = Frame(json.dumps({"thread_id": "t", **members}).encode())
        self.viewer.take(frame, self.now)
        if frame.id:
            self.position = frame.id
        return self

    def open(self, since=None):
        self.now += 1
        self.viewer.begin("server", since, self.now)
        if since:
            self.position = since if "-" in since else f"{since}-0"
        return self

    def state(self, at):
        return self.note(update_type="initial_state", stream_id=f"{at}-0")

    def get(self, *numbers):
        for n in numbers:
            message = self.entries[n].token
            self.note(message=message, stream_id=f"{n}-0", prev_stream_id=self.position, timestamp="")
        return self

    def gap(self, reason="trimmed"):
        return self.note(update_type="gap", requested=self.position, first="0-0", last="0-0", reason=reason)

    def caught_up(self, at):
        return self.note(update_type="caught_up", stream_id=f"{at}-0")

    def verdict(self, disturbed=False):
        judge = Judge({"t": self.key}, lambda *_: disturbed)
        judge.judge(self.viewer)
        return judge.verdict


def one_stop():
    return History().adds(1, 2, 3).open().state(3)


def gone():
    return one_stop().adds(4, 5, 6).do(Trim("s", "MAXLEN", "=", 1))


def replaced(*numbers):
    history = one_stop().do(Delete("s"))
    return history.adds(*numbers)


def one_came_and_went(*numbers):
    history = History().adds(1).open().state(1)
    history.do(history.add(2), Withdraw("s", [(2, 0)])).adds(3).get(3).do(Delete("s"))
    return history.adds(*numbers)


HISTORIES = {
    # name: (history, kinds of violations)
    "append": (lambda: one_stop().adds(4).get(4), set()),
    "trimmed and told": (lambda: gone().gap().state(6), set()),
    "trimmed and silent": (lambda: gone().get(6), {"skipped a trimmed entry"}),
    "told twice": (lambda: gone().gap().state(6).gap().state(6), {"false gap"}),
    "told, and then again what was there": (lambda: one_stop().adds(4, 5).get(4, 5).gap().state(4).get(5), {"false gap", "backwards"}),
    "trimmed behind the viewer": (lambda: one_stop().adds(4).get(4).do(Trim("s", "MAXLEN", "=", 1)).adds(5).get(5), set()),
    "trimmed behind the viewer, and told": (
        lambda: one_stop().adds(4).get(4).do(Trim("s", "MAXLEN", "=", 0)).adds(5).gap().state(5), {"false gap"},
    ),
    "withdrawn": (lambda: one_stop().adds(4, 5, 6).do(Withdraw("s", [(5, 0)])).get(4, 6), set()),
    "withdrawn after it was passed over": (
        lambda: one_stop().adds(4, 5, 6).get(4, 6).do(Withdraw("s", [(5, 0)])), {"skipped a kept entry"},
    ),
    "withdrawn and told": (
        lambda: one_stop().adds(4, 5, 6).do(Withdraw("s", [(5, 0)])).gap("deleted").state(6), {"false gap"},
    ),
    "two withdrawn, nothing before them": (
        lambda: one_stop().adds(4, 5, 6).do(Withdraw("s", [(n, 0) for n in (1, 2, 3, 4, 5)])).gap().state(6), set(),
    ),
    "replaced and told": (lambda: replaced(7, 8).gap("reset").state(8), set()),
    "replaced and silent": (lambda: replaced(7, 8).get(7, 8), {"silent reset"}),
    "replaced and silent, as facts allow": (lambda: replaced(7, 8, 9, 10).do(Trim("s", "MAXLEN", "=", 1)).get(10), set()),
    "replaced with lower ids, silent": (lambda: replaced(1, 2).get(1, 2), {"silent reset"}),
    "replaced, told, and what is after P missing": (
        lambda: replaced(7).gap("reset").state(7).adds(8, 9).get(9), {"skipped a kept entry"},
    ),
    "deleted and told": (lambda: one_stop().do(Delete("s")).gap("reset").state(0), set()),
    "renamed over": (lambda: one_stop().do(
        Copy("s", "s:aside"), Rename("s:aside", "s")).adds(4).get(4), set()),
    "a copy goes on, and is trimmed": (lambda: one_stop().do(
        Copy("s", "s:aside"), Rename("s:aside", "s")).adds(4, 5).do(Trim("s", "MAXLEN", "=", 1)).gap().state(5), set()),
    "replaced where one came and went unseen before, as facts allow": (
        lambda: one_came_and_went(4, 5, 6).do(Trim("s", "MAXLEN", "=", 1)).get(6), set(),
    ),
    "replaced where one came and went unseen before, silent": (
        lambda: one_came_and_went(4, 5).get(4, 5), {"silent reset"},
    ),
    "an older state comes back": (lambda: one_stop().do(Copy("s", "s:aside")).adds(4, 5).get(4, 5).do(
        Rename("s:aside", "s")).adds(6).get(6), {"silent reset"}),
    "an older state comes back, told": (lambda: one_stop().do(Copy("s", "s:aside")).adds(4, 5).get(4, 5).do(
        Rename("s:aside", "s")).adds(6).gap("reset").state(6), set()),
    "what an older state lost was never seen": (lambda: one_stop().do(Copy("s", "s:aside")).adds(4, 5).do(
        Rename("s:aside", "s")).adds(6).get(6), set()),
    "a viewer behind what an older state lost may be told": (lambda: one_stop().do(Copy("s", "s:aside")).adds(4, 5).get(4, 5).do(
        Rename("s:aside", "s")).adds(6).open("3-0").gap("reset").state(6), set()),
    "comes and goes unseen, told": (lambda: History().open().state(0).adds(1).do(Delete("s")).adds(2).gap("reset").state(2), set()),
    "no end of catching up": (lambda: one_stop().adds(4).open("3-0").get(4), {"caught_up"}),
    "moved on": (lambda: one_stop().do(SetId("s", (9, 0))).gap("reset").state(9), set()),
    "moved on to where the next stream has an entry": (
        lambda: one_stop().do(SetId("s", (5, 0))).adds(6).do(Delete("s")).adds(5)
        .gap("reset").state(5).get(6).gap("reset").state(5), set(),
    ),
    "begins": (lambda: History().open().state(0).adds(1, 2).get(1, 2), set()),
    "begins with a hole": (lambda: History().open().state(0).adds(1, 2).do(Trim("s", "MAXLEN", "=", 1)).get(2), {"skipped a trimmed entry"}),
    "a group makes it": (lambda: History().open().state(0).do(Make("s")).adds(1).get(1), set()),
    "comes back": (lambda: one_stop().adds(4).open("3-0").get(4).caught_up(4), set()),
    "comes back, and misses one": (lambda: one_stop().adds(4, 5).open("3-0").get(5).caught_up(5), {"skipped a kept entry"}),
    "comes back, its position is gone": (
        lambda: one_stop().adds(4).get(4).do(Trim("s", "MAXLEN", "=", 0)).open("4-0").adds(5).gap().state(5), set(),
    ),
    "everything there is": (lambda: one_stop().adds(4).do(Trim("s", "MAXLEN", "=", 2)).open("0").get(3, 4).caught_up(4), set()),
    "caught up elsewhere": (lambda: one_stop().open("3-0").caught_up(2).adds(4), {"caught_up", "never came"}),
}


@pytest.mark.parametrize("name", HISTORIES)
def test_histories(name):
    make, expected = HISTORIES[name]
    verdict = make().verdict()
    assert set(verdict.kinds) == expected, verdict.violations


def test_a_disturbed_server_may_doubt():
    history = one_stop().adds(4).get(4).do(Trim("s", "MAXLEN", "=", 0)).adds(5).gap().state(5)
    assert not history.verdict(disturbed=True).violations


@pytest.mark.parametrize("order", (1, -1))
def test_what_nobody_answered_and_redis_lost_is_known_by_who_was_given_it(order):
    """One viewer has it, the other one lags; whoever is judged first."""
    history = one_stop().do(Copy("s", "s:aside"))
    op, before = history.add(4), history.key.current
    history.key.lost[op.entry.token] = (op.entry, [before])
    history.get(4).do(Rename("s:aside", "s")).adds(5).gap("reset").state(5)
    first, history.viewer, history.position = history.viewer, Viewer("who lags", "t"), None
    history.viewer.log = first.log[:2]
    history.position = "3-0"
    history.gap("reset").state(5)
    viewers, judge = [first, history.viewer][::order], Judge({"t": history.key})
    judge.hear(viewers)
    for viewer in viewers:
        judge.judge(viewer)
    assert not judge.verdict.violations


def test_what_came_and_was_evicted_before_its_publisher_looked_stands_in_no_stream_that_is_known():
    history = one_stop().open("0")
    op = history.add(4)
    history.key.lost[op.entry.token] = (op.entry, [None])
    history.get(4).caught_up(4).do(Delete("s")).adds(5).get(5)
    judge = Judge({"t": history.key})
    judge.hear([history.viewer])
    judge.judge(history.viewer)
    assert not judge.verdict.violations and judge.verdict.silences["nobody knows what Redis did"] == 1


# The seam


def worker(history, *steps):
    """An agent: ("push", n), ("entry", n) or ("wait", seconds), one after the other."""
    history.key.layout = "thread"
    updates = {update.token: update for update in history.key.updates}
    for what, n in steps:
        if what == "wait":
            history.now += n
        elif what == "push":
            history.now += 0.1
            updates[f"u{n}"] = Update(f"u{n}", history.now, history.now + 0.01)
            history.key.updates.append(updates[f"u{n}"])
        else:
            history.now += 0.1
            entry = history.entries[n] = Entry(f"u{n}", {"message": f"u{n}"})
            op = Add("s", entry, [])
            op.apply(history.key, f"{n}-0", history.now, history.now + 0.01)
            updates[f"u{n}"].entry = entry
    return history


def shows(history, at, *numbers, total=None):
    updates = [{"message": f"u{n}"} for n in numbers]
    total = len(updates) if total is None else total
    return history.note(update_type="initial_state", stream_id=f"{at}-0", updates=updates, updates_total=total)


def tells(history, n):
    return history.note(update_type="thread_update", message=f"u{n}", derived=True, stream_id=history.position)


def begun(*steps):
    return worker(History(), ("push", 1), ("entry", 1), *steps).open()


def later(history, seconds=10):
    """Nothing more for a while."""
    history.now += seconds
    return history.note(update_type="status_change", derived=True, stream_id=history.position, status="x")


SEAMS = {
    "shown": (lambda: later(shows(begun(), 1, 1)), set()),
    "in neither": (lambda: later(shows(begun(("push", 2), ("entry", 2)), 2, 2)), {"seam: missing"}),
    "shown and live": (
        lambda: worker(shows(worker(begun(), ("push", 2)), 1, 1, 2), ("entry", 2)).get(2), {"seam: twice"},
    ),
    "live": (lambda: worker(shows(begun(("push", 2)), 1, 1), ("entry", 2)).get(2), set()),
    "its worker died, told": (lambda: later(tells(shows(begun(("push", 2)), 1, 1), 2)), set()),
    "its worker died, never told": (lambda: later(shows(begun(("push", 2)), 1, 1)), {"seam: never told"}),
    "its worker died, told twice": (lambda: tells(tells(shows(begun(("push", 2)), 1, 1), 2), 2), {"seam: twice"}),
    "told, and its entry much later": (
        lambda: worker(tells(shows(begun(("push", 2)), 1, 1), 2), ("wait", 3), ("entry", 2)).get(2), set(),
    ),
    "told, and its entry soon": (
        lambda: tells(worker(shows(worker(begun(), ("push", 2)), 1, 1), ("entry", 2)), 2).get(2), {"seam: twice"},
    ),
    "out of order": (lambda: shows(begun(("push", 2), ("entry", 2)), 2, 2, 1), {"seam: order"}),
    "nobody's": (lambda: shows(begun(), 1, 9), {"seam: unknown"}),
}


@pytest.mark.parametrize("name", SEAMS)
def test_seams(name):
    make, expected = SEAMS[name]
    history, verdict = make(), Verdict()
    judge_seam(history.key, history.viewer, verdict, history.now)
    assert set(verdict.kinds) == expected, verdict.violations
