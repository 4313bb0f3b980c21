"""What a run is made of: one Redis or several, ways with faults, servers, and where Redis is now."""

import asyncio
import contextlib
import threading
import time

import processes
from proxies import Way

CONFIG = """
flush_interval_ms = {flush}
drain_seconds = 1
tail = "{tail}"
state_grace_ms = 100
[limits]
sweep_interval_ms = 1000
redis_response_timeout_ms = 1500
reconnect_max_ms = 300
{limits}
"""
TINY = """topic_bytes_max = 2000
page_entries_max = 3
page_bytes_max = 2000
tail_read_bytes_max = 65536
topic_linger_ms = 100
unsent_bytes_max = 4096
"""


# Faults after which Redis has less than it had acknowledged.
LOSING = ("lose_redis", "fail_over", "plan_over", "fail_over_by_sentinel")
# How long publishers may take to find out.
KNOWN_SECONDS = 15


class Gate:
    """Many may pass together, or one alone."""

    def __init__(self):
        self.condition, self.inside, self.closed = threading.Condition(), 0, False

    @contextlib.contextmanager
    def shared(self):
        with self.condition:
            self.condition.wait_for(lambda: not self.closed)
            self.inside += 1
        try:
            yield
        finally:
            with self.condition:
                self.inside -= 1
                self.condition.notify_all()

    @contextlib.contextmanager
    def alone(self):
        with self.condition:
            self.condition.wait_for(lambda: not self.closed)
            self.closed = True
            self.condition.wait_for(lambda: self.inside == 0)
        try:
            yield
        finally:
            with self.condition:
                self.closed = False
                self.condition.notify_all()


class World:
    """`scene` says what there is; see `scenes.py`."""

    def __init__(self, scene, rng):
        self.scene, self.rng = scene, rng
        self.stopping, self.abandoned, self.gate = threading.Event(), threading.Event(), Gate()
        self.generation = 0
        # Changes when what is beside the streams may be gone: the state of every task.
        self.era = 0
        # Since when it may be that what Redis acknowledged is forgotten; None: never.
        self.doubt_since = None
        self.evicts = scene.evicts
        self.redises, self.sentinel, self.servers, self.ways, self.fronts = [], None, {}, {}, {}
        # When Redis itself was another one or away: (since, until).
        self.outages = []
        self.master = None
        self.keys, self.publishers = [], []

    # What is started

    async def start(self):
        scene, rng = self.scene, self.rng
        if scene.embedded:
            await self.start_embedded()
            return
        self.master = processes.RedisServer(*scene.redis_options)
        self.redises.append(self.master)
        for _ in range(scene.replicas):
            replica = processes.RedisServer(*scene.redis_options, "--replicaof", f"127.0.0.1 {self.master.port}")
            self.redises.append(replica)
            processes.eventually(lambda: replica.client().info("replication")["master_link_status"] == "up")
        if scene.sentinel:
            self.sentinel = processes.Sentinel(self.master.port)
        for n in range(scene.servers):
            name = f"server {n}"
            if not scene.sentinel:
                self.ways[name] = await Way(lambda: self.master.port, rng.random()).open()
            tail = ("tracking", "block")[(n + scene.first_tail) % 2]
            config = CONFIG.format(flush=rng.choice(scene.flushes), tail=tail, limits=scene.limits)
            url = self.sentinel.url if scene.sentinel else self.ways[name].url
            server = processes.Taskcast(None, "--workers", str(rng.choice((1, 2))), config=config, redis_url=url, wait=False)
            self.servers[name] = server
            self.fronts[name] = await Way(lambda server=server: server.port, rng.random()).open()
        await self.ready()

    async def start_embedded(self):
        scene = self.scene
        config = CONFIG.format(flush=self.rng.choice(scene.flushes), tail="auto", limits=scene.limits)
        server = self.servers["server 0"] = processes.Taskcast(None, "--embedded", config=config)
        self.fronts["server 0"] = await Way(lambda: server.port, self.rng.random()).open()

    def new_task(self):
        """Of the embedded log: its id, and the id of its first entry."""
        server = self.servers["server 0"]
        thread = processes.request(server, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
        info = processes.request(server, "GET", f"/api/v1/tasks/{thread}/stream-info")[2]
        return thread, info["last_stream_id"]

    async def ready(self):
        for server in self.servers.values():
            await asyncio.to_thread(server.wait_ready)

    def remove(self):
        for way in [*self.ways.values(), *self.fronts.values()]:
            way.close()
        for process in [*self.servers.values(), self.sentinel, *self.redises]:
            if process:
                process.remove()

    # What publishers, viewers and the judge ask

    @property
    def port(self):
        return self.master.port

    def server(self, rng):
        """A server to go to, directly or over a way with faults."""
        name = rng.choice(list(self.servers))
        front = rng.random() < self.scene.over_ways
        return name, self.fronts[name].port if front else self.servers[name].port

    def disturbed(self, name, since, known):
        """Whether that server may have read over two connections, or from two servers, in this time."""
        if self.scene.embedded:
            return False
        if self.sentinel or any(a <= known and b >= since for a, b in self.outages):
            return True
        return name in self.ways and any(since <= at <= known + 0.1 for at in self.ways[name].ends)

    @contextlib.contextmanager
    def outage(self):
        """What happens in here may make Redis another one."""
        row = [time.monotonic(), float("inf")]
        self.outages.append(row)
        try:
            yield
        finally:
            # Servers come back a moment later, and full resyncs make no noise on our ways.
            row[1] = time.monotonic() + 3

    def may_have_lost(self, since):
        """Whether Redis may have lost, since then, what it had acknowledged."""
        loses = any(fault in LOSING for fault in self.scene.faults)
        return loses and any(until >= since for _, until in self.outages)

    def emptied(self, since, known):
        """Redis has nothing any more."""
        for key in self.keys:
            key.emptied(since, known)
        self.generation += 1
        self.era += 1

    def swapped(self, since, known):
        for key in self.keys:
            key.swap(since, known)
        self.era += 1

    async def known(self):
        """Waits until publishers know what Redis has, so that no state of it passes unseen."""
        until = time.monotonic() + KNOWN_SECONDS
        while any(p.settled != self.generation and p.is_alive() for p in self.publishers):
            if time.monotonic() > until:
                now = time.monotonic()
                for key in self.keys:
                    key.blurred.append((now - 2 * KNOWN_SECONDS, now + KNOWN_SECONDS))
                return
            await asyncio.sleep(0.01)

    def switch(self, redis_server):
        """From now on this is the master."""
        self.master = redis_server
        self.generation += 1
