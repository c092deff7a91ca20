"""The pod is deleted by force, but its server does not end at once: the replacement must wait for the lock."""
import datetime
import os
import signal
import time


def test_replacement_waits_while_the_old_server_holds_the_lock(release):
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)

    servers = release.server_pids(old)
    # Stopped they can neither obey nor let go, until the kubelet kills them after a few seconds.
    for pid in servers:
        os.kill(pid, signal.SIGSTOP)
    release.delete_pod(old, "--force", "--grace-period=0")
    while alive(servers):
        last_seen = time.time()
        time.sleep(0.02)

    release.assert_follows(old, new)
    log = release.logs(old, "rejoin-init")
    waited, changed = logged_at(log, "is in use by a server"), logged_at(log, "servers diverged at")
    assert waited < last_seen, "the old server ended before the new pod looked: this shows nothing"
    assert changed > last_seen, f"began at {changed}, but the old server was there at {last_seen}\n{log}"
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "3", found
    assert release.rows(old, "lost") == 0
    release.assert_same_table(old, new)


def logged_at(log, text):
    line = next((line for line in log.splitlines() if text in line), None)
    assert line, f'"{text}" is not in the log:\n{log}'
    return datetime.datetime.fromisoformat(line[:23] + "+00:00").timestamp()


def alive(pids):
    def is_alive(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False
    return any(is_alive(pid) for pid in pids)
