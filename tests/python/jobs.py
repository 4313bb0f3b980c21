"""Publishers that are not the agent, and the sources that describe their streams."""

import json

from support import new_thread, text

CONFIG = """
[limits]
page_entries_max = 8

[[source]]
name = "jobs"
key = "jobs:{queue}:{id}"
entry = { field = "data", as = "json" }
type = ["kind"]
skip = [{ path = "kind", in = ["heartbeat"] }]
end = [{ path = "state", in = ["done", "error"] }]
failed = [{ path = "state", in = ["error"] }]
state = { string = "jobs:{queue}:{id}:state" }

[[source]]
name = "runs"
key = "runs:{{{id}}}"
end = [{ has = "terminal" }]
end_only_if_last = true
state = { hash = "runs", field = "{id}" }
missing = { wait_s = 60 }

[[source]]
name = "brief"
key = "brief:{id}"
missing = { wait_s = 1 }

[[source]]
name = "firehose"
key = "firehose"
entry = { field = "data", as = "ndjson" }

[[source]]
name = "sre"
status = { SUCCESS = "done" }
"""


# Most publishers have no key with a status: the same sources without.
WITHOUT_STATE = "\n".join(line for line in CONFIG.splitlines() if not line.startswith("state = "))


class Job:
    """A publisher that is not the agent."""

    def __init__(self, redis):
        self.redis = redis
        self.name = new_thread()
        self.id = f"q:{self.name}"
        self.key = f"jobs:q:{self.name}"

    def add(self, kind="step", id="*", **members):
        return text(self.redis.xadd(self.key, {"data": json.dumps({"kind": kind, **members})}, id=id))

    def beat(self):
        return self.add("heartbeat")


class Run:
    def __init__(self, redis):
        self.redis = redis
        self.id = new_thread()
        self.key = "runs:{" + self.id + "}"

    def add(self, **fields):
        return text(self.redis.xadd(self.key, fields))
