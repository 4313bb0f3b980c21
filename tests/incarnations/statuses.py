"""The state lane: the last status that a viewer is told is what Redis holds, none is told twice in a row,
and none that was never there. Entries tell statuses too."""

from viewers import Opened

# So long after the last change everybody has been told: what entries may still say, a poll, a retry.
TOLD_SECONDS = 2.5


def judge_statuses(key, viewer, verdict, final):
    """`final`: what Redis holds in the end, for those who stayed."""

    def violate(kind, text, now):
        who = f"{viewer.name} of {key.thread} on {server}"
        verdict.violations.append((f"status: {kind}", who, f"{text} at {now:.3f}"))

    told, server, now = None, None, 0.0
    for now, event in viewer.log:
        if isinstance(event, Opened):
            # Of what was told on other connections, the server knows nothing.
            told, server = None, event.server
            continue
        kind = getattr(event, "kind", None)
        if kind == "initial_state":
            told = event.members.get("status")
        elif kind == "entry":
            told = event.members.get("status", told)
        elif kind == "derived" and event.members.get("update_type") == "status_change":
            status = event.members.get("status")
            if status == told:
                violate("told twice", f"{event}", now)
            if not any(of == status and since <= now for since, of in key.statuses):
                violate("invented", f"{event}", now)
            told = status
    if final and not viewer.left and told != final:
        violate("not the last", f"{told}, and not {final}", now)
