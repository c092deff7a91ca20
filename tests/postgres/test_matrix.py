"""The bar: every major, every way a primary can end, both ways its hint bits are protected."""

import random

import pytest

from harness import oracle, scenario, workload
from harness.environment import MAJORS


# All resource managers but hash: a plain standby of 16 stops at "inconsistent page" in Hash/DELETE.
CONSISTENCY = {"wal_consistency_checking": "heap, heap2, btree, gin, gist, spgist, brin, sequence, generic"}


@pytest.mark.parametrize("protection", ["checksums", "hints"])
@pytest.mark.parametrize("stop_mode", scenario.STOP_MODES)
@pytest.mark.parametrize("major", MAJORS)
def test_rewind(major, stop_mode, protection, directory, templates, tool, seed):
    rng = random.Random(f"{seed}/matrix")
    # Not hash: before 17 a bucket's clean-up logs the image of a page that it has not locked.
    checked = "heap2,heap,btree,gin,gist,sequence,spgist,brin,generic"
    settings = {"wal_consistency_checking": checked} if rng.random() < 0.25 else {}
    checksums = protection == "checksums"
    pair = scenario.start_pair(directory, templates, major, seed, checksums=checksums, settings=settings)
    try:
        scenario.diverge(pair, stop_mode, checkpoint_source=tool.needs_checkpoint)
        busy = workload.Workload(pair.source, seed, "busy", connections=2, steps=None) if rng.random() < 0.5 else None
        if busy:
            pair.story.tell("source under load during the rewind")
            busy.start()
        print(*pair.story.lines, sep="\n")
        run = tool.rewind(pair.target.data, pair.conninfo(), "-R", "-P")
        if busy:
            busy.stop()
        print(run.describe())
        run.ok()
        oracle.verify(pair.target, pair.source, checksums=checksums)
    finally:
        pair.close()
