#!/usr/bin/env python3
"""Publishes one task the way a worker does, with plain redis-py.

    pip install redis
    REDIS_URL=redis://127.0.0.1:6379/0 python publish.py

`new_task` and `publish` are those of docs/publishing.md, which says what they write and why.
"""

import json
import os
import time
import uuid
from datetime import datetime, timezone

from redis import Redis

DAY_SECONDS = 86_400  # so long the task is kept after its last change
UPDATES_MAX = 100  # in the state
STREAM_LENGTH_MAX = 10_000  # about so many entries of the past can be read


def new_task(redis, subject):
    """Makes a task; returns its thread id."""
    thread_id = uuid.uuid4().hex
    redis.hset(f"sre:thread:{thread_id}:metadata", "subject", subject)
    publish(redis, thread_id, "status_change", status="queued")
    return thread_id


def publish(redis, thread_id, update_type, task_id=None, **event):
    """Tells of one thing that happened; returns the stream id of its entry.

    publish(redis, thread_id, "status_change", status="in_progress")
    publish(redis, thread_id, "thread_update", message="Reading", metadata={"progress": 20})
    publish(redis, thread_id, "result_set", result={"summary": "It was DNS"})
    publish(redis, thread_id, "error_set", error_message="No such host")

    With a task_id it writes the `task` layout.
    """
    now = datetime.now(timezone.utc)
    thread, stream = f"sre:thread:{thread_id}", f"sre:stream:task:{thread_id}"
    state = f"sre:task:{task_id}" if task_id else thread
    event |= {"thread_id": thread_id, "update_type": update_type, "timestamp": now.isoformat()}
    event |= {"task_id": task_id} if task_id else {}
    if update_type == "thread_update":
        event = {"type": "progress", "metadata": {}, **event}
    fields = {name: v if isinstance(v, str) else json.dumps(v) for name, v in event.items()}

    with redis.pipeline(transaction=True) as step:
        # For those who watch.
        step.xadd(stream, fields, maxlen=STREAM_LENGTH_MAX, approximate=True)
        # For those who come later.
        if update_type == "status_change":
            step.set(f"{state}:status", event["status"])
        elif update_type == "result_set":
            step.set(f"{state}:result", fields["result"])
        elif update_type == "error_set":
            step.set(f"{state}:error", event["error_message"])
        elif update_type == "thread_update":
            update = {name: event[name] for name in ("timestamp", "message", "metadata")}
            update = json.dumps({"update_type": event["type"], **update})
            if task_id:  # oldest first
                step.rpush(f"{state}:updates", update)
                step.ltrim(f"{state}:updates", -UPDATES_MAX, -1)
            else:  # newest first
                step.lpush(f"{state}:updates", update)
                step.ltrim(f"{state}:updates", 0, UPDATES_MAX - 1)
        for owner in {thread, state}:
            step.hsetnx(f"{owner}:metadata", "created_at", now.isoformat())
            step.hset(f"{owner}:metadata", "updated_at", now.isoformat())
        if task_id:
            step.hset(f"{state}:metadata", "thread_id", thread_id)
            step.zadd(f"{thread}:tasks", {task_id: now.timestamp()}, nx=True)
        # For the list of tasks. It is everybody's: its rows go with their tasks, the key stays.
        step.zadd("sre:threads:index", {thread_id: now.timestamp()})
        step.zremrangebyscore("sre:threads:index", 0, now.timestamp() - DAY_SECONDS)
        step.persist("sre:threads:index")
        # So that all of it goes together.
        parts = ("status", "updates", "result", "error", "metadata", "context", "tasks")
        for key in (stream, *(f"{owner}:{part}" for owner in {thread, state} for part in parts)):
            step.expire(key, DAY_SECONDS)
        return step.execute()[0]


def main():
    redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
    thread_id = new_task(redis, "Why is the cache slow?")
    print(f"taskcast watch {thread_id}", flush=True)
    publish(redis, thread_id, "status_change", status="in_progress")
    for step in range(1, 11):
        progress = {"step": step, "total_steps": 10}
        publish(redis, thread_id, "thread_update", message=f"Step {step} of 10", metadata=progress)
        time.sleep(1)
    publish(redis, thread_id, "result_set", result={"summary": "One KEYS * a second"})
    publish(redis, thread_id, "status_change", status="done")


if __name__ == "__main__":
    main()
