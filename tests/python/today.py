"""A worker of the agent of today: every step a command of its own, to keys only but for its updates."""

import json
import time

from support import keys, new_thread, now, stream_key


class Thread:
    """Tasks of one thread, each step a command of its own."""

    def __init__(self, redis, thread=None):
        self.redis, self.thread = redis, thread or new_thread()
        self.added = time.time()

    def key(self, task, part):
        return f"sre:task:{task}:{part}"

    def create(self, name):
        task = f"{name}-{self.thread}"
        self.redis.set(self.key(task, "status"), "queued")
        self.redis.hset(self.key(task, "metadata"), mapping={"created_at": now(), "thread_id": self.thread})
        self.added += 1
        self.redis.zadd(keys(self.thread)["tasks"], {task: self.added})
        return task

    def status(self, task, status):
        self.redis.set(self.key(task, "status"), status)

    def update(self, task, message, metadata=None):
        update = {"timestamp": now(), "message": message, "update_type": "progress", "metadata": metadata}
        self.redis.rpush(self.key(task, "updates"), json.dumps(update))

    def result(self, task, **members):
        self.redis.set(self.key(task, "result"), json.dumps(members))


class Today(Thread):
    """A worker of today: result or error or approval, then status, to keys; updates to the stream too."""

    def __init__(self, redis, thread=None):
        super().__init__(redis, thread)
        self.task = self.create("task")

    def told(self, message, task=None, **members):
        task = task or self.task
        self.update(task, message)
        fields = {"update_type": "progress", "message": message, "task_id": task, "timestamp": now(), **members}
        return self.entry(**fields)

    def entry(self, **fields):
        return self.redis.xadd(stream_key(self.thread), {"thread_id": self.thread, **fields})

    def end(self, status, task=None):
        task = task or self.task
        if status == "failed":
            self.redis.set(self.key(task, "error"), "it broke")
        elif status == "done":
            self.result(task, response="all is well")
        self.status(task, status)
