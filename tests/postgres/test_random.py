"""Random stories: what test_matrix.py and test_scenarios.py show one at a time, here in any combination.

Each case draws a Situation (harness/situation.py), makes it happen, rewinds, and has the oracle prove the result.
PG_REJOIN_WORKLOADS sets how many there are; majors take turns.
"""

import os
import random
import re
import signal

import pytest

from harness import environment as envm
from harness import oracle, scenario, situation, tree, workload
from harness.environment import MAJORS
from harness.scenario import Pair, Story

WORKLOADS = int(os.environ.get("PG_REJOIN_WORKLOADS", "25"))
STEPS = 12
SEGMENT = re.compile("[0-9A-F]{24}")
TEMPLATE, COPY = "model", "made"


@pytest.mark.parametrize("number", range(WORKLOADS))
def test_random(number, directory, templates, tool, kill_points, seed, nodes, record_property):
    tool.expect(upstream_lacks="is not safe to kill")
    rng = random.Random(f"{seed}/random")
    drawn = situation.draw(MAJORS[number % len(MAJORS)], rng)
    print(drawn)
    record_property("tally", Play(drawn, rng, seed, directory, tool, kill_points, nodes).run(templates))
    if drawn.consistent:
        record_property("tally", "with wal_consistency_checking")


class Play:
    """Acts a situation. `primary` is who writes, `source` whom the tool is given, which may be a standby of it."""

    def __init__(self, drawn, rng, seed, directory, tool, kill_points, nodes):
        self.drawn, self.rng, self.seed, self.directory = drawn, rng, seed, directory
        self.tool, self.kill_points, self.nodes = tool, kill_points, nodes
        self.ahead = self.reader = self.third = None
        self.options = ["-R"]

    def run(self, templates) -> str:
        pair = self.begin(templates)
        for turn in range(self.drawn.earlier):
            pair = self.there_and_back(pair, turn)
        self.add_standbys(pair)
        self.part(pair)
        if self.drawn.archive != "none":
            self.move_to_archive()
        if self.drawn.may_refuse and self.refused():
            return "refused, rightly"
        if self.drawn.second != "none":
            self.second_failover()
        for _ in range(self.drawn.retries):
            self.killed_attempt()
        self.last_attempt()
        oracle.verify(self.target, self.source, primary=self.primary, checksums=self.drawn.checksums)
        return "proved by the oracle"

    # -- before ------------------------------------------------------------------------------------

    def begin(self, templates) -> Pair:
        drawn = self.drawn
        pair = scenario.start_pair(
            self.directory, templates, drawn.major, self.seed, checksums=drawn.checksums, segment_mb=drawn.segment_mb,
            settings=drawn.settings, furnish=self.furnish, apart=drawn.tablespace == "real")
        self.nodes += [pair.target, pair.source]
        if drawn.template != "none":  # replay never begins before the template was made
            pair.target.sql("CHECKPOINT")
            pair.source.wait_replay(pair.target.flush_lsn())
            pair.source.sql("CHECKPOINT")
        return pair

    def furnish(self, primary) -> None:
        if self.drawn.consistent:
            primary.sql(f"ALTER DATABASE {workload.DATABASE} SET wal_consistency_checking = '{situation.CONSISTENCY_CHECKING}'")
        if self.drawn.tablespace == "real":
            primary.create_tablespace("away")
        elif self.drawn.tablespace == "in place":
            with primary.session() as cursor:
                cursor.execute("SET allow_in_place_tablespaces = on; ")
                cursor.execute("CREATE TABLESPACE away LOCATION ''")
        if self.drawn.tablespace != "none":
            primary.sql("ALTER TABLE t3 SET TABLESPACE away", workload.DATABASE)
            primary.sql("ALTER INDEX t2_k SET TABLESPACE away", workload.DATABASE)
        if self.drawn.template != "none":
            where = " TABLESPACE away" if self.drawn.tablespace != "none" and self.rng.random() < 0.5 else ""
            primary.sql(f"CREATE DATABASE {TEMPLATE}{where}")
            primary.sql("CREATE TABLE m (g int, v text) WITH (autovacuum_enabled = off)", TEMPLATE)
            primary.sql("INSERT INTO m SELECT g, repeat('m', 200) FROM generate_series(1, 20000) g", TEMPLATE)
            primary.sql("CREATE INDEX ON m (g)", TEMPLATE)
            # Nothing is left for autovacuum to do, or for a reader to prune. ANALYZE would fill pg_statistic.
            primary.sql("VACUUM (FREEZE)", TEMPLATE)

    def there_and_back(self, pair: Pair, turn: int) -> Pair:
        """An earlier failover: the old primary comes back as a standby, and will be promoted."""
        old, new = pair.target, pair.source
        scenario.diverge(Pair(old, new, Story(self.seed * 10 + turn)), self.rng.choice(scenario.STOP_MODES), steps=4)
        self.rewind(old, new, "-R").ok()
        old.start()
        old.wait_replay(new.flush_lsn())
        return Pair(new, old, pair.story)

    def add_standbys(self, pair: Pair) -> None:
        if self.drawn.target == "standby ahead":
            self.ahead = self.add_standby(pair, "ahead", upstream=pair.target)
        if self.drawn.source != "new primary":
            self.reader = self.add_standby(pair, "reader", upstream=pair.source)
        if self.drawn.second != "none":
            self.third = self.add_standby(pair, "third", upstream=pair.source)
            if self.drawn.third == "before the fork":
                self.work(pair.target, "shared")
                self.third.wait_replay(pair.target.flush_lsn())
                self.third.stop("fast")

    def add_standby(self, pair: Pair, name: str, upstream):
        apart = self.drawn.tablespace == "real"
        place = scenario.own_directory(self.directory, name) if apart else self.directory
        node = scenario.add_standby(pair.target, place, name, upstream=upstream)
        self.nodes.append(node)
        return node

    # -- the two sides part ------------------------------------------------------------------------

    def part(self, pair: Pair) -> None:
        drawn = self.drawn
        scenario.diverge(pair, drawn.ending, steps=STEPS, before_stop=self.before_stop)
        print(*pair.story.lines, sep="\n")
        self.target, self.primary, self.source = pair.target, pair.source, pair.source
        if self.ahead:
            self.target = self.ahead
            self.ahead.stop(drawn.ending)
        elif drawn.target == "promoted again":
            self.target.signal_standby()
            self.target.start_promoted()
            self.work(self.target, "again")
            self.target.stop(drawn.ending)
        if self.reader:
            self.source = self.reader
            scenario.catch_up(self.reader, self.primary)
            if drawn.source == "lagging standby":
                self.reader.sql("SELECT pg_wal_replay_pause()")
                self.work(self.primary, "not replayed")

    def before_stop(self, pair: Pair) -> None:
        if self.drawn.template != "none":
            for node in (pair.target, pair.source):
                strategy = f" STRATEGY {self.drawn.strategy}" if self.drawn.major >= 15 else ""
                node.sql(f"CREATE DATABASE {COPY} TEMPLATE {TEMPLATE}{strategy}")
                node.sql(f"CREATE TABLE of_{node.name} AS SELECT * FROM m LIMIT 1000", COPY)
            oids = [pair.source.value("SELECT oid FROM pg_database WHERE datname = %s", args=[name]) for name in (COPY, TEMPLATE)]
            self.refusal = "database {} was created by copying the files of database {}".format(*oids)
            if self.drawn.template == "changed":
                self.change_template(pair.source)
        if self.ahead:  # what it reads as committed stays so on its pages
            self.ahead.wait_replay(pair.target.flush_lsn())
            for n in range(workload.TABLES):
                self.ahead.sql(f"SELECT count(*), max(v) FROM t{n}", workload.DATABASE)
            self.ahead.sql("CHECKPOINT")

    def change_template(self, node) -> None:
        if self.rng.random() < 0.5:
            node.sql(f"DROP DATABASE {TEMPLATE}")
        else:
            node.sql("DELETE FROM m WHERE g > 10", TEMPLATE)
            node.sql("VACUUM m", TEMPLATE)

    def move_to_archive(self) -> None:
        """The configuration that names it is not the server's: replay has to do with pg_wal."""
        archive = self.directory / "archive"
        archive.mkdir()
        envm.give(archive)
        segments = sorted(path for path in (self.target.data / "pg_wal").iterdir() if SEGMENT.fullmatch(path.name))
        if self.drawn.target == "promoted again":  # its own timeline has the source's number: test_shared_archive.py
            segments = [path for path in segments if path.name[:8] != segments[-1].name[:8]]
        for path in segments if self.drawn.archive == "all" else segments[:len(segments) // 2]:
            path.rename(archive / path.name)
        conf = self.directory / "rewind.conf"
        conf.write_text(f"include '{self.target.data / 'postgresql.conf'}'\nrestore_command = 'cp {archive}/%f %p'\n")
        self.options += ["-c", "--config-file", conf]

    def refused(self) -> bool:
        """By name and before the first change, or not at all."""
        before = tree.snapshot(self.target.data)
        run = self.rewind(self.target, self.source, *self.options, "--dry-run")
        if run.status == 0:
            return False
        assert run.status == 1 and self.refusal in run.output, run.describe()
        assert tree.changes(before, tree.snapshot(self.target.data)) == []
        run = self.attempt()
        assert run.status == 1 and self.refusal in run.output, run.describe()
        assert tree.changes(before, tree.snapshot(self.target.data)) == []
        return True

    # -- attempts ----------------------------------------------------------------------------------

    def work(self, node, label: str) -> None:
        workload.run(node, self.seed, label, connections=2, steps=STEPS // 2)

    def rewind(self, target, source, *options, env=None):
        run = self.tool.rewind(target.data, source.conninfo("rewind_user"), *options, env=env)
        print(run.describe())
        return run

    def attempt(self, env=None):
        return self.rewind(self.target, self.source, *self.options, env=env)

    def killed_attempt(self) -> None:
        point, hit = self.rng.choice(self.kill_points), self.rng.choice([1, 1, 1, 2, 5, 20, 100])
        run = self.attempt({"PG_REJOIN_KILL_POINT": f"{point}:{hit}"})
        print(f"kill point {point}:{hit}")
        assert run.status in (0, -signal.SIGKILL), run.describe()

    def second_failover(self) -> None:
        """Before, in the middle of, or after a rewind another server becomes the primary."""
        if self.drawn.third == "behind":
            scenario.catch_up(self.third, self.primary)
            self.third.stop("fast")
            self.work(self.primary, "lost")
        if self.drawn.second == "killed":
            self.killed_attempt()
        else:
            self.attempt().ok()
        if self.drawn.second == "started":
            self.target.start()
            self.target.wait_replay(self.source.value(
                "SELECT coalesce(pg_last_wal_replay_lsn(), pg_current_wal_flush_lsn())::text"))
            self.work(self.primary, "followed")
            self.target.stop(self.drawn.ending)
        if self.drawn.third == "caught up":
            scenario.catch_up(self.third, self.primary)
        self.primary.stop(self.rng.choice(scenario.STOP_MODES))
        if self.third.running():
            self.third.promote()
        else:
            self.third.start_promoted()
        self.work(self.third, "third")
        self.primary = self.source = self.third

    def last_attempt(self) -> None:
        load = None
        if self.drawn.busy:
            # Unbridled it writes WAL faster than a busy machine fetches it, and the source removes what was not fetched.
            load = workload.Workload(self.primary, self.seed, "busy", connections=2, steps=None, menu=workload.UPHEAVAL,
                                     pause=0.03).start()
        run = self.attempt()
        if load:
            load.stop()
        run.ok()
        if self.source is self.reader:
            self.reader.sql("SELECT pg_wal_replay_resume()")
