"""A task whose state has expired while its stream is still there: what follows it shows what there is,
and ends, as nothing more is to come of it."""

import subprocess
import sys

import pytest

from processes import ROOT, binary, environment
from support import Worker, keys

EXAMPLE = ROOT / "examples/websocket_client.py"


def watch(server, thread, *args):
    return [binary(), "watch", thread, "--url", server.http, *args]


def example(server, thread, *args):
    return [sys.executable, str(EXAMPLE), "--url", server.http, thread, *args]


def ended(argv):
    """It ends by itself: exit code and output. Where it hangs, the test fails here."""
    direct = {name: value for name, value in environment().items() if "proxy" not in name.lower()}
    result = subprocess.run(argv, capture_output=True, text=True, timeout=15, env=direct)
    assert "Traceback" not in result.stderr and "panicked" not in result.stderr, result
    return result.returncode, result.stdout


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


@pytest.mark.parametrize("program", [watch, example])
def test_who_comes_to_an_expired_task_does_not_wait(server, expired, program):
    """No status is left to tell how it ended, so the exit code is not asked for here."""
    worker, _ = expired("done")
    exit_code, output = ended(program(server, worker.thread))
    assert exit_code in (0, 1, 2) and output.strip(), output


@pytest.mark.parametrize("expired", ["thread"], indirect=True)
@pytest.mark.parametrize("program", [watch, example])
@pytest.mark.parametrize("last", [1, 2])
def test_who_comes_back_to_an_expired_task_does_not_wait(server, expired, program, last):
    """From the last update on, its end is still in the stream; from the end on, nothing is."""
    worker, ids = expired("done")
    exit_code, output = ended(program(server, worker.thread, "--since", ids[last]))
    assert exit_code in ((0,) if last == 1 else (0, 1, 2)), output


@pytest.mark.parametrize("expired", ["task"], indirect=True)
def test_an_expired_task_as_json_is_its_state_and_ends(server, expired):
    worker, ids = expired("done")
    _, output = ended(watch(server, worker.thread, "--json"))
    assert f'"stream_id":"{ids[-1]}"' in output.splitlines()[0]
