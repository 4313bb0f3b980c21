"""The page at `/` in a real browser, against a real server."""

import json
import re
import time

import certificates
import processes
import pytest
from browser import Visit, chromium
from support import Worker

HOSTILE = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script>\u202e'
MESSAGES = "#log .row-message"
IS_LIVE = "document.getElementById('connection').dataset.state === 'live'"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser):
    """`visit(**options)`: a page; nothing may have gone wrong in it by the end of the test."""
    visits = []

    def start(**options):
        visits.append(Visit(browser, **options))
        return visits[-1]

    yield start
    problems = [problem for one in visits for problem in one.problems]
    for one in visits:
        one.context.close()
    assert not problems


def new_task(server, query="Why is memory rising?"):
    status, _, answer = processes.request(server, "POST", "/api/v1/triage", {"query": query})
    assert status == 202
    return answer["thread_id"]


def post(server, thread, what, **body):
    status, _, answer = processes.request(server, "POST", f"/api/v1/tasks/{thread}/{what}", body)
    assert status == 202, answer
    return answer["stream_id"]


def update(server, thread, message, **metadata):
    return post(server, thread, "updates", message=message, metadata=metadata)


def open_task(visit, server, thread):
    visit.page.goto(f"{server.http}/#{thread}")
    visit.eventually(IS_LIVE)


def wait_for_row(visit, message):
    visit.eventually(
        "([selector, text]) => [...document.querySelectorAll(selector)]"
        ".some((row) => row.textContent === text)",
        [MESSAGES, message],
    )


def rows(visit):
    """The messages shown, oldest first."""
    return visit.texts(MESSAGES)[::-1]


def expect_no_sideways_scroll(visit):
    wider = visit.page.evaluate(
        "[...document.querySelectorAll('html, body, .sidebar, .tasks, .detail, .task')]"
        ".filter((box) => box.scrollWidth > box.clientWidth).map((box) => box.outerHTML.slice(0, 80))"
    )
    assert wider == []


def forgive_lost_connections(visit):
    """The browser itself reports every connection that a stopped server refuses."""
    lost = re.compile("ERR_CONNECTION_|ERR_EMPTY_RESPONSE|WebSocket connection")
    visit.problems[:] = [problem for problem in visit.problems if not lost.search(problem)]


def test_the_newest_tasks_are_listed_with_status_and_progress(visit, server):
    older = new_task(server, "Older task")
    time.sleep(0.01)  # they are told apart by the millisecond
    newer = new_task(server, "Newer task")
    post(server, older, "status", status="in_progress")
    update(server, older, "Halfway", step=1, total_steps=2)
    one = visit()
    one.page.goto(server.http)
    item = one.page.locator(f'a[href="#{older}"]')
    item.wait_for()
    links = one.page.eval_on_selector_all("#tasks a", "all => all.map((a) => a.hash.slice(1))")
    assert links.index(newer) < links.index(older)
    assert item.locator(".item-title").text_content() == "Older task"
    assert item.locator(".item-status").text_content() == "In progress 50%"
    assert item.locator(".item-message").text_content() == "Halfway"
    assert "0.5" in item.locator(".bar i").get_attribute("style")


def test_a_new_task_joins_the_list_by_itself(visit, server):
    one = visit()
    one.page.goto(server.http)
    thread = new_task(server, "Came later")
    one.page.locator(f'a[href="#{thread}"]').wait_for()


def test_a_live_update_appears(visit, server):
    thread = new_task(server)
    update(server, thread, "Before", progress=10)
    one = visit()
    open_task(one, server, thread)
    post(server, thread, "status", status="in_progress")
    update(server, thread, "Live", progress=40)
    wait_for_row(one, "Live")
    assert rows(one) == ["Before", "Status changed to in_progress", "Live"]
    assert one.page.locator("#bar").get_attribute("aria-valuenow") == "40"
    assert one.page.locator("#status").text_content() == "In progress"
    assert one.page.locator("#headline").text_content() == "Live"
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", time) for time in one.texts("#log time"))
    assert one.page.locator(f'a[href="#{thread}"] .item-status').text_content() == "In progress 40%"


def test_a_live_update_appears_over_tls(visit, start_server, redis_server, tmp_path):
    server = start_server(redis_server, tls=certificates.make(tmp_path))
    thread = new_task(server)
    # The browser knows no authority of one's own.
    one = visit(ignore_https_errors=True)
    open_task(one, server, thread)
    update(server, thread, "over TLS")
    wait_for_row(one, "over TLS")
    assert one.sockets and all(url.startswith("wss://") for url in one.sockets)


def test_the_result_and_the_end_are_shown(visit, server):
    thread = new_task(server)
    one = visit()
    open_task(one, server, thread)
    result = {"summary": "fine", "findings": [1, None]}
    post(server, thread, "result", result=result)
    post(server, thread, "status", status="done")
    one.eventually("document.getElementById('status').textContent === 'Done'")
    assert one.page.locator("#result").text_content() == json.dumps(result, indent=2)
    assert one.page.locator("#bar").get_attribute("aria-valuenow") == "100"
    one.page.reload()
    one.eventually("document.getElementById('status').textContent === 'Done'")
    assert json.loads(one.page.locator("#result").text_content()) == result


def test_an_error_is_shown(visit, server):
    thread = new_task(server)
    one = visit()
    open_task(one, server, thread)
    post(server, thread, "error", error_message="Out of memory")
    one.eventually("document.getElementById('status').textContent === 'Failed'")
    assert one.page.locator("#error").text_content() == "Out of memory"


def test_stream_length_and_viewers_are_shown(visit, server):
    thread = new_task(server)
    one = visit()
    open_task(one, server, thread)
    info = processes.request(server, "GET", f"/api/v1/tasks/{thread}/stream-info")[2]
    one.eventually("document.getElementById('viewers').textContent === '1'")
    assert one.page.locator("#stream-length").text_content() == str(info["stream_length"])


def test_hostile_text_is_shown_as_text(visit, server):
    thread = new_task(server, HOSTILE)
    worker = Worker(server.redis, thread, create=False)
    update(server, thread, HOSTILE)
    one = visit()
    open_task(one, server, thread)
    update(server, thread, HOSTILE + " live")
    post(server, thread, "result", result={"html": HOSTILE})
    worker.publish(HOSTILE, message=HOSTILE + " odd")
    worker.status(HOSTILE)
    worker.error(HOSTILE)
    wait_for_row(one, f"Error: {HOSTILE}")
    wait_for_row(one, HOSTILE)
    wait_for_row(one, HOSTILE + " live")
    wait_for_row(one, HOSTILE + " odd")
    assert one.page.locator("#error").text_content() == HOSTILE
    one.page.wait_for_timeout(300)  # time for an onerror to run
    assert one.page.evaluate("window.hacked") is None
    assert one.page.locator("img, body script").count() == 0


def test_an_unknown_task_is_said_to_be_unknown_and_left_alone(visit, server):
    one = visit()
    one.page.goto(f"{server.http}/#no-such-task")
    one.eventually("document.getElementById('connection').textContent === 'Thread not found'")
    assert one.page.locator("#absent").is_visible()
    one.page.wait_for_timeout(1500)  # longer than a first retry would wait
    assert len(one.sockets) == 1


def test_a_fragment_that_is_no_thread_id_opens_nothing(visit, server):
    one = visit()
    one.page.goto(f"{server.http}/#../../{HOSTILE}")
    one.page.locator("#placeholder").wait_for()
    assert one.sockets == []


def test_a_restarted_server_shows_every_update_exactly_once(visit, start_redis, start_server):
    server = start_server(start_redis())
    thread = new_task(server)
    one = visit()
    open_task(one, server, thread)
    expected = ["before 0", "before 1"]
    for message in expected:
        update(server, thread, message)
    wait_for_row(one, expected[-1])
    server.kill()
    one.eventually("document.getElementById('connection').dataset.state === 'waiting'")
    worker = Worker(server.redis, thread, create=False)
    missed = [f"missed {number}" for number in range(20)]
    for message in missed:
        worker.update(message)
    server.start()
    one.eventually(IS_LIVE)
    update(server, thread, "after")
    wait_for_row(one, "after")
    assert rows(one) == [*expected, *missed, "after"]
    assert any("since=" in url for url in one.sockets)
    forgive_lost_connections(one)


def test_a_trimmed_log_is_told_and_the_state_shown_instead(visit, start_redis, start_server):
    server = start_server(start_redis())
    thread = new_task(server)
    one = visit()
    open_task(one, server, thread)
    update(server, thread, "seen")
    wait_for_row(one, "seen")
    server.kill()
    worker = Worker(server.redis, thread, create=False)
    for number in range(15):
        worker.update(f"missed {number}")
    # From now on those that are left are old enough to prove the ones before them old.
    time.sleep(2.1)
    server.redis.xtrim(worker.stream, maxlen=3, approximate=False)
    server.start()
    one.eventually("!document.getElementById('notice').hidden")
    one.eventually(IS_LIVE)
    wait_for_row(one, "missed 14")
    assert "trimmed" in one.page.locator("#notice-text").text_content()
    assert rows(one) == [f"missed {number}" for number in range(5, 15)]
    one.page.locator("#notice-close").click()
    one.eventually("document.getElementById('notice').hidden")
    forgive_lost_connections(one)


def test_of_an_expired_task_whose_log_was_trimmed_the_rest_is_shown(visit, server, redis_server):
    worker = Worker(redis_server.client(), create=False)
    for message in ("first", "second", "third"):
        worker.publish("thread_update", message=message)
    worker.redis.xtrim(worker.stream, maxlen=2, approximate=False)
    one = visit()
    open_task(one, server, worker.thread)
    wait_for_row(one, "third")
    assert rows(one) == ["second", "third"]
    assert one.page.locator("#notice").is_hidden()
    worker.publish("thread_update", message="fourth")
    wait_for_row(one, "fourth")


def test_a_task_is_chosen_with_the_keyboard_alone(visit, server):
    first = new_task(server, "First")
    time.sleep(0.01)
    second = new_task(server, "Second")
    one = visit()
    one.page.goto(server.http)
    one.page.locator(f'a[href="#{first}"]').wait_for()
    one.page.keyboard.press("ArrowDown")
    assert one.page.evaluate("document.activeElement.hash") == f"#{second}"
    one.page.keyboard.press("ArrowDown")
    one.page.keyboard.press("Enter")
    one.eventually("document.getElementById('title').textContent === 'First'")
    one.eventually(IS_LIVE)
    assert one.page.evaluate("location.hash") == f"#{first}"
    assert one.page.locator("#tasks [aria-current]").get_attribute("href") == f"#{first}"
    outline = one.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    one.page.go_back()
    one.page.locator("#placeholder").wait_for()


def test_choosing_another_task_leaves_the_first(visit, server):
    first, second = new_task(server, "First"), new_task(server, "Second")
    update(server, first, "of the first")
    update(server, second, "of the second")
    one = visit()
    open_task(one, server, first)
    one.page.locator(f'a[href="#{second}"]').click()
    wait_for_row(one, "of the second")
    update(server, first, "late")
    update(server, second, "on time")
    wait_for_row(one, "on time")
    assert rows(one) == ["of the second", "on time"]


def test_the_connection_is_announced(visit, server):
    one = visit()
    open_task(one, server, new_task(server))
    connection = one.page.locator("#connection")
    assert connection.get_attribute("aria-live") == "polite"
    assert connection.text_content() == "Live"


def brightness(visit, selector):
    script = "(selector) => getComputedStyle(document.querySelector(selector)).backgroundColor"
    color = visit.page.evaluate(script, selector)
    return sum(map(int, re.findall(r"\d+", color)[:3]))


def test_it_follows_light_and_dark(visit, server):
    one = visit(color_scheme="light")
    open_task(one, server, new_task(server))
    light = [brightness(one, "body"), brightness(one, ".detail")]
    one.page.emulate_media(color_scheme="dark")
    dark = [brightness(one, "body"), brightness(one, ".detail")]
    assert min(light) > 600 and max(dark) < 150


def test_a_phone_shows_one_pane_and_never_scrolls_sideways(visit, server):
    thread = new_task(server, "W" * 400)
    update(server, thread, "x" * 3000, progress=12)
    one = visit(viewport={"width": 360, "height": 700}, has_touch=True, is_mobile=True)
    one.page.goto(server.http)
    item = one.page.locator(f'a[href="#{thread}"]')
    item.wait_for()
    assert not one.page.locator(".detail").is_visible()
    expect_no_sideways_scroll(one)
    item.tap()
    one.eventually(IS_LIVE)
    post(server, thread, "result", result={"long": "y" * 5000})
    one.eventually("!document.getElementById('result-section').hidden")
    assert not one.page.locator(".sidebar").is_visible()
    expect_no_sideways_scroll(one)
    one.page.locator(".back").tap()
    item.wait_for()


def test_everything_comes_from_the_server_under_a_strict_policy(visit, server):
    one = visit()
    requests = []
    one.page.on("request", lambda request: requests.append(request.url))
    reply = one.page.goto(server.http)
    one.page.wait_for_load_state("networkidle")
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert all(url.startswith((server.http, "data:")) for url in requests)


def test_a_task_of_a_source_is_shown_by_its_address(start_server, redis_server, visit):
    config = """
[[source]]
name = "jobs"
key = "jobs:{queue}:{id}"
entry = { field = "data", as = "json" }
type = ["kind"]
end = [{ path = "kind", in = ["bye"] }]
"""
    server = start_server(redis_server, config=config)
    redis = redis_server.client()
    redis.xadd("jobs:q:1", {"data": json.dumps({"kind": "step", "message": "Before"})})
    one = visit()
    one.page.goto(f"{server.http}/?source=jobs#q:1")
    one.eventually(IS_LIVE)
    wait_for_row(one, "Before")
    redis.xadd("jobs:q:1", {"data": json.dumps({"kind": "bye", "n": 1})})
    wait_for_row(one, "It ended.")
    assert '{"kind":"bye","n":1}' in rows(one)
    one.eventually("!document.getElementById('list-note').hidden")
