"""What deploy/ has for nginx and HAProxy: paths, origins, and servers that are restarted in turn under
many viewers who come back at once."""

import asyncio
import http.client
import json
import random
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import websockets
from websockets.asyncio.client import connect as ws_connect

import certificates
from proxies_of_deploy import FILES, Proxy
from support import Worker, in_order, is_of_state, new_thread, task_path

VIEWERS = 200
TASKS = 4
JITTER_SECONDS = 0.5
# In all; it only ends what fails.
PATIENCE_SECONDS = 120
PAGE_OF_ANOTHER = "https://other.example"


class Agent(BaseHTTPRequestHandler):
    """The agent's own API: says that it was the agent."""

    def do_GET(self):
        body = json.dumps({"agent": self.path, "host": self.headers["Host"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def agent():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    return certificates.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def servers(redis_server, start_server):
    """Two on one Redis. Where they go away, all viewers are closed at the same time."""
    flags = ("--workers", "1", "--drain-seconds", "0", "--cors-origin", "https://app.example")
    return [start_server(redis_server, *flags) for _ in range(2)]


@pytest.fixture(params=FILES)
def proxy(request, servers, agent, tls):
    proxy = Proxy(request.param, servers, agent, tls)
    proxy.file = request.param
    yield proxy
    proxy.remove()


def context(proxy):
    return ssl.create_default_context(cafile=proxy.authority)


def dial(proxy, path, **options):
    url = f"wss://127.0.0.1:{proxy.port}{path}"
    return ws_connect(url, ssl=context(proxy), compression=None, proxy=None, **options)


def get(proxy, path, method="GET"):
    """An HTTP request over TLS: (status, body as JSON where it is JSON)."""
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=15, context=context(proxy))
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        text = reply.read()
        return reply.status, json.loads(text) if text.startswith(b"{") else text
    finally:
        connection.close()


async def test_a_page_of_the_server_itself_may_open_a_socket_and_others_may_not(proxy, viewed):
    own = f"https://127.0.0.1:{proxy.port}"
    for path in (task_path(viewed.thread), "/api/v1/ws"):
        for origin in (own, "https://app.example", None):
            async with dial(proxy, path, origin=origin):
                pass
        with pytest.raises(websockets.InvalidStatus) as refused:
            await dial(proxy, path, origin=PAGE_OF_ANOTHER)
        assert refused.value.response.status_code == 403


def test_each_path_goes_where_it_belongs(proxy, viewed):
    info = get(proxy, f"/api/v1/tasks/{viewed.thread}/stream-info")[1]
    assert info["thread_id"] == viewed.thread
    assert get(proxy, task_path(viewed.thread))[0] == 426 and get(proxy, "/api/v1/ws")[0] == 426
    others = ["/", "/metrics", "/api/v1/tasks", f"/api/v1/tasks/{viewed.thread}", "/api/v1/wsx"]
    others += [f"/api/v1/threads/{viewed.thread}", f"/api/v1/threads/{viewed.thread}/cancel"]
    if "agent" in proxy.file:
        for path in others:
            assert get(proxy, path)[1] == {"agent": path, "host": f"127.0.0.1:{proxy.port}"}
        assert get(proxy, "/api/v1/tasks", "POST")[1]["agent"] == "/api/v1/tasks"
    else:
        assert get(proxy, "/metrics")[0] == 404
        assert get(proxy, f"/api/v1/threads/{viewed.thread}")[1]["thread_id"] == viewed.thread


class Viewer:
    """One who comes back at once wherever the connection ends, and misses and repeats nothing."""

    def __init__(self, proxy, worker):
        self.proxy, self.worker = proxy, worker
        self.first = self.position = None
        self.ids = []
        self.connected = False
        self.lost_at = None
        self.outage_max = 0.0
        self.closed = 0

    async def run(self):
        while True:
            try:
                async with dial(self.proxy, task_path(self.worker.thread, self.position)) as socket:
                    async for message in socket:
                        self.take(json.loads(message))
            except (OSError, websockets.WebSocketException):
                pass
            if self.connected:
                self.connected, self.lost_at = False, asyncio.get_running_loop().time()
                self.closed += 1
            await asyncio.sleep(random.uniform(0, JITTER_SECONDS))

    def take(self, frame):
        if is_of_state(frame):
            return
        if "prev_stream_id" in frame:
            assert frame["prev_stream_id"] == self.position, frame
            self.position = frame["stream_id"]
            self.ids.append(self.position)
        elif frame["update_type"] == "initial_state":
            assert self.first is None, frame
            self.first = self.position = frame["stream_id"]
        else:
            assert frame["update_type"] == "caught_up", frame
        self.connected = True
        if self.lost_at is not None:
            outage = asyncio.get_running_loop().time() - self.lost_at
            self.outage_max, self.lost_at = max(self.outage_max, outage), None

    def has_all(self):
        """Each entry of the stream since the first position, once."""
        entries = self.worker.redis.xrange(self.worker.stream, min=f"({self.first}")
        return self.ids == [id for id, _ in entries]


async def until(check, viewers):
    """Waits until `check` holds, or a viewer has failed, which is raised."""
    while not check():
        for viewer in viewers:
            if viewer.done():
                viewer.result()
        await asyncio.sleep(0.05)


@pytest.mark.timeout(2 * PATIENCE_SECONDS)
async def test_servers_are_restarted_in_turn_under_viewers(proxy, servers, redis_server):
    workers = [Worker(redis_server.client(), new_thread()) for _ in range(TASKS)]
    for worker in workers:
        worker.update("before")
    viewers = [Viewer(proxy, workers[number % TASKS]) for number in range(VIEWERS)]
    running = [asyncio.create_task(viewer.run()) for viewer in viewers]
    everybody = lambda: all(viewer.connected for viewer in viewers)
    published = threading.Event()

    def publish():
        number = 0
        while not published.wait(0.02):
            workers[number % TASKS].update(f"update {number}")
            number += 1

    publishing = asyncio.create_task(asyncio.to_thread(publish))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await until(everybody, running)
            # One right after the other, then each when everybody is back.
            for number, server in enumerate(2 * servers):
                if number >= len(servers):
                    await until(everybody, running)
                assert await asyncio.to_thread(server.stop) == 0
                await asyncio.to_thread(server.start)
            await until(everybody, running)
            published.set()
            await publishing
            ends = {worker: worker.update("after") for worker in workers}
            arrived = lambda viewer: in_order(viewer.position) >= in_order(ends[viewer.worker])
            await until(lambda: all(map(arrived, viewers)), running)
    finally:
        published.set()
        for task in running:
            task.cancel()
    left_out = [viewer for viewer in viewers if not viewer.has_all()]
    assert not left_out, f"{len(left_out)} of {VIEWERS} do not have each entry once"
    outages = sorted(viewer.outage_max for viewer in viewers)
    print(f"\n{proxy.file}: {sum(viewer.closed for viewer in viewers)} times closed, "
          f"longest outage {outages[-1]:.2f} s, median {outages[VIEWERS // 2]:.2f} s")
