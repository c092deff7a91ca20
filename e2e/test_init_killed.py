"""The init container is killed in the middle of a rewind: the server does not start, and the next run finishes."""
import os
import signal

from release import eventually, fenced


def test_killed_in_the_middle_of_the_copy(release):
    release.install("--set", "rejoin.connections=1", "--set", "rejoin.logLevel=debug", restart_pod=False)
    old, new = release.roles()
    release.diverge_much(old, new)
    release.promote(new)
    control = release.volume(old) / "pgdata/global/pg_control"
    release.delete_pod(old)
    uid = release.uid(old)

    eventually("the copy has begun", lambda: fenced(control), 60, pause=0.005)
    os.kill(release.agent_pid(old, "init", uid), signal.SIGKILL)
    assert fenced(control), "the copy was over before the kill: this shows nothing"
    release.assert_not_started(old)

    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "2", found
    assert release.restarts(old)["rejoin-init"] >= 1
    message, _ = release.termination(old)
    assert (message["outcome"], message["reason"]) == ("resumed", "InterruptedRewind"), message
    assert release.rows(old, "lost") == 0
    release.assert_same_table(old, new, "big")


def test_pod_gone_in_the_middle_of_the_copy(release):
    """By force, as a lost node's pod: a new one on the same volume finishes."""
    release.install("--set", "rejoin.connections=1", restart_pod=False)
    old, new = release.roles()
    release.diverge_much(old, new)
    release.promote(new)
    control = release.volume(old) / "pgdata/global/pg_control"
    release.delete_pod(old)
    eventually("the copy has begun", lambda: fenced(control), 60, pause=0.005)
    release.kubectl("delete", "pod", old, "--force", "--grace-period=0")
    release.assert_follows(old, new)
    assert release.rows(old, "lost") == 0
    release.assert_same_table(old, new, "big")
