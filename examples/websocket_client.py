#!/usr/bin/env python3
"""Follows one task of a Taskcast server and prints what happens, line by line.

    pip install websockets
    python websocket_client.py THREAD_ID
    python websocket_client.py --create-test
    python websocket_client.py ID --source NAME     # a task of another source of the server

Where the server asks for a token, it shows the one in TASKCAST_TOKEN. SSL_CERT_FILE names who vouches
for an https:// server, where the system does not.

It reconnects by itself and goes on where it was, proves from the chain of stream ids that it
missed nothing, and never prints an update twice. Exit code: 0 the task is done, 1 it failed or
was cancelled, 2 there is no such task or the command line is wrong.
"""

import argparse
import asyncio
import json
import os
import random
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import datetime

import websockets
from websockets.exceptions import ConnectionClosed, InvalidHandshake

RETRY_FIRST_SECONDS = 0.5
RETRY_MAX_SECONDS = 15
# Closings after which it is of no use to come back: there is no such task, or it may not be watched.
FINAL = {4001: "the token does not count", 4003: "the token does not grant this task", 4004: ""}
EXIT_CODES = {"done": 0, "completed": 0, "failed": 1, "cancelled": 1}
# How a task ended whose state has expired, by its newest entry.
ENDS = {"turn_complete": "done", "error": "failed", "cancellation": "cancelled"}
# What the server adds to an entry of a source.
OF_SERVER = ("thread_id", "source", "stream_id", "prev_stream_id", "update_type", "timestamp")
STREAM_ID = re.compile(r"\d{1,20}(-\d{1,20})?")


def authorization():
    """What says who this is."""
    token = os.environ.get("TASKCAST_TOKEN")
    return {"Authorization": f"Bearer {token}"} if token else {}


class NotFound(Exception):
    """The server knows no such task, or does not take what it was asked."""


class ChainBroken(Exception):
    """An entry does not follow the last one: something between them did not arrive."""


def parse_id(value):
    """A stream id as a pair that can be compared; `12` is `12-0`."""
    ms, _, seq = str(value).partition("-")
    return int(ms), int(seq or 0)


def retry_seconds(attempt):
    """Doubling up to a limit; a random half of it keeps many viewers from coming at once."""
    longest = min(RETRY_MAX_SECONDS, RETRY_FIRST_SECONDS * 2 ** min(attempt, 10))
    return random.uniform(longest / 2, longest)


def handshake_status(error):
    """The HTTP status with which a server refused a WebSocket, or 0."""
    return getattr(getattr(error, "response", error), "status_code", 0)


class Follower:
    """A viewer of one task over as many connections as it takes.

    `receive` gets every frame, each entry once and in order; what it returns, other than None,
    ends the following.
    """

    def __init__(self, url, since, receive):
        self._url = url
        self._position = since  # the stream id to go on from
        self._receive = receive
        self._broken_at = None  # the position at which the chain broke
        self._attempt = 0

    async def run(self):
        while True:
            try:
                answer = await self._connection()
                if answer is not None:
                    return answer
            except ChainBroken:
                self._distrust()
            except InvalidHandshake as error:
                if 400 <= handshake_status(error) < 500:
                    raise NotFound(str(error)) from error
                say(f"-- {error}")
            except (OSError, asyncio.TimeoutError) as error:
                say(f"-- {error or 'no answer'}")
            seconds = retry_seconds(self._attempt)
            self._attempt += 1
            say(f"-- connecting again in {seconds:.1f} s, from {self._position or 'the start'}")
            await asyncio.sleep(seconds)

    async def _connection(self):
        url = self._url if self._position is None else f"{self._url}?since={self._position}"
        async with websockets.connect(url, max_size=None, additional_headers=authorization()) as socket:
            try:
                async for message in socket:
                    self._attempt = 0
                    frame = json.loads(message)
                    answer = await self._receive(frame) if self._admit(frame) else None
                    if answer is not None:
                        return answer
            except ConnectionClosed:
                pass
            if socket.close_code in FINAL:
                raise NotFound(FINAL[socket.close_code])
            say(f"-- connection closed ({socket.close_code})")

    def _admit(self, frame):
        """Whether the frame is news. Raises ChainBroken where an entry is not the next one."""
        if "prev_stream_id" in frame:  # an entry, whatever its publisher calls it
            if self._position is not None:
                if parse_id(frame["stream_id"]) <= parse_id(self._position):
                    return False
                if parse_id(frame["prev_stream_id"]) != parse_id(self._position):
                    raise ChainBroken
            self._position = frame["stream_id"]
        elif frame.get("update_type") == "initial_state":
            self._position = frame["stream_id"]
        return True

    def _distrust(self):
        say(f"-- an update after {self._position} did not arrive; reading the log again")
        if self._broken_at == self._position:
            self._position = None  # twice at one place: take the state as it is now
        self._broken_at = self._position


def say(text):
    print(text, flush=True)


def printable(value):
    """A publisher's value on one line, without anything that could steer a terminal."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else " " for char in text)


def local_time(timestamp):
    """An ISO 8601 time in our zone, or None."""
    try:
        return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).astimezone()
    except (AttributeError, OverflowError, ValueError):
        return None


def clock(timestamp):
    when = local_time(timestamp)
    return f"{when:%H:%M:%S}" if when else "--:--:--"


def percent(metadata):
    """An update's progress: its own percentage, or its step of so many."""
    if not isinstance(metadata, dict):
        return "    "
    value, step, steps = (metadata.get(key) for key in ("progress", "step", "total_steps"))
    if not isinstance(value, (int, float)) and isinstance(step, (int, float)):
        value = 100 * step / steps if isinstance(steps, (int, float)) and steps > 0 else None
    return f"{value:3.0f}%" if isinstance(value, (int, float)) else "    "


class Printer:
    """Prints frames, and knows the task's status and whether we have all there is of it."""

    def __init__(self, position=None):
        self.status = None
        self.task = None  # in a thread with several tasks, the one that the status is of
        self.caught_up = False
        self.has_updates = False
        self.ended = False  # a source said so of the newest entry
        self._guessed = False  # the status is what the newest entry means
        self._shown = parse_id(position or 0)  # what is up to here was printed, or is not wanted

    def frame(self, frame):
        kind = frame.get("update_type")
        if "prev_stream_id" in frame:
            self._entry(kind, frame)
            self._shown = parse_id(frame["stream_id"])
        elif kind == "initial_state":
            self._initial(frame)
            self.caught_up = True
        elif kind == "caught_up":
            self.caught_up = True
        elif frame.get("derived") is True:  # like an entry, but no part of the log
            self._derived(kind, frame)
        elif kind == "gap":
            say(f"-- gap ({printable(frame.get('reason'))}): updates after "
                f"{printable(frame.get('requested'))} may be missing; the state now:")

    def recall(self, entry):
        """An entry from before: printed if it was not yet, and its status counts."""
        if parse_id(entry["stream_id"]) > self._shown:
            self.frame(entry)
        elif entry.get("update_type") == "status_change":
            self.status = entry.get("status")
        if "source" not in entry and entry.get("update_type") != "status_change":
            # Of a turn, and not of one of its children.
            end = None if "parent_task_id" in entry else ENDS.get(entry.get("update_type"))
            if end or self._guessed:
                self.status = end
            self._guessed = end is not None

    def _initial(self, frame):
        self.status, self.task = frame.get("status"), frame.get("task_id")
        self.updates(frame.get("updates"))
        if frame.get("result") is not None:
            self._line(frame, f"result {printable(frame['result'])}")
        if frame.get("error_message"):
            self._line(frame, f"error  {printable(frame['error_message'])}")
        if self.status is not None:
            self._line(frame, f"status {printable(self.status)}")
        if "source" not in frame and (self.status is not None or frame.get("updates")):
            self._shown = parse_id(frame["stream_id"])

    def updates(self, updates):
        """Those of a state, as far as they are new."""
        for update in updates or []:
            self.has_updates = True
            if isinstance(update, dict) and self._is_new(update.get("timestamp")):
                self._update(update)

    def _derived(self, kind, frame):
        """What the keys tell in place of an entry; who comes back may know it already."""
        if kind == "end":  # a source says that its last entry ended the task
            self.status, self.ended = "failed" if frame.get("failed") else "done", True
            return self._line(frame, f"end    {self.status}")
        self.task = frame.get("task_id", self.task)
        if kind != "status_change" or frame.get("status") != self.status:
            self._entry(kind, frame)

    def _entry(self, kind, entry):
        self.has_updates, self.ended = True, False
        if kind == "thread_update":
            self._update(entry)
        elif "source" in entry and isinstance(entry.get("events"), list):
            for event in entry["events"]:  # an entry of a source that tells several things
                self._line(entry, f"{printable(kind)} {printable(event)}")
        elif "source" in entry:
            own = {name: value for name, value in entry.items() if name not in OF_SERVER}
            self._line(entry, f"{printable(kind)} {printable(own)}")
        elif kind == "status_change" and entry.get("task_id", self.task) == self.task:
            self.status = entry.get("status")
            self._line(entry, f"status {printable(self.status)}")
        elif kind == "result_set":
            self._line(entry, f"result {printable(entry.get('result'))}")
        elif kind == "error_set":
            self._line(entry, f"error  {printable(entry.get('error_message'))}")
        else:
            self._line(entry, f"{printable(kind)} {printable(entry.get('message', ''))}")

    def _update(self, update):
        message = printable(update.get("message", update.get("data")))
        self._line(update, f"{percent(update.get('metadata'))}   {message}")

    def _line(self, frame, text):
        say(f"{clock(frame.get('timestamp'))}  {text}")

    # A state that comes after a gap holds updates that were printed before it.
    def _is_new(self, timestamp):
        when = local_time(timestamp)
        return when is None or int(when.timestamp() * 1000) > self._shown[0]


def call(url, path, body=None):
    """One HTTP request; the answer's JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json", **authorization()})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def read_task(url, thread_id):
    """The task as it is now; nothing where it has expired."""
    try:
        return call(url, f"/api/v1/tasks/{thread_id}")
    except OSError:
        return {}


def publish_test(url, thread_id):
    """Plays a worker: a few updates, a result, and the end."""
    task = f"/api/v1/tasks/{thread_id}"
    call(url, f"{task}/status", {"status": "in_progress"})
    steps = ["Connecting to Redis", "Reading INFO", "Sampling keys", "Writing the answer"]
    for step, message in enumerate(steps, 1):
        time.sleep(0.5)
        progress = {"step": step, "total_steps": len(steps)}
        call(url, f"{task}/updates", {"message": message, "metadata": progress})
    call(url, f"{task}/result", {"result": {"summary": "Everything is in order."}})
    call(url, f"{task}/status", {"status": "done"})


async def watch(url, thread_id, since, source=None):
    """Prints the task until it is over; the exit code."""
    path = f"/api/v1/ws/{source or 'tasks'}/" + urllib.parse.quote(thread_id, "")
    socket_url = re.sub("^http", "ws", url) + path
    printer = Printer(since)

    # The state has expired, but its log is there still: read it up to where it is followed.
    async def look_back(end):
        async def recall(frame):
            if "prev_stream_id" in frame and parse_id(frame["stream_id"]) <= parse_id(end):
                printer.recall(frame)
            elif frame.get("derived") is not True:
                return True

        await Follower(socket_url, "0", recall).run()

    async def receive(frame):
        printer.frame(frame)
        if source is not None:
            # Its state has no updates: they are in the log.
            if frame.get("update_type") == "initial_state" and not printer.has_updates:
                await look_back(frame["stream_id"])
            return EXIT_CODES[printer.status] if printer.ended and printer.caught_up else None
        if printer.caught_up and printer.status is None:
            # The log after `--since` may not tell it.
            printer.status = (await asyncio.to_thread(read_task, url, thread_id)).get("status")
            if printer.status is None:
                await look_back(frame["stream_id"])
            printer.status = printer.status or "unknown"
            say(f"-- status {printable(printer.status)}")
        code = EXIT_CODES.get(printer.status) if printer.caught_up else None
        if code is not None and not printer.has_updates:
            # Updates whose entries may be on their way would come two seconds later.
            printer.updates((await asyncio.to_thread(read_task, url, thread_id)).get("updates"))
        return code

    return await Follower(socket_url, since, receive).run()


async def run(options):
    url = options.url
    if not options.create_test:
        return await watch(url, options.thread_id, options.since, options.source)
    query = {"query": "Is everything in order?"}
    thread_id = (await asyncio.to_thread(call, url, "/api/v1/triage", query))["thread_id"]
    say(f"-- task {thread_id}")
    publishing = asyncio.to_thread(publish_test, url, thread_id)
    code, _ = await asyncio.gather(watch(url, thread_id, None), publishing)
    return code


def stream_id(text):
    if not STREAM_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a stream id such as 1700000000000-0")
    return text


def source_name(text):
    if not re.fullmatch("[a-z0-9_-]{1,32}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not the name of a source")
    return text


def http_url(text):
    if not re.match("https?://.", text):
        raise argparse.ArgumentTypeError(f"{text!r} does not begin with http:// or https://")
    return text.rstrip("/")


def main():
    sys.stdout.reconfigure(errors="replace")
    parser = argparse.ArgumentParser(description="Follow one task of a Taskcast server.")
    parser.add_argument("thread_id", nargs="?", metavar="THREAD_ID")
    parser.add_argument("--create-test", action="store_true", help="make a task and follow that")
    parser.add_argument(
        "--url", type=http_url, default="http://127.0.0.1:8000", help="the server (%(default)s)"
    )
    parser.add_argument("--source", type=source_name, help="the source that the task is of")
    parser.add_argument("--since", type=stream_id, help="go on after this stream id")
    options = parser.parse_args()
    if bool(options.thread_id) == options.create_test:
        parser.error("give either THREAD_ID or --create-test")
    try:
        return asyncio.run(run(options))
    except NotFound as error:
        print(f"Thread not found: {options.thread_id} {error}".rstrip(), file=sys.stderr)
    except urllib.error.URLError as error:
        print(f"{options.url}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 2


if __name__ == "__main__":
    sys.exit(main())
