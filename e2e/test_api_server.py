"""The API server is away for a while: servers go on, and one that restarts meanwhile asks the other members."""
import contextlib
import signal
import time

import pytest

from release import READ_WRITE, cluster, eventually

pytestmark = pytest.mark.long

REFUSED = "no leave to start yet"


@contextlib.contextmanager
def no_api_server():
    cluster("stop-apiserver")
    try:
        yield
    finally:
        cluster("start-apiserver", timeout=120)


def test_the_primary_restarts_meanwhile(release):
    release.install()
    primary, standby = release.roles()
    release.make_table(primary, standby)
    uids = {pod: release.uid(pod) for pod in (primary, standby)}
    servers = release.server_pids(primary)
    with no_api_server():
        release.signal_processes(servers, signal.SIGKILL)
        # Every other member answers and is a standby on its branch: nobody can have been promoted.
        eventually("the server is read-write again",
                   lambda: release.log_files(primary, uids[primary], "postgres").count(READ_WRITE) == 2, 120)
    eventually("the API server is seen again", lambda: release.role_label(primary) == "primary", 60)
    release.wait_ready(primary)
    release.sql(primary, "INSERT INTO t (origin) VALUES ('after');")
    release.wait_rows(standby, "after", 1)
    for pod, uid in uids.items():
        assert release.uid(pod) == uid
        assert release.restarts(pod)["rejoin"] == 0, "a sidecar ended for lack of an API"
    assert release.restarts(primary)["postgres"] == 1


def test_a_stale_primary_restarts_meanwhile(release):
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)
    uid = release.uid(old)
    servers = release.server_pids(old)
    with no_api_server():
        release.signal_processes(servers, signal.SIGKILL)
        eventually("its sidecar gives no leave", lambda: REFUSED in release.log_files(old, uid, "rejoin"), 120)
        time.sleep(15)
        assert READ_WRITE not in release.log_files(old, uid, "postgres", first=1), "it was read-write again"
    eventually("told to follow", lambda: f"has to follow {new} now" in release.log_files(old, uid, "postgres"), 120)
    assert READ_WRITE not in release.log_files(old, uid, "postgres", first=1), "it was read-write again"
    release.delete_pod(old)
    release.assert_follows(old, new)
    assert release.annotations(old)["discarded-transactions"] == "3"
