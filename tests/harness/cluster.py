"""One PostgreSQL node: a data directory, a socket directory, a log, and a server now and then."""

import contextlib
import fcntl
import hashlib
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psycopg2

from . import environment as envm

# Small buffers, so that dirty pages reach disk early and in any order; WAL is kept, because these
# tests ask for rewinds that are possible. What differs between nodes is never in this file: it goes
# on the command line, so that a tool may copy configuration or keep it.
BASE_CONF = """
shared_buffers = 16MB
max_connections = 60
max_prepared_transactions = 30
max_wal_senders = 10
max_locks_per_transaction = 128
wal_level = replica
wal_keep_size = 4GB
max_wal_size = 4GB
checkpoint_timeout = 60s
hot_standby = on
logging_collector = off
log_line_prefix = '%m [%p] %q%d '
log_checkpoints = on
autovacuum_naptime = 1s
autovacuum_vacuum_threshold = 200
autovacuum_analyze_threshold = 200
wal_receiver_status_interval = 1s
wal_retrieve_retry_interval = 100ms
jit = off
dynamic_shared_memory_type = mmap
allow_in_place_tablespaces = on
"""

HBA = """
local all         all trust
local replication all trust
host  all         all 127.0.0.1/32 scram-sha-256
host  replication all 127.0.0.1/32 scram-sha-256
"""

# Beside the data directory of a node that has a directory of its own. Its link is the same text on every node, as
# on machines of their own: servers, and the tool, run in the data directory.
TABLESPACE_DIRECTORY = "space"
TABLESPACE_LINK = f"/proc/self/cwd/../{TABLESPACE_DIRECTORY}"

IMPOSSIBLE_PID = 4194304 + 1000  # above the kernel's largest pid_max

REWIND_PASSWORD = "canary-7f3a"

# Exactly the four grants of the pg_rewind manual; REPLICATION is for the standby that -R sets up.
ROLE_SQL = f"""
CREATE ROLE rewind_user LOGIN REPLICATION PASSWORD '{REWIND_PASSWORD}';
GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text, boolean, boolean) TO rewind_user;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO rewind_user;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text) TO rewind_user;
GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean) TO rewind_user;
"""

# In template1 too: every database a workload makes must be checkable, or the oracle fails.
EXTENSIONS_SQL = "CREATE EXTENSION amcheck; CREATE EXTENSION pageinspect; CREATE EXTENSION pg_visibility;"


class ServerFailed(Exception):
    """The server did not do what was asked; carries the end of its log."""


class Cluster:
    """A node. `data` may be replaced by a copy while the server is down."""

    def __init__(self, directory: Path, major: int, name: str, *, tcp: bool = False, settings: dict | None = None):
        self.directory = Path(directory)
        self.major = major
        self.name = name
        self.data = self.directory / f"{name}.data"
        self.socket_directory = self.directory / f"{name}.s"
        self.log = self.directory / f"{name}.log"
        self.port = free_port() if tcp else 5432
        self.tcp = tcp
        self.settings = dict(settings or {})
        self.process: subprocess.Popen | None = None
        self.bin = envm.server_bin(major)
        self.socket_directory.mkdir(exist_ok=True)
        envm.give(self.socket_directory)

    # -- life ---------------------------------------------------------------------------------

    def spawn(self, extra: dict | None = None) -> subprocess.Popen:
        """Starts the postmaster as our child and returns at once."""
        settings = {
            "unix_socket_directories": self.socket_directory, "port": self.port,
            "listen_addresses": "127.0.0.1" if self.tcp else "", "cluster_name": self.name,
            **self.settings, **(extra or {}),
        }
        args = [str(self.bin / "postgres"), "-D", str(self.data)]
        for key, value in settings.items():
            args += ["-c", f"{key}={value}"]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                args, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                env=envm.clean_env(), **envm.plain_user())
        return self.process

    def start(self, timeout=60, extra: dict | None = None) -> "Cluster":
        """Starts and waits until the server answers queries."""
        self.spawn(extra)
        deadline = time.monotonic() + timeout
        while True:
            if self.process.poll() is not None:
                raise ServerFailed(f"{self.name}: server exited with {self.process.returncode}\n{self.log_tail()}")
            try:
                self.sql("SELECT 1")
                return self
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    raise ServerFailed(f"{self.name}: not ready in {timeout} s: {error}\n{self.log_tail()}")
            time.sleep(0.03)

    def stop(self, mode: str = "fast", timeout=60) -> None:
        """mode: fast | immediate | kill (SIGKILL of the postmaster and every child)."""
        if not self.running():
            return
        if mode == "kill":
            self.kill()
            return
        self.process.send_signal({"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "smart": signal.SIGTERM}[mode])
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            tail = self.log_tail()
            self.kill()
            raise ServerFailed(f"{self.name}: no {mode} stop in {timeout} s\n{tail}")
        self.process = None

    def kill(self) -> None:
        """All processes die at one instant, as far as signals allow: nothing is flushed any more."""
        if self.process is None:
            return
        children = kill_all(self.process.pid)
        self.process.wait(30)
        deadline = time.monotonic() + 30
        while any(alive(pid) for pid in children):
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name}: children outlive SIGKILL")
            time.sleep(0.01)
        self.process = None
        self._retire_pid_file()

    def _retire_pid_file(self) -> None:
        """The stale postmaster.pid stays, as after any crash, but names a process that can never
        exist: ids are used again, and a start that fails one time in a thousand is a flaky test."""
        path = self.data / "postmaster.pid"
        if not path.exists():
            return
        lines = path.read_text().splitlines()
        if len(lines) >= 7 and lines[6].split():
            envm.run(["ipcrm", "-m", lines[6].split()[1]], check=False)
        path.write_text("\n".join([str(IMPOSSIBLE_PID), *lines[1:]]) + "\n")

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def wait_ended(self, timeout: float) -> None:
        """Waits for the end of a server that fails by itself."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ServerFailed(f"{self.name} still runs\n{self.log_tail()}")

    def promote(self) -> None:
        if not self.value("SELECT pg_promote(true, 60)"):
            raise ServerFailed(f"{self.name}: not promoted\n{self.log_tail()}")

    def start_promoted(self, timeout=60) -> None:
        """Starts this standby alone and makes it a primary. Not by SQL: a standby without its upstream may never accept
        connections, when a prepared transaction has more than 64 subtransactions."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        self.spawn(extra={"primary_conninfo": ""})
        self._wait_for(lambda: b"entering standby mode" in self.log.read_bytes()[begin:], "enters standby mode", timeout)
        trigger = self.data / "promote"
        trigger.touch()
        envm.give(trigger)
        self.process.send_signal(signal.SIGUSR1)
        self._wait_for(self._is_read_write, "is a primary", timeout)

    def _is_read_write(self) -> bool:
        try:
            return not self.value("SELECT pg_is_in_recovery()")
        except psycopg2.OperationalError:
            return False

    def _wait_for(self, condition, what: str, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline or not self.running():
                raise ServerFailed(f"{self.name}: not within {timeout} s: {what}\n{self.log_tail()}")
            time.sleep(0.03)

    def cut_off(self, timeout=30) -> None:
        """This standby receives nothing from now on. It goes on running, and reading (start_promoted())."""
        self.sql("ALTER SYSTEM SET primary_conninfo = ''")
        self.sql("SELECT pg_reload_conf()")
        self._wait_for(lambda: not self.sql("SELECT 1 FROM pg_stat_wal_receiver"), "receives no WAL", timeout)

    # -- talking to it ------------------------------------------------------------------------

    def conninfo(self, user="postgres", database="postgres", **more) -> str:
        parts = {"host": self.socket_directory, "port": self.port, "user": user, "dbname": database, **more}
        return " ".join(f"{k}={v}" for k, v in parts.items())

    def connect(self, database="postgres", user="postgres", **more):
        # A query that waits for ever would keep the alarm of a test's deadline from being heard.
        return psycopg2.connect(self.conninfo(user, database, connect_timeout=20, **more),
                                options="-c statement_timeout=200s")

    @contextlib.contextmanager
    def session(self, database="postgres", **more):
        """An autocommit cursor, closed at the end."""
        connection = self.connect(database, **more)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def sql(self, query: str, database="postgres", args=None) -> list:
        with self.session(database) as cursor:
            cursor.execute(query, args)
            return cursor.fetchall() if cursor.description else []

    def value(self, query: str, database="postgres", args=None):
        return self.sql(query, database, args)[0][0]

    def databases(self) -> list:
        """Without those whose DROP was cut short: nobody can connect to them (datconnlimit -2)."""
        return [r[0] for r in self.sql("SELECT datname FROM pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname")]

    # -- WAL positions ------------------------------------------------------------------------

    def insert_lsn(self) -> str:
        return self.value("SELECT pg_current_wal_insert_lsn()::text")

    def flush_lsn(self) -> str:
        return self.value("SELECT pg_current_wal_flush_lsn()::text")

    def wait_replay(self, lsn: str, timeout=90) -> None:
        """Waits until this standby has replayed up to `lsn`."""
        deadline = time.monotonic() + timeout
        with self.session() as cursor:
            while True:
                cursor.execute("SELECT coalesce(pg_last_wal_replay_lsn() >= %s::pg_lsn, false), pg_last_wal_replay_lsn()::text", [lsn])
                done, at = cursor.fetchone()
                if done:
                    return
                if time.monotonic() > deadline or not self.running():
                    raise ServerFailed(f"{self.name}: replay is at {at}, wanted {lsn}\n{self.log_tail()}")
                time.sleep(0.03)

    # -- files --------------------------------------------------------------------------------

    def append_conf(self, text: str, file="postgresql.conf") -> None:
        with open(self.data / file, "a") as conf:
            conf.write("\n" + text.strip() + "\n")

    def make_standby(self, primary: "Cluster", user="rewind_user") -> None:
        """Turns this stopped directory into a streaming standby of `primary`."""
        self.append_conf(f"primary_conninfo = '{primary.conninfo(user, application_name=self.name)}'", "postgresql.auto.conf")
        self.signal_standby()

    def signal_standby(self) -> None:
        signal_file = self.data / "standby.signal"
        signal_file.touch()
        signal_file.chmod(0o600)
        envm.give(signal_file)

    def log_tail(self, lines=25) -> str:
        try:
            return "\n".join(f"  | {line}" for line in self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return "  | (no log)"

    def create_tablespace(self, name: str) -> None:
        """Outside of the data directory. A standby must be copied afterwards: replay would use our directory."""
        place = self.directory / TABLESPACE_DIRECTORY
        place.mkdir(mode=0o700)
        envm.give(place)
        self.sql(f"CREATE TABLESPACE {name} LOCATION '{place}'")
        link = self.data / "pg_tblspc" / str(self.value("SELECT oid FROM pg_tablespace WHERE spcname = %s", args=[name]))
        fresh = link.with_suffix(".new")
        fresh.symlink_to(TABLESPACE_LINK)
        envm.give(fresh)
        fresh.rename(link)

    def wipe(self) -> None:
        self.kill()
        envm.remove_tree(self.data)


def create_data(directory: Path, major: int, *, checksums: bool, segment_mb: int = 16, group_access: bool = False) -> None:
    """initdb plus what every test needs: settings, the rewind role, the checking extensions."""
    args = [envm.server_bin(major) / "initdb", "-D", directory, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--no-locale", "--no-sync", f"--wal-segsize={segment_mb}"]
    if checksums:
        args.append("--data-checksums")
    elif major >= 18:
        args.append("--no-data-checksums")
    if group_access:
        args.append("--allow-group-access")
    envm.run(args)
    with open(directory / "postgresql.conf", "a") as conf:
        conf.write(BASE_CONF)
        if not checksums:
            conf.write("wal_log_hints = on\n")
    (directory / "pg_hba.conf").write_text(HBA)


def template(root: Path, major: int, *, checksums: bool, segment_mb: int = 16) -> Path:
    """A stopped, ready data directory to copy; made once per session and shared by its workers."""
    key = f"{major}-{'sums' if checksums else 'hints'}-{segment_mb}"
    root.mkdir(exist_ok=True)
    envm.give(root)
    final = root / key
    with open(root / f"{key}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if final.exists():
            return final
        node = Cluster(root, major, hashlib.sha1(key.encode()).hexdigest()[:6])
        create_data(node.data, major, checksums=checksums, segment_mb=segment_mb)
        node.start()
        node.sql(ROLE_SQL)
        for database in ("template1", "postgres"):
            node.sql(EXTENSIONS_SQL, database)
        node.stop("fast")
        if segment_mb > 16:  # zeros that initdb wrote; directories are copied with their holes
            for segment in (node.data / "pg_wal").glob("0" * 8 + "[0-9A-F]" * 16):
                envm.run(["fallocate", "--dig-holes", segment])
        node.data.rename(final)
    return final


def hot_copy(primary: Cluster, target: Path) -> None:
    """A base backup of a running primary by the low-level functions: Debian's pg_basebackup 15
    refuses newer servers, and this leaves a real backup_label with WAL that holds its end record."""
    with primary.session() as cursor:
        base_backup(cursor, primary.major, primary.data, target)


def base_backup(cursor, major: int, source: Path, target: Path) -> None:
    old = major < 15
    cursor.execute("SELECT pg_start_backup('harness', true, false)" if old else "SELECT pg_backup_start('harness', true)")
    # A file may vanish while it is copied: that is what a base backup is.
    envm.run(["cp", "-a", "--", source, target], check=False)
    if (source.parent / TABLESPACE_DIRECTORY).exists():
        envm.remove_tree(target.parent / TABLESPACE_DIRECTORY)
        envm.run(["cp", "-a", "--", source.parent / TABLESPACE_DIRECTORY, target.parent], check=False)
    cursor.execute("SELECT labelfile FROM pg_stop_backup(false, false)" if old else "SELECT labelfile FROM pg_backup_stop(false)")
    label = cursor.fetchone()[0]
    for name in ("postmaster.pid", "postmaster.opts"):
        (target / name).unlink(missing_ok=True)
    path = target / "backup_label"
    path.write_text(label)
    envm.give(path)


def inside(data: Path, path: str) -> Path:
    """A path in a data directory as its server sees it."""
    folder, _, rest = path.partition("/")
    oid, _, rest = rest.partition("/")
    link = data / folder / oid
    if folder == "pg_tblspc" and link.is_symlink() and os.readlink(link) == TABLESPACE_LINK:
        return data.parent / TABLESPACE_DIRECTORY / rest
    return data / path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def kill_all(postmaster: int) -> list:
    """SIGKILL for a postmaster and its children; returns the children."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(postmaster, signal.SIGSTOP)  # no new children while we list them
    children = children_of(postmaster)
    for pid in [postmaster, *children]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return children


def children_of(parent: int) -> list:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[1]) == parent:
                    found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
