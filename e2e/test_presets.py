"""Each preset's objects on a real API server, read by `pg-rejoin discover` with no more rights than docs/reference/discovery.md
names: who is named, whether that word counts, and what is left when the holder lets go. No server runs, so nobody is confirmed."""
import contextlib
import json
import os
import pathlib
import re
import secrets
import threading

import pytest
import yaml

from release import HERE, cluster, run

pytestmark = pytest.mark.long

ROOT = HERE.parent
PROGRAM = ROOT / os.environ.get("PG_REJOIN_PROGRAMS", "build/release/src") / "pg-rejoin"
FIXTURES = ROOT / "tests/unit/topology/fixtures"
ADDRESS = "192.0.2.1"  # of documentation: nobody answers there

# preset: holder as it is shown
AUTHORITIES = {
    "lease": "db-1", "patroni": "db-1", "patroni-configmap": "db-1", "spilo": "db-1", "crunchy": "db-instance1-h4vq-0",
    "percona": "db-instance1-p5zt-0", "stackgres": "db-1", "kubeblocks": "db-postgresql-1", "cnpg": "db-1", "stolon": "keeper1",
}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
    "metadata": {"name": "clusters.postgresql.cnpg.io"},
    "spec": {"group": "postgresql.cnpg.io", "scope": "Namespaced",
             "names": {"kind": "Cluster", "plural": "clusters", "singular": "cluster", "listKind": "ClusterList"},
             "versions": [{"name": "v1", "served": True, "storage": True,
                           "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]},
}


def documented_rights(preset):
    """The rules that the reference names for a preset, `{c}` filled in."""
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    text = (ROOT / "docs/reference/discovery.md").read_text().split("## Rights")[1]
    for names, group, resource, objects in re.findall(r"^\| (.*) \| `(.*)` / `(.*)` \| (.*) \|$", text, re.M):
        if f"`{preset}`" in names:
            objects = [o.replace("{c}", "db") for o in re.findall(r"`([^`]*)`", objects)]
            rules.append({"apiGroups": [group.strip('"')], "resources": [resource], "resourceNames": objects, "verbs": ["get"]})
    if preset == "service":
        rules.append({"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]})
    return rules


class Namespace:
    def __init__(self, preset, tmp_path):
        self.preset = preset
        self.name = f"e2e-presets-{preset}-{secrets.token_hex(2)}"
        self.kubeconfig = tmp_path / "kubeconfig"

    def kubectl(self, *arguments, **kwargs):
        return cluster("exec", "kubectl", "--namespace", self.name, *arguments, **kwargs)

    def apply(self, *objects):
        self.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))

    def make(self):
        """The namespace, and an account with the documented rights."""
        cluster("exec", "kubectl", "create", "namespace", self.name)
        role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "reader"},
                "rules": documented_rights(self.preset)}
        binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "reader"},
                   "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
                   "subjects": [{"kind": "ServiceAccount", "name": "reader", "namespace": self.name}]}
        self.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}, role, binding)
        config = yaml.safe_load(pathlib.Path(cluster("kubeconfig").strip()).read_text())
        token = self.kubectl("create", "token", "reader").strip()
        config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def discover(self, *arguments):
        """What it says, and that its status says the same."""
        result = cluster("exec", PROGRAM, "discover", "--json", "--kubeconfig", self.kubeconfig, "--namespace", self.name,
                         "--discovery", self.preset, "--cluster", "db", *arguments,
                         *(["--pod-selector", "app=db"] if self.preset == "lease" else []), check=False)
        said = json.loads(result.stdout) if result.stdout else {}
        assert said and said["exitStatus"] == result.returncode, result.stderr
        return said


@pytest.fixture
def namespace(request, image, tmp_path):  # pylint: disable=unused-argument # the cluster is up
    made = Namespace(request.param, tmp_path)
    made.make()
    yield made
    cluster("exec", "kubectl", "delete", "namespace", made.name, "--wait=false")


def load(preset):
    """As JSON text, with a time to live that a test can wait for."""
    text = (FIXTURES / f"{preset}.json").read_text()
    return re.sub(r'(ttl": "|leaseDurationSeconds\\?": ?)(30|15)', r"\g<1>6", text)


@contextlib.contextmanager
def renewed(space, text):
    """The holder's agent: renews all the time."""
    stop = threading.Event()

    def renew():
        count = 0
        while not stop.wait(0.3):
            count += 1
            space.kubectl("apply", "-f", "-", stdin=text.replace("11:22:33", f"11:{count // 60 + 23}:{count % 60:02}"))

    agent = threading.Thread(target=renew)
    agent.start()
    try:
        yield
    finally:
        stop.set()
        agent.join()


def release_holder(text):
    """The objects after their holder has let go."""
    items = json.loads(text)["items"]
    first = items[0]
    first.get("spec", {}).pop("holderIdentity", None)
    first["metadata"].get("annotations", {}).pop("leader", None)
    for key in ("currentPrimary", "targetPrimary"):
        first.get("status", {}).pop(key, None)
    data = first["metadata"].get("annotations", {}).get("stolon-clusterdata")
    if data:
        first["metadata"]["annotations"]["stolon-clusterdata"] = data.replace('"master":"9b1e7c55"', '"master":""')
    return items


@pytest.mark.parametrize("namespace", AUTHORITIES, indirect=True)
def test_an_authority_is_believed_while_it_is_renewed(namespace):  # pylint: disable=redefined-outer-name
    preset = namespace.preset
    assert namespace.discover()["authority"] == "unreadable"
    if preset == "cnpg":
        cluster("exec", "kubectl", "apply", "-f", "-", stdin=json.dumps(CRD))
        cluster("exec", "kubectl", "wait", "--for=condition=Established", f"crd/{CRD['metadata']['name']}")
    text = load(preset)
    namespace.kubectl("apply", "-f", "-", stdin=text)
    with renewed(namespace, text) if preset != "cnpg" else contextlib.nullcontext():
        said = namespace.discover()
    assert (said["authority"], said["primary"]) == ("names-other", AUTHORITIES[preset]), said
    assert said["freshness"] == ("timeless" if preset == "cnpg" else "fresh"), said
    assert (said["primaryState"], said["exitStatus"]) == ("unreachable", 10), said
    if preset in ("lease", "patroni", "stolon"):
        assert namespace.discover()["freshness"] == "stale"
    namespace.apply(*release_holder(text))
    said = namespace.discover()
    assert (said["authority"], said["verdict"]) == ("released", "nobody is named as primary"), said


def pod(name, labels):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels},
            "spec": {"nodeSelector": {"nowhere": "to-run"}, "containers": [{"name": "c", "image": "none"}]}}


def give_address(space, name):
    space.kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p",
                  json.dumps({"status": {"phase": "Running", "podIP": ADDRESS, "podIPs": [{"ip": ADDRESS}]}}))


@pytest.mark.parametrize("namespace", ["service", "label", "kubegres"], indirect=True)
def test_a_hint_names_a_server_without_authority(namespace):  # pylint: disable=redefined-outer-name
    arguments = ["--pod-selector", "app=db", "--primary-service", "db", "--role-label", "operator/role"]
    assert namespace.discover(*arguments)["primary"] == ""
    labels = {"app": "db", "operator/role": "primary", "replicationRole": "primary"}
    namespace.apply(pod("db-1-0", labels))
    give_address(namespace, "db-1-0")
    namespace.apply({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                     "metadata": {"name": "db-x", "labels": {"kubernetes.io/service-name": "db"}},
                     "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": True},
                                    "targetRef": {"kind": "Pod", "name": "db-1-0"}}]})
    said = namespace.discover(*arguments)
    assert (said["authority"], said["primary"], said["host"]) == ("none", "db-1-0", ADDRESS), said
    assert (said["primaryState"], said["exitStatus"]) == ("unreachable", 10), said


@pytest.mark.parametrize("namespace", ["bitnami-ha"], indirect=True)
def test_members_are_asked_and_a_silent_one_is_no_primary(namespace):  # pylint: disable=redefined-outer-name
    labels = {"app.kubernetes.io/instance": "db", "app.kubernetes.io/component": "postgresql"}
    namespace.apply(pod("db-0", labels))
    give_address(namespace, "db-0")
    said = namespace.discover()
    assert (said["authority"], said["primary"], said["exitStatus"]) == ("none", "", 10), said
    assert [member["says"] for member in said["members"]] == ["does not answer"], said


def test_every_preset_is_here():
    listed = run(PROGRAM, "discover", "--namespace", "x", "--discovery", "?", check=False).stderr
    presets = re.search(r"not in \{(.*)\}", listed)[1].split(",")
    # The record is what all other tests are about; a configured host takes no API.
    assert set(presets) == {*AUTHORITIES, "service", "label", "kubegres", "bitnami-ha", "record", "static"}
