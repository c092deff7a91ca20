"""How the target's WAL may end. Its end decides which pages are the target's own, and nobody says where it is."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import environment as envm
from harness import oracle, scenario, tools, walend, workload
from harness.cluster import Cluster
from harness.walblocks import lsn

SEGMENT = 1 << 20


@dataclass
class Ends:
    """One primary whose directory was kept at two checkpoints, with WAL from before the first to after the second."""
    pair: scenario.Pair
    common: Path    # pages of before the fork
    diverged: Path  # pages of after the fork
    points: dict    # name -> (pages, where WAL is cut, the end of its last whole record or just before, what follows)

    def target(self, directory: Path, name: str) -> Cluster:
        """A node whose directory ended in this way."""
        pages, at, _, beyond = self.points[name]
        node = Cluster(directory, self.pair.target.major, "ended", settings=self.pair.target.settings)
        envm.copy_tree(self.common if pages == "common" else self.diverged, node.data)
        walend.cut(node.data, SEGMENT, at, beyond)
        return node


POINTS = ["behind the fork", "at the fork", "inside a record", "record into a missing segment",
          "record into a recycled segment", "segment end, next missing", "segment end, next recycled",
          "switch, next missing", "switch, next recycled"]


@pytest.fixture(scope="module", params=[14, 17])
def ends(request, shared_directory, templates, tool):
    directory = shared_directory()
    seed = 1511
    pair = scenario.start_pair(directory, templates, request.param, seed, segment_mb=1,
                               settings={"autovacuum": "off"})
    primary, standby = pair.target, pair.source
    made = Ends(pair, directory / "common", directory / "diverged", {})
    workload.run(primary, seed, "common", connections=2, steps=10)
    walend.freeze(primary, made.common)
    workload.run(primary, seed, "shared", connections=2, steps=10)
    behind, _ = walend.message(primary, 100)
    workload.run(primary, seed, "last shared", connections=1, steps=5)
    primary.sql("SELECT txid_current()")
    standby.wait_replay(primary.flush_lsn())
    standby.promote()
    if tool.needs_checkpoint:
        standby.sql("CHECKPOINT")
    workload.run(primary, seed, "old", connections=2, steps=10)
    workload.run(standby, seed, "new", connections=2, steps=10)
    walend.freeze(primary, made.diverged)
    workload.run(primary, seed, "lost", connections=2, steps=5)
    made.points = write_ends(primary, behind, fork_of(standby))
    primary.sql("CREATE TABLE end_of_all ()")  # flushes
    primary.kill()
    for frozen in (made.common, made.diverged):
        walend.give_wal(frozen, primary)
    yield made
    pair.close()


def fork_of(promoted: Cluster) -> int:
    return lsn(promoted.value("SELECT pg_read_file('pg_wal/00000002.history')").split()[1])


def write_ends(primary: Cluster, behind: int, fork: int) -> dict:
    points = {"behind the fork": ("common", behind, behind, "missing"), "at the fork": ("common", fork, fork, "missing")}
    start, end = walend.message(primary, 50_000)
    points["inside a record"] = ("diverged", (start + end) // 2, start, "recycled")
    start, end = walend.crossing_message(primary, SEGMENT)
    boundary = end // SEGMENT * SEGMENT
    assert start < boundary < end
    for beyond in ("missing", "recycled"):
        points[f"record into a {beyond} segment"] = ("diverged", boundary, start, beyond)
        primary.sql("CREATE TABLE IF NOT EXISTS later AS SELECT g FROM generate_series(1, 1000) g", workload.DATABASE)
        end = walend.message_to_segment_end(primary, SEGMENT)
        points[f"segment end, next {beyond}"] = ("diverged", end, end, beyond)
        walend.message(primary, 100)
        switch = lsn(primary.value("SELECT pg_switch_wal()::text"))
        after = (switch + SEGMENT - 1) // SEGMENT * SEGMENT
        points[f"switch, next {beyond}"] = ("diverged", after, after, beyond)
        walend.message(primary, 100)
    return points


@pytest.mark.parametrize("point", POINTS)
def test_wal_ends(point, ends, directory, root, tool):
    """Cut off as a crash cuts it. What is found to be the end is what recovery would find."""
    target = ends.target(directory, point)
    _, cut_at, last_whole, _ = ends.points[point]
    conninfo = ends.pair.conninfo()
    rewound = point not in ("behind the fork", "at the fork")
    if rewound:
        plan = envm.run([tools.pg_rejoin_binary(root), "plan", "-D", target.data, f"--source-server={conninfo}"])
        found = lsn(json.loads(plan.stdout)["end"]["lsn"])
        # Behind last_whole there may be a record that the server wrote just then.
        assert last_whole <= found <= cut_at, f"{last_whole:X} {found:X} {cut_at:X}"
        assert (found == cut_at) == (last_whole == cut_at)
    run = tool.rewind(target.data, conninfo, "-R").ok()
    assert ("servers diverged" in run.output) == rewound, run.describe()
    try:
        oracle.verify(target, ends.pair.source)
    finally:
        target.kill()
