"""What the agent's token may do: RBAC lets it patch and delete the release's pods, the admission policy its own pod
alone, and of that what pg-rejoin reports."""
import contextlib
import json
import os
import signal
import tempfile

import pytest

from release import NAME, PREFIX, cluster, eventually

ROLE = PREFIX + "role"
DENIED = "ValidatingAdmissionPolicy"


class Agent:
    """kubectl with a token like the one in the pod's projected volume: of its account, bound to the pod."""

    def __init__(self, release, pod, kubeconfig):
        self.release, self.pod, self.kubeconfig = release, pod, kubeconfig

    def run(self, *arguments):
        result = self.release.kubectl("--kubeconfig", self.kubeconfig, *arguments, check=False)
        return result.returncode, result.stdout + result.stderr

    def allowed(self, *arguments):
        status, said = self.run(*arguments)
        assert status == 0, said

    def denied(self, *arguments, because=None):
        status, said = self.run(*arguments)
        assert status != 0 and DENIED in said, f"{arguments}: {status} {said}"
        assert because is None or because in said, said

    def patch(self, patch, kind="pod", name=None, flags=()):
        """The arguments of a merge patch."""
        return ("patch", kind, name or self.pod, "--type=merge", "-p", json.dumps(patch), *flags)

    def metadata(self, name=None, **fields):
        return self.patch({"metadata": fields}, name=name)


@contextlib.contextmanager
def agent_of(release, pod):
    token = release.kubectl("create", "token", NAME, "--bound-object-kind=Pod", f"--bound-object-name={pod}",
                            f"--bound-object-uid={release.uid(pod)}").strip()
    config = json.loads(cluster("exec", "kubectl", "config", "view", "--raw", "--flatten", "-o", "json"))
    for user in config["users"]:
        user["user"] = {"token": token}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as kubeconfig:
        os.chmod(kubeconfig.name, 0o600)
        json.dump(config, kubeconfig)
        kubeconfig.flush()
        agent = Agent(release, pod, kubeconfig.name)
        status, said = agent.run("auth", "whoami", "-o", "json")
        assert status == 0 and pod in said, said
        yield agent


@pytest.fixture
def confined(release):
    """The release under the policy, and its name: cluster-wide objects do not go with the namespace."""
    name = f"{NAME}.{release.namespace}.pg-rejoin.io"
    try:
        release.install("--set", "admissionPolicy.create=true")
        yield name
    finally:
        for kind in ("validatingadmissionpolicybinding", "validatingadmissionpolicy"):
            cluster("exec", "kubectl", "delete", kind, name, "--ignore-not-found")


def test_token_is_confined_to_its_pod(release, confined):
    primary, standby = release.roles()
    with agent_of(release, standby) as agent:
        # A policy counts a moment after it is made.
        eventually("the policy is in force", lambda: agent.run(*agent.metadata(labels={"x": "y"}))[0] != 0, 30)

        # Its own work, as it does it.
        agent.allowed(*agent.metadata(annotations={PREFIX + "message": "test"}))
        agent.allowed(*agent.metadata(annotations={PREFIX + "message": None}))
        agent.allowed(*agent.metadata(labels={ROLE: "replica"}))
        agent.allowed(*agent.metadata(labels={ROLE: None}))
        agent.allowed("delete", "pod", standby, "--dry-run=server")
        agent.allowed(*agent.patch({"data": {"paused": None}}, "configmap", f"{NAME}-authority"))

        # The others.
        other = "no pod but its own"
        agent.denied(*agent.metadata(name=primary, labels={ROLE: "replica"}), because=other)
        agent.denied(*agent.metadata(name=primary, annotations={PREFIX + "outcome": "lies"}), because=other)
        agent.denied("delete", "pod", primary, because=other)
        # But for a lost node's pod, which keeps the label that its Service selects.
        agent.allowed(*agent.metadata(name=primary, labels={ROLE: None}))
        agent.denied(*agent.metadata(name=primary, labels={ROLE: None}, annotations={"x": "y"}))
        # Its own, beyond its work.
        image = {"spec": {"containers": [{"name": "postgres", "image": "evil:1"}]}}
        agent.denied("patch", "pod", standby, "-p", json.dumps(image), because="what a pod runs")
        agent.denied(*agent.patch({"spec": {"activeDeadlineSeconds": 1}}), because="what a pod runs")
        agent.denied(*agent.metadata(labels={ROLE: "leader"}), because="no label")
        agent.denied(*agent.metadata(labels={"app.kubernetes.io/instance": "other"}), because="no label")
        agent.denied(*agent.metadata(labels={"app.kubernetes.io/instance": None}), because="no label")
        agent.denied(*agent.metadata(annotations={"kubectl.kubernetes.io/restartedAt": "now"}), because="no annotation")
        agent.denied(*agent.metadata(finalizers=["example.com/stay"]), because="finalizers")
        owner = {"apiVersion": "v1", "kind": "Pod", "name": primary, "uid": release.uid(primary)}
        agent.denied(*agent.metadata(ownerReferences=[owner]), because="finalizers and owners")
        # The record's data are the agent's, the object is not.
        record = f"{NAME}-authority"
        agent.denied(*agent.patch({"metadata": {"ownerReferences": [owner]}}, "configmap", record), because="owners")
        agent.denied(*agent.patch({"metadata": {"annotations": {PREFIX + "x": "y"}}}, "configmap", record))

        # It is the policy that denies: RBAC alone allows what it forbids.
        cluster("exec", "kubectl", "delete", "validatingadmissionpolicybinding", confined)
        harm = agent.patch({"metadata": {"labels": {ROLE: "primary"}}}, name=primary, flags=("--dry-run=server",))
        eventually("RBAC alone allows it", lambda: agent.run(*harm)[0] == 0, 30)


@pytest.mark.usefixtures("confined")
def test_failover_under_the_policy(release):
    """Everything that the program itself does is allowed."""
    old, new = release.roles()
    release.diverge(old, new, transactions=3)
    release.promote(new)
    release.assert_follows(old, new)
    eventually("it is proven", lambda: release.annotations(old).get("outcome") == "rejoined")
    assert release.role_label(new) == "primary" and release.role_label(old) == "replica"
    for pod in (old, new):
        for container in ("rejoin-init", "rejoin"):
            log = release.logs(pod, container)
            assert "403" not in log and "forbidden" not in log.lower() and "denied" not in log, log


@pytest.mark.long
@pytest.mark.usefixtures("confined")
def test_lost_node_under_the_policy(release):
    """A pod of which nothing is heard any more keeps its label until the new primary's sidecar takes it off: the Service
    would lead to both."""
    old, new = release.roles()
    release.make_table(old, new)
    silenced = release.processes(old, lambda process: True)
    release.signal_processes(silenced, signal.SIGSTOP)
    try:
        release.promote(new)
        eventually("the label has moved", lambda: (release.role_label(old), release.role_label(new)) == (None, "primary"), 60)
        release.sql(new, "INSERT INTO t (origin) VALUES ('meanwhile');")
    finally:
        release.signal_processes(silenced, signal.SIGCONT)
    release.assert_follows(old, new)
    assert release.rows(old, "meanwhile") == 1
