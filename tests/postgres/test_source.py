"""The source is in a state of its own, or does something of its own, while it is read."""

import io
import random
import signal
import threading

import pytest

from harness import oracle, scenario, workload
from harness.hostile_source import HostileSource, Trigger

MAJORS = (15, 18)
PAGE = 8192
SEGMENT = 1 << 20


@pytest.fixture(params=MAJORS)
def pair(request, directory, templates, seed):
    """Not yet parted. Nothing of its own accord writes WAL."""
    made = scenario.start_pair(directory, templates, request.param, seed, segment_mb=1)
    yield made
    made.close()


def rewind(tool, pair, conninfo=None, *options, **more):
    run = tool.rewind(pair.target.data, conninfo or pair.conninfo(), "-R", *options, **more)
    print(run.describe())
    return run


# ---- a standby in the primary's place


@pytest.fixture
def second(pair, directory):
    """A standby of the standby."""
    node = scenario.add_standby(pair.target, directory, "s2", upstream=pair.source)
    yield node
    node.kill()


def test_standby_that_lags_behind_the_fork(pair, second, tool, seed):
    """It has heard of the promotion, and not of all that came after it."""
    scenario.diverge(pair, "kill", steps=10, checkpoint_source=True)
    scenario.catch_up(second, pair.source)
    second.sql("SELECT pg_wal_replay_pause()")
    oracle.wait_paused(second)
    workload.run(pair.source, seed, "ahead", steps=10)
    rewind(tool, pair, second.conninfo("rewind_user")).ok()
    second.sql("SELECT pg_wal_replay_resume()")
    oracle.verify(pair.target, second, primary=pair.source)


def test_standby_that_lags_before_the_fork(pair, second, tool):
    """For it there was no promotion yet: what the target has more looks like plain WAL of its timeline."""
    tool.expect(upstream_lacks="takes it for a source to be copied")
    workload.run(pair.target, 1, "before", steps=5)
    second.wait_replay(pair.source.value("SELECT pg_last_wal_replay_lsn()::text"))
    second.stop("fast")
    scenario.diverge(pair, "fast", steps=10, checkpoint_source=True)
    second.start(extra={"primary_conninfo": ""})
    run = rewind(tool, pair, second.conninfo("rewind_user"))
    assert run.status == 1 and "error:" in run.output
    second.stop("fast")
    second.start()
    scenario.catch_up(second, pair.source)
    rewind(tool, pair, second.conninfo("rewind_user")).ok()
    oracle.verify(pair.target, second, primary=pair.source)


# ---- a line with more than one switch


@pytest.mark.parametrize("major", MAJORS)
def test_prepared_just_before_a_later_switch(major, directory, templates, tool, seed):
    """During recovery the server reads a prepared transaction again from the segment of the timeline that it is
    replaying, also where a newer timeline's segment of that number holds the same."""
    pair = scenario.start_pair(directory, templates, major, seed, segment_mb=16)
    third = scenario.add_standby(pair.target, directory, "s2", upstream=pair.source)
    try:
        scenario.diverge(pair, "kill", steps=5, checkpoint_source=True)
        scenario.catch_up(third, pair.source)
        pair.source.sql("SELECT pg_switch_wal()")
        pair.source.sql("BEGIN; CREATE TABLE held (k int); PREPARE TRANSACTION 'held'", workload.DATABASE)
        pair.source.stop("fast")  # its checkpoint is a reason to read the transaction
        third.promote()
        rewind(tool, pair, third.conninfo("rewind_user")).ok()
        oracle.verify(pair.target, third)
    finally:
        pair.close()
        third.kill()


# ---- where its WAL ends


def position(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


def emit(cursor, record_bytes: int) -> None:
    """One record of that length, a multiple of 8: header, header of long data, five fields, "p" with its end, the text."""
    cursor.execute("SELECT pg_logical_emit_message(false, 'p', repeat('x', %s))", [record_bytes - 24 - 5 - 24 - 2])


def fill(cursor, boundary: int) -> None:
    """WAL ends at a multiple of `boundary`, which is where a record ends."""
    while True:
        cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
        at = position(cursor.fetchone()[0])
        left = PAGE - at % PAGE
        if left < 400:
            emit(cursor, 1000)  # into the next page
        elif at // PAGE % (boundary // PAGE) != boundary // PAGE - 1:
            emit(cursor, min(left + 1000, 8000))
        else:
            return emit(cursor, left)


ENDS = {
    "page filled": lambda cursor: fill(cursor, PAGE),
    "segment filled": lambda cursor: fill(cursor, SEGMENT),
    "segment switched": lambda cursor: cursor.execute("SELECT pg_switch_wal()"),
}


@pytest.mark.parametrize("end", ENDS)
def test_idle_at_a_boundary(pair, tool, end, directory):
    """The next record would begin behind a page header that does not exist yet."""
    scenario.diverge(pair, "kill", steps=5, checkpoint_source=True)
    oracle.settle(pair.source)
    prepared = scenario.Prepared(pair)
    boundary = PAGE if end == "page filled" else SEGMENT
    for _ in range(5):  # a background process may write a record in between
        with pair.source.session() as cursor:
            cursor.execute("SELECT txid_current()")
            ENDS[end](cursor)
            cursor.execute("SELECT pg_sleep(0.5)")  # until the WAL writer has flushed it
        begun = pair.source.flush_lsn()
        node = prepared.fresh_target(directory)
        tool.rewind(node.data, pair.conninfo(), "-R").ok()
        if position(begun) % boundary == 0 and pair.source.flush_lsn() == begun:
            oracle.verify(node, pair.source)
            return
        node.wipe()
    raise AssertionError(f"WAL of the source does not stay at {begun}")


# ---- what it does meanwhile


@pytest.mark.parametrize("mode", ["fast", "kill"])
def test_restarted_between_two_attempts(pair, tool, mode, seed, kill_points):
    tool.expect(upstream_lacks="cannot be run again")
    scenario.diverge(pair, "kill", steps=10, checkpoint_source=True)
    point = random.Random(seed).choice([p for p in ("fenced", "copied", "wal-staged", "wal-installed") if p in kill_points])
    assert rewind(tool, pair, env={"PG_REJOIN_KILL_POINT": point}).status == -signal.SIGKILL
    pair.source.stop(mode)
    pair.source.start()
    workload.run(pair.source, seed, "restarted", steps=5)
    rewind(tool, pair).ok()
    oracle.verify(pair.target, pair.source)


# Before the statements both sides have what they take away.
BEFORE = ("CREATE TABLESPACE old_space LOCATION ''", "CREATE TABLESPACE empty_space LOCATION ''", "CREATE DATABASE doomed",
          *(f"CREATE TABLE {name} AS SELECT g, repeat('x', 300) v FROM generate_series(1, 3000) g"
            for name in ("dropped", "truncated", "vacuumed", "cut")),
          "CREATE TABLE moved TABLESPACE old_space AS SELECT g FROM generate_series(1, 3000) g")
MEANWHILE = ("DROP TABLE dropped", "TRUNCATE truncated", "INSERT INTO truncated VALUES (1, 'new')", "VACUUM FULL vacuumed",
             "DELETE FROM cut WHERE g > 10", "VACUUM cut", "CREATE DATABASE made", "DROP DATABASE doomed",
             "CREATE TABLESPACE new_space LOCATION ''", "ALTER TABLE moved SET TABLESPACE new_space",
             "DROP TABLESPACE old_space", "DROP TABLESPACE empty_space",
             "CREATE TABLE created AS SELECT g FROM generate_series(1, 3000) g", "CHECKPOINT")
MOMENTS = {
    "its files are listed": lambda trigger, request: trigger.answered["list"] == 1,
    "the first data has come": lambda trigger, request: (
        trigger.complete and request.kind == "fetch" and request.range(0)[0].startswith("base/")),
    "lengths are taken again": lambda trigger, request: trigger.answered["list"] == 2,
    "it says where its WAL ends": lambda trigger, request: trigger.answered["identity"] == 2,
    "it is confirmed": lambda trigger, request: trigger.answered["identity"] == 3,
}


def run_all(node, statements) -> None:
    with node.session() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.mark.parametrize("moment", MOMENTS)
def test_statements_in_the_middle(pair, tool, moment):
    """The copy stands still at that moment, and everything that takes files away or makes some happens. Over one
    connection, and between two answers: a backend that cannot send would block DROP DATABASE and DROP TABLESPACE."""
    run_all(pair.target, BEFORE)
    scenario.diverge(pair, "kill", steps=10, checkpoint_source=True)
    pair.source.sql("UPDATE dropped SET v = 'new'; UPDATE truncated SET v = 'new'; UPDATE vacuumed SET v = 'new'")
    failures = []

    def act():
        try:
            run_all(pair.source, MEANWHILE)
        except Exception as error:  # must not vanish with the proxy's thread
            failures.append(error)

    trigger = Trigger(MOMENTS[moment], act)
    with HostileSource(pair.source, trigger) as proxy:
        rewind(tool, pair, proxy.conninfo(), "--connections=1").ok()
    assert trigger.told and not failures, failures
    rewind(tool, pair).ok()  # the proxy is nobody to follow
    oracle.verify(pair.target, pair.source)


def load_in_bulk(node, stopping) -> None:
    rows = "".join(f"{n}\t{'bulk' * 30}\n" for n in range(20000))
    with node.session(workload.DATABASE) as cursor:
        number = 0
        while not stopping.is_set():
            number += 1
            cursor.execute(f"CREATE TABLE bulk{number} (k int, v text)")
            cursor.copy_expert(f"COPY bulk{number} FROM STDIN", io.StringIO(rows))
            cursor.execute(f"CREATE INDEX ON bulk{number} (v, k)")
            if number > 3:
                cursor.execute(f"DROP TABLE bulk{number - 3}")


def test_loads_in_bulk(pair, tool, directory):
    """COPY and CREATE INDEX never cease: WAL grows as fast as it is fetched, files are extended and written without it."""
    scenario.diverge(pair, "kill", steps=10, checkpoint_source=True)
    prepared = scenario.Prepared(pair)
    stopping = threading.Event()
    load = threading.Thread(target=load_in_bulk, args=(pair.source, stopping))
    load.start()
    try:
        nodes = [prepared.fresh_target(directory) for _ in range(3)]
        for node in nodes:
            tool.rewind(node.data, pair.conninfo(), "-R").ok()
    finally:
        stopping.set()
        load.join()
    for node in nodes:
        oracle.verify(node, pair.source, full=node is nodes[-1])
