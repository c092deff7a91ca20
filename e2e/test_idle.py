"""What a sidecar costs while nothing happens."""
import pathlib
import re
import time

import pytest

from release import cluster, eventually

pytestmark = pytest.mark.long

SECONDS = 60
REQUESTS_MAX = 10  # a minute and pod
# Most are pages of shared libraries, which all pods of a node share (libcrypto, cpprest, what libpq needs).
MEMORY_MAX = 24 << 20
OWN_MEMORY_MAX = 8 << 20
CORE_SHARE_MAX = 0.005


def requests_of(release, pod):
    """Requests to the API server so far, by the sidecar's own count; a watch counts when it has ended."""
    address = release.get("pod", pod)["status"]["podIP"]
    metrics = cluster("exec", "curl", "--silent", "--fail", f"http://{address}:9432/metrics")
    return sum(int(float(count)) for count in re.findall(r"^pg_rejoin_api_requests_total\{.*\} (\S+)$", metrics, re.M))


def cpu_seconds(process):
    fields = (process / "stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def memory(process):
    """(resident, of it anonymous) in bytes."""
    status = (process / "status").read_text()
    return tuple(int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) << 10 for name in ("VmRSS", "RssAnon"))


def test_sidecar(release):
    release.install()
    pods = release.roles()
    sidecars = {pod: pathlib.Path("/proc", str(release.agent_pid(pod, "sidecar"))) for pod in pods}
    eventually("both are labelled", lambda: all(release.role_label(pod) for pod in pods))
    time.sleep(20)  # until all is settled
    before = {pod: (requests_of(release, pod), cpu_seconds(sidecars[pod])) for pod in pods}
    time.sleep(SECONDS)
    for pod in pods:
        asked = requests_of(release, pod) - before[pod][0]
        share = (cpu_seconds(sidecars[pod]) - before[pod][1]) / SECONDS
        resident, own = memory(sidecars[pod])
        found = (f"{pod}: {asked} requests in {SECONDS} s, {resident >> 10} kB resident, {own >> 10} kB of it its own, "
                 f"{share:.2%} of a core")
        print(found)
        assert resident <= MEMORY_MAX and own <= OWN_MEMORY_MAX and share <= CORE_SHARE_MAX, found
        assert 0 < asked <= REQUESTS_MAX, found
