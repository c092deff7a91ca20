"""The scripts that the chart brings into PostgreSQL's image, run against real servers.

Servers are those of scripts/servers.sh; they refuse root, so everything runs as a plain user.
"""
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from conftest import script

CLIENTS = pathlib.Path("/usr/lib/postgresql/15/bin")
PLAIN_USER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
PASSWORDS = {"replication": "canary-repl 'x' \\y", "rewind": "canary-rewind $z", "promote": "canary-promote"}


def server_programs(major):
    caches = [os.environ.get("PG_REJOIN_CACHE"), "/var/cache/pg-rejoin", pathlib.Path.home() / ".cache/pg-rejoin"]
    for cache in filter(None, caches):
        programs = pathlib.Path(cache) / "servers" / str(major) / "bin"
        if (programs / "postgres").exists():
            return programs
    return pytest.fail(f"no PostgreSQL {major}: run scripts/servers.sh", pytrace=False)


class Box:
    """A folder of the plain user with a server in it; port and sockets are its own."""

    def __init__(self, folder, programs):
        self.folder = folder
        self.pgdata = folder / "data/pgdata"
        self.run_dir = folder / "run"
        self.credentials = folder / "credentials"
        for path in [self.pgdata.parent, self.run_dir, self.credentials]:
            path.mkdir()
        for name, password in PASSWORDS.items():
            (self.credentials / f"{name}-password").write_text(password + "\n")
        self.programs = programs
        self.env = {
            "PATH": f"{CLIENTS}:/usr/bin:/bin",
            "PGDATA": str(self.pgdata),
            "PGHOST": str(folder),
            "PGPORT": "5432",
            "POSTGRES_USER": "postgres",
            "PG_REJOIN_RUN_DIR": str(self.run_dir),
            "PG_REJOIN_CREDENTIALS_DIR": str(self.credentials),
            "PG_REJOIN_REPLICATION_USER": "replicator",
            "PG_REJOIN_REWIND_USER": "rewind",
            "PG_REJOIN_PROMOTE_USER": "Odd \"promoter\"",
        }
        self.own()

    def own(self):
        if os.geteuid() == 0:
            for path in [self.folder, *self.folder.rglob("*")]:
                os.chown(path, 65534, 65534)

    def run(self, *command, check=True, **env):
        result = subprocess.run([*PLAIN_USER, *map(str, command)], env={**self.env, **env}, cwd=self.folder,
                                capture_output=True, text=True, timeout=120, check=False)
        if check:
            assert result.returncode == 0, result.stdout + result.stderr
        return result

    def start(self):
        self.run(self.programs / "initdb", "--no-sync", "--username=postgres", "--auth-local=trust",
                 "--auth-host=scram-sha-256", "--locale=C", "--encoding=UTF8", "-D", self.pgdata)
        self.launch()

    def launch(self):
        # As talkative as a server can be: passwords must not be in this log.
        self.run(self.programs / "pg_ctl", "-D", self.pgdata, "-w", "-l", self.folder / "log", "-o",
                 f"-k {self.folder} -c listen_addresses='' -c fsync=off -c log_statement=all "
                 "-c log_min_duration_statement=0 -c log_min_error_statement=debug5", "start")

    def stop(self):
        self.run(self.programs / "pg_ctl", "-D", self.pgdata, "-m", "immediate", "stop", check=False)

    def script(self, name, check=True, **env):
        return self.run("sh" if name in ("clone.sh", "self-test.sh") else "bash", script(name), check=check, **env)

    def sql(self, text, user="postgres", check=True):
        return self.run("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-U", user, "-d", "postgres", "-c", text, check=check)


@pytest.fixture
def box(request):
    # Short, for the socket's path; open to the plain user.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pgr-"))
    box_ = Box(folder, server_programs(getattr(request, "param", 15)))
    box_.start()
    yield box_
    box_.stop()
    shutil.rmtree(folder)


# ---- create-roles.sh

@pytest.mark.parametrize("box", [14, 15, 16, 17, 18], indirect=True)
def test_roles_have_the_rights_they_need_and_no_more(box):
    result = box.script("create-roles.sh")
    rows = box.sql("SELECT rolname, rolcanlogin, rolreplication, rolsuper, rolcreaterole, rolcreatedb, rolbypassrls "
                   "FROM pg_roles WHERE rolname IN ('replicator', 'rewind', 'Odd \"promoter\"') ORDER BY 1").stdout
    assert rows.splitlines() == [
        "Odd \"promoter\"|t|f|f|f|f|f", "replicator|t|t|f|f|f|f", "rewind|t|f|f|f|f|f"]

    rewind = "SELECT length(pg_read_binary_file('global/pg_control')), (pg_stat_file('PG_VERSION', true)).size, " \
             "(SELECT count(*) > 5 FROM pg_ls_dir('.', true, false)), " \
             "length(pg_read_binary_file('PG_VERSION', 0, 100, true))"
    assert box.sql(rewind, user="rewind").stdout == "8192|3|t|3\n"
    assert box.sql(rewind, user="replicator", check=False).returncode != 0
    for forbidden in ["SELECT pg_promote(false, 1)", "CHECKPOINT", "SELECT * FROM pg_authid"]:
        assert box.sql(forbidden, user="rewind", check=False).returncode != 0, forbidden

    # On a primary it may ask, and is told that there is nothing to promote.
    assert "recovery is not in progress" in box.sql("SELECT pg_promote(false, 1)", user="Odd \"promoter\"", check=False).stderr
    version = int(box.sql("SHOW server_version_num").stdout)
    assert (box.sql("CHECKPOINT", user="Odd \"promoter\"", check=False).returncode == 0) == (version >= 150000)

    seen = result.stdout + result.stderr + (box.folder / "log").read_text()
    assert "create role" not in seen.lower()
    assert "canary" not in seen


def test_passwords_are_those_of_the_files(box):
    box.script("create-roles.sh")
    hba = box.pgdata / "pg_hba.conf"
    hba.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    box.sql("SELECT pg_reload_conf()")
    for role, password in [("rewind", PASSWORDS["rewind"]), ("replicator", PASSWORDS["replication"]),
                           ("Odd \"promoter\"", PASSWORDS["promote"])]:
        command = ["psql", "-XAtq", "-w", "-U", role, "-d", "postgres", "-c", "SELECT 1"]
        assert box.run(*command, PGPASSWORD=password).stdout == "1\n"
        assert box.run(*command, PGPASSWORD="wrong", check=False).returncode != 0
    hashes = box.sql("SELECT count(*) FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$%'").stdout
    assert hashes == "3\n"


def test_a_failure_makes_no_role_and_logs_no_password(box):
    box.sql("CREATE ROLE rewind")
    result = box.script("create-roles.sh", check=False)
    assert result.returncode != 0
    assert box.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'replicator'").stdout == "0\n"
    assert "canary" not in result.stdout + result.stderr + (box.folder / "log").read_text()


@pytest.mark.parametrize("name", PASSWORDS)
def test_an_empty_password_is_refused(box, name):
    (box.credentials / f"{name}-password").write_text("")
    result = box.script("create-roles.sh", check=False)
    assert result.returncode != 0 and f"the {name} password is empty" in result.stderr


@pytest.mark.parametrize("password", ["two\nlines", "tab\tinside", "carriage\rreturn", "bell\a\n"])
def test_a_password_that_nobody_could_send_is_refused(box, password):
    (box.credentials / "rewind-password").write_text(password)
    result = box.script("create-roles.sh", check=False)
    assert result.returncode != 0 and "the rewind password has a control character" in result.stderr
    assert box.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'replicator'").stdout == "0\n"


def test_passwords_of_files_with_other_line_ends(box):
    """As pg-rejoin reads them (pod_options.cc): without any line break at the end; umlauts are nothing special."""
    for name, end in [("replication", "\r\n"), ("rewind", "\n\n"), ("promote", "")]:
        (box.credentials / f"{name}-password").write_bytes((f"canary-ä-{name}" + end).encode())
    box.script("create-roles.sh")
    result = self_test(box)
    assert result.returncode == 0, result.stdout + result.stderr
    answer = box.run("psql", "-XAtqw", "-U", "replicator", "-d", "postgres", "-c", "SELECT 1",
                     PGPASSWORD="canary-ä-replication")
    assert answer.stdout == "1\n"


@pytest.mark.parametrize("box", [14, 18], indirect=True)
def test_no_password_is_kept_among_the_statements(box):
    box.stop()
    with (box.pgdata / "postgresql.auto.conf").open("a") as settings:
        settings.write("shared_preload_libraries = 'pg_stat_statements'\n")
    box.launch()
    box.sql("CREATE EXTENSION pg_stat_statements; CREATE ROLE seen")
    box.script("create-roles.sh")
    seen = box.sql("SELECT query FROM pg_stat_statements").stdout
    assert "CREATE ROLE seen" in seen, "the extension records nothing: this shows nothing"
    assert "canary" not in seen


def test_standbys_may_connect(box):
    box.script("create-roles.sh")
    rules = box.sql("SELECT type, database, user_name, auth_method FROM pg_hba_file_rules "
                    "WHERE 'replicator' = ANY (user_name)").stdout
    assert rules == "host|{replication}|{replicator}|scram-sha-256\n"
    assert box.sql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL").stdout == "0\n"


# ---- finish-initdb.sh

def test_the_last_script_takes_the_mark_away(box):
    mark = box.pgdata.with_name("pgdata.initialising")
    mark.touch()
    box.own()
    box.script("finish-initdb.sh")
    assert not mark.exists()
    box.script("finish-initdb.sh")


# ---- self-test.sh

def self_test(box, **env):
    # In the cluster it comes over the network: the sockets here ask for passwords as well.
    (box.pgdata / "pg_hba.conf").write_text("local all postgres trust\nlocal all all scram-sha-256\n"
                                            "local replication all scram-sha-256\n")
    box.sql("SELECT pg_reload_conf()")
    return box.script("self-test.sh", check=False, **env)


@pytest.mark.parametrize("box", [14, 18], indirect=True)
def test_the_self_test_passes_on_what_create_roles_made(box):
    box.script("create-roles.sh")
    result = self_test(box)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("ok: ") == 6


@pytest.mark.parametrize("damage, complaint", [
    ("REVOKE EXECUTE ON FUNCTION pg_ls_dir(text, boolean, boolean) FROM rewind", "the rewind role lists files"),
    ("REVOKE EXECUTE ON FUNCTION pg_stat_file(text, boolean) FROM rewind", "the rewind role reads files"),
    ("ALTER ROLE rewind SUPERUSER", "the rewind role is no superuser"),
    ("ALTER ROLE replicator NOREPLICATION", "the replication role may replicate"),
    ("ALTER ROLE replicator PASSWORD 'other'", "the replication role may replicate"),
    ("REVOKE EXECUTE ON FUNCTION pg_promote(boolean, integer) FROM \"Odd \"\"promoter\"\"\"", "the promotion role"),
])
def test_the_self_test_finds(box, damage, complaint):
    box.script("create-roles.sh")
    box.sql(damage)
    result = self_test(box)
    assert result.returncode == 1
    assert f"FAILED: {complaint}" in result.stderr


# ---- clone.sh

@pytest.fixture
def clone(box):
    """What `pg-rejoin init` leaves behind when it decides to clone; PGDATA of the clone."""
    box.script("create-roles.sh")
    target = box.folder / "replica/pgdata"
    target.mkdir(parents=True)
    (box.run_dir / "clone-from").write_text(f"host={box.folder} port=5432 user=replicator passfile=/nonexistent\n")
    (box.run_dir / "primary-conninfo.conf").write_text(
        f"primary_conninfo = 'host={box.folder} port=5432 user=replicator'\n")
    box.own()
    return target


def test_clone_becomes_a_streaming_standby(box, clone):
    box.sql("ALTER SYSTEM SET primary_conninfo = 'host=stale'")
    clone.with_name("pgdata.initialising").touch()  # an initdb was cut short here, and its files removed
    result = box.script("clone.sh", PGDATA=str(clone))
    assert "clone: done" in result.stdout
    assert not clone.with_name("pgdata.initialising").exists(), "the gate would not let the clone start"
    assert clone.stat().st_mode & 0o7777 == 0o700
    assert (clone / "standby.signal").exists()
    assert not clone.with_name("pgdata.clone").exists()
    assert not (box.run_dir / "clone-from").exists()
    (box.folder / "replica/sockets").mkdir()
    box.own()
    programs = box.programs
    box.run(programs / "pg_ctl", "-D", clone, "-w", "-l", box.folder / "replica/log", "-o",
            f"-k {box.folder}/replica/sockets -c listen_addresses=''", "start")
    try:
        box.sql("CREATE TABLE arrived AS SELECT 1")
        box.sql("SELECT pg_sleep(0.1) FROM generate_series(1, 100) WHERE NOT EXISTS "
                "(SELECT FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn())")
        for _ in range(100):
            answer = box.run("psql", "-XAtq", "-U", "postgres", "-d", "postgres", "-c", "SELECT count(*) FROM arrived",
                             PGHOST=f"{box.folder}/replica/sockets", check=False)
            if answer.returncode == 0:
                break
            box.sql("SELECT pg_sleep(0.1)")
        assert answer.stdout == "1\n", answer.stderr
    finally:
        box.run(programs / "pg_ctl", "-D", clone, "-m", "immediate", "stop")


def test_nothing_is_done_without_the_decision(box, clone):
    (box.run_dir / "clone-from").unlink()
    result = box.script("clone.sh", PGDATA=str(clone))
    assert "nothing to do" in result.stdout
    assert not list(clone.iterdir())


def test_a_half_copy_is_replaced(box, clone):
    half = clone.with_name("pgdata.clone")
    half.mkdir()
    (half / "PG_VERSION").write_text("half")
    box.own()
    box.script("clone.sh", PGDATA=str(clone))
    assert (clone / "PG_VERSION").read_text() == "15\n"


def test_a_missing_data_directory_is_made(box, clone):
    clone.rmdir()
    box.script("clone.sh", PGDATA=str(clone))
    assert (clone / "standby.signal").exists()


def test_a_failed_copy_leaves_nothing_that_starts_and_can_be_repeated(box, clone):
    good = (box.run_dir / "clone-from").read_text()
    (box.run_dir / "clone-from").write_text(good.replace("5432", "1"))
    box.own()
    assert box.script("clone.sh", check=False, PGDATA=str(clone)).returncode != 0
    assert not (clone / "PG_VERSION").exists()
    (box.run_dir / "clone-from").write_text(good)
    box.own()
    box.script("clone.sh", PGDATA=str(clone))
    assert (clone / "standby.signal").exists()


def test_a_failover_before_the_clone_is_followed_through_the_service(box, clone):
    """The pod that was confirmed is gone; the container alone is run again, and takes the primary's Service."""
    good = (box.run_dir / "clone-from").read_text()
    (box.run_dir / "clone-from").write_text(good.replace("5432", "1"))
    (box.run_dir / "clone-from-service").write_text(good)
    box.own()
    assert box.script("clone.sh", check=False, PGDATA=str(clone)).returncode != 0
    box.script("clone.sh", PGDATA=str(clone))
    assert (clone / "standby.signal").exists()


def test_a_clone_ends_when_its_pod_is_deleted(box, clone):
    """SIGTERM to the script, which is process 1 there, ends the copy and frees the lock at once."""
    slow = box.folder / "slow"
    slow.mkdir()
    (slow / "pg_basebackup").write_text("#!/bin/sh\ntouch \"$PGDATA.begun\"\nexec sleep 100\n")
    (slow / "pg_basebackup").chmod(0o755)
    box.own()
    running = subprocess.Popen([*PLAIN_USER, "sh", script("clone.sh")], cwd=box.folder, env={
        **box.env, "PGDATA": str(clone), "PATH": f"{slow}:{box.env['PATH']}"})
    begun = clone.with_name("pgdata.begun")
    subprocess.run(["sh", "-c", f"while [ ! -e '{begun}' ]; do sleep 0.05; done"], timeout=30, check=True)
    running.terminate()
    assert running.wait(timeout=10) == 143
    subprocess.run(["flock", "--nonblock", clone.with_name("pgdata.lock"), "true"], timeout=10, check=True)
    assert not (clone / "PG_VERSION").exists()


def test_data_is_never_overwritten(box, clone):
    (clone / "PG_VERSION").write_text("15\n")
    box.own()
    result = box.script("clone.sh", check=False, PGDATA=str(clone))
    assert result.returncode == 30 and "not empty" in result.stderr
    assert [p.name for p in clone.iterdir()] == ["PG_VERSION"]


def test_a_volume_in_use_is_left_alone(box, clone):
    lock = clone.with_name("pgdata.lock")
    lock.touch()
    box.own()
    holder = subprocess.Popen(["flock", "--no-fork", str(lock), "sleep", "60"])
    try:
        subprocess.run(["sh", "-c", f"while flock -n '{lock}' true; do sleep 0.05; done"], timeout=10, check=True)
        result = box.script("clone.sh", check=False, PGDATA=str(clone))
        assert result.returncode == 21 and "still uses this volume" in result.stderr
    finally:
        holder.terminate()
        holder.wait()
