"""Recovery asks the archive before pg_wal. An archive that another server of the same system has written to must not
lead the rewound node onto that one's line."""

import shutil

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree, workload

MAJORS = (15, 18)
MEANT = "the archive that \"restore_command\" reads has "
OTHERS = {
    "history": "00000002.history, which is not of the source's line",
    "later history": "00000002.history, which is not of the source's line",
    "segments": "with other WAL than the source's",
    "newer timeline": "00000003.history, which is not of the source's line",
}


def work(node, label) -> None:
    workload.run(node, 7, label, connections=2, steps=6)


@pytest.fixture(params=MAJORS)
def three(request, directory, templates, seed):
    """Primary, standby and another standby, and the archive that the primary's recovery reads."""
    pair = scenario.start_pair(directory, templates, request.param, seed, segment_mb=1)
    other = scenario.add_standby(pair.target, directory, "other")
    archive = directory / "archive"
    archive.mkdir()
    envm.give(archive)
    work(pair.target, "common")
    yield pair, other, archive
    pair.close()
    other.kill()


def store(node, archive, timeline: str) -> None:
    """What the node would have archived of its timeline."""
    node.sql("SELECT pg_switch_wal()")
    current = node.value("SELECT pg_walfile_name(pg_current_wal_lsn())")
    for path in (node.data / "pg_wal").iterdir():
        if path.name.startswith(timeline) and path.name < current and path.is_file():
            shutil.copy(path, archive)
            envm.give(archive / path.name)
    store_history(node, archive, timeline)


def store_history(node, archive, timeline: str) -> None:
    name = f"{timeline}.history"
    shutil.copy(node.data / "pg_wal" / name, archive)
    envm.give(archive / name)


def part(pair, other, archive, how: str) -> None:
    """The source and the other one go separate ways, and the other one archives its own."""
    primary, source = pair.target, pair.source
    if how == "history":
        other.wait_replay(primary.flush_lsn())
        other.promote()
        work(primary, "more")
    elif how == "newer timeline":
        other.stop("fast")
        other.append_conf(f"primary_conninfo = '{source.conninfo('rewind_user')}'", "postgresql.auto.conf")
        other.start()
    elif how == "later history":
        source.wait_replay(primary.flush_lsn())
        source.promote()
        work(primary, "more")
    primary.stop("fast")  # a clean stop sends everything: who follows ends at the same LSN
    if how != "later history":
        source.promote()
    if how in ("segments", "later history"):
        other.promote()
    elif how == "newer timeline":
        work(source, "second")
        other.wait_replay(source.flush_lsn())
        other.stop("fast")
        work(source, "ahead")
        other.start_promoted()
    work(source, "source")
    work(other, "other")
    if how == "later history":  # no segment has been archived yet
        store_history(other, archive, "00000002")
    else:
        store(other, archive, "00000003" if how == "newer timeline" else "00000002")
    primary.start()
    work(primary, "lost")
    primary.kill()
    primary.append_conf(f"restore_command = 'cp {archive}/%f %p'", "postgresql.auto.conf")


def test_command_that_cannot_be_run_here(three, tool):
    """The server may be able to: without -c nothing depends on it."""
    pair, other, archive = three
    part(pair, other, archive, "segments")
    pair.target.append_conf("restore_command = 'no-such-command %f %p'", "postgresql.auto.conf")
    run = tool.rewind(pair.target.data, pair.conninfo(), "-R").ok()
    assert "what recovery will find in the archive is not checked" in run.output
    oracle.light(pair.target, pair.source, settings={"restore_command": ""})


@pytest.mark.parametrize("option", ["", "-c"])
@pytest.mark.parametrize("how", OTHERS)
def test_of_another_line(how, option, three, tool):
    tool.expect(upstream_lacks="does not ask")
    pair, other, archive = three
    part(pair, other, archive, how)
    before = tree.snapshot(pair.target.data)
    run = tool.rewind(pair.target.data, pair.conninfo(), "-R", *filter(None, [option]))
    print(run.describe())
    assert run.status == 1 and MEANT in run.output and OTHERS[how] in run.output
    assert tree.changes(before, tree.snapshot(pair.target.data)) == []
    for path in archive.iterdir():
        path.unlink()
    store(pair.source, archive, "00000002")
    tool.rewind(pair.target.data, pair.conninfo(), "-R").ok()
    oracle.verify(pair.target, pair.source)
