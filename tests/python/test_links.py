"""Signed links (protocol §5): a token to watch one task for a while, made by `taskcast token` or for whoever
makes a task, and the page that takes it from its address."""

import json
import subprocess

import processes
import pytest
from browser import Visit, chromium
from support import Worker, closed, connect, initial, new_thread, receive
from tokens import API_KEY, CONFIG, SECRET, b64, bearer, by_hand

LINK_SECRET = "what only the servers know, and this test"
JOBS = '[[source]]\nname = "jobs"\nkey = "jobs:{queue}:{id}"\n'
LINKS = CONFIG.replace("[access]", f'[access]\nsecret = "{LINK_SECRET}"')


@pytest.fixture(scope="module")
def server(redis_server):
    server = processes.Taskcast(redis_server, config=LINKS + JOBS, wait=False)
    server.wait_ready()
    yield server
    server.remove()


@pytest.fixture
def worker(redis_server):
    worker = Worker(redis_server.client())
    worker.redis.set(worker.key("status"), "in_progress")
    return worker


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "taskcast.toml"
    path.write_text(LINKS + JOBS)
    return path


def run(*args, **variables):
    """`taskcast token` with these arguments: its exit code, what it printed and what it said."""
    done = subprocess.run(
        [processes.binary(), "token", *map(str, args)], capture_output=True, text=True, timeout=20,
        env={**processes.environment(), **variables},
    )
    return done.returncode, done.stdout.strip(), done.stderr


def link(config, watch, *more):
    code, printed, said = run("--watch", watch, "--config", config, *more)
    assert code == 0 and "token id" in said, said
    return printed


def get(server, path, token):
    return processes.request(server, "GET", path, headers=bearer(token))[0]


async def test_a_link_is_for_one_task_and_to_watch_it(server, worker, config):
    token, other = link(config, worker.thread, "--ttl", "1h"), Worker(worker.redis).thread
    assert get(server, f"/api/v1/tasks/{worker.thread}", token) == 200
    assert get(server, f"/api/v1/tasks/{worker.thread}x", token) == 403
    assert get(server, "/api/v1/tasks", token) == 403
    assert get(server, "/metrics", token) == 403
    body, path = {"message": "m"}, f"/api/v1/tasks/{worker.thread}/updates"
    assert processes.request(server, "POST", path, body, bearer(token))[0] == 403
    offered = ["taskcast.v2", "taskcast.token." + b64(token)]
    async with connect(server, worker.thread, subprotocols=offered) as ws:
        assert (await initial(ws))["status"] == "in_progress"
        await ws.send(json.dumps({"type": "auth", "token": token}))
        assert 3590 <= (await receive(ws))["expires_in"] <= 3600
    async with connect(server, other, subprotocols=offered) as ws:
        assert (await closed(ws))[0] == 4003


async def test_a_link_to_a_task_of_a_source(server, redis_server, config):
    redis = redis_server.client()
    redis.xadd("jobs:a:b", {"message": "m"})
    headers = bearer(link(config, "jobs:a:b"))
    async with connect(server, path="/api/v1/ws/jobs/a%3Ab", additional_headers=headers) as ws:
        await receive(ws)
    for other in ("jobs/a%3Abx", "jobs/x%3Ab", "sre/b"):
        assert processes.request(server, "GET", f"/api/v1/{other}/stream-info", headers=headers)[0] == 403
    agents = new_thread()
    assert get(server, f"/api/v1/tasks/{agents}", link(config, f"sre:{agents}")) == 404


async def test_a_link_ends(server, worker, config):
    token = link(config, worker.thread, "--ttl", "2s")
    async with connect(server, worker.thread, additional_headers=bearer(token)) as ws:
        await initial(ws)
        assert (await closed(ws))[0] == 4001
    assert get(server, f"/api/v1/tasks/{worker.thread}", token) == 401


@pytest.mark.parametrize("mangle", [
    lambda token: token[:-1],
    lambda token: token + "A",
    lambda token: token.replace("link.", "Link."),
    lambda token: token[:10] + ("A" if token[10] != "A" else "B") + token[11:],
    lambda token: token.rsplit(".", 1)[0] + ".",
    lambda token: token.rsplit(".", 1)[0],
    lambda token: "link." + b64(b"\xff" * 24 + b"sre:*") + "." + token.rsplit(".", 1)[1],
])
def test_a_link_that_was_touched_does_not_count(server, worker, config, mangle):
    token = link(config, worker.thread)
    assert get(server, f"/api/v1/tasks/{worker.thread}", mangle(token)) == 401


def test_what_signs_links_signs_no_other_token(server, worker, config):
    import hashlib
    import hmac

    claims = {"exp": 9999999999, "taskcast": {"watch": ["*"]}}
    signed = by_hand({"alg": "HS256"}, claims, lambda m: hmac.new(LINK_SECRET.encode(), m, hashlib.sha256).digest())
    assert get(server, f"/api/v1/tasks/{worker.thread}", signed) == 401


def test_a_secret_that_is_rotated(start_server, redis_server, worker, tmp_path):
    (tmp_path / "old").write_text("the old one\n")
    (tmp_path / "new").write_text("the new one\n")
    (tmp_path / "old.toml").write_text(f'[access]\nsecret_file = "{tmp_path}/old"\n')
    both = f'[access]\nsecret_file = "{tmp_path}/new"\nsecret_previous_file = "{tmp_path}/old"\n'
    alone = f'[access]\nsecret_file = "{tmp_path}/new"\n'
    path, token = f"/api/v1/tasks/{worker.thread}", link(tmp_path / "old.toml", worker.thread)
    during = start_server(redis_server, config=both)
    assert get(during, path, token) == 200
    assert get(start_server(redis_server, config=alone), path, token) == 401
    # With a secret, nobody may anything without a token.
    assert processes.request(during, "GET", path)[0] == 401


def test_the_environment_goes_over_the_file(server, worker, config, tmp_path):
    code, ours, _ = run("--watch", worker.thread, TASKCAST_ACCESS_SECRET=LINK_SECRET, TASKCAST_TOKEN="of somebody")
    assert code == 0 and get(server, f"/api/v1/tasks/{worker.thread}", ours) == 200
    code, other, _ = run("--watch", worker.thread, "--config", config, TASKCAST_ACCESS_SECRET="another")
    assert code == 0 and get(server, f"/api/v1/tasks/{worker.thread}", other) == 401


@pytest.mark.parametrize("args, text, says", [
    (["--watch", "t1"], "", "TASKCAST_ACCESS_SECRET"),
    (["--watch", "t 1"], LINKS, "no id"),
    (["--watch", "unknown:1"], LINKS, "no [[source]]"),
    (["--watch", "t1", "--ttl", "0"], LINKS, "1s to 366d"),
    (["--watch", "t1", "--ttl", "400d"], LINKS, "1s to 366d"),
    ([], LINKS, "--watch"),
    (["--watch", "t1"], '[access]\nsecret = "s3cr3t"\nsecret_file = "x"\n', "line 3: access: secret_file is there beside secret"),
    (["--watch", "t1"], '[access]\nsecret_previous = "s3cr3t"\n', "line 2: access: secret_previous needs a secret"),
    (["--watch", "t1"], '[access]\nsecret = ""\n', "line 2: access: secret must not be empty"),
])
def test_what_is_wrong_is_said(tmp_path, args, text, says):
    (tmp_path / "taskcast.toml").write_text(text)
    code, printed, said = run(*args, "--config", tmp_path / "taskcast.toml")
    assert (code, printed) == (2, "") and says in said and "s3cr3t" not in said, said


def test_a_secret_is_shown_nowhere(server, tmp_path, config):
    (tmp_path / "two.toml").write_text(LINKS.replace("[access]", '[access]\nsecret_previous = "another s3cr3t"'))
    shown = subprocess.run(
        [processes.binary(), "serve", "--config", tmp_path / "two.toml", "--print-config"],
        capture_output=True, text=True, env={**processes.environment(), "TASKCAST_TOKEN": "t0ken"},
    )
    assert shown.returncode == 0 and shown.stdout.count("***") == 3, shown.stderr
    assert not any(secret in shown.stdout for secret in (LINK_SECRET, "s3cr3t", SECRET, "t0ken"))
    assert LINK_SECRET not in server.log
    with open(f"/proc/{server.popen.pid}/cmdline") as arguments:
        assert LINK_SECRET not in arguments.read()


@pytest.mark.parametrize("mode, warns", [(0o644, True), (0o640, False), (0o600, False)])
def test_a_file_with_secrets_that_others_may_read_draws_a_warning(start_server, redis_server, tmp_path, mode, warns):
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t\n")
    secret.chmod(mode)
    server = start_server(redis_server, config=f'[access]\nsecret_file = "{secret}"\n')
    # What is said at the start stands before it.
    server.said(" listening ")
    assert ("secret_exposed" in server.log) == warns and "s3cr3t" not in server.log
    path = tmp_path / "taskcast.toml"
    path.write_text(LINKS)
    path.chmod(mode)
    server = start_server(redis_server, "--config", path)
    server.said(" listening ")
    assert ("secret_exposed" in server.log) == warns


def test_without_secrets_nothing_is_said(server, start_server, redis_server):
    assert "secret_exposed" in server.log
    table = '[[access.key]]\nname = "k"\nsha256 = "' + "0" * 64 + '"\ngrants = ["list"]\n'
    assert "secret_exposed" not in start_server(redis_server, config=table).log


def test_who_makes_a_task_is_given_a_token_to_watch_it(server, start_server, redis_server):
    made = processes.request(server, "POST", "/api/v1/triage", {"query": "q"}, bearer(API_KEY))[2]
    assert get(server, f"/api/v1/tasks/{made['thread_id']}", made["watch_token"]) == 200
    assert get(server, "/api/v1/tasks", made["watch_token"]) == 403
    open_to_all = start_server(redis_server)
    assert "watch_token" not in processes.request(open_to_all, "POST", "/api/v1/triage", {"query": "q"})[2]


# The page


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser):
    visit = Visit(browser)
    yield visit
    visit.context.close()
    # The browser itself tells of each answer that is 403: the list is for others.
    assert [problem for problem in visit.problems if "403" not in problem] == []


STATE = "document.getElementById('connection').dataset.state === '{}'"


def test_the_page_takes_a_link_and_hides_its_token(server, worker, config, visit):
    token = link(config, worker.thread)
    visit.page.goto(f"{server.http}/#token={token}")
    visit.eventually(STATE.format("live"))
    assert visit.page.url == f"{server.http}/#{worker.thread}"
    assert not any(token in url for url in visit.sockets)
    visit.eventually("document.getElementById('viewers').textContent === '1'")
    visit.eventually("document.getElementById('list-note').textContent.includes('needs a token')")
    # It is there after a reload, and in this tab only.
    visit.page.reload()
    visit.eventually(STATE.format("live"))
    other = visit.context.new_page()
    other.goto(f"{server.http}/#{worker.thread}")
    assert other.evaluate("sessionStorage.length") == 0


def test_the_page_says_why_it_may_not(server, worker, config, visit):
    token, another = link(config, worker.thread), Worker(worker.redis)
    another.redis.set(another.key("status"), "queued")
    visit.page.goto(f"{server.http}/#{another.thread}&token={token}")
    visit.eventually(STATE.format("refused"))
    assert visit.page.url == f"{server.http}/#{another.thread}"
    assert "grant" in visit.texts("#connection")[0]
    assert not visit.page.is_visible("#absent")
    # A token of another kind travels the same way.
    visit.page.goto(f"{server.http}/#{another.thread}&token={API_KEY.replace(' ', '%20')}&token=other&x=y")
    visit.eventually(STATE.format("live"))
    assert visit.page.url == f"{server.http}/#{another.thread}"


def test_the_page_takes_a_link_to_a_task_of_a_source(server, redis_server, config, visit):
    redis_server.client().xadd("jobs:a:b", {"message": "m"})
    visit.page.goto(f"{server.http}/#token={link(config, 'jobs:a:b')}")
    visit.eventually(STATE.format("live"))
    assert "source=jobs" in visit.page.url and "token" not in visit.page.url
