"""-c: WAL of the target that its pg_wal lacks comes from its archive, by its own restore_command."""

import json
import os
import re

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree

MAJORS = (15, 18)
STOP_MODE = {15: "fast", 18: "kill"}
SEGMENT = re.compile("[0-9A-F]{24}")


@pytest.fixture(scope="module", params=MAJORS)
def prepared(request, shared_directory, templates, tool):
    pair = scenario.start_pair(shared_directory(), templates, request.param, 2718, segment_mb=1)
    scenario.diverge(pair, STOP_MODE[request.param], steps=15, checkpoint_source=tool.needs_checkpoint)
    yield scenario.Prepared(pair)
    pair.close()


@pytest.fixture
def target(prepared, directory):
    """All of its segments are in an archive, and none is in pg_wal."""
    node = prepared.fresh_target(directory)
    node.archive = directory / "archive"
    node.archive.mkdir()
    envm.give(node.archive)
    for path in (node.data / "pg_wal").iterdir():
        if SEGMENT.fullmatch(path.name):
            path.rename(node.archive / path.name)
    yield node
    node.kill()


def copy_command(node, placeholder="%f") -> str:
    return f"cp {node.archive}/{placeholder} %p"


def set_command(node, command: str) -> None:
    quoted = command.replace("'", "''")
    node.append_conf(f"restore_command = '{quoted}'", "postgresql.auto.conf")


def needed(node) -> list:
    """Segments from where replay begins to before the fork, by label and history of the result."""
    label = (node.data / "backup_label").read_text()
    first = re.search(r"^START WAL LOCATION: \S+ \(file ([0-9A-F]{24})\)", label, re.M)[1]
    high, low = (node.data / "pg_wal/00000002.history").read_text().split()[1].split("/")
    fork = (int(high, 16) << 32 | int(low, 16)) >> 20
    number = int(first[8:16], 16) * 4096 + int(first[16:], 16)
    return [f"00000001{n // 4096:08X}{n % 4096:08X}" for n in range(number, fork)]


def untouched(run, before: dict, node, reason: str) -> None:
    assert run.status == 1 and reason in run.output, run.describe()
    assert tree.changes(before, tree.snapshot(node.data)) == []


def test_without_it_is_refused(prepared, target, tool):
    set_command(target, copy_command(target))
    before = tree.snapshot(target.data)
    run = tool.rewind(target.data, prepared.conninfo(), "-R")
    untouched(run, before, target, "could not read WAL record")
    # By this Patroni knows what to fetch, where it passes no --restore-target-wal (14).
    assert re.search(f'could not open file "{target.data}/pg_wal/{SEGMENT.pattern}": No such file', run.output), run.describe()


def test_configuration_elsewhere(prepared, target, tool, directory):
    """The server that starts here later knows of no archive: replay has all it needs in pg_wal."""
    tool.expect(upstream_lacks="overwrites the configuration that oracle.verify relies on")
    conf = directory / "rewind.conf"
    conf.write_text(f"include '{target.data / 'postgresql.conf'}'\nRestore_Command '{copy_command(target)}' # once\n")
    run = tool.rewind(target.data, prepared.conninfo(), "-R", "-c", "--config-file", conf).ok()
    print(run.describe())
    segments = needed(target)
    assert segments, "the story is too short: replay begins in the segment of the fork"
    for name in segments:
        assert (target.data / "pg_wal" / name).read_bytes() == (target.archive / name).read_bytes()
        assert (target.data / "pg_wal/archive_status" / f"{name}.done").exists()
    assert [p for p in tree.snapshot(target.data) if "rejoin" in p] == []
    oracle.verify(target, prepared.source)


def test_configuration_of_the_target(prepared, target, tool):
    set_command(target, f"test -f PG_VERSION && {copy_command(target)}")
    tool.rewind(target.data, prepared.conninfo(), "-R", "--restore-target-wal").ok()
    oracle.light(target, prepared.source)


def test_only_the_oldest_is_gone(prepared, target, tool):
    """As after the removal of old segments: what pg_wal has is read there."""
    set_command(target, copy_command(target))
    names = sorted(p.name for p in target.archive.iterdir())
    for name in names[len(names) // 2:]:
        (target.archive / name).rename(target.data / "pg_wal" / name)
    run = tool.rewind(target.data, prepared.conninfo(), "-R", "-c").ok()
    if tool.name == "pg-rejoin":
        assert f'restored file "{names[len(names) // 2]}"' not in run.output
    oracle.light(target, prepared.source)


def test_dry_run_changes_nothing(prepared, target, tool):
    set_command(target, copy_command(target))
    before = tree.snapshot(target.data)
    run = tool.rewind(target.data, prepared.conninfo(), "-R", "-n", "-c").ok()
    assert tree.changes(before, tree.snapshot(target.data)) == []
    assert "Done" in run.output


def test_plan(prepared, target, tool):
    """It says which part of the WAL only the archive has."""
    set_command(target, copy_command(target))
    before = tree.snapshot(target.data)
    run = envm.run([tool.command[0], "plan", "-D", target.data, f"--source-server={prepared.conninfo()}", "-c"])
    plan = json.loads(run.stdout)
    assert [part["where"] for part in plan["wal"]] == ["archive", "source"], plan["wal"]
    assert plan["wal"][0]["from"] == plan["start"]["lsn"] and plan["wal"][0]["to"] == plan["fork"]["lsn"]
    assert plan["discarded"]["first_commit"] <= plan["discarded"]["last_commit"]
    assert tree.changes(before, tree.snapshot(target.data)) == []


@pytest.mark.parametrize("command,reason", [
    ("false", "could not read WAL record"),
    ("true", "could not read WAL record"),
    ("no-such-command %f %p canary-5d1c", '"restore_command" failed: command not found'),
    ("kill -KILL $$; : canary-5d1c", '"restore_command" failed: child process was terminated by signal 9'),
    ("head -c 5000 ARCHIVE/%f > %p; : canary-5d1c", "unexpected file size"),
    ("ln -s ARCHIVE/%f %p", "not a regular file"),
    ("cp ARCHIVE/%x %p", "unexpected placeholder"),
    ("", '"restore_command" is not set in the target cluster'),
])
def test_bad_command(prepared, target, tool, command, reason):
    tool.expect(upstream_lacks="has other words, and follows links")
    set_command(target, command.replace("ARCHIVE", str(target.archive)))
    before = tree.snapshot(target.data)
    run = tool.rewind(target.data, prepared.conninfo(), "-R", "-c")
    untouched(run, before, target, reason)
    assert "canary" not in run.output.replace("canary-5d1c: not found", ""), "the command is in the output"


def test_command_fails_half_way(prepared, target, tool):
    """It gives one segment and is killed at the next: what was restored goes away again."""
    tool.expect(upstream_lacks="leaves it in pg_wal")
    set_command(target, f"test -e {target.archive}/done && kill -9 $$; touch {target.archive}/done; {copy_command(target)}")
    before = tree.snapshot(target.data)
    run = tool.rewind(target.data, prepared.conninfo(), "-R", "-c")
    untouched(run, before, target, "terminated by signal 9")


@pytest.mark.parametrize("point", ["planned", "journal-durable"])
def test_killed_before_the_fence(prepared, target, tool, point):
    """As if nothing had been: the next run begins anew, and again needs the archive."""
    tool.expect(upstream_lacks="is not safe to kill")
    set_command(target, copy_command(target))
    args = tool.args(target.data, prepared.conninfo(), "-R", "-c")
    assert tool.run_args(args, env={"PG_REJOIN_KILL_POINT": point}).status == -9
    assert tool.rewind(target.data, prepared.conninfo(), "-R").status == 1
    tool.run_args(args).ok()
    oracle.light(target, prepared.source)


@pytest.mark.parametrize("point", ["fenced", "diverged-wal-aside", "wal-segment-installed", "published-noted"])
def test_killed_and_finished_without_the_archive(prepared, target, tool, point):
    """From the fence on the directory itself has all that the rewind needs."""
    tool.expect(upstream_lacks="is not safe to kill")
    set_command(target, copy_command(target))
    args = tool.args(target.data, prepared.conninfo(), "-R", "-c")
    assert tool.run_args(args, env={"PG_REJOIN_KILL_POINT": point}).status == -9
    for path in target.archive.iterdir():
        os.unlink(path)
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    for name in needed(target):
        assert (target.data / "pg_wal" / name).exists()
    oracle.light(target, prepared.source)


# ---- real archivers


def pgbackrest(node, data) -> str:
    """Archives what lies in the node's archive; returns the restore_command."""
    place = node.directory / "pgbackrest"
    place.mkdir()
    envm.give(place)
    command = ["pgbackrest", "--stanza=main", f"--pg1-path={data}", f"--repo1-path={place}", f"--lock-path={place}/lock",
               "--log-level-file=off", "--log-level-console=warn"]
    envm.run([*command, "--no-online", "stanza-create"])
    for path in sorted(node.archive.iterdir()):
        envm.run([*command, "archive-push", path])
    return " ".join([*map(str, command), "archive-get", "%f", '"%p"'])


def barman(node, _) -> str:
    """Files as `barman archive-wal` leaves them, which would ask the server that is down."""
    place = node.directory / "barman"
    wals = place / "main/wals"
    conf = node.directory / "barman.conf"
    user = envm.run(["id", "-un"]).stdout.strip()
    conf.write_text(f"[barman]\nbarman_home = {place}\nbarman_user = {user}\nlog_file = {place}/log\n"
                    "[main]\ndescription = main\nconninfo = host=/nonexistent\narchiver = on\n"
                    "backup_method = local-rsync\n")
    for path in sorted(node.archive.iterdir()):
        envm.run(["install", "-D", path, wals / path.name[:16] / path.name])
    return f"barman --config {conf} get-wal main %f > %p"


# Debian's pgBackRest knows servers up to 15.
@pytest.mark.parametrize("prepared, archiver", [(15, pgbackrest), (15, barman), (18, barman)], indirect=["prepared"])
def test_real_archiver(prepared, target, tool, archiver):
    set_command(target, archiver(target, target.data))
    names = sorted(p.name for p in target.archive.iterdir())
    for name in names[len(names) * 2 // 3:]:  # Barman takes a second for each that is asked for
        (target.archive / name).rename(target.data / "pg_wal" / name)
    envm.remove_tree(target.archive)
    run = tool.rewind(target.data, prepared.conninfo(), "-R", "-c")
    print(run.describe())
    run.ok()
    assert any(f'restored file "{name}"' in run.output for name in names)
    # The server would ask the archive for each segment that it streams.
    oracle.light(target, prepared.source, settings={"restore_command": ""})
