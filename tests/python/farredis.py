"""A way to Redis that takes its time, in both directions."""

import queue
import socket
import threading
import time


class FarRedis:
    """Redis, and whatever is sent to it or by it arrives `delay` seconds later."""

    def __init__(self, redis_server, delay):
        self.redis_server = redis_server
        self.delay = delay
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self):
        return self.redis_server.client()

    def remove(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.redis_server.port))
            for source, target in ((near, far), (far, near)):
                target.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                on_the_way = queue.SimpleQueue()
                for work in (self._leave, self._arrive):
                    args = (source, target, on_the_way)
                    threading.Thread(target=work, args=args, daemon=True).start()

    def _leave(self, source, _, on_the_way):
        received = True
        while received:
            try:
                received = source.recv(1 << 20)
            except OSError:
                received = b""
            on_the_way.put((time.monotonic() + self.delay, received))

    def _arrive(self, source, target, on_the_way):
        while True:
            at, received = on_the_way.get()
            time.sleep(max(0.0, at - time.monotonic()))
            try:
                if not received:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(received)
            except OSError:
                source.close()
                return
