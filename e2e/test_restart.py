"""A healthy primary's pod is restarted: it comes back read-write, alone or with a standby."""
import pytest


@pytest.mark.parametrize("replicas", [1, 2])
def test_primary_comes_back_read_write(release, replicas):
    release.install(replicas=replicas)
    primary = release.record()["primary"]
    standby = None if replicas == 1 else release.roles()[1]
    release.make_table(primary, standby)

    release.delete_pod(primary)
    release.wait_ready(primary)
    assert release.is_read_write(primary), release.dump()
    found = release.annotations(primary)
    assert found["outcome"] == "started" and found["reason"] == "Leader", found
    assert "discarded-transactions" not in found, found
    release.sql(primary, "INSERT INTO t (origin) VALUES ('after');")
    assert (release.rows(primary, "both"), release.rows(primary, "after")) == (500, 1)
    assert release.record()["epoch"] == "1" and release.record()["timeline"] == "1", release.record()
    if standby:
        release.wait_streams(primary, standby)
        release.wait_rows(standby, "after", 1)
        release.assert_never_read_write(standby)
