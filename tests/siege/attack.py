"""What every attack is made of."""

import itertools
import json
import select
import ssl
import time

from rawsocket import TEXT, Raw
from support import Worker, stream_key

BLOCK_BYTES = 64 * 1024
REOPEN_SECONDS = 0.05


class Attack:
    """One client that does one thing to the server.

    `prepare` makes the tasks that it needs. `attack` runs in a process of its own until it is told
    to stop, or ends by itself; what it returns, `check` gets. `during` is what else happens
    meanwhile.
    """

    #: What the server may grow by, in MiB.
    growth_mib = 64
    #: What the kernel may hold more for its sockets, in MiB; where it is of interest.
    kernel_mib = float("inf")
    #: What the innocent viewer's p99 should stay below, in ms. Printed, not asserted: it depends on
    #: the machine.
    p99_ms = None
    #: How many connections it opens.
    sockets = 1
    #: How long it lasts: in the short form and in the long one.
    seconds = (4, 8)
    #: Arguments of the server.
    options = ()
    #: Whether Redis answers meanwhile; where it does not, late updates are not the server's fault.
    redis_answers = True

    def __init__(self, long=False):
        self.long = long

    @property
    def name(self):
        return type(self).__name__

    def prepare(self, redis):
        """Makes what it needs in Redis."""

    def attack(self, server, stop):
        """What the client does."""
        raise NotImplementedError

    def during(self, siege):
        """Until when it is attacked: the end of the time, or of the attack."""
        siege.wait(self.seconds[self.long])

    def check(self, siege, result):
        """What else must hold, while the server still stands."""


class Peer:
    """A connection that is written to and read from as far as it goes, without waiting."""

    def __init__(self, raw, blocks, pause):
        self.raw = raw
        self.blocks = blocks
        self.begins = time.monotonic() + pause
        self.rest = memoryview(b"")
        raw.socket.setblocking(False)

    def fileno(self):
        return self.raw.socket.fileno()

    def write(self):
        """Sends what goes; frames stay whole."""
        self.rest = self.rest or memoryview(next(self.blocks))
        try:
            sent = self.raw.socket.send(self.rest)
        except ssl.SSLWantWriteError:
            raise BlockingIOError from None
        self.rest = self.rest[sent:]
        return sent

    def read(self):
        """Reads and forgets; the end is an error."""
        try:
            if not self.raw.socket.recv(1 << 20):
                raise EOFError
        except ssl.SSLWantReadError:
            raise BlockingIOError from None
        return 0


def flood(server, stop, connections, reads=True, bytes_per_second=None, pause=0):
    """Sends as fast as the server takes it, or at a rate; what ends is opened again.

    `connections` are pairs of a path and of a function that yields what is sent there: first
    along with the handshake, then the rest, after a pause in seconds. Returns the bytes sent.
    """
    peers, sent, began = [None] * len(connections), 0, time.monotonic()
    while not stop.is_set():
        for place, (path, blocks) in enumerate(connections):
            if not peers[place]:
                # Who does not read leaves the kernel no room to hide it.
                peers[place] = open_peer(Raw if reads else small, server, path, blocks(), pause)
        living = [peer for peer in peers if peer]
        now = time.monotonic()
        ahead = bytes_per_second and sent > bytes_per_second * (now - began)
        ready = [] if ahead else [peer for peer in living if peer.begins <= now]
        readable, writable, _ = select.select(
            living if reads else [], ready, [], 0.002 if ahead else 0.05
        )
        for peer, step in [(p, p.read) for p in readable] + [(p, p.write) for p in writable]:
            try:
                sent += step()
            except BlockingIOError:
                pass
            except (OSError, EOFError):
                peer.raw.socket.close()
                peers = [None if other is peer else other for other in peers]
                break
    return sent


def open_peer(connect, server, path, blocks, pause):
    try:
        return Peer(connect(server).open(path, along=next(blocks)), blocks, pause)
    except (OSError, EOFError, AssertionError):
        return None


def repeated(*frames):
    """Blocks of the same frames over and over: a function for `flood`."""
    once = b"".join(frames)
    block = once * max(1, BLOCK_BYTES // len(once))
    return lambda: itertools.repeat(block)


def command(**members):
    """A JSON message of a viewer, with a mask of zeros: cheap to make, and as dear to take."""
    payload = json.dumps(members).encode()
    size = len(payload)
    head = bytes([0x80 | TEXT])
    head += bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return head + bytes(4) + payload


def open_many(count, make, stop):
    """So many connections, of those that the server lets in."""
    opened = []
    for number in range(count):
        if stop.is_set():
            break
        try:
            opened.append(make(number))
        except (OSError, EOFError, AssertionError):
            pass
    return opened


def ended(sockets):
    """How many of these the server has ended."""
    poll = select.poll()
    for peer in sockets:
        poll.register(peer, select.POLLRDHUP)
    return sum(1 for _, events in poll.poll(0) if events)


def tasks(redis, prefix, count):
    """New tasks: their ids."""
    threads = [f"{prefix}-{number}" for number in range(count)]
    for thread in threads:
        Worker(redis, thread)
    return threads


def fill_stream(redis, thread, total_bytes, entry_bytes=50_000):
    """Entries of so many bytes together; returns their ids."""
    pipeline = redis.pipeline(transaction=False)
    for number in range(total_bytes // entry_bytes):
        fields = {"update_type": "thread_update", "message": f"{number} " + "x" * entry_bytes}
        pipeline.xadd(stream_key(thread), fields)
    return pipeline.execute()


def get(server, path, receive_bytes=None):
    """A connection on which a GET was sent and nothing is read yet."""
    raw = Raw(server, receive_bytes)
    raw.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode())
    return raw


def small(server):
    """A connection that takes little from the kernel."""
    return Raw(server, receive_bytes=4096)


