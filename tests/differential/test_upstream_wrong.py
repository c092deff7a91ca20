"""Twin copies of one target where PostgreSQL's pg_rewind 15 comes to a wrong end, and ours must not.

The twin is asked first, and only for what the story knows: reading the source would make it log images that repair
the very damage that is looked for.
"""

import psycopg2
import pytest

from harness import controlfile, oracle, scenario, tools, tree, walend
from harness import environment as envm
from harness.cluster import Cluster, ServerFailed
from harness.workload import DATABASE


def start(directory, templates, seed, nodes, **settings):
    pair = scenario.start_pair(directory, templates, 15, seed, segment_mb=1,
                               settings={"autovacuum": "off", **settings})
    nodes += [pair.target, pair.source]
    return pair.target, pair.source


def upstream_rewinds_a_twin(target: Cluster, source: Cluster, nodes) -> Cluster:
    """What pg_rewind makes of a copy of the target, without a complaint."""
    twin = Cluster(target.directory, 15, "twin", settings=target.settings)
    nodes.append(twin)
    envm.copy_tree(target.data, twin.data)
    run = tools.pg_rewind_15().rewind(twin.data, source.conninfo("rewind_user"), "-R")
    print(run.describe())
    run.ok()
    return twin


def follow(twin: Cluster, source: Cluster) -> Cluster:
    twin.start()
    twin.wait_replay(source.flush_lsn())
    oracle.expect_streaming(twin)
    return twin


def test_hint_bits_of_a_standby(directory, templates, tool, seed, nodes):
    """A standby that was ahead has noted on a page of long ago that a transaction committed. The new primary never saw
    the commit, and no WAL behind the last common checkpoint names the page."""
    primary, chosen = start(directory, templates, seed, nodes)
    ahead = scenario.add_standby(primary, directory, "ahead")
    nodes.append(ahead)
    primary.sql("CREATE TABLE late (k int)", DATABASE)
    primary.sql("CHECKPOINT")
    held = primary.connect(DATABASE)
    held.cursor().execute("INSERT INTO late SELECT generate_series(1, 500)")
    primary.sql("CHECKPOINT")
    for node in (chosen, ahead):
        node.wait_replay(primary.flush_lsn())
    chosen.stop("fast")
    held.commit()
    held.close()
    # A commit that drops files moves the standby's minimum recovery point: below it no hint is set.
    primary.sql("CREATE TABLE passing AS SELECT 1 x", DATABASE)
    primary.sql("DROP TABLE passing", DATABASE)
    ahead.wait_replay(primary.flush_lsn())
    assert ahead.value("SELECT count(*) FROM late", DATABASE) == 500  # sets the hints while the page is dirty
    ahead.sql("CHECKPOINT")
    primary.stop("fast")
    ahead.stop("fast")
    chosen.start_promoted()
    chosen.sql("CHECKPOINT")
    twin = upstream_rewinds_a_twin(ahead, chosen, nodes)
    scenario.rewind(tool, ahead, chosen).ok()
    assert follow(twin, chosen).value("SELECT count(*) FROM late", DATABASE) == 500, "pg_rewind 15 is right here"
    twin.kill()
    oracle.verify(ahead, chosen)
    assert chosen.value("SELECT count(*) FROM late", DATABASE) == 0


def test_relation_number_of_an_unlogged_table(directory, templates, tool, seed, nodes):
    """Both sides gave one number to a new table. The target's was unlogged; the source's has blocks that it has only
    added, and of which its WAL says nothing: rows of the other table shine through."""
    primary, standby = start(directory, templates, seed, nodes, **walend.ROOMY)
    primary.stop("fast")  # from here on both count on from the same next OID
    standby.promote()
    primary.start()
    numbers = []
    for node, kind in ((standby, ""), (primary, "UNLOGGED")):
        node.sql(f"CREATE {kind} TABLE same (v text)", DATABASE)
        numbers.append(node.value("SELECT pg_relation_filepath('same')", DATABASE))
    assert numbers[0] == numbers[1], "no collision"
    walend.lose_an_insertion(standby, DATABASE, "same")
    for _ in range(20):  # so that transactions of the target's numbers are of the past here, too
        standby.sql("SELECT txid_current()")
    blocks = standby.value("SELECT pg_relation_size('same') / 8192", DATABASE)
    primary.sql("INSERT INTO same SELECT repeat('unlogged', 200) FROM generate_series(1, %s * 5)", DATABASE, [blocks])
    primary.sql("SELECT count(*) FROM same", DATABASE)  # hint bits: these rows are there
    standby.sql("CHECKPOINT")
    primary.stop("fast")
    twin = upstream_rewinds_a_twin(primary, standby, nodes)
    scenario.rewind(tool, primary, standby).ok()
    rows = follow(twin, standby).value("SELECT count(*) FROM same WHERE v LIKE 'unlogged%%'", DATABASE)
    assert rows > 0, "pg_rewind 15 is right here"
    twin.kill()
    oracle.verify(primary, standby)


def test_truncated_and_extended_again(directory, templates, tool, seed, nodes):
    """The target cut the table and then added blocks without WAL. It has its old length again, and zeros where the source
    has empty pages: the least of these wrongs, for no row is concerned."""
    primary, standby = start(directory, templates, seed, nodes, **walend.ROOMY)
    primary.sql("CREATE TABLE same (v text)", DATABASE)
    primary.sql("INSERT INTO same SELECT repeat(md5(g::text), 40) FROM generate_series(1, 900) g", DATABASE)
    path = primary.value("SELECT pg_relation_filepath('same')", DATABASE)
    primary.sql("DELETE FROM same WHERE ctid >= '(140,0)'", DATABASE)
    primary.sql("VACUUM (TRUNCATE false) same", DATABASE)
    size = primary.value("SELECT pg_relation_size('same')", DATABASE)
    primary.sql("CHECKPOINT")
    standby.wait_replay(primary.flush_lsn())
    standby.promote()
    standby.sql("CHECKPOINT")
    primary.sql("VACUUM same", DATABASE)
    assert primary.value("SELECT pg_relation_size('same')", DATABASE) < size
    primary.sql("CHECKPOINT")  # recovery shall not cut it again
    walend.lose_an_insertion(primary, DATABASE, "same")
    assert primary.value("SELECT pg_relation_size('same')", DATABASE) >= size
    assert any(n < size / walend.PAGE for n in walend.zero_blocks(primary.data / path))
    primary.stop("fast")
    twin = upstream_rewinds_a_twin(primary, standby, nodes)
    scenario.rewind(tool, primary, standby).ok()
    oracle.verify(primary, standby)
    with pytest.raises(oracle.Difference, match="pages of same"):
        oracle.verify(twin, standby)


def test_database_copied_by_file(directory, templates, tool, seed, nodes):
    """The source copied a database and dropped the one that it copied from: replay copies what is not there."""
    primary, standby = start(directory, templates, seed, nodes)
    primary.sql("CREATE DATABASE model")
    primary.sql("CREATE TABLE m AS SELECT generate_series(1, 20000) g", "model")
    primary.sql("CHECKPOINT")
    standby.wait_replay(primary.flush_lsn())
    standby.promote()
    standby.sql("CHECKPOINT")
    primary.sql("CREATE TABLE lost ()", DATABASE)
    standby.sql("CREATE DATABASE made TEMPLATE model STRATEGY file_copy")
    standby.sql("DROP DATABASE model")
    primary.stop("fast")
    twin = upstream_rewinds_a_twin(primary, standby, nodes)
    before = tree.snapshot(primary.data)
    run = scenario.rewind(tool, primary, standby)
    assert run.status == 1 and 'database' in run.output, run.describe()
    assert tree.changes(before, tree.snapshot(primary.data)) == []
    with pytest.raises((psycopg2.Error, AssertionError)):
        assert follow(twin, standby).value("SELECT count(*) FROM m", "made") == 20000


def test_two_failovers_within_minutes(directory, templates, tool, seed, nodes):
    """The target was promoted and died, and then its standby was promoted: neither had the time for a checkpoint."""
    primary, target = start(directory, templates, seed, nodes)
    source = scenario.add_standby(primary, directory, "c", upstream=target)
    nodes.append(source)
    primary.sql("CREATE TABLE wide AS SELECT g, repeat('w', 700) v FROM generate_series(1, 9000) g", DATABASE)
    primary.sql("CREATE TABLE kept AS SELECT g FROM generate_series(1, 1000) g", DATABASE)
    primary.sql("CHECKPOINT")  # replayed by the standbys, which begin at older ones
    primary.sql("UPDATE wide SET v = repeat('u', 700)", DATABASE)
    target.wait_replay(primary.flush_lsn())
    primary.stop("fast")
    target.promote()
    target.sql("INSERT INTO kept SELECT generate_series(1001, 2000)", DATABASE)
    source.wait_replay(target.flush_lsn())
    source.stop("immediate")
    target.sql("UPDATE kept SET g = -g", DATABASE)
    target.kill()
    source.start_promoted()
    source.sql("INSERT INTO kept SELECT generate_series(2001, 3000)", DATABASE)
    for node in (target, source):
        assert controlfile.read(node.data).checkpoint_timeline == 1, "its checkpoint was done: this shows nothing"
    twin = upstream_rewinds_a_twin(target, source, nodes)
    scenario.rewind(tool, target, source).ok()
    with pytest.raises((ServerFailed, AssertionError)):
        assert follow(twin, source).value("SELECT count(*) FROM kept WHERE g > 0", DATABASE) == 3000
    twin.kill()
    oracle.verify(target, source)
