"""How long things last, and what a viewer is owed meanwhile: answers to Pings, budgets, ends."""

import json
import socket

from processes import eventually, request
from rawsocket import CLOSE, PING, PONG, TEXT, Raw, frame
from support import Worker, task_path

MANY = "/api/v1/ws"


def numbered(number):
    return number.to_bytes(4, "big")


def test_every_ping_of_a_viewer_that_reads_is_answered_in_order(server, viewed):
    with Raw(server).open(task_path(viewed.thread)) as viewer:
        assert viewer.read_json()["update_type"] == "initial_state"
        pings = b"".join(
            frame(PING, numbered(number)) + frame(TEXT, '{"type":"ping"}') for number in range(1_000)
        )
        viewer.send(pings)
        for number in range(1_000):
            assert viewer.read_pong() == numbered(number)
            assert viewer.read_frame() == (True, TEXT, b'{"type":"pong"}')


def test_of_pings_to_a_full_socket_the_newest_is_answered(start_server, redis_server, viewed):
    server = start_server(redis_server)
    with Raw(server, receive_bytes=4096).open(task_path(viewed.thread)) as viewer:
        assert viewer.read_json()["update_type"] == "initial_state"
        while server.metrics()["taskcast_viewers_lagging"] == 0:
            viewed.update("x" * 100_000)
        for number in range(1_000):
            viewer.send_frame(PING, numbered(number))
        viewer.send_frame(TEXT, '{"type":"ping"}')
        ids, pongs, json_pongs = [], [], 0
        while not (pongs and pongs[-1] == 999 and json_pongs):
            _, opcode, payload = viewer.read_frame()
            if opcode == PONG:
                pongs.append(int.from_bytes(payload, "big"))
            elif payload == b'{"type":"pong"}':
                json_pongs += 1
            else:
                ids.append(json.loads(payload)["stream_id"])
        assert pongs == sorted(set(pongs)) and len(pongs) < 1_000
        assert json_pongs == 1
        assert ids == sorted(set(ids))


def test_a_viewer_that_ends_behind_other_bytes_is_gone(start_server, redis_server, viewed):
    server = start_server(redis_server)
    with Raw(server).open(task_path(viewed.thread)) as viewer:
        viewer.read_json()
        viewer.send(frame(PONG) * 20_000)
        viewer.socket.shutdown(socket.SHUT_WR)
        eventually(lambda: server.metrics()["taskcast_sockets"] == 0, "the end of the viewer")


def test_subscribing_beyond_its_budget_waits_and_nothing_is_refused(server, viewed):
    with Raw(server).open(MANY) as viewer:
        for number in range(1_300):
            viewer.send_frame(TEXT, json.dumps({"type": "subscribe", "thread_id": f"{number}", "since": "x"}))
        viewer.send_frame(TEXT, json.dumps({"type": "subscribe", "thread_id": viewed.thread}))
        for number in range(1_300):
            assert viewer.read_json() == {"error": "Invalid since", "thread_id": f"{number}"}
        assert viewer.read_json()["update_type"] == "initial_state"


def test_errors_to_a_full_socket_are_told_when_it_is_free(start_server, redis_server, viewed):
    server = start_server(redis_server)
    with Raw(server, receive_bytes=4096).open(MANY) as viewer:
        viewer.send_frame(TEXT, json.dumps({"type": "subscribe", "thread_id": viewed.thread}))
        assert viewer.read_json()["update_type"] == "initial_state"
        while server.metrics()["taskcast_viewers_lagging"] == 0:
            viewed.update("x" * 100_000)
        for number in range(300):
            viewer.send_frame(TEXT, json.dumps({"type": "subscribe", "thread_id": f"{number} "}))
        errors = []
        while len(errors) < 300:
            if "error" in (message := viewer.read_json()):
                errors.append(message)
        assert errors == [{"error": "Invalid thread id", "thread_id": f"{n} "} for n in range(300)]


def test_behind_the_close_of_the_server_nothing_is_answered(start_server, redis_server, thread):
    server = start_server(redis_server)
    with Raw(server).open(task_path(thread)) as viewer:
        assert viewer.read_json()["error"] == "Thread not found"
        assert viewer.read_close() == 4004
        viewer.send(frame(PING, b"x") * 100 + frame(TEXT, '{"type":"ping"}') * 100 + frame(PONG))
        viewer.send_frame(CLOSE, (4004).to_bytes(2, "big"))
        viewer.read_end()
        assert viewer.buffer == b""
    eventually(lambda: server.metrics()["taskcast_sockets"] == 0, "the end of the socket")
    metrics = server.metrics()
    assert metrics['taskcast_closes_total{code="1006"}'] == 0
    assert metrics['taskcast_closes_total{code="4004"}'] == 1


def test_who_reads_nothing_is_closed_where_memory_is_spent_and_others_are_not(
    start_server, redis_server, viewed
):
    """Bodies that do not go on spend it."""
    server = start_server(
        redis_server, "--set", "limits.memory_bytes_max=4194304", "--set", "limits.page_bytes_max=65536",
        "--set", "limits.tail_read_bytes_max=65536", "--set", "limits.stall_timeout_ms=1500",
        "--set", "limits.topic_bytes_max=65536", "--set", "limits.unsent_bytes_max=4096",
    )
    with Raw(server, receive_bytes=4096).open(task_path(viewed.thread)) as stalled:
        stalled.read_json()
        while server.metrics()["taskcast_viewers_lagging"] == 0:
            viewed.update("x" * 60_000)
        with Raw(server).open(task_path(viewed.thread)) as reader:
            reader.read_json()
            bodies = [Raw(server) for _ in range(80)]
            for body in bodies:
                head = f"POST /api/v1/tasks/{viewed.thread}/updates HTTP/1.1\r\nHost: localhost\r\n"
                body.send(head.encode() + b"Content-Length: 60000\r\n\r\n" + b"x" * 59_000)
            # What bodies may fill is less than all: messages that are not complete do the rest.
            halves = [Raw(server).open(MANY) for _ in range(60)]
            for half in halves:
                half.send(frame(TEXT, b"x" * 60_000)[:59_000])
            closed = 'taskcast_closes_total{code="1013"}'
            eventually(lambda: server.metrics()[closed] >= 1, "the end of who reads nothing")
            metrics = server.metrics()
            assert metrics["taskcast_memory_refused_total"] == metrics[closed]
            assert server.said("stalled_viewer_closed")
            reader.send_frame(PING, b"alive")
            while (got := reader.read_frame())[1] in (TEXT, PING):
                pass
            assert got == (True, PONG, b"alive")
            for half in halves:
                half.socket.close()
            for body in bodies:
                body.socket.close()
    assert request(server, "GET", "/healthz")[0] == 200


def test_those_who_lagged_get_on_where_what_is_held_and_what_they_wait_for_do_not_fit(
    start_server, redis_server
):
    memory = 8 << 20
    server = start_server(
        redis_server, "--set", f"limits.memory_bytes_max={memory}", "--set", "limits.topic_bytes_max=20000"
    )
    redis = redis_server.client()
    workers = [Worker(redis) for _ in range(26)]
    viewers = [Raw(server, receive_bytes=8192).open(task_path(worker.thread)) for worker in workers]
    for viewer in viewers:
        viewer.socket.settimeout(60)
        assert viewer.read_json()["update_type"] == "initial_state"
    entries = 120
    for number in range(entries):
        for worker in workers:
            worker.raw("number", number, "padding", "x" * 10_000)
    eventually(lambda: server.metrics()["taskcast_viewers_lagging"] == len(workers))
    for worker in workers:
        worker.raw("number", entries, "padding", "x" * 210_000)
    # As the newest of each task, these are not let go while memory is only tight.
    chunks = 'taskcast_memory_bytes{kind="chunks"}'
    eventually(lambda: server.metrics()[chunks] > memory * 5 / 8)
    for viewer in viewers:
        numbers = [viewer.read_json()["number"] for _ in range(entries + 1)]
        assert numbers == list(range(entries + 1))
