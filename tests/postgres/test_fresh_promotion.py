"""The source was promoted so recently that its control file still speaks of the time before."""

import pytest

from harness import controlfile, oracle, scenario
from harness.cluster import Cluster
from harness.workload import DATABASE

SETTINGS = {"autovacuum": "off", "checkpoint_timeout": "1h"}


def start(directory, templates, major, seed, nodes):
    """A primary whose standbys have much to write, and the last checkpoint of which they have replayed, not made."""
    pair = scenario.start_pair(directory, templates, major, seed, settings=SETTINGS)
    nodes += [pair.target, pair.source]
    pair.target.sql("CREATE TABLE wide AS SELECT g, repeat('w', 700) v FROM generate_series(1, 9000) g", DATABASE)
    pair.target.sql("CREATE TABLE kept AS SELECT g FROM generate_series(1, 1000) g", DATABASE)
    return pair.target, pair.source


def fill(primary: Cluster) -> None:
    primary.sql("CHECKPOINT")
    primary.sql("UPDATE wide SET v = repeat('u', 700)", DATABASE)


def stale(*promoted: Cluster) -> None:
    for node in promoted:
        assert controlfile.read(node.data).checkpoint_timeline == 1, "its checkpoint was done: this shows nothing"


@pytest.mark.parametrize("stop_mode", ["fast", "kill"])
@pytest.mark.parametrize("major", [14, 17])
def test_source_has_made_no_checkpoint_yet(major, stop_mode, directory, templates, tool, seed, nodes):
    """Its control file says timeline 1, and the restartpoint there is older than the last common checkpoint."""
    tool.expect(upstream_lacks="takes it for timeline 1")
    primary, source = start(directory, templates, major, seed, nodes)
    fill(primary)
    source.wait_replay(primary.flush_lsn())
    source.promote()
    primary.sql("UPDATE kept SET g = -g", DATABASE)
    primary.sql("UPDATE wide SET v = 'lost' WHERE g % 4 = 0", DATABASE)
    source.sql("INSERT INTO kept SELECT generate_series(1001, 2000)", DATABASE)
    primary.stop(stop_mode)
    scenario.rewind(tool, primary, source).ok()
    stale(source)
    oracle.verify(primary, source)
    assert source.value("SELECT count(*) FROM kept WHERE g > 0", DATABASE) == 2000


@pytest.mark.parametrize("who", ["the first primary", "the second primary"])
@pytest.mark.parametrize("major", [16, 18])
def test_second_failover_before_the_first_ones_checkpoint(major, who, directory, templates, tool, seed, nodes):
    """Two promotions in a row, and nobody has made a checkpoint since the first: whoever died can follow the last one."""
    tool.expect(upstream_lacks="takes it for timeline 1")
    first, second = start(directory, templates, major, seed, nodes)
    third = scenario.add_standby(first, directory, "c", upstream=second)
    nodes.append(third)
    fill(first)
    third.wait_replay(first.flush_lsn())
    second.promote()
    first.sql("UPDATE kept SET g = -g", DATABASE)
    first.kill()
    second.sql("INSERT INTO kept SELECT generate_series(1001, 2000)", DATABASE)
    third.wait_replay(second.flush_lsn())
    third.stop("immediate")
    second.sql("UPDATE kept SET g = -2 * g", DATABASE)
    second.sql("UPDATE wide SET v = 'lost' WHERE g % 4 = 0", DATABASE)
    second.kill()
    third.start_promoted()
    third.sql("INSERT INTO kept SELECT generate_series(2001, 3000)", DATABASE)
    target = first if who == "the first primary" else second
    scenario.rewind(tool, target, third).ok()
    stale(second, third)
    oracle.verify(target, third)
    assert third.value("SELECT count(*) FROM kept WHERE g > 0", DATABASE) == 3000
