"""Streams of other publishers, as `[[source]]` describes them."""

import json
import random
import subprocess

import pytest

from jobs import CONFIG, WITHOUT_STATE, Job
from processes import Taskcast, binary, environment, eventually, request
from support import Worker, assert_chained, closed, collect, connect, initial, new_thread, nothing_but_pong, receive, text, until


@pytest.fixture(scope="module", params=[True, False], ids=["with state", "without state"])
def has_state(request):
    return request.param


@pytest.fixture(scope="module")
def server(redis_server, has_state):
    server = Taskcast(redis_server, config=CONFIG if has_state else WITHOUT_STATE)
    yield server
    server.remove()


def watch(server, task, since=None, source=None):
    source = source or ("jobs" if isinstance(task, Job) else "runs")
    query = "" if since is None else f"?since={since}"
    return connect(server, path=f"/api/v1/ws/{source}/{task.id}{query}")


def end(task, stream_id, failed=False):
    source = "jobs" if isinstance(task, Job) else "runs"
    return {
        "update_type": "end",
        "thread_id": task.id,
        "source": source,
        "stream_id": stream_id,
        "failed": failed,
        "derived": True,
    }


async def test_a_viewer_has_the_state_and_then_each_entry(server, job, has_state):
    job.redis.set(f"{job.key}:state", "running")
    first = job.add(n=1)
    async with watch(server, job) as ws:
        state = await initial(ws)
        state.pop("timestamp")
        assert state == {
            "update_type": "initial_state",
            "thread_id": job.id,
            "source": "jobs",
            "status": "running" if has_state else None,
            "updates": [],
            "updates_total": 0,
            "result": None,
            "error_message": None,
            "stream_id": first,
        }
        ids = [job.add(n=n) for n in (2, 3)]
        frames = await collect(ws, 2)
    assert [f["stream_id"] for f in frames] == ids
    assert_chained(frames, first)
    for n, frame in enumerate(frames, 2):
        assert frame["n"] == n and frame["update_type"] == "step" and frame["kind"] == "step"
        assert (frame["thread_id"], frame["source"]) == (job.id, "jobs")


async def test_skipped_entries_are_passed(server, job):
    ids = [job.add(n=0), job.beat(), job.beat(), job.add(n=1), job.beat()]
    async with watch(server, job) as ws:
        position = (await initial(ws))["stream_id"]
        job.beat()
        ids.append(job.add(n=2))
        frame = await receive(ws)
        assert (frame["n"], frame["prev_stream_id"]) == (2, position)
    for since, expected in [(ids[0], [1, 2]), (ids[1], [1, 2]), (ids[2], [1, 2]), (ids[3], [2]), (ids[4], [2]), ("0", [0, 1, 2])]:
        async with watch(server, job, since) as ws:
            frames = await until(ws, lambda f: f["update_type"] == "caught_up")
            assert [f["n"] for f in frames[:-1]] == expected, since
            assert_chained(frames[:-1], "0-0" if since == "0" else since)
            assert frames[-1]["stream_id"] == frames[-2]["stream_id"]


async def test_who_comes_back_behind_skipped_entries_stands_where_it_stood(server, job):
    first = job.add(n=0)
    beats = [job.beat() for _ in range(3)]
    async with watch(server, job, first) as one, watch(server, job, beats[1]) as two, watch(server, job, beats[2]) as three:
        for ws, since in [(one, first), (two, beats[1]), (three, beats[2])]:
            caught_up = await receive(ws)
            assert (caught_up["update_type"], caught_up["stream_id"]) == ("caught_up", since)
            assert caught_up["source"] == "jobs"
        job.beat()
        new = job.add(n=1)
        last = job.add(n=2)
        for ws, since in [(one, first), (two, beats[1]), (three, beats[2])]:
            frames = await collect(ws, 2)
            assert [f["stream_id"] for f in frames] == [new, last]
            assert_chained(frames, since)


async def test_pages_of_skipped_entries_are_passed_in_one_breath(server, job):
    first = job.add(n=0)
    beats = [job.beat() for _ in range(60)]
    second = job.add(n=1)
    beats += [job.beat() for _ in range(60)]
    for since, expected in [("0", [first, second]), (first, [second]), (beats[3], [second]), (second, []), (beats[70], [])]:
        async with watch(server, job, since) as ws:
            frames = await until(ws, lambda f: f["update_type"] == "caught_up")
            assert [f["stream_id"] for f in frames[:-1]] == expected
            assert_chained(frames[:-1], "0-0" if since == "0" else since)
            assert frames[-1]["stream_id"] == (expected[-1] if expected else since)
    async with watch(server, job, beats[3]) as one, watch(server, job, beats[70]) as two:
        for ws, position in [(one, second), (two, beats[70])]:
            await until(ws, lambda f: f["update_type"] == "caught_up")
        third = job.add(n=2)
        for ws, position in [(one, second), (two, beats[70])]:
            live = await receive(ws)
            assert (live["stream_id"], live["prev_stream_id"]) == (third, position)


async def test_everything_skipped_is_nothing_retained(server, job):
    beats = [job.beat() for _ in range(30)]
    async with watch(server, job, "0") as ws:
        caught_up = await receive(ws)
        assert (caught_up["update_type"], caught_up["stream_id"]) == ("caught_up", beats[-1])
        new = job.add(n=1)
        frame = await receive(ws)
        assert (frame["stream_id"], frame["prev_stream_id"]) == (new, beats[-1])


@pytest.mark.parametrize("size", [10, 30_000])
async def test_who_stands_at_a_skipped_entry_gets_what_comes_next_whatever_it_is_sent_out_of(server, job, size):
    job.add(n=-1)
    async with watch(server, job) as first:
        await initial(first)
        sent = job.add(n=0)
        assert (await receive(first))["stream_id"] == sent
        beat = job.beat()
        job.redis.xtrim(job.key, maxlen=1, approximate=False)
        async with watch(server, job) as second:
            state = await initial(second)
            assert state["stream_id"] in (sent, beat)
            next_one = job.add(n=1, text="x" * size)
            for ws, position in [(first, sent), (second, state["stream_id"])]:
                frame = await receive(ws)
                assert (frame["stream_id"], frame["prev_stream_id"]) == (next_one, position)
                await nothing_but_pong(ws)


async def test_what_is_skipped_hides_no_gap(server, job):
    first = job.add(n=0)
    async with watch(server, job) as ws:
        await initial(ws)
        for n in range(30):
            job.beat()
            job.add(n=n)
        await collect(ws, 30)
        job.redis.xtrim(job.key, maxlen=3, approximate=False)
        last = job.add(n=99)
        assert (await receive(ws))["stream_id"] == last
    async with watch(server, job, first) as ws:
        gap, state = await collect(ws, 2)
        assert (gap["update_type"], gap["reason"], gap["requested"], gap["source"]) == ("gap", "trimmed", first, "jobs")
        assert (state["update_type"], state["stream_id"]) == ("initial_state", last)


async def test_an_end_is_told_behind_its_entry_and_to_those_who_come_later(server, job):
    first = job.add(n=0)
    async with watch(server, job) as ws:
        await initial(ws)
        last = job.add(state="error")
        entry, told = await collect(ws, 2)
        assert (entry["stream_id"], told) == (last, end(job, last, failed=True))
        later = job.add(n=1)
        frame = await receive(ws)
        assert (frame["stream_id"], frame["prev_stream_id"]) == (later, last)
    async with watch(server, job) as ws:
        await initial(ws)
        assert await receive(ws) == end(job, later, failed=True)
        await nothing_but_pong(ws)
    async with watch(server, job, first) as ws:
        frames = await until(ws, lambda f: f["update_type"] == "caught_up")
        assert [f["update_type"] for f in frames] == ["step", "end", "step", "caught_up"]
        await nothing_but_pong(ws)
    for since in (last, later):
        async with watch(server, job, since) as ws:
            await until(ws, lambda f: f["update_type"] == "caught_up")
            assert await receive(ws) == end(job, later, failed=True)
            await nothing_but_pong(ws)
    for n in range(60):
        job.add(n=n)
    async with watch(server, job) as ws:
        await initial(ws)
        await nothing_but_pong(ws)


async def test_an_end_that_is_taken_back_is_none(server, run):
    first = run.add(n="1")
    async with watch(server, run) as ws:
        await initial(ws)
        last = run.add(terminal="completed")
        entry, told = await collect(ws, 2)
        assert (entry["terminal"], told) == ("completed", end(run, last))
        async with watch(server, run, last) as behind:
            assert [(f["update_type"], f["stream_id"]) for f in await collect(behind, 2)] == [("caught_up", last), ("end", last)]
        run.add(reopen="1")
        assert (await receive(ws))["reopen"] == 1
        await nothing_but_pong(ws)
    for since in (None, last):
        async with watch(server, run, since) as ws:
            await until(ws, lambda f: f["update_type"] in ("caught_up", "initial_state"))
            await nothing_but_pong(ws)


async def test_who_waits_for_a_stream_is_given_all_of_it(server, run):
    async with watch(server, run) as ws, watch(server, run, "0") as resumed:
        await nothing_but_pong(ws)
        ids = [run.add(n=str(n)) for n in range(3)]
        state = await initial(ws)
        assert (state["stream_id"], state["status"]) == ("0-0", None)
        frames = await collect(ws, 3)
        assert [f["stream_id"] for f in frames] == ids
        assert_chained(frames, "0-0")
        frames = await collect(resumed, 4)
        assert [f["stream_id"] for f in frames] == [*ids, ids[-1]]


async def test_a_stream_that_does_not_come_is_not_found(server, job):
    for query in ("", "?since=0", "?since=5-0"):
        async with connect(server, path=f"/api/v1/ws/brief/x{query}") as ws:
            code, frames = await closed(ws)
            assert code == 4004
            assert frames == [{"error": "Thread not found", "thread_id": "x", "source": "brief"}]
    async with watch(server, job) as ws:
        code, frames = await closed(ws)
        assert (code, frames[0]["error"], frames[0]["source"]) == (4004, "Thread not found", "jobs")


async def test_a_status_alone_is_a_task(server, run, has_state):
    if not has_state:
        async with watch(server, run) as ws:
            # It waits for the stream.
            await nothing_but_pong(ws)
        return
    run.redis.hset("runs", run.id, "queued")
    async with watch(server, run) as ws:
        assert (await initial(ws))["status"] == "queued"
        first = run.add(n="1")
        assert (await receive(ws))["stream_id"] == first


async def test_many_tasks_of_many_sources_on_one_socket(server, job, run):
    job.add(n=0)
    run.add(n="0")
    agents = new_thread()
    run.redis.set(f"sre:thread:{agents}:status", "SUCCESS")
    async with connect(server, path="/api/v1/ws") as ws:

        async def say(type, **members):
            await ws.send(json.dumps({"type": type, **members}))

        # Those that are waited for keep nobody else waiting.
        for n in range(20):
            await say("subscribe", thread_id=f"missing-{n}", source="runs")
        await say("subscribe", thread_id=job.id, source="jobs")
        assert (await initial(ws))["source"] == "jobs"
        await say("subscribe", thread_id=run.id, source="runs")
        assert (await initial(ws))["source"] == "runs"
        await say("subscribe", thread_id=agents)
        state = await initial(ws)
        assert "source" not in state and state["status"] == "done"
        await say("subscribe", thread_id=agents, source="sre")
        assert await receive(ws) == {"error": "Already subscribed", "thread_id": agents}
        await say("subscribe", thread_id=job.id, source="jobs")
        assert await receive(ws) == {"error": "Already subscribed", "thread_id": job.id, "source": "jobs"}
        await say("subscribe", thread_id="x", source="others")
        assert await receive(ws) == {"error": "Unknown source", "thread_id": "x", "source": "others"}
        await say("subscribe", thread_id="x", source="jobs")
        assert await receive(ws) == {"error": "Invalid thread id", "thread_id": "x", "source": "jobs"}
        await say("unsubscribe", thread_id=job.id, source="jobs")
        job.add(n=1)
        run.add(n="1")
        frame = await receive(ws)
        assert (frame["source"], frame["thread_id"]) == ("runs", run.id)
        for n in range(20):
            await say("unsubscribe", thread_id=f"missing-{n}", source="runs")
        await nothing_but_pong(ws)


async def test_one_stream_for_all_is_a_task(server, redis_server):
    redis = redis_server.client()
    redis.xadd("firehose", {"data": '{"a":1}\n"b"\nc', "channel": "x"})
    async with connect(server, path="/api/v1/ws/firehose/firehose?since=0") as ws:
        frame = await receive(ws)
        assert frame["events"] == [{"a": 1}, "b", "c"]
        assert (frame["channel"], frame["update_type"], frame["source"]) == ("x", "entry", "firehose")


def test_paths_of_sources(server, job):
    job.add(n=0)
    status, _, info = request(server, "GET", f"/api/v1/jobs/{job.id}/stream-info")
    assert (status, info["source"], info["thread_id"]) == (200, "jobs", job.id)
    assert (info["stream_key"], info["stream_length"]) == (job.key, 1)
    for path, expected in [
        ("/api/v1/jobs/x/stream-info", 400),
        ("/api/v1/others/x/stream-info", 404),
        (f"/api/v1/jobs/{job.id}", 404),
        ("/api/v1/ws/others/x", 404),
        (f"/api/v1/ws/jobs/{job.id}", 426),
    ]:
        assert request(server, "GET", path)[0] == expected, path


async def test_an_id_that_is_none_is_told(server):
    async with connect(server, path="/api/v1/ws/jobs/a%20b") as ws:
        code, frames = await closed(ws)
        assert code == 4004
        assert frames == [{"error": "Invalid thread id", "thread_id": "a b", "source": "jobs"}]


async def test_metrics_tell_sources_apart(server, job):
    job.add(n=0)
    async with watch(server, job) as ws:
        await initial(ws)
        for line in ('taskcast_source_viewers{source="jobs"} 1', 'taskcast_source_viewers{source="sre"} 0'):
            # Those of other tests leave.
            eventually(lambda: line in request(server, "GET", "/metrics")[2], line)
        job.beat()
        job.add(n=1)
        await receive(ws)
        skipped = [line for line in request(server, "GET", "/metrics")[2].splitlines() if line.startswith("taskcast_entries_skipped_total")]
        assert int(skipped[0].split()[1]) > 0


def check_source(tmp_path, redis_server, key, config=CONFIG):
    path = tmp_path / "taskcast.toml"
    path.write_text(config)
    argv = [binary(), "check-source", str(path), "--key", key, "--redis", redis_server.url]
    return subprocess.run(argv, capture_output=True, text=True, env=environment())


def test_a_stream_is_shown_as_its_source_describes_it(tmp_path, redis_server, job, has_state):
    job.redis.set(f"{job.key}:state", "running")
    ids = [job.add(n=1), job.beat(), job.add(state="error")]
    shown = check_source(tmp_path, redis_server, job.key, CONFIG if has_state else WITHOUT_STATE)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert lines[0].split() == ["source", "jobs"] and lines[1].split() == ["id", job.id]
    assert (["status", "running"] in [line.split()[:2] for line in lines]) == has_state
    first, skipped, last = [line for line in lines if line.startswith(ids[0][:5])]
    assert json.loads(first.split("  ", 1)[1])["n"] == 1
    assert skipped == f"{ids[1]}  skipped"
    assert last.startswith(f"{ids[2]}  ends, failed  ")
    assert lines[-1].split() == ["end", f"{ids[2]},", "failed"]


def test_what_cannot_be_shown_is_said(tmp_path, redis_server, job):
    missing = check_source(tmp_path, redis_server, job.key)
    assert (missing.returncode, missing.stdout) == (1, "") and job.key in missing.stderr
    other = check_source(tmp_path, redis_server, "others:1")
    assert other.returncode == 2 and "jobs: jobs:{queue}:{id}" in other.stderr
    wrong = check_source(tmp_path, redis_server, job.key, CONFIG.replace('as = "json"', 'as = "xml"'))
    assert wrong.returncode == 2 and "taskcast.toml, line 8: source \"jobs\": as must be one of" in wrong.stderr


@pytest.mark.parametrize("mode", ["tracking", "block"])
async def test_whatever_is_skipped_and_trimmed_who_comes_back_gets_just_the_rest(start_server, redis_server, mode):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    limits = "page_entries_max = 5\ntopic_bytes_max = 2000\n"
    config = CONFIG.replace("page_entries_max = 8", limits)
    server = start_server(redis_server, "--workers", "1", "--tail", mode, config=config)
    job = Job(redis_server.client())
    entries = [(job.add(n=0), True)]
    async with watch(server, job, "0") as live:
        position, seen = "0-0", []
        for _ in range(40):
            for _ in range(dice.choice([1, 3, 12])):
                beats = dice.random() < 0.6
                entries.append((job.beat() if beats else job.add(n=len(entries)), not beats))
            if dice.random() < 0.2:
                # What is trimmed was read before: up to the last that was sent, it is known.
                while seen != [id for id, sent in entries if sent]:
                    frame = await receive(live)
                    if "prev_stream_id" in frame:
                        assert frame["prev_stream_id"] == position
                        position = frame["stream_id"]
                        seen.append(position)
                unknown = next(n for n, (_, sent) in enumerate(reversed(entries)) if sent)
                kept = dice.randrange(1, 30) + unknown
                job.redis.xtrim(job.key, maxlen=kept, approximate=False)
            retained = entries[-job.redis.xlen(job.key):]
            number = dice.randrange(len(retained))
            since = retained[number][0]
            async with watch(server, job, since) as ws:
                expected = [id for id, sent in retained[number + 1 :] if sent]
                # What its server had not read yet may come behind caught_up.
                frames = await collect(ws, len(expected) + 1)
                at = [f["update_type"] for f in frames].index("caught_up")
                caught_up = frames.pop(at)
                assert [f["stream_id"] for f in frames] == expected
                assert_chained(frames, since)
                assert caught_up["stream_id"] == (expected[at - 1] if at else since)
        last = job.add(n=-1)
        while position != last:
            frame = await receive(live)
            if "prev_stream_id" in frame:
                assert frame["prev_stream_id"] == position
                position = frame["stream_id"]
                seen.append(position)
    assert seen == [id for id, sent in entries if sent] + [last]


async def test_the_agents_words_are_mapped_in_its_state_and_not_in_its_entries(server, redis_server):
    worker = Worker(redis_server.client())
    worker.status("SUCCESS")
    redis_server.client().zadd("sre:threads:index", {worker.thread: 1})
    async with connect(server, path=f"/api/v1/ws/sre/{worker.thread}") as ws:
        state = await initial(ws)
        assert state["status"] == "done" and "source" not in state
        worker.status("PENDING")
        frame = await receive(ws)
        assert frame["status"] == "PENDING" and "source" not in frame
        worker.status("SUCCESS")
        assert (await receive(ws))["status"] == "SUCCESS"
    assert request(server, "GET", f"/api/v1/tasks/{worker.thread}")[2]["status"] == "done"
    listed = request(server, "GET", "/api/v1/tasks")[2]["tasks"]
    assert [task["status"] for task in listed if task["thread_id"] == worker.thread] == ["done"]
    shown = request(server, "GET", f"/api/v1/sre/{worker.thread}/stream-info")[2]
    assert (shown["stream_length"], "source" in shown) == (3, False)


async def test_what_is_large_comes_by_the_lane(server, job):
    job.add(n=0)
    async with watch(server, job) as ws:
        position = (await initial(ws))["stream_id"]
        job.beat()
        large = "x" * 2_000_000
        for n in range(3):
            job.add(text=large, n=n)
            job.beat()
        last = job.add(state="done")
        for n in range(3):
            frame = await receive(ws)
            assert (frame["n"], len(frame["text"]), frame["prev_stream_id"]) == (n, len(large), position)
            position = frame["stream_id"]
        assert (await receive(ws))["stream_id"] == last
        assert await receive(ws) == end(job, last)


async def test_a_stream_that_is_another_one_is_told(server, job):
    job.add(n=0)
    async with watch(server, job) as ws:
        position = (await initial(ws))["stream_id"]
        with job.redis.pipeline(transaction=True) as step:
            step.delete(job.key)
            step.xadd(job.key, {"data": json.dumps({"kind": "step", "state": "error"})}, id="5-0")
            step.execute()
        gap, state, told = await collect(ws, 3)
        assert (gap["update_type"], gap["requested"], gap["reason"]) == ("gap", position, "reset")
        assert (state["update_type"], state["stream_id"], state["source"]) == ("initial_state", "5-0", "jobs")
        assert told == end(job, "5-0", failed=True)
        job.add(n=1, id="6-0")
        assert (await receive(ws))["prev_stream_id"] == "5-0"


async def test_the_embedded_log_has_nothing_of_a_source(start_server):
    server = start_server(None, "--embedded", config=CONFIG)
    for path in ("jobs/q:1", "brief/x"):
        async with connect(server, path=f"/api/v1/ws/{path}") as ws:
            assert (await closed(ws))[0] == 4004
