"""A worker whose two steps are taken one at a time, and what a viewer is told of its updates.

As the agent does it, list item and entry of an update carry the same timestamp; in the `thread`
layout the entry's `update_type` is always `thread_update`, in the `task` layout it is the item's own
and the entry names its task.
"""

import json
from datetime import datetime, timedelta, timezone

from support import Worker, receive


def ago(**span):
    """The time so long ago, as a worker writes it."""
    return (datetime.now(timezone.utc) - timedelta(**span)).isoformat()


class Agent(Worker):
    def push(self, message, timestamp="now", metadata=None, update_type="progress"):
        """The first step: the item in the list, which is returned. A timestamp of None is left out."""
        item = {"message": message, "update_type": update_type, "metadata": metadata}
        if timestamp is not None:
            item["timestamp"] = ago() if timestamp == "now" else timestamp
        stored = json.dumps(item)
        if self.layout == "task":
            self.redis.rpush(self.key("updates"), stored)
        else:
            self.redis.lpush(self.key("updates"), stored)
            self.redis.ltrim(self.key("updates"), 0, 99)
        return item

    def add(self, item, id="*"):
        """The second step: the item's entry. Returns its stream id."""
        fields = {"thread_id": self.thread, "message": item["message"]}
        # No metadata is null in the list and an empty object in the entry, and text is not escaped.
        fields["metadata"] = json.dumps(item["metadata"] or {}, ensure_ascii=False)
        if "timestamp" in item:
            fields["timestamp"] = item["timestamp"]
        if self.layout == "task":
            fields |= {"update_type": item["update_type"], "task_id": self.task}
        else:
            fields |= {"update_type": "thread_update", "type": item["update_type"]}
        return self.redis.xadd(self.stream, fields, id=id)

    def both(self, message, id="*", **options):
        """An update with both of its steps. Returns its stream id."""
        return self.add(self.push(message, **options), id)

    def id_ago(self, seconds):
        """A stream id of so many seconds ago, by the clock of Redis."""
        now, _ = self.redis.time()
        return f"{(now - seconds) * 1000}-0"


def shown(state):
    """The messages of the updates in an `initial_state`."""
    assert state["update_type"] == "initial_state", state
    return [update["message"] for update in state["updates"]]


async def comes_as_its_entry(ws, item, stream_id, position):
    """The next frame is the update's entry."""
    frame = await receive(ws)
    assert (frame["stream_id"], frame["prev_stream_id"]) == (stream_id, position), frame
    assert frame["message"] == item["message"] and "derived" not in frame


async def comes_derived(ws, item, position):
    """The next frame tells an update that has no entry."""
    assert_derived(await receive(ws), item, position)


def assert_derived(frame, item, position):
    """`position` is the viewer's; such a frame is no part of the chain (protocol §3.2)."""
    assert frame["update_type"] == "thread_update" and frame.get("derived") is True, frame
    assert frame["stream_id"] == position and "prev_stream_id" not in frame, frame
    # `update_type` is the frame's.
    members = {name: value for name, value in item.items() if name != "update_type"}
    assert {name: frame.get(name) for name in members} == members, frame
