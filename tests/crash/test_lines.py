"""The primary changes between the attempts of one rewind, killed at any instant each time: the last
attempt ends on its source, whichever lines the others copied from.

Three servers have parted from the target's line, and from each other: one at the fork, one that lagged
behind that one, and one that parted from the target earlier, so that two of them are on the same
timeline number. All run at once, so a chain of attempts may go to any of them in any order.
PG_REJOIN_CHAINS sets how many chains there are in all.
"""

import os
import random

import pytest

from harness import oracle, scenario, tree, workload
from harness.killing import Killer, duration, judge

MAJORS = (15, 18)
CHAINS = int(os.environ.get("PG_REJOIN_CHAINS", "24"))
STEPS = 15


class Lines(scenario.Prepared):
    """The diverged target and its three sources; `source` is the one of the next attempt."""

    def __init__(self, pair, sources):
        super().__init__(pair)
        self.sources = sources

    def conninfo(self, **more) -> str:
        return self.source.conninfo("rewind_user", "postgres", **more)


@pytest.fixture(scope="module", params=MAJORS)
def lines(request, shared_directory, templates, tool):
    seed = 4711 + request.param
    directory = shared_directory()
    pair = scenario.start_pair(directory, templates, request.param, seed, segment_mb=1)
    early = scenario.add_standby(pair.target, directory, "early")
    late = scenario.add_standby(pair.target, directory, "late", upstream=pair.source)
    sources = [pair.source, late, early]
    try:
        workload.run(pair.target, seed, "shared", connections=2, steps=STEPS)
        early.wait_replay(pair.target.flush_lsn())
        early.stop("fast")
        scenario.diverge(pair, "kill", steps=STEPS)
        scenario.catch_up(late, pair.source)
        late.stop("fast")
        workload.run(pair.source, seed, "ahead", connections=2, steps=STEPS)
        for node in (late, early):
            node.start_promoted()
            workload.run(node, seed, node.name, connections=2, steps=STEPS)
            node.sql("CHECKPOINT")
        ready = Lines(pair, sources)
        ready.before = tree.snapshot(ready.pristine)
        ready.source = pair.source
        ready.seconds = duration(ready, shared_directory(), tool)
        yield ready
    finally:
        pair.close()
        for node in sources:
            node.kill()


@pytest.mark.parametrize("case", range(CHAINS // len(MAJORS)))
def test_last_attempt_wins(case, lines, directory, tool, kill_points, seed, record_property):
    tool.expect(upstream_lacks="cannot be run again")
    rng = random.Random(f"{seed}/lines")
    node = lines.fresh_target(directory)
    story = []
    states = []
    for depth in range(rng.choice([1, 2, 2, 3, 4])):
        lines.source = rng.choice(lines.sources)
        point = rng.choice(kill_points) if rng.random() < 0.7 else None
        killer = Killer(rng, tool, lines, point, lines.seconds)
        outcome = killer.kill_once(node)
        story.append(f"{lines.source.name} {point or 'some time'} {outcome}")
        state = judge(lines, node, outcome, directory, depth)
        print(f"attempt {depth + 1}: {story[-1]}, {state}")
        states.append(f"{state.split(':')[0]} from {lines.source.name}")
        if state == "complete":
            break
    # After a finished attempt a directory that was never started goes on to another primary, too.
    lines.source = rng.choice(lines.sources)
    run = tool.rewind(node.data, lines.conninfo(), "-R")
    print(f"last: {lines.source.name}\n{run.describe()}")
    run.ok()
    record_property("tally", f"{states[-1]}, then {lines.source.name}")
    oracle.verify(node, lines.source, full=rng.random() < 0.2)
