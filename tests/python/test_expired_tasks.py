"""What is not in the frames that usually tell it: `watch` and the example show what there is of a task
whose state has expired while its stream is still there, and end, as nothing more is to come of it.
They find a status that nobody told, and take an update that has no entry."""

import json
import subprocess
import sys
import time

import pytest

from processes import ROOT, Process, binary, environment, eventually
from support import Worker, assert_chained, keys

EXAMPLE = ROOT / "examples/websocket_client.py"


def watch(server, thread, *args):
    return [binary(), "watch", thread, "--url", server.http, *args]


def example(server, thread, *args):
    return [sys.executable, str(EXAMPLE), "--url", server.http, thread, *args]


def direct():
    """An environment in which nothing goes through a proxy."""
    return {name: value for name, value in environment().items() if "proxy" not in name.lower()}


def ended(argv):
    """It ends by itself: exit code and output. Where it hangs, the test fails here."""
    result = subprocess.run(argv, capture_output=True, text=True, timeout=15, env=direct())
    assert "Traceback" not in result.stderr and "panicked" not in result.stderr, result
    return result.returncode, result.stdout


class Follower(Process):
    """A program that follows a task; its output is its log."""

    def __init__(self, argv):
        super().__init__("follower")
        self.spawn(argv, direct())

    def wait_for(self, text):
        eventually(lambda: text in self.log, f"{text!r} in {self.log!r}")


@pytest.fixture
def follower():
    """`follower(argv)`: a `Follower`."""
    followers = []

    def start(argv):
        followers.append(Follower(argv))
        return followers[-1]

    yield start
    for one in followers:
        one.remove()


@pytest.fixture(params=["thread", "task"])
def expired(request, redis_server):
    """`expired("failed")`: a worker whose task ended so, and the ids of its entries."""

    def end(status):
        worker = Worker(redis_server.client(), layout=request.param)
        ids = [worker.update("first"), worker.update("second"), worker.status(status)]
        parts = ("status", "updates", "result", "error", "metadata")
        gone = [worker.key(part) for part in parts] + list(keys(worker.thread).values())
        worker.redis.delete(*gone)
        assert worker.redis.exists(worker.stream)
        return worker, ids

    return end


@pytest.mark.parametrize("expired, status, code", [("thread", "done", 0), ("task", "failed", 1)],
                         indirect=["expired"])
@pytest.mark.parametrize("program", [watch, example])
def test_all_of_an_expired_task_is_shown_and_its_end_is_known(server, expired, program, status, code):
    worker, _ = expired(status)
    exit_code, output = ended(program(server, worker.thread, "--since", "0"))
    assert exit_code == code, output
    assert output.index("first") < output.index("second") < output.index(status)


@pytest.mark.parametrize("expired, status, code", [("thread", "failed", 1), ("task", "done", 0)],
                         indirect=["expired"])
@pytest.mark.parametrize("program", [watch, example])
def test_who_comes_to_an_expired_task_is_shown_what_its_stream_has(
    server, expired, program, status, code
):
    worker, _ = expired(status)
    exit_code, output = ended(program(server, worker.thread))
    assert exit_code == code, output
    assert output.index("first") < output.index("second") < output.index(status)
    assert output.count("first") == output.count("second") == 1, output


@pytest.mark.parametrize("expired", ["thread"], indirect=True)
@pytest.mark.parametrize("program", [watch, example])
@pytest.mark.parametrize("last", [1, 2])
def test_who_comes_back_to_an_expired_task_does_not_wait(server, expired, program, last):
    """From the last update on, its end is still to come; from the end on, it is looked up. What was
    before that is not shown."""
    worker, ids = expired("done")
    exit_code, output = ended(program(server, worker.thread, "--since", ids[last]))
    assert exit_code == 0, output
    assert "first" not in output and "second" not in output


@pytest.mark.parametrize("expired", ["task"], indirect=True)
def test_an_expired_task_as_json_is_its_state_and_its_entries(server, expired):
    worker, ids = expired("done")
    exit_code, output = ended(watch(server, worker.thread, "--json"))
    state, *entries = [json.loads(line) for line in output.splitlines()]
    assert exit_code == 0
    assert state["update_type"] == "initial_state" and state["status"] is None
    assert state["stream_id"] == ids[-1]
    assert [entry["stream_id"] for entry in entries] == ids
    assert_chained(entries, "0-0")


@pytest.mark.parametrize("program", [watch, example])
@pytest.mark.parametrize("status, code", [("done", 0), ("failed", 1)])
def test_who_comes_back_after_the_end_learns_it_of_the_state(server, worker, program, status, code):
    """Its entry was trimmed away, or there never was one."""
    last = worker.update("first")
    worker.redis.set(worker.key("status"), status)
    exit_code, output = ended(program(server, worker.thread, "--since", last))
    assert exit_code == code and "first" not in output, output


@pytest.mark.parametrize("program", [watch, example])
@pytest.mark.parametrize("since", [None, "0"])
def test_a_stream_that_never_had_a_status_is_followed(
    server, redis_server, follower, program, since
):
    worker = Worker(redis_server.client(), create=False)
    worker.publish("thread_update", message="first")
    one = follower(program(server, worker.thread, *(["--since", since] if since else [])))
    one.wait_for("first")
    worker.publish("thread_update", message="second")
    one.wait_for("second")
    worker.publish("status_change", status="completed")
    assert one.popen.wait(15) == 0, one.log
    assert one.log.count("first") == one.log.count("second") == 1, one.log


@pytest.mark.parametrize("program", [watch, example])
@pytest.mark.parametrize("since", [None, "0"])
def test_of_an_expired_task_whose_stream_was_trimmed_the_rest_is_shown(server, redis_server, program, since):
    worker = Worker(redis_server.client(), create=False)
    for message in ("first", "second", "third"):
        worker.publish("thread_update", message=message)
    worker.publish("status_change", status="failed")
    worker.redis.xtrim(worker.stream, maxlen=2, approximate=False)
    exit_code, output = ended(program(server, worker.thread, *(["--since", since] if since else [])))
    assert exit_code == 1 and output.count("third") == 1, output
    assert "first" not in output and "gap" not in output and "missing" not in output, output


@pytest.mark.parametrize("program", [watch, example])
@pytest.mark.parametrize("status, code", [("done", 0), ("failed", 1)])
def test_of_an_ended_task_without_a_stream_the_updates_are_shown(server, redis_server, program, status, code):
    """They are told two seconds after the state."""
    worker = Worker(redis_server.client(), create=False)
    worker.store_update("orphan")
    worker.redis.set(worker.key("status"), status)
    exit_code, output = ended(program(server, worker.thread))
    assert exit_code == code and output.count("orphan") == 1, output


@pytest.mark.parametrize("program", [watch, example])
def test_a_task_that_goes_on_is_not_ended_by_an_earlier_end(server, worker, follower, program):
    """Its stream has the end of an earlier turn; its state says that it runs."""
    worker.status("done")
    worker.redis.set(worker.key("status"), "in_progress")
    last = worker.update("first")
    one = follower(program(server, worker.thread, "--since", last))
    eventually(lambda: server.metrics()["taskcast_viewers"] > 0, "the viewer")
    worker.update("second")
    one.wait_for("second")
    # Longer than `watch` waits after an end for what may still come.
    time.sleep(1)
    worker.status("failed")
    assert one.popen.wait(15) == 1, one.log


@pytest.mark.parametrize("program", [watch, example])
def test_a_known_status_is_not_looked_for(start_redis, start_server, program):
    server = start_server(start_redis())
    worker = Worker(server.redis)
    worker.update("first")
    worker.status("done")
    for args in ([], ["--since", "0"]):
        before = server.metrics()["taskcast_attaches_total"]
        exit_code, output = ended(program(server, worker.thread, *args))
        assert exit_code == 0 and output.count("first") == 1, output
        assert server.metrics()["taskcast_attaches_total"] == before + 1, args


@pytest.mark.parametrize("program", [watch, example])
def test_an_update_that_never_got_its_entry_is_shown(server, worker, follower, program):
    worker.status("in_progress")
    worker.store_update("orphan")
    one = follower(program(server, worker.thread))
    one.wait_for("orphan")
    worker.update("second")
    one.wait_for("second")
    worker.status("done")
    assert one.popen.wait(15) == 0, one.log
    assert one.log.count("orphan") == one.log.count("second") == 1, one.log
    assert "did not arrive" not in one.log and "again" not in one.log
