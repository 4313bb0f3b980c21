"""nginx with the file of deploy/ that has it ask the application, by auth_request."""

import http.client
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import websockets
from websockets.asyncio.client import connect as ws_connect

import certificates
from proxies_of_deploy import Proxy
from support import Worker, initial, new_thread, receive, task_path


class Application(BaseHTTPRequestHandler):
    """Ada may see what begins with her name."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        may = self.path == "/may-watch" and self.headers["Cookie"] == "session=ada" and self.headers["X-Task"].startswith("ada-")
        self.send_response(200 if may else 403)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def proxy(start_server, redis_server, tmp_path):
    application = ThreadingHTTPServer(("127.0.0.1", 0), Application)
    threading.Thread(target=application.serve_forever, daemon=True).start()
    tls = certificates.make(tmp_path)
    servers = [start_server(redis_server, "--cors-origin", "https://tasks.example") for _ in range(2)]
    proxy = Proxy("nginx-auth-request.conf", servers, application.server_address[1], tls)
    yield proxy
    proxy.remove()
    application.shutdown()


def context(proxy):
    return ssl.create_default_context(cafile=proxy.authority)


def dial(proxy, path, cookie="session=ada", origin=None):
    headers = {"Cookie": cookie}
    origin = origin or f"https://127.0.0.1:{proxy.port}"
    url = f"wss://127.0.0.1:{proxy.port}{path}"
    return ws_connect(url, ssl=context(proxy), compression=None, proxy=None, additional_headers=headers, origin=origin)


def status(proxy, path, cookie="session=ada", method="GET"):
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=15, context=context(proxy))
    try:
        connection.request(method, path, headers={"Cookie": cookie})
        return connection.getresponse().status
    finally:
        connection.close()


async def test_nginx_lets_through_what_the_application_allows(proxy, redis_server):
    adas, bobs = (Worker(redis_server.client(), thread=name + new_thread()) for name in ("ada-", "bob-"))
    async with dial(proxy, task_path(adas.thread)) as ws:
        await initial(ws)
        adas.update("for ada")
        assert (await receive(ws))["message"] == "for ada"
    for path, cookie, origin in [
        (task_path(bobs.thread), "session=ada", None),
        (task_path(adas.thread), "session=eve", None),
        (task_path(adas.thread), "session=ada", "https://evil.example"),
        ("/api/v1/ws", "session=ada", None),
    ]:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await dial(proxy, path, cookie, origin)
        assert refused.value.response.status_code in (403, 404), path
    task = f"/api/v1/tasks/{adas.thread}"
    assert status(proxy, task) == status(proxy, f"{task}/stream-info") == 200
    assert status(proxy, f"/api/v1/tasks/{bobs.thread}") == 403
    # A path that means two things to two servers is let through by none.
    odd = f"/api/v1/tasks/{adas.thread}/../{bobs.thread}"
    assert status(proxy, odd) in (403, 404)
    assert status(proxy, f"/api/v1/tasks/{bobs.thread}/../{adas.thread}") == 404
    for path in ("/", "/metrics", "/api/v1/tasks", "/may-watch"):
        assert status(proxy, path) == 404, path
    assert status(proxy, f"{task}/updates", method="POST") == 404
