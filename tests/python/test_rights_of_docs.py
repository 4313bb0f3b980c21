"""The rights that docs/operations.md gives the user of Redis are enough, and none of them is too many."""

import json
import re
import subprocess

import pytest

from processes import ROOT, binary, environment, eventually, request
from support import Worker, assert_chained, collect, connect, initial, new_thread, receive, stream_key, until

SECTION = re.compile(r"^### Rights of the Redis user$(.*?)^### ", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"^```$\n((?:ACL SETUSER taskcast .*\n)+)^```$", re.MULTILINE)
USER, PASSWORD = "taskcast", "PASSWORD"
# Only read in pieces by the HTTP API, and beside the workers.
LARGE = {"text": "x" * 3_000_000}


def rules():
    """The rules of each block: for viewers, for reads over HTTP, to publish, for access."""
    section = SECTION.search((ROOT / "docs/operations.md").read_text()).group(1)
    blocks = [
        [rule for line in block.splitlines() for rule in line.split()[3:]] for block in BLOCK.findall(section)
    ]
    assert len(blocks) == 4 and blocks[0][0] == "reset", blocks
    return blocks


VIEWERS, READS, PUBLISHES, REVOCATIONS = rules()


class Limited:
    """A server whose user of Redis has just these rules, and a worker's Redis, which may do anything."""

    def __init__(self, start_redis, start_server, rules, *args, db=0, **options):
        redis_server = start_redis()
        self.admin = redis_server.client(db=db)
        self.admin.execute_command("ACL", "SETUSER", USER, *rules)
        self.url = f"redis://{USER}:{PASSWORD}@127.0.0.1:{redis_server.port}/{db}"
        self.server = start_server(redis_server, "--workers", "1", *args, redis_url=self.url, **options)

    def worker(self, layout="thread"):
        return Worker(self.admin, layout=layout)

    def assert_nothing_refused(self):
        assert self.server.status("/readyz") == 200
        assert self.admin.execute_command("ACL", "LOG") == []
        assert "rights_missing" not in self.server.log and "refused" not in self.server.log


@pytest.fixture
def limited(start_redis, start_server):
    def start(rules, *args, **options):
        return Limited(start_redis, start_server, rules, *args, **options)

    return start


async def watch(limited, layout):
    """All that viewers are promised, of a task of this layout."""
    server, worker = limited.server, limited.worker(layout)
    ids = [worker.update(f"update {n}") for n in range(5)]
    async with connect(server, worker.thread) as ws, connect(server, path="/api/v1/ws") as many:
        state = await initial(ws)
        assert state["stream_id"] == ids[-1] and len(state["updates"]) == 5
        await many.send(json.dumps({"type": "subscribe", "thread_id": worker.thread, "since": ids[2]}))
        assert_chained(await collect(many, 2), ids[2])
        assert (await receive(many))["update_type"] == "caught_up"
        for n in range(5):
            ids.append(worker.update(f"live {n}"))
            for socket in (ws, many):
                assert_chained([await receive(socket)], ids[-2])
        # An update without an entry; it comes two seconds later, to who was given a state meanwhile.
        worker.store_update("without an entry")
        async with connect(server, worker.thread) as late:
            await initial(late)
            assert (await receive(late))["derived"] is True
        # A live gap: another stream.
        with worker.redis.pipeline() as step:
            step.delete(worker.stream).xadd(worker.stream, {"message": "another"}, id="1-0").execute()
        for socket in (ws, many):
            gap, state = await collect(socket, 2)
            assert (gap["reason"], gap["requested"], state["stream_id"]) == ("reset", ids[-1], "1-0")
        worker.raw("message", "2", id="2-0")
        for socket in (ws, many):
            assert_chained([await receive(socket)], "1-0")
    # Resumes.
    for n in range(3, 9):
        worker.raw("message", str(n), id=f"{n}-0")
    worker.redis.xdel(worker.stream, "5-0", "6-0")
    worker.redis.xtrim(worker.stream, minid="3-0", approximate=False)
    for since, reason in [("1-0", "trimmed"), ("0-0", "trimmed"), ("5-0", "deleted"), ("999-0", "reset")]:
        async with connect(server, worker.thread, since=since) as ws:
            gap, state = await collect(ws, 2)
            assert (gap["update_type"], gap["reason"]) == ("gap", reason)
            assert state["update_type"] == "initial_state" and state["stream_id"] == "8-0"
    async with connect(server, worker.thread, since="0") as ws:
        frames = await until(ws, lambda frame: frame.get("update_type") == "caught_up")
        assert_chained(frames[:-1], "0-0")


def read_over_http(limited, layout):
    """The list of tasks and a task, small and large."""
    server, worker = limited.server, limited.worker(layout)
    score = worker.redis.time()[0]
    worker.redis.zadd("sre:threads:index", {worker.thread: score})
    worker.update("small", metadata={"progress": 5})
    for result in ({"text": "small"}, LARGE):
        worker.result(result)
        status, _, task = request(server, "GET", f"/api/v1/tasks/{worker.thread}")
        assert status == 200 and task["result"] == result and task["updates"][0]["message"] == "small"
        status, _, found = request(server, "GET", "/api/v1/tasks?limit=200")
        assert status == 200 and worker.thread in [task["thread_id"] for task in found["tasks"]]
    status, _, info = request(server, "GET", f"/api/v1/tasks/{worker.thread}/stream-info")
    assert status == 200 and info["stream_length"] == 3


CALLS = [
    ("updates", {"message": "m", "metadata": {"progress": 5}}),
    ("status", {"status": "in_progress"}),
    ("result", {"result": {"a": 1}}),
    ("error", {"error_message": "e"}),
]


def publish(limited, layout):
    """Every POST, once without a key and twice with one; in the `task` layout as well."""
    server = limited.server

    def post(path, body, key=None):
        status, _, reply = request(server, "POST", path, body, {"Idempotency-Key": key} if key else {})
        assert status == 202, (path, status, reply)
        return reply

    keyed = {"query": "q", "user_id": "ada", "tags": ["a"], "context": {"n": 1}}
    made = post("/api/v1/triage", keyed, f"triage-{layout}")
    assert post("/api/v1/triage", keyed, f"triage-{layout}") == made
    thread = made["thread_id"] if layout == "thread" else limited.worker(layout).thread
    for call, body in CALLS:
        path = f"/api/v1/tasks/{thread}/{call}"
        first = post(path, body)["stream_id"]
        assert post(path, body, "key")["stream_id"] != first
        length = limited.admin.xlen(stream_key(thread))
        assert post(path, body, "key") == post(path, body, "key")
        assert limited.admin.xlen(stream_key(thread)) == length
    # A row of a task that is gone is taken out of the index.
    limited.admin.zadd("sre:threads:index", {new_thread(): 1})
    post(f"/api/v1/tasks/{thread}/updates", {"message": "m"})
    assert limited.admin.zcount("sre:threads:index", 1, 1) == 0


def command_line(limited):
    """`taskcast task …`"""

    def run(*args):
        argv = [binary(), "task", *args, "--redis", limited.url]
        return subprocess.run(argv, env=environment(), check=True, capture_output=True, text=True).stdout.strip()

    thread = run("new", "why?")
    for args in (["update", thread, "m"], ["result", thread, "{}"], ["error", thread, "e"]):
        assert run(*args, "--idempotency-key", "k") == run(*args, "--idempotency-key", "k")
    run("status", thread, "done")
    assert json.loads(run("show", thread))["status"] == "done"


@pytest.mark.parametrize("tail", ["tracking", "block"])
@pytest.mark.parametrize("rules", [VIEWERS, VIEWERS + READS + PUBLISHES], ids=["viewers", "all"])
async def test_viewers_are_served(limited, rules, tail):
    one = limited(rules, "--tail", tail)
    for layout in ("thread", "task"):
        await watch(one, layout)
    one.assert_nothing_refused()


async def test_a_user_without_tracking_serves_viewers_too(limited):
    one = limited([rule for rule in VIEWERS if rule != "+client|tracking"])
    await watch(one, "thread")
    assert one.server.status("/readyz") == 200 and one.server.said("tracking_refused")
    assert {entry["object"] for entry in log(one)} == {"client|tracking"}


@pytest.mark.parametrize("rules", [VIEWERS + READS, VIEWERS + READS + PUBLISHES], ids=["reads", "all"])
async def test_tasks_are_read_over_http(limited, rules):
    one = limited(rules)
    for layout in ("thread", "task"):
        await watch(one, layout)
        read_over_http(one, layout)
    one.assert_nothing_refused()


@pytest.mark.parametrize("rules", [VIEWERS + PUBLISHES, VIEWERS + READS + PUBLISHES], ids=["publishes", "all"])
def test_tasks_are_published_to(limited, rules):
    one = limited(rules)
    for layout in ("thread", "task"):
        publish(one, layout)
    command_line(one)
    one.assert_nothing_refused()


async def test_every_right_is_used(limited):
    """On another database than 0. What is counted is the server's alone."""
    one = limited(VIEWERS + READS + PUBLISHES, db=1)
    server, worker = one.server, one.worker("task")
    worker.update("small")
    worker.result(LARGE)
    worker.redis.zadd("sre:threads:index", {worker.thread: 2, new_thread(): 1})
    one.admin.config_resetstat()
    server.restart()
    made = request(server, "POST", "/api/v1/triage", {"query": "q"})[2]["thread_id"]
    for thread in (made, worker.thread):
        async with connect(server, thread) as ws:
            await initial(ws)
            for call, body in CALLS:
                assert request(server, "POST", f"/api/v1/tasks/{thread}/{call}", body)[0] == 202
                await receive(ws)
            assert request(server, "GET", f"/api/v1/tasks/{thread}")[0] == 200
    async with connect(server, made, since="0") as ws:
        await until(ws, lambda frame: frame.get("update_type") == "caught_up")
    assert request(server, "GET", "/api/v1/tasks")[0] == 200
    granted = {rule[1:] for rule in VIEWERS + READS + PUBLISHES if rule.startswith("+")}
    used = {name.removeprefix("cmdstat_") for name in one.admin.info("commandstats")}
    # What Redis is asked behind Sentinels only.
    assert granted - used == {"role"}
    one.assert_nothing_refused()


def log(limited):
    """What Redis has refused, newest first."""
    names = lambda entry: dict(zip(entry[::2], entry[1::2]))
    entries = limited.admin.execute_command("ACL", "LOG")
    return [entry if isinstance(entry, dict) else names(entry) for entry in entries]


def test_under_sentinel(start_redis, start_server, start_sentinel):
    master = start_redis()
    replica = start_redis("--replicaof", f"127.0.0.1 {master.port}")
    eventually(lambda: replica.client().info("replication")["master_link_status"] == "up")
    admin = master.client()
    admin.execute_command("ACL", "SETUSER", USER, *VIEWERS)
    # Each server has users of its own.
    assert USER not in replica.client().acl_users()
    sentinel = start_sentinel(master.port)
    url = sentinel.url.replace("//", f"//{USER}:{PASSWORD}@")
    server = start_server(redis_url=url)
    assert server.status("/readyz") == 200
    assert admin.execute_command("ACL", "LOG") == []


def test_access_reads_what_was_revoked_with_these_rights(limited):
    table = '[[access.key]]\nname = "k"\nsha256 = "' + "0" * 64 + '"\ngrants = ["list"]\n'
    one = limited(VIEWERS + REVOCATIONS, "--log-level", "info", config=table)
    one.assert_nothing_refused()
    assert "revocations_unreadable" not in one.server.log
