"""What a test plays: an existing worker, a viewer, and the ids between them."""

import asyncio
import json
import uuid
from datetime import datetime, timezone

import websockets
from websockets.asyncio.client import connect as ws_connect

STEP_SECONDS = 15


def new_thread():
    """A thread id that no other test uses."""
    return f"t-{uuid.uuid4().hex}"


def now():
    """The time as the existing workers write it."""
    return datetime.now(timezone.utc).isoformat()


def keys(thread):
    """The keys of the `thread` layout."""
    parts = ("status", "updates", "result", "error", "metadata", "context", "tasks")
    return {part: f"sre:thread:{thread}:{part}" for part in parts}


def stream_key(thread):
    return f"sre:stream:task:{thread}"


class Worker:
    """A worker as it exists today: state first, then XADD, then EXPIRE, each a command of its own.

    `layout` is "thread" or "task".
    """

    def __init__(self, redis, thread=None, layout="thread", create=True):
        self.redis = redis
        self.thread = thread or new_thread()
        self.layout = layout
        self.task = f"task-{self.thread}"
        self.stream = stream_key(self.thread)
        if create:
            self.create()

    def key(self, part):
        owner = f"task:{self.task}" if self.layout == "task" else f"thread:{self.thread}"
        return f"sre:{owner}:{part}"

    def create(self):
        if self.layout == "task":
            self.redis.hset(keys(self.thread)["metadata"], mapping={"created_at": now()})
            self.redis.set(self.key("status"), "queued")
            self.redis.hset(
                self.key("metadata"), mapping={"created_at": now(), "thread_id": self.thread}
            )
            self.redis.zadd(keys(self.thread)["tasks"], {self.task: datetime.now().timestamp()})
        else:
            self.redis.set(self.key("status"), "queued")
            self.redis.hset(self.key("metadata"), mapping={"created_at": now(), "priority": "0"})

    def store_update(self, message, update_type="progress", metadata=None):
        """The first half of `update`: the state, without its event."""
        update = json.dumps(
            {"timestamp": now(), "message": message, "update_type": update_type, "metadata": metadata}
        )
        if self.layout == "task":
            self.redis.rpush(self.key("updates"), update)
        else:
            self.redis.lpush(self.key("updates"), update)
            self.redis.ltrim(self.key("updates"), 0, 99)

    def publish(self, update_type, id="*", **data):
        """The event alone: XADD, then EXPIRE. Returns the stream id."""
        event = {"thread_id": self.thread, "update_type": update_type, "timestamp": now(), **data}
        fields = {k: v if isinstance(v, str) else json.dumps(v) for k, v in event.items()}
        stream_id = self.redis.xadd(self.stream, fields, id=id)
        self.redis.expire(self.stream, 86400)
        return stream_id

    def update(self, message, update_type="progress", metadata=None):
        self.store_update(message, update_type, metadata)
        return self.publish("thread_update", message=message, type=update_type, metadata=metadata)

    def status(self, status):
        self.redis.set(self.key("status"), status)
        return self.publish("status_change", status=status, message=f"Status changed to {status}")

    def result(self, result):
        self.redis.set(self.key("result"), json.dumps(result))
        return self.publish("result_set", result=result, message="Task result available")

    def error(self, message):
        self.redis.set(self.key("error"), message)
        self.publish("error_set", error_message=message, message=f"Error: {message}")
        return self.status("failed")

    def raw(self, *fields, id="*"):
        """An entry with these names and values, which may repeat and may be any bytes."""
        return text(self.redis.execute_command("XADD", self.stream, id, *fields))


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def task_path(thread, since=None):
    query = "" if since is None else f"?since={since}"
    return f"/api/v1/ws/tasks/{thread}{query}"


def connect(server, thread=None, since=None, path=None, **options):
    """A viewer of a task, on Python's websockets: `async with connect(server, thread) as ws`."""
    tls = getattr(server, "tls", None)
    options = {"max_size": None, "compression": None, "proxy": None, "ssl": tls, **options}
    return ws_connect(server.ws + (path or task_path(thread, since)), **options)


async def receive_any(ws):
    """The next frame, as JSON."""
    return json.loads(await asyncio.wait_for(ws.recv(), STEP_SECONDS))


async def receive(ws):
    """The next frame of the log, as JSON: what a task is now is told beside it, by frames that have
    tests of their own (`test_state_lane.py`)."""
    while is_of_state(frame := await receive_any(ws)):
        pass
    return frame


def is_of_state(frame):
    """Whether it tells what a task is now, derived from its keys."""
    words = ("status_change", "result_set", "error_set")
    return frame.get("derived") is True and frame["update_type"] in words


async def collect(ws, count):
    """The next `count` frames."""
    return [await receive(ws) for _ in range(count)]


async def initial(ws):
    """The frame that every attach without `since` begins with."""
    frame = await receive(ws)
    assert frame.get("update_type") == "initial_state", frame
    return frame


async def until(ws, wanted):
    """The frames up to the first one for which `wanted` holds, that one included."""
    frames = []
    while not frames or not wanted(frames[-1]):
        frames.append(await receive(ws))
    return frames


async def closed(ws):
    """Waits for the end of the connection: (close code, frames that came before it)."""
    frames = []
    try:
        while True:
            frames.append(await receive(ws))
    except websockets.ConnectionClosed as end:
        return (end.rcvd.code if end.rcvd else 1006), frames


async def nothing_but_pong(ws):
    """Nothing is on its way to this viewer: an answer to a ping is the next thing it gets."""
    await ws.send('{"type":"ping"}')
    assert await receive(ws) == {"type": "pong"}


def assert_chained(frames, position):
    """Each frame names the entry before it; the first one, `position`."""
    for frame in frames:
        assert frame["prev_stream_id"] == position, frame
        position = frame["stream_id"]


def in_order(stream_id):
    """A stream id as something to compare by."""
    ms, _, seq = stream_id.partition("-")
    return int(ms), int(seq or 0)


def milliseconds(timestamp):
    """An ISO 8601 time in UTC, as milliseconds since the epoch."""
    when = datetime.fromisoformat(timestamp)
    assert when.utcoffset() is not None and not when.utcoffset(), timestamp
    return round(when.timestamp() * 1000)
