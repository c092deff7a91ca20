"""SIGKILL at any instant: PostgreSQL does not start on a half-rewound directory, and running the
tool again finishes the job.

Even cases kill at a named point (PG_REJOIN_KILL_POINT), odd ones after a random time; a quarter
also kills the second run; half let the source write before the job is finished. PG_REJOIN_KILLS
sets how many cases there are in all.
"""

import os
import random
import signal
import time

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree, workload
from harness.cluster import Cluster

MAJORS = (15, 18)
KILLS = int(os.environ.get("PG_REJOIN_KILLS", "60"))
STEPS = 30


@pytest.fixture(scope="module", params=MAJORS)
def prepared(request, shared_directory, templates, tool):
    pair = scenario.start_pair(shared_directory(), templates, request.param, 31337 + request.param, segment_mb=1)
    scenario.diverge(pair, "immediate" if request.param == 15 else "kill", steps=STEPS, checkpoint_source=tool.needs_checkpoint)
    ready = scenario.Prepared(pair)
    ready.before = tree.snapshot(ready.pristine)
    ready.seconds = duration(ready, shared_directory(), tool)
    yield ready
    pair.close()


def duration(prepared, directory, tool) -> float:
    """Of a whole run: the span in which random kills fall."""
    node = prepared.fresh_target(directory)
    seconds = tool.rewind(node.data, prepared.conninfo(), "-R").ok().seconds
    node.wipe()
    return seconds


@pytest.fixture(scope="session")
def kill_points(tool) -> list:
    if tool.name != "pg-rejoin":
        return [None]  # the rival is killed at random instants only
    run = tool.run_args([*tool.command, "--list-kill-points"]).ok()
    names = run.stdout.split()
    assert names, "a build without kill points: build with PG_REJOIN_KILL_POINTS=ON"
    return names


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


@pytest.mark.parametrize("case", range(KILLS // len(MAJORS)))
def test_kill(case, prepared, directory, tool, kill_points, seed, record_property):
    rng = random.Random(f"{seed}/kill")
    point = kill_points[case // 2 % len(kill_points)] if case % 2 == 0 else None
    killer = Killer(rng, tool, prepared, point, prepared.seconds)
    node = prepared.fresh_target(directory)
    chain = 2 if rng.random() < 0.25 else 1
    for depth in range(chain):
        outcome = killer.kill_once(node)
        state = judge(prepared, node, outcome, directory, depth)
        print(f"kill {depth + 1}: {outcome}, {state}")
        record_property("tally", f"run {depth + 1} {outcome}, directory {state.split(':')[0]}")
        if rng.random() < 0.5:
            workload.run(prepared.source, seed, f"between{seed}{depth}", connections=1, steps=4)
        killer.point = rng.choice(kill_points) if rng.random() < 0.5 else None
    tool.rewind(node.data, prepared.conninfo(), "-R").ok()
    oracle.verify(node, prepared.source, full=rng.random() < 0.2)


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
