"""More would be lost than the release allows: nothing is touched until a person approves it."""
from test_other_system import fingerprint


def test_waits_for_the_approval_of_a_person(release):
    release.install("--set", "rejoin.maxDiscardedTransactions=2")
    old, new = release.roles()
    release.diverge(old, new, transactions=4)
    before = release.uid(old)
    release.promote(new)
    release.wait_replaced(old, before)
    found = release.wait_outcome(old, "refused")
    assert "discard 4 transactions" in found["message"] and "the limit is 2" in found["message"], found
    pgdata = release.volume(old) / "pgdata"
    data = fingerprint(pgdata)

    release.agent(new, "approve", "--pod", old, "--discard", "3")  # not enough
    release.assert_not_started(old, seconds=20)  # and two more tries
    assert fingerprint(pgdata) == data, "a refused directory was changed"

    release.agent(new, "approve", "--pod", old, "--discard", "4")
    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "4", found
    assert release.rows(old, "lost") == 0
    assert not [key for key in release.record() if key.startswith("discard")], release.record()
