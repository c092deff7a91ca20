"""Two or three runs on one data directory at once: exactly one proceeds.

What is asserted of each race: one run begins the rewind and ends with status 0; every other one either ends with
status 1 and says that the directory is in use, or has come after the end of the first and says that there is nothing
to do; and the directory is, byte for byte, what a run that was alone has made of its twin. So nothing was done twice,
and nothing was touched by those who were turned away. A holder that is killed frees the directory at once.

The source is a stopped directory: nothing but the runs themselves can make results differ. PG_REJOIN_RACES sets how
many there are in all; a sample is also started as a standby and compared with a running source.
"""

import os
import random
import signal
import subprocess
import time

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree
from harness.cluster import Cluster

MAJORS = (15, 18)
RACES = int(os.environ.get("PG_REJOIN_RACES", "20"))
IN_USE = "is in use by a server or another rejoin"
BEGUN = "servers diverged at"
NOTHING_TO_DO = "no rewind required"
# ControlFileData.time, and where the bytes end that are there in every major before the checksum.
CONTROL_TIME = slice(24, 32)
CONTROL_CHECKSUM = 284
# The gate: all wait for the end of their standard input, which comes to all at once.
WHEN_TOLD = ["sh", "-c", 'read line; sleep "$0"; exec "$@"']


@pytest.fixture(scope="module", params=MAJORS)
def prepared(request, shared_directory, templates, tool):
    pair = scenario.start_pair(shared_directory(), templates, request.param, 2323 + request.param, segment_mb=1)
    scenario.diverge(pair, "kill", steps=4, checkpoint_source=tool.needs_checkpoint)
    pair.source.stop("fast")
    ready = scenario.Prepared(pair)
    node = ready.fresh_target(shared_directory())
    begin = time.monotonic()
    tool.run_args(arguments(tool, ready, node.data)).ok()
    ready.seconds = time.monotonic() - begin
    ready.expected = contents(node)
    node.wipe()
    yield ready
    pair.close()


def arguments(tool, prepared, data) -> list:
    return [*tool.command, "-D", str(data), "--source-pgdata", str(prepared.source.data)]


def contents(node) -> dict:
    """Of a rewound directory, but for the time of day in its label and in its control file."""
    found = tree.snapshot(node.data)
    label = (node.data / "backup_label").read_text().splitlines()
    found["backup_label"] = [line for line in label if not line.startswith("START TIME:")]
    control = (node.data / "global/pg_control").read_bytes()
    found["global/pg_control"] = control[:CONTROL_TIME.start] + control[CONTROL_TIME.stop:CONTROL_CHECKSUM]
    return found


def names_of(node, rng) -> list:
    """What the directory can be called: the lock has to be the same one."""
    alias = node.directory / "alias"
    if not alias.is_symlink():
        alias.symlink_to(node.data)
    return rng.choices([node.data, f"{node.data}/", alias], k=3)


class Racer:
    """One of the runs, standing at the gate."""

    def __init__(self, args: list, delay: float):
        self.process = subprocess.Popen(
            [*WHEN_TOLD, f"{delay:.6f}", *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, env=envm.clean_env(), **envm.plain_user())

    def go(self) -> None:
        self.process.stdin.close()
        self.process.stdin = None

    def finish(self) -> str:
        """What it made of it: "proceeded", "turned away" or "nothing to do"."""
        output = self.process.communicate(timeout=60)[0].decode(errors="replace")
        print(f"exit {self.process.returncode}\n{output}")
        if self.process.returncode == 0:
            return "proceeded" if BEGUN in output and "Done!" in output else self._only(NOTHING_TO_DO, output)
        assert self.process.returncode == 1
        return self._only(IN_USE, output)

    @staticmethod
    def _only(reason: str, output: str) -> str:
        assert reason in output and BEGUN not in output, output
        return "turned away" if reason == IN_USE else "nothing to do"


def expect_rewound(prepared, node) -> None:
    assert tree.changes(prepared.expected, contents(node)) == []


@pytest.mark.parametrize("case", range(RACES // len(MAJORS)))
def test_race(case, prepared, directory, tool, seed, record_property):
    tool.expect(upstream_lacks="has no lock")
    rng = random.Random(f"{seed}/race")
    node = prepared.fresh_target(directory)
    longest = rng.choice([0, 0.005, prepared.seconds * 3])
    racers = [Racer(arguments(tool, prepared, name), rng.uniform(0, longest))
              for name in names_of(node, rng)[:rng.choice([2, 2, 3])]]
    time.sleep(0.02)  # so that all are at the gate, or nearly: any order is a race
    for racer in racers:
        racer.go()
    ends = sorted(racer.finish() for racer in racers)
    record_property("tally", ", ".join(ends))
    assert ends.count("proceeded") == 1
    expect_rewound(prepared, node)
    if rng.random() < 0.1:
        becomes_a_standby(prepared, node)


def becomes_a_standby(prepared, node) -> None:
    source = Cluster(node.directory, node.major, "source", settings=prepared.source.settings)
    envm.copy_tree(prepared.source.data, source.data)
    source.start()
    node.make_standby(source)
    oracle.light(node, source)
    source.kill()


@pytest.mark.parametrize("case", range(max(RACES // 10 // len(MAJORS), 1)))
def test_holder_is_killed(case, prepared, directory, tool, kill_points, seed, record_property):
    """The next one gets the directory at once, however far the first had come, and finishes."""
    tool.expect(upstream_lacks="cannot be run again")
    rng = random.Random(f"{seed}/killed")
    node = prepared.fresh_target(directory)
    args = arguments(tool, prepared, node.data)
    point = rng.choice(kill_points)
    killed = tool.run_args(args, env={"PG_REJOIN_KILL_POINT": point})
    assert killed.status in (-signal.SIGKILL, 0), killed.describe()
    done = tool.run_args(args).ok()
    print(f"{point}\n{done.describe()}")
    went_on = "resumed" if "resuming" in done.output else "began anew" if BEGUN in done.output else "nothing to do"
    record_property("tally", f"holder {'killed' if killed.status else 'finished'}, the next one: {went_on}")
    expect_rewound(prepared, node)
