"""How long it takes. -s shows the figures; no time is a reason to fail. Machines are noisy: medians, and nothing else
should run meanwhile."""
import statistics
import time

import pytest
from release import eventually

pytestmark = pytest.mark.long

ROUNDS = 5


def show(what, seconds):
    figures = ", ".join(f"{s:.2f}" for s in seconds)
    print(f"\n{what}: median {statistics.median(seconds):.2f} s of {figures}")


def test_promotion_to_streaming(release):
    """The old primary still runs, and has transactions that the promoted standby lacks."""
    release.install()
    old, new = release.roles()
    release.make_table(old, new)
    taken = []
    for lost in range(1, ROUNDS + 1):
        release.cut(new)
        release.insert(old, "lost", lost)
        before = release.uid(old)
        begin = time.monotonic()
        release.promote(new)
        release.wait_streams(new, old)
        taken.append(time.monotonic() - begin)
        assert release.uid(old) != before
        assert release.wait_outcome(old, "rejoined")["discarded-transactions"] == str(lost)
        old, new = new, old
    show("promotion to streaming, a rewind between", taken)


def test_gate(release):
    """From the gate's question to the first word of what it starts: the whole of what it adds, but for a lock."""
    release.install()
    primary, standby = release.roles()
    added = []
    for _ in range(ROUNDS):
        release.delete_pod(primary)
        release.wait_ready(primary)
        release.wait_streams(primary, standby)
        lines = eventually("the server has said something", lambda: len(found := release.timed_log(primary)) > 1 and found)
        assert "asking the sidecar" in lines[0][1], lines[0]
        added.append(lines[1][0] - lines[0][0])
    show("the gate of a primary", added)
