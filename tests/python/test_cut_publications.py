"""Connections to Redis that break in the middle of publications: each is written once, or it is said
that nobody knows and with which key to come again (protocol §4)."""

import subprocess
import time

import pytest

from cuttingproxy import CutReply, CutRequest, CuttingProxy, Delay, LoseReply
from processes import binary, environment, eventually, request
from support import Worker

# So that what is answered 504 is so soon.
HASTY = "[limits]\nredis_response_timeout_ms = 1000\nredis_connect_timeout_ms = 500\n"
WHOLE = 1 << 30


class Cut:
    """A server behind a proxy, and a task. `fates` is what becomes of the next publications."""

    def __init__(self, start_redis, start_server, config=None):
        self.redis_server = start_redis()
        self.fates, self.seen = [], 0
        self.proxy = CuttingProxy(self.redis_server, self._fate)
        self.server = start_server(None, "--workers", "1", redis_url=self.proxy.url, config=config)
        self.worker = Worker(self.redis_server.client())
        self.warm_up()

    def _fate(self, command):
        self.seen += 1
        return self.fates.pop(0) if self.fates else None

    def warm_up(self):
        """The connection is heard of, and Redis knows the script."""
        assert self.post("warm")[0] == 202

    def post(self, message, key=None, **options):
        path = f"/api/v1/tasks/{self.worker.thread}/updates"
        headers = {} if key is None else {"Idempotency-Key": key}
        status, _, reply = request(self.server, "POST", path, {"message": message}, headers, **options)
        return status, reply

    def written(self, message):
        """The ids of the entries with this message."""
        entries = self.worker.redis.xrange(self.worker.stream)
        return [id for id, fields in entries if fields["message"] == message]

    def come_again(self, message, reply):
        """With the key of an answer that said 504; what is there then."""
        assert reply["detail"] and 1 <= len(reply["idempotency_key"]) <= 255
        status, again = self.post(message, reply["idempotency_key"])
        assert status == 202, again
        assert self.written(message) == [again["stream_id"]]
        updates = self.worker.redis.lrange(self.worker.key("updates"), 0, -1)
        assert sum(f'"{message}"' in update for update in updates) == 1


@pytest.fixture
def cut(start_redis, start_server):
    cut = Cut(start_redis, start_server)
    yield cut
    cut.proxy.close()


@pytest.fixture
def hasty(start_redis, start_server):
    cut = Cut(start_redis, start_server, HASTY)
    yield cut
    cut.proxy.close()


@pytest.mark.parametrize("key", [None, "a-key"])
@pytest.mark.parametrize(
    "fate, lengths",
    [(CutReply, (0, 1, 2, 5, 20, 60, WHOLE)), (CutRequest, (0, 1, 2, 40, 300, 1000, WHOLE))],
)
def test_what_is_cut_is_written_once_and_is_202(cut, fate, lengths, key):
    for length in lengths:
        cut.fates = [fate(length)]
        message = f"cut at {length}"
        status, reply = cut.post(message, key and f"{key}-{length}")
        assert status == 202, reply
        assert cut.written(message) == [reply["stream_id"]]


def test_many_cuts_in_a_row_are_outlasted(cut):
    cut.fates = [CutReply(3), CutRequest(50), CutReply(0), CutReply(30), CutRequest(700)]
    status, reply = cut.post("patience")
    assert status == 202 and cut.written("patience") == [reply["stream_id"]]


def test_a_triage_whose_reply_is_cut_has_made_one_task(cut):
    before = set(cut.worker.redis.keys("sre:stream:task:*"))
    cut.fates = [CutReply(20)]
    status, _, reply = request(cut.server, "POST", "/api/v1/triage", {"query": "q"})
    assert status == 202
    made = set(cut.worker.redis.keys("sre:stream:task:*")) - before
    assert made == {f"sre:stream:task:{reply['thread_id']}"}
    assert cut.worker.redis.zscore("sre:threads:index", reply["thread_id"])


def test_a_reply_that_is_lost_is_asked_for_on_another_connection(hasty):
    hasty.fates = [LoseReply()]
    status, reply = hasty.post("lost")
    assert status == 202 and hasty.written("lost") == [reply["stream_id"]]


def test_a_request_that_arrives_behind_its_repetition_changes_nothing(cut):
    delay = Delay()
    cut.fates = [delay]
    status, reply = cut.post("late")
    assert status == 202 and cut.written("late") == [reply["stream_id"]]
    delay.until.set()
    assert delay.done.wait(15)
    assert cut.written("late") == [reply["stream_id"]]


def test_a_request_that_arrives_behind_its_504_is_written_once(hasty):
    """Nothing comes back: the first attempt arrives, by the clock of Redis, when all is over."""
    delay = Delay()
    hasty.fates = [delay] + [CutRequest(10)] * 1000
    status, reply = hasty.post("late")
    assert status == 504, reply
    hasty.fates = []
    delay.until.set()
    assert delay.done.wait(15)
    assert hasty.written("late") == []
    hasty.come_again("late", reply)


@pytest.mark.parametrize("fate, written", [
    (CutReply(0), 1), (CutReply(40), 1), (CutRequest(0), 0), (CutRequest(500), 0), (LoseReply(), 1),
])
def test_what_cannot_be_known_is_504_and_done_once_when_it_comes_again(hasty, fate, written):
    hasty.fates = [fate] * 1000
    status, reply = hasty.post("unknown")
    assert status == 504, reply
    assert len(hasty.written("unknown")) == written
    hasty.fates = []
    hasty.come_again("unknown", reply)


def test_a_504_names_the_key_that_was_given(hasty):
    hasty.fates = [CutReply(0)] * 1000
    status, reply = hasty.post("unknown", "mine")
    assert status == 504 and reply["idempotency_key"] == "mine"
    hasty.fates = []
    hasty.come_again("unknown", reply)


def test_a_triage_of_which_nothing_is_known_makes_one_task(hasty):
    before = set(hasty.worker.redis.keys("sre:stream:task:*"))
    hasty.fates = [CutReply(0)] * 1000
    status, _, reply = request(hasty.server, "POST", "/api/v1/triage", {"query": "q"})
    assert status == 504
    hasty.fates = []
    headers = {"Idempotency-Key": reply["idempotency_key"]}
    status, _, reply = request(hasty.server, "POST", "/api/v1/triage", {"query": "q"}, headers)
    assert status == 202
    made = set(hasty.worker.redis.keys("sre:stream:task:*")) - before
    assert made == {f"sre:stream:task:{reply['thread_id']}"}


def test_what_redis_refuses_after_a_doubt_is_no_proof(hasty):
    """The first attempt may have been done by a server that is not there any more."""
    redis = hasty.worker.redis
    hasty.fates = [CutRequest(500)]
    redis.config_set("min-replicas-to-write", "1")
    status, reply = hasty.post("refused")
    assert status == 504, reply
    # It is known by itself that this was not written.
    assert hasty.post("refused")[0] == 503
    redis.config_set("min-replicas-to-write", "0")
    hasty.come_again("refused", reply)


def test_another_redis_that_knows_nothing_of_it_is_no_proof(hasty, start_redis):
    there, empty = hasty.redis_server, start_redis()

    def go_elsewhere(command):
        hasty.proxy.rule = hasty._fate
        hasty.proxy.redis_server = empty
        return CutReply(0)

    hasty.proxy.rule = go_elsewhere
    status, reply = hasty.post("elsewhere")
    assert status == 504, reply
    assert hasty.post("elsewhere")[0] == 404
    hasty.proxy.redis_server = there
    hasty.fates = [CutRequest(0)]
    hasty.come_again("elsewhere", reply)


def test_a_redis_that_is_away_before_anything_was_sent_is_503(hasty):
    hasty.redis_server.pause()
    # The connection was not heard of for a while, so it is looked at first.
    time.sleep(0.5)
    seen = hasty.seen
    status, reply = hasty.post("never")
    assert status == 503 and hasty.seen == seen, reply
    hasty.redis_server.resume()
    eventually(lambda: hasty.post("end")[0] == 202, "a publication")
    assert hasty.written("never") == []


def test_the_command_line_says_with_which_key_to_come_again(hasty):
    def task(*args):
        argv = [binary(), "task", "update", hasty.worker.thread, "by hand", "--redis", hasty.proxy.url]
        argv += ["--set", "limits.redis_response_timeout_ms=1000", *args]
        return subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=30)

    hasty.fates = [CutReply(10)] * 1000
    ended = task()
    assert ended.returncode == 3 and "not known" in ended.stderr, ended.stderr
    key = ended.stderr.split("--idempotency-key ")[1].split(",")[0]
    hasty.fates = []
    for _ in range(2):
        ended = task("--idempotency-key", key)
        assert ended.returncode == 0, ended.stderr
        assert hasty.written("by hand") == [ended.stdout.strip()]
