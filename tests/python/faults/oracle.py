"""The oracle: what Redis acknowledged is the truth, and each viewer must end with exactly that.

`Viewer` follows the client rule and no more: it keeps the last stream id, comes back with `since`,
and starts over from `initial_state` after a `gap`. `Publisher` is a worker that goes on trying.
"""

import asyncio
import json
import random
import threading
import time

import redis
import websockets

from support import Worker, connect, in_order, is_of_state

CATCH_UP_SECONDS = 40


class Viewer:
    """One viewer over all its connections. `servers` is asked for a server at each connect."""

    def __init__(self, servers, thread, rng):
        self.servers = servers if callable(servers) else lambda: servers
        self.thread = thread
        self.rng = random.Random(rng.random())
        self.position = None
        self.epochs = []  # (initial_state, [frames that followed it])
        self.gaps = []
        self.errors = []
        self.closes = []
        self.status = None
        self.connects = 0
        self.problems = []
        self.ws = None
        self.moved = asyncio.Event()
        self.task = asyncio.create_task(self.run())

    @property
    def frames(self):
        return self.epochs[-1][1] if self.epochs else []

    async def run(self):
        while True:
            try:
                async with connect(self.servers(), self.thread, self.position, open_timeout=10) as ws:
                    self.ws = ws
                    self.connects += 1
                    # Of what was told on other connections, the server knows nothing.
                    self.status = None
                    await self.follow(ws)
            except websockets.ConnectionClosed as end:
                self.closes.append(end.rcvd.code if end.rcvd else 1006)
            except (OSError, TimeoutError, EOFError, websockets.InvalidHandshake):
                pass
            self.ws = None
            await asyncio.sleep(self.rng.uniform(0.02, 0.2))

    async def follow(self, ws):
        expected = {"initial_state"} if self.position is None else {"caught_up", "gap", None}
        async for message in ws:
            expected = self.take(json.loads(message), expected)
            self.moved.set()

    def take(self, frame, expected):
        """Applies one frame; returns which kinds may come next (None: an event)."""
        kind = frame.get("update_type")
        if "error" in frame:
            self.errors.append(frame)
            return set()
        if is_of_state(frame):
            self.take_state(frame, expected)
            return expected
        kind = kind if kind in ("initial_state", "caught_up", "gap") else None
        if kind not in expected:
            self.problems.append(f"{frame} where {expected} was expected")
        if kind == "initial_state":
            self.epochs.append((frame, []))
            self.position = frame["stream_id"]
            self.status = frame["status"]
        elif kind == "gap":
            if frame["requested"] != self.position or frame["thread_id"] != self.thread:
                self.problems.append(f"{frame} at {self.position}")
            self.gaps.append(frame)
            return {"initial_state"}
        elif kind == "caught_up":
            if frame["stream_id"] != self.position:
                self.problems.append(f"{frame} at {self.position}")
        else:
            if frame["prev_stream_id"] != self.position:
                self.problems.append(f"after {self.position} came {str(frame)[:300]}")
            self.frames.append(frame)
            self.position = frame["stream_id"]
            self.status = frame.get("status", self.status)
            return expected | {"gap"}
        return {"gap", None}

    def take_state(self, frame, expected):
        """What the task is now, beside the log: never what was told last, nor before the log is there."""
        if frame["stream_id"] != self.position or "initial_state" in expected or "caught_up" in expected:
            self.problems.append(f"{frame} at {self.position}, {expected} was expected")
        if frame["update_type"] == "status_change":
            if frame["status"] == self.status:
                self.problems.append(f"{frame} after {self.status}")
            self.status = frame["status"]

    def cut(self):
        """Its connection breaks, wherever the stream of bytes just is."""
        if self.ws:
            self.ws.transport.abort()

    async def reach(self, stream_id):
        """Waits until the viewer has seen this entry (or, after a gap, the state that holds it)."""
        end = time.monotonic() + CATCH_UP_SECONDS
        while self.position != stream_id:
            assert not self.task.done(), self.task.exception()
            assert time.monotonic() < end, f"stays at {self.position}, not {stream_id}: {self.report()}"
            self.moved.clear()
            try:
                await asyncio.wait_for(self.moved.wait(), 1)
            except TimeoutError:
                pass

    async def attached(self):
        """Waits until there is a first state."""
        end = time.monotonic() + CATCH_UP_SECONDS
        while not self.epochs:
            assert time.monotonic() < end, f"no initial_state: {self.report()}"
            await asyncio.sleep(0.01)

    def report(self):
        return {
            "connects": self.connects, "closes": self.closes, "errors": self.errors, "gaps": self.gaps,
            "frames": [len(frames) for _, frames in self.epochs], "problems": self.problems[:3],
        }

    async def leave(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


class Publisher:
    """A worker on a thread of its own, at its own pace, which tries again what failed."""

    def __init__(self, client, worker, rng, seconds_between=0.005, bytes_max=2000):
        self.client = client if callable(client) else lambda: client
        self.worker = worker
        self.rng = random.Random(rng.random())
        self.seconds_between = seconds_between
        self.bytes_max = bytes_max
        self.acknowledged = []
        self.count = 0
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopping:
            self.count += 1
            size = self.rng.randrange(self.bytes_max) if self.rng.random() < 0.2 else 0
            self.publish(f"update {self.count}", "x" * size)
            time.sleep(self.rng.expovariate(1 / self.seconds_between))

    def publish(self, message, padding=""):
        while not self.stopping:
            try:
                self.worker.redis = self.client()
                self.acknowledged.append(self.worker.update(message, metadata={"padding": padding}))
                return
            except (redis.RedisError, OSError):
                time.sleep(0.05)

    def stop(self):
        """Ends after the update that is under way."""
        self.stopping = True
        self.thread.join(30)
        assert not self.thread.is_alive()


def truth(worker):
    """Every entry that Redis keeps of a task: (stream id, message)."""
    return [(i, fields.get("message")) for i, fields in worker.redis.xrange(worker.stream)]


async def assert_everything(viewers, worker, acknowledged=(), gaps=()):
    """Each viewer ends with exactly what Redis has, in order, chained.

    `gaps` are the reasons that may be told; where there are none, the viewer has one epoch.
    """
    entries = truth(worker)
    kept = {i for i, _ in entries}
    assert gaps or kept.issuperset(acknowledged), "Redis lost what it acknowledged"
    for viewer in viewers:
        await viewer.reach(entries[-1][0])
        assert not viewer.problems, viewer.report()
        assert {gap["reason"] for gap in viewer.gaps} <= set(gaps), viewer.report()
        assert len(viewer.epochs) == len(viewer.gaps) + 1, viewer.report()
        state, frames = viewer.epochs[-1]
        after = [entry for entry in entries if in_order(entry[0]) > in_order(state["stream_id"])]
        assert [(f["stream_id"], f["message"]) for f in frames] == after, viewer.report()


async def leave(viewers):
    await asyncio.gather(*(viewer.leave() for viewer in viewers))


def new_worker(redis_server, layout="thread"):
    return Worker(redis_server.client(socket_timeout=3), layout=layout)
