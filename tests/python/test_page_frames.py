"""The page at `/` against a server that sends odd frames: the WebSocket is played by the test."""

import json

import pytest
from browser import Visit, chromium

THREAD = "played"
TWO_SCREENS = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
COUNT_SCREENS = """
(function tick() { window.ticks = (window.ticks ?? 0) + 1; requestAnimationFrame(tick); })()
"""
ODD_VALUES = [None, True, -1, 1e300, "", "text", [], [1, [2]], {}, {"toString": 1}]


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


class Played:
    """A page whose WebSockets end in this test. `sockets` are the connections so far."""

    def __init__(self, browser, server):
        self.visit = Visit(browser)
        self.page = self.visit.page
        self.sockets = []
        self.page.route("**/api/v1/tasks/played/stream-info", lambda route: route.fulfill(json={}))
        self.page.route("**/api/v1/tasks/played", lambda route: route.fulfill(json={}))
        self.page.route_web_socket("**/api/v1/ws/tasks/*", lambda one: self.sockets.append(one))
        self.page.goto(f"{server.http}/#{THREAD}")

    def socket(self, number):
        while len(self.sockets) <= number:
            self.page.wait_for_timeout(20)
        return self.sockets[number]

    def send(self, *frames):
        for frame in frames:
            self.sockets[-1].send(frame if isinstance(frame, str) else json.dumps(frame))

    def settle(self):
        """Waits until what was sent is drawn."""
        self.page.wait_for_timeout(50)
        self.page.evaluate(TWO_SCREENS)

    def rows(self):
        self.settle()
        return self.visit.texts("#log .row-message")[::-1]


@pytest.fixture
def played(browser, server):
    played = Played(browser, server)
    played.socket(0)
    yield played
    problems = played.visit.problems
    played.visit.context.close()
    assert not problems


def initial(position="100-0", **more):
    return {
        "update_type": "initial_state",
        "thread_id": THREAD,
        "status": "in_progress",
        "updates": [],
        "updates_total": 0,
        "result": None,
        "error_message": None,
        "stream_id": position,
        **more,
    }


def entry(number, after=None, **more):
    """Entry `number` after 100-0, with a right chain unless told otherwise."""
    return {
        "update_type": "thread_update",
        "type": "progress",
        "message": f"m{number}",
        "metadata": {},
        "thread_id": THREAD,
        "timestamp": "2026-01-01T00:00:00Z",
        "stream_id": f"100-{number}",
        "prev_stream_id": f"100-{number - 1}" if after is None else after,
        **more,
    }


def test_an_update_that_comes_twice_is_shown_once(played):
    played.send(initial(), entry(1), entry(1), entry(2), entry(1), entry(2), entry(3))
    assert played.rows() == ["m1", "m2", "m3"]


def test_a_broken_chain_is_told_and_the_log_read_again_from_the_last_good_entry(played):
    played.send(initial(), entry(1), entry(3))
    assert played.rows() == ["m1"]
    assert "100-1" in played.page.locator("#notice-text").text_content()
    again = played.socket(1)
    assert again.url.endswith("?since=100-1")
    played.send(entry(2), entry(3), {"update_type": "caught_up", "stream_id": "100-3"})
    assert played.rows() == ["m1", "m2", "m3"]


def test_a_chain_that_stays_broken_ends_with_the_state_as_it_is(played):
    played.send(initial(), entry(1), entry(3))
    played.socket(1)
    played.send(entry(3))
    fresh = played.socket(2)
    assert "since" not in fresh.url
    played.send(initial("100-3", updates=[{"message": "m3"}], updates_total=3), entry(4))
    assert played.rows() == ["m3", "m4"]


def test_delays_grow_until_something_comes(played):
    played.send(initial())
    played.settle()
    played.page.clock.install(time=0)
    played.page.clock.pause_at(1000)
    state = "document.getElementById('connection').dataset.state"
    for number in range(5):
        played.socket(number).close()
        played.visit.eventually(f"{state} === 'waiting'")
        waited = 0
        while played.page.evaluate(state) == "waiting":
            played.page.clock.run_for(50)
            waited += 50
        longest = 500 * 2**number
        assert longest / 2 <= waited <= longest + 50


def test_a_gap_is_told_and_replaced_by_the_state(played):
    gap = {"update_type": "gap", "reason": "trimmed", "requested": "100-1", "first": "200-0"}
    played.send(initial(), entry(1), gap)
    played.send(initial("200-9", updates=[{"message": "new", "timestamp": "x"}], updates_total=40))
    played.send(entry(1, after="200-9", stream_id="201-0"))
    assert played.rows() == ["new", "m1"]
    assert "trimmed" in played.page.locator("#notice-text").text_content()
    assert played.page.locator("#updates-count").text_content() == "41"
    assert "2 of 41" in played.page.locator("#older").text_content()


def test_publishers_cannot_play_the_server(played):
    played.send(
        initial(),
        entry(1, update_type="initial_state", updates=[], status="done"),
        entry(2, update_type="gap", reason="reset"),
        entry(3, update_type="caught_up"),
        entry(4, error="Thread not found"),
        entry(5),
    )
    assert played.rows() == ["m1", "m2", "m3", "m4", "m5"]
    assert played.page.locator("#status").text_content() == "In progress"
    assert not played.page.locator("#notice").is_visible()


def test_no_value_of_any_field_stops_it(played):
    played.send("", "null", "[]", "7", '"x"', "{", {}, {"update_type": "?"}, {"type": "pong"})
    updates = [None, 3, {}, {"message": {"a": 1}, "metadata": 5}]
    played.send(initial(updates=updates, updates_total="x"))
    fields = ("type", "message", "metadata", "status", "result", "error_message", "timestamp")
    number = 0
    for kind in ("thread_update", "status_change", "result_set", "error_set", "else", None):
        for value in ODD_VALUES:
            number += 1
            played.send(entry(number, update_type=kind, **dict.fromkeys(fields, value)))
    deep = "[" * 50_000 + "]" * 50_000
    frame = json.dumps(entry(number + 1, update_type="result_set", result="DEEP"))
    played.send(frame.replace('"DEEP"', deep))
    bare = {"stream_id": f"100-{number + 2}", "prev_stream_id": f"100-{number + 1}"}
    played.send(bare, entry(number + 3, message="the last"))
    assert played.rows()[-1] == "the last"
    assert len(played.rows()) == 4 + number + 3


def test_progress_comes_from_the_newest_update_that_tells_it(played):
    played.send(
        initial(updates=[{"message": "a", "metadata": {"progress": 20}}, {"message": "b"}]),
        entry(1),
    )
    played.settle()
    shown = played.page.locator("#bar")
    assert shown.get_attribute("aria-valuenow") == "20"
    played.send(entry(2, metadata={"step": 3, "total_steps": 4}))
    played.settle()
    assert shown.get_attribute("aria-valuenow") == "75"
    played.send(entry(3, metadata={"progress": 900}))
    played.send(entry(4, metadata={"step": 1, "total_steps": 0}))
    played.settle()
    assert shown.get_attribute("aria-valuenow") == "100"


def test_ten_thousand_updates_leave_five_hundred_rows(played):
    played.send(initial())
    played.page.evaluate(COUNT_SCREENS)
    for number in range(1, 10_001):
        played.sockets[-1].send(json.dumps(entry(number)))
    played.visit.eventually("document.getElementById('updates-count').textContent === '10,000'")
    rows = played.rows()
    assert rows == [f"m{number}" for number in range(9_501, 10_001)]
    assert played.page.locator("#received").text_content() == "10,000 in order"
    assert played.page.evaluate("window.ticks") > 1


def test_an_update_without_an_entry_is_shown_and_is_no_part_of_the_chain(played):
    derived = {"update_type": "thread_update", "type": "tool", "message": "derived", "derived": True}
    played.send(initial(), entry(1), {**derived, "stream_id": "100-1"}, entry(2))
    assert played.rows() == ["m1", "derived", "m2"]
    assert played.page.locator("#received").text_content() == "2 in order"
    assert len(played.sockets) == 1


def status_change(number, status, task=None, **more):
    of_task = {} if task is None else {"task_id": task}
    return entry(number, update_type="status_change", status=status, message=f"to {status}", **of_task, **more)


def derived(update_type, **more):
    return {"update_type": update_type, "derived": True, "stream_id": "100-0", "thread_id": THREAD, **more}


def status_of(played):
    played.settle()
    return played.page.locator("#status").text_content()


def test_a_childs_end_is_not_the_threads_and_another_turn_is_followed(played):
    played.send(initial(task_id="one"), status_change(1, "done", "child"))
    assert (status_of(played), played.rows()) == ("In progress", ["to done"])
    played.send(entry(2, update_type="result_set", result={"of": "child"}, task_id="child"))
    played.send(status_change(3, "failed", "one"), entry(4, update_type="error_set", error_message="broke", task_id="one"))
    assert status_of(played) == "Failed"
    assert "broke" in played.page.locator("body").inner_text() and "of" not in played.visit.texts("#result")
    played.send(derived("status_change", status="queued", task_id="two"))
    assert status_of(played) == "Queued"
    played.send(status_change(5, "cancelled", "one"))
    assert status_of(played) == "Queued"
    played.send(derived("status_change", status="cancelled", task_id="two"))
    assert status_of(played) == "Cancelled"


def test_a_source_ends_and_what_comes_behind_takes_it_back(played):
    of_source = {"source": "jobs"}
    played.send(initial(status="running", **of_source))
    played.socket(1)
    played.send(entry(1, after="0-0", update_type="step", **of_source), derived("end", failed=True, **of_source))
    assert (status_of(played), played.rows()[-1]) == ("Failed", "It failed.")
    several = [{"event": "token", "data": "one"}, {"message": "two"}, 3, None, {"n": 4}]
    played.send(entry(2, update_type="entry", events=several, **of_source))
    assert status_of(played) == "Running"
    assert played.rows()[-5:] == ["one", "two", "3", "entry", '{"n":4}']
    played.send(derived("end", failed=False, **of_source))
    assert (status_of(played), played.rows()[-1]) == ("Done", "It ended.")


def test_of_an_expired_task_the_newest_entry_tells_how_it_ended(played):
    played.send(initial("100-3", status=None))
    played.socket(1)
    played.send(entry(1, after="0-0", update_type="turn_complete"), entry(2))
    assert status_of(played) == "…"
    played.send(entry(3, update_type="error", message="over"), {"update_type": "caught_up", "stream_id": "100-3"})
    assert status_of(played) == "Failed"


def test_an_expired_task_is_what_its_log_has(played):
    played.send(initial("100-2", status=None))
    assert played.socket(1).url.endswith("?since=0")
    end = entry(2, update_type="status_change", status="done", message="The end")
    caught_up = {"update_type": "caught_up", "stream_id": "100-2"}
    played.send(entry(1, after="0-0"), end, caught_up, entry(3))
    assert played.rows() == ["m1", "The end", "m3"]
    assert played.page.locator("#status").text_content() == "Done"


@pytest.mark.parametrize("more", [{"updates": [{"message": "m"}], "updates_total": 1}, {}])
def test_a_log_is_read_from_its_beginning_only_where_it_has_more(played, more):
    played.send(initial("100-2" if more else "0-0", status=None, **more))
    played.settle()
    assert len(played.sockets) == 1
