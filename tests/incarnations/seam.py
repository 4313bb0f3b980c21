"""The seam between state and log: each update of an agent's list is shown once, in a state or live.

For streams whose publisher writes as the agent does: into the list first, then, perhaps, an entry.
"""

import collections

from streams import pair
from viewers import Closed, Opened

UPDATES_SHOWN = 10
# An entry that comes later than this after its update comes beside what was told for it.
LATE_SECONDS = 1.9
# What has no entry is told after two seconds; a server may be busy for a while longer.
TOLD_SECONDS = 5.0
# Who goes to another server so soon after its state, or is away when it is told, may miss what has no
# entry.
RESUMED_SECONDS = 4.0


class Epoch:
    """From one state of a viewer to the next, over all connections in between."""

    def __init__(self, frame, opened, now, server):
        self.frame, self.opened, self.begun, self.server = frame, opened, now, server
        self.until = now
        # Token -> how and when it was told after the state.
        self.told = collections.defaultdict(list)
        self.closed = None
        # When the last frame came before it closed for the first time: what a connection that then
        # broke had not brought by then may have been lost on the way.
        self.heard = now
        self.disturbed = None


def epochs(viewer):
    found, epoch, server, opened = [], None, None, 0.0
    for now, event in viewer.log:
        if isinstance(event, Opened):
            server, opened = event.server, now
            if event.since is None:
                epoch = None
            continue
        if isinstance(event, Closed):
            if epoch and epoch.closed is None:
                epoch.closed = now
            continue
        if event.kind == "initial_state":
            epoch = Epoch(event, opened, now, server)
            found.append(epoch)
        elif event.kind == "gap":
            epoch = None
        elif epoch:
            epoch.until = now
            if epoch.closed is None:
                epoch.heard = now
            if event.kind in ("entry", "derived") and "message" in event.members:
                epoch.told[event.members["message"]].append((event.kind, now))
    return found


def judge_seam(key, viewer, verdict, end, disturbed=lambda *_: False):
    """`end`: when the run was over for those who stayed. `disturbed(server, since, until)`: whether that
    server may have lost Redis meanwhile."""
    order = {update.token: n for n, update in enumerate(key.updates)}
    for epoch in epochs(viewer):
        if not viewer.left and epoch.until >= end - 5:
            epoch.until = end
        epoch.disturbed = disturbed
        _judge(key, epoch, order, verdict, f"{viewer.name} of {key.thread} ({key.layout}) on {epoch.server}")


def _judge(key, epoch, order, verdict, who):
    def violate(kind, text):
        verdict.violations.append((f"seam: {kind}", who, f"{text} at {epoch.begun:.3f}, state {epoch.frame.id}"))

    shown = [update["message"] for update in epoch.frame.members["updates"]]
    unknown = [token for token in shown if token not in order]
    if unknown:
        violate("unknown", f"{unknown[:3]}")
        return
    places = [order[token] for token in shown]
    if any(a >= b for a, b in zip(places, places[1:])):
        violate("order", f"{places}")
    total = epoch.frame.members["updates_total"]
    most = sum(update.since <= epoch.begun for update in key.updates)
    if not len(shown) <= total <= most or (total > len(shown) and len(shown) < UPDATES_SHOWN):
        violate("total", f"{total} with {len(shown)} shown, of {most}")
    _judge_repeats(key, epoch, order, shown, violate, verdict)
    # The newest ten are owed, of those in the list as it was read: what is older than as many that were
    # shown or told is not.
    newer = 0
    for update in reversed(key.updates):
        if update.token in shown or update.token in epoch.told:
            newer += update.token in shown or update.since <= epoch.begun
        elif newer < UPDATES_SHOWN:
            _judge_missing(epoch, update, violate, verdict)


def _judge_repeats(key, epoch, order, shown, violate, verdict):
    for token, times in epoch.told.items():
        if token not in order:
            continue
        update = key.updates[order[token]]
        ways = [way for way, _ in times] + (["state"] if token in shown else [])
        if len(ways) == 1:
            continue
        late = update.entry is not None and update.entry.known - update.since > LATE_SECONDS
        if late and ways.count("entry") == 1 and len(ways) == 2:
            verdict.silences["an entry later than two seconds, told twice"] += 1
        elif epoch.closed is not None and "derived" in ways:
            # Who comes back joins those who wait, and may have had it on the connection before.
            verdict.silences["came back while updates were waited for, told twice"] += 1
        else:
            violate("twice", f"{token}: {ways}, pushed {update.since:.3f}, entry {update.entry}")


def _judge_missing(epoch, update, violate, verdict):
    if update.entry is not None:
        if update.entry.id <= pair(epoch.frame.id):
            violate("missing", f"{update.token} has entry {update.entry}, pushed {update.since:.3f}, shown neither in the state nor live")
        return  # What is behind the state is judged as an entry.
    if update.known > epoch.opened or epoch.until - epoch.begun < TOLD_SECONDS:
        return  # Not owed, or nobody waited for it.
    if epoch.closed is not None and epoch.heard - epoch.begun < RESUMED_SECONDS:
        verdict.silences["resumed within two seconds of an attach"] += 1
        return
    if epoch.closed is not None and epoch.disturbed(epoch.server, epoch.begun, epoch.closed):
        # It is told when the list can be read again, to those who are there by then.
        verdict.silences["resumed while its server had lost Redis"] += 1
        return
    violate("never told", f"{update.token} without an entry, pushed {update.since:.3f}, attached {epoch.opened:.3f}")
