"""Those who publish over HTTP, through servers and ways that break: each publication counts once.

Each has an id of its own and comes again with it until it was answered 202; then there must be one
entry of it, that of the answer.
"""

import http.client
import json
import time

from commands import Add
from habits import Habit
from publishers import Update
from reconcile import look, reconcile
from resp import Gone, RedisError
from streams import Entry, pair, written

PATIENCE_SECONDS = 10
AGAIN = {404, 408, 429, 503, 504}


class Http(Habit):
    def step(self, publisher, key):
        key.layout = "thread"
        key.may_vanish = key.may_vanish or publisher.world.evicts
        self.publish(publisher, key)

    def publish(self, publisher, key):
        """One publication, until it is answered and looked up."""
        if not publisher.ready():
            return
        op = self.publication(publisher, key)
        publisher.pending[key] = [op]
        since, answered = time.monotonic(), self.post(publisher, key, op)
        while not publisher.world.abandoned.is_set():
            try:
                if publisher.ready(since):
                    self.count(publisher, key, op, answered, since)
                    del publisher.pending[key]
                    self.tell(key, op, since)
                    return
            except (Gone, RedisError):
                publisher.redis = None

    def publication(self, publisher, key):
        entry, _ = publisher.entry(key)
        entry.members = {
            "thread_id": key.thread, "update_type": "thread_update", "type": "progress", "message": entry.token,
            "metadata": {"n": entry.members["n"]},
        }
        return Add(key.stream, entry, [])

    def tell(self, key, op, since):
        """It is in the list too, in the same step."""
        if op.entry.id is not None:
            update = Update(op.entry.token, since, time.monotonic())
            update.entry = op.entry
            key.updates.append(update)

    def post(self, publisher, key, op):
        """The id that was answered; none where the run was over before."""
        body = {"message": op.entry.token, "update_type": "progress", "metadata": op.entry.members["metadata"]}
        return self.until_answered(publisher, key, "updates", body, op.entry.token)

    def until_answered(self, publisher, key, what, body, name):
        world, rng, body = publisher.world, publisher.rng, json.dumps(body)
        path = f"/api/v1/tasks/{key.thread}/{what}"
        headers = {"Content-Type": "application/json", "Idempotency-Key": name}
        while not world.abandoned.is_set():
            _, port = world.server(rng)
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            try:
                connection.request("POST", path, body, headers)
                reply = connection.getresponse()
                answer = json.loads(reply.read())
            except (OSError, http.client.HTTPException, ValueError):
                publisher.answers["none"] += 1
                continue
            finally:
                connection.close()
            publisher.answers[reply.status] += 1
            if reply.status == 202:
                return pair(answer["stream_id"])
            if reply.status not in AGAIN:
                key.problems.append(f"{name}: {reply.status} {answer}")
                return None
            if reply.status == 504:
                key.unsure.add(name)
            if reply.status == 404:
                self.renew(publisher, key)
            time.sleep(0.02)
        return None

    def count(self, publisher, key, op, answered, since):
        """How often Redis has it now."""
        _, entries = look(publisher.redis, key)
        times = [stream_id for stream_id, token in entries if token == op.entry.token]
        if not (key.current and op.entry.id in key.current.kept):
            reconcile(publisher.redis, key, [op], True, since)
        world = publisher.world
        forgotten = world.evicts or world.may_have_lost(since) or any(known >= since for _, known, _ in key.timeline[1:])
        # Its record may be gone as well, and then nobody knows that it was written.
        if len(times) > 1 and not forgotten:
            key.problems.append(f"published twice: {op.entry.token} as {times}")
        if answered and not forgotten and op.entry.id != answered:
            key.problems.append(f"{op.entry.token} was answered {answered}, and is {op.entry.id}")


class Embedded(Http):
    """The log in memory, into which there is no other way; nobody else can be asked what it has."""

    def __init__(self, length, quiet=False):
        self.quiet = quiet
        self.trim = ("MAXLEN", "=", length)

    def renew(self, publisher, key):
        pass

    def step(self, publisher, key):
        key.layout = "thread"
        op = self.publication(publisher, key)
        since = time.monotonic()
        if self.done(key, op, since, self.post(publisher, key, op)):
            self.tell(key, op, since)

    def end(self, publisher, key):
        message = "Status changed to done"
        entry = Entry(message, {"update_type": "status_change", "status": "done", "message": message})
        op, since = Add(key.stream, entry, [], trim=self.trim), time.monotonic()
        self.done(key, op, since, self.until_answered(publisher, key, "status", {"status": "done"}, f"{key.thread}:end"))

    def publication(self, publisher, key):
        op = super().publication(publisher, key)
        op.trim = self.trim
        return op

    @staticmethod
    def done(key, op, since, answered):
        known = time.monotonic()
        if answered is None:
            key.blurred.append((since, known))
            return False
        op.apply(key, written(answered), since, known)
        return True
