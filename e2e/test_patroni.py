"""Beside a real Patroni 4, with its lock in Endpoints: a lost leader that has diverged comes back."""
import pytest

from patroni import CALLS_REWIND


def fail_over_diverged(patroni, transactions):
    """(old leader, new one): rows of origin "lost" are only with the old one, and of origin "kept" only with the new."""
    old, new = patroni.roles()
    patroni.diverge(old, new, transactions)
    patroni.fail_over(old, new)
    patroni.sql(new, "INSERT INTO t (origin) SELECT 'kept' FROM generate_series(1, 3);")
    return old, new


def assert_is_what_the_leader_is(patroni, standby, leader):
    patroni.wait_ready(standby)
    patroni.wait_streams(leader, standby)
    patroni.wait_rows(standby, "kept", 3)
    patroni.assert_timeline(standby, 2)
    assert patroni.rows(standby, "lost") == 0
    assert patroni.rows(standby, "both") == 500
    patroni.assert_same_table(standby, leader)


def test_init_container_rewinds_before_patroni_looks(patroni):
    patroni.install("init-container")
    old, new = fail_over_diverged(patroni, transactions=5)
    assert_is_what_the_leader_is(patroni, old, new)
    patroni.assert_follows(old, new)

    message, status = patroni.termination(old)
    assert (status, message["outcome"], message["discardedTransactions"]) == (0, "rewound", 5), message
    assert (message["source"], message["reason"]) == (new, "Diverged"), message
    found = patroni.annotations(old)
    assert (found["discarded-transactions"], found["source"], found["timeline"]) == ("5", new, "2"), found
    assert "RejoinRewound" in [event["reason"] for event in patroni.events(old)]
    log = patroni.log(old)
    assert CALLS_REWIND not in log and "Lock owner" in log, log


@pytest.mark.long
def test_program_in_the_place_of_pg_rewind(patroni):
    patroni.install("rewind-program")
    old, new = fail_over_diverged(patroni, transactions=5)
    assert_is_what_the_leader_is(patroni, old, new)
    log = patroni.log(old)
    assert log.count(CALLS_REWIND) == 1 and "5 transactions" in log, log


@pytest.mark.long
def test_undiverged_directory_is_left_to_patroni(patroni):
    """A lost leader whose WAL the standby had got; then a planned switchover back, and another start."""
    patroni.install("init-container")
    old, new = patroni.roles()
    patroni.make_table(old, new)
    patroni.fail_over(old, new)
    patroni.assert_follows(old, new)
    assert_left_to_patroni(patroni, old)
    # Its crash recovery ends with a checkpoint, on the old timeline: so Patroni rewinds what had not diverged.
    assert patroni.log(old).count(CALLS_REWIND) == 1

    patroni.switch_over(new, old)
    patroni.wait_streams(old, new)
    patroni.assert_timeline(new, 3)
    assert CALLS_REWIND not in patroni.log(new)
    patroni.delete_pod(new)
    patroni.assert_follows(new, old)
    assert_left_to_patroni(patroni, new)
    assert CALLS_REWIND not in patroni.log(new)
    patroni.assert_same_table(new, old)


def assert_left_to_patroni(patroni, pod):
    message, status = patroni.termination(pod)
    assert (status, message["outcome"], message["reason"]) == (0, "started", "ManagerDecides"), message
