"""Real Patroni 4 calls the program in pg_rewind's place."""

import os
import signal
from pathlib import Path

import pytest

from harness import environment as envm
from harness import oracle, patroni, workload
from harness.cluster import Cluster, template

# With small ones the new leader's version of the segment of the fork is archived; with large ones only the dead leader's.
SEGMENT_MB = {15: 1, 18: 16}


@pytest.fixture
def etcd(directory):
    with_etcd = patroni.Etcd(directory)
    yield with_etcd
    with_etcd.kill()


@pytest.fixture
def pair(request, directory, templates, etcd, nodes, tool, seed):
    """The leader a, its replica b, and an archive that both write to."""
    archive = directory / "archive"
    archive.mkdir()
    envm.give(archive)
    base = template(templates, request.param, checksums=request.param == 18, segment_mb=SEGMENT_MB[request.param])
    for name in "ab":
        node = patroni.PatroniNode(directory, request.param, name, etcd, Path(tool.command[0]).with_name("pg_rewind"), archive)
        envm.copy_tree(base, node.data)
        nodes.append(node)
    a, b = nodes
    a.start()
    a.wait_leads()
    workload.create_schema(a, seed)
    b.start()
    b.wait_streams()
    workload.run(a, seed, "common", steps=15)
    return a, b


def part(a, b, etcd, seed) -> None:
    """The leader dies under load with transactions that nobody else has, and the replica leads."""
    a.cut_off_others()
    load = workload.Workload(a, seed, "doomed", steps=None).start()
    a.sql("CREATE TABLE doomed (n int)")
    a.sql("SELECT pg_switch_wal()")
    a.sql("INSERT INTO doomed VALUES (1)")
    a.kill()
    load.join()
    assert load.cut_off
    a.heal()
    etcd.expire_leader()
    b.wait_leads()
    assert b.sql("SELECT 1 FROM pg_class WHERE relname = 'doomed'") == []
    workload.run(b, seed, "new", steps=15)


def prove(standby, primary) -> None:
    """A node that Patroni keeps as a standby is what its primary is."""
    standby.wait_streams()
    standby.stop()
    oracle.verify(Cluster(standby.directory, standby.major, standby.name), primary, checksums=standby.major == 18)


@pytest.mark.parametrize("pair", (15, 18), indirect=True)
def test_killed_leader(pair, etcd, seed, tool):
    """It comes back as a standby, and leads again when it is asked to."""
    a, b = pair
    part(a, b, etcd, seed)
    a.spawn()
    a.wait_said("pg_rewind exit code=0")
    if tool.name == "pg-rejoin":
        assert "of WAL of the target will be discarded" in a.said(), a.said()  # no other program says that
    a.wait_streams()
    b.switch_to(a)
    tool.expect(upstream_lacks="archives again what the dead leader had archived, for ever")
    a.wait_archived()
    assert (a.rewinds(), b.rewinds()) == (1, 0)
    prove(b, a)


@pytest.mark.parametrize("pair", [15], indirect=True)
def test_killed_rewind(pair, etcd, seed):
    """Patroni calls that a failure, and starts the server, which refuses, again and again. A new Patroni rewinds."""
    a, b = pair
    part(a, b, etcd, seed)
    a.spawn({"PG_REJOIN_KILL_POINT": "copied"})
    a.wait_said("pg_rewind exit code=-9")
    patroni.wait(lambda: a.log_tail().count("database files are incompatible with server") > 1, a.said)
    assert a.rewinds() == 1
    a.stop()
    a.spawn()
    a.wait_said("pg_rewind exit code=0")
    assert "resuming an interrupted rewind" in a.said(), a.said()
    prove(a, b)


WRAPPER = """#!/bin/sh
# Dies in the middle of its first rewind, and the leader stops answering in the same moment.
if [ "$1" = --help ] || [ -e {mark} ]; then exec {program} "$@"; fi
touch {mark}
PG_REJOIN_KILL_POINT=copied {program} "$@"
kill -STOP {leader}
exit 1
"""


@pytest.mark.parametrize("pair", [18], indirect=True)
def test_lost_leader(pair, etcd, seed, directory):
    """A rewind that ends while the leader is gone Patroni begins again by itself, where it can read pg_control."""
    a, b = pair
    part(a, b, etcd, seed)
    leader = b.postmaster()
    wrapper = directory / "wrapper/pg_rewind"
    wrapper.parent.mkdir()
    wrapper.write_text(WRAPPER.format(mark=directory / "a.killed", program=a.rewind, leader=leader))
    wrapper.chmod(0o755)
    a.use(wrapper)
    a.spawn()
    a.wait_said("Failed to rewind because primary b become unreachable")
    os.kill(leader, signal.SIGCONT)
    a.wait_said("pg_rewind exit code=0")
    assert "resuming an interrupted rewind" in a.said(), a.said()
    assert a.rewinds() == 2
    prove(a, b)
