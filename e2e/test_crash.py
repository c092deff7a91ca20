"""The primary's pod dies at once, under load: nothing is shut down, its control file says "in production"."""
import signal
import subprocess
import time

from release import CLUSTER, node_gone

LOAD_SECONDS = 120


def start_load(release, pod):
    release.sql(pod, "CREATE DATABASE load;")
    release.kubectl("exec", pod, "-c", "postgres", "--", "pgbench", "-qi", "-U", "postgres", "-s", "2", "load")
    return subprocess.Popen(  # pylint: disable=consider-using-with # ends with the server
        [CLUSTER, "exec", "kubectl", "-n", release.namespace, "exec", pod, "-c", "postgres", "--",
         "pgbench", "-n", "-U", "postgres", "-c", "4", "-T", str(LOAD_SECONDS), "load"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def commits(release, pod):
    return int(release.sql(pod, "SELECT count(*) FROM pgbench_history;", database="load"))


def test_killed_under_load(release):
    release.install()
    old, new = release.roles()
    release.make_table(old, new)
    load = start_load(release, old)
    # Both have some of the load; then only the primary.
    time.sleep(2)
    release.cut(new)
    have = commits(release, new)
    release.insert(old, "lost", 4)
    time.sleep(3)
    assert commits(release, old) > have + 10, "there is no load to speak of"

    with node_gone():
        release.signal_server(old, signal.SIGKILL)
        release.kubectl("delete", "pod", old, "--force", "--grace-period=0")
        load.wait(timeout=60)
        release.promote(new)
        release.sql(new, "INSERT INTO t (origin) SELECT 'kept' FROM generate_series(1, 3);")
    release.assert_follows(old, new)

    found = release.wait_outcome(old, "rejoined")
    # 4 of ours, 10 of the load at the least.
    assert int(found["discarded-transactions"]) >= 14, found
    assert "not properly shut down" not in release.logs(old, "postgres"), release.logs(old, "postgres")
    assert (release.rows(old, "lost"), release.rows(old, "kept"), release.rows(old, "both")) == (0, 3, 500)
    release.assert_same_table(old, new)
    for table in ("pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"):
        release.assert_same_table(old, new, table, database="load")
