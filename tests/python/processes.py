"""The processes of a test: a real redis-server, Redis Sentinel, and Taskcast itself.

Each has its own port and directory, and dies with its owner.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.request

import redis

ROOT = pathlib.Path(__file__).resolve().parents[2]
START_SECONDS = 20


def binary():
    """The program under test."""
    if path := os.environ.get("TASKCAST_BIN"):
        return os.path.abspath(path)
    return str(pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/taskcast")


def environment():
    """The environment, without what is told to the tests and would be read by the program."""
    own = ("TASKCAST_", "REDIS_URL", "RUST_LOG")
    return {name: value for name, value in os.environ.items() if not name.startswith(own)}


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def eventually(check, what="the condition", seconds=START_SECONDS):
    """Asks `check` until it answers with something true, and returns that."""
    end = time.monotonic() + seconds
    while True:
        if found := check():
            return found
        assert time.monotonic() < end, f"{what} did not come true within {seconds} s"
        time.sleep(0.02)


class Process:
    """A child process with a directory of its own and a log file."""

    def __init__(self, name):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=f"taskcast-test-{name}-"))
        self.log_path = self.dir / "log"
        self.popen = None

    def spawn(self, argv, env=None):
        with open(self.log_path, "ab") as log:
            self.popen = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir, env=env
            )

    @property
    def log(self):
        """Everything it has written to its standard streams so far."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def said(self, text):
        """The lines of the log with that text, once there is one: what is logged is written by a
        thread of its own, a moment later."""
        there = lambda: [line for line in self.log.splitlines() if text in line]
        return eventually(there, f"'{text}' in the log")

    @property
    def pid(self):
        return self.popen.pid

    @property
    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number):
        if self.running:
            self.popen.send_signal(number)

    def pause(self):
        """It stands still and keeps its sockets, as in a stall."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """It dies at once, as in a crash."""
        self.signal(signal.SIGKILL)
        return self.popen.wait(START_SECONDS) if self.popen else None

    def stop(self, seconds=START_SECONDS):
        """It is asked to end; returns the exit code."""
        self.resume()
        self.signal(signal.SIGTERM)
        return self.popen.wait(seconds) if self.popen else None

    def remove(self):
        """The end of the test."""
        self.resume()
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)


class RedisServer(Process):
    """A redis-server on a free port; further arguments are options of redis-server."""

    def __init__(self, *options, port=None):
        super().__init__("redis")
        self.port = port or free_port()
        self.options = options
        self.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self, **options):
        return redis.Redis(port=self.port, **{"decode_responses": True, **options})

    def start(self):
        self.spawn(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.dir)]
            + ["--save", "", "--appendonly", "no", *map(str, self.options)]
        )
        eventually(self._answers, f"redis-server on {self.port}\n{self.log}")

    def _answers(self):
        try:
            with self.client() as client:
                return client.ping()
        except redis.RedisError:
            return False


class Sentinel(Process):
    """A Redis Sentinel that watches one master and gives up on it quickly."""

    def __init__(self, master_port, name="tasks"):
        super().__init__("sentinel")
        self.port = free_port()
        self.name = name
        config = self.dir / "sentinel.conf"
        config.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.dir}\n"
            f"sentinel monitor {name} 127.0.0.1 {master_port} 1\n"
            f"sentinel down-after-milliseconds {name} 1500\n"
            f"sentinel failover-timeout {name} 3000\n"
        )
        self.spawn(["redis-server", str(config), "--sentinel"])
        eventually(self._knows_replica, "the sentinel's view of a replica")

    @property
    def url(self):
        return f"redis+sentinel://127.0.0.1:{self.port}/{self.name}/0"

    def client(self):
        return redis.Redis(port=self.port, decode_responses=True)

    def master_port(self):
        """The port of the master as the sentinel sees it now."""
        with self.client() as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.name)[1])

    def _knows_replica(self):
        try:
            with self.client() as client:
                return client.execute_command("SENTINEL", "REPLICAS", self.name)
        except redis.RedisError:
            return False


class Taskcast(Process):
    """`taskcast serve` on a free port. `config` is the text of its taskcast.toml.

    With `tls`, a directory of `certificates.make`, it speaks TLS, as does whoever asks it.
    """

    def __init__(self, redis_server=None, *args, config=None, port=None, redis_url=None, tls=None, wait=True):
        super().__init__("server")
        self.port = port or free_port()
        self.redis_server = redis_server
        self.args = list(args)
        self.tls = tls and ssl.create_default_context(cafile=tls / "authority.crt")
        if tls:
            self.args += ["--tls-certificate", str(tls / "server.crt"), "--tls-key", str(tls / "server.key")]
        if url := redis_url or (redis_server and redis_server.url):
            self.args += ["--redis", url]
        if config is not None:
            path = self.dir / "taskcast.toml"
            path.write_text(config)
            self.args += ["--config", str(path)]
        self.start(wait)

    @property
    def http(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def ws(self):
        return f"{'wss' if self.tls else 'ws'}://127.0.0.1:{self.port}"

    @property
    def redis(self):
        """A client of the Redis behind it."""
        return self.redis_server.client()

    def start(self, wait=True):
        self.spawn([binary(), "serve", "--listen", f"127.0.0.1:{self.port}", *self.args], environment())
        if wait:
            self.wait_ready()

    def wait_ready(self):
        eventually(self._ready, f"{self.http}/readyz\n{self.log}")

    def restart(self):
        """A crash and a new process on the same address."""
        self.kill()
        self.start()

    def _ready(self):
        assert self.running, f"taskcast ended with {self.popen.returncode}:\n{self.log}"
        return self.status("/readyz") == 200

    def status(self, path):
        """The HTTP status of a GET; none where nobody answers."""
        connection = http_connection(self, 5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def metrics(self):
        """The samples of /metrics: name with labels -> value."""
        with urllib.request.urlopen(f"{self.http}/metrics", timeout=5, context=self.tls) as reply:
            lines = reply.read().decode().splitlines()
        rows = [line.rsplit(" ", 1) for line in lines if line and not line.startswith("#")]
        return {name: float(value) for name, value in rows}

    def rss_kib(self):
        """Its resident memory."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")


def http_connection(server, timeout, context=None):
    """A connection to a server, or to a proxy that stands for one, over TLS where it speaks that."""
    if tls := context or getattr(server, "tls", None):
        return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=timeout, context=tls)
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=timeout)


def request(server, method, path, body=None, headers=None, timeout=15, context=None):
    """One HTTP request: (status, headers, body as JSON where it is JSON, else as text)."""
    connection = http_connection(server, timeout, context)
    try:
        if isinstance(body, (dict, list)):
            body, headers = json.dumps(body), {"Content-Type": "application/json", **(headers or {})}
        headers = headers or {}
        chunked = "Transfer-Encoding" in headers
        connection.request(method, path, body, headers, encode_chunked=chunked)
        reply = connection.getresponse()
        text = reply.read().decode()
        is_json = "json" in reply.headers.get("Content-Type", "")
        return reply.status, reply.headers, json.loads(text) if is_json and text else text
    finally:
        connection.close()
