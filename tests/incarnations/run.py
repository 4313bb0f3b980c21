"""One run: a scene, a seed, so many seconds; then calm, everybody's end, and the verdict."""

import asyncio
import collections
import random
import sys
import time

import support
from commands import Add
from chaos import Chaos
from judge import Judge
from publishers import Publisher
from seam import judge_seam
from statuses import TOLD_SECONDS, judge_statuses
from streams import Entry, Key, written
from viewers import Crowd
from world import World

PUBLISHERS = 6
QUIET_KEYS = 200
QUIET_SECONDS = 4.0
# Between two steps of one stream, about.
PAUSE_SECONDS = 0.04
CALM_SECONDS = 30


class Report:
    def __init__(self, scene, seed):
        self.scene, self.seed = scene, seed
        self.verdict, self.commands, self.refusals, self.problems = None, 0, {}, []
        self.faults, self.answers = {}, collections.Counter()
        # What was judged: the truth by thread, the viewers.
        self.keys, self.viewers = {}, []

    def text(self):
        v = self.verdict
        lines = [
            f"{self.scene} TASKCAST_SEED={self.seed}: {v.deliveries} deliveries, {v.attaches} states,"
            f" {v.derived} derived, {self.commands} commands, {len(v.violations)} violations {dict(v.kinds)}",
            f"  faults {self.faults}, ends {dict(v.ends)}, refusals {self.refusals}, posts {dict(self.answers)}",
            f"  gaps {sum(v.gaps.values())}: " + ", ".join(f"{n} {c} ({r})" for (c, r), n in v.gaps.most_common()),
            f"  silences: {dict(v.silences)}",
        ]
        lines += [f"  problem: {problem}" for problem in self.problems[:10]]
        shown = {}
        for kind, who, what in v.violations:
            shown[kind] = shown.get(kind, 0) + 1
            if shown[kind] <= 3:
                lines.append(f"  {kind}: {who}: {what}"[:900])
        return "\n".join(lines)


async def run(scene, seed, seconds):
    """A verdict on one run."""
    rng = random.Random(seed)
    world = World(scene, rng)
    report = Report(scene.name, seed)
    crowd = Crowd(world, rng.random())
    publishers = []
    try:
        await world.start()
        keys = make_keys(scene, world)
        world.keys = [key for key, _ in keys]
        publishers = world.publishers = employ(world, scene, keys, rng)
        for publisher in publishers:
            publisher.start()
        await asyncio.sleep(0.5)
        invite(crowd, keys)
        chaos = Chaos(world, crowd, rng.random())
        await chaos.go_on(seconds)
        await asyncio.to_thread(stop, world, publishers)
        crowd.calm.set()
        await arrive(crowd, keys, report)
        await look_at_the_end(world, crowd, keys, report)
        report.problems += [f"a viewer: {e!r}" for e in await crowd.leave()]
        report.faults = dict(chaos.counts)
        conclude(report, world, scene, crowd, keys, publishers)
    finally:
        world.stopping.set(), world.abandoned.set()
        await crowd.leave()
        world.remove()
    return report


def make_keys(scene, world):
    """Each key with its habit: the lively ones first, then those in which little happens."""
    habits = [habit for habit, count in scene.habits for _ in range(count)]
    habits += [scene.quiet] * QUIET_KEYS
    return [(embedded_key(world) if scene.embedded else redis_key(), habit()) for habit in habits]


def redis_key():
    thread = support.new_thread()[:18]
    return Key(thread, support.stream_key(thread))


def embedded_key(world):
    """A task as the server makes it, with a first entry."""
    since = time.monotonic()
    thread, first = world.new_task()
    key = Key(thread, support.stream_key(thread))
    message = "Status changed to queued"
    members = {"update_type": "status_change", "status": "queued", "message": message}
    Add(key.stream, Entry(message, members), []).apply(key, first, since, time.monotonic())
    return key


def employ(world, scene, keys, rng):
    shares = [[] for _ in range(PUBLISHERS)]
    for n, (key, habit) in enumerate(keys):
        pause = QUIET_SECONDS if habit.quiet else PAUSE_SECONDS * rng.choice((0.5, 1, 1, 3))
        shares[n % PUBLISHERS].append((key, habit, pause))
    return [Publisher(world, share, rng.random()) for share in shares]


def invite(crowd, keys):
    """Viewers of every kind."""
    threads = [key.thread for key, _ in keys]
    lively = threads[:-QUIET_KEYS]
    for thread in lively:
        crowd.go(crowd.stay(crowd.viewer("who stays", thread)))
        crowd.go(crowd.stay(crowd.viewer("who comes for everything", thread), since="0"))
        crowd.go(crowd.hop(crowd.viewer("who hops", thread)))
        crowd.go(crowd.slow(crowd.viewer("who is slow", thread, slow=True)))
    for _ in range(8):
        crowd.go(crowd.come_fresh("who comes", lively))
    for _ in range(6):
        crowd.go(crowd.hold_many("one", threads))


def stop(world, publishers):
    world.stopping.set()
    for publisher in publishers:
        publisher.join(CALM_SECONDS)
    world.abandoned.set()
    for publisher in publishers:
        publisher.join(CALM_SECONDS)


async def arrive(crowd, keys, report):
    """Waits until every viewer has what there is, or nothing moves any more."""
    ends = {key.thread: written(next(reversed(key.current.kept))) for key, _ in keys if key.current and key.current.kept}
    until = time.monotonic() + CALM_SECONDS
    while time.monotonic() < until:
        late = [v for v in crowd.viewers if not v.left and v.position != ends.get(v.thread)]
        if not late:
            break
        await asyncio.sleep(0.05)
    else:
        report.problems.append(f"{len(late)} viewers did not arrive")
    # What comes twice would come now, and what the tasks' keys say beside the log.
    await asyncio.sleep(TOLD_SECONDS)


async def look_at_the_end(world, crowd, keys, report):
    """Who comes now sees the last state, and everything that is kept."""
    there = [key.thread for key, _ in keys if key.current and key.current.kept]
    for name, server in world.servers.items():
        states = await crowd.come_at_the_end(name, server.port, there, None)
        everything = await crowd.come_at_the_end(name, server.port, there, "0")
        for thread in there:
            if thread not in states or thread not in everything:
                report.problems.append(f"{thread}: no answer at the end on {name}")
            elif states[thread].members.get("status") != "done":
                report.problems.append(f"{thread}: at the end {states[thread]} on {name}")


def conclude(report, world, scene, crowd, keys, publishers):
    report.keys = by_thread = {key.thread: key for key, _ in keys}
    report.viewers = crowd.viewers
    judge = Judge(by_thread, world.disturbed, scene.lags, scene.ends, scene.evicts)
    judge.hear(crowd.viewers)
    for viewer in crowd.viewers:
        judge.judge(viewer, ends=not viewer.left)
    if not scene.embedded:
        final = "done" if not scene.evicts else None
        for viewer in crowd.viewers:
            judge_statuses(by_thread[viewer.thread], viewer, judge.verdict, final)
    if scene.seam:
        for viewer in crowd.viewers:
            if by_thread[viewer.thread].layout:
                judge_seam(by_thread[viewer.thread], viewer, judge.verdict, time.monotonic(), world.disturbed)
    report.verdict = judge.verdict
    for publisher in publishers:
        report.commands += publisher.commands
        report.answers += publisher.answers
        for word, count in publisher.refusals.items():
            report.refusals[word] = report.refusals.get(word, 0) + count
        if publisher.failure:
            report.problems.append(f"a publisher: {publisher.failure!r}")
    for key, _ in keys:
        report.problems += [f"{key.thread}: {problem}" for problem in key.problems]


if __name__ == "__main__":  # run.py SCENE [SECONDS [SEED]], with tests/python on the path.
    from scenes import SCENES

    arguments = [*sys.argv[2:], *("8", str(random.randrange(1 << 32)))[len(sys.argv) - 2 :]]
    told = asyncio.run(run(SCENES[sys.argv[1]], int(arguments[1]), float(arguments[0])))
    print(told.text())
    sys.exit(bool(told.verdict.violations or told.problems))
