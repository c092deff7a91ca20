"""Twin copies of one diverged target: PostgreSQL's pg_rewind 15 and ours must come to the same."""

import pytest

from harness import environment as envm
from harness import oracle, scenario, tools
from harness.cluster import Cluster


@pytest.mark.parametrize("protection", ["checksums", "hints"])
@pytest.mark.parametrize("stop_mode", scenario.STOP_MODES)
def test_twins(stop_mode, protection, directory, templates, tool, seed):
    checksums = protection == "checksums"
    pair = scenario.start_pair(directory, templates, 15, seed, checksums=checksums)
    rival = tools.pg_rewind_15()
    scenario.diverge(pair, stop_mode, checkpoint_source=True)
    print(*pair.story.lines, sep="\n")
    twin = Cluster(directory, 15, "twin", settings=pair.target.settings)
    envm.copy_tree(pair.target.data, twin.data)
    try:
        print(rival.rewind(twin.data, pair.conninfo(), "-R").ok().describe())
        print(tool.rewind(pair.target.data, pair.conninfo(), "-R").ok().describe())
        twin.start()
        pair.target.start()
        oracle.settle(pair.source)
        lsn = pair.source.flush_lsn()
        for node in (twin, pair.target):
            node.wait_replay(lsn)
        problems = oracle.compare(oracle.read_image(pair.target), oracle.read_image(twin))
        assert problems == [], "ours (target) and pg_rewind's (source) differ"
        twin.stop("fast")
        pair.target.stop("fast")
        oracle.verify(pair.target, pair.source, checksums=checksums)
        # Rows only: upstream leaves SP-GiST metapages behind (test_scenarios.py, test_spgist_metapage).
        oracle.light(twin, pair.source)
    finally:
        twin.kill()
        pair.close()
