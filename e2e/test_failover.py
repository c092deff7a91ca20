"""The main job: after a promotion the old primary's pod comes back as a standby by itself."""
import json

from release import PREFIX, eventually


def test_old_primary_rejoins_after_failover_and_pod_deletion(release):
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=5)

    said = release.promote(new)
    assert f"{new} is now primary on timeline 2" in said
    release.sql(new, "INSERT INTO t (origin) SELECT 'kept' FROM generate_series(1, 3);")
    release.delete_pod(old)
    release.assert_follows(old, new)

    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "5", found
    assert found["source"] == new and found["timeline"] == "2" and found["phase"] == "done", found
    assert int(found["copied-bytes"]) > 0, found
    message, status = release.termination(old)
    assert status == 0 and message["outcome"] == "rewound" and message["discardedTransactions"] == 5, message
    def times_said(reason):
        return [event["reason"] for event in release.events(old)].count(reason)
    eventually("the Event says so, too", lambda: times_said("Rejoined") == 1, 10)
    assert times_said("RejoinRewound") == 1

    assert release.rows(old, "lost") == 0
    assert release.rows(old, "kept") == 3
    assert release.rows(old, "both") == 500
    release.assert_same_table(old, new)

    record = release.record()
    assert record["primary"] == new and record["epoch"] == "2" and record["timeline"] == "2", record
    # The sidecar says so once it has seen the server in recovery.
    eventually(f"{old} is labelled", lambda: release.role_label(old) == "replica", 30)
    assert release.role_label(new) == "primary"
    endpoints = release.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=demo-primary",
                                "-o", "jsonpath={.items[*].endpoints[*].targetRef.name}")
    assert endpoints.split() == [new], f"the primary Service leads to {endpoints}; label {PREFIX}role"
    assert_a_person_sees_it(release, old, new)


def assert_a_person_sees_it(release, old, new):
    """status, pause and resume, by kubectl's plugin and in a pod, with the rights that the agent has. A command that
    ends with another status fails."""
    table = release.plugin("status")
    rows = {row[0]: row for row in map(str.split, table.splitlines()) if row and row[0] in (old, new)}
    assert rows[old][1:4] == ["replica", "2", "rejoined"] and rows[old][5] == "5", table
    assert rows[new][1] == "primary*" and table.endswith("all is well\n"), table

    release.plugin("pause")
    assert release.record()["paused"] == "true"
    seen = release.agent(old, "status", "--json", check=False)
    assert seen.returncode == 1 and json.loads(seen.stdout)["record"]["paused"], seen
    release.agent(old, "resume")
    assert "paused" not in release.record()
    release.agent(new, "status")


def test_and_back_again(release):
    """Two failovers, there and back: what was rewound can lead, and its successor be rewound in turn."""
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=2)
    release.promote(new)
    release.delete_pod(old)
    release.assert_follows(old, new)

    release.cut(old)
    release.sql(new, "INSERT INTO t (origin) VALUES ('second loss');\n" * 3)
    assert f"{old} is now primary on timeline 3" in release.promote(old)
    release.delete_pod(new)
    release.assert_follows(new, old)
    release.wait_outcome(new, "rejoined")
    assert release.annotations(new)["discarded-transactions"] == "3"
    assert release.rows(new, "second loss") == 0
    release.assert_same_table(old, new)
