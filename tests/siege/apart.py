"""A function in a process of its own: who attacks must not slow down who measures."""

import multiprocessing
import os
import resource
import traceback

SPAWN = multiprocessing.get_context("spawn")


class Apart:
    """Runs `function(*args, stop)` until it returns or, told to `stop`, soon after."""

    def __init__(self, function, *args, nice=0):
        self.name = getattr(function, "__qualname__", str(function))
        self.stop = SPAWN.Event()
        self.receiver, sender = SPAWN.Pipe(duplex=False)
        self.process = SPAWN.Process(
            target=_run, args=(sender, nice, function, (*args, self.stop)), daemon=True
        )
        self.process.start()
        sender.close()

    @property
    def running(self):
        return self.process.is_alive()

    def result(self, seconds):
        """What the function returned; raises what it raised."""
        assert self.receiver.poll(seconds), f"{self.name} did not end within {seconds} s"
        try:
            ended_well, value = self.receiver.recv()
        except EOFError:
            raise AssertionError(f"{self.name} was killed") from None
        self.process.join(seconds)
        assert ended_well, f"{self.name} failed:\n{value}"
        return value

    def kill(self):
        self.process.kill()
        self.process.join()


def _run(sender, nice, function, args):
    try:
        _files_as_many_as_may_be()
        _be_nice(nice)
        answer = True, function(*args)
    except BaseException:
        answer = False, traceback.format_exc()
    sender.send(answer)


def _files_as_many_as_may_be():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _be_nice(nice):
    try:
        os.nice(nice)
    except PermissionError:
        pass  # Only root may be less nice than others.
