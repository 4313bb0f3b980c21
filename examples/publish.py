#!/usr/bin/env python3
"""Publishes one task the way a worker does: state, XADD and EXPIRE with plain redis-py.

    pip install redis
    REDIS_URL=redis://127.0.0.1:6379/0 python publish.py

A real worker also keeps each update in the list sre:thread:{thread_id}:updates, so that viewers
who come late see the newest of them, and its task in sre:threads:index, so that the page lists it.
"""

import json
import os
import time

from redis import Redis

DAY_SECONDS = 86_400

redis = Redis.from_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0"))
thread_id = f"example-{time.time_ns()}"
stream = f"sre:stream:task:{thread_id}"


def publish(task_status, **event):
    redis.set(f"sre:thread:{thread_id}:status", task_status, ex=DAY_SECONDS)
    redis.xadd(stream, event)
    redis.expire(stream, DAY_SECONDS)


print(f"taskcast watch {thread_id}", flush=True)
publish("in_progress", update_type="status_change", status="in_progress", message="It begins")
for step in range(1, 11):
    event = {"type": "progress", "message": f"Step {step} of 10"}
    event["metadata"] = json.dumps({"step": step, "total_steps": 10})
    publish("in_progress", update_type="thread_update", **event)
    time.sleep(1)
publish("done", update_type="status_change", status="done", message="It is done")
