"""Only the container of a stale primary is started again, after the promotion and under a load of writes: from then on
it acknowledges none of them, and its pod comes back as a standby without anybody's help."""
import json
import signal
import time

import pytest
from release import NAME, eventually

pytestmark = pytest.mark.long

# It writes to one pod by its own name, as a client would that has not heard of the promotion, and keeps the time at
# which each row was acknowledged, by its own clock.
WRITER = """
export PGPASSWORD="$(tr -d '\\r\\n' </credentials/postgres-password)" PGCONNECT_TIMEOUT=2
while :; do
  if psql -XAtqw -h "$TARGET" -U postgres -d postgres -c "INSERT INTO t (origin) VALUES ('writer')" 2>/dev/null; then
    date +%s.%N
  else
    sleep 0.05
  fi
done
"""


class Writer:
    """A pod of its own."""

    def __init__(self, release, target):
        self.release = release
        pod = release.get("pod", target)
        server = next(c for c in pod["spec"]["containers"] if c["name"] == "postgres")
        release.kubectl("apply", "-f", "-", stdin=json.dumps({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "writer"},
            "spec": {
                "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0,
                "securityContext": pod["spec"]["securityContext"],
                "containers": [{
                    "name": "writer", "image": server["image"], "command": ["sh", "-c", WRITER],
                    "env": [{"name": "TARGET", "value": f"{target}.{NAME}-headless"}],
                    "securityContext": server["securityContext"],
                    "volumeMounts": [{"name": "credentials", "mountPath": "/credentials", "readOnly": True}]}],
                "volumes": [{"name": "credentials", "secret": {"secretName": "passwords"}}]}}))

    def acknowledged(self):
        """When each row was, in seconds since 1970."""
        return [float(line) for line in self.release.logs("writer", "writer").split()]

    def wait_more(self, count):
        have = len(self.acknowledged())
        eventually(f"{count} more rows are acknowledged", lambda: len(self.acknowledged()) >= have + count, 60)


def started_again(release, pod):
    """When the container's second start did its first thing, in seconds since 1970."""
    start, said = release.timed_log(pod)[0]
    assert "asking the sidecar" in said, said
    return start


def checkpointer(release, pod):
    return release.processes(pod, lambda process: b"checkpointer" in (process / "cmdline").read_bytes())


VICTIMS = {"one backend": checkpointer, "the whole container": lambda release, pod: release.server_pids(pod)}


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda name: name.replace(" ", "-"))
def test_acknowledges_nothing(release, victim):
    release.install()
    old, new = release.roles()
    release.make_table(old, new)
    writer = Writer(release, old)
    writer.wait_more(20)
    release.cut(new)
    writer.wait_more(20)
    before = release.uid(old)
    # It cannot see the promotion, so that the container does start again before the pod is deleted.
    with release.stopped_sidecar(old):
        release.promote(new)
        killed = time.time()
        release.signal_processes(VICTIMS[victim](release, old), signal.SIGKILL)
        eventually("the container is started again", lambda: release.restarts(old)["postgres"] == 1, 60)
        start = eventually("the gate asks", lambda: started_again(release, old), 30)
        time.sleep(5)  # a server that were let through would take writes by now
    release.wait_replaced(old, before, timeout=60)
    release.assert_follows(old, new)
    streams = time.time()
    found = release.wait_outcome(old, "rejoined")
    times = writer.acknowledged()
    late = [moment - start for moment in times if moment > start]
    assert not late, f"{len(late)} rows were acknowledged by the stale primary, the first {late[0]:.3f} s after its start"
    # Each row that was acknowledged is there or counted. One may have been committed and not acknowledged.
    kept, lost = release.rows(new, "writer"), int(found["discarded-transactions"])
    assert release.rows(old, "writer") == kept
    assert lost >= 20 and len(times) <= kept + lost <= len(times) + 2, (len(times), kept, found)
    print(f"{victim}: {kept} rows kept, {lost} discarded; the container was started again after {start - killed:.1f} s; 5 s later "
          f"its sidecar went on, and {streams - start - 5:.1f} s after that it was a standby")
