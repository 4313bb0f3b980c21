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

    told, turn, server, now = None, None, None, 0.0
    for now, event in viewer.log:
        if isinstance(event, Opened):
            # Of what was told on other connections, the server knows nothing.
            told, turn, server = None, None, event.server
            continue
        kind = getattr(event, "kind", None)
        members = getattr(event, "members", {})
        status = members.get("status")
        if kind == "initial_state":
            told, turn = status, members.get("task_id")
        elif kind == "entry":
            told = status or told
        elif kind == "derived" and members.get("update_type") == "status_change":
            if (status, members.get("task_id")) == (told, turn):
                violate("told twice", f"{event}", now)
            if not any(of == status and since <= now for since, of in key.statuses):
                violate("invented", f"{event}", now)
            told, turn = status, members.get("task_id")
    if final and not viewer.left and told != final:
        violate("not the last", f"{told}, and not {final}", now)
