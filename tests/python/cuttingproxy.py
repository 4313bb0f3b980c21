"""A way to Redis that breaks in the middle of publications.

`rule(command)` is asked for each publication, with the bytes of its command, and returns what is to
become of it: None to let it pass, or one of the classes below. What else is asked passes.
"""

import collections
import dataclasses
import threading

from redisproxy import Connection, Way, end


@dataclasses.dataclass
class CutRequest:
    """Redis gets so many bytes of it, and the connection breaks."""

    bytes: int


@dataclasses.dataclass
class CutReply:
    """Redis does it, so many bytes of its reply come back, and the connection breaks."""

    bytes: int


class LoseReply:
    """Redis does it, and nothing comes back any more on a connection that stays."""


class Delay:
    """The connection breaks, and Redis gets it only when `until` is set; `done` is set when Redis has
    answered."""

    def __init__(self):
        self.until, self.done = threading.Event(), threading.Event()


def is_publication(command):
    """Whether an event is among its arguments."""
    return b"\r\nupdate_type\r\n" in command


class Cut(Connection):
    def __init__(self, *args):
        # What becomes of the replies that Redis owes.
        self.owed = collections.deque()
        super().__init__(*args)

    def forward(self):
        for command in self.commands():
            fate = self.way.rule(command) if is_publication(command) else None
            self.way.cuts += fate is not None
            if isinstance(fate, CutRequest):
                # All of it may have been sent, and then it is answered.
                self.owed.append(CutReply(0))
                self.redis.sendall(command[: fate.bytes])
                return
            if isinstance(fate, Delay):
                end(self.client)
                fate.until.wait()
            self.owed.append(fate)
            self.redis.sendall(command)
            if isinstance(fate, Delay):
                fate.done.wait()
                return

    def back(self):
        buffer, lost = b"", False
        while received := self.redis.recv(1 << 16):
            buffer += received
            while (end := end_of_reply(buffer)) is not None:
                reply, buffer = buffer[:end], buffer[end:]
                fate = None if reply.startswith(b">") else self.owed.popleft()
                if isinstance(fate, Delay):
                    fate.done.set()
                    return
                if isinstance(fate, CutReply):
                    self.client.sendall(reply[: fate.bytes])
                    return
                lost = lost or isinstance(fate, LoseReply)
                if not lost:
                    self.client.sendall(reply)


class CuttingProxy(Way):
    Connection = Cut

    def __init__(self, redis_server, rule=lambda command: None):
        self.rule = rule
        self.cuts = 0
        super().__init__(redis_server)


def end_of_reply(buffer, at=0):
    """Where the reply at this place ends, of either version of the protocol; None where it has not
    come whole."""
    line_end = buffer.find(b"\r\n", at)
    if line_end < 0:
        return None
    kind, line, at = buffer[at : at + 1], buffer[at + 1 : line_end], line_end + 2
    if kind in (b"$", b"=", b"!"):
        at += int(line) + 2 if int(line) >= 0 else 0
        return at if at <= len(buffer) else None
    if kind in (b"*", b"~", b">", b"%"):
        for _ in range(int(line) * (2 if kind == b"%" else 1)):
            if (at := end_of_reply(buffer, at)) is None:
                return None
    return at
