"""An application that decides who may what, as `access.ask` asks it: a real HTTP server that says yes, no or nothing,
or lies."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# Ways in which it does not answer, beside bodies that are none.
MISBEHAVIOURS = ["hangs", "fails", "redirects", "closes", "drips", "endless"]


class Server(ThreadingHTTPServer):
    # As many as there are questions at once.
    request_queue_size = 512
    daemon_threads = True


class Application:
    """`says(question)` is what it answers: a value as JSON, bytes as they are, or the name of a misbehaviour."""

    def __init__(self):
        self.says = lambda question: {"allow": True, "seconds": 300}
        self.asked, self.headers, self.connections = [], [], 0
        # Of the questions that came in, how many were not answered at the same time at most.
        self.open = self.open_max = 0
        self.go_on = threading.Event()
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self):
                super().setup()
                with outer.lock:
                    outer.connections += 1

            def do_POST(self):
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer.lock:
                    outer.asked.append(question)
                    outer.headers.append({name.lower(): value for name, value in self.headers.items()})
                    outer.open += 1
                    outer.open_max = max(outer.open_max, outer.open)
                try:
                    self.answer(outer.says(question))
                except OSError:
                    self.close_connection = True
                finally:
                    with outer.lock:
                        outer.open -= 1

            def answer(self, said):
                status = 200
                if said in MISBEHAVIOURS or type(said) is int:
                    if type(said) is int:
                        status, said = said, {"allow": True}
                    elif said == "hangs":
                        outer.go_on.wait(30)
                    elif said == "fails":
                        status, said = 500, {"allow": True}
                    elif said == "closes":
                        self.close_connection = True
                        return
                    elif said == "redirects":
                        self.send_response(302)
                        self.send_header("Location", "/elsewhere")
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                        return
                    elif said == "drips":
                        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
                        while not outer.go_on.is_set():
                            self.wfile.write(b"x: y\r\n")
                            time.sleep(0.05)
                        return
                    elif said == "endless":
                        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n{\"allow\":true,\"x\":\"")
                        while not outer.go_on.is_set():
                            self.wfile.write(b"x" * 65_536)
                        return
                body = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}/may-watch"

    def config(self, headers=("cookie",), timeout_ms=10_000, cache_s=600, more=""):
        """A configuration that asks it."""
        return (
            f'{more}\n[access.ask]\nurl = "{self.url}"\nheaders = {json.dumps(list(headers))}\n'
            f"timeout_ms = {timeout_ms}\ncache_s = {cache_s}\n"
        )

    def close(self):
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()
