"""Real Patroni 4 calls the program in pg_rewind's place."""

from pathlib import Path

import pytest

from harness import environment as envm
from harness import oracle, patroni, workload
from harness.cluster import Cluster, template

MAJORS = (15, 18)
SEGMENT_MB = {15: 1, 18: 16}


@pytest.fixture
def etcd(directory):
    with_etcd = patroni.Etcd(directory)
    yield with_etcd
    with_etcd.kill()


@pytest.fixture(params=MAJORS)
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
    a.cut.unlink()  # what it has not archived, its Patroni does later
    etcd.expire_leader()
    b.wait_leads()
    assert b.sql("SELECT 1 FROM pg_class WHERE relname = 'doomed'") == []
    workload.run(b, seed, "new", steps=15)


def prove(a, b) -> None:
    """a, which Patroni keeps as a standby of b, is what b is."""
    a.wait_streams()
    a.stop()
    oracle.verify(Cluster(a.directory, a.major, a.name), b, checksums=a.major == 18)


def test_killed_leader(pair, etcd, seed):
    a, b = pair
    part(a, b, etcd, seed)
    a.spawn()
    a.wait_said("pg_rewind exit code=")
    print(a.said())
    prove(a, b)
