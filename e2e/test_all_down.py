"""Everything was off, and the pod with the stale data is back first."""
from release import NAME, eventually


def test_the_stale_one_back_first_waits_then_follows(release):
    # One after the other, so that demo-0, which is back first later, is the one that gets old.
    release.install(replicas=1, restart_pod=False)
    release.scale(2)
    release.wait_all_ready(2)
    stale, fresh = release.roles()
    assert stale == f"{NAME}-0"
    release.diverge(stale, fresh, transactions=3)
    release.promote(fresh)
    release.sql(fresh, "INSERT INTO t (origin) SELECT 'kept' FROM generate_series(1, 3);")

    release.scale(0)
    eventually("all pods are gone", lambda: not release.pods(), 120)
    nobody = release.plugin("status", check=False)
    assert nobody.returncode == 2 and "no release" in nobody.stderr, nobody
    release.scale(1)
    eventually("the stale one is back", lambda: len(release.pods()) == 1)
    found = release.wait_outcome(stale, "waiting", "PrimaryUnreachable")
    assert fresh in found["message"], found
    # No sidecar runs yet: the init container that waits is asked, or the annotations say it between two of its runs.
    waits = release.plugin("status", check=False)
    assert waits.returncode in (1, 10) and "PrimaryUnreachable" in waits.stdout + waits.stderr, waits
    release.assert_not_started(stale, seconds=10)

    release.scale(2)
    release.wait_ready(fresh)
    assert release.is_read_write(fresh)
    release.assert_follows(stale, fresh)
    found = release.wait_outcome(stale, "rejoined")
    assert found["discarded-transactions"] == "3", found
    assert (release.rows(stale, "lost"), release.rows(stale, "kept")) == (0, 3)
    release.assert_same_table(stale, fresh)
