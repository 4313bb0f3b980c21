"""The examples that say who may watch, asked by a real server: with FastAPI, and with Express."""

import os
import shutil
import subprocess
import sys

import pytest

from processes import ROOT, Process, environment, eventually, free_port, request
from support import Worker, closed, connect, initial, new_thread

EXPRESS = "express@5.3.0"
MODULES = ROOT / "target/test-node"


def fastapi(process, port):
    module = ["-m", "uvicorn", "--app-dir", str(ROOT / "examples"), "may_watch_fastapi:app"]
    process.spawn([sys.executable, *module, "--port", str(port)], environment())


def express(process, port):
    if not (MODULES / "node_modules/express").exists():
        MODULES.mkdir(parents=True, exist_ok=True)
        npm = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(MODULES), EXPRESS]
        subprocess.run(npm, check=True, timeout=50)
    # Where it finds what it imports.
    script = MODULES / f"may-watch-express-{os.getpid()}.mjs"
    shutil.copy(ROOT / "examples/may-watch-express.mjs", script)
    process.spawn(["node", str(script)], {**environment(), "PORT": str(port)})


@pytest.fixture(params=[fastapi, express], ids=["fastapi", "express"])
def url(request):
    process, port = Process("application"), free_port()
    request.param(process, port)
    yield f"http://127.0.0.1:{port}/may-watch"
    process.remove()


async def test_the_example_says_who_may_watch(start_server, redis_server, url):
    config = f'[access.ask]\nurl = "{url}"\nheaders = ["cookie"]\n'
    server = start_server(redis_server, config=config)
    adas, bobs = (Worker(redis_server.client(), thread=name + new_thread()) for name in ("ada-", "bob-"))
    cookie = lambda value: {"Cookie": f"theme=dark; session={value}", "Origin": server.http}
    status = lambda worker, value: request(server, "GET", f"/api/v1/tasks/{worker.thread}", headers=cookie(value))[0]
    eventually(lambda: status(adas, "the-session-of-ada") == 200)
    assert status(bobs, "the-session-of-bob") == 200
    for worker, value in [(bobs, "the-session-of-ada"), (adas, "nobody's"), (adas, "")]:
        assert status(worker, value) == 403
    assert request(server, "POST", f"/api/v1/tasks/{adas.thread}/updates", {"message": "m"}, cookie("the-session-of-ada"))[0] == 403
    assert request(server, "GET", "/api/v1/tasks", headers=cookie("the-session-of-ada"))[0] == 403
    async with connect(server, adas.thread, additional_headers=cookie("the-session-of-ada")) as ws:
        await initial(ws)
    async with connect(server, bobs.thread, additional_headers=cookie("the-session-of-ada")) as ws:
        assert (await closed(ws))[0] == 4003
