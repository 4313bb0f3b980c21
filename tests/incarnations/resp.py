"""A small client of Redis: several commands in one round trip, each reply or error as it came.

It never waits for less than an answer or the end of the connection, so a command whose answer is
missing was sent over a connection that is dead, and cannot be done later.
"""

import socket


class RedisError(Exception):
    """Redis refused a command."""


class Gone(Exception):
    """The connection ended before everything was answered."""


class Redis:
    def __init__(self, port, database=0):
        try:
            self.socket = socket.create_connection(("127.0.0.1", port), 5)
        except OSError as error:
            raise Gone(str(error)) from error
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb", 1 << 16)
        if database:
            self.call("SELECT", database)

    def close(self):
        self.replies.close()
        self.socket.close()

    def call(self, *command):
        """One command; an error is raised."""
        reply = self.calls([command])[0]
        if isinstance(reply, RedisError):
            raise reply
        return reply

    def calls(self, commands):
        """All of them in one round trip; an error stands where the reply would."""
        try:
            self.socket.sendall(b"".join(map(encode, commands)))
            return [self.read() for _ in commands]
        except (OSError, ValueError) as error:
            raise Gone(str(error)) from error

    def read(self):
        line = self.replies.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            size = int(rest)
            if size < 0:
                return None
            value = self.replies.read(size + 2)
            if len(value) < size + 2:
                raise OSError("closed")
            return value[:-2].decode(errors="replace")
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return RedisError(rest.decode())
        if kind == b"*":
            return None if int(rest) < 0 else [self.read() for _ in range(int(rest))]
        raise OSError(f"{line!r} is no reply")



def encode(command):
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        data = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
