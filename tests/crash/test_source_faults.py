"""The source is cut off, falls silent, is killed, restarted, demoted or promoted, or dies and another one takes its
place, at any moment of a rewind: the run finishes, or ends with its documented status and leaves a directory
that is untouched or that PostgreSQL refuses to start on; the next attempt, against what the source is then,
finishes the job.

Moments are places in what the source sends, spread evenly over a run: so many bytes, or so many answers. What
each fault does is in harness/source_faults.py. PG_REJOIN_SOURCE_FAULTS and PG_REJOIN_FAILOVERS set how many
cases there are in all.
"""

import os
import random

import pytest

from harness import oracle, scenario, source_faults, tree, workload
from harness.hostile_source import HostileSource, Trigger
from harness.killing import judge

MAJORS = (15, 18)
FAULTS = int(os.environ.get("PG_REJOIN_SOURCE_FAULTS", "24"))
FAILOVERS = int(os.environ.get("PG_REJOIN_FAILOVERS", "4"))
KINDS = (source_faults.Cut, source_faults.Killed, source_faults.Reset, source_faults.Restarted, source_faults.Refused,
         source_faults.Crashed, source_faults.Silent, source_faults.Demoted, source_faults.Promoted)
# A run may need more of the living source than the one that was measured: the last moments of some are never reached.
REACHED = 0.98
GOLDEN_RATIO = 0.6180339887


@pytest.fixture(scope="module", params=MAJORS)
def prepared(request, shared_directory, templates, tool):
    """The three nodes, stopped, and how much the source sends in a run that nothing happens to."""
    directory = shared_directory()
    pair = scenario.start_pair(directory, templates, request.param, 1414 + request.param, segment_mb=1)
    third = scenario.add_standby(pair.target, directory, "third", upstream=pair.source)
    try:
        scenario.diverge(pair, "kill", steps=15, checkpoint_source=tool.needs_checkpoint)
        scenario.catch_up(third, pair.source)
    finally:
        third.stop("fast")
        pair.source.stop("fast")
    nodes = {"target": pair.target, "source": pair.source, "third": third}
    return nodes, measure(nodes, shared_directory(), tool)


def measure(nodes, directory, tool) -> dict:
    world = source_faults.World(nodes, directory)
    calm = Trigger(lambda trigger, request: False)
    with HostileSource(world.source, calm) as proxy:
        tool.rewind(world.target.data, proxy.conninfo(), "-R").ok()
    world.close()
    return {"bytes": calm.bytes, "answers": calm.answers}


@pytest.fixture
def world(prepared, directory):
    made = source_faults.World(prepared[0], directory)
    made.before = tree.snapshot(prepared[0]["target"].data)
    yield made
    made.close()


def moment(prepared, rng, case):
    """As a Trigger takes it. Multiples of the golden ratio are spread evenly, however many there are."""
    measured = rng.choice(["bytes", "answers"])
    at = int(prepared[1][measured] * REACHED * ((case * GOLDEN_RATIO + rng.random() / 100) % 1))
    print(f"at {measured} {at} of {prepared[1][measured]}")
    return lambda trigger, request: getattr(trigger, measured) >= at


def strike(kind, world, tool, when, seed, directory, record_property):
    """One run with its fault, while the source is at work, judged."""
    load = workload.Workload(world.source, seed, "living", connections=1, steps=None).start()
    outcome = source_faults.run(tool, world, kind, when)
    load.stop()
    run = outcome.run
    print(f"{kind.__name__}, {'struck' if outcome.struck else 'not reached'}\n{run.describe()}")
    assert run.status in (0, 1), "neither success nor the documented failure"
    state = "finished"
    if run.status == 1:
        assert "error:" in run.output and "internal check" not in run.output
        state = judge(world, world.target, "killed", directory, 0)
        assert state != "complete"
    record_property("tally", f"{kind.__name__}: {state.split(':')[0]}{'' if outcome.struck else ', not reached'}")
    return outcome


def finish(world, outcome, tool, rng, primary=None):
    tool.rewind(world.target.data, outcome.next.conninfo("rewind_user"), "-R").ok()
    oracle.verify(world.target, outcome.next, full=rng.random() < 0.2, primary=primary)


@pytest.mark.parametrize("case", range(FAULTS // len(MAJORS)))
def test_source_is_lost(case, prepared, world, directory, tool, seed, record_property):
    tool.expect(upstream_lacks="cannot be run again")
    rng = random.Random(f"{seed}/lost")
    kind = KINDS[case % len(KINDS)]
    outcome = strike(kind, world, tool, moment(prepared, rng, case), seed, directory, record_property)
    finish(world, outcome, tool, rng, world.third if kind is source_faults.Demoted and outcome.struck else None)


@pytest.mark.parametrize("case", range(FAILOVERS // len(MAJORS)))
def test_second_failover(case, prepared, world, directory, tool, seed, record_property):
    tool.expect(upstream_lacks="cannot be run again")
    rng = random.Random(f"{seed}/failover")
    kind = source_faults.FailedOver
    outcome = strike(kind, world, tool, moment(prepared, rng, case), seed, directory, record_property)
    if outcome.struck:
        workload.run(world.third, seed, "third", connections=1, steps=4)
    finish(world, outcome, tool, rng)
