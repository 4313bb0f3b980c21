"""Those who watch: each notes what came over which connection, and judges nothing.

`Socket` is a WebSocket client that costs little per frame: what is equal to a frame that came before,
to another viewer, is read once. `Viewer` is one viewer of one task over all its connections; its log
is what the judge reads.
"""

import asyncio
import json
import os
import base64
import random
import time

HEAD_BYTES = 16384


class Frame:
    """What one text frame says. The judge notes in `entry` what was published as this."""

    __slots__ = ("entry", "id", "kind", "members", "previous", "text", "thread")

    def __init__(self, text):
        self.members = members = json.loads(text)
        self.text = text
        self.kind = members.get("update_type")
        self.id = members.get("stream_id")
        self.previous = members.get("prev_stream_id")
        self.thread = members.get("thread_id")
        self.entry = None
        if self.previous is not None:
            self.kind = "entry"
        elif "error" in members:
            self.kind = "error"
        elif members.get("derived"):
            self.kind = "derived"

    def __repr__(self):
        return self.text.decode(errors="replace")[:300]


class Opened:
    """A connection, or a subscription, began: `since` is what was asked for."""

    def __init__(self, server, since):
        self.server, self.since = server, since

    def __repr__(self):
        return f"opened {self.server} since={self.since}"


class Closed:
    def __init__(self, code):
        self.code = code

    def __repr__(self):
        return f"closed {self.code}"


class Socket(asyncio.Protocol):
    """`path` is asked for; `take(frame, time)` gets each text frame; `ended` is set with the code."""

    def __init__(self, path, take, frames):
        self.path, self.take, self.frames = path, take, frames
        self.buffer, self.open, self.code = b"", False, 1006
        loop = asyncio.get_running_loop()
        self.opened, self.ended = loop.create_future(), loop.create_future()
        self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        transport.write(
            f"GET {self.path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )

    def data_received(self, data):
        now = time.monotonic()
        data = self.buffer + data if self.buffer else data
        at, size = 0, len(data)
        if not self.open:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self.buffer = data
                return
            if not data.startswith(b"HTTP/1.1 101"):
                self.code = int(data[9:12])
                self.transport.abort()
                return
            self.open, at = True, end + 4
            if not self.opened.done():
                self.opened.set_result(True)
        frames, take = self.frames, self.take
        while size - at >= 2:
            length = data[at + 1]
            start = at + 2
            if length == 126:
                start = at + 4
                length = int.from_bytes(data[at + 2 : start], "big")
            elif length == 127:
                start = at + 10
                length = int.from_bytes(data[at + 2 : start], "big")
            end = start + length
            if end > size:
                break
            text = data[start:end]
            if data[at] == 0x81:
                frame = frames.get(text)
                if frame is None:
                    frame = frames[text] = Frame(text)
                take(frame, now)
            else:
                self.control(data[at], text)
            at = end
        self.buffer = data[at:]

    def control(self, head, payload):
        if head == 0x89:
            self.send(0x8A, payload)
        elif head == 0x88:
            self.code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.send(0x88, payload[:2])
            self.transport.close()
        elif head != 0x8A:
            raise AssertionError(f"a frame that begins with {head:#x}")

    def send(self, head, payload):
        """A frame of less than 64 KiB, under a mask of zeros."""
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
        self.transport.write(bytes([head]) + length + b"\0\0\0\0" + payload)

    def say(self, **message):
        self.send(0x81, json.dumps(message).encode())

    def cut(self):
        if self.transport:
            self.transport.abort()

    def connection_lost(self, error):
        for future in (self.opened, self.ended):
            if not future.done():
                future.set_result(None)


async def dial(port, path, take, frames, patience=15):
    """A socket that is open; none where nobody answers."""
    loop = asyncio.get_running_loop()
    try:
        _, socket = await loop.create_connection(lambda: Socket(path, take, frames), "127.0.0.1", port)
    except OSError:
        return None
    try:
        await asyncio.wait_for(asyncio.shield(socket.opened), patience)
    except TimeoutError:
        socket.cut()
    return socket


class Viewer:
    """One viewer of one task: what it got, in order, as (time, frame or Opened or Closed)."""

    def __init__(self, name, thread, slow=False):
        self.name, self.thread, self.slow = name, thread, slow
        self.log = []
        self.position = None
        # Whether it went for good.
        self.left = False

    def take(self, frame, now):
        self.log.append((now, frame))
        if frame.id is not None:
            self.position = frame.id

    def begin(self, server, since, now=None):
        self.log.append((now or time.monotonic(), Opened(server, since)))

    def finish(self, code):
        self.log.append((time.monotonic(), Closed(code)))


class Crowd:
    """Starts viewers and keeps them going; `servers` are (name, port) to choose from."""

    def __init__(self, world, seed):
        self.world = world
        self.rng = random.Random(seed)
        self.frames, self.viewers, self.tasks, self.sockets = {}, [], [], set()
        self.calm = asyncio.Event()

    def viewer(self, name, thread, **options):
        viewer = Viewer(f"{name} {len(self.viewers)}", thread, **options)
        self.viewers.append(viewer)
        return viewer

    def go(self, coroutine):
        self.tasks.append(asyncio.ensure_future(coroutine))

    async def leave(self):
        for task in self.tasks:
            task.cancel()
        ended = await asyncio.gather(*self.tasks, return_exceptions=True)
        for socket in list(self.sockets):
            socket.cut()
        return [e for e in ended if isinstance(e, Exception) and not isinstance(e, asyncio.CancelledError)]

    async def connection(self, viewer, server, since, during=None):
        """One connection of a viewer, to its end; `during(socket)` runs beside it and may end it."""
        name, port = server
        query = "" if since is None else f"?since={since}"
        viewer.begin(name, since)
        socket = await dial(port, f"/api/v1/ws/tasks/{viewer.thread}{query}", viewer.take, self.frames)
        if socket is None:
            viewer.finish("refused")
            return
        self.sockets.add(socket)
        beside = asyncio.ensure_future(during(socket)) if during else None
        try:
            await asyncio.shield(socket.ended)
        finally:
            socket.cut()
            self.sockets.discard(socket)
            if beside:
                beside.cancel()
            viewer.finish(socket.code)

    # Kinds of viewers

    async def stay(self, viewer, during=None, since=None):
        """Comes back with its position whenever it was sent away; starts at home, goes elsewhere."""
        viewer.position = viewer.position or since
        while True:
            await self.connection(viewer, self.world.server(self.rng), viewer.position, during)
            await asyncio.sleep(self.rng.uniform(0.01, 0.1))

    async def hop(self, viewer, seconds=1.0):
        """Goes from server to server, wherever it just is."""

        async def during(socket):
            await asyncio.sleep(self.rng.expovariate(1 / seconds))
            await self.not_in_calm(socket)

        await self.stay(viewer, during)

    async def not_in_calm(self, socket):
        if not self.calm.is_set():
            socket.cut()

    async def slow(self, viewer):
        """Reads for a moment, then not for a while."""

        async def during(socket):
            while not self.calm.is_set():
                await asyncio.sleep(self.rng.expovariate(1 / 0.2))
                if socket.transport.is_closing():
                    return
                socket.transport.pause_reading()
                try:
                    await asyncio.wait_for(self.calm.wait(), self.rng.uniform(0.1, 2))
                except TimeoutError:
                    pass
                if not socket.transport.is_closing():
                    socket.transport.resume_reading()

        await self.stay(viewer, during)

    async def come_fresh(self, name, threads, seconds=0.7):
        """A new viewer each time, from now on or from the beginning."""
        while True:
            viewer = self.viewer(name, self.rng.choice(threads))
            since = self.rng.choice((None, None, "0", "0-0"))

            async def during(socket):
                await asyncio.sleep(self.rng.expovariate(1 / seconds))
                await self.not_in_calm(socket)

            viewer.position = since
            await self.connection(viewer, self.world.server(self.rng), since, during)
            viewer.left = True
            await asyncio.sleep(self.rng.uniform(0.0, 0.1))

    async def hold_many(self, name, threads, restless=0.3):
        """One socket with a subscription of each task; some are given up and taken again."""
        viewers = {thread: self.viewer(f"{name} of many", thread) for thread in threads}
        while True:
            server, port = self.world.server(self.rng)
            live = {}

            def take(frame, now):
                viewer = live.get(frame.thread)
                if viewer:
                    viewer.take(frame, now)
                    if frame.kind == "error":
                        del live[frame.thread]
                        viewer.finish(frame.members["error"])

            socket = await dial(port, "/api/v1/ws", take, self.frames)
            if socket is None:
                await asyncio.sleep(0.1)
                continue
            self.sockets.add(socket)

            def subscribe(thread):
                viewer = live[thread] = viewers[thread]
                viewer.begin(server, viewer.position)
                since = {} if viewer.position is None else {"since": viewer.position}
                socket.say(type="subscribe", thread_id=thread, **since)

            def give_up(thread):
                viewer = live.pop(thread)
                viewer.finish("unsubscribed")
                socket.say(type="unsubscribe", thread_id=thread)

            try:
                while not socket.ended.done():
                    missing = [thread for thread in threads if thread not in live]
                    for thread in missing[:200]:
                        subscribe(thread)
                    await asyncio.wait([socket.ended], timeout=self.rng.uniform(0.05, 0.3))
                    if not self.calm.is_set() and live and self.rng.random() < restless:
                        await self.again(socket, self.rng.choice(list(live)), give_up)
            finally:
                socket.cut()
                self.sockets.discard(socket)
                for viewer in live.values():
                    viewer.finish(socket.code)
            await asyncio.sleep(self.rng.uniform(0.01, 0.1))

    async def again(self, socket, thread, give_up):
        """Unsubscribes; what was sent before the server knew of it is not of the next subscription."""
        if socket.ended.done():
            return
        give_up(thread)
        answered = asyncio.get_running_loop().create_future()
        take = socket.take

        def until_pong(frame, now):
            if frame.members.get("type") == "pong" and not answered.done():
                answered.set_result(True)
            take(frame, now)

        socket.take = until_pong
        socket.say(type="ping")
        await asyncio.wait([answered, socket.ended], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        socket.take = take

    async def come_at_the_end(self, name, port, threads, since, seconds=20):
        """One socket that subscribes to all; returns who got its first answer, by thread."""
        viewers = {thread: self.viewer("who comes at the end", thread) for thread in threads}
        wanted = "initial_state" if since is None else "caught_up"
        answered = {}

        def take(frame, now):
            if viewer := viewers.get(frame.thread):
                viewer.take(frame, now)
                if frame.kind in (wanted, "error"):
                    answered[frame.thread] = frame

        socket = await dial(port, "/api/v1/ws", take, self.frames)
        if socket is None:
            return answered
        self.sockets.add(socket)
        for thread, viewer in viewers.items():
            viewer.position = since
            viewer.begin(name, since)
            socket.say(type="subscribe", thread_id=thread, **({} if since is None else {"since": since}))
        until = time.monotonic() + seconds
        while len(answered) < len(threads) and time.monotonic() < until and not socket.ended.done():
            await asyncio.sleep(0.02)
        return answered
