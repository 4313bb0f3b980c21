"""`taskcast watch` of what a worker of today writes: it ends with the turn, by its exit code."""

import subprocess

import pytest

from processes import binary, environment, eventually
from support import Worker, stream_key
from watching import Watching

CODES = {"done": 0, "failed": 1, "cancelled": 5}


@pytest.mark.parametrize("status", CODES)
def test_the_exit_code_says_how_it_ended(server, today, status):
    today.status(today.task, "in_progress")
    watching = Watching(server, today.thread)
    today.told("works")
    today.end(status)
    assert watching.end() == CODES[status]
    told = [frame.get("status") for frame in watching.frames if frame["update_type"] == "status_change"]
    assert told[-1] == status
    # Who comes when all is over sees it too.
    assert Watching(server, today.thread).end() == CODES[status]
    assert Watching(server, today.thread, "--since", "0").end() == CODES[status]


def test_a_childs_end_is_not_the_threads(server, today):
    today.status(today.task, "in_progress")
    today.told("fans out")
    watching = Watching(server, today.thread)
    child = today.create("child")
    today.update(child, "begins", {"parent_task_id": today.task})
    today.entry(update_type="status_change", status="done", message="m", task_id=child)
    assert watching.told("status_change")["task_id"] == child
    today.end("failed")
    assert watching.end() == 1


@pytest.mark.parametrize("end, code", [("turn_complete", 0), ("error", 1), ("cancellation", 5)])
def test_one_child_that_was_asked_for_ends_with_its_own_entries(server, today, end, code):
    """Its keys are not the thread's turn's: only its entries are told."""
    today.status(today.task, "in_progress")
    today.told("fans out")
    child = today.create("child")
    today.update(child, "begins", {"parent_task_id": today.task})
    live = Watching(server, today.thread, "--turn", child)
    for update_type in ("agent_start", end):
        today.entry(update_type=update_type, task_id=child, message="m", parent_task_id=today.task)
    assert live.end() == code
    late = Watching(server, today.thread, "--turn", child, "--since", "0")
    assert late.end() == code


def test_a_turn_that_is_not_the_threads_is_said(server, today):
    today.told("works")
    url = f"http://127.0.0.1:{server.port}"
    argv = [binary(), "watch", today.thread, "--url", url, "--turn", "no-such"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        said = f"the thread's turn is {today.task}; of no-such only entries are told"
        assert any(said in line for line in process.stdout)
        process.kill()


@pytest.mark.parametrize("word, code", [("SUCCESS", 0), ("FAILURE", 1), ("ABORTED", 5)])
@pytest.mark.parametrize("since", [(), ("--since", "0")], ids=["live", "since 0"])
def test_a_status_in_the_publishers_own_word_ends_it(start_server, redis_server, word, code, since):
    """Only the server knows what it stands for (protocol §2.2)."""
    words = 'status = { SUCCESS = "done", FAILURE = "failed", ABORTED = "cancelled", RUNS = "in_progress" }'
    server = start_server(redis_server, config=f'[[source]]\nname = "sre"\n{words}\n')
    worker = Worker(redis_server.client())
    worker.redis.set(worker.key("status"), "RUNS")
    watching = Watching(server, worker.thread, *since)
    for status in ("RUNS", word):
        worker.redis.set(worker.key("status"), status)
        worker.publish("status_change", status=status, message=status)
    assert watching.end() == code
    entries = [frame["status"] for frame in watching.frames if "prev_stream_id" in frame]
    assert entries[-1:] == [word]
    assert Watching(server, worker.thread).end() == code


def test_one_turn_of_several_and_all_of_them(server, today):
    today.told("works")
    today.status(today.task, "in_progress")
    first = Watching(server, today.thread, "--turn", today.task)
    on = Watching(server, today.thread, "--all")
    today.end("cancelled")
    assert first.end() == 5
    assert on.told("status_change")["status"] == "cancelled"
    second = today.create("second")
    newest = Watching(server, today.thread)
    today.end("done", second)
    assert newest.end() == 0
    eventually(lambda: on.told("result_set")["task_id"] == second)
    on.process.terminate()
    on.end()


@pytest.mark.parametrize("end", ["turn_complete", "error", "cancellation"])
def test_a_task_whose_state_expired_is_shown_and_ends_if_its_newest_entry_says_so(server, today, end):
    today.told("one")
    today.entry(update_type=end, task_id=today.task, message="over")
    for key in today.redis.keys(f"sre:*{today.thread}*"):
        if key != stream_key(today.thread):
            today.redis.delete(key)
    watching = Watching(server, today.thread)
    assert watching.end() == {"turn_complete": 0, "error": 1, "cancellation": 5}[end]
    assert [frame.get("message") for frame in watching.frames if "message" in frame] == ["one", "over"]
