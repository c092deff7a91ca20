"""The new primary does not answer when the old one comes back, and later does."""
import signal

from release import eventually, fenced


def test_waits_for_the_source_and_goes_on(release):
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)

    release.signal_server(new, signal.SIGSTOP)
    try:
        release.delete_pod(old)
        found = release.wait_outcome(old, "waiting", "PrimaryUnreachable")
        assert found["phase"] == "waiting" and new in found["message"], found
        # It says who it is, so that a person can decide.
        assert found["role"] == "primary" and found["history"] and found["end-of-wal"], found
        release.assert_not_started(old, seconds=10)
        waiting = [e for e in release.events(old) if e["reason"] == "RejoinWaiting"]
        assert len(waiting) == 1, f"said once, not in every round: {waiting}"
    finally:
        release.signal_server(new, signal.SIGCONT)

    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "3", found
    assert release.rows(old, "lost") == 0
    release.assert_same_table(old, new)


def test_source_lost_in_the_middle_of_the_copy(release):
    """The primary dies while pages are copied: the target stays fenced, and the next try finishes."""
    release.install("--set", "rejoin.connections=1", "--set", "rejoin.logLevel=debug", restart_pod=False)
    old, new = release.roles()
    release.diverge_much(old, new)
    release.promote(new)
    # Looked up before: the copy takes less than a second. With the first of its processes the whole container ends.
    servers = release.server_pids(new)
    release.delete_pod(old)

    control = release.volume(old) / "pgdata/global/pg_control"
    # The fence: a version that no server accepts.
    eventually("the copy has begun", lambda: fenced(control), 60, pause=0.005)
    release.signal_processes(servers, signal.SIGKILL)
    assert fenced(control), "the copy was over before the source died: this shows nothing"
    release.assert_not_started(old)
    release.wait_ready(new)
    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "2", found
    assert release.rows(old, "lost") == 0
    release.assert_same_table(old, new, "big")
