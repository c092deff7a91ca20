"""More would be lost than the release allows: nothing is touched until a person approves it."""


def test_waits_for_the_approval_of_a_person(release):
    release.install("--set", "rejoin.maxDiscardedTransactions=2")
    old, new = release.roles()
    release.diverge(old, new, transactions=4)
    before = release.uid(old)
    release.promote(new)
    release.wait_replaced(old, before)
    found = release.wait_outcome(old, "refused")
    assert "discard 4 transactions" in found["message"] and "the limit is 2" in found["message"], found
    release.assert_not_started(old)

    release.kubectl("exec", new, "-c", "rejoin", "--", "pg-rejoin", "approve", "--pod", old, "--discard")
    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "4", found
    assert release.rows(old, "lost") == 0
    assert not [key for key in release.record() if key.startswith("approval")], release.record()
