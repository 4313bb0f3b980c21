"""A worker of the agent of today from its beginning to its end, every step a command of its own, under viewers
who stay, who come back at each point to another server, and who lag (protocol §2.1 and §3.2)."""

import contextlib
import json

import pytest

from slowviewer import slow
from processes import Taskcast, eventually, request
from support import connect, initial, receive_any, task_path

GRACE = "state_grace_ms = 100\n"
RESULT = {"response": "all is well"}


@pytest.fixture(scope="module", params=["tracking", "block"])
def two(request, redis_server):
    servers = [Taskcast(redis_server, "--tail", request.param, config=GRACE) for _ in range(2)]
    yield servers
    for server in servers:
        server.remove()


class Life:
    """What such a worker does, a command at a time; and what is so then."""

    def __init__(self, today):
        self.today, self.redis, self.turn = today, today.redis, today.task

    def key(self, part, task=None):
        return self.today.key(task or self.turn, part)

    def present(self):
        """What is told to who comes back and was told nothing of it, in its order."""
        told = [(f"{part}_set", self.turn) for part in ("result", "error") if self.redis.exists(self.key(part))]
        return [*told, ("status_change", self.turn, self.redis.get(self.key("status")))]

    def status(self, status):
        self.redis.set(self.key("status"), status)
        return [("status_change", self.turn, status)]

    def create(self, name):
        """A task in three steps, of which the last one shows it."""
        task = f"{name}-{self.today.thread}"
        self.redis.set(self.key("status", task), "queued")
        yield []
        self.redis.hset(self.key("metadata", task), "thread_id", self.today.thread)
        yield []
        self.today.added += 1
        self.redis.zadd(f"sre:thread:{self.today.thread}:tasks", {task: self.today.added})
        return task

    def update(self, message, task=None, **fields):
        task = task or self.turn
        parent = None if task == self.turn else {"parent_task_id": self.turn}
        self.today.update(task, message, parent)
        yield []
        yield [self.today.entry(task_id=task, message=message, **{"update_type": "progress", **fields})]

    def approval(self):
        metadata = self.key("metadata")
        self.redis.hset(metadata, "pending_approval", json.dumps({"tool": "restart"}))
        yield []
        self.redis.hset(metadata, "resume_supported", "true")
        yield []
        yield self.status("awaiting_approval")
        self.redis.hdel(metadata, "pending_approval", "resume_supported")
        yield []
        yield self.status("in_progress")

    def child(self, name):
        task = yield from self.create(name)
        yield []
        self.redis.set(self.key("status", task), "in_progress")
        yield []
        yield from self.update("begins", task, update_type="agent_start")
        self.today.result(task, parent_task_id=self.turn)
        yield []
        self.redis.set(self.key("status", task), "done")
        yield []
        ends = {"update_type": "turn_complete", "parent_task_id": self.turn}
        yield from self.update("ends", task, **ends)

    def next_turn(self, name):
        self.turn = yield from self.create(name)
        yield [("status_change", self.turn, "queued")]
        yield self.status("in_progress")

    def steps(self):
        """Each step gives what is told of it: entries by their ids, and what is derived."""
        yield self.status("in_progress")
        yield from self.update("works")
        yield from self.approval()
        for name in ("one", "other"):
            yield from self.child(name)
        self.today.result(self.turn, **RESULT)
        yield [("result_set", self.turn)]
        yield self.status("done")
        yield [self.today.entry(update_type="turn_complete", task_id=self.turn, message="Turn complete")]
        yield from self.next_turn("second")
        self.redis.set(self.key("error"), "it broke")
        yield [("error_set", self.turn)]
        yield self.status("failed")
        yield from self.next_turn("third")
        yield self.status("cancelled")
        yield [self.today.entry(update_type="feedback_submitted", message="thanks")]


def said(frame):
    """What a frame tells, in the terms of `Life.steps`."""
    if not frame.get("derived"):
        return frame["stream_id"]
    values = [frame["status"]] if frame["update_type"] == "status_change" else []
    return (frame["update_type"], frame.get("task_id"), *values)


def is_told_later(told):
    """A result or an error is told at the latest with the status behind it: their keys are not watched."""
    return told[0] in ("result_set", "error_set")


class Viewer:
    """A viewer, and what it is to be told next."""

    def __init__(self, ws, position):
        self.ws, self.position, self.coming = ws, position, []

    async def takes(self):
        """Takes what is told at once."""
        if self.ws is None or not self.coming or is_told_later(self.coming[-1]):
            return
        for told in self.coming:
            assert said(await receive_any(self.ws)) == told
            if isinstance(told, str):
                self.position = told
        self.coming = []


class Commuter(Viewer):
    """Is there in each second step only, and comes back to another server each time."""

    def __init__(self, servers, thread, position):
        super().__init__(None, position)
        self.servers, self.thread, self.comes = servers, thread, 0

    async def goes_or_comes(self, life):
        if self.ws:
            await self.ws.close()
            self.ws = None
            return
        self.comes += 1
        self.ws = await connect(self.servers[self.comes % 2], self.thread, since=self.position)
        missed = [told for told in self.coming if isinstance(told, str)]
        for entry in missed:
            assert said(await receive_any(self.ws)) == entry
        assert (await receive_any(self.ws))["update_type"] == "caught_up"
        self.position = (missed or [self.position])[-1]
        told = []
        while not told or told[-1][0] != "status_change":
            told.append(said(await receive_any(self.ws)))
        # What nobody who watches was told yet, it may be told now or with them.
        self.coming = [it for it in self.coming[-1:] if is_told_later(it) and it not in told]
        assert told == [it for it in life.present() if it not in self.coming]


async def test_a_life_under_viewers_who_stay_and_who_come_back_at_each_point(two, today):
    life = Life(today)
    position = today.told("begins")
    async with contextlib.AsyncExitStack() as stack:
        staying = []
        for server in two:
            ws = await stack.enter_async_context(connect(server, today.thread))
            assert (await initial(ws))["status"] == "queued"
            staying.append(Viewer(ws, position))
        commuters = [Commuter(two, today.thread, position) for _ in range(2)]
        # One is away where the other one is there.
        await commuters[0].goes_or_comes(life)
        for step in life.steps():
            for viewer in [*staying, *commuters]:
                viewer.coming += step
                await viewer.takes()
            for viewer in commuters:
                await viewer.goes_or_comes(life)
        assert min(viewer.comes for viewer in commuters) > 20
        for viewer in staying:
            assert not viewer.coming
            await viewer.ws.send('{"type":"ping"}')
            assert await receive_any(viewer.ws) == {"type": "pong"}


async def test_who_lags_over_changes_is_told_the_last_one(two, today):
    """And who leaves while it lags, and goes on at the other server."""
    path = task_path(today.thread)
    position = today.told("begins")
    async with connect(two[0], today.thread) as prompt:
        await initial(prompt)
        with slow(two[0], path) as lagging, slow(two[0], path) as leaving:
            for viewer in (lagging, leaving):
                assert (await initial(viewer))["stream_id"] == position
            entries = [today.told("x" * 20_000) for _ in range(300)]
            for status in ("in_progress", "awaiting_approval", "in_progress"):
                today.status(today.task, status)
                while (frame := await receive_any(prompt)).get("status") != status:
                    assert not frame.get("derived")
            today.end("done")
            while (await receive_any(prompt)).get("status") != "done":
                pass
            eventually(lambda: two[0].metrics()["taskcast_viewers_lagging"] >= 2)
            for entry in entries:
                assert said(await receive_any(lagging)) == entry
            entries.append(await told_the_end(lagging, today))
            for entry in entries[:20]:
                assert said(await receive_any(leaving)) == entry
        async with connect(two[1], today.thread, since=entries[19]) as back:
            for entry in entries[20:]:
                assert said(await receive_any(back)) == entry
            assert (await receive_any(back))["update_type"] == "caught_up"
            await told_the_end(back, today)


async def told_the_end(viewer, today):
    told = [said(await receive_any(viewer)) for _ in range(2)]
    assert told == [("result_set", today.task), ("status_change", today.task, "done")]
    feedback = today.entry(update_type="feedback_submitted", message="thanks")
    assert said(await receive_any(viewer)) == feedback
    return feedback


async def test_what_the_embedded_log_holds_is_told_by_its_entries(embedded):
    """It has no keys that others write: each change is an entry, and nothing is told beside it."""
    thread = request(embedded, "POST", "/api/v1/triage", {"query": "why?"})[2]["thread_id"]
    steps = [
        ("status", {"status": "in_progress"}),
        ("updates", {"message": "works"}),
        ("status", {"status": "awaiting_approval"}),
        ("status", {"status": "in_progress"}),
        ("result", {"result": RESULT}),
        ("status", {"status": "done"}),
        ("updates", {"message": "an hour later"}),
    ]
    async with connect(embedded, thread) as staying:
        position = (await initial(staying))["stream_id"]
        for action, body in steps:
            assert request(embedded, "POST", f"/api/v1/tasks/{thread}/{action}", body)[0] == 202
            frame = await receive_any(staying)
            assert "derived" not in frame and frame["prev_stream_id"] == position
            async with connect(embedded, thread, since=position) as back:
                assert await receive_any(back) == frame
                assert (await receive_any(back))["update_type"] == "caught_up"
                state = request(embedded, "GET", f"/api/v1/tasks/{thread}")[2]
                if action != "result" and state["result"]:
                    assert said(await receive_any(back)) == ("result_set", None)
                if action != "status":
                    assert said(await receive_any(back))[2] == state["status"]
                await back.send('{"type":"ping"}')
                assert await receive_any(back) == {"type": "pong"}
            position = frame["stream_id"]
