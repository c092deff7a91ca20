"""What a rewind leaves alone, what it writes, and what a second run does."""

import re

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree

MAJORS = (15, 17)


@pytest.fixture(scope="module", params=MAJORS)
def prepared(request, shared_directory, templates, tool):
    pair = scenario.start_pair(shared_directory(), templates, request.param, 815, segment_mb=1)
    scenario.diverge(pair, "immediate", steps=12, checkpoint_source=tool.needs_checkpoint)
    yield scenario.Prepared(pair)
    pair.close()


OWN_FILES = {
    "server.crt": "certificate of the target\n", "server.key": "key of the target\n", "root.crt": "ca\n",
    "pg_ident.conf": "# ident of the target\n", "log/postgresql-1.log": "what happened before the failover\n",
}


def put(data, name: str, content: str) -> None:
    path = data / name
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700)
        envm.give(path.parent)
    path.write_text(content)
    path.chmod(0o600)
    envm.give(path)


def test_configuration_of_the_target_stays(prepared, target, tool):
    """Its settings, its certificates, its logs: the reason it died may be in there."""
    tool.expect(upstream_lacks="overwrites configuration with the source's")
    for name, content in OWN_FILES.items():
        put(target.data, name, content)
    target.append_conf("# only on the target\nwork_mem = '7MB'")
    target.append_conf("# hba of the target", "pg_hba.conf")
    target.append_conf("maintenance_work_mem = '21MB'", "postgresql.auto.conf")
    kept = {n: (target.data / n).read_text() for n in [*OWN_FILES, "postgresql.conf", "pg_hba.conf"]}
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    assert {n: (target.data / n).read_text() for n in kept} == kept
    automatic = (target.data / "postgresql.auto.conf").read_text()
    assert "maintenance_work_mem = '21MB'" in automatic
    assert re.findall("^primary_conninfo *= *'.*rewind_user", automatic, re.M)
    oracle.light(target, prepared.source)


def test_recovery_configuration(prepared, target, tool):
    """-R: an empty standby.signal of the right mode, and a conninfo that streams."""
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    signal_file = target.data / "standby.signal"
    assert signal_file.stat().st_size == 0 and signal_file.stat().st_mode & 0o777 == 0o600
    oracle.light(target, prepared.source)


def test_recovery_target_of_the_target_does_not_stop_it(prepared, target, tool):
    """A forgotten recovery_target in postgresql.auto.conf must not hold the new standby back."""
    tool.expect(upstream_lacks="keeps it")
    target.append_conf("recovery_target_xid = '900'\nrecovery_target_action = 'shutdown'", "postgresql.auto.conf")
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    oracle.light(target, prepared.source)


def test_again_after_success(prepared, target, tool):
    """Before the first start, an init container may run again at any time."""
    tool.expect(upstream_lacks="cannot: single-user recovery refuses standby.signal")
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    oracle.verify(target, prepared.source)


def test_again_as_a_standby(prepared, target, tool):
    """And again after the node has streamed and was stopped."""
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    oracle.light(target, prepared.source)
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    oracle.verify(target, prepared.source)


def test_no_leftovers(prepared, target, tool):
    """Nothing of ours stays once the job is done, and no lock beside the directory is held."""
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    left = [p for p in tree.snapshot(target.data) if re.search("rejoin", p)]
    assert left == []


def test_file_modes(prepared, target, tool):
    tool.rewind(target.data, prepared.conninfo(), "-R").ok()
    wrong = {p: w for p, w in tree.snapshot(target.data).items()
             if (w[0] == "file" and w[1] != oct(0o100600)) or (w[0] == "directory" and w[1] != oct(0o040700))}
    assert wrong == {}
    owners = {p.stat().st_uid for p in target.data.rglob("*")}
    assert owners == {target.data.stat().st_uid}


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("stop_mode", scenario.STOP_MODES)
def test_same_timeline(major, stop_mode, directory, templates, tool, seed):
    """A standby that merely stopped: nothing to do, exit 0, and it follows again."""
    from harness import workload
    pair = scenario.start_pair(directory, templates, major, seed, segment_mb=1)
    primary, standby = pair.target, pair.source
    workload.run(primary, seed, "before", steps=8)
    standby.wait_replay(primary.flush_lsn())
    standby.stop(stop_mode)
    workload.run(primary, seed, "after", steps=8)
    if tool.name != "pg_rewind-15" or stop_mode == "fast":
        tool.rewind(standby.data, primary.conninfo("rewind_user"), "-R").ok()
    oracle.verify(standby, primary)
    pair.close()
