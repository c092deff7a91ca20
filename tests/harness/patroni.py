"""Nodes that a real Patroni keeps, and the etcd that their Patronis agree in.

Patroni is told of the program under test as of any other that is not in the server's bin directory: by `bin_name`.
The directory has no pg_basebackup, so a node that comes back was rewound, or was in order.
"""

import base64
import json
import random
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import psycopg2

from . import environment as envm
from .cluster import HBA, REWIND_PASSWORD, Cluster, ServerFailed, alive, kill_all

SCOPE = "story"

# No lag keeps a standby from being promoted: the stories are about what it lacks. Limits are those of cluster.BASE_CONF,
# by which the oracle starts a node without Patroni.
DYNAMIC_CONFIGURATION = {
    "ttl": 20, "loop_wait": 1, "retry_timeout": 3, "maximum_lag_on_failover": 1 << 40,
    "postgresql": {
        "use_pg_rewind": True,
        "parameters": {
            "max_connections": 60, "max_prepared_transactions": 30, "max_locks_per_transaction": 128,
            "wal_keep_size": "4GB", "wal_level": "replica",
        },
    },
}


def wait(condition, what: str, timeout: float = 90):
    """Waits until `condition` is true, and returns what it says then."""
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise ServerFailed(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(0.05)
    return found


def listening_port() -> int:
    """Bound seconds later only, so it is none that the kernel gives to connections meanwhile (32768 and above)."""
    while True:
        port = random.SystemRandom().randrange(15000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class Etcd:
    """One member, in memory or on disk as the test directory is."""

    def __init__(self, directory: Path):
        self.port = listening_port()
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{listening_port()}"
        data = directory / "etcd"
        with open(directory / "etcd.log", "ab") as log:
            self.process = subprocess.Popen(
                [envm.etcd_program(), "--name", "one", "--data-dir", data, "--listen-client-urls", client,
                 "--advertise-client-urls", client, "--listen-peer-urls", peer,
                 "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, env=envm.clean_env(),
                **envm.plain_user())
        wait(self._healthy, "etcd does not answer", 30)
        self.put("config", json.dumps(DYNAMIC_CONFIGURATION))

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return json.load(answer)["health"] == "true"
        except OSError:
            return False

    def _call(self, method: str, key: str, **more: str) -> dict:
        body = {"key": f"/service/{SCOPE}/{key}", **more}
        data = json.dumps({k: base64.b64encode(v.encode()).decode() for k, v in body.items()}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/v3/kv/{method}", data, timeout=10) as answer:
            return json.load(answer)

    def put(self, key: str, value: str) -> None:
        self._call("put", key, value=value)

    def member(self, name: str) -> dict:
        """What that node's Patroni says of it."""
        found = self._call("range", f"members/{name}").get("kvs")
        return json.loads(base64.b64decode(found[0]["value"])) if found else {}

    def expire_leader(self) -> None:
        """What etcd does 20 s after the leader's last sign of life."""
        self._call("deleterange", "leader")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


class PatroniNode(Cluster):
    """`process` is Patroni. The server's log is `log`, Patroni's is `patroni_log`."""

    def __init__(self, directory: Path, major: int, name: str, etcd: Etcd, rewind: Path, archive: Path):
        super().__init__(directory, major, name, tcp=True)
        self.port = listening_port()
        self.etcd = etcd
        self.archive = archive
        self.api = listening_port()
        self.log_directory = directory / f"{name}.patroni"
        self.log_directory.mkdir()
        envm.give(self.log_directory)
        self.patroni_log = self.log_directory / "patroni.log"
        self.file = directory / f"{name}.yml"
        self.begun = 0  # where the present Patroni's part of its log begins
        self.use(rewind)

    def use(self, rewind: Path) -> None:
        """From its next start on, Patroni calls that program in pg_rewind's place."""
        self.rewind = rewind
        self.file.write_text(json.dumps(self._configuration(), indent=1))  # which is YAML, too

    def _configuration(self) -> dict:
        clients = envm.client_bin(self.major)
        api, server = f"127.0.0.1:{self.api}", f"127.0.0.1:{self.port}"
        role = {"username": "rewind_user", "password": REWIND_PASSWORD}
        return {
            "scope": SCOPE, "name": self.name, "log": {"dir": str(self.log_directory)},
            "restapi": {"listen": api, "connect_address": api},
            "etcd3": {"host": f"127.0.0.1:{self.etcd.port}"},
            "watchdog": {"mode": "off"},
            "postgresql": {
                "listen": server, "connect_address": server, "use_unix_socket": True,
                "data_dir": str(self.data), "bin_dir": str(self.bin),
                "bin_name": {"pg_rewind": str(self.rewind),
                             **{name: str(clients / name) for name in ("pg_controldata", "pg_isready", "pg_waldump")}},
                "pgpass": str(self.directory / f"{self.name}.pgpass"),
                "authentication": {"superuser": {"username": "postgres"}, "replication": role, "rewind": role},
                "parameters": {
                    "unix_socket_directories": str(self.socket_directory), "archive_mode": "on",
                    "archive_command": f"test ! -e {self.cut} && test ! -e {self.archive}/%f && cp %p {self.archive}/%f",
                },
                "recovery_conf": {"restore_command": f"cp {self.archive}/%f %p"},
            },
        }

    @property
    def cut(self) -> Path:
        """While this file exists, the node reaches neither the archive nor another node."""
        return self.directory / f"{self.name}.cut"

    def spawn(self, extra: dict | None = None) -> subprocess.Popen:
        """`extra` is Patroni's environment."""
        self.begun = self.patroni_log.stat().st_size if self.patroni_log.exists() else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [envm.patroni_program(), self.file], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True, env=envm.clean_env(extra), **envm.plain_user())
        return self.process

    def stop(self, mode: str = "fast", timeout=60) -> None:
        """Patroni stops its server."""
        assert mode == "fast"
        self.process.terminate()
        self.process.wait(timeout)
        self.process = None

    def postmaster(self) -> int:
        """Its process id, as the server has noted it; 0 where it has not."""
        file = self.data / "postmaster.pid"
        return int(file.read_text().split("\n", 1)[0]) if file.exists() else 0

    def kill(self) -> None:
        """Patroni first: it would start the server again."""
        if self.process:
            self.process.kill()
            self.process.wait(30)
            self.process = None
        postmaster = self.postmaster()
        if not postmaster or not alive(postmaster):
            return
        children = kill_all(postmaster)
        wait(lambda: not any(map(alive, [postmaster, *children])), f"children of {self.name} outlive SIGKILL", 30)
        self._retire_pid_file()

    def cut_off_others(self) -> None:
        """No standby and no archive gets anything from this node any more."""
        self.cut.touch()
        (self.data / "pg_hba.conf").write_text("host replication all all reject\n" + HBA)
        self.sql("SELECT pg_reload_conf()")
        self.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
        wait(lambda: not self.sql("SELECT 1 FROM pg_stat_replication"), f"somebody follows {self.name}")

    def heal(self) -> None:
        """Undoes it. The server is down."""
        self.cut.unlink()
        (self.data / "pg_hba.conf").write_text(HBA)

    def switch_to(self, other: "PatroniNode") -> None:
        body = json.dumps({"leader": self.name, "candidate": other.name}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.api}/switchover", body, timeout=60) as answer:
            assert answer.status == 200, answer.read()
        other.wait_leads()
        self.wait_streams()

    def wait_archived(self) -> None:
        """Until this primary has archived all that it knows of, and may remove old WAL."""
        self.sql("ALTER SYSTEM SET wal_keep_size = 0")
        self.sql("SELECT pg_reload_conf()")
        self.sql("SELECT pg_switch_wal()")
        self.sql("CHECKPOINT")
        status = self.data / "pg_wal/archive_status"
        wait(lambda: not list(status.glob("*.ready")), lambda: f"{list(status.iterdir())} archived\n{self.log_tail()}")

    # -- what Patroni says ----------------------------------------------------------------------

    def said(self) -> str:
        """By the Patroni that was started last."""
        return self.patroni_log.read_bytes()[self.begun:].decode(errors="replace") if self.patroni_log.exists() else ""

    def wait_said(self, text: str) -> None:
        wait(lambda: text in self.said(), lambda: f"{text!r} in\n{self.said()}")

    def rewinds(self) -> int:
        """How often it has called the program, but for --help."""
        return self.said().count("running pg_rewind from dbname=")

    def wait_leads(self) -> None:
        """Until it is the primary, and the others may know that they can be rewound from it."""
        wait(self._leads, lambda: f"{self.name} leads\n{self.said()}\n{self.log_tail()}")

    def _leads(self) -> bool:
        member = self.etcd.member(self.name)
        return member.get("role") == "primary" and "checkpoint_after_promote" not in member  # False is its one value

    def wait_streams(self) -> None:
        wait(self._streams, lambda: f"{self.name} streams\n{self.said()}\n{self.log_tail()}")

    def _streams(self) -> bool:
        try:
            return bool(self.sql("SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"))
        except psycopg2.OperationalError:
            return False
