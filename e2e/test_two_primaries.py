"""Two pods run read-write. The record decides; neither labels nor the later promotion does."""
from release import eventually


def test_the_record_decides(release):
    release.install()
    holder, other = release.roles()
    release.make_table(holder, other)

    # Promoted behind the record's back, by SQL.
    release.sql(other, "SELECT pg_promote();")
    eventually("two primaries", lambda: release.is_read_write(other))
    release.insert(other, "lost", 4)
    before = release.uid(other)
    complaint = f"runs read-write although the authority record names {holder}"
    eventually("the sidecar says so", lambda: complaint in release.logs(other, "rejoin"), 30)
    assert release.role_label(other) is None, "the one without the record must not be offered to clients"
    assert release.role_label(holder) == "primary"

    # As long as the holder has written nothing past the fork, a person has to look; then its pod is made anew.
    assert release.uid(other) == before
    release.insert(holder, "kept", 3)
    release.wait_replaced(other, before)
    release.assert_follows(other, holder)
    found = release.wait_outcome(other, "rejoined")
    assert found["discarded-transactions"] == "4", found
    assert (release.rows(other, "lost"), release.rows(other, "kept")) == (0, 3)
    release.assert_same_table(other, holder)
    assert release.record()["primary"] == holder and release.record()["epoch"] == "1", release.record()


def test_the_holder_waits_while_another_runs_read_write(release):
    """The record's holder restarts beside a server that runs read-write on a branch it does not know: a person
    has to look, and nothing else starts read-write meanwhile."""
    release.install(restart_pod=False)
    holder, other = release.roles()
    release.make_table(holder, other)
    release.sql(other, "SELECT pg_promote();")
    release.sql(holder, "INSERT INTO t (origin) VALUES ('kept');")

    release.delete_pod(holder)
    found = release.wait_outcome(holder, "waiting", "Contradicted")
    assert other in found["message"], found
    release.assert_not_started(holder, seconds=5)

    # The other is restarted: without a primary that answers it waits too, and so neither contradicts the holder.
    release.delete_pod(other)
    release.wait_ready(holder)
    assert release.is_read_write(holder)
    release.assert_follows(other, holder)
    assert release.rows(other, "kept") == 1
    assert release.annotations(holder)["outcome"] == "started"
