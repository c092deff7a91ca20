"""--source-pgdata: the source is a cleanly stopped data directory on the same machine."""

import json

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree, workload

MAJORS = (15, 18)
MODES = {14: "fast", 15: "fast", 16: "immediate", 17: "kill", 18: "kill"}


@pytest.fixture
def pair(directory, templates, tool, seed, request):
    """Diverged, and both stopped."""
    pair = scenario.start_pair(directory, templates, request.param, seed)
    scenario.diverge(pair, MODES[request.param], steps=20, checkpoint_source=tool.needs_checkpoint)
    pair.source.stop("fast")
    print(*pair.story.lines, sep="\n")
    yield pair
    pair.close()


def from_directory(tool, pair, *options):
    run = tool.run_args([*tool.command, "-D", pair.target.data, "--source-pgdata", pair.source.data, *options])
    print(run.describe())
    return run


def refused_untouched(run, before: dict, pair, reason: str) -> None:
    assert run.status == 1 and reason in run.output, run.describe()
    assert tree.changes(before, tree.snapshot(pair.target.data)) == []


def follow(pair, tool) -> None:
    """What -R does where there is a server to connect to."""
    if tool.name == "pg_rewind-15":  # it has copied the source's, which was a standby of the target
        (pair.target.data / "postgresql.auto.conf").write_text("")
    pair.target.make_standby(pair.source)
    pair.source.start()


@pytest.mark.parametrize("pair", envm.MAJORS, indirect=True)
def test_rewind(pair, tool):
    before = tree.snapshot(pair.source.data)
    from_directory(tool, pair, "-P").ok()
    assert tree.changes(before, tree.snapshot(pair.source.data)) == [], "the source was changed"
    assert [p for p in tree.snapshot(pair.target.data) if "rejoin" in p] == []
    follow(pair, tool)
    oracle.verify(pair.target, pair.source)


@pytest.mark.parametrize("pair", MAJORS, indirect=True)
def test_again_and_nothing_to_do(pair, tool):
    """A second run before the first start, and one against a source that has gone on."""
    tool.expect(upstream_lacks="cannot: single-user recovery refuses standby.signal")
    from_directory(tool, pair).ok()
    assert "no rewind required" in from_directory(tool, pair).ok().output
    pair.source.start()
    workload.run(pair.source, pair.story.seed, "later", steps=5)
    pair.source.stop("fast")
    assert "no rewind required" in from_directory(tool, pair).ok().output
    follow(pair, tool)
    oracle.light(pair.target, pair.source)


@pytest.mark.parametrize("pair", MAJORS, indirect=True)
def test_dry_run_and_plan_change_nothing(pair, tool):
    before = tree.snapshot(pair.target.data), tree.snapshot(pair.source.data)
    from_directory(tool, pair, "-n").ok()
    if tool.name == "pg-rejoin":
        plan = tool.run_args([tool.command[0], "plan", "-D", pair.target.data, "--source-pgdata", pair.source.data])
        assert json.loads(plan.ok().stdout)["verdict"] == "rewind"
    after = tree.snapshot(pair.target.data), tree.snapshot(pair.source.data)
    assert [tree.changes(b, a) for b, a in zip(before, after)] == [[], []]


@pytest.mark.parametrize("pair", MAJORS, indirect=True)
def test_sources_that_are_refused(pair, tool):
    """Running, crashed, the target itself."""
    before = tree.snapshot(pair.target.data)
    pair.source.start()
    refused_untouched(from_directory(tool, pair), before, pair, "must be shut down cleanly")
    pair.source.kill()
    refused_untouched(from_directory(tool, pair), before, pair, "must be shut down cleanly")
    same = tool.run_args([*tool.command, "-D", pair.target.data, "--source-pgdata", pair.target.data])
    if tool.name == "pg-rejoin":
        refused_untouched(same, before, pair, "source and target share")


@pytest.mark.parametrize("pair", MAJORS, indirect=True)
def test_a_stopped_standby(pair, directory, tool):
    """It has replayed up to its minimum recovery point, and so will the target."""
    tool.expect(upstream_lacks="takes its last restartpoint for the end")
    pair.source.start()
    second = scenario.add_standby(pair.source, directory, "s2")
    workload.run(pair.source, pair.story.seed, "more", steps=8)
    second.wait_replay(pair.source.flush_lsn())
    second.stop("fast")
    tool.run_args([*tool.command, "-D", pair.target.data, "--source-pgdata", second.data]).ok()
    pair.target.make_standby(second)
    second.start()
    try:
        oracle.verify(pair.target, second, primary=pair.source)
    finally:
        second.kill()


@pytest.mark.parametrize("major", MAJORS)
def test_tablespace_elsewhere(major, directory, templates, tool, seed):
    """On one machine the two have their tablespaces at different places, and each keeps its own."""
    pair = scenario.start_pair(directory, templates, major, seed, segment_mb=1)
    place, other = directory / "space", directory / "space.other"
    for path in (place, other):
        path.mkdir()
        envm.give(path)
    pair.source.stop("fast")
    envm.remove_tree(pair.source.data)
    pair.target.sql(f"CREATE TABLESPACE far LOCATION '{place}'")
    pair.target.sql("CREATE TABLE in_far (k int) TABLESPACE far", workload.DATABASE)
    pair.target.stop("fast")
    envm.copy_tree(pair.target.data, pair.source.data)
    envm.remove_tree(other)
    envm.copy_tree(place, other)
    link = next((pair.source.data / "pg_tblspc").iterdir())
    link.unlink()
    link.symlink_to(other)
    envm.give(link)
    pair.target.start()
    pair.source.make_standby(pair.target)
    pair.source.start()
    pair.source.wait_replay(pair.target.flush_lsn())
    pair.source.promote()
    for node, first in ((pair.target, 1), (pair.source, 100_001)):
        node.sql(f"INSERT INTO in_far SELECT generate_series({first}, {first + 5000})", workload.DATABASE)
        node.sql("CHECKPOINT")
        node.stop("fast")
    try:
        from_directory(tool, pair).ok()
        assert next((pair.target.data / "pg_tblspc").iterdir()).readlink() == place
        follow(pair, tool)
        oracle.verify(pair.target, pair.source)
    finally:
        pair.close()


@pytest.mark.parametrize("pair", MAJORS, indirect=True)
def test_killed_and_the_source_lived_on(pair, tool):
    """The second run copies what the source has become; while its server runs there is none."""
    tool.expect(upstream_lacks="is not safe to kill")
    args = [*tool.command, "-D", pair.target.data, "--source-pgdata", pair.source.data]
    assert tool.run_args(args, env={"PG_REJOIN_KILL_POINT": "copied"}).status == -9
    pair.source.start()
    workload.run(pair.source, pair.story.seed, "between", steps=8)
    half_done = tree.snapshot(pair.target.data)
    refused_untouched(from_directory(tool, pair), half_done, pair, "must be shut down cleanly")
    pair.source.stop("fast")
    from_directory(tool, pair).ok()
    follow(pair, tool)
    oracle.verify(pair.target, pair.source)
