"""What a process, and the kernel for its sockets, held at most since a moment."""

import pathlib
import threading

MIB = 1 << 20


class Memory:
    """The growth of a process that listens on a port, from now on, in MiB."""

    def __init__(self, pid, port):
        self.proc = pathlib.Path(f"/proc/{pid}")
        # From here on VmHWM is the peak since now.
        (self.proc / "clear_refs").write_text("5")
        self.before = self.resident()
        self.kernel = KernelMemory(port)

    def resident(self):
        return self._kib("smaps_rollup", "Rss:") / 1024

    def growth(self):
        """What it holds more than at the beginning."""
        return self.resident() - self.before

    def peak(self):
        """What it held more than at the beginning, at most."""
        return self._kib("status", "VmHWM:") / 1024 - self.before

    def _kib(self, file, name):
        for line in (self.proc / file).read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
        raise AssertionError(f"no {name} in {file}")


class KernelMemory:
    """What the kernel holds for the sockets of a port, sent and not taken; sampled, as it keeps no
    peak. By socket, as what it holds for all of them is other programs' as well."""

    def __init__(self, port):
        self.port = f"{port:04X}"
        self.highest = 0
        self.ended = threading.Event()
        threading.Thread(target=self.sample, daemon=True).start()

    def held(self):
        rows = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])
        ours = (row[4].split(":") for row in rows if self.port in (row[1][9:], row[2][9:]))
        return sum(int(sent, 16) + int(received, 16) for sent, received in ours) / MIB

    def sample(self):
        while not self.ended.wait(0.25):
            self.highest = max(self.highest, self.held())

    def peak(self):
        """In MiB; the sampling ends."""
        self.ended.set()
        return self.highest
