"""Ways to Redis on which replies wait, and which lead to another Redis."""

import threading

from redisproxy import Connection, Way


class Held(Connection):
    """One whose replies wait while they are held, in their order."""

    def __init__(self, way, client, redis):
        self.let_go = threading.Event()
        self.let_go.set()
        # Whether there is something that waits.
        self.waits = threading.Event()
        way.carried.append(self)
        super().__init__(way, client, redis)

    def forward(self):
        while sent := self.client.recv(1 << 16):
            self.redis.sendall(sent)

    def back(self):
        while received := self.redis.recv(1 << 16):
            if not self.let_go.is_set():
                self.waits.set()
                self.let_go.wait()
            self.client.sendall(received)

    def hold(self):
        self.waits.clear()
        self.let_go.clear()

    def release(self):
        self.let_go.set()


class HoldingWay(Way):
    Connection = Held

    def __init__(self, redis_server):
        self.carried = []
        super().__init__(redis_server)


class Switch(HoldingWay):
    """Leads to one Redis, and from `to(other)` on to another, as after a failover."""

    def to(self, redis_server):
        self.redis_server.kill()
        self.redis_server = redis_server
