"""A siege: one server, the innocent who use it, and those who attack it meanwhile."""

import time
from dataclasses import dataclass, field

from apart import SPAWN, Apart
from attack import tasks
from innocent import Report, Server, follow_the_rules, percentile
from memory import MIB, Memory

WARM_UP_SECONDS = 1.5
RESULT_SECONDS = 120
INNOCENT_NICE = -10
# An attacker has machines of its own; here it gets what the server leaves.
ATTACKER_NICE = 10


@dataclass
class Figures:
    """What is printed of a siege."""

    name: str
    growth_mib: float
    growth_mib_max: float
    kernel_mib: float
    p99_ms_max: float
    report: Report
    delays: list
    notes: list = field(default_factory=list)

    def line(self):
        p50, p99 = (percentile(self.delays, percent) for percent in (50, 99))
        attach = percentile(self.report.attaches, 99)
        late = "!" if self.p99_ms_max and p99 > self.p99_ms_max else " "
        bar = f"< {self.p99_ms_max}" if self.p99_ms_max else ""
        return (
            f"{self.name:30} {self.growth_mib:6.0f} < {self.growth_mib_max:<4.0f}"
            f" {self.kernel_mib:6.0f}  {p50:8.1f} {p99:8.1f}{late}{bar:7}"
            f" {attach:8.1f} {len(self.report.refused):3}  {'; '.join(self.notes)}"
        )


HEAD = (
    f"{'attack':30} {'peak MiB':>13} {'kernel':>6}  {'p50 ms':>8} {'p99 ms':>8} {'':7}"
    f" {'attach99':>8} {'ref':>3}"
)


class Siege:
    """The innocent of one server, and what they and its memory come to.

    `redis` and `server` are processes of this siege alone. Over TLS and with a token, where both are given;
    then those who attack have none.
    """

    def __init__(self, redis, server, authority=None, token=None):
        self.redis = redis
        self.server = server
        self.address = Server(server.port, authority)
        self.attackers = []
        self.results = []
        self.failures = []
        self.notes = []
        with redis.client() as client:
            [thread] = tasks(client, "innocent", 1)
            others = tasks(client, "newcomer", 10)
        ready = SPAWN.Event()
        self.innocent = Apart(
            follow_the_rules, Server(server.port, authority, token), redis.port, thread, others, ready, nice=INNOCENT_NICE
        )
        assert ready.wait(30), self.innocent.result(0)
        time.sleep(WARM_UP_SECONDS)
        self.topics_before = self.topics()
        self.log_before = self.log_size()
        self.memory = Memory(server.pid, server.port)
        self.began = time.monotonic()

    def attack(self, attack):
        """Begins an attack."""
        self.attackers.append(Apart(attack.attack, self.address, nice=ATTACKER_NICE))

    def wait(self, seconds):
        """Until the time is over, or every attack has ended by itself."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(attacker.running for attacker in self.attackers):
            time.sleep(0.05)

    def leave(self):
        """The attackers leave; what their attacks returned is in `results`."""
        for attacker in self.attackers:
            attacker.stop.set()
        while self.attackers:
            try:
                self.results.append(self.attackers[0].result(RESULT_SECONDS))
            except AssertionError as failure:
                self.failures.append(str(failure))
                self.attackers[0].kill()
            self.attackers.pop(0)

    def end(self):
        """The innocent go home; their report."""
        self.elapsed = time.monotonic() - self.began
        self.log_lines = self.server.log_path.read_bytes()[self.log_before :].count(b"\n")
        self.innocent.stop.set()
        self.report = self.innocent.result(RESULT_SECONDS)
        return self.report

    def kill(self):
        for apart in [*self.attackers, self.innocent]:
            apart.kill()

    def note(self, text):
        """Something to print beside the figures."""
        self.notes.append(text)

    def log_size(self):
        return self.server.log_path.stat().st_size

    def topics(self):
        return self.server.metrics()["taskcast_topics"]

    def account_mib(self):
        """What the server says that it holds, of all kinds."""
        metrics = self.server.metrics().items()
        kinds = [bytes for name, bytes in metrics if name.startswith("taskcast_memory_bytes{")]
        assert kinds, "/metrics does not show the account"
        return sum(kinds) / MIB

    def figures(self, name, growth_mib_max, p99_ms_max=None):
        return Figures(
            name=name,
            growth_mib=self.memory.peak(),
            growth_mib_max=growth_mib_max,
            kernel_mib=self.memory.kernel.peak(),
            p99_ms_max=p99_ms_max,
            report=self.report,
            delays=self.report.since(self.began),
            notes=self.notes,
        )
