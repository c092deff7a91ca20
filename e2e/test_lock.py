"""The pod is deleted by force, but its server does not end at once: the replacement must wait for the lock."""
import os
import signal
import time

from release import eventually


def test_replacement_waits_while_the_old_server_holds_the_lock(release):
    release.install()
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)

    servers = release.server_pids(old)
    old_uid = release.uid(old)
    # Stopped it can neither obey nor let go; the kubelet kills it after the grace period of 30 s.
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    release.delete_pod(old, "--force", "--grace-period=0")
    assert release.uid(old) != old_uid

    found = release.wait_outcome(old, "waiting", "TargetInUse", timeout=25)
    assert alive(servers), f"the old server ended after {time.monotonic() - began:.0f} s: this shows nothing"
    before = release.annotations(old)
    release.assert_not_started(old, seconds=2)
    assert found["phase"] == "waiting" and before["outcome"] == "waiting", before

    eventually("the old server is killed", lambda: not alive(servers), 60)
    release.assert_follows(old, new)
    found = release.annotations(old)
    assert found["outcome"] == "rewound" and found["discarded-transactions"] == "3", found
    assert release.rows(old, "lost") == 0
    release.assert_same_table(old, new)


def alive(pids):
    def is_alive(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False
    return any(is_alive(pid) for pid in pids)
