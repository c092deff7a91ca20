"""SIGKILL at any instant: PostgreSQL does not start on a half-rewound directory, and running the
tool again finishes the job.

Even cases kill at a named point (PG_REJOIN_KILL_POINT), odd ones after a random time; a quarter
also kills the second run; half let the source write before the job is finished. PG_REJOIN_KILLS
sets how many cases there are in all.
"""

import os
import random

import pytest

from harness import oracle, scenario, tree, workload
from harness.killing import Killer, duration, judge

MAJORS = (15, 18)
KILLS = int(os.environ.get("PG_REJOIN_KILLS", "150"))
STEPS = 30
# Half of the cases write on the source: after so many its WAL since the fork would be most of each rewind.
CASES_OF_A_PAIR = 75


@pytest.fixture(scope="module")
def prepared(request, shared_directory, templates, tool):
    major, number = request.param
    pair = scenario.start_pair(shared_directory(), templates, major, 31337 + major + 1000 * number, segment_mb=1)
    scenario.diverge(pair, "immediate" if (major == 15) == (number % 2 == 0) else "kill", steps=STEPS,
                     checkpoint_source=tool.needs_checkpoint)
    ready = scenario.Prepared(pair)
    ready.before = tree.snapshot(ready.pristine)
    ready.seconds = duration(ready, shared_directory(), tool)
    yield ready
    pair.close()


def cases():
    """Each pair, (major, number), with its cases."""
    total = KILLS // len(MAJORS)
    pairs = [(major, number) for major in MAJORS for number in range(-(-total // CASES_OF_A_PAIR))]
    for pair in pairs:  # one object for all its cases: pytest makes a fixture anew for any other
        begin = pair[1] * CASES_OF_A_PAIR
        for case in range(begin, min(begin + CASES_OF_A_PAIR, total)):
            yield pytest.param(pair, case, id=f"{pair[0]}-{case}")


@pytest.mark.parametrize("prepared, case", list(cases()), indirect=["prepared"], scope="module")
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
