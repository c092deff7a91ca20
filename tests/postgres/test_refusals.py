"""In doubt, refuse before touching anything: exit 1, a reason, and not one byte changed."""

import os
import re
import subprocess

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree
from harness.cluster import REWIND_PASSWORD, Cluster, create_data

MAJORS = (15, 18)
STOP_MODE = {15: "fast", 18: "kill"}


@pytest.fixture(scope="module", params=MAJORS)
def prepared(request, shared_directory, templates, tool):
    """One diverged pair a major, restored for each test; the source also listens on TCP."""
    pair = scenario.start_pair(shared_directory(), templates, request.param, 4711, segment_mb=1, tcp=True)
    scenario.diverge(pair, STOP_MODE[request.param], steps=12, checkpoint_source=tool.needs_checkpoint)
    yield scenario.Prepared(pair)
    pair.close()


def refused(run, before: dict, data, reason: str) -> None:
    """pg_rewind's status 1, a message that says why, an untouched directory."""
    assert run.status == 1, run.describe()
    assert re.search(reason, run.output, re.IGNORECASE), f"no {reason!r} in: {run.describe()}"
    assert tree.changes(before, tree.snapshot(data)) == []


def test_target_is_running(prepared, target, tool):
    target.start()
    run = tool.rewind(target.data, prepared.conninfo())
    assert run.status == 1, run.describe()
    assert re.search("running|in use|lock file|postmaster", run.output), run.describe()
    assert target.value("SELECT count(*) FROM pg_class") > 0
    target.stop("fast")


def test_other_system(prepared, target, tool, directory):
    stranger = Cluster(directory, target.major, "x")
    create_data(stranger.data, target.major, checksums=True, segment_mb=1)
    stranger.start()
    stranger.sql("CREATE ROLE rewind_user SUPERUSER LOGIN")
    before = tree.snapshot(target.data)
    try:
        run = tool.rewind(target.data, stranger.conninfo("rewind_user"))
    finally:
        stranger.stop("fast")
    refused(run, before, target.data, "different system")


@pytest.mark.parametrize("major", MAJORS)
def test_no_checksums_and_no_hint_bits(major, directory, templates, tool, seed):
    pair = scenario.start_pair(directory, templates, major, seed, checksums=False, segment_mb=1,
                               settings={"wal_log_hints": "off"})
    scenario.diverge(pair, "fast", steps=3, checkpoint_source=tool.needs_checkpoint)
    before = tree.snapshot(pair.target.data)
    run = tool.rewind(pair.target.data, pair.conninfo(), "-R")
    pair.close()
    refused(run, before, pair.target.data, "wal_log_hints")


def test_damaged_control_file(prepared, target, tool):
    control = target.data / "global" / "pg_control"
    content = bytearray(control.read_bytes())
    content[40] ^= 0x5A
    control.write_bytes(content)
    before = tree.snapshot(target.data)
    refused(tool.rewind(target.data, prepared.conninfo(), "-R"), before, target.data, "control file|pg_control")


def test_truncated_control_file(prepared, target, tool):
    (target.data / "global" / "pg_control").write_bytes(b"")
    before = tree.snapshot(target.data)
    refused(tool.rewind(target.data, prepared.conninfo(), "-R"), before, target.data, "control file|pg_control")


def test_missing_wal_on_the_target(prepared, target, tool):
    """The segment of the last common checkpoint is gone, and nothing else tells what changed since."""
    segments = sorted(p for p in (target.data / "pg_wal").iterdir() if re.fullmatch("[0-9A-F]{24}", p.name))
    fork = prepared.source.value("SELECT pg_walfile_name(%s)", args=[fork_lsn(prepared)])[8:]
    for segment in segments:
        if segment.name[8:] <= fork:
            segment.unlink()
    before = tree.snapshot(target.data)
    run = tool.rewind(target.data, prepared.conninfo(), "-R")
    refused(run, before, target.data, "WAL")


def fork_lsn(prepared) -> str:
    """Where the source's history says the old timeline ends."""
    rows = prepared.source.value("SELECT pg_read_file('pg_wal/00000002.history')")
    return rows.split()[1]


def test_backup_label_on_the_target(prepared, target, tool):
    """A base backup that never recovered: its files are from many moments."""
    tool.expect(upstream_lacks="ignores a backup_label (a TODO there)")
    label = target.data / "backup_label"
    label.write_text("START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n"
                     "CHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\n"
                     "START TIME: 2024-01-01 00:00:00 UTC\nLABEL: someone's backup\nSTART TIMELINE: 1\n")
    envm.give(label)
    before = tree.snapshot(target.data)
    refused(tool.rewind(target.data, prepared.conninfo(), "-R"), before, target.data, "backup_label")


def test_wrong_password(prepared, target, tool):
    before = tree.snapshot(target.data)
    conninfo = f"host=127.0.0.1 port={prepared.source.port} user=rewind_user dbname=postgres password=wrong-canary"
    run = tool.rewind(target.data, conninfo, "-R")
    refused(run, before, target.data, "password authentication failed")
    assert "wrong-canary" not in run.output, "the password is in the output"


def test_password_over_tcp(prepared, target, tool):
    conninfo = f"host=127.0.0.1 port={prepared.source.port} user=rewind_user dbname=postgres password={REWIND_PASSWORD}"
    run = tool.rewind(target.data, conninfo, "-R").ok()
    assert REWIND_PASSWORD not in run.output
    oracle.light(target, prepared.source)


@pytest.mark.parametrize("where", ["host=no-such-host.invalid", "host=127.0.0.1 port=1", "host=/nonexistent"])
def test_source_not_there(prepared, target, tool, where):
    before = tree.snapshot(target.data)
    run = tool.rewind(target.data, f"{where} user=rewind_user dbname=postgres connect_timeout=3", "-R")
    refused(run, before, target.data, "translate host name|could not|refused|not known|No such file")


@pytest.mark.parametrize("major", MAJORS)
def test_full_page_writes_off_on_the_source(major, directory, templates, tool, seed):
    """What is copied may be torn, and only full page images repair it."""
    pair = scenario.start_pair(directory, templates, major, seed, segment_mb=1)
    scenario.diverge(pair, "fast", steps=3, checkpoint_source=tool.needs_checkpoint)
    source = pair.source
    source.sql("ALTER SYSTEM SET full_page_writes = off")
    source.stop("fast")
    source.start()
    before = tree.snapshot(pair.target.data)
    run = tool.rewind(pair.target.data, pair.conninfo(), "-R")
    pair.close()
    refused(run, before, pair.target.data, "full_page_writes")


GRANTS = [
    "pg_ls_dir(text, boolean, boolean)", "pg_stat_file(text, boolean)", "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
]


@pytest.mark.parametrize("missing", GRANTS)
def test_missing_grant(prepared, target, tool, missing):
    """With one of the four taken away: a named function, or no need for it at all."""
    source = prepared.source
    before = tree.snapshot(target.data)
    source.sql(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{missing} FROM rewind_user")
    try:
        run = tool.rewind(target.data, prepared.conninfo(), "-n")
        if run.status != 0:
            refused(run, before, target.data, f"permission denied for function {missing.split('(')[0]}")
    finally:
        source.sql(f"GRANT EXECUTE ON FUNCTION pg_catalog.{missing} TO rewind_user")


def test_root(prepared, target, tool):
    """Files written by root could not be read by the server."""
    before = tree.snapshot(target.data)
    args = tool.args(target.data, prepared.conninfo(), "-R")
    if os.geteuid() != 0:
        args = ["unshare", "--map-root-user", *args]
    done = subprocess.run(args, capture_output=True, text=True, env=envm.clean_env(), timeout=60)
    assert done.returncode == 1, done.stderr
    assert "root" in done.stderr
    assert tree.changes(before, tree.snapshot(target.data)) == []


@pytest.mark.parametrize("options", [["--no-such-option"], ["-D"], [], ["extra-argument"]])
def test_bad_command_line(tool, options):
    assert tool.run_args([*tool.command, *options]).status == 1


def test_dry_run_changes_nothing(prepared, target, tool):
    before = tree.snapshot(target.data)
    tool.rewind(target.data, prepared.conninfo(), "-R", "-n").ok()
    assert tree.changes(before, tree.snapshot(target.data)) == []
