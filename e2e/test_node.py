"""What a node does to its pods: the kubelet restarts, a pod's sandbox dies, one backend is killed."""
import signal

import pytest

from release import READ_WRITE, cluster, eventually

pytestmark = pytest.mark.long


def test_kubelet_restarts(release):
    """Nothing happens: no container is restarted, no label moves, standbys go on streaming."""
    release.install()
    primary, standby = release.roles()
    release.make_table(primary, standby)
    before = {pod: (release.uid(pod), release.restarts(pod)) for pod in (primary, standby)}
    cluster("restart-kubelet")
    eventually("the kubelet answers again", lambda: release.sql(primary, "SELECT 1") == "1", 90)
    release.sql(primary, "INSERT INTO t (origin) VALUES ('after');")
    release.wait_rows(standby, "after", 1)
    release.wait_ready(primary)
    release.wait_ready(standby)
    assert {pod: (release.uid(pod), release.restarts(pod)) for pod in (primary, standby)} == before
    assert (release.role_label(primary), release.role_label(standby)) == ("primary", "replica")


def test_sandbox_of_a_stale_primary_dies(release):
    """All containers of the pod start again, the init containers too, in the same pod."""
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)
    before = release.uid(old)
    sandbox = cluster("ctr", "containers", "ls", "-q", f'labels."io.kubernetes.pod.uid"=={before},'
                      'labels."io.cri-containerd.kind"==sandbox').strip()
    assert len(sandbox.splitlines()) == 1, sandbox
    cluster("ctr", "tasks", "kill", "--signal", "SIGKILL", sandbox)
    found = release.wait_outcome(old, "rejoined", timeout=180)
    assert found["discarded-transactions"] == "3", found
    assert release.uid(old) == before, "the pod was made anew: this shows nothing"
    release.wait_streams(new, old)
    assert not release.is_read_write(old)
    release.assert_same_table(old, new)


def test_backend_of_a_stale_primary_is_killed(release):
    """A server that restarted its own backends would be read-write again within a tenth of a second, past the gate."""
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)
    uid = release.uid(old)
    release.kubectl("exec", old, "-c", "postgres", "--", "bash", "-c",
                    "kill -9 $(psql -XAtU postgres -c \"SELECT pid FROM pg_stat_activity "
                    "WHERE backend_type = 'walwriter'\")")
    eventually("the server has ended", lambda: release.restarts(old)["postgres"] >= 1, 60)
    eventually("it is told to follow", lambda: f"has to follow {new} now" in release.log_files(old, uid, "postgres"), 60)
    assert READ_WRITE not in release.log_files(old, uid, "postgres", first=1), "it was read-write again"
    release.delete_pod(old)
    release.assert_follows(old, new)


def test_server_is_shut_down(release):
    """The server alone, fast: its container starts again, as the primary."""
    release.install()
    primary, standby = release.roles()
    release.make_table(primary, standby)
    release.signal_server(primary, signal.SIGINT)
    eventually("the container is started again", lambda: release.restarts(primary)["postgres"] == 1, 60)
    release.wait_ready(primary)
    assert release.is_read_write(primary)
    release.sql(primary, "INSERT INTO t (origin) VALUES ('after');")
    release.wait_rows(standby, "after", 1)
