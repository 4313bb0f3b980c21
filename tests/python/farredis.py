"""A way to Redis that takes its time, in both directions."""

import queue
import threading
import time

from redisproxy import Connection, Way


class Far(Connection):
    def forward(self):
        self._carry(self.client, self.redis)

    def back(self):
        self._carry(self.redis, self.client)

    def _carry(self, source, target):
        on_the_way = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(lambda: self._arrive(on_the_way, target),), daemon=True).start()
        while received := source.recv(1 << 20):
            on_the_way.put((time.monotonic() + self.way.delay, received))

    def _arrive(self, on_the_way, target):
        while True:
            at, received = on_the_way.get()
            time.sleep(max(0.0, at - time.monotonic()))
            target.sendall(received)


class FarRedis(Way):
    """Redis, and whatever is sent to it or by it arrives `delay` seconds later."""

    Connection = Far

    def __init__(self, redis_server, delay):
        self.delay = delay
        super().__init__(redis_server)
