"""A way to Redis that answers some commands itself, as proxies and other versions of Redis do."""

import socket
import threading

CLOSE = object()


def commands(buffer):
    """The whole commands at the beginning of a buffer, each as its bytes, and the rest."""
    found = []
    while True:
        end = _end_of_command(buffer)
        if end is None:
            return found, buffer
        found.append(buffer[:end])
        buffer = buffer[end:]


def _end_of_command(buffer):
    head, separator, _ = buffer.partition(b"\r\n")
    if not separator:
        return None
    at = len(head) + 2
    if not head.startswith(b"*"):
        return at
    for _ in range(int(head[1:])):
        length, separator, _ = buffer[at:].partition(b"\r\n")
        if not separator:
            return None
        at += len(length) + 2 + int(length[1:]) + 2
    return at if at <= len(buffer) else None


class Way:
    """A way to Redis: whoever connects to it is connected to Redis. `Connection` is what carries the
    bytes of one, with a function for each direction."""

    Connection = None

    def __init__(self, redis_server):
        self.redis_server = redis_server
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self):
        """From now on there is nobody at this address."""
        end(self.listener)

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                redis = socket.create_connection(("127.0.0.1", self.redis_server.port))
            except OSError:
                end(client)
                continue
            for peer in (client, redis):
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.Connection(self, client, redis)


class Connection:
    """One connection over a way. Where one direction ends, both do."""

    def __init__(self, way, client, redis):
        self.way, self.client, self.redis = way, client, redis
        for direction in (self.forward, self.back):
            threading.Thread(target=self._run, args=(direction,), daemon=True).start()

    def _run(self, direction):
        try:
            direction()
        except OSError:
            pass
        finally:
            end(self.client), end(self.redis)

    def commands(self):
        """What the client sends, a whole command at a time."""
        buffer = b""
        while received := self.client.recv(1 << 16):
            found, buffer = commands(buffer + received)
            yield from found

    def back(self):
        while received := self.redis.recv(1 << 16):
            self.client.sendall(received)


class Answered(Connection):
    def forward(self):
        for command in self.commands():
            answer = self.way.rule(command.upper())
            if answer is CLOSE:
                return
            if answer is None:
                self.redis.sendall(command)
            else:
                self.client.sendall(answer)


class RedisProxy(Way):
    """`rule(command)` gets each command's bytes, in capitals: it returns None to let it pass, bytes
    to answer with, or CLOSE. A command that it answers never reaches Redis."""

    Connection = Answered

    def __init__(self, redis_server, rule):
        self.rule = rule
        super().__init__(redis_server)


def end(peer):
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    peer.close()
