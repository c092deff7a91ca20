"""The API denies the report: the data is put right all the same, and log and termination message say the rest. What was
discarded is told again by the next pod, which may."""
import copy
import json

from release import NAME


def deny_patch(release, role, pod):
    """Takes the right to patch this one pod from the release's Role."""
    role = copy.deepcopy(role)
    for rule in role["rules"]:
        if rule["resources"] == ["pods"] and "patch" in rule["verbs"]:
            rule["resourceNames"].remove(pod)
    release.kubectl("apply", "-f", "-", stdin=json.dumps(role))


def test_patch_denied(release):
    release.install(restart_pod=False)
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)
    role = release.get("role", NAME)
    deny_patch(release, role, old)
    allowed = release.kubectl("auth", "can-i", "patch", f"pods/{old}",
                              f"--as=system:serviceaccount:{release.namespace}:{NAME}", check=False).stdout
    assert allowed.strip() == "no", allowed
    release.delete_pod(old)

    release.assert_follows(old, new)
    assert release.rows(old, "lost") == 0
    release.assert_same_table(old, new)

    assert "outcome" not in release.annotations(old), "the API did not deny it: this shows nothing"
    message, status = release.termination(old)
    assert status == 0 and message["outcome"] == "rewound" and message["discardedTransactions"] == 3, message
    assert "forbidden" in message["reportProblem"].lower() or "403" in message["reportProblem"], message
    log = release.logs(old, "rejoin-init")
    assert "could not be reported" in log and "outcome=rewound" in log, log
    # The sidecar meets the same wall, and does not end for it.
    assert release.restarts(old)["rejoin"] == 0

    release.kubectl("patch", "role", NAME, "--type=merge", "-p", json.dumps({"rules": role["rules"]}))
    release.delete_pod(old, "--force", "--grace-period=0")
    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "3", found
    message, _ = release.termination(old)
    assert message["outcome"] == "rewound" and "an earlier run discarded 3 transactions" in message["message"], message

    release.delete_pod(old)
    release.assert_follows(old, new)
    assert release.wait_outcome(old, "followed")["discarded-transactions"] == "0"
