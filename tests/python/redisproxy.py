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


class RedisProxy:
    """`rule(command)` gets each command's bytes, in capitals: it returns None to let it pass, bytes
    to answer with, or CLOSE. A command that it answers never reaches Redis."""

    def __init__(self, redis_server, rule):
        self.redis_server = redis_server
        self.rule = rule
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self):
        self.listener.close()

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
                client.close()
                continue
            threading.Thread(target=self._forward, args=(client, redis), daemon=True).start()
            threading.Thread(target=self._back, args=(redis, client), daemon=True).start()

    def _forward(self, client, redis):
        buffer = b""
        try:
            while received := client.recv(65536):
                found, buffer = commands(buffer + received)
                for command in found:
                    answer = self.rule(command.upper())
                    if answer is CLOSE:
                        return
                    if answer is None:
                        redis.sendall(command)
                    else:
                        client.sendall(answer)
        except OSError:
            pass
        finally:
            _end(client), _end(redis)

    def _back(self, redis, client):
        try:
            while received := redis.recv(65536):
                client.sendall(received)
        except OSError:
            pass
        finally:
            _end(client), _end(redis)


def _end(peer):
    try:
        peer.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    peer.close()
