"""Proves that a rewound target equals its source.

The order matters: reading the source makes it log hint images, which repair on the target exactly
the damage this is looking for. So replay on the target is paused first, the target is read
completely, and only then the source.
"""

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from . import environment as envm
from . import pages
from .cluster import Cluster, ServerFailed, children_of, inside
from .workload import DATABASE

ROWS = r"""
SELECT n.nspname, c.relname, c.relpersistence, c.relkind
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' ORDER BY 1, 2"""

# One row checksum that does not depend on order. Sequential scans only: an index may hide a row.
CHECKSUM = """
SELECT {label}, count(*), coalesce(sum(hashtextextended(t::text, 0)), 0)::text FROM ONLY {table} t"""

RELATIONS = """
SELECT c.oid::regclass::text, pg_relation_filepath(c.oid), coalesce(a.amname, 'heap'), c.relkind, c.relpersistence
  FROM pg_class c LEFT JOIN pg_am a ON a.oid = c.relam
 WHERE pg_relation_filepath(c.oid) IS NOT NULL AND c.relpersistence <> 't'
   AND (NOT c.relisshared OR current_database() = 'postgres') ORDER BY 2"""

BTREE_CHECK = """
SELECT {function} FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid JOIN pg_am a ON a.oid = c.relam
 WHERE a.amname = 'btree' AND c.relkind = 'i' AND c.relpersistence = 'p' AND i.indisvalid AND i.indisready
   AND (NOT c.relisshared OR current_database() = 'postgres')"""

HEAP_CHECK = """
SELECT c.oid::regclass::text, v.blkno, v.offnum, v.msg
  FROM pg_class c, LATERAL verify_heapam(c.oid, check_toast => true, skip => 'none') v
 WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p'"""

VISIBILITY_CHECK = """
SELECT c.oid::regclass::text, 'visible', t_ctid::text FROM pg_class c, LATERAL pg_check_visible(c.oid) v(t_ctid)
 WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p'
UNION ALL
SELECT c.oid::regclass::text, 'frozen', t_ctid::text FROM pg_class c, LATERAL pg_check_frozen(c.oid) v(t_ctid)
 WHERE c.relkind IN ('r', 'm', 't') AND c.relpersistence = 'p'"""

SEQUENCES = """
SELECT format('%I.%I', n.nspname, c.relname), s.seqincrement
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_sequence s ON s.seqrelid = c.oid
 WHERE c.relpersistence = 'p' ORDER BY 1"""

GLOBALS = """
SELECT 'database', datname, dattablespace::text FROM pg_database
UNION ALL SELECT 'role', rolname, rolconfig::text FROM pg_roles
UNION ALL SELECT 'tablespace', spcname, '' FROM pg_tablespace ORDER BY 1, 2"""

CHECKING = "SELECT count(*) FROM pg_extension WHERE extname IN ('amcheck', 'pageinspect', 'pg_visibility')"


class Difference(AssertionError):
    """The target is not what the source is."""


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Image:
    """What was read from one node."""
    globals: list
    rows: dict
    sequences: dict
    relations: dict  # database -> rows of RELATIONS


def read_rows(node: Cluster, database: str) -> dict:
    with node.session(database) as cursor:
        cursor.execute("SET search_path = pg_catalog; SET enable_indexscan = off; SET enable_indexonlyscan = off;"
                       "SET enable_bitmapscan = off; SET max_parallel_workers_per_gather = 0")
        cursor.execute(ROWS)
        parts = []
        unlogged = {}
        for schema, name, persistence, _ in cursor.fetchall():
            table = f"{quote(schema)}.{quote(name)}"
            if persistence == "u":
                unlogged[table] = "unlogged"
                continue
            label = "'" + table.replace("'", "''") + "'"
            parts.append(CHECKSUM.format(label=label, table=table))
        cursor.execute(" UNION ALL ".join(parts))
        return {**unlogged, **{table: (count, total) for table, count, total in cursor.fetchall()}}


def read_sequences(node: Cluster, database: str) -> dict:
    """What is logged of a sequence: last_value plus the values fetched ahead, which replay adds."""
    with node.session(database) as cursor:
        cursor.execute(SEQUENCES)
        found = {}
        for name, increment in cursor.fetchall():
            cursor.execute(f"SELECT last_value + log_cnt * {increment}, is_called FROM {name}")
            found[name] = cursor.fetchone()
        return found


def read_files(data: Path, relations: dict) -> dict:
    """Main forks of permanent relations and all init forks, from disk. Free space maps are hints, and
    the visibility map is proved by pg_visibility instead: on a standby it may hold fewer bits (up to
    18 at least, CREATE DATABASE logs the map's pages without their content)."""
    found = {}
    for rows in relations.values():
        for _, path, _, _, persistence in rows:
            for fork in ("", "_init"):
                if persistence == "u" and fork != "_init":
                    continue
                for segment in range(64):
                    file = path + fork + (f".{segment}" if segment else "")
                    if not inside(data, file).exists():
                        break
                    found[file] = inside(data, file).read_bytes()
    return found


def read_image(node: Cluster) -> Image:
    image = Image(node.sql(GLOBALS), {}, {}, {})
    for database in node.databases():
        image.rows[database] = read_rows(node, database)
        image.sequences[database] = read_sequences(node, database)
        image.relations[database] = node.sql(RELATIONS, database)
    return image


def first_differences(ours: dict, theirs: dict, limit=8) -> list:
    keys = sorted(set(ours) | set(theirs), key=str)
    return [f"{k}: target {ours.get(k, 'absent')}, source {theirs.get(k, 'absent')}"
            for k in keys if ours.get(k) != theirs.get(k)][:limit]


def compare(target: Image, source: Image) -> list:
    problems = []
    if target.globals != source.globals:
        problems.append(f"globals differ: {sorted(set(target.globals) ^ set(source.globals))[:8]}")
    for what in ("rows", "sequences"):
        ours, theirs = getattr(target, what), getattr(source, what)
        for database in sorted(set(ours) | set(theirs)):
            for line in first_differences(ours.get(database, {}), theirs.get(database, {})):
                problems.append(f"{what} of {database}.{line}")
    if target.relations != source.relations:
        for database in source.relations:
            extra = set(target.relations.get(database, [])) ^ set(source.relations[database])
            if extra:
                problems.append(f"relations of {database} differ: {sorted(extra)[:6]}")
    return problems


def compare_files(relations: dict, ours_by_file: dict, theirs_by_file: dict) -> list:
    problems = []
    for rows in relations.values():
        for name, path, method, kind, _ in rows:
            if kind == "S":
                continue  # compared by value: the primary changes them without WAL
            for file in sorted(f for f in {*ours_by_file, *theirs_by_file} if f == path or f.startswith((path + "_", path + "."))):
                ours, theirs = ours_by_file.get(file, b""), theirs_by_file.get(file, b"")
                if method == "spgist" and file == path and not pages.spgist_cache_is_valid(ours):
                    problems.append(f"the metapage of {name} (spgist, {file}) remembers pages beyond the end of the file")
                blocks = pages.differing_blocks(ours, theirs, method)
                if blocks:
                    problems.append(f"pages of {name} ({method}, {file}, {len(ours)}/{len(theirs)} bytes) differ: blocks {blocks[:10]}")
    return problems


def check_structure(node: Cluster) -> list:
    """amcheck on everything; a database without it is itself a problem."""
    problems = []
    for database in node.databases():
        with node.session(database) as cursor:
            cursor.execute(CHECKING)
            if cursor.fetchone()[0] != 3:
                problems.append(f"database {database} lacks amcheck, pageinspect or pg_visibility")
                continue
            cursor.execute(HEAP_CHECK)
            problems += [f"{database}: {row}" for row in cursor.fetchmany(5)]
            with_error(problems, database, cursor, BTREE_CHECK.format(function="bt_index_check(c.oid, true)"))
    return problems


def with_error(problems: list, database: str, cursor, query: str) -> None:
    """amcheck reports corruption as an error."""
    import psycopg2
    try:
        cursor.execute(query)
    except psycopg2.Error as error:
        problems.append(f"{database}: {str(error).strip()}")


AUTOVACUUM = "SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('autovacuum launcher', 'autovacuum worker')"


def settle(source: Cluster) -> None:
    """No autovacuum in the middle of a comparison. The launcher has to be gone too: until it has seen the new setting it
    starts workers, and the last one it asked for may begin just after it ended."""
    source.sql("ALTER SYSTEM SET autovacuum = off")
    source.sql("SELECT pg_reload_conf()")
    deadline = time.monotonic() + 30
    calm = 0
    while calm < 5:
        calm = 0 if source.value(AUTOVACUUM) else calm + 1
        assert time.monotonic() < deadline, "autovacuum does not end"
        time.sleep(0.05)


def check_checksums(node: Cluster, scratch: Path) -> list:
    """Every page of a stopped directory, by Debian's pg_checksums 15. It knows its own major's
    pg_control only, so it is shown the directory's files (hard links) beside a control file and
    names of 15."""
    twin = scratch / f"{node.name}.checksums"
    envm.remove_tree(twin)
    envm.run(["cp", "-al", "--", node.data, twin])
    control = control_file_of_15(scratch)
    (twin / "global" / "pg_control").unlink()
    shutil.copy(control, twin / "global" / "pg_control")
    envm.give(twin / "global" / "pg_control")
    for tablespace in (twin / "pg_tblspc").iterdir():
        for version in inside(twin, f"pg_tblspc/{tablespace.name}").glob("PG_*"):
            version.rename(version.parent / "PG_15_202209061")
    done = envm.run([envm.debian_program("pg_checksums"), "--check", "-D", twin], check=False, cwd=twin)
    envm.remove_tree(twin)
    if done.returncode != 0 or "Bad checksums:  0" not in done.stdout:
        return [f"pg_checksums: {done.stdout[-500:]}{done.stderr[-1500:]}"]
    return []


def control_file_of_15(scratch: Path) -> Path:
    """A clean pg_control with checksums on, from a throw-away initdb, made once per session."""
    from .cluster import template
    root = session_root(scratch) / "templates"
    return template(root, 15, checksums=True, segment_mb=16) / "global" / "pg_control"


def session_root(path: Path) -> Path:
    for parent in [path, *path.parents]:
        if (parent / "templates").is_dir():
            return parent
    raise AssertionError(f"{path} is not inside a session directory")


def light(target: Cluster, source: Cluster, *, settings: dict | None = None) -> None:
    """Starts, catches up, streams, same rows."""
    verify(target, source, full=False, settings=settings)


def verify(target: Cluster, source: Cluster, *, full=True, checksums=True, settings: dict | None = None,
           primary: Cluster | None = None) -> None:
    """Raises Difference with everything found. `source` must be running, `target` stopped with
    standby.signal and primary_conninfo; afterwards the target has been promoted (full) or is
    still a standby (light), and is stopped. `primary` is who writes, when the source is itself a
    standby."""
    primary = primary or source
    settle(primary)
    calm = {"autovacuum": "off", **(settings or {})}
    target.start(extra=calm)
    if not target.value("SELECT pg_is_in_recovery()"):
        raise Difference("the target started as a primary")
    if primary is not source:
        source.wait_replay(primary.flush_lsn())
        if holds_left_over_locks(source):
            source.stop("fast")
            source.start()
            source.wait_replay(primary.flush_lsn())
    target.wait_replay(primary.flush_lsn())

    arrives(target, primary)
    level(target, source, primary)
    if holds_left_over_locks(target):
        target.sql("SELECT pg_wal_replay_resume()")
        target.stop("fast")
        target.start(extra=calm)
        target.wait_replay(primary.flush_lsn())
        level(target, source, primary)
    ours = read_image(target)
    files = read_files(target.data, ours.relations) if full else {}
    problems = check_structure(target) if full else []
    # From here on the source: its files first, for even a connection to it may prune a page.
    if full:
        problems += compare_files(ours.relations, files, read_files(source.data, ours.relations))
    problems += compare(ours, read_image(source))
    if problems and full:
        problems += [f"(the source itself) {p}" for p in check_structure(source)]
    if full and not source.value("SELECT pg_is_in_recovery()"):
        prepared = source.sql("SELECT gid FROM pg_prepared_xacts ORDER BY gid")
    else:
        prepared = None
    if problems:
        raise Difference("\n".join(problems))
    target.sql("SELECT pg_wal_replay_resume()")
    expect_streaming(target)
    if full:
        problems += after_promotion(target, prepared)
        target.stop("fast")
        if checksums:
            problems += check_checksums(target, target.directory)
        else:
            problems += []
    else:
        target.stop("fast")
    problems += complaints(target)
    if problems:
        raise Difference("\n".join(problems))


def holds_left_over_locks(target: Cluster) -> bool:
    """A standby keeps the exclusive locks of a transaction that was open when the source was promoted as
    long as an older prepared one lives (StandbyReleaseOldLocks in standby.c), until it is restarted."""
    return target.value("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted") > 0


def level(target: Cluster, source: Cluster, primary: Cluster) -> None:
    """Both at the same LSN with every page on disk, the target's replay paused."""
    with primary.session() as cursor, source.session() as source_cursor:
        # Twice: what the session itself prunes on its way in must be part of the checkpoint.
        for _ in range(2):
            cursor.execute("CHECKPOINT")
            cursor.execute("SELECT pg_current_wal_flush_lsn()::text")
        lsn = cursor.fetchone()[0]
        if primary is not source:
            source.wait_replay(lsn)
            source_cursor.execute("CHECKPOINT")
        target.wait_replay(lsn)
        target.sql("CHECKPOINT")  # a restartpoint
        target.sql("SELECT pg_wal_replay_pause()")
        wait_paused(target)


def arrives(target: Cluster, primary: Cluster) -> None:
    """One row written on the primary comes out on the target."""
    mark = f"mark {time.time()}"
    primary.sql("CREATE TABLE IF NOT EXISTS arrivals (what text)")
    primary.sql("INSERT INTO arrivals VALUES (%s)", args=[mark])
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(Exception):
            if target.sql("SELECT 1 FROM arrivals WHERE what = %s", args=[mark]):
                return
        if time.monotonic() > deadline:
            raise ServerFailed(f"no row of the primary arrives on {target.name}\n{target.log_tail()}")
        time.sleep(0.05)


def expect_streaming(target: Cluster, timeout=30) -> None:
    deadline = time.monotonic() + timeout
    while not target.sql("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"):
        if time.monotonic() > deadline:
            raise ServerFailed(f"{target.name} does not stream\n{target.log_tail()}")
        time.sleep(0.05)


def wait_paused(target: Cluster) -> None:
    deadline = time.monotonic() + 30
    while target.value("SELECT pg_get_wal_replay_pause_state()") != "paused":
        assert time.monotonic() < deadline, "replay does not pause"
        time.sleep(0.02)


def after_promotion(target: Cluster, prepared: list | None) -> list:
    """The node must also be able to lead: prepared transactions, sequences, unlogged tables, writes."""
    problems = []
    target.promote()
    found = target.sql("SELECT gid, database FROM pg_prepared_xacts ORDER BY gid")
    if prepared is not None and [(g,) for g, _ in found] != prepared:
        problems.append(f"prepared transactions: target {found}, source {prepared}")
    for database in target.databases():
        with target.session(database) as cursor:
            # Not on the standby: there a transaction that was open at the fork stays "in progress"
            # while an older prepared one lives, and its rows would be reported.
            cursor.execute(VISIBILITY_CHECK)
            problems += [f"{database}: {row}" for row in cursor.fetchmany(5)]
            cursor.execute(ROWS)
            for schema, name, persistence, _ in cursor.fetchall():
                if persistence == "u":
                    cursor.execute(f"SELECT count(*) FROM {quote(schema)}.{quote(name)}")
                    if cursor.fetchone()[0]:
                        problems.append(f"unlogged table {name} is not empty after a crash restart")
            for gid, owner in found:
                if owner == database:
                    cursor.execute(f"COMMIT PREPARED '{gid}'")
            if database == DATABASE:
                write(cursor)
            with_error(problems, database, cursor, BTREE_CHECK.format(function="bt_index_parent_check(c.oid, true, true)"))
            cursor.execute(HEAP_CHECK)
            problems += [f"{database} after promotion: {row}" for row in cursor.fetchmany(5)]
    return problems


def write(cursor) -> None:
    """New ids come from sequences: a value given twice violates the primary key."""
    cursor.execute("SELECT c.relname FROM pg_class c WHERE c.relkind = 'r' AND c.relname ~ '^t[0-9]$' ORDER BY 1")
    for (name,) in cursor.fetchall():
        cursor.execute(f"INSERT INTO {name} (k, v) SELECT g, 'promoted' FROM generate_series(1, 300) g")
        cursor.execute(f"UPDATE {name} SET v = v || '!' WHERE k < 500")
    cursor.execute("INSERT INTO u0 (k) VALUES (1)")
    cursor.execute("CHECKPOINT")


COMPLAINTS = ("PANIC", "invalid page", "page verification failed", "inconsistent page", "could not access status",
              "does not exist: No such file", "WAL contains references to invalid pages", "unexpected data beyond EOF",
              "could not read block")


def complaints(node: Cluster) -> list:
    """Lines in a server log that a healthy node never writes."""
    return [f"{node.name}.log: {line}" for line in node.log.read_text(errors="replace").splitlines()
            if any(c in line for c in COMPLAINTS)][:10]


def refuses_to_start(major_node: Cluster, timeout=20) -> bool:
    """Whether the real server exits by itself on this directory instead of accepting connections.
    Meant for a copy: a server that does start changes it."""
    process = major_node.spawn()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            major_node.process = None
            return True
        try:
            major_node.sql("SELECT 1")
            break
        except Exception:
            time.sleep(0.05)
    major_node.kill()
    return False


__all__ = ["verify", "light", "refuses_to_start", "Difference", "children_of"]
