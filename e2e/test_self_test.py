"""`helm test` of a release, on the real cluster: it passes where all is well, and names the right that is missing."""
import json

import pytest
from release import NAME, cluster

pytestmark = pytest.mark.long


def helm_test(release, **kwargs):
    return cluster("exec", "helm", "test", NAME, "--namespace", release.namespace, "--timeout", "2m", **kwargs)


def test_rights_and_grants(release):
    release.install()
    helm_test(release)
    said = release.logs(f"{NAME}-self-test", "discovery")
    assert "verdict    demo-0 is the primary\n" in said, said
    assert "right      delete pods/demo-1: yes\n" in said, said
    assert "DENIED" not in said, said
    rules = release.get("role", NAME)["rules"]
    for rule in rules:
        rule["verbs"] = [verb for verb in rule["verbs"] if (rule["resources"], verb) != (["pods"], "delete")]
    release.kubectl("patch", "role", NAME, "--type=merge", "-p", json.dumps({"rules": rules}))
    assert helm_test(release, check=False).returncode != 0
    said = release.logs(f"{NAME}-self-test", "discovery")
    assert "right      delete pods/demo-1: DENIED: without it a person has to delete it" in said, said
    assert "right      patch pods/demo-1: yes\n" in said, said
