"""`taskcast watch --source`: it shows a task of a source, and ends with it."""

import subprocess

import pytest

from jobs import CONFIG
from processes import Taskcast, binary, environment
from watching import Watching


@pytest.fixture(scope="module")
def server(redis_server):
    server = Taskcast(redis_server, config=CONFIG)
    yield server
    server.remove()


def told(watching):
    return [(frame["update_type"], frame.get("n")) for frame in watching.frames]


@pytest.mark.parametrize("state, code", [("done", 0), ("error", 1)])
def test_it_shows_all_that_is_retained_and_ends_with_the_task(server, job, state, code):
    job.redis.set(f"{job.key}:state", "running")
    job.add(n=1)
    job.beat()
    job.add(n=2)
    watching = Watching(server, job.id, "--source", "jobs")
    watching.told("step")
    job.add(n=3)
    job.add(n=4, state=state)
    assert watching.end() == code
    steps = [n for kind, n in told(watching) if kind == "step"]
    assert steps == [1, 2, 3, 4]
    assert watching.frames[0]["update_type"] == "initial_state" and watching.frames[-1]["update_type"] == "end"
    # Who comes when all is over, and who comes for everything.
    for options in [(), ("--since", "0")]:
        late = Watching(server, job.id, "--source", "jobs", *options)
        assert late.end() == code
        assert [n for kind, n in told(late) if kind == "step"] == [1, 2, 3, 4]


def test_what_comes_behind_an_end_may_take_it_back(server, run):
    run.add(n=1)
    watching = Watching(server, run.id, "--source", "runs", "--since", "0")
    watching.told("caught_up")
    together = run.redis.pipeline()
    for fields in ({"n": 2, "terminal": 1}, {"n": 3}):
        together.xadd(run.key, fields)
    together.execute()
    with pytest.raises(subprocess.TimeoutExpired):
        watching.process.wait(3)
    run.add(n=4, terminal=1)
    assert watching.end() == 0
    assert [n for kind, n in told(watching) if kind == "entry"] == [1, 2, 3, 4]


def test_an_end_stays_where_something_comes_behind_it_and_takes_nothing_back(server, job):
    job.add(n=1, state="error")
    job.add(n=2)
    assert Watching(server, job.id, "--source", "jobs").end() == 1
    assert Watching(server, job.id, "--source", "jobs", "--since", "0").end() == 1


def lines(server, task, source):
    command = [binary(), "watch", "--url", f"http://127.0.0.1:{server.port}", "--source", source, task]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment())


def test_lines_say_what_its_members_say(server, job):
    job.add(kind="plan", steps=["a"])
    job.add(kind="note", message="hello\x1b[31m")
    job.add(state="done")
    done = lines(server, job.id, "jobs")
    assert done.returncode == 0
    shown = [line[10:] for line in done.stdout.splitlines()]
    assert shown[:4] == [
        'plan        {"kind":"plan","steps":["a"]}',
        "note        hello\\u{1b}[31m",
        'step        {"kind":"step","state":"done"}',
        "end         it ended",
    ]
    assert done.stdout.splitlines()[-1] == f"jobs:{job.id}  done"


def test_what_cannot_be_watched_is_told(server):
    unknown = lines(server, "q:none", "jobs")
    assert (unknown.returncode, unknown.stdout.count("step")) == (2, 0)
    assert "no such task" in unknown.stderr
    assert lines(server, "x", "nosuch").returncode == 2
    wrong = lines(server, "x", "No Source")
    assert wrong.returncode == 2 and "a source's name must be" in wrong.stderr
