"""How the target's WAL may end. Its end decides which pages are the target's own, and nobody says where it is."""

import contextlib
import json
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from harness import controlfile, oracle, scenario, tools, tree, walend, workload
from harness import environment as envm
from harness.cluster import Cluster
from harness.walblocks import lsn

SEGMENT = 1 << 20
EARLY = {"autovacuum": "off", "shared_buffers": "2MB"}  # pages are on disk long before a checkpoint


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


@pytest.mark.parametrize("major", [15, 18])
def test_crashed_in_the_middle_of_a_checkpoint(major, directory, templates, tool, seed, nodes):
    """Its pages are of before and after the checkpoint that was never finished; the control file knows the one before."""
    pair = scenario.start_pair(directory, templates, major, seed, settings=EARLY)
    primary, standby = pair.target, pair.source
    nodes += [primary, standby]
    workload.run(primary, seed, "common", connections=2, steps=10)
    primary.sql("CREATE TABLE wide AS SELECT g, repeat('w', 700) v FROM generate_series(1, 9000) g", workload.DATABASE)
    primary.sql("CHECKPOINT")
    standby.wait_replay(primary.flush_lsn())
    standby.promote()
    if tool.needs_checkpoint:
        standby.sql("CHECKPOINT")
    primary.sql("UPDATE wide SET v = repeat('l', 700)", workload.DATABASE)
    workload.run(standby, seed, "new", connections=2, steps=10)
    before = controlfile.read(primary.data)
    with slow_checkpoint(primary):
        change(primary)
        primary.sql("DELETE FROM wide WHERE g % 3 = 0", workload.DATABASE)
        primary.kill()
    assert controlfile.read(primary.data) == before, "the checkpoint was done: this shows nothing"
    run = tool.rewind(primary.data, pair.conninfo(), "-R")
    print(run.describe())
    run.ok()
    oracle.verify(primary, standby)


def change(node: Cluster) -> None:
    """Work that asks for no checkpoint, as a workload may, and meets no locks."""
    with node.session(workload.DATABASE) as cursor:
        cursor.execute("UPDATE wide SET v = repeat('c', 600) WHERE g % 5 = 0")
        cursor.execute("DELETE FROM wide WHERE g > 8000")
        cursor.execute("VACUUM wide")
        cursor.execute("CREATE TABLE lost AS SELECT * FROM wide WHERE g < 1000")
        cursor.execute("CREATE INDEX ON lost (v)")


@contextlib.contextmanager
def slow_checkpoint(node: Cluster):
    """One that is written at leisure, as those are that a timer starts, and is under way on entry."""
    def begin():
        function = "pg_start_backup('slow', false, false)" if node.major < 15 else "pg_backup_start('slow', false)"
        with contextlib.suppress(psycopg2.Error):  # the node is killed below
            node.sql(f"SELECT {function}")

    begun = node.log.read_text().count("checkpoint starting: force wait")
    thread = threading.Thread(target=begin)
    thread.start()
    deadline = time.monotonic() + 20
    while node.log.read_text().count("checkpoint starting: force wait") == begun:
        assert time.monotonic() < deadline, "no checkpoint begins"
        time.sleep(0.02)
    yield
    thread.join(20)


def promoted_and_crashed(directory, templates, major, seed, nodes, tool):
    """The target is a standby that was promoted and died before its first checkpoint was done; the source is another
    standby that was promoted instead of it. Each calls its timeline 2."""
    pair = scenario.start_pair(directory, templates, major, seed, settings=EARLY)
    primary, source = pair.target, pair.source
    target = scenario.add_standby(primary, directory, "t")
    nodes += [primary, source, target]
    workload.run(primary, seed, "common", connections=2, steps=10)
    for node in (source, target):
        node.wait_replay(primary.flush_lsn())
        node.sql("CHECKPOINT")
    source.cut_off()
    # So much to write that the checkpoint after the promotion takes its time.
    primary.sql("CREATE TABLE wide AS SELECT g, repeat('w', 700) v FROM generate_series(1, 9000) g", workload.DATABASE)
    workload.run(primary, seed, "more", connections=2, steps=5)
    target.wait_replay(primary.flush_lsn())
    primary.stop("fast")
    source.promote()
    if tool.needs_checkpoint:
        source.sql("CHECKPOINT")
    workload.run(source, seed, "new", connections=2, steps=10)
    target.sql("ALTER SYSTEM SET primary_conninfo = ''")
    return target, source


@pytest.mark.parametrize("major", [14, 15, 16])
def test_crashed_right_after_its_own_promotion(major, directory, templates, tool, seed, nodes):
    """The control file's checkpoint is of timeline 1; that it is on timeline 2, only minRecoveryPointTLI says."""
    tool.expect(upstream_lacks="takes both for timeline 2, or for timeline 1")
    target, source = promoted_and_crashed(directory, templates, major, seed, nodes, tool)
    target.promote()
    change(target)
    target.kill()
    control = controlfile.read(target.data)
    assert (control.checkpoint_timeline, control.min_recovery_timeline) == (1, 2), control
    run = tool.rewind(target.data, source.conninfo("rewind_user"), "-R")
    print(run.describe())
    run.ok()
    oracle.verify(target, source)


def test_history_file_of_its_own_promotion_is_lost(directory, templates, tool, seed, nodes):
    """Which line it is on cannot be told then."""
    target, source = promoted_and_crashed(directory, templates, 18, seed, nodes, tool)
    target.promote()
    target.kill()
    (target.data / "pg_wal/00000002.history").unlink()
    before = tree.snapshot(target.data)
    run = tool.rewind(target.data, source.conninfo("rewind_user"), "-R")
    assert run.status == 1 and "00000002.history" in run.output, run.describe()
    assert tree.changes(before, tree.snapshot(target.data)) == []


@pytest.mark.parametrize("major", [15, 18])
def test_promotion_cut_short_before_its_first_record(major, directory, templates, tool, seed, nodes):
    """Its history file and its first segment are there, and nothing was written into it: it is a standby still."""
    target, source = promoted_and_crashed(directory, templates, major, seed, nodes, tool)
    end = lsn(target.value("SELECT pg_last_wal_replay_lsn()::text"))
    segment = target.value("SELECT setting::int FROM pg_settings WHERE name = 'wal_segment_size'")
    target.kill()
    first = walend.segment_file(target.data, 2, end // segment, segment)
    shutil.copyfile(walend.segment_file(target.data, 1, end // segment, segment), first)
    with open(first, "r+b") as file:
        file.truncate(end % segment)
        file.truncate(segment)
    history = target.data / "pg_wal/00000002.history"
    history.write_text(f"1\t{end >> 32:X}/{end & 0xFFFFFFFF:X}\tno recovery target specified\n")
    for path in (first, history):
        path.chmod(0o600)
        envm.give(path)
    run = tool.rewind(target.data, source.conninfo("rewind_user"), "-R")
    print(run.describe())
    run.ok()
    oracle.verify(target, source)
