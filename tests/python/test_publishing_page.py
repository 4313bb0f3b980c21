"""docs/publishing.md keeps its word: the very code that it shows, run against a real server."""

import re
import uuid

import pytest
from processes import ROOT, eventually, request
from support import assert_chained, connect, initial, receive, stream_key, until

PAGE = (ROOT / "docs/publishing.md").read_text()
README = (ROOT / "README.md").read_text()
USER, PASSWORD = "worker", "PASSWORD"
STEPS = 12


def block(text, language, having):
    """The one block of a page that has this in it."""
    blocks = re.findall(r"^```(\w*)$\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    (found,) = [block for kind, block in blocks if kind == language and having in block]
    return found


CODE = block(PAGE, "python", "def publish(")


@pytest.fixture(scope="module")
def page():
    """What the page's code defines."""
    names = {}
    exec(compile(CODE, "docs/publishing.md", "exec"), names)
    return names


@pytest.fixture(scope="module")
def user(redis_server):
    """The worker's Redis, with the rights that the page gives."""
    admin = redis_server.client()
    for line in block(PAGE, "", "ACL SETUSER").splitlines():
        admin.execute_command(*line.split())
    return redis_server.client(username=USER, password=PASSWORD)


@pytest.fixture(params=["thread", "task"])
def turn(request):
    """What names the layout: a task id or none."""
    return {"task_id": uuid.uuid4().hex} if request.param == "task" else {}


def listed(server, thread):
    tasks = request(server, "GET", "/api/v1/tasks?limit=200")[2]["tasks"]
    return next((task for task in tasks if task["thread_id"] == thread), None)


def work(page, user, thread, turn):
    """A whole task; the stream ids of its entries."""
    publish = lambda *args, **event: page["publish"](user, thread, *args, **turn, **event)
    ids = [publish("status_change", status="in_progress")]
    for step in range(1, STEPS + 1):
        metadata = {"step": step, "total_steps": STEPS}
        ids.append(publish("thread_update", type="tool_call", message=f"Step {step}", metadata=metadata))
    ids.append(publish("result_set", result={"summary": "Ä"}, message="There is a result"))
    return [*ids, publish("status_change", status="done")]


async def test_who_watches_sees_each_step(page, user, server, turn):
    thread = page["new_task"](user, "Why is it slow?")
    async with connect(server, thread) as ws:
        state = await initial(ws)
        assert (state["status"], state["updates"]) == ("queued", [])
        ids = work(page, user, thread, turn)
        frames = [await receive(ws) for _ in ids]
    assert_chained(frames, state["stream_id"])
    assert [frame["stream_id"] for frame in frames] == ids
    assert frames[1]["metadata"] == {"step": 1, "total_steps": STEPS} and frames[1]["type"] == "tool_call"
    assert frames[-2]["result"] == {"summary": "Ä"} and frames[-1]["status"] == "done"
    assert {frame.get("task_id") for frame in frames} == {turn.get("task_id")}


async def test_who_comes_late_sees_it_too(page, user, server, turn):
    thread = page["new_task"](user, "Why is it slow?")
    ids = work(page, user, thread, turn)
    async with connect(server, thread) as ws:
        state = await initial(ws)
    assert (state["status"], state["result"], state["error_message"]) == ("done", {"summary": "Ä"}, None)
    assert [update["message"] for update in state["updates"]] == [f"Step {n}" for n in range(3, STEPS + 1)]
    assert (state["updates_total"], state["stream_id"]) == (STEPS, ids[-1])
    shown = request(server, "GET", f"/api/v1/tasks/{thread}")[2]
    assert [update["message"] for update in shown["updates"]] == [f"Step {n}" for n in range(1, STEPS + 1)]
    assert shown["updates"][0]["update_type"] == "tool_call" and shown["metadata"]["created_at"]


async def test_since_0_brings_everything(page, user, server, turn):
    thread = page["new_task"](user, "Why is it slow?")
    ids = work(page, user, thread, turn)
    async with connect(server, thread, since="0") as ws:
        *frames, end = await until(ws, lambda frame: frame.get("update_type") == "caught_up")
    assert_chained(frames, "0-0")
    assert [frame["stream_id"] for frame in frames][1:] == ids and end["stream_id"] == ids[-1]


def test_the_list_shows_the_task(page, user, server, turn):
    thread = page["new_task"](user, "Why is it slow?")
    made = listed(server, thread)
    page["publish"](user, thread, "thread_update", message="m", metadata={"progress": 40}, **turn)
    row = eventually(lambda: (row := listed(server, thread))["progress"] and row)
    assert (row["subject"], row["message"], row["progress"]) == ("Why is it slow?", "m", 40)
    assert row["created_at"] and row["updated_at"] >= made["updated_at"]
    work(page, user, thread, turn)
    row = eventually(lambda: (row := listed(server, thread))["status"] == "done" and row)
    assert row["progress"] == 100


def test_an_error_is_the_state_s_too(page, user, server, turn):
    thread = page["new_task"](user, "Why is it slow?")
    page["publish"](user, thread, "error_set", error_message="No such host", **turn)
    page["publish"](user, thread, "status_change", status="failed", **turn)
    shown = request(server, "GET", f"/api/v1/tasks/{thread}")[2]
    assert (shown["status"], shown["error_message"]) == ("failed", "No such host")


def test_all_keys_go_together_and_the_index_stays(page, user, redis_server, turn):
    redis = redis_server.client()
    gone = uuid.uuid4().hex
    redis.zadd("sre:threads:index", {gone: 1})
    redis.expire("sre:threads:index", 100)
    thread = page["new_task"](user, "Why is it slow?")
    work(page, user, thread, turn)
    assert redis.ttl("sre:threads:index") == -1 and redis.zscore("sre:threads:index", gone) is None
    assert redis.zscore("sre:threads:index", thread) == pytest.approx(redis.time()[0], abs=60)
    owners = [f"sre:thread:{thread}", *(f"sre:task:{task_id}" for task_id in turn.values())]
    keys = [key for owner in owners for key in redis.keys(f"{owner}:*")] + [stream_key(thread)]
    assert len(keys) >= 5
    for key in keys:
        assert 0 < redis.ttl(key) <= 86_400, key


def test_the_list_of_updates_is_bounded(page, user, redis_server, turn):
    thread = page["new_task"](user, "Why is it slow?")
    for number in range(120):
        page["publish"](user, thread, "thread_update", message=str(number), **turn)
    owner = f"sre:task:{turn['task_id']}" if turn else f"sre:thread:{thread}"
    kept = redis_server.client().lrange(f"{owner}:updates", 0, -1)
    assert len(kept) == 100 and any('"119"' in update for update in (kept[0], kept[-1]))


async def test_the_commands_for_other_languages_do_the_same(page, user, server):
    thread = page["new_task"](user, "Why is it slow?")
    commands = [line.replace("ID", thread) for line in block(PAGE, "", "MULTI\n").splitlines()]
    with user.pipeline(transaction=True) as step:
        for command in commands[1:-1]:
            quoted = re.findall(r'"((?:\\.|[^"])*)"|(\S+)', command)
            step.execute_command(*(text.replace('\\"', '"') if text else word for text, word in quoted))
        step.execute()
    async with connect(server, thread) as ws:
        (update,) = (await initial(ws))["updates"]
    assert update["message"] == "Reading" and update["metadata"] == {"progress": 20}


async def test_the_readme_shows_late_viewers_all_of_it(page, user, server):
    names = {**page, "redis": user}
    exec(compile(block(README, "python", "publish(redis"), "README.md", "exec"), names)
    thread = names["thread_id"]
    async with connect(server, thread) as ws:
        state = await initial(ws)
    assert state["updates"][-1]["message"] == "Reading the slow log" and state["result"]
    assert state["status"] == "done" and listed(server, thread)["subject"]


def test_the_example_is_the_same_code():
    imports, code = CODE.split("\n\n", 1)
    example = (ROOT / "examples/publish.py").read_text()
    assert code.strip() in example and all(line in example for line in imports.splitlines())
