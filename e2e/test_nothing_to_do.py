"""Everyday restarts: the init container is quick, and asks little of the API server.

Writes are counted twice: by a watch, which sees each change of the pod, and by the API server's own request counters,
which also see requests that changed nothing or were denied.
"""
import json
import re
import subprocess
import time

import pytest

from release import CLUSTER, PREFIX, cluster, eventually

DURATION_MAX = 0.2
RUNS = 3
# What pg-rejoin could write: group, resource, subresource, verb. (Core events are the kubelet's.)
WRITES = {("", resource, "", verb) for resource in ("pods", "configmaps") for verb in ("PATCH", "PUT", "APPLY")}
WRITES |= {("events.k8s.io", "events", "", "POST")}


def write_requests():
    """All requests so far by which pg-rejoin could have written: (*one of WRITES, status code) -> count."""
    found = {}
    pattern = re.compile(r'apiserver_request_total\{(.*)\} (\S+)')
    for line in cluster("exec", "kubectl", "get", "--raw", "/metrics").splitlines():
        match = pattern.match(line)
        if not match:
            continue
        labels = dict(re.findall(r'(\w+)="([^"]*)"', match[1]))
        key = (labels["group"], labels["resource"], labels["subresource"], labels["verb"])
        if key in WRITES:
            found[(*key, labels["code"])] = int(float(match[2]))
    return found


class Watch:
    """Every change of the release's pods, as the API server tells it."""

    def __init__(self, release, folder):
        self._path = folder / "watch.json"
        with open(self._path, "w", encoding="utf-8") as file:
            self._process = subprocess.Popen(  # pylint: disable=consider-using-with # ended below
                [CLUSTER, "exec", "kubectl", "-n", release.namespace, "get", "pods", "--watch", "--output-watch-events",
                 "-o", "json"], stdout=file)
        eventually("the watch has begun", lambda: self._path.stat().st_size > 0)

    def finish(self):
        self._process.terminate()
        self._process.wait()
        text, objects, decoder = self._path.read_text(encoding="utf-8").lstrip(), [], json.JSONDecoder()
        while text:
            try:
                item, end = decoder.raw_decode(text)
            except ValueError:
                break  # the last one, cut off by the end
            text = text[end:].lstrip()
            objects.append(item["object"])
        return objects


def metadata_changes(objects, uid):
    """(changes of annotations, changes of labels) of one pod."""
    states = [(o["metadata"].get("annotations", {}), o["metadata"].get("labels", {}))
              for o in objects if o["metadata"]["uid"] == uid]
    pairs = list(zip(states, states[1:]))
    return sum(a[0] != b[0] for a, b in pairs), sum(a[1] != b[1] for a, b in pairs)


@pytest.mark.parametrize("role", ["standby", "primary"])
def test_quick_and_at_most_one_write(release, role, tmp_path):
    release.install()
    pod = release.roles()[role == "standby"]
    durations = []
    for _ in range(RUNS):
        time.sleep(1)  # the sidecars have nothing left to say
        watch = Watch(release, tmp_path)
        before = write_requests()
        record = release.record()
        release.delete_pod(pod)
        release.wait_ready(pod)
        eventually("the sidecar has labelled it", lambda: release.role_label(pod))
        after = write_requests()
        annotated, labelled = metadata_changes(watch.finish(), release.uid(pod))

        message, status = release.termination(pod)
        assert status == 0 and message["outcome"] in ("started", "followed"), message
        durations.append(message["durationSeconds"])

        requests = {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}
        writes = dict(requests)
        assert annotated == 1, f"the init container changed its pod {annotated} times"
        assert labelled == 1, f"the sidecar labelled {labelled} times"
        # The scheduler also posts one ("Scheduled"); pg-rejoin none.
        scheduled = writes.pop(("events.k8s.io", "events", "", "POST", "201"), 0)
        assert scheduled <= 1, requests
        assert not [e for e in release.events(pod) if e["reason"].startswith("Rejoin")]
        assert writes == {("", "pods", "", "PATCH", "200"): 2}, f"1 by init, 1 by the sidecar, but: {requests}"
        assert release.record() == record
    assert min(durations) <= DURATION_MAX, f"{durations} s"
    print(f"durations of init: {durations} s")
