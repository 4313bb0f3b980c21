"""The faults of a run, in random order: each method is one, named in the scenes."""

import asyncio
import collections
import random
import time

import redis

import processes

FAIL_OVER_SECONDS = 30


class Chaos:
    def __init__(self, world, crowd, seed):
        self.world, self.crowd = world, crowd
        self.rng = random.Random(seed)
        self.counts = collections.Counter()

    async def go_on(self, seconds):
        """So many seconds of it; whatever was broken is whole afterwards."""
        until = time.monotonic() + seconds
        scene = self.world.scene
        while (left := until - time.monotonic()) > 0:
            if not scene.faults:
                await asyncio.sleep(left)
                continue
            await asyncio.sleep(min(left, self.rng.expovariate(1 / scene.seconds_between)))
            name = self.rng.choice(scene.faults)
            self.counts[name] += 1
            await getattr(self, name)()

    def way(self):
        return self.rng.choice(list(self.world.ways.values()))

    def front(self):
        return self.rng.choice(list(self.world.fronts.values()))

    # Connections

    async def cut(self):
        self.way().cut(self.rng.choice((0.3, 1)))

    async def cut_front(self):
        self.front().cut(0.5)

    async def cut_within(self):
        self.rng.choice((self.way(), self.front())).cut_within(20_000)

    async def stall(self):
        await self.way().stall(self.rng.uniform(0.05, 2))

    async def stall_front(self):
        await self.front().stall(self.rng.uniform(0.05, 1))

    async def slow_down(self):
        await self.way().slow(self.rng.choice((5, 50, 300)), self.rng.uniform(0.2, 1))

    async def pieces(self):
        await self.rng.choice((self.way(), self.front())).in_pieces(self.rng.uniform(0.2, 1))

    async def black_hole(self):
        await self.way().black_hole(self.rng.uniform(0.1, 2))

    # Processes

    async def kill_redis(self):
        """It loses nothing that it acknowledged."""
        with self.world.outage():
            self.world.master.kill()
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            await asyncio.to_thread(self.world.master.start)

    async def pause_redis(self):
        with self.world.outage():
            self.world.master.pause()
            await asyncio.sleep(self.rng.uniform(0, 2))
            self.world.master.resume()

    async def lose_redis(self):
        """It comes back with what an older file has, or with nothing."""
        master = self.world.master
        with self.world.outage():
            self.doubt()
            master.kill()
            await asyncio.sleep(self.rng.uniform(0, 0.3))
            for path in master.dir.glob("appendonlydir/*"):
                path.unlink()
            options = master.options
            if (master.dir / "dump.rdb").exists() and self.rng.random() < 0.7:
                master.options = ("--appendonly", "no", "--dbfilename", "dump.rdb")
            await asyncio.to_thread(master.start)
            if master.options is not options:
                await asyncio.to_thread(self.append_again, master)
            master.options = options
            self.certain()
            await self.world.known()

    @staticmethod
    def append_again(master):
        with master.client() as client:
            client.config_set("appendonly", "yes")
            processes.eventually(lambda: not client.info("persistence")["aof_rewrite_in_progress"], "an AOF")

    async def forget(self):
        """Writes the file that it may come back with, or forgets everything at once."""
        if self.rng.random() < 0.7:
            with self.world.master.client() as client:
                await asyncio.to_thread(client.save)
            return
        # Publishers may wait for ways, which need this loop.
        await asyncio.to_thread(self.flush_all)

    def flush_all(self):
        with self.world.outage(), self.world.gate.alone(), self.world.master.client() as client:
            since = time.monotonic()
            client.flushall()
            self.world.emptied(since, time.monotonic())

    async def kill_server(self):
        name = self.rng.choice(list(self.world.servers))
        server = self.world.servers[name]
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    async def drain_server(self):
        name = self.rng.choice(list(self.world.servers))
        server = self.world.servers[name]
        server.signal(15)
        await asyncio.to_thread(server.popen.wait, processes.START_SECONDS)
        await asyncio.to_thread(server.start)

    # What is under all the names

    async def swap(self):
        await asyncio.to_thread(self.swap_now)

    def swap_now(self):
        with self.world.gate.alone(), self.world.master.client() as client:
            since = time.monotonic()
            client.swapdb(0, 1)
            self.world.swapped(since, time.monotonic())

    async def flush_other(self):
        """Of another database: tells of everything, and changes nothing here."""
        with self.world.outage(), redis.Redis(port=self.world.port, db=5) as client:
            client.set("x", 1)
            client.flushdb()

    async def squeeze(self):
        """Redis evicts for a while."""
        with self.world.master.client() as client:
            used = client.info("memory")["used_memory"]
            client.config_set("maxmemory", int(used * self.rng.uniform(0.9, 1.02)))
            await asyncio.sleep(self.rng.uniform(0.05, 0.5))
            client.config_set("maxmemory", 0)

    # Another master

    def doubt(self):
        self.world.doubt_since = time.monotonic() - 1

    def certain(self):
        self.world.generation += 1
        self.world.era += 1

    def replica(self):
        return next(r for r in self.world.redises if r is not self.world.master)

    async def lag(self, replica):
        """The replica misses what is written for a moment."""
        replica.pause()
        with self.world.master.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")
        await asyncio.sleep(self.rng.uniform(0.05, 0.5))

    async def fail_over(self):
        """To a replica that lags, while publishers go on."""
        old, new = self.world.master, self.replica()
        with self.world.outage():
            self.doubt()
            await self.lag(new)
            killed = self.rng.random() < 0.5
            old.kill() if killed else old.pause()
            new.resume()
            with new.client() as client:
                await asyncio.to_thread(client.replicaof, "NO", "ONE")
            self.world.switch(new)
            for way in self.world.ways.values():
                way.cut()
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            await asyncio.to_thread(self.demote, old, new, killed)
            await self.world.known()

    def demote(self, old, new, killed):
        if killed:
            old.start()
        old.resume()
        with old.client() as client:
            client.replicaof("127.0.0.1", new.port)
            processes.eventually(lambda: client.info("replication")["master_link_status"] == "up", "a replica", 30)

    async def plan_over(self):
        """Nothing is lost; connections stay with the old one until they are cut."""
        old, new = self.world.master, self.replica()
        with self.world.outage():
            self.doubt()
            await asyncio.to_thread(self.plan, old, new)
            self.world.switch(new)
            await asyncio.sleep(self.rng.uniform(0, 0.3))
            for way in self.world.ways.values():
                way.cut()
            await self.world.known()

    @staticmethod
    def plan(old, new):
        with old.client() as client, new.client() as other:
            client.execute_command("FAILOVER", "TO", "127.0.0.1", new.port)
            processes.eventually(lambda: other.info("replication")["role"] == "master", "the failover")

    async def fail_over_by_sentinel(self):
        old, new = self.world.master, self.replica()
        sentinel = self.world.sentinel
        with self.world.outage():
            self.doubt()
            await self.lag(new)
            old.kill()
            new.resume()
            await asyncio.to_thread(
                processes.eventually, lambda: sentinel.master_port() == new.port, "the failover", FAIL_OVER_SECONDS
            )
            self.world.switch(new)
            await asyncio.to_thread(self.comes_back, old)
            await self.world.known()

    @staticmethod
    def comes_back(old):
        """Sentinel makes it a replica."""
        old.start()
        with old.client() as client:
            processes.eventually(lambda: client.info("replication").get("master_link_status") == "up", "a replica", 30)
