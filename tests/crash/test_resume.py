"""A resumed run does not send again what is already durable here."""

import os
import signal

import pytest

from harness import faults, oracle, scenario, workload
from harness.proxy import CountingProxy

AGAIN_PERCENT_MAX = 5
# Lists, small files and what is on its way at the kill are some MB, however much there is to copy: 5 % has to be more.
ROWS = 120_000


@pytest.fixture(scope="module", params=[15, 18])
def prepared(request, shared_directory, templates):
    """Half of what is copied is a table that only the source has, the other half the changed blocks
    of one that both have."""
    pair = scenario.start_pair(shared_directory(), templates, request.param, 815 + request.param, segment_mb=16,
                               settings={"autovacuum": "off", "max_wal_size": "4GB"})
    primary, standby = pair.target, pair.source
    fill = f"SELECT g, repeat('x', 1000) FROM generate_series(1, {ROWS}) g"
    primary.sql(f"CREATE TABLE both_have AS {fill}", workload.DATABASE)
    primary.sql("CHECKPOINT")
    standby.wait_replay(primary.flush_lsn())
    standby.promote()
    standby.sql("CHECKPOINT")
    standby.sql(f"CREATE UNLOGGED TABLE new AS {fill}; ALTER TABLE new SET LOGGED", workload.DATABASE)
    standby.sql("CHECKPOINT")
    primary.sql("DELETE FROM both_have WHERE g % 3 = 0", workload.DATABASE)
    primary.stop("fast")
    yield scenario.Prepared(pair)
    pair.close()


# What is on the way: a large part of it WAL, or nearly all of it blocks.
MODES = {"WAL and blocks": [], "everything copied": ["--copy-replayed-blocks"]}


def rewind_through(proxy, prepared, node, tool, options, kill_at=None, env=None):
    """Bytes that the source sent, until the end or until the tool was killed at kill_at."""
    begin = proxy.total
    conninfo = prepared.conninfo(host=proxy.directory)
    process = tool.spawn(node.data, conninfo, "-R", *options, env=env)
    if kill_at is not None:
        proxy.on_bytes = lambda total: total - begin >= kill_at and os.killpg(process.pid, signal.SIGKILL)
    status = process.wait(120)
    proxy.on_bytes = lambda total: None
    assert status == (-signal.SIGKILL if kill_at is not None else 0)
    return proxy.total - begin


@pytest.mark.parametrize("mode, percent, storage", [
    *(("WAL and blocks", percent, "as it is") for percent in (30, 60, 90)),
    ("everything copied", 60, "as it is"), ("everything copied", 60, "slow")])
def test_killed_at(mode, percent, storage, prepared, directory, tool, root, record_property):
    tool.expect(upstream_lacks="cannot be run again")
    proxy = CountingProxy(directory / "proxy", prepared.source.socket_directory)
    whole = prepared.fresh_target(directory)
    in_all = rewind_through(proxy, prepared, whole, tool, MODES[mode])
    whole.wipe()
    node = prepared.fresh_target(directory)
    shim = faults.make(root, node.data, directory)
    rewind_through(proxy, prepared, node, tool, MODES[mode], kill_at=in_all * percent // 100,
                   env=shim.at("syncfs", 1, "slow300+") if storage == "slow" else None)
    again = 100 * rewind_through(proxy, prepared, node, tool, MODES[mode]) / in_all
    record_property("tally", f"{mode}, storage {storage}, killed at {percent} %: {again:.0f} % sent again, of {in_all >> 20} MB")
    assert again <= 100 - percent + AGAIN_PERCENT_MAX
    oracle.verify(node, prepared.source)
    proxy.close()


def test_storage_that_syncs_for_seconds_is_asked_less_often(prepared, directory, tool, root):
    """Somebody else's dirty pages may be what a sync waits for: a hundred parts would be minutes."""
    tool.expect(upstream_lacks="does not sync while it copies")
    node = prepared.fresh_target(directory)
    shim = faults.make(root, node.data, directory)
    tool.rewind(node.data, prepared.conninfo(), "-R", "--copy-replayed-blocks", env=shim.at("syncfs", 1, "slow1100+")).ok()
    assert 3 <= shim.counts()["syncfs"] <= 12, shim.counts()
    oracle.verify(node, prepared.source)
