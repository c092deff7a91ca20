"""A Helm release of the chart in a namespace of its own, as the tests see it: by kubectl, SQL and signals.

Everything goes through the real tools: kubectl and helm by `e2e/cluster/cluster exec`, SQL by psql in the pod.
"""
import contextlib
import datetime
import json
import os
import pathlib
import signal
import subprocess
import time

import jsonschema

HERE = pathlib.Path(__file__).resolve().parent
CLUSTER = HERE / "cluster/cluster"
CHART = HERE.parent / "charts/pg-rejoin"
PLUGIN = HERE.parent / "plugin"
STATE = pathlib.Path(os.environ.get("PG_REJOIN_STATE", "/var/lib/pg-rejoin-e2e"))
TERMINATION_SCHEMA = json.loads((HERE.parent / "docs/reference/termination-message.schema.json").read_text())
NAME = "demo"  # of the release and of its StatefulSet
PREFIX = "pg-rejoin.io/"
ROLES = ("postgres", "replication", "rewind", "promote")
READ_WRITE = "ready to accept connections"
READ_ONLY = "ready to accept read-only connections"  # a standby's log


def run(*command, stdin=None, check=True, timeout=300):
    """Runs a command; its output, or an AssertionError with all that it said."""
    result = subprocess.run([str(part) for part in command], input=stdin, capture_output=True, text=True,
                            timeout=timeout, check=False)
    if check and result.returncode != 0:
        said = f"{result.stdout}{result.stderr}"
        raise AssertionError(f"{' '.join(map(str, command))}: status {result.returncode}\n{said}")
    return result.stdout if check else result


def cluster(*arguments, **kwargs):
    return run(CLUSTER, *arguments, **kwargs)


def eventually(what, condition, timeout=120, pause=0.3):
    """Waits until condition() is true and returns what it gave. A failing command counts as "not yet"."""
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = condition()
            if last:
                return last
        except AssertionError as error:
            last = error
        assert time.monotonic() < end, f"not within {timeout} s: {what}; last: {last}"
        time.sleep(pause)


@contextlib.contextmanager
def node_gone():
    """Keeps new pods away while the failover runs, as the loss of their node does."""
    cluster("exec", "kubectl", "cordon", "node")
    try:
        yield
    finally:
        cluster("exec", "kubectl", "uncordon", "node")


def fenced(control):
    """Whether a control file has the version that no server accepts: the copy has begun and is not finished."""
    version = int.from_bytes(control.read_bytes()[8:12], "little")
    return not 1000 < version < 3000


class Release:
    def __init__(self, namespace, image, passwords):
        self.namespace = namespace
        self.image = image
        self.passwords = passwords

    # ---- life

    def make_namespace(self, secret="passwords"):
        """With the strictest pod security, and a Secret with the roles' passwords."""
        cluster("exec", "kubectl", "create", "namespace", self.namespace)
        cluster("exec", "kubectl", "label", "namespace", self.namespace,
                "pod-security.kubernetes.io/enforce=restricted")
        self.kubectl("apply", "-f", "-", stdin=json.dumps({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret},
            "stringData": {f"{role}-password": self.passwords[role] for role in ROLES}}))

    def install(self, *arguments, replicas=2, wait=True, restart_pod=True):
        """Installs the chart and, by default, waits until all pods are ready and their standbys stream.
        restart_pod=False: for tests that delete the old primary's pod themselves, at a moment of their own."""
        self.make_namespace()
        repository, tag = self.image.rsplit(":", 1)
        cluster("exec", "helm", "install", NAME, CHART, "--namespace", self.namespace,
                "--values", HERE / "values/demo.yaml", "--set", f"fullnameOverride={NAME}",
                "--set", f"image.repository={repository}", "--set", f"image.tag={tag}",
                "--set", f"replicas={replicas}", "--set", f"rejoin.restartPod={str(restart_pod).lower()}", *arguments)
        if wait:
            self.wait_all_ready(replicas)

    def wait_all_ready(self, replicas):
        eventually(f"{replicas} pods are ready", lambda: len(self.ready_pods()) == replicas, timeout=180)
        primary = self.record()["primary"]
        for pod in self.ready_pods():
            if pod != primary:
                self.wait_streams(primary, pod)

    def scale(self, replicas):
        self.kubectl("scale", f"statefulset/{NAME}", f"--replicas={replicas}")

    def delete_namespace(self):
        cluster("exec", "kubectl", "delete", "namespace", self.namespace, "--wait=false")

    # ---- looking

    def kubectl(self, *arguments, **kwargs):
        return cluster("exec", "kubectl", "--namespace", self.namespace, *arguments, **kwargs)

    def get(self, kind, name):
        return json.loads(self.kubectl("get", kind, name, "-o", "json"))

    def pods(self):
        return json.loads(self.kubectl("get", "pods", "-o", "json"))["items"]

    def ready_pods(self):
        return [pod["metadata"]["name"] for pod in self.pods()
                if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
                and "deletionTimestamp" not in pod["metadata"]]

    def record(self):
        return self.get("configmap", f"{NAME}-authority").get("data", {})

    def patch_record(self, **data):
        self.kubectl("patch", "configmap", f"{NAME}-authority", "--type=merge", "-p",
                     json.dumps({"data": {key.replace("_", "-"): value for key, value in data.items()}}))

    def annotations(self, pod):
        found = self.get("pod", pod)["metadata"].get("annotations", {})
        return {key.removeprefix(PREFIX): value for key, value in found.items() if key.startswith(PREFIX)}

    def role_label(self, pod):
        return self.get("pod", pod)["metadata"].get("labels", {}).get(PREFIX + "role")

    def uid(self, pod):
        return self.get("pod", pod)["metadata"]["uid"]

    def logs(self, pod, container, previous=False):
        result = self.kubectl("logs", pod, "-c", container, *(["--previous"] if previous else []), check=False)
        return result.stdout

    def timed_log(self, pod, container="postgres"):
        """[(seconds since 1970 by the container runtime's clock, line)]"""
        lines = (line.split(" ", 1) for line in self.kubectl("logs", pod, "-c", container, "--timestamps").splitlines())
        return [(datetime.datetime.fromisoformat(stamp[:26] + "+00:00").timestamp(), text) for stamp, text in lines]

    def log_files(self, pod, uid, container, first=0):
        """What a container has said since its start number `first`, from its files on this machine: for when the API
        server cannot be asked. The kubelet removes those of earlier starts."""
        files = (STATE / "logs/pods" / f"{self.namespace}_{pod}_{uid}" / container).glob("*.log")
        kept = sorted((file for file in files if int(file.stem) >= first), key=lambda file: int(file.stem))
        return "".join(file.read_text(errors="replace") for file in kept)

    def events(self, pod):
        """Those of the pod that now has this name."""
        return self.events_of(self.uid(pod))

    def events_of(self, uid):
        return [event for event in json.loads(self.kubectl("get", "events", "-o", "json"))["items"]
                if event["involvedObject"].get("uid") == uid]

    def termination(self, pod, container="rejoin-init"):
        """(message, exit status) that the last finished run of an init container left; waits for the first."""
        def terminated():
            for status in self.get("pod", pod)["status"].get("initContainerStatuses", []):
                if status["name"] == container:
                    for state in (status["state"], status.get("lastState", {})):
                        if "terminated" in state:
                            message = json.loads(state["terminated"]["message"])
                            jsonschema.validate(message, TERMINATION_SCHEMA)
                            return message, state["terminated"]["exitCode"]
            return None
        return eventually(f"{container} of {pod} has ended", terminated, 30)

    def server_was_started(self, pod):
        """Whether the container "postgres" of this pod has ever run."""
        statuses = self.get("pod", pod)["status"].get("containerStatuses", [])
        return any(status["name"] == "postgres" and
                   (status["restartCount"] > 0 or "waiting" not in status["state"]) for status in statuses)

    def container_state(self, pod, container="postgres"):
        """"waiting", "running" or "terminated", and more of it."""
        statuses = self.get("pod", pod)["status"].get("containerStatuses", [])
        return next(status["state"] for status in statuses if status["name"] == container)

    def restarts(self, pod):
        """How often each container of the pod was started again: {name: count}."""
        status = self.get("pod", pod)["status"]
        return {s["name"]: s["restartCount"] for s in status["initContainerStatuses"] + status["containerStatuses"]}

    def volume(self, pod):
        """The directory of the pod's volume, on this machine."""
        claim = self.get("pvc", f"data-{pod}")
        return pathlib.Path(self.get("pv", claim["spec"]["volumeName"])["spec"]["local"]["path"])

    def dump(self):
        """What a person would look at first, for the message of a failed test."""
        parts = []
        for arguments in (["get", "pods,pvc,configmaps", "-o", "wide"],
                          ["get", "configmap", f"{NAME}-authority", "-o", "jsonpath={.data}"],
                          ["get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.name}: "
                                                "{.metadata.annotations}{\"\\n\"}{end}"],
                          ["get", "events", "--sort-by=.lastTimestamp"]):
            result = self.kubectl(*arguments, check=False)
            parts.append(f"$ kubectl {' '.join(arguments)}\n{result.stdout[-6000:]}{result.stderr}")
        for pod in (f"{NAME}-0", f"{NAME}-1"):
            result = self.kubectl("logs", pod, "--all-containers", "--prefix", "--tail=30", check=False)
            parts.append(f"$ kubectl logs {pod}\n{result.stdout[-8000:]}{result.stderr[-500:]}")
        return "\n".join(parts)

    # ---- SQL

    def sql(self, pod, statements, database="postgres"):
        """Runs statements, each in a transaction of its own; the output as psql -At prints it."""
        return self.kubectl("exec", "-i", pod, "-c", "postgres", "--", "psql", "-XAtqw", "-v", "ON_ERROR_STOP=1",
                            "-U", "postgres", "-d", database, stdin=statements).strip()

    def is_read_write(self, pod):
        return self.sql(pod, "SELECT pg_is_in_recovery()") == "f"

    def streams(self, primary, standby):
        return self.sql(primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' "
                                 f"AND application_name = '{standby}'") == "1"

    def wait_streams(self, primary, standby, timeout=120):
        eventually(f"{standby} streams from {primary}", lambda: self.streams(primary, standby), timeout)

    def rows(self, pod, origin):
        return int(self.sql(pod, f"SELECT count(*) FROM t WHERE origin = '{origin}'"))

    def wait_rows(self, pod, origin, count):
        eventually(f"{count} rows of origin {origin} on {pod}", lambda: self.rows(pod, origin) == count, 60)

    # ---- doing

    def roles(self):
        """(primary, standby) of two pods, by the record."""
        primary = self.record()["primary"]
        return primary, next(pod for pod in (f"{NAME}-0", f"{NAME}-1") if pod != primary)

    def make_table(self, primary, standby, rows=500):
        self.sql(primary, "CREATE TABLE t (id bigserial PRIMARY KEY, origin text);\n"
                          f"INSERT INTO t (origin) SELECT 'both' FROM generate_series(1, {rows});")
        if standby:
            eventually(f"{standby} has the table", lambda: self.rows(standby, "both") == rows, 60)

    def insert(self, pod, origin, transactions):
        """One row in each."""
        self.sql(pod, f"INSERT INTO t (origin) VALUES ('{origin}');\n" * transactions)

    def cut(self, standby):
        """Ends the standby's WAL receiver for good."""
        self.sql(standby, "ALTER SYSTEM SET primary_conninfo = '';\nSELECT pg_reload_conf();")
        eventually("the WAL receiver ends",
                   lambda: self.sql(standby, "SELECT count(*) FROM pg_stat_wal_receiver") == "0")

    def hold_back(self, primary):
        """What the primary writes from now on, it alone has: its WAL senders stop, until the standby misses them after
        wal_receiver_timeout (60 s). Leaves no setting behind."""
        senders = self.processes(primary, lambda process: b"walsender" in (process / "cmdline").read_bytes())
        assert senders, f"nobody streams from {primary}"
        self.signal_processes(senders, signal.SIGSTOP)

    def lose(self, pod):
        """The pod is gone at once, as with its node: nothing is shut down, and nobody is told. Between SIGSTOP and
        SIGKILL it is deleted, or the kubelet would start its containers again."""
        processes = self.processes(pod, lambda process: True)
        self.signal_processes(processes, signal.SIGSTOP)
        self.kubectl("delete", "pod", pod, "--force", "--grace-period=0", "--wait=false")
        self.signal_processes(processes, signal.SIGKILL)

    def diverge(self, primary, standby, transactions=5):
        """Gives the primary transactions that the standby never gets."""
        self.make_table(primary, standby)
        self.cut(standby)
        self.sql(primary, "INSERT INTO t (origin) VALUES ('lost');\n" * (transactions - 1) +
                          "UPDATE t SET origin = 'lost' WHERE id % 50 = 0;")

    def diverge_much(self, primary, standby):
        """Two lost transactions, and enough to copy that there is a middle."""
        self.make_table(primary, standby)
        self.sql(primary, "CREATE TABLE big AS SELECT i, repeat('x', 500) AS pad FROM generate_series(1, 400000) i;")
        eventually("the standby has it", lambda: self.sql(standby, "SELECT count(*) FROM big") == "400000", 120)
        self.cut(standby)
        self.sql(primary, "INSERT INTO t (origin) VALUES ('lost');\nUPDATE big SET pad = 'lost';")

    def agent(self, pod, *command, **kwargs):
        """pg-rejoin in the pod's sidecar, as a person runs it."""
        return self.kubectl("exec", pod, "-c", "rejoin", "--", "pg-rejoin", *command, **kwargs)

    def plugin(self, *arguments, **kwargs):
        """kubectl pg-rejoin, as a person runs it."""
        return cluster("exec", "bash", "-c", 'PATH=$0:$PATH exec kubectl pg-rejoin "$@"', PLUGIN, *arguments,
                       "--namespace", self.namespace, **kwargs)

    def promote(self, pod):
        return self.agent(pod, "promote")

    def delete_pod(self, pod, *arguments):
        """Deletes the pod and waits until there is a new one of its name."""
        before = self.uid(pod)
        self.kubectl("delete", "pod", pod, "--wait=false", *arguments)
        self.wait_replaced(pod, before)

    def wait_replaced(self, pod, uid, timeout=120):
        eventually(f"{pod} is made again", lambda: self.uid(pod) != uid, timeout)

    def wait_ready(self, pod, timeout=180):
        eventually(f"{pod} is ready", lambda: pod in self.ready_pods(), timeout)

    def wait_outcome(self, pod, outcome, reason=None, timeout=120):
        """Waits for an outcome annotation; gives all of them."""
        def as_expected():
            found = self.annotations(pod)
            return found if found.get("outcome") == outcome and reason in (None, found.get("reason")) else None
        try:
            return eventually(f"{pod} is annotated {outcome} {reason or ''}", as_expected, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; annotated are {self.annotations(pod)}") from error

    def processes(self, pod, of, uid=None):
        """Process ids, as seen here, of the pod's processes for which of(folder in /proc) holds. A uid that is known
        saves the time to ask for it."""
        uid = uid or self.uid(pod)
        pids = []
        for process in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if uid in (process / "cgroup").read_text() and of(process):
                    pids.append(int(process.name))
        return pids

    def server_pids(self, pod):
        pids = self.processes(pod, lambda process: (process / "comm").read_text().strip() == "postgres")
        assert pids, f"no PostgreSQL runs in {pod}"
        return pids

    def agent_pid(self, pod, command, uid=None):
        """Of `pg-rejoin COMMAND` in the pod."""
        def of(process):
            return (process / "cmdline").read_bytes().split(b"\0")[1:2] == [command.encode()]
        pids = self.processes(pod, of, uid)
        assert len(pids) == 1, f"in {pod} run {len(pids)} pg-rejoin {command}"
        return pids[0]

    def signal_server(self, pod, number):
        self.signal_processes(self.server_pids(pod), number)

    @staticmethod
    def signal_processes(pids, number):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    @contextlib.contextmanager
    def stopped_sidecar(self, pod):
        """The pod's sidecar sees and does nothing meanwhile."""
        sidecar = [self.agent_pid(pod, "sidecar")]
        self.signal_processes(sidecar, signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_processes(sidecar, signal.SIGCONT)

    # ---- what must hold

    def assert_follows(self, standby, primary):
        """The standby streams from the primary, has its rows, and was read-only all the time."""
        self.wait_ready(standby)
        self.wait_streams(primary, standby)
        assert not self.is_read_write(standby), f"{standby} is read-write\n{self.dump()}"
        self.sql(primary, "CREATE TABLE IF NOT EXISTS arrivals (i int);\nINSERT INTO arrivals VALUES (1);")
        count = self.sql(primary, "SELECT count(*) FROM arrivals")
        eventually(f"a new row of {primary} arrives on {standby}",
                   lambda: self.sql(standby, "SELECT count(*) FROM arrivals") == count, 60)
        self.assert_never_read_write(standby)

    def assert_never_read_write(self, pod):
        """No server of this pod has ever accepted writes: neither the one that runs nor one before a restart of the
        container. A log that cannot be had, or that shows no server, proves nothing and fails."""
        status = next(s for s in self.get("pod", pod)["status"]["containerStatuses"] if s["name"] == "postgres")
        # Of more the kubelet keeps no log.
        assert status["restartCount"] <= 1, f"{pod}'s server was restarted {status['restartCount']} times"
        logs = [self.kubectl("logs", pod, "-c", "postgres")]
        if status["restartCount"]:
            logs.append(self.kubectl("logs", pod, "-c", "postgres", "--previous"))
        assert READ_ONLY in logs[0], f"the log of {pod} shows no server in recovery:\n{logs[0]}"
        for log in logs:
            assert READ_WRITE not in log, f"{pod} was read-write:\n{log}"

    def assert_not_started(self, pod, seconds=0):
        """PostgreSQL has not been started in this pod, and is not for some time."""
        end = time.monotonic() + seconds
        while True:
            assert not self.server_was_started(pod), f"{pod} has started PostgreSQL\n{self.dump()}"
            if time.monotonic() >= end:
                return
            time.sleep(1)

    def assert_same_table(self, one, other, table="t", database="postgres"):
        digest = f"SELECT count(*) || ' ' || md5(string_agg(x::text, ',' ORDER BY x::text)) FROM {table} x;"
        a, b = self.sql(one, digest, database), self.sql(other, digest, database)
        assert a == b, f"table {table} differs: {a} on {one}, {b} on {other}"
