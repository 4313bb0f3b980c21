"""What an arrival costs the server: its own processor time for one WebSocket that opens, per way of arriving.

    PYTHONPATH=tests/python TASKCAST_BIN=target/release/taskcast python benches/arrivals.py

The ways take turns, round by round, so that what else the machine does meets all of them; the median of the
rounds is printed, with the least and the most. It needs `redis-server`, and what tests/python/requirements.txt has.
"""

import pathlib
import socket
import ssl
import statistics
import sys
import tempfile

import certificates
import processes
from rawsocket import Raw
from support import Worker
from tokens import SECRET, KeyPair, token

ROUNDS, ARRIVALS, WARM_UP = 7, 1_000, 100


class Way:
    """A server, and how one arrives at it."""

    def __init__(self, name, redis, config=None, tls=None, token=None, resumes=False):
        self.name, self.token, self.resumes = name, token, resumes
        self.server = processes.Taskcast(redis, "--workers", "1", config=config, tls=tls)
        self.context = self.server.tls
        self.session = None
        self.costs = []

    def arrive(self, path):
        plain = socket.create_connection(("127.0.0.1", self.server.port))
        viewer = Raw.__new__(Raw)
        viewer.socket, viewer.port, viewer.buffer, viewer.token = plain, self.server.port, b"", self.token
        if self.context:
            session = self.session if self.resumes else None
            viewer.socket = self.context.wrap_socket(plain, server_hostname="127.0.0.1", session=session)
        viewer.open(path)
        assert viewer.read_json()["update_type"] == "initial_state"
        if self.context:
            assert viewer.socket.session_reused == (self.resumes and self.session is not None)
            self.session = viewer.socket.session
        viewer.socket.close()

    def processor_ns(self):
        threads = pathlib.Path(f"/proc/{self.server.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads)

    def measure(self, path, arrivals):
        before = self.processor_ns()
        for _ in range(arrivals):
            self.arrive(path)
        return (self.processor_ns() - before) / arrivals / 1_000


def main():
    redis = processes.RedisServer()
    worker = Worker(redis.client())
    path = f"/api/v1/ws/tasks/{worker.thread}"
    directory = pathlib.Path(tempfile.mkdtemp())
    tls = certificates.make(directory)
    pair = KeyPair("ES256")
    (directory / "es256.pem").write_text(pair.pem)
    grants = {"watch": [worker.thread]}
    by_secret = f'[[access.jwt]]\nsecret = "{SECRET}"\n'
    by_key = f'[[access.jwt]]\npublic_key_file = "{directory / "es256.pem"}"\n'
    ways = [
        Way("plain", redis),
        Way("plain again", redis),
        Way("a token, HS256", redis, config=by_secret, token=token(grants)),
        Way("a token, ES256", redis, config=by_key, token=pair.token(grants)),
        Way("TLS 1.3, ECDSA P-256, full", redis, tls=tls),
        Way("TLS 1.3, ECDSA P-256, resumed", redis, tls=tls, resumes=True),
    ]
    try:
        for way in ways:
            way.measure(path, WARM_UP)
        for _ in range(ROUNDS):
            for way in ways:
                way.costs.append(way.measure(path, ARRIVALS))
        bare = statistics.median(ways[0].costs)
        print(f"{'an arrival':32} {'µs':>7} {'least':>7} {'most':>7} {'more than plain':>16}")
        for way in ways:
            median = statistics.median(way.costs)
            print(f"{way.name:32} {median:7.1f} {min(way.costs):7.1f} {max(way.costs):7.1f} {median - bare:16.1f}")
    finally:
        for way in ways:
            way.server.remove()
        redis.remove()


if __name__ == "__main__":
    sys.exit(main())
