"""Two nodes that part: the story every rewind test begins with."""

import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import psycopg2
import psycopg2.errors

from . import workload
from .cluster import Cluster, ServerFailed, hot_copy, template
from . import environment as envm

STOP_MODES = ("fast", "immediate", "kill")


def own_directory(directory: Path, name: str) -> Path:
    """For a node with a tablespace beside its data directory."""
    path = directory / name
    path.mkdir()
    path.chmod(0o755)
    envm.give(path)
    return path


@dataclass
class Story:
    """What happened, for the report of a failed run."""
    seed: int
    lines: list = field(default_factory=list)

    def tell(self, text: str) -> None:
        self.lines.append(text)


@dataclass
class Pair:
    """`target` is the old primary P, stopped and diverged; `source` is the promoted standby S, running."""
    target: Cluster
    source: Cluster
    story: Story
    fork: str = ""

    def conninfo(self, **more) -> str:
        return self.source.conninfo("rewind_user", "postgres", **more)

    def close(self) -> None:
        self.target.kill()
        self.source.kill()


class Prepared:
    """A diverged pair made once: the source runs on, the target is restored as often as wanted."""

    def __init__(self, pair: Pair):
        self.pair = pair
        self.source = pair.source
        self.pristine = pair.target.data
        self.count = 0

    def fresh_target(self, directory: Path) -> Cluster:
        """A node on a twin of the diverged directory, in `directory`."""
        self.count += 1
        node = Cluster(directory, self.pair.target.major, f"r{self.count}", settings=self.pair.target.settings)
        envm.copy_tree(self.pristine, node.data)
        return node

    def conninfo(self, **more) -> str:
        return self.pair.conninfo(**more)


def start_pair(directory: Path, templates: Path, major: int, seed: int, *, checksums=True, segment_mb=None,
               settings: dict | None = None, tcp=False, furnish: Callable[[Cluster], None] | None = None, apart=False) -> Pair:
    """A primary with data and a streaming standby. `furnish` makes more of what both have. `apart`: each node has
    a directory of its own, and may have a tablespace."""
    rng = random.Random(f"{seed}/pair")
    story = Story(seed)
    segment_mb = segment_mb or rng.choice([1, 1, 16])
    settings = dict(settings or {})
    settings.setdefault("wal_compression", rng.choice(["off", "on"]))
    settings.setdefault("track_commit_timestamp", rng.choice(["off", "on"]))
    place = (lambda name: own_directory(directory, name)) if apart else (lambda name: directory)
    primary = Cluster(place("p"), major, "p", settings=settings)
    standby = Cluster(place("s"), major, "s", settings=settings, tcp=tcp)
    base = template(templates, major, checksums=checksums, segment_mb=segment_mb)
    envm.copy_tree(base, primary.data)
    primary.start()
    from_running = rng.random() < 0.5 or apart
    if not from_running:
        envm.copy_tree(base, standby.data)
    workload.create_schema(primary, seed)
    if furnish:
        furnish(primary)
    if from_running:
        hot_copy(primary, standby.data)
    story.tell("standby by a base backup of the running primary" if from_running else
               "standby by a copy of the stopped template")
    standby.make_standby(primary)
    standby.start()
    story.tell(f"major {major}, {segment_mb} MB segments, {settings}")
    return Pair(primary, standby, story)


def add_standby(primary: Cluster, directory: Path, name: str, upstream: Cluster | None = None, started=True) -> Cluster:
    """One more standby of a running primary, streaming from `upstream`."""
    node = Cluster(directory, primary.major, name, settings=primary.settings)
    hot_copy(primary, node.data)
    if upstream and upstream is not primary:  # the copy may hold WAL that the upstream must not be promoted without
        upstream.wait_replay(primary.flush_lsn())
    node.make_standby(upstream or primary)
    return node.start() if started else node


def promote(node: Cluster, tool) -> None:
    node.promote()
    if tool.needs_checkpoint:
        node.sql("CHECKPOINT")


def rewind(tool, target: Cluster, source: Cluster, *options, **more):
    """The usual call: the target becomes a standby of the source."""
    run = tool.rewind(target.data, source.conninfo("rewind_user"), "-R", *options, **more)
    print(run.describe())
    return run


def catch_up(cascaded: Cluster, upstream: Cluster) -> None:
    """Waits until a standby of a standby that has been promoted has all WAL. One that had received the beginning of a
    record which its upstream never got may end with a PANIC, up to 18: it is made anew then."""
    lsn = upstream.flush_lsn()
    try:
        return cascaded.wait_replay(lsn)
    except (ServerFailed, psycopg2.Error):
        cascaded.wait_ended(10)
        assert 'PANIC:  could not open file "pg_wal/' in cascaded.log_tail(), cascaded.log_tail()
    cascaded.wipe()
    hot_copy(upstream, cascaded.data)
    cascaded.make_standby(upstream)
    cascaded.start()
    return cascaded.wait_replay(lsn)


def diverge(pair: Pair, stop_mode: str, *, steps=40, checkpoint_source=False,
            before_stop: Callable[[Pair], None] | None = None) -> Pair:
    """Common work, a cut, a promotion, work on both sides, and the end of the old primary."""
    primary, standby, seed = pair.target, pair.source, pair.story.seed
    rng = random.Random(f"{seed}/diverge")
    workload.run(primary, seed, "common", steps=steps)
    if rng.random() < 0.5:
        primary.sql("CHECKPOINT")
        workload.run(primary, seed, "after", steps=max(steps // 4, 1))

    # Transactions that are open at the fork commit on one side and are lost on the other: their
    # rows are where a wrong hint bit or a missing pg_xact page shows.
    held = []
    for n in range(3):
        connection = primary.connect(workload.DATABASE)
        cursor = connection.cursor()
        cursor.execute("SET lock_timeout = '300ms'")
        delete = rng.random() < 0.5
        try:
            cursor.execute(f"INSERT INTO t{n} (k, v) SELECT g, 'open across the fork' FROM generate_series(1, 200) g")
            if delete:
                cursor.execute(f"SAVEPOINT a; DELETE FROM t{n} WHERE k BETWEEN 100 AND 300")
        except psycopg2.errors.LockNotAvailable:  # of a prepared transaction that the workload left
            connection.rollback()
        held.append(connection)
    prepare_across(primary, f"across_{seed}")

    how = rng.choice(["under load", "after catching up", "standby restarted alone"])
    pair.story.tell(f"promotion {how}")
    if how == "after catching up":
        standby.wait_replay(primary.flush_lsn())
        standby.promote()
    elif how == "standby restarted alone":
        standby.stop(rng.choice(["fast", "immediate"]))
        workload.run(primary, seed, "alone", steps=max(steps // 4, 1))
        standby.start_promoted()
    else:
        load = workload.Workload(primary, seed, "cut", steps=steps).start()
        time.sleep(rng.uniform(0.1, 0.6))
        standby.promote()
        load.join()
    pair.fork = standby.value("SELECT pg_current_wal_insert_lsn()::text")

    for n, connection in enumerate(held):
        if rng.random() < 0.6:
            connection.commit()
            with primary.session(workload.DATABASE) as reader:  # sets hint bits on the old primary
                reader.execute(f"SELECT count(*), max(v) FROM t{n}")
        elif rng.random() < 0.5:
            connection.rollback()
    if checkpoint_source or rng.random() < 0.5:
        standby.sql("CHECKPOINT")
        pair.story.tell("source made a checkpoint after its promotion")

    both = [workload.Workload(primary, seed, "old", steps=steps), workload.Workload(standby, seed, "new", steps=steps)]
    for load in both:
        load.start()
    for load in both:
        load.join()
    finish_across(primary, f"across_{seed}", "COMMIT")
    finish_across(standby, f"across_{seed}", rng.choice(["COMMIT", "ROLLBACK", "leave"]))

    if before_stop:
        before_stop(pair)
    if stop_mode == "kill":
        load = workload.Workload(primary, seed, "doomed", steps=None).start()
        time.sleep(rng.uniform(0.2, 0.8))
        primary.kill()
        load.join()
        assert load.cut_off, "the killed server ended its workload some other way"
    else:
        primary.stop(stop_mode)
    for connection in held:
        try:
            connection.close()
        except psycopg2.Error:
            pass
    pair.story.tell(f"old primary stopped: {stop_mode}")
    return pair


def prepare_across(primary: Cluster, gid: str) -> None:
    with primary.connect(workload.DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO t0 (k, v) SELECT g, 'prepared across the fork' FROM generate_series(1, 100) g")
        cursor.execute(f"PREPARE TRANSACTION '{gid}'")
    connection.close()


def finish_across(node: Cluster, gid: str, verb: str) -> None:
    if verb != "leave" and node.value("SELECT count(*) FROM pg_prepared_xacts WHERE gid = %s", workload.DATABASE, [gid]):
        node.sql(f"{verb} PREPARED '{gid}'", workload.DATABASE)
