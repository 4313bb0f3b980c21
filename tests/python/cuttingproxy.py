"""A way to Redis that breaks in the middle of publications.

`rule(command)` is asked for each publication, with the bytes of its command, and returns what is to
become of it: None to let it pass, or one of the classes below. What else is asked passes.
"""

import collections
import dataclasses
import socket
import threading

from redisproxy import commands


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


class CuttingProxy:
    def __init__(self, redis_server, rule=lambda command: None):
        self.redis_server = redis_server
        self.rule = rule
        self.cuts = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self):
        """From now on there is nobody at this address."""
        _end(self.listener)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                redis = socket.create_connection(("127.0.0.1", self.redis_server.port))
            except OSError:
                _end(client)
                continue
            for peer in (client, redis):
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _Connection(self, client, redis)


class _Connection:
    def __init__(self, proxy, client, redis):
        self.proxy, self.client, self.redis = proxy, client, redis
        # What becomes of the replies that Redis owes.
        self.owed = collections.deque()
        for direction in (self._forward, self._back):
            threading.Thread(target=self._run, args=(direction,), daemon=True).start()

    def _run(self, direction):
        try:
            direction()
        except OSError:
            pass
        finally:
            _end(self.client), _end(self.redis)

    def _forward(self):
        buffer = b""
        while received := self.client.recv(1 << 16):
            found, buffer = commands(buffer + received)
            for command in found:
                fate = self.proxy.rule(command) if is_publication(command) else None
                self.proxy.cuts += fate is not None
                if isinstance(fate, CutRequest):
                    # All of it may have been sent, and then it is answered.
                    self.owed.append(CutReply(0))
                    self.redis.sendall(command[: fate.bytes])
                    return
                if isinstance(fate, Delay):
                    _end(self.client)
                    fate.until.wait()
                self.owed.append(fate)
                self.redis.sendall(command)
                if isinstance(fate, Delay):
                    fate.done.wait()
                    return

    def _back(self):
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


def _end(peer):
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    peer.close()
