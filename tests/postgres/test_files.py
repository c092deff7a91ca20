"""Files that are not as they usually are: cut, collided, left by a crash, put there by somebody, or not readable."""

import json
import os
import re
import socket
import stat
import time

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree, walend, workload
from harness.cluster import Cluster
from harness.workload import DATABASE


def start(directory, templates, major, seed, nodes, **options):
    options.setdefault("settings", {"autovacuum": "off"})
    pair = scenario.start_pair(directory, templates, major, seed, **options)
    nodes += [pair.target, pair.source]
    return pair.target, pair.source


def part(primary, standby, tool) -> None:
    """The standby has all that the primary has, and is promoted."""
    primary.sql("CHECKPOINT")
    standby.wait_replay(primary.flush_lsn())
    standby.promote()
    if tool.needs_checkpoint:
        standby.sql("CHECKPOINT")


def refused(run, before, data, reason) -> None:
    assert run.status == 1, run.describe()
    assert re.search(reason, run.output), f"no {reason!r} in: {run.describe()}"
    assert tree.changes(before, tree.snapshot(data)) == []


# -- on a diverged directory that is made once a major -------------------------------------------

@pytest.fixture(scope="module", params=[14, 18])
def prepared(request, shared_directory, templates, tool):
    pair = scenario.start_pair(shared_directory(), templates, request.param, 1642, segment_mb=1,
                               settings={"autovacuum": "off", **walend.ROOMY})
    pair.target.sql("CREATE TABLE grows AS SELECT repeat('g', 500) v FROM generate_series(1, 100)", DATABASE)
    pair.source.wait_replay(pair.target.flush_lsn())
    scenario.diverge(pair, "kill", steps=12, checkpoint_source=tool.needs_checkpoint)
    walend.lose_an_insertion(pair.source, DATABASE, "grows")
    yield scenario.Prepared(pair)
    pair.close()


@pytest.fixture
def source(prepared):
    """Its directory is as it was when the test is over."""
    before = {p.name for p in prepared.source.data.iterdir()}
    yield prepared.source
    for path in prepared.source.data.iterdir():
        if path.name not in before:
            path.unlink()


def put(path, content=b"", mode=0o600) -> None:
    path.parent.mkdir(exist_ok=True, mode=0o700)
    envm.give(path.parent)
    path.write_bytes(content)
    path.chmod(mode)
    envm.give(path)


def copied_bytes(run) -> float:
    """As told: rounded, to a MB at most."""
    number, unit = re.search(r"(?:copied|would copy) ([\d.]+) (\w+)", run.output).groups()
    return float(number) * {"bytes": 1, "kB": 1 << 10, "MB": 1 << 20}[unit]


def plan_of(prepared, target, tool) -> dict:
    return json.loads(envm.run([tool.command[0], "plan", "-D", target.data, f"--source-server={prepared.conninfo()}"]).stdout)


def relation_files(node: Cluster) -> list:
    return sorted(p for p in node.data.glob("base/*/*") if re.fullmatch(r"[1-9]\d*", p.name))


def test_partial_last_blocks(prepared, target, tool):
    """A machine that died while files were extended: bytes of half a block, which are nobody's. Where the source has a
    block that it only added, nothing but the copy puts it right."""
    for path in relation_files(target):
        with open(path, "ab") as file:
            file.write(b"\xaa" * 3000)
    longer = prepared.source.value("SELECT pg_relation_filepath('grows')", DATABASE)
    assert (target.data / longer).stat().st_size < (prepared.source.data / longer).stat().st_size
    scenario.rewind(tool, target, prepared.source).ok()
    oracle.verify(target, prepared.source)


LEFT_BY_A_CRASH = ["base/pgsql_tmp/pgsql_tmp123.0", "base/pgsql_tmp/pgsql_tmp123.1.fileset/o3of4.p0.0",
                   "{database}/t3_16500", "{database}/t3_16500_fsm", "{database}/t12_16500.1", "global/pg_internal.init"]


def test_temporary_files(prepared, target, source, tool):
    """Left by a crash on both sides: none is there afterwards."""
    database = relation_files(target)[0].parent.relative_to(target.data)
    names = [name.format(database=database) for name in LEFT_BY_A_CRASH]
    for name in names:
        put(target.data / name, b"left")
        assert not (source.data / name).exists() or "internal" in name
    put(source.data / names[2], b"left on the source")
    try:
        scenario.rewind(tool, target, source).ok()
    finally:
        (source.data / names[2]).unlink()
    assert [name for name in names if (target.data / name).exists()] == []
    oracle.light(target, source)


def test_same_files(prepared, target, source, tool):
    """What both have is not sent, what differs in a byte is, and so is everything with --copy-same-files."""
    same = bytes(range(256)) * 16_000
    other = bytearray(same)
    other[1_000_000] ^= 1
    put(source.data / "same.bin", same)
    put(target.data / "same.bin", same)
    put(source.data / "other.bin", same)
    put(target.data / "other.bin", bytes(other))
    plan = plan_of(prepared, target, tool)
    changed = {entry["path"] for entry in plan["files"]["changed"]}
    assert "other.bin" in changed and "same.bin" not in changed
    assert plan["bytes_same"] >= len(same)
    all_of_it = tool.rewind(target.data, prepared.conninfo(), "-R", "--dry-run", "--copy-same-files").ok()
    assert copied_bytes(all_of_it) - plan["bytes_to_copy"] > 0.8 * len(same)
    scenario.rewind(tool, target, source).ok()
    assert (target.data / "other.bin").read_bytes() == same == (target.data / "same.bin").read_bytes()
    oracle.verify(target, source)


def test_max_rate(prepared, target, source, tool):
    plan = plan_of(prepared, target, tool)
    rate = plan["bytes_to_copy"] // 4 >> 10
    begin = time.monotonic()
    scenario.rewind(tool, target, source, f"--max-rate={rate}").ok()
    assert time.monotonic() - begin >= 3.6
    oracle.light(target, source)


def test_what_a_file_system_and_people_leave(prepared, target, source, tool):
    """lost+found that only root may read, a socket, a FIFO, links to settings and logs elsewhere."""
    elsewhere = target.directory / "elsewhere"
    elsewhere.mkdir()
    for name in ("lost+found", "base/lost+found"):
        (target.data / name).mkdir(mode=0)
    os.mkfifo(target.data / "fifo")
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(target.data)  # a socket's path is short
    listener.bind("socket")
    os.chdir("/")
    for name in ("postgresql.conf", "pg_hba.conf"):
        (target.data / name).rename(elsewhere / name)
        (target.data / name).symlink_to(elsewhere / name)
    (elsewhere / "log").mkdir()
    put(elsewhere / "log/postgresql.log", b"why it died\n")
    (target.data / "log").symlink_to(elsewhere / "log")
    put(source.data / "log")  # of another type there
    conf = (elsewhere / "postgresql.conf").read_bytes()
    scenario.rewind(tool, target, source).ok()
    listener.close()
    kinds = {name: stat.S_IFMT((target.data / name).lstat().st_mode)
             for name in ("lost+found", "fifo", "socket", "postgresql.conf", "pg_hba.conf", "log")}
    assert kinds == {"lost+found": stat.S_IFDIR, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK,
                     "postgresql.conf": stat.S_IFLNK, "pg_hba.conf": stat.S_IFLNK, "log": stat.S_IFLNK}
    assert (elsewhere / "postgresql.conf").read_bytes() == conf
    assert (elsewhere / "log/postgresql.log").read_text() == "why it died\n"
    oracle.light(target, source)


def test_socket_in_the_sources_directory(prepared, target, source, tool):
    """unix_socket_directories = '.': neither the socket nor its lock file is data."""
    listener = socket.socket(socket.AF_UNIX)
    os.chdir(source.data)
    listener.bind(".s.PGSQL.5499")
    os.chdir("/")
    listener.close()
    put(source.data / ".s.PGSQL.5499.lock", b"1\n")
    put(target.data / ".s.PGSQL.5498.lock", b"1\n")
    scenario.rewind(tool, target, source).ok()
    assert list(target.data.glob(".s.PGSQL*")) == []
    oracle.light(target, source)


def test_file_that_the_source_cannot_read(prepared, target, source, tool):
    """Somebody put it there. Found out while the target is as it was."""
    put(source.data / "of-somebody", b"secret", mode=0)
    before = tree.snapshot(target.data)
    refused(scenario.rewind(tool, target, source), before, target.data, "of-somebody")


def test_read_only_files_of_the_target(prepared, target, tool):
    """Told by name, before anything changes."""
    for path in relation_files(target):
        path.chmod(0o400)
    before = tree.snapshot(target.data)
    refused(scenario.rewind(tool, target, prepared.source), before, target.data, 'could not change "[^"]*/base/.*Permission denied')


def test_files_of_the_target_that_may_not_be_read(prepared, target, tool):
    """A segment of WAL that cannot be opened is no end of WAL."""
    segments = sorted(p for p in (target.data / "pg_wal").iterdir() if re.fullmatch("[0-9A-F]{24}", p.name))
    for path in segments:
        path.chmod(0)
    before = {p.name: p.stat() for p in segments}
    run = scenario.rewind(tool, target, prepared.source)
    assert run.status == 1 and "Permission denied" in run.output, run.describe()
    assert {p.name: p.stat() for p in segments} == before


def test_linked_directory_of_postgresql(prepared, target, tool):
    """A moved pg_xact looks like a directory on one side and like a link on the other."""
    elsewhere = target.directory / "xact"
    (target.data / "pg_xact").rename(elsewhere)
    (target.data / "pg_xact").symlink_to(elsewhere)
    before = tree.snapshot(target.data)
    refused(scenario.rewind(tool, target, prepared.source), before, target.data, "pg_xact.* different type")


def test_tablespace_whose_directory_is_gone(prepared, target, tool):
    """Its volume is not mounted."""
    (target.data / "pg_tblspc/16999").symlink_to(target.directory / "not-mounted")
    before = tree.snapshot(target.data)
    refused(scenario.rewind(tool, target, prepared.source), before, target.data, "pg_tblspc/16999")


# -- stories of their own ------------------------------------------------------------------------

WIDE = "INSERT INTO wide SELECT g, repeat('{letter}', 500) FROM generate_series({first}, {last}) g"


@pytest.mark.parametrize("major, side", [(15, "source"), (18, "target")])
def test_relation_of_two_segments_cut_and_grown_again(major, side, directory, templates, tool, seed, nodes):
    """More than 1 GiB, cut down to one segment after the fork, and more than 1 GiB again."""
    primary, standby = start(directory, templates, major, seed, nodes, segment_mb=16)
    primary.sql("CREATE TABLE wide (id int, pad text) WITH (fillfactor = 10)", DATABASE)
    primary.sql(WIDE.format(letter="w", first=1, last=134000), DATABASE)
    part(primary, standby, tool)
    cut, other = (standby, primary) if side == "source" else (primary, standby)
    cut.sql("DELETE FROM wide WHERE id > 120000", DATABASE)
    cut.sql("VACUUM wide", DATABASE)
    assert cut.value("SELECT pg_relation_size('wide') < (1 << 30)", DATABASE)
    cut.sql(WIDE.format(letter="c", first=120001, last=133000), DATABASE)
    other.sql("UPDATE wide SET pad = 'other' WHERE id % 1000 = 0", DATABASE)
    for node in (cut, other):
        assert node.value("SELECT pg_relation_size('wide') > (1 << 30)", DATABASE)
    primary.stop("immediate")
    scenario.rewind(tool, primary, standby).ok()
    oracle.light(primary, standby)


ALIKE = {"unlogged on the target": ("UNLOGGED", ""), "unlogged on the source": ("", "UNLOGGED"), "on neither": ("", "")}


@pytest.mark.parametrize("kind", ALIKE)
@pytest.mark.parametrize("major", [14, 17])
def test_same_relation_number_on_both_sides(major, kind, directory, templates, tool, seed, nodes):
    """Both gave it out after the fork. What the target wrote must not shine through where the source has blocks that it
    only added, and that are in no WAL."""
    settings = {"autovacuum": "off", **walend.ROOMY}
    primary, standby = start(directory, templates, major, seed, nodes, settings=settings)
    standby.wait_replay(primary.flush_lsn())  # it streams, so a clean stop sends it the rest
    primary.stop("fast")  # from here on both count on from the same next OID
    standby.promote()
    primary.start()
    paths = []
    for node, persistence, rows in zip((primary, standby), ALIKE[kind], (3000, 70)):
        with node.session(DATABASE) as cursor:
            cursor.execute(f"CREATE {persistence} TABLE same (v text)")
            cursor.execute("INSERT INTO same SELECT repeat(%s, 900) FROM generate_series(1, %s) g", [node.name, rows])
            cursor.execute("SELECT count(*), pg_relation_filepath('same') FROM same")  # hint bits: the rows are there
            paths.append(cursor.fetchone()[1])
        node.sql("CHECKPOINT")
    assert paths[0] == paths[1], "no collision"
    if kind != "unlogged on the source":
        walend.lose_an_insertion(standby, DATABASE, "same")
    primary.stop("fast")  # writes unlogged pages, too
    scenario.rewind(tool, primary, standby).ok()
    oracle.verify(primary, standby)


@pytest.mark.parametrize("major", [15, 18])
def test_unlogged_tables_and_sequences(major, directory, templates, tool, seed, nodes):
    """Made before the fork, or made logged or unlogged after it on either side: reset by the next start, and usable."""
    primary, standby = start(directory, templates, major, seed, nodes)
    for name in ("stays", "target_logs", "source_logs"):
        primary.sql(f"CREATE UNLOGGED TABLE {name} (id serial PRIMARY KEY, v text)", DATABASE)
    primary.sql("CREATE TABLE source_unlogs (id serial PRIMARY KEY, v text)", DATABASE)
    primary.sql("CREATE TABLE target_unlogs (id serial PRIMARY KEY, v text)", DATABASE)
    primary.sql("CREATE UNLOGGED SEQUENCE counter START 100", DATABASE)
    for name in ("source_unlogs", "target_unlogs"):
        primary.sql(f"INSERT INTO {name} (v) SELECT g FROM generate_series(1, 500) g", DATABASE)
    primary.sql("CHECKPOINT")
    standby.wait_replay(primary.flush_lsn())
    standby.sql("CHECKPOINT")  # a promotion copies init forks from disk, and replay leaves a sequence's in memory
    part(primary, standby, tool)
    for node, name in ((primary, "target"), (standby, "source")):
        node.sql(f"ALTER TABLE {name}_logs SET LOGGED", DATABASE)
        node.sql(f"ALTER TABLE {name}_unlogs SET UNLOGGED", DATABASE)
        node.sql(f"CREATE UNLOGGED SEQUENCE only_{name}", DATABASE)
        node.sql(f"CREATE UNLOGGED TABLE only_{name}_table (id serial, v text)", DATABASE)
        for table in ("stays", f"{name}_logs", f"{name}_unlogs", f"only_{name}_table"):
            node.sql(f"INSERT INTO {table} (v) SELECT g FROM generate_series(1, 300) g", DATABASE)
        node.sql("SELECT nextval('counter') FROM generate_series(1, 50)", DATABASE)
        node.sql("CHECKPOINT")
    primary.stop("fast")
    scenario.rewind(tool, primary, standby).ok()
    oracle.verify(primary, standby)
    primary.start()  # it was promoted
    assert primary.value("SELECT nextval('counter')", DATABASE) == 100
    assert primary.value("SELECT nextval('only_source')", DATABASE) == 1
    assert primary.value("SELECT nextval('stays_id_seq')", DATABASE) == 1
    assert primary.value("SELECT count(*) FROM source_logs", DATABASE) == 300


@pytest.mark.parametrize("major", [14, 18])
def test_replication_slots(major, directory, templates, tool, seed, nodes):
    """Those of the target hold back what is not there any more; those of the source are not the target's."""
    settings = {"autovacuum": "off", "wal_level": "logical"}
    primary, standby = start(directory, templates, major, seed, nodes, settings=settings)
    primary.sql("SELECT pg_create_physical_replication_slot('old', true)")
    primary.sql("SELECT pg_create_logical_replication_slot('old_logical', 'pgoutput')", DATABASE)
    part(primary, standby, tool)
    primary.sql("SELECT pg_create_logical_replication_slot('late', 'pgoutput')", DATABASE)
    standby.sql("SELECT pg_create_physical_replication_slot('new', true)")
    standby.sql("SELECT pg_create_logical_replication_slot('new_logical', 'pgoutput')", DATABASE)
    for node in (primary, standby):
        workload.run(node, seed, node.name, connections=2, steps=8)
    primary.stop("immediate")
    scenario.rewind(tool, primary, standby).ok()
    assert list((primary.data / "pg_replslot").iterdir()) == []
    assert standby.sql("SELECT slot_name FROM pg_replication_slots ORDER BY 1") == [("new",), ("new_logical",)]
    oracle.verify(primary, standby)


@pytest.mark.parametrize("major, megabytes", [(14, 2), (16, 64), (17, 1024)])
def test_wal_segment_size(major, megabytes, directory, templates, tool, seed, nodes):
    """From 1 MB (most tests) to 1 GB, as initdb made the cluster."""
    settings = {"autovacuum": "off", "wal_init_zero": "off", "wal_recycle": "off",  # memory is what they would take
                "wal_keep_size": f"{64 * megabytes}MB"}  # more than the workload switches
    pair = scenario.start_pair(directory, templates, major, seed, segment_mb=megabytes, settings=settings)
    nodes += [pair.target, pair.source]
    scenario.diverge(pair, "kill", steps=12, checkpoint_source=tool.needs_checkpoint)
    scenario.rewind(tool, pair.target, pair.source).ok()
    oracle.verify(pair.target, pair.source)


@pytest.mark.parametrize("server", [*envm.MAJORS, "15 of Debian"])
def test_every_compression_of_wal(server, directory, templates, tool, seed, nodes):
    """All methods that the server was built with (only Debian's has lz4 and zstd), before and after the fork."""
    primary, standby = start(directory, templates, 15 if server == "15 of Debian" else server, seed, nodes)
    if server == "15 of Debian":
        for node in (standby, primary):
            node.stop("fast")
            node.bin = envm.DEBIAN_15
        for node in (primary, standby):
            node.start()
    methods = primary.value("SELECT enumvals FROM pg_settings WHERE name = 'wal_compression'") or ["off", "on"]
    assert "zstd" in methods or server != "15 of Debian"
    primary.sql("CREATE TABLE packed AS SELECT g, repeat(g::text, 30) v FROM generate_series(1, 3000) g", DATABASE)

    def write(node, mark):
        for method in methods:
            node.sql("CHECKPOINT")
            with node.session(DATABASE) as cursor:
                cursor.execute(f"SET wal_compression = '{method}'")
                cursor.execute("UPDATE packed SET v = %s || v WHERE g %% 3 = 0", [f"{mark} {method} "])

    write(primary, "common")
    standby.wait_replay(primary.flush_lsn())
    standby.promote()
    if tool.needs_checkpoint:
        standby.sql("CHECKPOINT")
    write(primary, "old")
    write(standby, "new")
    primary.kill()
    scenario.rewind(tool, primary, standby).ok()
    oracle.verify(primary, standby)


@pytest.mark.parametrize("major", [15, 18])
def test_full_page_writes_off_for_a_while_on_the_target(major, directory, templates, tool, seed, nodes):
    """What reached its disk then, its WAL does not repair."""
    primary, standby = start(directory, templates, major, seed, nodes)
    part(primary, standby, tool)
    for value in ("off", "on"):
        primary.sql(f"ALTER SYSTEM SET full_page_writes = {value}")
        primary.sql("SELECT pg_reload_conf()")
        primary.sql("CHECKPOINT")
        workload.run(primary, seed, value, connections=1, steps=5)
    primary.stop("fast")
    before = tree.snapshot(primary.data)
    refused(scenario.rewind(tool, primary, standby), before, primary.data, "full_page_writes was")


@pytest.mark.parametrize("when", ["before the fork", "after the fork"])
@pytest.mark.parametrize("major", [14, 17])
def test_wal_log_hints_off_for_a_while_on_the_target(major, when, directory, templates, tool, seed, nodes):
    """No checksums either. A hint that was set before the fork is the source's, too; one of after it, nobody tells of."""
    primary, standby = start(directory, templates, major, seed, nodes, checksums=False)
    primary.sql("CREATE TABLE hinted AS SELECT g FROM generate_series(1, 20000) g", DATABASE)
    primary.sql("CHECKPOINT")

    def switch_off_and_on():
        for value in ("off", "on"):
            primary.stop("fast")
            primary.start(extra={"wal_log_hints": value})
            primary.sql("SELECT count(*) FROM hinted", DATABASE)

    if when == "before the fork":
        standby.wait_replay(primary.flush_lsn())
        standby.sql("CHECKPOINT")
        standby.stop("fast")  # replay will begin at its restartpoint
        switch_off_and_on()
        standby.start()
        standby.wait_replay(primary.flush_lsn())
        standby.promote()
    else:
        part(primary, standby, tool)
        switch_off_and_on()
    for node in (primary, standby):
        workload.run(node, seed, node.name, connections=2, steps=8)
    primary.stop("immediate")
    before = tree.snapshot(primary.data)
    run = scenario.rewind(tool, primary, standby)
    if when == "before the fork":
        run.ok()
        oracle.verify(primary, standby, checksums=False)
    else:
        refused(run, before, primary.data, "wal_log_hints may have been changed")


@pytest.mark.parametrize("major", [14, 16])
def test_tablespace_that_only_the_source_has(major, directory, templates, tool, seed, nodes):
    """Made after the fork: there is no place for it on the target until somebody makes one."""
    primary, standby = start(directory, templates, major, seed, nodes)
    part(primary, standby, tool)
    place = directory / "place"
    place.mkdir(mode=0o700)
    envm.give(place)
    standby.sql(f"CREATE TABLESPACE away LOCATION '{place}'")
    standby.sql("CREATE TABLE far TABLESPACE away AS SELECT g FROM generate_series(1, 1000) g", DATABASE)
    primary.sql("CREATE TABLE lost ()", DATABASE)
    primary.stop("fast")
    before = tree.snapshot(primary.data)
    refused(scenario.rewind(tool, primary, standby), before, primary.data, "has tablespace .* and the target has not")
    # A link that leads elsewhere would put the data where nobody looks for it.
    link = next((standby.data / "pg_tblspc").iterdir())
    other = directory / "other"
    other.mkdir(mode=0o700)
    envm.give(other)
    (primary.data / "pg_tblspc" / link.name).symlink_to(other)
    before = tree.snapshot(primary.data)
    refused(scenario.rewind(tool, primary, standby), before, primary.data, "leads to")
    assert list(other.iterdir()) == []
