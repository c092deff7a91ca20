"""Killing the tool in the middle of its work, and judging the directory that it leaves."""

import os
import signal
import time

from . import environment as envm
from . import oracle, tree
from .cluster import Cluster


def duration(prepared, directory, tool) -> float:
    """Of a whole run: the span in which random kills fall."""
    node = prepared.fresh_target(directory)
    seconds = tool.rewind(node.data, prepared.conninfo(), "-R").ok().seconds
    node.wipe()
    return seconds


class Killer:
    """How this case kills."""

    def __init__(self, rng, tool, prepared, point, seconds):
        self.rng, self.tool, self.prepared, self.point, self.seconds = rng, tool, prepared, point, seconds

    def kill_once(self, node) -> str:
        """Runs and kills; returns 'killed' or, where the run was quicker, 'finished'."""
        if self.point:
            return self._at_point(node)
        process = self.tool.spawn(node.data, self.prepared.conninfo(), "-R")
        time.sleep(self.rng.uniform(0, self.seconds))
        os.killpg(process.pid, signal.SIGKILL)
        return self._outcome(process)

    def _at_point(self, node) -> str:
        hit = self.rng.choice([1, 1, 1, 2, 5, 20, 100, 500])
        process = self.tool.spawn(node.data, self.prepared.conninfo(), "-R", env={"PG_REJOIN_KILL_POINT": f"{self.point}:{hit}"})
        print(f"kill point {self.point}:{hit}")
        return self._outcome(process)

    def _outcome(self, process) -> str:
        status = process.wait(120)
        assert status in (-9, 0), f"exit {status} instead of a kill or success"
        return "killed" if status == -9 else "finished"


def judge(prepared, node, outcome: str, directory, depth: int) -> str:
    """The directory after a kill: untouched, refused by the server, or complete. Tried on a twin,
    for a server that does start changes what it starts on."""
    foreign = [c for c in tree.changes(prepared.before, tree.snapshot(node.data)) if "rejoin" not in c]
    if not foreign:
        assert depth == 0 or outcome == "killed"
        return "untouched"
    twin = Cluster(directory, node.major, f"twin{depth}", settings=node.settings)
    envm.copy_tree(node.data, twin.data)
    try:
        if oracle.refuses_to_start(twin):
            assert outcome == "killed", f"a finished run left a directory that does not start\n{twin.log_tail()}"
            reason = last_fatal(twin)
            assert "lock file" not in reason and "socket" not in reason, reason
            return "fenced: " + reason
        # It starts: then the job was done but for the exit, and it must be right.
        oracle.light(twin, prepared.source)
        return "complete"
    finally:
        twin.wipe()


def last_fatal(node) -> str:
    lines = [line for line in node.log.read_text(errors="replace").splitlines() if "FATAL" in line]
    return lines[-1] if lines else "(no FATAL in its log)"
