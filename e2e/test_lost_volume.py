"""One volume is lost, the others are kept: nobody makes a new database beside the old one."""
import pytest

from release import eventually

pytestmark = pytest.mark.long


def lose_volume(release, pod):
    """The claim goes with the pod, and the StatefulSet makes both anew."""
    before = release.uid(pod)
    claim = release.get("pvc", f"data-{pod}")["metadata"]["uid"]
    release.kubectl("delete", "pvc", f"data-{pod}", "--wait=false")
    release.kubectl("delete", "pod", pod, "--wait=false")
    release.wait_replaced(pod, before)
    # A pod that was made before its old claim was gone has to go once more.
    def anew():
        if release.get("pvc", f"data-{pod}")["metadata"]["uid"] != claim:
            return True
        release.kubectl("delete", "pod", pod, "--wait=false")
        return False
    eventually(f"{pod} has a new volume", anew, 120, pause=3)


def test_of_a_standby_is_cloned(release):
    release.install()
    primary, standby = release.roles()
    release.make_table(primary, standby)
    lose_volume(release, standby)
    release.assert_follows(standby, primary)
    release.assert_same_table(standby, primary)
    assert release.record()["epoch"] == "1", release.record()


def test_of_the_primary_waits_for_a_promotion(release):
    release.install()
    old, new = release.roles()
    release.make_table(old, new)
    lose_volume(release, old)
    found = release.wait_outcome(old, "waiting")
    assert found["role"] == "empty", found
    release.assert_not_started(old, seconds=10)
    assert not list(release.volume(old).glob("pgdata/*")), "somebody has made a database"
    assert release.rows(new, "both") == 500

    release.promote(new)
    release.assert_follows(old, new)
    release.assert_same_table(old, new)
