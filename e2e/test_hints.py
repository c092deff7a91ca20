"""Somebody else keeps a Service, or a label, that leads to the primary, and moves it after a promotion: an old primary's
new pod believes that once SQL confirms it, and rejoins. Nothing of it makes a server read-write."""
import json

import pytest
from release import CHART, NAME, cluster

pytestmark = pytest.mark.long

LABEL = "example.org/role"


class Service:
    """A Service that an operator keeps."""
    values = ("--set", "rejoin.discovery=service", "--set", "rejoin.primaryService=writer")

    def __init__(self, release):
        self.release = release

    def name_primary(self, pod):
        self.release.kubectl("apply", "-f", "-", stdin=json.dumps({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "writer"},
            "spec": {"ports": [{"port": 5432}], "selector": {"statefulset.kubernetes.io/pod-name": pod}}}))


class Label:
    """A label that an operator keeps; pods are made without it."""
    values = ("--set", "rejoin.discovery=label", "--set", f"rejoin.roleLabel={LABEL}")

    def __init__(self, release):
        self.release = release

    def name_primary(self, pod):
        self.release.kubectl("label", "pods", "--all", f"{LABEL}-")
        self.release.kubectl("label", "pod", pod, f"{LABEL}=primary")


@pytest.mark.parametrize("operator", [Service, Label], ids=lambda kind: kind.__name__.lower())
def test_old_primary_rejoins(release, operator):
    keeper = operator(release)
    release.install("--set", "updateStrategy.type=OnDelete")
    old, new = release.roles()
    keeper.name_primary(old)
    cluster("exec", "helm", "upgrade", NAME, CHART, "--namespace", release.namespace, "--reuse-values", *operator.values)
    release.delete_pod(new)  # a standby follows whom the hint names
    release.assert_follows(new, old)
    release.diverge(old, new, transactions=4)

    release.delete_pod(old)
    release.wait_outcome(old, "waiting")  # nobody is named: the one that was has no server
    release.assert_not_started(old, seconds=5)
    release.sql(new, "SELECT pg_promote();\nINSERT INTO t (origin) VALUES ('kept');")
    keeper.name_primary(new)
    release.assert_follows(old, new)
    found = release.wait_outcome(old, "rejoined")
    assert found["discarded-transactions"] == "4", found
    assert (release.rows(old, "lost"), release.rows(old, "kept")) == (0, 1)
    release.assert_same_table(old, new)
