"""The chart's values change, and change back: the record and the data stay, one pod after the other is made anew."""
import pytest

from release import CHART, NAME, cluster, eventually

pytestmark = pytest.mark.long


def helm(release, verb, *arguments):
    return cluster("exec", "helm", verb, NAME, *arguments, "--namespace", release.namespace)


def test_upgrade_and_rollback(release):
    release.install()
    old, new = release.roles()
    release.make_table(old, new)
    release.promote(new)
    release.assert_follows(old, new)
    record = release.record()
    before = {pod: release.uid(pod) for pod in (old, new)}

    helm(release, "upgrade", CHART, "--reuse-values", "--set", "rejoin.logLevel=debug")
    for pod in before:
        release.wait_replaced(pod, before[pod], timeout=180)
    release.wait_ready(old)
    release.wait_ready(new)
    eventually("the log level is the new one", lambda: "debug" in release.logs(old, "rejoin"), 60)
    assert release.is_read_write(new) and not release.is_read_write(old)
    release.wait_streams(new, old)
    assert release.record() == record

    between = {pod: release.uid(pod) for pod in (old, new)}
    helm(release, "rollback", "1")
    for pod in between:
        release.wait_replaced(pod, between[pod], timeout=180)
    release.wait_ready(old)
    release.wait_ready(new)
    assert release.is_read_write(new)
    release.wait_streams(new, old)
    assert release.record() == record
    assert (release.rows(old, "both"), release.rows(new, "both")) == (500, 500)
