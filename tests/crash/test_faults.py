"""Any system call of a rewind is the last one, fails, or comes back short: the directory is as it was,
or PostgreSQL refuses it and another run finishes the job.

PG_REJOIN_KILLS and PG_REJOIN_ERRORS set how many cases there are in all.
"""

import os
import random
import signal

import pytest

from harness import environment as envm
from harness import faults, oracle, scenario, tree
from harness.killing import judge

MAJORS = (15, 17, 18)
KILLS = int(os.environ.get("PG_REJOIN_KILLS", "150"))
ERRORS = int(os.environ.get("PG_REJOIN_ERRORS", "60"))
FILE_ERRORS = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES", "EMFILE", "EINTR", "ENOMEM", "short")
# What a socket says of a connection that is gone.
NETWORK_ERRORS = ("ECONNRESET", "EPIPE", "ETIMEDOUT", "EINTR", "short")
# Signals that never cease hang any program, and calls that are all short only take longer.
ONCE_ONLY = ("EINTR", "short")


@pytest.fixture(scope="module", params=MAJORS)
def prepared(request, shared_directory, templates, tool, root):
    pair = scenario.start_pair(shared_directory(), templates, request.param, 2718 + request.param, segment_mb=1)
    scenario.diverge(pair, "immediate" if request.param == 17 else "kill", steps=10,
                     checkpoint_source=tool.needs_checkpoint)
    ready = scenario.Prepared(pair)
    ready.before = tree.snapshot(ready.pristine)
    directory = shared_directory()
    node = ready.fresh_target(directory)
    calm = faults.make(root, node.data, directory)
    tool.rewind(node.data, ready.conninfo(), "-R", env=calm.none()).ok()
    ready.counts = calm.counts()
    node.wipe()
    yield ready
    pair.close()


def finish(node, prepared, tool, rng):
    tool.rewind(node.data, prepared.conninfo(), "-R").ok()
    oracle.verify(node, prepared.source, full=rng.random() < 0.1)


def meddle(node, prepared, rng) -> str:
    """What a third party does to a directory that it finds broken."""
    if rng.random() < 0.5:
        envm.run(["cp", "-p", prepared.pristine / "global/pg_control", node.data / "global/pg_control"])
        return "old pg_control put back"
    (node.data / "standby.signal").unlink(missing_ok=True)
    return "standby.signal removed"


@pytest.mark.parametrize("case", range(KILLS // len(MAJORS)))
def test_killed_at_any_call(case, prepared, directory, tool, root, seed, record_property):
    tool.expect(upstream_lacks="leaves a directory that starts")
    rng = random.Random(f"{seed}/call")
    node = prepared.fresh_target(directory)
    site = rng.choice(["any", *(s for s in ("pwrite", "ftruncate", "fsync", "unlinkat", "renameat", "mkdirat"))])
    number = rng.randint(1, prepared.counts[site])
    fault = faults.make(root, node.data, directory)
    run = tool.rewind(node.data, prepared.conninfo(), "-R", env=fault.at(site, number, "kill"))
    print(f"killed at {site} {number} of {prepared.counts[site]}: exit {run.status}")
    # Threads and the living source make counts differ a little.
    assert run.status in (-signal.SIGKILL, 0), run.describe()
    state = judge(prepared, node, "killed" if run.status else "finished", directory, 0)
    print(state)
    record_property("tally", f"killed: {state.split(':')[0]}")
    if rng.random() < 0.1 and state.startswith("fenced"):
        record_property("tally", meddle(node, prepared, rng))
    finish(node, prepared, tool, rng)


def error_cases():
    """Every site with every error, once and for ever. A short run takes some, other ones each time."""
    return [(site, error, for_ever) for site in faults.SITES
            for error in (NETWORK_ERRORS if site in ("recv", "send") else FILE_ERRORS)
            for for_ever in (False, True) if not (for_ever and error in ONCE_ONLY)]


@pytest.mark.parametrize("case", range(ERRORS // len(MAJORS)))
def test_call_fails(case, prepared, directory, tool, root, seed, record_property):
    tool.expect(upstream_lacks="leaves a directory that starts")
    rng = random.Random(f"{seed}/error")
    cases = error_cases()
    site, error, for_ever = cases[case % len(cases)] if len(cases) * len(MAJORS) <= ERRORS else rng.choice(cases)
    number = rng.randint(1, prepared.counts[site])
    node = prepared.fresh_target(directory)
    fault = faults.make(root, node.data, directory)
    action = error + (faults.FOR_EVER if for_ever else "")
    run = tool.rewind(node.data, prepared.conninfo(), "-R", env=fault.at(site, number, action))
    print(f"{action} at {site} {number} of {prepared.counts[site]}\n{run.describe()}")
    assert run.status in (0, 1), "neither success nor the documented failure"
    if run.status == 1:
        assert "error:" in run.output and "internal check" not in run.output
    state = judge(prepared, node, "finished" if run.status == 0 else "killed", directory, 0)
    record_property("tally", f"error: exit {run.status}, {state.split(':')[0]}")
    finish(node, prepared, tool, rng)
