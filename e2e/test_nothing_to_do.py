"""Everyday restarts: the init container is quick, and asks little of the API server.

Its requests are counted in the API server's audit log, which has those that changed nothing or were denied, too.
"""
import json
import time

import pytest

from release import STATE, eventually

DURATION_MAX = 0.2
RUNS = 3


def requests_to_write(uid):
    """Those of all containers of a pod, in their order."""
    lines, _, _ = (STATE / "logs/audit.log").read_text(encoding="utf-8").rpartition("\n")
    requests = [json.loads(line) for line in lines.splitlines()]
    pod_uid = "authentication.kubernetes.io/pod-uid"
    return [request for request in requests if uid in request["user"].get("extra", {}).get(pod_uid, [])]


@pytest.mark.parametrize("role", ["standby", "primary"])
def test_quick_and_at_most_one_write(release, role):
    release.install()
    pod = release.roles()[role == "standby"]
    durations = []
    for _ in range(RUNS):
        time.sleep(1)  # the sidecars have nothing left to say
        record = release.record()
        release.delete_pod(pod)
        release.wait_ready(pod)
        eventually("the sidecar has labelled it", lambda: release.role_label(pod))
        eventually("the sidecar has judged it", lambda: release.annotations(pod).get("rewindable"))

        message, status = release.termination(pod)
        assert status == 0 and message["outcome"] in ("started", "followed"), message
        durations.append(message["durationSeconds"])

        requests = requests_to_write(release.uid(pod))
        told = [(r["verb"], r["requestURI"].split("?")[0], r["responseStatus"]["code"]) for r in requests]
        assert set(told) == {("patch", f"/api/v1/namespaces/{release.namespace}/pods/{pod}", 200)}, told
        changed = [sorted(set(r["requestObject"]["metadata"]) - {"uid"}) for r in requests]
        assert sorted(changed) == [["annotations"], ["annotations"], ["labels"]], f"1 by init, 2 by the sidecar, but: {changed}"
        assert not [e for e in release.events(pod) if e["reason"].startswith("Rejoin")]
        assert release.record() == record
    assert min(durations) <= DURATION_MAX, f"{durations} s"
    print(f"durations of init: {durations} s")
