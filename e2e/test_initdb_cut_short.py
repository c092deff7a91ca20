"""The first pod is deleted while its database is being initialised: it begins anew, and the database is whole."""
from release import NAME, eventually

# Runs after the chart's first script and before its last, and waits for a file of this very pod.
SCRIPT = "until [ -e /tmp/go ]; do sleep 0.1; done"


def initialising(release, pod):
    """The mark that the gate has made, beside files that look like a cluster's."""
    return release.kubectl("exec", pod, "-c", "postgres", "--", "sh", "-c",
                           "test -e $PGDATA/global/pg_control && ls $PGDATA.initialising")


def test_begins_anew(release):
    release.install("--set-string", f"postgresql.initdb.scripts.50-wait\\.sh={SCRIPT}", replicas=1, wait=False)
    pod = f"{NAME}-0"
    eventually("initdb has run, its scripts have not", lambda: initialising(release, pod), 180)
    release.delete_pod(pod, "--grace-period=1")

    found = release.wait_outcome(pod, "started", "InitdbCutShort")
    assert "pgdata.half-made.1" in found["message"], found
    assert (release.volume(pod) / "pgdata.half-made.1/PG_VERSION").exists()
    eventually("it is initialised anew", lambda: initialising(release, pod), 180)
    release.kubectl("exec", pod, "-c", "postgres", "--", "touch", "/tmp/go")
    release.wait_ready(pod)
    assert release.is_read_write(pod)
    roles = "SELECT count(*) FROM pg_roles WHERE rolname IN ('replicator', 'rewind', 'promoter')"
    assert release.sql(pod, roles) == "3"
    assert not (release.volume(pod) / "pgdata.initialising").exists()
    eventually("the Service leads to it", lambda: release.role_label(pod) == "primary", 30)

    # The next restart is one like any other.
    release.delete_pod(pod)
    release.wait_ready(pod)
    assert release.annotations(pod)["reason"] == "Leader"
