"""What happens to a task's stream, in the words of Redis without the key, and what viewers are told
of it.

`XADD 30 MAXLEN 1` is `XADD key MAXLEN 1 30-0 n 30`; other commands are as they are. Ids are numbers
throughout: `30` is `30-0`.
"""

from support import in_order, initial, receive


def commands(key, text):
    """The commands of a text such as `DEL; XADD 1; XADD 2`."""
    found = []
    for line in filter(None, map(str.strip, text.split(";"))):
        name, *words = line.split()
        if name == "XADD":
            id, *trim = words
            words = [*trim, f"{id}-0", "update_type", "event", "n", id]
        found.append([name, key, *words])
    return found


def do(worker, text):
    """In one step, so that no read falls in between."""
    with worker.redis.pipeline(transaction=True) as step:
        for command in commands(worker.stream, text):
            step.execute_command(*command)
        step.execute()


def do_one_by_one(worker, text):
    for command in commands(worker.stream, text):
        worker.redis.execute_command(*command)


def full(id):
    return id if "-" in str(id) else f"{id}-0"


def facts(worker):
    """First and last entry and last generated id of a stream; 0-0 where there is none."""
    if not worker.redis.exists(worker.stream):
        return ("0-0",) * 3
    info = worker.redis.xinfo_stream(worker.stream)
    first, last = (entry[0] if entry else "0-0" for entry in (info["first-entry"], info["last-entry"]))
    return first, last, info["last-generated-id"]


async def gap_is_told(ws, worker, requested, reason):
    """The next two frames are a gap and the state at the stream's end, which is returned."""
    first, last, end = facts(worker)
    gap = await receive(ws)
    assert gap == {
        "update_type": "gap", "thread_id": worker.thread, "requested": full(requested),
        "first": first, "last": last, "reason": reason,
    }, gap
    state = await initial(ws)
    assert state["stream_id"] == end, state
    return end


async def entries_come(ws, ids, position):
    """The next frames are these entries. Returns the last one's id."""
    for id in map(full, ids):
        frame = await receive(ws)
        assert (frame.get("stream_id"), frame.get("prev_stream_id")) == (id, full(position)), frame
        position = id
    return full(position)


async def walk(ws, position, ids):
    """Follows the viewer to the last of these entries, none of which it may miss without being told.
    Who resumed may be told `caught_up` on the way. Returns the reasons of the gaps."""
    gaps = []
    while position != ids[-1]:
        frame = await receive(ws)
        if frame["update_type"] == "gap":
            assert frame["requested"] == position, frame
            gaps.append(frame["reason"])
            position = (await initial(ws))["stream_id"]
        elif frame["update_type"] == "caught_up":
            assert frame["stream_id"] == position and not gaps, frame
        else:
            expected = next(id for id in ids if in_order(id) > in_order(position))
            assert (frame.get("stream_id"), frame.get("prev_stream_id")) == (expected, position), frame
            position = expected
    return gaps
