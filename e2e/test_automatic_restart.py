"""Nobody deletes a pod: the sidecar does, when its server has to follow another primary."""
import signal

import pytest

from release import READ_WRITE, eventually


def test_old_primary_comes_back_by_itself(release):
    release.install()
    old, new = release.roles()
    release.diverge(old, new, transactions=4)
    before = release.uid(old)
    release.promote(new)
    release.wait_replaced(old, before, timeout=60)
    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "4", found
    assert release.rows(old, "lost") == 0
    release.assert_same_table(old, new)
    said = release.events_of(before)
    assert [e["reason"] for e in said].count("PodRestarted") == 1, said
    # There and back: of what one rewind has reported nothing is counted by the next one of that directory.
    for lost in (2, 3):
        old, new = new, old
        release.cut(new)
        release.insert(old, "lost", lost)
        release.promote(new)
        release.wait_streams(new, old)
        assert release.wait_outcome(old, "rejoined")["discarded-transactions"] == str(lost)


def one_standby_ahead(release):
    """Of two standbys the one that has less will be promoted: the other one can never stream again as it is."""
    release.install(replicas=3)
    old = release.record()["primary"]
    new, ahead = (pod for pod in ("demo-0", "demo-1", "demo-2") if pod != old)
    release.make_table(old, new)
    release.cut(new)
    release.insert(old, "lost", 3)
    release.wait_rows(ahead, "lost", 3)
    return old, new, ahead


def test_standby_past_the_fork_comes_back_by_itself(release):
    old, new, ahead = one_standby_ahead(release)
    before = release.uid(ahead)
    release.promote(new)
    release.sql(new, "INSERT INTO t (origin) VALUES ('kept');")
    release.wait_replaced(ahead, before, timeout=120)
    for pod in (old, ahead):
        release.assert_follows(pod, new)
        assert (release.rows(pod, "lost"), release.rows(pod, "kept")) == (0, 1), pod
        release.wait_outcome(pod, "rejoined")


def test_standby_that_could_not_be_rewound_stays_up(release):
    """The new primary does not keep its WAL from the fork on: old data is better than none, and a person has to look."""
    _, new, ahead = one_standby_ahead(release)
    before = release.uid(ahead)
    with release.stopped_sidecar(ahead):  # the WAL is gone before it looks
        release.promote(new)
        release.sql(new, "INSERT INTO t (origin) VALUES ('kept');\nSELECT pg_switch_wal();\nCHECKPOINT;")
        wal = release.volume(new) / "pgdata/pg_wal"
        first = min(path for path in wal.iterdir() if len(path.name) == 24 and path.name.startswith("00000002"))
        away = first.rename(release.volume(new) / first.name)
    complaint = f"could not be rewound, {new} does not keep WAL from there any more"
    eventually("the sidecar says so", lambda: complaint in release.logs(ahead, "rejoin"), 90)
    assert release.uid(ahead) == before
    assert release.rows(ahead, "lost") == 3
    away.rename(first)
    release.wait_replaced(ahead, before, timeout=90)
    release.assert_follows(ahead, new)
    assert (release.rows(ahead, "lost"), release.rows(ahead, "kept")) == (0, 1)


def test_container_of_a_stale_primary(release):
    """Only the container starts again, after the promotion and without the init containers: the gate asks first."""
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)
    assert release.is_read_write(old)  # nobody has stopped it, and no Service leads to it
    eventually("the sidecar says what to do", lambda: f"delete pod {old}" in release.logs(old, "rejoin"), 30)
    assert release.role_label(old) is None
    release.signal_server(old, signal.SIGKILL)
    refused = f"this server may not start read-write, no: this pod's server has to follow {new} now"
    eventually("the gate has refused", lambda: refused in release.logs(old, "postgres")
               + release.logs(old, "postgres", previous=True), 60)
    for _ in range(2):  # and goes on refusing
        count = release.restarts(old)["postgres"]
        eventually("another start", lambda last=count: release.restarts(old)["postgres"] > last, 90)
        # For a moment the kubelet has neither log.
        eventually("it has refused as well", lambda: refused in release.logs(old, "postgres", previous=True), 30)
        said = release.logs(old, "postgres", previous=True)
        assert READ_WRITE not in said, said
    release.delete_pod(old)
    release.assert_follows(old, new)
    assert release.annotations(old)["discarded-transactions"] == "3"


def test_primary_that_crashed_before_the_promotion(release):
    """Its container is down, in the kubelet's back-off, when another pod is promoted; it must not come up as it was."""
    release.install()
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    for count in (1, 2):
        release.signal_server(old, signal.SIGKILL)
        if count == 1:
            eventually("the container is started again", lambda: release.restarts(old)["postgres"] == 1, 60)
            release.wait_ready(old)
    eventually("the kubelet waits", lambda: "waiting" in release.container_state(old), 30)
    before = release.uid(old)
    release.promote(new)
    release.sql(new, "INSERT INTO t (origin) VALUES ('kept');")
    release.wait_replaced(old, before, timeout=120)
    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "3", found
    assert (release.rows(old, "lost"), release.rows(old, "kept")) == (0, 1)


def test_container_of_the_primary(release):
    """The record still names it: it goes on being the primary, in the same pod."""
    release.install()
    primary, standby = release.roles()
    release.make_table(primary, standby)
    before = release.uid(primary)
    release.signal_server(primary, signal.SIGKILL)
    eventually("the container is started again", lambda: release.restarts(primary)["postgres"] == 1, 60)
    release.wait_ready(primary)
    assert release.uid(primary) == before
    assert release.is_read_write(primary)
    release.sql(primary, "INSERT INTO t (origin) VALUES ('after');")
    release.wait_rows(standby, "after", 1)
    assert release.role_label(primary) == "primary"


@pytest.mark.long
def test_without_native_sidecars(release):
    """The sidecar as a plain container, as before Kubernetes 1.29: it starts together with the server and may end before
    it does."""
    release.install("--set", "rejoin.nativeSidecar=false")
    old, new = release.roles()
    containers = [c["name"] for c in release.get("pod", old)["spec"]["containers"]]
    assert containers == ["postgres", "rejoin"]
    release.diverge(old, new, transactions=3)
    before = release.uid(old)
    release.promote(new)
    release.wait_replaced(old, before, timeout=60)
    release.assert_follows(old, new)
    assert release.wait_outcome(old, "rejoined")["discarded-transactions"] == "3"
    release.assert_same_table(old, new)

    # The primary's container alone: its server asks the sidecar, and leads again.
    release.signal_server(new, signal.SIGKILL)
    eventually("its container was started again", lambda: release.restarts(new)["postgres"] == 1)
    release.wait_ready(new)
    assert release.is_read_write(new) and release.restarts(new)["rejoin"] == 0
    release.wait_streams(new, old)
