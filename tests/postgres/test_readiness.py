"""`pg-rejoin check` against real servers: each thing that keeps a server from being rewound is found, and what it says
to run mends it. One server a major; every test puts back what it has changed."""

import json
import re

import pytest

from harness import environment as envm
from harness import tools
from harness.cluster import REWIND_PASSWORD, Cluster, template

GRANTS = {
    "pg_catalog.pg_ls_dir(text, boolean, boolean)",
    "pg_catalog.pg_stat_file(text, boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)",
}


class Checked:
    """A server and what `check` says of it."""

    def __init__(self, node: Cluster, program):
        self.node = node
        self.program = program
        self.passwords = {}
        for role, password in (("rewind", REWIND_PASSWORD), ("replication", "canary-repl")):
            self.passwords[role] = node.directory / f"{role}-password"
            self.passwords[role].write_text(password + "\n")
            envm.give(self.passwords[role])

    def run(self, *options, user="postgres", database="postgres", host=None, **more):
        host = {"host": host} if host else {}
        args = [self.program, "check", f"--server={self.node.conninfo(user, database, **host)}", "--rewind-user=rewind_user",
                "--replication-user=replicator", f"--rewind-password-file={self.passwords['rewind']}",
                f"--replication-password-file={self.passwords['replication']}", *options]
        return envm.run(args, check=False, **more)

    def report(self, **more):
        """(rewindable, {check: {state, found, fix}}); the exit status has to agree."""
        done = self.run("--json", **more)
        report = json.loads(done.stdout)
        assert done.returncode == (0 if report["rewindable"] == "true" else 1), done
        return report["rewindable"], {check["name"]: check for check in report["checks"]}

    def states(self, **more):
        _, checks = self.report(**more)
        return {name: check["state"] for name, check in checks.items()}

    def restart(self, extra=None):
        self.node.stop("fast")
        self.node.start(extra=extra)

    def run_fix(self, fix: str) -> None:
        """What it says to run, as it stands there."""
        for statement in re.findall(r"(?:ALTER SYSTEM|SELECT|GRANT) [^;]*;", fix):
            self.node.sql(statement)

    def expect_failed(self, check: str, found: str) -> dict:
        rewindable, checks = self.report()
        assert rewindable == "false", checks
        assert checks[check]["state"] == "failed" and re.search(found, checks[check]["found"]), checks[check]
        return checks[check]

    def expect_well(self) -> None:
        rewindable, checks = self.report()
        assert rewindable == "true", checks


@pytest.fixture(scope="module", params=envm.MAJORS)
def server(request, shared_directory, templates, root):
    node = Cluster(shared_directory(), request.param, "n", tcp=True, settings={"checkpoint_timeout": "1h"})
    envm.copy_tree(template(templates, request.param, checksums=False, segment_mb=1), node.data)
    node.start()
    node.sql("CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'canary-repl'")
    node.sql("CREATE ROLE nobody LOGIN")
    yield Checked(node, tools.pg_rejoin_binary(root))
    node.kill()


def test_well_and_what_a_superuser_sees_everybody_sees(server):
    rewindable, checks = server.report()
    assert rewindable == "true", checks
    states = {name: check["state"] for name, check in checks.items()}
    assert states.pop("restart_after_crash") == "warning"  # the server's default
    assert states.pop("disk_space") == "unknown"           # only init can measure it
    assert set(states.values()) == {"ok"}, checks
    assert str(server.node.major) in checks["version"]["found"]
    for user in ("rewind_user", "nobody"):
        assert server.states(user=user) == server.states(), user
    table = server.run().stdout
    assert "rewindable: true" in table and "ALTER SYSTEM SET restart_after_crash = off" in table
    for password in (REWIND_PASSWORD, "canary-repl"):
        assert password not in table


def test_roles_and_grants(server):
    node = server.node
    for grant in GRANTS:
        node.sql(f"REVOKE EXECUTE ON FUNCTION {grant} FROM rewind_user")
    failed = server.expect_failed("rewind_grants", "lacks EXECUTE")
    assert all(grant in failed["found"] for grant in GRANTS)
    server.run_fix(failed["fix"])
    server.expect_well()
    # Grants belong to a database.
    rewindable, checks = server.report(database="template1")
    assert (rewindable, checks["rewind_grants"]["state"]) == ("false", "failed"), checks

    for change, back, check in (
            ("ALTER ROLE rewind_user NOLOGIN", "ALTER ROLE rewind_user LOGIN", "rewind_role"),
            ("ALTER ROLE rewind_user VALID UNTIL '2020-01-01'", "ALTER ROLE rewind_user VALID UNTIL 'infinity'",
             "rewind_role"),
            ("ALTER ROLE replicator NOREPLICATION", "ALTER ROLE replicator REPLICATION", "replication_role"),
            ("ALTER ROLE replicator RENAME TO other", "ALTER ROLE other RENAME TO replicator", "replication_role")):
        node.sql(change)
        server.expect_failed(check, "rewind_user|replicator")
        node.sql(back)
    server.expect_well()


def test_logins_are_tried(server):
    node = server.node
    node.sql("ALTER ROLE rewind_user PASSWORD 'another'")
    rewindable, checks = server.report(host="127.0.0.1", user="rewind_user", env={"PGPASSWORD": "another"})
    assert (rewindable, checks["rewind_login"]["state"]) == ("false", "failed"), checks
    assert "password authentication failed" in checks["rewind_login"]["found"]
    node.sql(f"ALTER ROLE rewind_user PASSWORD '{REWIND_PASSWORD}'")

    hba = node.data / "pg_hba.conf"
    before = hba.read_text()
    hba.write_text("".join(line + "\n" for line in before.splitlines() if "replication" not in line))
    node.sql("SELECT pg_reload_conf()")
    server.expect_failed("replication_login", "no pg_hba.conf entry")
    hba.write_text(before)
    node.sql("SELECT pg_reload_conf()")
    server.expect_well()


def test_settings_and_what_mends_them(server):
    node = server.node
    node.sql("ALTER SYSTEM SET full_page_writes = off")
    node.sql("SELECT pg_reload_conf()")
    server.run_fix(server.expect_failed("full_page_writes", "off")["fix"])

    # As somebody may have set all this for a bulk load, and forgotten.
    for name, value in (("wal_log_hints", "off"), ("wal_level", "minimal"), ("max_wal_senders", 0)):
        node.sql(f"ALTER SYSTEM SET {name} = {value}")
    server.restart()
    rewindable, checks = server.report()
    assert rewindable == "false"
    assert {name for name, check in checks.items() if check["state"] == "failed"} == {
        "streaming", "checksums_or_hints", "replication_login"}, checks
    server.run_fix(checks["checksums_or_hints"]["fix"])
    node.sql("ALTER SYSTEM RESET max_wal_senders")
    server.run_fix(checks["streaming"]["fix"])
    server.restart()
    server.expect_well()


def test_wal_that_will_be_gone(server):
    node = server.node
    node.sql("SELECT pg_create_physical_replication_slot('forgotten', true)")
    node.sql("ALTER SYSTEM SET wal_keep_size = 0")
    node.sql("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'")
    node.sql("SELECT pg_reload_conf()")
    node.sql("CREATE TABLE wide AS SELECT repeat('x', 1000) FROM generate_series(1, 4000)")
    rewindable, checks = server.report()
    assert rewindable == "true"  # so far nothing is gone
    assert checks["wal_kept"]["state"] == "warning", checks
    server.run_fix(checks["wal_kept"]["fix"])
    assert server.states()["wal_kept"] == "ok"

    node.sql("ALTER SYSTEM SET wal_keep_size = 0")
    node.sql("SELECT pg_reload_conf()")
    for _ in range(4):
        node.sql("SELECT pg_switch_wal()")
        node.sql("CHECKPOINT")
    _, checks = server.report()
    assert checks["slots"]["state"] == "warning" and "forgotten" in checks["slots"]["found"], checks
    node.sql("SELECT pg_drop_replication_slot('forgotten')")
    node.sql("ALTER SYSTEM RESET ALL")
    server.restart()
    assert server.states()["slots"] == "ok"


def test_certificate(server):
    node = server.node
    for name, days in (("soon", "3"), ("late", "300")):
        envm.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", days, "-subj", "/CN=n",
                  "-keyout", node.data / f"{name}.key", "-out", node.data / f"{name}.crt"])
    for name, state, found in (("soon", "warning", "expires in [23] days"), ("late", "ok", "good for (299|300) days")):
        server.restart({"ssl": "on", "ssl_cert_file": f"{name}.crt", "ssl_key_file": f"{name}.key"})
        _, checks = server.report(host="127.0.0.1", user="rewind_user",
                                  env={"PGPASSWORD": REWIND_PASSWORD})
        assert checks["certificate"]["state"] == state and re.search(found, checks["certificate"]["found"]), checks
        # A local socket has no TLS, so nothing is known.
        assert server.states()["certificate"] == "unknown"
    server.restart()


def test_standby_and_silent_server(server):
    node = server.node
    node.stop("fast")
    node.signal_standby()
    node.start()
    server.expect_well()
    node.stop("fast")
    (node.data / "standby.signal").unlink()
    rewindable, checks = server.report()
    assert rewindable == "false"  # somebody tried to log in, and could not
    assert "could not connect" in checks["rewind_login"]["found"]
    assert {check["state"] for name, check in checks.items() if not name.endswith("_login")} == {"unknown"}, checks
    node.start()
    server.expect_well()
