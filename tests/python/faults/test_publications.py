"""Very many publications through connections that are cut at every byte of request and reply, with
servers killed in between: each is written exactly once, or nobody knows and it is when it comes again.

TASKCAST_PUBLICATIONS says how many the long form has.
"""

import collections
import http.client
import itertools
import json
import os
import random
import threading
import time

import pytest

from cuttingproxy import CutReply, CutRequest, CuttingProxy
from processes import eventually, request
from support import Worker

MANY = int(os.environ.get("TASKCAST_PUBLICATIONS", 100_000))
TASKS = 20
PUBLISHERS = 6
# A connection is cut in the middle of one publication out of so many.
CUT_ONE_IN = 7
# A reply has about so many bytes.
REPLY_BYTES = 72
CONFIG = "[limits]\nstream_length_max = 1000000\nredis_response_timeout_ms = 1500\n"


class EveryByte:
    """Cuts at one byte after the other of what is sent and answered; `stride` leaves some out."""

    def __init__(self, stride):
        self.publications = itertools.count(1)
        self.places = itertools.count(0, stride)
        self.cut_at, self.last_place = set(), 0

    def __call__(self, command):
        if next(self.publications) % CUT_ONE_IN:
            return None
        if b"EVALSHA" in command:
            self.last_place = max(self.last_place, len(command) + REPLY_BYTES)
        place = next(self.places) % (len(command) + REPLY_BYTES)
        self.cut_at.add(place)
        return CutRequest(place) if place < len(command) else CutReply(place - len(command))


class Publisher(threading.Thread):
    """Publishes one after the other until there is nothing left, and notes what it was told."""

    def __init__(self, server, others, numbers, threads, keyed):
        super().__init__(daemon=True)
        self.home, self.servers = server, [server, *others]
        self.numbers, self.threads, self.keyed = numbers, threads, keyed
        # Message -> the id that was answered; messages that were not written; answers by status.
        self.ids, self.refused, self.told = {}, [], collections.Counter()
        self.connection = None

    def run(self):
        for number in self.numbers:
            self.publish(number)
        self.drop()

    def publish(self, number):
        thread, key = random.choice(self.threads), f"key-{number}" if self.keyed else None
        if self.servers[0] is not self.home and random.random() < 0.05:
            self.go_elsewhere()
        for attempt in itertools.count():
            # What was refused is another thing when it is asked for again.
            message = f"{number}" if key else f"{number}.{attempt}"
            status, reply = self.ask(thread, message, key)
            self.told[status] += 1
            if status == 202:
                self.ids[message] = reply["stream_id"]
                return
            if status == 504:
                assert key in (None, reply["idempotency_key"])
                self.insist(thread, message, reply["idempotency_key"])
                return
            assert status == 503 or (status is None and key), (status, reply)
            if not key:
                self.refused.append(message)
            time.sleep(0.02)

    def insist(self, thread, message, key):
        """Comes again until it is known."""
        while True:
            status, reply = self.ask(thread, message, key)
            self.told[status] += 1
            if status == 202:
                self.ids[message] = reply["stream_id"]
                return
            assert status in (503, 504, None), (status, reply)
            time.sleep(0.02)

    def ask(self, thread, message, key):
        """Status and body; no status where the server is gone: then another one is asked next."""
        headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
        try:
            if self.connection is None:
                port = self.servers[0].port
                self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            path = f"/api/v1/tasks/{thread}/updates"
            self.connection.request("POST", path, json.dumps({"message": message}), headers)
            reply = self.connection.getresponse()
            return reply.status, json.loads(reply.read())
        except (OSError, http.client.HTTPException):
            self.go_elsewhere()
            return None, None

    def go_elsewhere(self):
        self.drop()
        self.servers.append(self.servers.pop(0))

    def drop(self):
        if self.connection:
            self.connection.close()
        self.connection = None


class Trouble(threading.Thread):
    """Kills and starts again what is given, in turns, until it is told to stop."""

    def __init__(self, pause, *restarts):
        super().__init__(daemon=True)
        self.pause, self.restarts = pause, restarts
        self.stopping, self.done = threading.Event(), 0

    def run(self):
        for restart in itertools.cycle(self.restarts):
            if self.stopping.wait(self.pause):
                return
            restart()
            self.done += 1

    def stop(self):
        self.stopping.set()
        self.join()


@pytest.mark.parametrize("count, stride, pause", [
    pytest.param(2_000, 37, 0.7, id="short"),
    pytest.param(MANY, 1, 5.0, id="long", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
])
def test_each_publication_is_written_exactly_once(start_redis, start_server, count, stride, pause):
    redis_server = start_redis("--appendonly", "yes", "--appendfsync", "no")
    cuts = [EveryByte(stride) for _ in range(2)]
    proxies = [CuttingProxy(redis_server, rule) for rule in cuts]
    # Nobody kills the steady one: what it is asked for has no key. Who publishes through the other
    # has a key for each, and takes it to the steady one where that is needed.
    steady, shaky = [
        start_server(None, "--workers", "1", redis_url=proxy.url, config=CONFIG) for proxy in proxies
    ]
    threads = [Worker(redis_server.client()).thread for _ in range(TASKS)]

    numbers = iter(range(count))
    lock = threading.Lock()

    def each():
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            yield number

    def restart_redis():
        redis_server.kill()
        redis_server.start()

    publishers = [Publisher(steady, [], each(), threads, keyed=False) for _ in range(PUBLISHERS)]
    publishers += [Publisher(shaky, [steady], each(), threads, keyed=True) for _ in range(PUBLISHERS)]
    trouble = Trouble(pause, shaky.restart, restart_redis)
    begun = time.monotonic()
    for thread in [trouble, *publishers]:
        thread.start()
    for publisher in publishers:
        publisher.join()
    trouble.stop()
    took = time.monotonic() - begun
    for proxy in proxies:
        proxy.close()

    # What is on its way still is refused, as its time is over.
    time.sleep(2)
    redis = redis_server.client()
    eventually(redis.ping, "redis")
    written = collections.defaultdict(list)
    for thread in threads:
        for id, fields in redis.xrange(f"sre:stream:task:{thread}"):
            written[fields["message"]].append(id)
        updates = redis.lrange(f"sre:thread:{thread}:updates", 0, -1)
        assert len({json.loads(update)["message"] for update in updates}) == len(updates)

    ids, refused, told = {}, [], collections.Counter()
    for publisher in publishers:
        ids.update(publisher.ids)
        refused += publisher.refused
        told += publisher.told
    print(
        f"{count} publications in {took:.0f} s: answers {dict(told)}, "
        f"{sum(proxy.cuts for proxy in proxies)} cuts at {len(cuts[0].cut_at | cuts[1].cut_at)} of "
        f"{max(rule.last_place for rule in cuts)} places, "
        f"{trouble.done} kills"
    )
    assert len(ids) == count
    assert {message: [id] for message, id in ids.items()} == dict(written)
    assert not [message for message in refused if message in written]
    assert trouble.done and all(proxy.cuts for proxy in proxies)


def test_a_failover_keeps_or_loses_a_publication_with_its_record(start_redis, start_server, start_sentinel):
    master = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {master.port}")
    eventually(lambda: replica.client().info("replication")["master_link_status"] == "up")
    sentinel = start_sentinel(master.port)
    server = start_server(redis_url=sentinel.url, config=CONFIG)
    worker = Worker(master.client())

    def post(message):
        path, headers = f"/api/v1/tasks/{worker.thread}/updates", {"Idempotency-Key": message}
        status, _, reply = request(server, "POST", path, {"message": message}, headers)
        return status, reply

    kept = post("kept")
    assert kept[0] == 202
    worker.redis.execute_command("WAIT", 1, 5000)
    replica.pause()
    worker.redis.execute_command("CLIENT", "KILL", "TYPE", "replica")
    lost = post("lost")
    assert lost[0] == 202
    master.kill()
    replica.resume()
    eventually(lambda: sentinel.master_port() == replica.port, "the failover", 30)
    eventually(lambda: post("after")[0] == 202, "a publication", 30)
    assert post("kept") == kept
    again = post("lost")
    assert again[0] == 202 and post("lost") == again
    entries = [fields["message"] for _, fields in replica.client().xrange(worker.stream)]
    assert sorted(entries) == ["after", "kept", "lost"]
