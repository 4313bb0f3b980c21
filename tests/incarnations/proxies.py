"""A way between two processes that cuts, stalls, delays, splits and black-holes what goes over it.

On the event loop of the run. `target` is asked for a port at each connection, so a way can be
switched to another process; what is under way stays where it is until it is cut.
"""

import asyncio
import collections
import random
import time

PIECE_BYTES = 7
PIECES = 200


class Way:
    def __init__(self, target, seed):
        self.target = target
        self.rng = random.Random(seed)
        self.links = set()
        # When connections ended: whoever reads over this way has another one since then.
        self.ends = []
        self.delay, self.split, self.hole = 0.0, False, False
        self.server, self.port = None, None

    async def open(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: End(self, None), "127.0.0.1", 0, backlog=512)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    def close(self):
        self.server.close()
        self.cut()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    # Faults

    def cut(self, share=1.0):
        for link in list(self.links):
            if self.rng.random() < share:
                link.abort()

    def cut_within(self, bytes):
        """Each connection ends after so many more bytes to either side."""
        for link in self.links:
            link.left = self.rng.randrange(1, bytes)

    async def stall(self, seconds):
        """Nothing is taken from either side, for a while."""
        stalled = list(self.links)
        for link in stalled:
            link.pause()
        await asyncio.sleep(seconds)
        for link in stalled:
            link.resume()

    async def slow(self, milliseconds, seconds):
        self.delay = milliseconds / 1000
        await asyncio.sleep(seconds)
        self.delay = 0.0

    async def in_pieces(self, seconds):
        self.split = True
        await asyncio.sleep(seconds)
        self.split = False

    async def black_hole(self, seconds):
        """What is sent is taken and lost; connections end when that is over."""
        self.hole = True
        await asyncio.sleep(seconds)
        self.hole = False
        self.cut()


class End(asyncio.Protocol):
    """One side of a connection; `peer` is the other."""

    def __init__(self, way, peer):
        self.way, self.peer = way, peer
        self.transport, self.waiting, self.left = None, [], None
        self.due, self.delayed = 0.0, collections.deque()
        self.paused = False

    def connection_made(self, transport):
        self.transport = transport
        if self.peer is None:  # Who came to us: now to where it wants.
            self.way.links.add(self)
            asyncio.ensure_future(self.reach())
            return
        if self.peer.transport.is_closing():
            transport.abort()
            return
        self.peer.peer = self
        waiting, self.peer.waiting = self.peer.waiting, []
        for data in waiting:
            self.peer.data_received(data)

    async def reach(self):
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: End(self.way, self), "127.0.0.1", self.way.target())
        except OSError:
            self.abort()

    def data_received(self, data):
        if self.way.hole:
            return
        if self.peer is None or self.peer.transport is None:
            self.waiting.append(data)
            return
        first = self if self in self.way.links else self.peer
        if first.left is not None:
            first.left -= len(data)
            if first.left <= 0:
                self.pass_on(data[: first.left])
                first.close()
                return
        if self.way.delay or self.delayed:
            self.later(data)
        elif self.way.split:
            self.pieces(data)
        else:
            self.pass_on(data)

    def later(self, data):
        """Behind what is delayed already; timers of one moment have no order, so the queue has it."""
        loop = asyncio.get_running_loop()
        self.due = max(self.due, loop.time() + self.way.delay)
        self.delayed.append(data)
        loop.call_at(self.due, self.arrive)

    def arrive(self):
        self.pass_on(self.delayed.popleft())

    def pass_on(self, data):
        if self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.write(data)

    def pieces(self, data):
        for at in range(0, min(len(data), PIECE_BYTES * PIECES), PIECE_BYTES):
            self.pass_on(data[at : at + PIECE_BYTES])
        if rest := data[PIECE_BYTES * PIECES :]:
            self.pass_on(rest)

    def pause(self):
        for end in (self, self.peer):
            if end and end.transport and not end.transport.is_closing():
                end.transport.pause_reading()

    def resume(self):
        for end in (self, self.peer):
            if end and end.transport and not end.transport.is_closing():
                end.transport.resume_reading()

    def pause_writing(self):
        """What the other side does not take is not read."""
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.pause_reading()

    def resume_writing(self):
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def close(self):
        for end in (self, self.peer):
            if end and end.transport:
                end.transport.close()

    def abort(self):
        for end in (self, self.peer):
            if end and end.transport:
                end.transport.abort()

    def connection_lost(self, error):
        self.way.links.discard(self)
        self.way.ends.append(time.monotonic())
        if self.peer and self.peer.transport and not self.peer.transport.is_closing():
            self.peer.transport.close()

