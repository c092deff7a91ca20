"""The record names a pod that does not answer: the old primary waits, for ever if need be."""


def test_waits_and_never_starts_read_write(release):
    release.install("--set", "rejoin.deadlineSeconds=5")
    old, standby = release.roles()
    release.make_table(old, standby)

    release.patch_record(primary="demo-2", epoch="2")  # may exist (maxReplicas is 3), does not
    release.delete_pod(old)
    found = release.wait_outcome(old, "waiting", "PrimaryUnreachable")
    assert "demo-2" in found["message"], found
    # Beyond the deadline: the container ends with status 10 and is started again.
    release.assert_not_started(old, seconds=12)
    assert release.restarts(old)["rejoin-init"] >= 1
    message, code = release.termination(old)
    assert code == 10 and message["reason"] == "PrimaryUnreachable", message

    # The standby goes on answering reads, and stays one when it is restarted.
    release.delete_pod(standby)
    release.wait_ready(standby)
    assert not release.is_read_write(standby)
    assert release.rows(standby, "both") == 500
    release.assert_never_read_write(standby)

    release.patch_record(primary=old, epoch="3")
    release.wait_ready(old)
    assert release.is_read_write(old)
    release.assert_follows(standby, old)
