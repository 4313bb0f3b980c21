"""A viewer who reads as much as it is told to, and streams that are more than the kernel keeps for it."""

import asyncio
import contextlib
import json

from rawsocket import Raw
from streams import full
from support import receive

# More than the kernel keeps for a viewer who does not read.
LARGE_BYTES = 20_000
LARGE_COUNT = 300
RECEIVE_BYTES = 16_384


def fill(worker, begin, count=LARGE_COUNT, trim=(), bytes=LARGE_BYTES):
    """So many large entries. Returns their ids."""
    with worker.redis.pipeline(transaction=False) as pipe:
        for id in range(begin, begin + count):
            fields = ("update_type", "event", "n", id, "padding", "x" * bytes)
            pipe.execute_command("XADD", worker.stream, *trim, f"{id}-0", *fields)
        pipe.execute()
    return [full(id) for id in range(begin, begin + count)]


class Slow:
    """A viewer that reads as much as it is told to, for `walk` and `receive`."""

    def __init__(self, server, path):
        self.raw = Raw(server, RECEIVE_BYTES).open(path)

    async def recv(self):
        return json.dumps(await asyncio.to_thread(self.raw.read_json))


@contextlib.contextmanager
def slow(server, path):
    viewer = Slow(server, path)
    with viewer.raw:
        yield viewer


async def to_the_gap(viewer, ids):
    """The entries before the gap, in their order and without a hole."""
    position, coming = "1-0", iter(ids)
    while (frame := await receive(viewer))["update_type"] != "gap":
        assert (frame["stream_id"], frame["prev_stream_id"]) == (next(coming), position)
        position = frame["stream_id"]
    assert (frame["requested"], frame["reason"]) == (position, "reset"), frame
    # Else it did not lag.
    assert position != ids[-1]
