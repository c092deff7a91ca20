"""Random SQL from several connections, chosen by a seed.

The choice of statements replays from the seed; how the connections interleave is the servers'
affair. Statements may fail (locks, deadlocks, relations dropped by another connection): a failed
statement is part of the workload, a lost connection ends it.
"""

import io
import itertools
import random
import threading

import psycopg2

DATABASE = "app"
TABLES = 4
INDEX_METHODS = {
    "btree": "(k, v)", "hash": "(k)", "brin": "(k)", "gin": "(arr)", "gist": "(pt)", "spgist": "(v)",
}

SCHEMA = """
CREATE TABLE t{n} (id bigserial PRIMARY KEY, k int NOT NULL, v text, big text, arr int[], pt point) WITH (fillfactor = {fillfactor});
CREATE INDEX t{n}_k ON t{n} (k);
CREATE INDEX t{n}_{method} ON t{n} USING {method} {columns};
ALTER TABLE t{n} ALTER COLUMN big SET STORAGE {storage};
"""

ROW = "(random() * 10000)::int, md5(random()::text), NULL, ARRAY[(random() * 50)::int, (random() * 50)::int], point(random(), random())"
# md5 text does not compress, so this really reaches the toast table.
TOAST = "(SELECT string_agg(md5(random()::text || g), '') FROM generate_series(1, {n}) g)"


class Session:
    """One connection with its own stream of choices."""

    def __init__(self, cluster, rng: random.Random, label: str, menu: dict):
        self.rng = rng
        self.menu = menu
        self.label = label
        self.cluster = cluster
        self.connection = cluster.connect(DATABASE)
        self.cursor = self.connection.cursor()
        self.cursor.execute("SET lock_timeout = '300ms'; SET statement_timeout = '20s'; SET deadlock_timeout = '100ms'")
        self.connection.commit()
        self.names = itertools.count(1)
        self.failures = 0

    def sql(self, text: str, args=None) -> None:
        self.cursor.execute(text, args)

    def alone(self, text: str) -> None:
        """For statements that refuse a transaction block."""
        self.connection.commit()
        self.connection.autocommit = True
        try:
            self.cursor.execute(text)
        finally:
            self.connection.autocommit = False

    def table(self) -> str:
        return f"t{self.rng.randrange(TABLES)}"

    def new_name(self, prefix: str) -> str:
        return f"{prefix}_{self.label}_{next(self.names)}"

    def some(self, kind: str, condition: str):
        """The name of an existing object of ours, or None."""
        self.sql(f"SELECT relname FROM pg_class WHERE relkind = '{kind}' AND {condition} ORDER BY relname")
        found = [r[0] for r in self.cursor.fetchall()]
        return self.rng.choice(found) if found else None

    def range(self) -> str:
        low = self.rng.randrange(10000)
        return f"k BETWEEN {low} AND {low + self.rng.choice([10, 100, 500])}"

    def step(self) -> None:
        """One operation, committed unless it says otherwise."""
        operation = self.rng.choices(list(self.menu), list(self.menu.values()))[0]
        try:
            try:
                operation(self)
                self.connection.commit()
            except psycopg2.Error:
                self.failures += 1
                self.connection.rollback()
        except psycopg2.Error as error:  # not even a rollback: the server is gone
            raise ConnectionError(str(error)) from error


# -- rows -------------------------------------------------------------------------------------

def insert(s: Session) -> None:
    s.sql(f"INSERT INTO {s.table()} (k, v, big, arr, pt) SELECT {ROW} FROM generate_series(1, {s.rng.choice([1, 10, 200])})")


def insert_many(s: Session) -> None:
    s.sql(f"INSERT INTO {s.table()} (k, v, big, arr, pt) SELECT {ROW} FROM generate_series(1, {s.rng.choice([2000, 5000])})")


def update(s: Session) -> None:
    s.sql(f"UPDATE {s.table()} SET v = md5(v), k = k + 1 WHERE {s.range()}")


def update_hot(s: Session) -> None:
    s.sql(f"UPDATE {s.table()} SET big = md5(random()::text) WHERE {s.range()}")


def delete(s: Session) -> None:
    s.sql(f"DELETE FROM {s.table()} WHERE {s.range()}")


def toast(s: Session) -> None:
    size = s.rng.choice([100, 1000, 4000])
    if s.rng.random() < 0.5:
        s.sql(f"INSERT INTO {s.table()} (k, v, big) SELECT 1, 'toast', {TOAST.format(n=size)}")
    else:
        table = s.table()
        s.sql(f"UPDATE {table} SET big = {TOAST.format(n=size)} WHERE id = (SELECT min(id) FROM {table} WHERE {s.range()})")


def rolled_back(s: Session) -> None:
    s.rng.choice([insert, update, delete, toast, create_table, truncate])(s)
    s.connection.rollback()


def savepoints(s: Session) -> None:
    """More than 64 live subtransactions overflow the snapshot cache and reach pg_subtrans."""
    for n in range(s.rng.choice([2, 5, 70])):
        s.sql(f"SAVEPOINT s{n}")
        s.sql(f"INSERT INTO {s.table()} (k, v) VALUES ({s.rng.randrange(10000)}, 'sub')")
        if s.rng.random() < 0.3:
            s.sql(f"ROLLBACK TO s{n}")


def row_locks(s: Session) -> None:
    """A share lock and an update of the same rows by a subtransaction make multixacts."""
    table, where = s.table(), s.range()
    s.sql(f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {where} FOR KEY SHARE) x")
    s.sql("SAVEPOINT m")
    s.sql(f"UPDATE {table} SET v = v || 'm' WHERE {where}")
    if s.rng.random() < 0.5:
        s.sql("ROLLBACK TO m")


def sequence(s: Session) -> None:
    s.sql(f"SELECT nextval('{s.table()}_id_seq') FROM generate_series(1, {s.rng.choice([1, 40])})")


# -- maintenance ------------------------------------------------------------------------------

def vacuum(s: Session) -> None:
    options = s.rng.choice(["", "(FREEZE)", "(ANALYZE)", "(INDEX_CLEANUP on)"])
    s.alone(f"VACUUM {options} {s.table()}")


def shrink(s: Session) -> None:
    """Emptying the tail and vacuuming truncates the relation."""
    table = s.table()
    s.sql(f"DELETE FROM {table} WHERE ctid >= (SELECT ('(' || (pg_relation_size('{table}') / 8192 / 2) || ',0)')::tid)")
    s.connection.commit()
    s.alone(f"VACUUM {table}")


def rewrite(s: Session) -> None:
    table = s.table()
    choice = s.rng.randrange(4)
    if choice == 0:
        s.alone(f"VACUUM FULL {table}")
    elif choice == 1:
        s.sql(f"CLUSTER {table} USING {table}_k")
    elif choice == 2:
        s.sql(f"ALTER TABLE {table} ALTER COLUMN k TYPE int USING (k + 1)")
    else:
        s.sql(f"REINDEX TABLE {table}")


def create_index(s: Session) -> None:
    method = s.rng.choice(list(INDEX_METHODS))
    s.sql(f"CREATE INDEX {s.new_name('ix')} ON {s.table()} USING {method} {INDEX_METHODS[method]}")


def drop_index(s: Session) -> None:
    name = s.some("i", "relname LIKE 'ix\\_%'")
    if name:
        s.sql(f"DROP INDEX {name}")


def analyze(s: Session) -> None:
    s.sql(f"ANALYZE {s.table()}")


def checkpoint(s: Session) -> None:
    s.alone("CHECKPOINT")


def switch_wal(s: Session) -> None:
    s.sql("SELECT pg_switch_wal()")


# -- relations and databases ------------------------------------------------------------------

def truncate(s: Session) -> None:
    table = s.table() if s.rng.random() < 0.3 else s.some("r", "relname LIKE 'x\\_%'")
    if table:
        s.sql(f"TRUNCATE {table}")
        s.sql(f"INSERT INTO {table} (k) SELECT g FROM generate_series(1, 50) g")


def create_table(s: Session) -> None:
    name = s.new_name("x")
    kind = s.rng.choice(["", "", "UNLOGGED"])
    s.sql(f"CREATE {kind} TABLE {name} (id serial PRIMARY KEY, k int, pad text)")
    s.sql(f"INSERT INTO {name} (k, pad) SELECT g, repeat('p', 100) FROM generate_series(1, {s.rng.choice([0, 10, 3000])}) g")


def create_table_as(s: Session) -> None:
    s.sql(f"CREATE TABLE {s.new_name('x')} AS SELECT id, k, v FROM {s.table()} LIMIT 2000")


def bulk_load(s: Session) -> None:
    """COPY into a table of the same transaction: its rows are frozen and all-visible from the start."""
    name = s.new_name("x")
    s.sql(f"CREATE TABLE {name} (id serial PRIMARY KEY, k int, pad text)")
    rows = "".join(f"{n}\t{'c' * 80}\n" for n in range(s.rng.choice([100, 5000])))
    s.cursor.copy_expert(f"COPY {name} (k, pad) FROM stdin WITH (FREEZE)", io.StringIO(rows))


def drop_table(s: Session) -> None:
    name = s.some("r", "relname LIKE 'x\\_%'")
    if name:
        s.sql(f"DROP TABLE {name} CASCADE")


def change_logged(s: Session) -> None:
    name = s.some("r", "relname LIKE 'x\\_%'")
    if name:
        s.sql(f"ALTER TABLE {name} SET {s.rng.choice(['LOGGED', 'UNLOGGED'])}")


def unlogged_rows(s: Session) -> None:
    s.sql("INSERT INTO u0 (k, v) SELECT g, md5(g::text) FROM generate_series(1, 300) g")


def materialized_view(s: Session) -> None:
    s.sql("REFRESH MATERIALIZED VIEW mv0")


def large_object(s: Session) -> None:
    s.sql("SELECT lo_from_bytea(0, decode(repeat(md5(random()::text), 500), 'hex'))")


def role(s: Session) -> None:
    name = s.new_name("role")
    s.sql(f"CREATE ROLE {name}")
    s.sql(f"GRANT SELECT ON {s.table()} TO {name}")
    s.sql(f"ALTER ROLE {name} SET work_mem = '8MB'")


def logical_message(s: Session) -> None:
    s.sql(f"SELECT pg_logical_emit_message({s.rng.choice(['true', 'false'])}, 'p', repeat('x', {s.rng.choice([10, 20000])}))")


def create_database(s: Session) -> None:
    s.alone(f"CREATE DATABASE {s.new_name('db')}")


def drop_database(s: Session) -> None:
    s.sql("SELECT datname FROM pg_database WHERE datname LIKE 'db\\_%' ORDER BY 1")
    found = [r[0] for r in s.cursor.fetchall()]
    if found:
        s.alone(f"DROP DATABASE {s.rng.choice(found)}")


# -- prepared transactions --------------------------------------------------------------------

def prepare(s: Session) -> None:
    """Some are left for others to finish, also across the fork."""
    s.sql("SELECT count(*) FROM pg_prepared_xacts")
    if s.cursor.fetchone()[0] > 6:
        return finish_prepared(s)
    s.sql(f"INSERT INTO {s.table()} (k, v) SELECT g, 'prepared' FROM generate_series(1, 20) g")
    if s.rng.random() < 0.4:
        s.sql("SAVEPOINT p")
        s.sql(f"UPDATE {s.table()} SET v = 'prepared' WHERE {s.range()}")
    s.sql(f"PREPARE TRANSACTION '{s.new_name('gid')}'")


def finish_prepared(s: Session) -> None:
    s.sql("SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY gid")
    found = [r[0] for r in s.cursor.fetchall()]
    if found:
        s.alone(f"{s.rng.choice(['COMMIT', 'ROLLBACK'])} PREPARED '{s.rng.choice(found)}'")


MENU = {
    insert: 14, insert_many: 4, update: 10, update_hot: 8, delete: 6, toast: 6, rolled_back: 4, savepoints: 4,
    row_locks: 4, sequence: 2, vacuum: 5, shrink: 2, rewrite: 2, create_index: 3, drop_index: 2, analyze: 1,
    checkpoint: 1, switch_wal: 1, truncate: 2, create_table: 3, create_table_as: 2, bulk_load: 1, drop_table: 2,
    change_logged: 1, unlogged_rows: 2, materialized_view: 1, large_object: 1, role: 1, logical_message: 1,
    create_database: 0.3, drop_database: 0.2, prepare: 2, finish_prepared: 1,
}
# What makes files come, go and shrink.
UPHEAVAL = {
    insert: 2, insert_many: 4, update: 2, delete: 2, shrink: 3, rewrite: 6, create_index: 2, drop_index: 2, checkpoint: 1,
    truncate: 4, create_table: 3, create_table_as: 2, bulk_load: 5, drop_table: 6, change_logged: 2, materialized_view: 1,
    create_database: 2, drop_database: 2,
}


def create_schema(cluster, seed: int) -> None:
    """The database every workload works on."""
    rng = random.Random(f"{seed}/schema")
    cluster.sql(f"CREATE DATABASE {DATABASE}")
    methods = list(INDEX_METHODS)
    rng.shuffle(methods)
    with cluster.session(DATABASE) as cursor:
        for n in range(TABLES):
            cursor.execute(SCHEMA.format(n=n, fillfactor=rng.choice([50, 90, 100]), method=methods[n],
                                         columns=INDEX_METHODS[methods[n]], storage=rng.choice(["EXTERNAL", "EXTENDED"])))
            cursor.execute(f"INSERT INTO t{n} (k, v, big, arr, pt) SELECT {ROW} FROM generate_series(1, 3000)")
        cursor.execute("CREATE UNLOGGED TABLE u0 (id serial PRIMARY KEY, k int, v text)")
        cursor.execute("CREATE MATERIALIZED VIEW mv0 AS SELECT id, k FROM t0")


class Workload:
    """`steps` operations on each of `connections` connections, or until stopped or cut off; `pause` seconds after each."""

    def __init__(self, cluster, seed, label: str, connections=3, steps=40, menu=None, pause=0.0):
        self.cluster = cluster
        self.label = label
        self.stopping = threading.Event()
        self.errors: list = []
        self.cut_off = False
        self.steps, self.pause = steps, pause
        self.sessions = [
            Session(cluster, random.Random(f"{seed}/{label}/{n}"), f"{label}{n}", menu or MENU) for n in range(connections)]
        self.threads = [threading.Thread(target=self._run, args=(s,), daemon=True) for s in self.sessions]

    def _run(self, session: Session) -> None:
        try:
            for n in itertools.count():
                if self.stopping.is_set() or (self.steps is not None and n >= self.steps):
                    break
                session.step()
                self.stopping.wait(self.pause)
        except ConnectionError:
            self.cut_off = True
        except Exception as error:  # a defect of the harness: must not vanish with the thread
            self.errors.append(error)
        finally:
            try:
                session.connection.close()
            except psycopg2.Error:
                pass

    def start(self) -> "Workload":
        for thread in self.threads:
            thread.start()
        return self

    def join(self, timeout=120) -> None:
        for thread in self.threads:
            thread.join(timeout)
            assert not thread.is_alive(), f"workload {self.label} does not end"
        if self.errors:
            raise self.errors[0]

    def stop(self) -> None:
        self.stopping.set()
        self.join()

    def run(self) -> "Workload":
        self.start().join()
        assert not self.cut_off, f"workload {self.label} lost its server\n{self.cluster.log_tail()}"
        return self


def run(cluster, seed, label, connections=3, steps=40) -> None:
    Workload(cluster, seed, label, connections, steps).run()
