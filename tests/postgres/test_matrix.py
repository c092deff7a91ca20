"""The bar: every major, every way a primary can end, both ways its hint bits are protected."""

import random

import pytest

from harness import oracle, scenario, workload
from harness.environment import MAJORS
from harness.situation import CONSISTENCY_CHECKING


@pytest.mark.parametrize("protection", ["checksums", "hints"])
@pytest.mark.parametrize("stop_mode", scenario.STOP_MODES)
@pytest.mark.parametrize("major", MAJORS)
def test_rewind(major, stop_mode, protection, directory, templates, tool, seed):
    rng = random.Random(f"{seed}/matrix")
    settings = {}
    if rng.random() < 0.25:  # an image in every record takes minutes to compress
        settings = {"wal_consistency_checking": CONSISTENCY_CHECKING, "wal_compression": "off"}
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
