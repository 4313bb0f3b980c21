"""The examples, run as a reader of them would: the Python client and the browser page."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from urllib.parse import parse_qs, urlparse

import certificates as authority
import pytest
import tokens
import websockets
from browser import Visit, chromium
from jobs import CONFIG, Job
from processes import ROOT, Process, eventually, free_port
from support import Worker, stream_key
from today import Today

CLIENT = ROOT / "examples/websocket_client.py"
PAGE = ROOT / "examples/browser.html"
DONE = {"update_type": "status_change", "status": "done"}


class Client(Process):
    """The Python example as a process; its output is its log."""

    def __init__(self, server, *args):
        super().__init__("client")
        direct = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
        self.spawn([sys.executable, str(CLIENT), "--url", server, *args], direct)

    def wait_for(self, text):
        eventually(lambda: text in self.log, f"{text!r} in the client's output")

    def exit_code(self):
        return self.popen.wait(30)

    def messages(self):
        """The messages of the updates it printed."""
        return re.findall(r"^[\d:-]{8}  (?: *\d+%|    )   (.*)$", self.log, re.MULTILINE)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return authority.make(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def client():
    clients = []

    def start(*args):
        clients.append(Client(*args))
        return clients[-1]

    yield start
    for one in clients:
        one.remove()


def test_it_shows_its_token_over_tls(client, start_server, redis_server, certificates, monkeypatch):
    server = start_server(redis_server, tls=certificates, config=tokens.CONFIG)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "authority.crt"))
    worker = Worker(redis_server.client())
    for shown, code, said in (
        (None, 2, "the token does not count"),
        (tokens.token({"watch": ["another"]}), 2, "does not grant this task"),
        (tokens.API_KEY, 0, "over TLS"),
    ):
        monkeypatch.setenv("TASKCAST_TOKEN", shown or "")
        if code == 0:
            worker.update("over TLS")
            worker.status("done")
        one = client(server.http, worker.thread)
        assert one.exit_code() == code and said in one.log, one.log


def test_the_test_task_is_created_and_followed_to_its_end(client, server):
    one = client(server.http, "--create-test")
    assert one.exit_code() == 0, one.log
    assert len(one.messages()) == len(set(one.messages())) == 4
    assert one.log.rstrip().endswith("status done")
    assert one.log.count("result {") == 1


@pytest.mark.parametrize(
    "status, code", [("completed", 0), ("done", 0), ("failed", 1), ("cancelled", 1)]
)
def test_the_exit_code_tells_how_the_task_ended(client, server, viewed, status, code):
    one = client(server.http, viewed.thread)
    one.wait_for("status queued")
    viewed.status(status)
    assert one.exit_code() == code, one.log
    assert client(server.http, viewed.thread).exit_code() == code


def test_the_exit_code_tells_a_wrong_command_line_and_an_unknown_task(client, server):
    for args in ([], ["x", "--create-test"], ["x", "--since", "y"], ["no-such-task"], ["a b"]):
        assert client(server.http, *args).exit_code() == 2, args
    assert client("ftp://x", "x").exit_code() == 2
    assert client(f"http://127.0.0.1:{free_port()}", "--create-test").exit_code() == 2


def test_since_goes_on_after_an_entry(client, server, viewed):
    viewed.update("first")
    position = viewed.update("second")
    viewed.update("third", metadata={"step": 1, "total_steps": 4})
    viewed.status("done")
    one = client(server.http, viewed.thread, "--since", position)
    assert one.exit_code() == 0, one.log
    assert one.messages() == ["third"] and " 25%" in one.log
    everything = client(server.http, viewed.thread, "--since", "0")
    assert everything.exit_code() == 0, everything.log
    assert everything.messages() == ["first", "second", "third"]


def test_since_the_end_of_a_finished_task_still_ends(client, server, viewed):
    end = viewed.status("done")
    assert client(server.http, viewed.thread, "--since", end).exit_code() == 0


def test_a_restarted_server_loses_and_repeats_nothing(client, start_redis, start_server):
    server = start_server(start_redis())
    worker = Worker(server.redis)
    one = client(server.http, worker.thread)
    one.wait_for("status queued")
    worker.update("before")
    one.wait_for("before")
    server.kill()
    one.wait_for("connecting again")
    missed = [f"missed {number}" for number in range(20)]
    for message in missed:
        worker.update(message)
    server.start()
    one.wait_for(missed[-1])
    worker.update("after")
    worker.status("done")
    assert one.exit_code() == 0, one.log
    assert one.messages() == ["before", *missed, "after"]


def test_a_trimmed_log_is_reported_and_its_updates_not_repeated(client, start_redis, start_server):
    server = start_server(start_redis())
    worker = Worker(server.redis)
    one = client(server.http, worker.thread)
    one.wait_for("status queued")
    worker.update("seen")
    one.wait_for("seen")
    server.kill()
    worker.update("trimmed")
    worker.update("missed")
    # From now on it is old enough to prove those before it old, which have no entry any more.
    time.sleep(2.1)
    worker.status("done")
    server.redis.xtrim(worker.stream, maxlen=2, approximate=False)
    server.start()
    assert one.exit_code() == 0, one.log
    assert one.log.count("-- gap (trimmed)") == 1
    assert one.messages() == ["seen", "trimmed", "missed"]


def test_nothing_from_a_publisher_steers_the_terminal(client, server, viewed):
    one = client(server.http, viewed.thread)
    one.wait_for("status queued")
    viewed.update("\x1b[2J\x1b]0;title\x07red\r\nline")
    viewed.publish("\x1b[31m", message={"nested": "\x9b1m"})
    viewed.raw("update_type", "thread_update", "metadata", '{"progress":"x","step":[]}')
    viewed.raw("odd", "entry")
    viewed.status("done")
    assert one.exit_code() == 0, one.log
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", one.log)


async def play(connections):
    """A server that sends each connection in turn the next list of frames; its URL and requests."""
    requests = []

    async def handle(socket):
        requests.append(parse_qs(urlparse(socket.request.path).query).get("since", [None])[0])
        for frame in connections[len(requests) - 1]:
            await socket.send(json.dumps(frame))
        await socket.wait_closed()

    server = await websockets.serve(handle, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", requests


def initial(position, updates=()):
    return {
        "update_type": "initial_state",
        "status": "in_progress",
        "updates": list(updates),
        "stream_id": position,
        "timestamp": "2026-01-01T00:00:00Z",
    }


def entry(number, after=None, **fields):
    fields = fields or {"update_type": "thread_update", "message": f"m{number}"}
    previous = f"100-{number - 1}" if after is None else after
    return {**fields, "stream_id": f"100-{number}", "prev_stream_id": previous}


async def run_against(connections):
    server, url, requests = await play(connections)
    async with server:
        argv = [sys.executable, str(CLIENT), "--url", url, "x"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 40)
        finally:
            if process.returncode is None:
                process.kill()
    assert process.returncode == 0, output
    return re.findall(r"\bm\d+\b", output.decode()), requests


async def test_a_broken_chain_is_read_again_from_the_last_good_entry():
    messages, requests = await run_against(
        [
            [initial("100-0"), entry(1), entry(1), entry(2), entry(4)],
            [entry(3), entry(4), entry(4), entry(5, **DONE), {"update_type": "caught_up"}],
        ]
    )
    assert messages == ["m1", "m2", "m3", "m4"]
    assert requests == [None, "100-2"]


async def test_a_chain_that_stays_broken_ends_with_the_state():
    messages, requests = await run_against(
        [
            [initial("100-0"), entry(1), entry(3)],
            [entry(3)],
            [initial("100-3"), entry(4), entry(5, **DONE)],
        ]
    )
    assert messages == ["m1", "m4"]
    assert requests == [None, "100-1", None]


def rows(visit):
    return [text.split("  ", 1)[1] for text in visit.texts("#log li")]


def test_the_browser_example_resumes_and_takes_nothing_for_markup(start_redis, start_server):
    server = start_server(start_redis())
    worker = Worker(server.redis)
    hostile = "<img src=x onerror='window.hacked = 1'>"
    with chromium() as browser:
        visit = Visit(browser)
        visit.page.goto(f"{PAGE.as_uri()}?server={server.http}&thread={worker.thread}")
        visit.eventually("document.getElementById('connection').textContent === 'Live'")
        worker.update(hostile)
        visit.eventually("document.getElementById('log').childElementCount === 1")
        server.kill()
        visit.eventually("/again/.test(document.getElementById('connection').textContent)")
        worker.update("missed")
        server.start()
        visit.eventually("document.getElementById('log').childElementCount === 2")
        worker.result({"html": hostile})
        worker.status("done")
        visit.eventually("document.getElementById('status').textContent === 'done'")
        assert rows(visit)[:2] == [hostile, "missed"]
        assert len(rows(visit)) == 4
        assert json.loads(visit.page.locator("#result").text_content()) == {"html": hostile}
        assert visit.page.evaluate("window.hacked") is None
        assert visit.page.locator("img").count() == 0


def play_page(browser, connections):
    """The page, each connection of which gets the next list of frames; and its requests."""
    requests = []

    def play_socket(socket):
        requests.append(parse_qs(urlparse(socket.url).query).get("since", [None])[0])
        for frame in connections[len(requests) - 1]:
            socket.send(json.dumps(frame))

    visit = Visit(browser)
    visit.page.route_web_socket(re.compile("/api/v1/ws/tasks/"), play_socket)
    visit.page.goto(f"{PAGE.as_uri()}?server=http://127.0.0.1:1&thread=x")
    return visit, requests


def test_the_browser_example_proves_the_chain():
    connections = [
        [initial("100-0"), entry(1), entry(1), entry(3), entry(4)],
        [entry(2), entry(3), {"update_type": "caught_up"}],
    ]
    with chromium() as browser:
        visit, requests = play_page(browser, connections)
        visit.eventually("document.getElementById('log').childElementCount === 3")
        assert rows(visit) == ["m1", "m2", "m3"]
        assert requests == [None, "100-1"]
        assert not visit.problems


def test_the_browser_example_shows_an_expired_task_and_updates_without_entries():
    expired = {**initial("100-2"), "status": None}
    derived = {"update_type": "thread_update", "message": "derived", "derived": True}
    connections = [
        [expired],
        [
            entry(1, after="0-0"),
            entry(2, **DONE),
            {"update_type": "caught_up", "stream_id": "100-2"},
            {**derived, "stream_id": "100-2"},
            entry(3),
        ],
    ]
    with chromium() as browser:
        visit, requests = play_page(browser, connections)
        visit.eventually("document.getElementById('log').childElementCount === 4")
        assert rows(visit) == ["m1", "status_change", "derived", "m3"]
        assert visit.page.locator("#status").text_content() == "done"
        assert requests == [None, "0"]
        assert not visit.problems


def test_the_browser_example_knows_turns_ends_and_events():
    of_source = {"source": "jobs", "message": None}
    child = {"update_type": "status_change", "status": "done", "message": "child", "task_id": "child"}
    second = {"update_type": "status_change", "status": "queued", "task_id": "two", "derived": True, "stream_id": "100-1"}
    with chromium() as browser:
        visit, _ = play_page(browser, [[{**initial("100-0"), "task_id": "one"}, entry(1, **child)]])
        visit.eventually("document.getElementById('log').childElementCount === 1")
        assert visit.page.locator("#status").text_content() == "in_progress"
        visit, _ = play_page(browser, [[{**initial("100-0"), "task_id": "one"}, entry(1, **child), second]])
        visit.eventually("document.getElementById('status').textContent === 'queued'")
        end = {"update_type": "end", "failed": True, "derived": True, "stream_id": "100-2"}
        several = entry(2, update_type="entry", events=["two", {"n": 3}], **of_source)
        replayed = [entry(1, after="0-0", message="one"), several, end, {"update_type": "caught_up"}]
        visit, requests = play_page(browser, [[{**initial("100-2"), "source": "jobs"}], replayed])
        visit.eventually("document.getElementById('status').textContent === 'failed'")
        assert rows(visit) == ["one", "two", '{"n":3}']
        assert requests == [None, "0"] and not visit.problems


@pytest.mark.parametrize("state, code", [("done", 0), ("error", 1)])
def test_a_task_of_a_source_is_followed_to_its_end(client, start_server, redis_server, state, code):
    server = start_server(redis_server, config=CONFIG)
    job = Job(redis_server.client())
    job.redis.set(f"{job.key}:state", "running")
    job.add(n=1)
    one = client(server.http, job.id, "--source", "jobs")
    one.wait_for('"n": 1')
    job.beat()
    job.add(n=2, state=state)
    assert one.exit_code() == code
    for options in [(), ("--since", "0")]:
        late = client(server.http, job.id, "--source", "jobs", *options)
        assert late.exit_code() == code
        assert late.log.count('"n": 1') == late.log.count('"n": 2') == 1


@pytest.mark.parametrize("end, code", [("turn_complete", 0), ("error", 1)])
def test_an_expired_task_ends_by_its_newest_entry(client, server, redis_server, end, code):
    today = Today(redis_server.client())
    today.told("one")
    today.entry(update_type=end, task_id=today.task, message="over")
    for key in today.redis.keys(f"sre:*{today.thread}*"):
        if key != stream_key(today.thread):
            today.redis.delete(key)
    one = client(server.http, today.thread)
    assert one.exit_code() == code
