"""`taskcast watch`, as a program of its own."""

import json
import subprocess

from processes import binary, environment


class Watching:
    """`taskcast watch --json` of a task, with its frames."""

    def __init__(self, server, thread, *options):
        command = [binary(), "watch", "--url", server.http, "--json", *options, thread]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
        self.frames = [json.loads(self.process.stdout.readline())]

    def end(self):
        # Not what communicate() reads: lines may be buffered here already.
        self.frames += [json.loads(line) for line in self.process.stdout]
        return self.process.wait(20)

    def told(self, update_type):
        """Reads on to a frame of this type."""
        while self.frames[-1]["update_type"] != update_type:
            self.frames.append(json.loads(self.process.stdout.readline()))
        return self.frames[-1]
