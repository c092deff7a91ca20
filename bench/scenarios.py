"""The situations that are measured: how a primary and its standby come to part.

Each begins with a primary and a standby that is its copy; furnish() makes the data, before() what
both have of WAL, after() what each side does once the standby leads. `size` scales the amounts: 1 is
what the figures in docs/performance.md were taken with.
"""

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from harness import environment as envm
from harness.cluster import Cluster, template

BASE = {
    "shared_buffers": "512MB", "max_wal_size": "4GB", "wal_keep_size": "2GB", "checkpoint_timeout": "30min",
    "autovacuum_naptime": "10s", "wal_compression": "off", "maintenance_work_mem": "256MB",
}
# Set-up is not what is measured.
HASTY = {"fsync": "off"}
DATABASE = "bench"


@dataclass
class Scenario:
    name: str
    title: str
    furnish: Callable[[Cluster, float], None]
    after: Callable[[list, float], None]  # [old primary, new primary]
    before: Callable[[Cluster, float], None] = lambda node, size: None
    stop: str = "fast"  # how the old primary ends; pg_rewind runs crash recovery after any other way
    settings: dict = field(default_factory=dict)
    delay_s: float = 0.0  # of the link to the source, each way
    rate: float = 0.0  # bytes in a second
    rates: bool = False  # decoding and fetching are measured by themselves, too

    @property
    def far(self) -> bool:
        return bool(self.delay_s or self.rate)

    def prepare(self, root: Path, size: float, say: Callable[[str], None]) -> tuple:
        """The old primary, stopped and diverged, and the running new one."""
        settings = {**BASE, **self.settings}
        primary = Cluster(root, 15, "p", settings={**settings, **HASTY})
        standby = Cluster(root, 15, "s", settings={**settings, **HASTY})
        envm.copy_tree(template(root / "templates", 15, checksums=True), primary.data)
        # In the file, too: the server that pg_rewind starts for crash recovery reads nothing else.
        primary.append_conf("\n".join(f"{name} = '{value}'" for name, value in settings.items()))
        primary.start()
        primary.sql(f"CREATE DATABASE {DATABASE}")
        say("makes the data")
        self.furnish(primary, size)
        primary.stop("fast", timeout=300)
        envm.run(["cp", "-a", "--", primary.data, standby.data], timeout=900)
        primary.start()
        standby.make_standby(primary)
        standby.start()
        primary.sql("CHECKPOINT")
        say("writes what both have")
        self.before(primary, size)
        standby.wait_replay(primary.flush_lsn(), timeout=900)
        standby.promote()
        standby.sql("CHECKPOINT")  # pg_rewind 15 reads the timeline from the last one
        say("writes on both sides")
        self.after([primary, standby], size)
        primary.stop(self.stop, timeout=300)
        standby.sql("CHECKPOINT")
        return primary, standby


def pgbench(node: Cluster, *args: str) -> subprocess.Popen:
    return subprocess.Popen([str(envm.debian_program("pgbench")), "-h", str(node.socket_directory), "-U", "postgres", *args, DATABASE],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=envm.clean_env(), **envm.plain_user())


def finish(processes: list) -> None:
    for process in processes:
        if process.wait() != 0:
            raise SystemExit("pgbench failed")


def scaled(number: float, size: float) -> int:
    return max(1, round(number * size))


def accounts(scale: int) -> Callable[[Cluster, float], None]:
    return lambda node, size: finish([pgbench(node, "-i", "-q", "-s", str(scaled(scale, size)))])


def oltp(seconds: float) -> Callable[[list, float], None]:
    return lambda nodes, size: finish([pgbench(n, "-n", "-c", "4", "-T", str(scaled(seconds, size))) for n in nodes])


def few_rows(nodes: list, _size: float) -> None:
    for node in nodes:
        node.sql("CREATE TABLE IF NOT EXISTS few (k int, v text)", DATABASE)
        node.sql("INSERT INTO few SELECT g, repeat('x', 100) FROM generate_series(1, 1000) g", DATABASE)


def small_relations(node: Cluster, size: float) -> None:
    with node.session(DATABASE) as cursor:
        for first in range(0, scaled(100_000, size), 500):
            cursor.execute(f"DO $$ BEGIN FOR i IN {first}..{first + 499} LOOP EXECUTE"
                           " format('CREATE TABLE r%s AS SELECT %s AS k', i, i); END LOOP; END $$")


def rewrite_accounts(node: Cluster, _size: float) -> None:
    for _ in range(2):
        node.sql("UPDATE pgbench_accounts SET abalance = abalance + 1", DATABASE)


def messages(node: Cluster, size: float) -> None:
    """WAL that changes nothing."""
    with node.session(DATABASE) as cursor:
        cursor.execute("SET statement_timeout = 0")
        for _ in range(scaled(400, size)):
            cursor.execute("SELECT pg_logical_emit_message(true, 'bench', repeat('x', 10000000))")
        cursor.execute("CHECKPOINT")


def large_slrus(node: Cluster, size: float) -> None:
    """150 million transactions and 4 million multixacts of the past, as files: making them takes a day. And a
    directory of files that are not PostgreSQL's."""
    accounts(10)(node, size)
    node.stop("fast")
    xids, multixacts, members = scaled(150e6, size), scaled(4e6, size), scaled(10e6, size)
    # Segments of 32 pages of 8192 bytes: 4 transactions in a byte, 4 bytes an offset, 4 members in 20 bytes.
    for directory, per_page, number, content in (("pg_xact", 32768, xids, b"\x55"), ("pg_multixact/offsets", 2048, multixacts, b"\x01"),
                                                 ("pg_multixact/members", 1636, members, b"\x01")):
        for segment in range(number // (per_page * 32) + 1):
            file = node.data / directory / f"{segment:04X}"
            if not file.exists() or segment:
                file.write_bytes(content * (32 * 8192))
                envm.give(file)
    envm.run([envm.debian_program("pg_resetwal"), "-f", "-x", str(xids), "-m", f"{multixacts},1", "-O", str(members), "-D", node.data])
    side = node.data / "side"
    side.mkdir(mode=0o700)
    envm.give(side)
    for number in range(scaled(2000, size)):
        file = side / f"{number}.bin"
        file.write_bytes(number.to_bytes(4, "big") * 16384)
        envm.give(file)
    node.start(timeout=300)


def wide_tables(node: Cluster, size: float) -> None:
    """One row fills a page, so a map has the more to say of it; every third is gone."""
    with node.session(DATABASE) as cursor:
        cursor.execute("SET statement_timeout = 0")
        for table in range(8):
            cursor.execute(f"CREATE TABLE wide{table} (k int PRIMARY KEY, v text) WITH (autovacuum_enabled = off)")
            cursor.execute(f"ALTER TABLE wide{table} ALTER v SET STORAGE plain")
            cursor.execute(f"INSERT INTO wide{table} SELECT g, repeat('w', 6000) FROM generate_series(1, {scaled(30_000, size)}) g")
            cursor.execute(f"DELETE FROM wide{table} WHERE k % 3 = 0")
            cursor.execute(f"VACUUM (FREEZE) wide{table}")


def write_wide(nodes: list, size: float) -> None:
    for node in nodes:
        for table in range(8):
            rows = scaled(30_000, size)
            node.sql(f"INSERT INTO wide{table} SELECT g, repeat('n', 6000) FROM generate_series({rows + 1}, {rows + rows // 20}) g", DATABASE)
            node.sql(f"DELETE FROM wide{table} WHERE k % 50 = 1", DATABASE)
            node.sql(f"VACUUM wide{table}", DATABASE)


def bulk_load(nodes: list, size: float) -> None:
    for node in nodes:
        with node.session(DATABASE) as cursor:
            cursor.execute("SET statement_timeout = 0")
            cursor.execute(f"CREATE TABLE loaded AS SELECT g AS k, md5(g::text) AS v, repeat('l', 100) AS w"
                           f" FROM generate_series(1, {scaled(5_000_000, size)}) g")
            cursor.execute("CREATE INDEX ON loaded (k); CREATE INDEX ON loaded (v)")


SCENARIOS = [
    Scenario("S1", "tiny divergence, 100,000 small relations", small_relations, few_rows,
             settings={"max_locks_per_transaction": "4096"}),
    Scenario("S2", "OLTP on both sides", accounts(200), oltp(30), before=lambda node, size: oltp(10)([node], size), rates=True),
    Scenario("S3", "crashed, gigabytes of WAL since the checkpoint", accounts(50), oltp(5), before=rewrite_accounts, stop="kill",
             settings={"max_wal_size": "32GB", "wal_keep_size": "32GB"}),
    Scenario("S4", "source keeps gigabytes of WAL from before the fork", accounts(10), oltp(3), before=messages,
             settings={"max_wal_size": "32GB", "wal_keep_size": "32GB"}),
    Scenario("S5", "3 ms round trip, 1 Gbit/s", accounts(50), oltp(10), delay_s=0.0015, rate=125e6),
    Scenario("S6", "large SLRUs, many side files", large_slrus, few_rows),
    Scenario("S7", "wide tables, free-space and visibility maps", wide_tables, write_wide),
    Scenario("S8", "bulk load and index build on both sides", accounts(10), bulk_load),
]
