"""`taskcast watch` of what a worker of today writes: it ends with the turn, by its exit code."""

import pytest

from processes import eventually
from support import stream_key
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
