"""Stories beyond one failover: several timelines, standbys on either side, odd directories."""

import random
import re
import signal
import time

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree, workload
from harness.cluster import Cluster
from harness.proxy import CountingProxy


def start(directory, templates, major, seed, nodes, **options):
    pair = scenario.start_pair(directory, templates, major, seed, **options)
    nodes += [pair.target, pair.source]
    return pair


def work(node, seed, label, steps=15):
    workload.run(node, seed, label, connections=2, steps=steps)


@pytest.mark.parametrize("major", [14, 15, 18])
def test_source_is_a_standby(major, directory, templates, tool, seed, nodes):
    """Sparing the new primary, read everything from a standby of it."""
    pair = start(directory, templates, major, seed, nodes)
    second = scenario.add_standby(pair.target, directory, "s2", upstream=pair.source)
    nodes.append(second)
    scenario.diverge(pair, "fast", steps=15, checkpoint_source=tool.needs_checkpoint)
    if tool.needs_checkpoint:  # upstream reads the standby's timeline from its last restartpoint
        pair.source.sql("CHECKPOINT")
    scenario.catch_up(second, pair.source)
    if tool.needs_checkpoint:
        second.sql("CHECKPOINT")
    scenario.rewind(tool, pair.target, second).ok()
    oracle.verify(pair.target, second, primary=pair.source)


@pytest.mark.parametrize("stop_mode", scenario.STOP_MODES)
@pytest.mark.parametrize("major", [15, 17])
def test_target_is_a_standby_ahead(major, stop_mode, directory, templates, tool, seed, nodes):
    """A standby that received more than the one promoted. Its hint bits are not in anybody's WAL:
    what it read as committed after the fork must not stay so."""
    if stop_mode != "fast":
        tool.expect(upstream_lacks="cannot: single-user recovery refuses standby.signal")
    pair = start(directory, templates, major, seed, nodes)
    primary, chosen = pair.target, pair.source
    ahead = scenario.add_standby(primary, directory, "ahead")
    nodes.append(ahead)
    work(primary, seed, "common")
    primary.sql("CREATE TABLE late (k int, v text)", workload.DATABASE)
    primary.sql("CHECKPOINT")
    held = primary.connect(workload.DATABASE)
    held.cursor().execute("INSERT INTO late SELECT g, 'committed after the fork' FROM generate_series(1, 500) g")
    chosen.wait_replay(primary.flush_lsn())
    primary.sql("CHECKPOINT")
    chosen.wait_replay(primary.flush_lsn())
    chosen.stop("fast")
    held.commit()
    held.close()
    work(primary, seed, "lost")
    ahead.wait_replay(primary.flush_lsn())
    ahead.sql("CHECKPOINT")
    assert ahead.value("SELECT count(*) FROM late", workload.DATABASE) == 500
    primary.stop("fast")
    ahead.stop(stop_mode)
    chosen.start_promoted()
    if tool.needs_checkpoint:
        chosen.sql("CHECKPOINT")
    work(chosen, seed, "new")
    scenario.rewind(tool, ahead, chosen).ok()
    oracle.verify(ahead, chosen)


@pytest.mark.parametrize("major", [16, 18])
def test_there_and_back(major, directory, templates, tool, seed, nodes):
    """Three failovers in a row between two nodes: three more timelines."""
    rng = random.Random(seed)
    pair = start(directory, templates, major, seed, nodes)
    scenario.diverge(pair, "fast", steps=10, checkpoint_source=tool.needs_checkpoint)
    old, new = pair.target, pair.source
    for turn in range(3):
        scenario.rewind(tool, old, new).ok()
        oracle.light(old, new)
        old.start()
        old.wait_replay(new.flush_lsn())
        scenario.promote(old, tool)
        for label, node in (("a", old), ("b", new)):
            work(node, seed, f"{label}{turn}", 6)
        new.stop(rng.choice(scenario.STOP_MODES))
        old, new = new, old
    scenario.rewind(tool, old, new).ok()
    oracle.verify(old, new)


@pytest.mark.parametrize("rewound", ["published", "killed"])
@pytest.mark.parametrize("major", [15, 18])
def test_second_failover_during_a_rewind(major, rewound, directory, templates, tool, seed, nodes):
    """The source dies after, or in the middle of, a rewind; its standby is promoted and is the next source."""
    tool.expect(upstream_lacks="cannot be run again")
    pair = start(directory, templates, major, seed, nodes)
    third = scenario.add_standby(pair.target, directory, "s2", upstream=pair.source)
    nodes.append(third)
    scenario.diverge(pair, "kill", steps=15, checkpoint_source=tool.needs_checkpoint)
    if rewound == "published":
        scenario.rewind(tool, pair.target, pair.source).ok()
    else:
        point = random.Random(seed).choice(["fenced", "copied", "wal-installed", "label-written", "published-noted"])
        run = tool.rewind(pair.target.data, pair.conninfo(), "-R", env={"PG_REJOIN_KILL_POINT": point})
        assert run.status == -signal.SIGKILL, run.describe()
    scenario.catch_up(third, pair.source)
    pair.source.kill()
    third.promote()
    work(third, seed, "third")
    scenario.rewind(tool, pair.target, third).ok()
    oracle.verify(pair.target, third)


@pytest.mark.parametrize("major", [15, 17])
def test_source_loses_what_it_sent(major, directory, templates, tool, seed, nodes):
    """A rewind killed in the middle; then a standby that lags behind the first source is promoted:
    what was copied holds WAL that the new source never had."""
    tool.expect(upstream_lacks="cannot be run again")
    pair = start(directory, templates, major, seed, nodes)
    third = scenario.add_standby(pair.target, directory, "s2", upstream=pair.source)
    nodes.append(third)
    scenario.diverge(pair, "kill", steps=15, checkpoint_source=True)
    scenario.catch_up(third, pair.source)
    third.stop("fast")
    work(pair.source, seed, "lost")
    run = tool.rewind(pair.target.data, pair.conninfo(), "-R", env={"PG_REJOIN_KILL_POINT": "copied"})
    assert run.status == -signal.SIGKILL, run.describe()
    pair.source.kill()
    third.start_promoted()
    work(third, seed, "third")
    scenario.rewind(tool, pair.target, third).ok()
    oracle.verify(pair.target, third)


@pytest.mark.parametrize("point", ["copied-noted", "copied", "wal-installed"])
@pytest.mark.parametrize("major", [15, 18])
def test_next_attempt_from_a_twin_of_the_source(major, point, directory, templates, tool, seed, nodes):
    """Two standbys, promoted at the same place on their own: their histories are equal, their data is not.
    A rewind onto one is killed, and goes on onto the other."""
    tool.expect(upstream_lacks="cannot be run again")
    pair = start(directory, templates, major, seed, nodes)
    primary, one = pair.target, pair.source
    two = scenario.add_standby(primary, directory, "s2")
    nodes.append(two)
    work(primary, seed, "common")
    primary.sql("CREATE TABLE twin AS SELECT g, repeat('x', 500) v FROM generate_series(1, 20000) g", workload.DATABASE)
    primary.sql("CHECKPOINT")
    primary.stop("fast")  # a clean stop sends everything: the standbys end at the same LSN
    for node, rows in ((one, 3), (two, 2)):
        scenario.promote(node, tool)
        node.sql(f"UPDATE twin SET v = '{node.name}' WHERE g % {rows} = 0", workload.DATABASE)
        work(node, seed, node.name)
        node.sql("CHECKPOINT")
    histories = {(node.data / "pg_wal/00000002.history").read_text().split("\t")[1] for node in (one, two)}
    assert len(histories) == 1, "not at the same place: this shows nothing"
    two.sql("CREATE TABLE more AS SELECT * FROM twin", workload.DATABASE)  # it has more WAL than the other
    primary.start()
    primary.sql("UPDATE twin SET v = 'lost'", workload.DATABASE)
    work(primary, seed, "lost")
    primary.kill()
    # The list of what was copied has to be there before the end, so all is copied.
    run = tool.rewind(primary.data, one.conninfo("rewind_user"), "-R", "--copy-replayed-blocks",
                      env={"PG_REJOIN_KILL_POINT": point})
    assert run.status == -signal.SIGKILL, run.describe()
    scenario.rewind(tool, primary, two).ok()
    oracle.verify(primary, two)


@pytest.mark.parametrize("apart", ["different fork", "same fork"])
@pytest.mark.parametrize("major", [15, 18])
def test_same_timeline_number_other_history(major, apart, directory, templates, tool, seed, nodes):
    """Two standbys promoted on their own are both on timeline 2. Equal numbers, even equal fork
    points, do not mean equal data."""
    tool.expect(upstream_lacks='takes it for "no rewind required"')
    pair = start(directory, templates, major, seed, nodes)
    primary, one = pair.target, pair.source
    two = scenario.add_standby(primary, directory, "s2")
    nodes.append(two)
    work(primary, seed, "common")
    one.wait_replay(primary.flush_lsn())
    if apart == "different fork":
        one.stop("fast")
        work(primary, seed, "more", 5)
        two.wait_replay(primary.flush_lsn())
    primary.stop("fast")  # a clean stop sends everything: the standbys end at the same LSN
    if apart == "different fork":
        one.start_promoted()
    else:
        one.promote()
    two.promote()
    work(one, seed, "one")
    work(two, seed, "two")
    two.stop("fast")
    run = scenario.rewind(tool, two, one)
    if apart == "same fork" and run.status == 1:
        # Where they part cannot be told from the histories: a refusal is an answer, too.
        assert "timeline" in run.output or "history" in run.output, run.describe()
        return
    run.ok()
    oracle.verify(two, one)


@pytest.mark.parametrize("major", [15, 18])
def test_prepared_in_the_last_segment_of_a_timeline(major, directory, templates, tool, seed, nodes):
    """A switchover after the failover. While replay is on the first new timeline, PostgreSQL reads what a
    transaction prepared from the segment that has this timeline's name."""
    pair = start(directory, templates, major, seed, nodes, segment_mb=16)
    third = scenario.add_standby(pair.target, directory, "s2", upstream=pair.source)
    nodes.append(third)
    work(pair.target, seed, "common")
    pair.source.wait_replay(pair.target.flush_lsn())
    scenario.promote(pair.source, tool)
    work(pair.target, seed, "old")
    pair.target.stop("immediate")
    scenario.prepare_across(pair.source, "last words")
    third.wait_replay(pair.source.flush_lsn())
    pair.source.stop("fast")
    scenario.promote(third, tool)
    scenario.rewind(tool, pair.target, third).ok()
    oracle.verify(pair.target, third)


@pytest.mark.parametrize("stop_mode", scenario.STOP_MODES)
@pytest.mark.parametrize("major", [15, 18])
def test_nothing_to_undo(major, stop_mode, directory, templates, tool, seed, nodes):
    """The old primary wrote nothing that the new one lacks: it only has to follow, onto the new timeline."""
    pair = start(directory, templates, major, seed, nodes)
    work(pair.target, seed, "common")
    with pair.target.session() as cursor:
        cursor.execute("SELECT pg_switch_wal()")
    pair.source.wait_replay(pair.target.flush_lsn())
    pair.target.stop(stop_mode)
    scenario.promote(pair.source, tool)
    work(pair.source, seed, "new")
    scenario.rewind(tool, pair.target, pair.source).ok()
    oracle.verify(pair.target, pair.source)


@pytest.mark.parametrize("major", [15, 18])
def test_pg_wal_is_a_link(major, directory, templates, tool, seed, nodes):
    """Commonly a volume of its own."""
    pair = start(directory, templates, major, seed, nodes)
    scenario.diverge(pair, "immediate", steps=10, checkpoint_source=tool.needs_checkpoint)
    elsewhere = directory / "wal"
    (pair.target.data / "pg_wal").rename(elsewhere)
    (pair.target.data / "pg_wal").symlink_to(elsewhere)
    envm.give(pair.target.data / "pg_wal")
    scenario.rewind(tool, pair.target, pair.source).ok()
    assert (pair.target.data / "pg_wal").is_symlink()
    oracle.verify(pair.target, pair.source)


@pytest.mark.parametrize("major", [14, 17])
def test_tablespaces(major, directory, templates, tool, seed, nodes):
    """Each node has its own place for the tablespace: each keeps its link, or the rewind says no."""
    pair = start(directory, templates, major, seed, nodes)
    primary, standby = pair.target, pair.source
    standby.stop("fast")
    envm.remove_tree(standby.data)
    place = {node: directory / f"{node.name}.space" for node in (primary, standby)}
    for path in place.values():
        path.mkdir(mode=0o700)
        envm.give(path)
    primary.sql(f"CREATE TABLESPACE away LOCATION '{place[primary]}'")
    primary.sql("CREATE TABLE far (id serial PRIMARY KEY, v text) TABLESPACE away", workload.DATABASE)
    primary.sql("INSERT INTO far (v) SELECT repeat('x', 200) FROM generate_series(1, 5000)", workload.DATABASE)
    primary.sql("CHECKPOINT")
    scenario.hot_copy(primary, standby.data)
    for link in (standby.data / "pg_tblspc").iterdir():
        envm.remove_tree(place[standby])
        envm.copy_tree(place[primary], place[standby])
        link.unlink()
        link.symlink_to(place[standby])
        envm.give(link)
    standby.make_standby(primary)
    standby.start()
    standby.wait_replay(primary.flush_lsn())
    scenario.promote(standby, tool)
    primary.sql("UPDATE far SET v = 'old' WHERE id % 7 = 0", workload.DATABASE)
    standby.sql("UPDATE far SET v = 'new' WHERE id % 11 = 0", workload.DATABASE)
    standby.sql("INSERT INTO far (v) SELECT 'more' FROM generate_series(1, 3000)", workload.DATABASE)
    primary.sql("CREATE TABLE far_old TABLESPACE away AS SELECT * FROM far", workload.DATABASE)
    standby.sql("CREATE TABLE far_new TABLESPACE away AS SELECT * FROM far", workload.DATABASE)
    primary.stop("immediate")
    before = tree.snapshot(primary.data)
    run = scenario.rewind(tool, primary, standby)
    if run.status == 1:
        assert "tablespace" in run.output, run.describe()
        assert tree.changes(before, tree.snapshot(primary.data)) == []
        return
    assert {link.resolve() for link in (primary.data / "pg_tblspc").iterdir()} == {place[primary]}
    oracle.verify(primary, standby)


@pytest.mark.parametrize("major", [17, 18])
def test_in_place_tablespace(major, directory, templates, tool, seed, nodes):
    pair = start(directory, templates, major, seed, nodes)
    with pair.target.session() as cursor:
        cursor.execute("CREATE TABLESPACE inside LOCATION ''")
    pair.target.sql("CREATE TABLE near TABLESPACE inside AS SELECT g, repeat('x', 100) v FROM generate_series(1, 5000) g", workload.DATABASE)
    scenario.diverge(pair, "fast", steps=5, checkpoint_source=tool.needs_checkpoint)
    pair.source.sql("UPDATE near SET v = 'new' WHERE g % 5 = 0", workload.DATABASE)
    scenario.rewind(tool, pair.target, pair.source).ok()
    oracle.verify(pair.target, pair.source)


EXTRA = ["extra file", "extra 'dir'/nested/deep", 'extra"quote', "base/extra_in_base"]


def test_extra_files_follow_the_source(directory, templates, tool, seed, nodes):
    """As a drop-in: the target ends with the source's set of unknown files."""
    pair = start(directory, templates, 16, seed, nodes)
    scenario.diverge(pair, "fast", steps=5, checkpoint_source=tool.needs_checkpoint)

    def put(node, name, content):
        path = node.data / name
        for parent in reversed(path.relative_to(node.data).parents):
            if not (node.data / parent).exists():
                (node.data / parent).mkdir(mode=0o700)
                envm.give(node.data / parent)
        path.write_text(content)
        envm.give(path)

    for name in EXTRA:
        put(pair.source, name, "of the source")
        put(pair.target, name + " of target", "of the target")
    put(pair.target, EXTRA[0], "of the target")
    scenario.rewind(tool, pair.target, pair.source).ok()
    extra = {p: (pair.target.data / p).read_text() for p, what in tree.snapshot(pair.target.data).items()
             if "extra" in p and what[0] == "file"}
    assert extra == {name: "of the source" for name in EXTRA}
    oracle.light(pair.target, pair.source)


def test_group_access(directory, templates, tool, seed, nodes):
    """A directory that its group may read stays so."""
    pair = start(directory, templates, 16, seed, nodes)
    scenario.diverge(pair, "fast", steps=5, checkpoint_source=tool.needs_checkpoint)
    for node in (pair.target,):
        envm.run(["chmod", "-R", "g+rX", node.data])
    scenario.rewind(tool, pair.target, pair.source).ok()
    wrong = {p: w for p, w in tree.snapshot(pair.target.data).items()
             if (w[0] == "file" and w[1] != oct(0o100640)) or (w[0] == "directory" and w[1] != oct(0o040750))}
    assert wrong == {}
    oracle.light(pair.target, pair.source)


@pytest.mark.parametrize("major", [14, 15, 18])
@pytest.mark.parametrize("template_fate", ["dropped", "changed"])
def test_database_copied_from_a_template_that_went_on(major, template_fate, directory, templates, tool, seed, nodes):
    """Replaying CREATE DATABASE by file copy copies the template as it is then: with the template
    gone or changed, a rewind must refuse before touching anything, or get it right."""
    tool.expect(upstream_lacks="loses the database's rows")
    pair = start(directory, templates, major, seed, nodes)
    pair.target.sql("CREATE DATABASE model")
    pair.target.sql("CREATE TABLE m AS SELECT g FROM generate_series(1, 20000) g", "model")
    pair.source.wait_replay(pair.target.flush_lsn())
    scenario.diverge(pair, "fast", steps=5)
    strategy = " STRATEGY file_copy" if major >= 15 else ""
    pair.source.sql(f"CREATE DATABASE made TEMPLATE model{strategy}")
    if template_fate == "dropped":
        pair.source.sql("DROP DATABASE model")
    else:
        pair.source.sql("DELETE FROM m WHERE g > 10", "model")
        pair.source.sql("VACUUM m", "model")
    before = tree.snapshot(pair.target.data)
    run = scenario.rewind(tool, pair.target, pair.source)
    if run.status == 1:
        assert "database" in run.output, run.describe()
        assert tree.changes(before, tree.snapshot(pair.target.data)) == []
        return
    run.ok()
    oracle.verify(pair.target, pair.source)


def test_source_recycled_the_wal_of_the_fork(directory, templates, tool, seed, nodes):
    """Without it the target could never catch up: refuse while there is still something to keep."""
    tool.expect(upstream_lacks="leaves a node that cannot start")
    settings = {"wal_keep_size": "0"}
    pair = start(directory, templates, 17, seed, nodes, segment_mb=1, settings=settings)
    scenario.diverge(pair, "fast", steps=5)
    for _ in range(6):
        pair.source.sql("SELECT pg_switch_wal()")
        work(pair.source, seed, f"grow{_}", 3)
        pair.source.sql("CHECKPOINT")
    recycled = pair.source.sql("SELECT count(*) FROM pg_ls_waldir() WHERE name LIKE '00000002%'")[0][0]
    before = tree.snapshot(pair.target.data)
    run = scenario.rewind(tool, pair.target, pair.source)
    print("segments left on the source:", recycled)
    assert run.status == 1, run.describe()
    assert "WAL" in run.output or "segment" in run.output
    assert tree.changes(before, tree.snapshot(pair.target.data)) == []


COPYING = 8 << 20  # bytes from the source, more than comes before the copy


def test_source_recycles_wal_while_it_is_copied(directory, templates, tool, seed, nodes):
    """A long copy beside a source that keeps no more WAL than it must: what it writes meanwhile is
    fetched before it goes."""
    pair = start(directory, templates, 17, seed, nodes, segment_mb=1, settings={"autovacuum": "off"})
    pair.target.sql("CREATE TABLE wide AS SELECT g, repeat('x', 1000) v FROM generate_series(1, 80000) g", workload.DATABASE)
    pair.target.sql("CHECKPOINT")
    pair.source.wait_replay(pair.target.flush_lsn())
    scenario.promote(pair.source, tool)
    pair.source.sql("CHECKPOINT")
    for setting in ("wal_keep_size = '0'", "wal_recycle = off"):
        with pair.source.session() as cursor:
            cursor.execute(f"ALTER SYSTEM SET {setting}")
    pair.source.sql("SELECT pg_reload_conf()")
    pair.target.sql("DELETE FROM wide WHERE g % 2 = 0", workload.DATABASE)
    pair.target.stop("fast")
    proxy = CountingProxy(directory / "proxy", pair.source.socket_directory, slow_after(COPYING))
    before = segments(pair.source)
    with open(directory / "output", "w") as output:
        process = tool.spawn(pair.target.data, pair.source.conninfo("rewind_user", host=proxy.directory), "-R", output=output)
    while proxy.total < COPYING and process.poll() is None:
        time.sleep(0.1)
    during = set()
    while process.poll() is None:
        pair.source.sql("SELECT pg_logical_emit_message(false, 'p', repeat('x', 400000)); SELECT pg_switch_wal()")
        during |= segments(pair.source)
        time.sleep(2)
        pair.source.sql("CHECKPOINT")
    gone = during - before - segments(pair.source)
    assert len(gone) > 1, "the source removed nothing: this shows nothing"
    assert process.wait() == 0, (directory / "output").read_text()
    proxy.close()
    oracle.verify(pair.target, pair.source)


def slow_after(fast_bytes, rate=2 << 20):
    """For a proxy: a connection gets rate bytes per second when fast_bytes have passed."""
    seen = 0

    def wait(total):
        nonlocal seen
        now, seen = total - seen, total
        time.sleep(now / rate if total > fast_bytes else 0)

    return wait


def segments(node):
    return {name for name, in node.sql("SELECT name FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'")}


def test_relation_of_two_segments(directory, templates, tool, seed, nodes):
    """More than 1 GiB: the old primary cut it down to one segment, the new one changed the second."""
    pair = start(directory, templates, 17, seed, nodes, segment_mb=16, settings={"autovacuum": "off"})
    primary, standby = pair.target, pair.source
    primary.sql("CREATE TABLE wide (id int, pad text) WITH (fillfactor = 10)", workload.DATABASE)
    primary.sql("INSERT INTO wide SELECT g, repeat('w', 500) FROM generate_series(1, 140000) g", workload.DATABASE)
    assert primary.value("SELECT pg_relation_size('wide') > (1 << 30)", workload.DATABASE)
    primary.sql("CHECKPOINT")
    standby.wait_replay(primary.flush_lsn())
    scenario.promote(standby, tool)
    primary.sql("DELETE FROM wide WHERE id > 50000", workload.DATABASE)
    primary.sql("VACUUM wide", workload.DATABASE)
    assert primary.value("SELECT pg_relation_size('wide') < (1 << 30)", workload.DATABASE)
    standby.sql("UPDATE wide SET pad = 'new' WHERE id % 1000 = 0", workload.DATABASE)
    primary.stop("immediate")
    scenario.rewind(tool, primary, standby).ok()
    oracle.light(primary, standby)


@pytest.mark.parametrize("major", [15, 18])
def test_spgist_metapage(major, directory, templates, tool, seed, nodes):
    """The old primary's SP-GiST metapage remembers pages that the new primary never had. No WAL
    record refers to that change; left as it is, every insertion after the next promotion fails."""
    pair = start(directory, templates, major, seed, nodes)
    primary, standby = pair.target, pair.source
    primary.sql("CREATE TABLE pages (v text)", workload.DATABASE)
    primary.sql("CREATE INDEX pages_v ON pages USING spgist (v)", workload.DATABASE)
    primary.sql("INSERT INTO pages SELECT md5(g::text) FROM generate_series(1, 2000) g", workload.DATABASE)
    primary.sql("CHECKPOINT")
    standby.wait_replay(primary.flush_lsn())
    standby.sql("CHECKPOINT")  # so that replay begins after the index was made
    standby.promote()
    standby.sql("CHECKPOINT")
    primary.sql("INSERT INTO pages SELECT md5(g::text) FROM generate_series(2001, 9000) g", workload.DATABASE)
    standby.sql("INSERT INTO pages SELECT md5('s' || g) FROM generate_series(1, 100) g", workload.DATABASE)
    primary.stop("fast")
    scenario.rewind(tool, primary, standby).ok()
    oracle.verify(primary, standby)


def test_an_empty_directory_is_not_a_target(directory, tool):
    """And nothing is created in it."""
    empty = directory / "empty"
    empty.mkdir()
    envm.give(empty)
    run = tool.rewind(empty, "host=/nonexistent user=rewind_user dbname=postgres", "-R")
    assert run.status == 1, run.describe()
    assert list(empty.iterdir()) == []


def test_source_has_higher_limits(directory, templates, tool, seed, nodes):
    """A standby with less than its primary does not start. How the target will be started nobody can
    know here; that it had less is said."""
    tool.expect(upstream_lacks="says nothing")
    pair = start(directory, templates, 15, seed, nodes)
    scenario.diverge(pair, "fast", steps=3)
    pair.source.stop("fast")
    pair.source.start(extra={"max_connections": "177"})
    run = scenario.rewind(tool, pair.target, pair.source)
    run.ok()
    assert re.search("max_connections was [0-9]+ on the target and is 177 on the source", run.output)
    assert run.output.count(" or more") == 1
    with pytest.raises(Exception, match="insufficient parameter settings"):
        pair.target.start()
    pair.target.start(extra={"max_connections": "177"})
