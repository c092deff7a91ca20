"""The target is a standby: its pages are older than its WAL, by more than a primary's."""

import re
import time

import pytest

from harness import controlfile, oracle, scenario, tree, workload
from harness import environment as envm
from harness.cluster import Cluster
from harness.walblocks import lsn
from harness.workload import DATABASE


def start(directory, templates, major, seed, nodes, **options):
    """A primary, the standby that will be promoted, and the one that will be ahead of it."""
    options.setdefault("settings", {"autovacuum": "off", "checkpoint_timeout": "1h"})  # no restartpoint by itself
    pair = scenario.start_pair(directory, templates, major, seed, **options)
    ahead = scenario.add_standby(pair.target, directory, "ahead")
    nodes += [pair.target, pair.source, ahead]
    return pair.target, pair.source, ahead


def change(node: Cluster, mark: str) -> None:
    """Work that asks for no checkpoint, as a workload may."""
    with node.session(DATABASE) as cursor:
        cursor.execute(f"CREATE TABLE {mark} AS SELECT g, repeat('{mark}', 20) v FROM generate_series(1, 4000) g")
        cursor.execute(f"CREATE INDEX ON {mark} (v)")
        cursor.execute(f"UPDATE base SET v = '{mark}' || v WHERE g % 3 = 0")
        cursor.execute(f"DELETE FROM base WHERE g % 100 = {len(mark)}")
        cursor.execute("VACUUM base")


@pytest.mark.parametrize("major, stop_mode", [(14, "kill"), (16, "fast"), (18, "kill")])
def test_old_restartpoint(major, stop_mode, directory, templates, tool, seed, nodes):
    """It would start at a checkpoint of long before the last one that both have: replay has to begin there, too. A fast
    stop leaves it so when no checkpoint was replayed since."""
    primary, chosen, ahead = start(directory, templates, major, seed, nodes)
    primary.sql("CREATE TABLE base AS SELECT g, md5(g::text) v FROM generate_series(1, 9000) g", DATABASE)
    primary.sql("CHECKPOINT")
    ahead.wait_replay(primary.flush_lsn())
    ahead.sql("CHECKPOINT")
    restartpoint = controlfile.read(ahead.data).checkpoint
    for mark in ("first", "second"):
        change(primary, mark)
        if stop_mode == "kill":
            primary.sql("CHECKPOINT")
    common = lsn(primary.value("SELECT checkpoint_lsn::text FROM pg_control_checkpoint()"))
    chosen.wait_replay(primary.flush_lsn())
    chosen.cut_off()
    change(primary, "lost")
    ahead.wait_replay(primary.flush_lsn())
    ahead.sql("SELECT count(*), max(v) FROM base", DATABASE)
    ahead.stop(stop_mode)
    primary.stop("fast")
    assert controlfile.read(ahead.data).checkpoint == restartpoint, "it has made a restartpoint"
    assert (restartpoint < common) == (stop_mode == "kill")
    scenario.promote(chosen, tool)
    change(chosen, "kept")
    scenario.rewind(tool, ahead, chosen).ok()
    oracle.verify(ahead, chosen)


@pytest.mark.parametrize("paused", ["before the fork", "after the fork"])
@pytest.mark.parametrize("major", [15, 17])
def test_received_and_not_replayed(major, paused, directory, templates, tool, seed, nodes):
    """WAL behind the fork is in its pg_wal, although its replay was paused: the next start would replay it."""
    primary, chosen, ahead = start(directory, templates, major, seed, nodes)
    primary.sql("CREATE TABLE base AS SELECT g, md5(g::text) v FROM generate_series(1, 9000) g", DATABASE)
    change(primary, "common")
    ahead.wait_replay(primary.flush_lsn())
    if paused == "before the fork":
        ahead.sql("SELECT pg_wal_replay_pause()")
        oracle.wait_paused(ahead)
    change(primary, "shared")
    chosen.wait_replay(primary.flush_lsn())
    chosen.cut_off()
    change(primary, "lost")
    if paused == "after the fork":
        ahead.wait_replay(primary.flush_lsn())
        ahead.sql("SELECT pg_wal_replay_pause()")
        oracle.wait_paused(ahead)
        change(primary, "more")
    replayed = ahead.value("SELECT pg_last_wal_replay_lsn()::text")
    wait_received(ahead, primary.flush_lsn())
    assert ahead.value("SELECT pg_last_wal_replay_lsn()::text") == replayed
    ahead.stop("fast")
    primary.stop("fast")
    scenario.promote(chosen, tool)
    change(chosen, "kept")
    scenario.rewind(tool, ahead, chosen).ok()
    oracle.verify(ahead, chosen)


def wait_received(node: Cluster, position: str) -> None:
    deadline = time.monotonic() + 30
    while not node.value("SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn", args=[position]):
        assert time.monotonic() < deadline, "the standby does not receive"
        time.sleep(0.03)


@pytest.mark.parametrize("side", ["target", "source"])
def test_checksums_on_one_side_only(side, directory, templates, tool, seed, nodes):
    """pg_checksums was run on one node. Its pages have checksums and the other's have none: in one directory, half of
    them would be wrong. Both have to be switched (pg_checksums' manual says so, too)."""
    tool.expect(upstream_lacks="mixes pages with checksums and without")
    primary, standby, ahead = start(directory, templates, 15, seed, nodes, checksums=False)
    ahead.kill()
    workload.run(primary, seed, "common", connections=2, steps=5)
    standby.wait_replay(primary.flush_lsn())
    standby.promote()
    for node in (primary, standby):
        workload.run(node, seed, node.name, connections=2, steps=5)
    primary.stop("fast")
    standby.stop("fast")
    switched = primary if side == "target" else standby
    envm.run([envm.debian_program("pg_checksums"), "--enable", "--no-sync", "-D", switched.data])
    standby.start()
    before = tree.snapshot(primary.data)
    run = scenario.rewind(tool, primary, standby)
    on, off = ("target", "source") if side == "target" else ("source", "target")
    assert run.status == 1 and re.search(f"checksums are .*on on the {on}|checksums are .*off on the {off}", run.output)
    assert tree.changes(before, tree.snapshot(primary.data)) == []
    other = standby if side == "target" else primary
    other.stop("fast")
    envm.run([envm.debian_program("pg_checksums"), "--enable", "--no-sync", "-D", other.data])
    standby.start()
    scenario.rewind(tool, primary, standby).ok()
    oracle.verify(primary, standby)
