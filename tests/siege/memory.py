"""What a process, and the kernel for its sockets, held at most since a moment."""

import pathlib
import threading

MIB = 1 << 20
PAGE_BYTES = 4096


class Memory:
    """The growth of a process from now on, in MiB."""

    def __init__(self, pid):
        self.proc = pathlib.Path(f"/proc/{pid}")
        # From here on VmHWM is the peak since now.
        (self.proc / "clear_refs").write_text("5")
        self.before = self.resident()
        self.kernel = KernelMemory()

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
    """What the kernel holds for all TCP sockets; sampled, as it keeps no peak."""

    def __init__(self):
        self.before = self.highest = self.held()
        self.ended = threading.Event()
        threading.Thread(target=self.sample, daemon=True).start()

    def held(self):
        words = next(
            line.split()
            for line in pathlib.Path("/proc/net/sockstat").read_text().splitlines()
            if line.startswith("TCP:")
        )
        return int(words[words.index("mem") + 1]) * PAGE_BYTES / MIB

    def sample(self):
        while not self.ended.wait(0.1):
            self.highest = max(self.highest, self.held())

    def peak(self):
        """In MiB; the sampling ends."""
        self.ended.set()
        return self.highest - self.before
