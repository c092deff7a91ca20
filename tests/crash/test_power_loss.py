"""The power goes at any instant of a rewind, and whatever was not synced is there, or not, or in part.

PG_REJOIN_STATES sets how many states the operations alone are judged by, PG_REJOIN_REAL_STATES how many are
made real: tried by a server, and finished.
"""

import dataclasses
import os
import random

import pytest

from harness import faults, oracle, powerloss, scenario, tree
from harness.killing import judge

STATES = int(os.environ.get("PG_REJOIN_STATES", "100000"))
REAL_STATES = int(os.environ.get("PG_REJOIN_REAL_STATES", "16"))
MAJORS = (15, 18)


@pytest.fixture(scope="module", params=MAJORS)
def prepared(request, shared_directory, templates, tool, root):
    pair = scenario.start_pair(shared_directory(), templates, request.param, 1618 + request.param, segment_mb=1)
    scenario.diverge(pair, "fast" if request.param == 15 else "kill", steps=10, checkpoint_source=tool.needs_checkpoint)
    ready = scenario.Prepared(pair)
    ready.before = tree.snapshot(ready.pristine)
    directory = shared_directory()
    node = ready.fresh_target(directory)
    fault = faults.make(root, node.data, directory)
    tool.rewind(node.data, ready.conninfo(), "-R", env=fault.traced(fault.scratch)).ok()
    ready.trace = powerloss.read(fault.scratch)
    node.wipe()
    yield ready
    pair.close()


def test_the_order_of_operations(prepared, seed, record_property):
    """A state for each prefix, and many more at random."""
    rng = random.Random(f"{seed}/order")
    judge_state = powerloss.Judge(prepared.trace)
    assert len(judge_state.controls) == 2 and judge_state.journals and len(judge_state.visible) > 100
    for number in range(STATES // len(MAJORS)):
        state = powerloss.draw(prepared.trace, rng)
        wrong = judge_state(state)
        assert not wrong, f"state {number}: {wrong}; {describe(prepared.trace, state)}"
    record_property("tally", f"{STATES // len(MAJORS)} states of {len(prepared.trace.ops)} operations")


def test_a_missing_sync_is_found(prepared, seed):
    """The judge is able to see: without any one kind of sync there are states that it does not accept."""
    rng = random.Random(f"{seed}/planted")
    for without in ("syncfs of the data", "fsync of pg_control's directory", "fsync of the journal"):
        ops = [dataclasses.replace(op) for op in prepared.trace.ops if not is_meant(op, without)]
        trace = powerloss.Trace(ops, prepared.trace.data)
        powerloss.identify(trace)
        powerloss.settle(trace)
        judge_state = powerloss.Judge(trace)
        assert any(judge_state(powerloss.draw(trace, rng)) for _ in range(20000)), f"not missed: {without}"


def is_meant(op, without: str) -> bool:
    if without.startswith("syncfs"):
        return op.kind == "syncfs" or (op.kind == "fsync" and not powerloss.is_own(op.path) and op.path.startswith("base"))
    if "directory" in without:
        return op.kind == "fsync" and op.path == "global"
    return op.kind == "fsync" and op.path == "pg_rejoin/journal.tmp"


def describe(trace, state) -> str:
    op = trace.ops[min(state.end, len(trace.ops) - 1)]
    return f"before operation {state.end} ({op.kind} {op.path}), {len(state.lost)} lost, {len(state.torn)} torn"


@pytest.mark.parametrize("case", range(REAL_STATES // len(MAJORS)))
def test_real_state(case, prepared, directory, tool, seed, record_property):
    tool.expect(upstream_lacks="leaves a directory that starts")
    rng = random.Random(f"{seed}/real")
    state = powerloss.draw(prepared.trace, rng)
    print(describe(prepared.trace, state))
    node = prepared.fresh_target(directory)
    powerloss.build(prepared.trace, state, node.data)
    found = judge(prepared, node, "killed", directory, 0)
    print(found)
    record_property("tally", f"power loss: {found.split(':')[0]}")
    tool.rewind(node.data, prepared.conninfo(), "-R").ok()
    oracle.verify(node, prepared.source, full=rng.random() < 0.2)
