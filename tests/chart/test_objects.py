"""Everything beside the pod: the authority record, RBAC, Services, claims, scripts."""
import json
import pathlib
import shutil

import pytest
import yaml

from conftest import CHART, CI_VALUES, LIBRARY, Rendered, helm_of, script

NAME = "r-pg-rejoin"


def test_the_objects_of_a_release_are_these_and_no_others(default):
    assert sorted((o["kind"], o["metadata"]["name"]) for o in default.objects) == [
        ("ConfigMap", f"{NAME}-authority"),
        ("ConfigMap", f"{NAME}-initdb"),
        ("ConfigMap", f"{NAME}-scripts"),
        ("PodDisruptionBudget", NAME),
        ("Role", NAME),
        ("RoleBinding", NAME),
        ("Service", f"{NAME}-headless"),
        ("Service", f"{NAME}-primary"),
        ("Service", f"{NAME}-replicas"),
        ("ServiceAccount", NAME),
        ("StatefulSet", NAME),
    ]


def test_no_object_names_its_namespace_and_none_is_cluster_wide(default):
    for o in default.objects:
        assert "namespace" not in o["metadata"], o["kind"]
        assert not o["kind"].startswith("Cluster")


def test_no_secret_is_made(default):
    assert not default.all("Secret")


# ---- the authority record

def test_the_record_is_made_without_data_and_kept(default):
    record = default.one("ConfigMap", f"{NAME}-authority")
    assert not {"data", "binaryData", "immutable"} & set(record)
    assert record["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_record_never_changes_with_values(render):
    record = render().one("ConfigMap", f"{NAME}-authority")
    for values in CI_VALUES:
        other = render("--values", str(values), minimal=False).one("ConfigMap", f"{NAME}-authority")
        assert set(other) == set(record)
        assert other["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_no_template_looks_at_the_cluster():
    for template in filter(pathlib.Path.is_file, [*(CHART / "templates").rglob("*"), *(LIBRARY / "templates").rglob("*")]):
        assert "lookup " not in template.read_text(), f"{template.name} would render otherwise in a dry run"


# ---- RBAC

RECORD_RULE = {
    "apiGroups": [""], "resources": ["configmaps"], "resourceNames": [f"{NAME}-authority"],
    "verbs": ["get", "watch", "patch"],
}
PODS_RULE = {
    "apiGroups": [""], "resources": ["pods"], "resourceNames": [f"{NAME}-{i}" for i in range(8)],
    "verbs": ["get", "patch"],
}
DELETING_PODS_RULE = {**PODS_RULE, "verbs": ["get", "patch", "delete"]}
LIST_RULE = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}
SLICES_RULE = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]}
EVENTS_RULE = {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}


def test_rights_are_exactly_these(default):
    assert default.one("Role")["rules"] == [RECORD_RULE, DELETING_PODS_RULE, LIST_RULE, EVENTS_RULE]


def test_a_pod_that_is_not_to_restart_itself_may_not(render):
    rendered = render("--set", "rejoin.restartPod=false")
    assert rendered.one("Role")["rules"] == [RECORD_RULE, PODS_RULE, LIST_RULE, EVENTS_RULE]
    assert rendered.env("rejoin")["PG_REJOIN_RESTART_POD"] == "false"


@pytest.mark.parametrize("values, rules", [
    ("rejoin.discovery=label,rejoin.roleLabel=operator/role", [RECORD_RULE, PODS_RULE, LIST_RULE, EVENTS_RULE]),
    ("rejoin.discovery=service,rejoin.primaryService=s", [RECORD_RULE, PODS_RULE, LIST_RULE, SLICES_RULE, EVENTS_RULE]),
])
def test_endpoint_slices_only_where_they_are_the_evidence(render, values, rules):
    assert render("--set", values).one("Role")["rules"] == rules


def test_rights_name_the_pods_up_to_max_replicas(render):
    rendered = render("--set", "maxReplicas=3,replicas=3")
    assert rendered.one("Role")["rules"][1]["resourceNames"] == [f"{NAME}-0", f"{NAME}-1", f"{NAME}-2"]


def test_rights_are_bound_to_the_account_of_the_pods(render):
    for arguments in [(), ("--set", "serviceAccount.name=other")]:
        rendered = render(*arguments)
        binding = rendered.one("RoleBinding")
        assert binding["roleRef"]["name"] == rendered.one("Role")["metadata"]["name"]
        account = rendered.pod["spec"]["serviceAccountName"]
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "ns"}]
        assert rendered.one("ServiceAccount")["metadata"]["name"] == account


def test_the_account_hands_out_no_token_by_itself(default):
    assert default.one("ServiceAccount")["automountServiceAccountToken"] is False


def test_account_and_rights_of_ones_own(render):
    rendered = render("--set", "serviceAccount.create=false,serviceAccount.name=mine,rbac.create=false")
    assert not rendered.all("ServiceAccount") + rendered.all("Role") + rendered.all("RoleBinding")
    assert rendered.pod["spec"]["serviceAccountName"] == "mine"


# ---- the admission policy

def policy_of(render, *arguments):
    return render("--set", "admissionPolicy.create=true", *arguments)


def test_the_policy_is_named_by_release_and_namespace_and_binds_itself(render):
    rendered = policy_of(render)
    policy, binding = rendered.one("ValidatingAdmissionPolicy"), rendered.one("ValidatingAdmissionPolicyBinding")
    assert policy["metadata"]["name"] == binding["metadata"]["name"] == f"{NAME}.ns.pg-rejoin.io"
    assert binding["spec"] == {"policyName": f"{NAME}.ns.pg-rejoin.io", "validationActions": ["Deny"]}
    assert policy["spec"]["failurePolicy"] == "Fail"


@pytest.mark.parametrize("arguments, account", [((), NAME), (("--set", "serviceAccount.name=mine"), "mine")])
def test_the_policy_is_about_the_account_in_its_namespace_only(render, arguments, account):
    spec = policy_of(render, *arguments).one("ValidatingAdmissionPolicy")["spec"]
    assert spec["matchConditions"] == [
        {"name": "agent", "expression": f"request.userInfo.username == 'system:serviceaccount:ns:{account}'"}]
    assert spec["matchConstraints"]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "ns"}}


def test_the_policy_is_about_every_change_that_the_role_allows(render):
    rendered = policy_of(render)
    rule, = rendered.one("ValidatingAdmissionPolicy")["spec"]["matchConstraints"]["resourceRules"]
    changing = {resource for r in rendered.one("Role")["rules"] if {"patch", "delete"} & set(r["verbs"])
                for resource in r["resources"]}
    assert set(rule["resources"]) == changing == {"pods", "configmaps"}
    assert rule["operations"] == ["UPDATE", "DELETE"]


def test_the_policy_knows_the_role_label(render):
    spec = policy_of(render, "--set", "rejoin.roleLabel=example.com/role").one("ValidatingAdmissionPolicy")["spec"]
    assert any("'example.com/role'" in v["expression"] for v in spec["validations"])
    assert not any("pg-rejoin.io/role" in v["expression"] for v in spec["validations"])


# ---- the network policy

def network(render, *arguments):
    return render("--set", "networkPolicy.enabled=true", *arguments).one("NetworkPolicy")["spec"]


def test_the_network_policy_is_about_the_members(render):
    rendered = render("--set", "networkPolicy.enabled=true")
    spec = rendered.one("NetworkPolicy")["spec"]
    selector = spec["podSelector"]["matchLabels"]
    assert selector == rendered.one("StatefulSet")["spec"]["selector"]["matchLabels"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    members = {"podSelector": {"matchLabels": selector}}
    assert members in spec["ingress"][0]["from"] and spec["egress"][0]["to"] == [members]


def test_members_reach_each_other_dns_and_the_api_server_and_nothing_else(render):
    spec = network(render, "--set", "postgresql.port=5433")
    ports = [[p["port"] for p in rule["ports"]] for rule in spec["egress"]]
    assert ports == [[5433], [53, 53], [443, 6443]]
    assert [[p["port"] for p in rule["ports"]] for rule in spec["ingress"]] == [[5433], [9432]]


def test_metrics_are_for_everyone_or_those_named(render):
    assert network(render, "--set", "metrics.port=9500")["ingress"][1] == {"ports": [{"port": 9500}]}
    prometheus = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
    named = ("--set-json", f"networkPolicy.metricsClients={json.dumps(prometheus)}")
    assert network(render, *named)["ingress"][1] == {"ports": [{"port": 9432}], "from": prometheus}
    assert len(network(render, *named, "--set", "metrics.enabled=false")["ingress"]) == 1


def test_clients_are_the_namespace_or_those_named_and_the_test(render):
    assert {"podSelector": {}} in network(render)["ingress"][0]["from"]
    rendered = render("--set", "networkPolicy.enabled=true",
                      "--set-json", 'networkPolicy.clients=[{"ipBlock":{"cidr":"10.0.0.0/8"}}]', hooks=True)
    peers = rendered.one("NetworkPolicy")["spec"]["ingress"][0]["from"]
    assert {"ipBlock": {"cidr": "10.0.0.0/8"}} in peers and {"podSelector": {}} not in peers
    test_labels = rendered.one("Pod")["metadata"]["labels"]
    assert {"podSelector": {"matchLabels": test_labels}} in peers


def test_the_network_policy_takes_more_rules(render):
    spec = network(render, "--set-json", 'networkPolicy.apiServer=[{"ipBlock":{"cidr":"10.1.1.1/32"}}]',
                   "--set-json", 'networkPolicy.extraEgress=[{"ports":[{"port":9000}]}]',
                   "--set-json", 'networkPolicy.extraIngress=[{"ports":[{"port":9187}]}]',
                   "--set", "networkPolicy.apiServerPorts={6443}")
    assert spec["egress"][2] == {"ports": [{"port": 6443}], "to": [{"ipBlock": {"cidr": "10.1.1.1/32"}}]}
    assert spec["egress"][3] == {"ports": [{"port": 9000}]} and spec["ingress"][2] == {"ports": [{"port": 9187}]}


# ---- Services

MEMBER = {"app.kubernetes.io/name": "pg-rejoin", "app.kubernetes.io/instance": "r",
          "app.kubernetes.io/component": "database"}


def test_only_the_members_are_selected(default):
    """A pod that an umbrella chart gives the release's name and instance is no member."""
    for service in default.all("Service"):
        assert MEMBER.items() <= service["spec"]["selector"].items(), service["metadata"]["name"]
    for o in [default.one("StatefulSet"), default.one("PodDisruptionBudget")]:
        assert o["spec"]["selector"]["matchLabels"] == MEMBER
    assert default.env("rejoin")["PG_REJOIN_POD_SELECTOR"] == ",".join(f"{k}={v}" for k, v in MEMBER.items())


def selector(rendered, name):
    return rendered.one("Service", f"{NAME}-{name}")["spec"]["selector"]


def test_the_primary_service_follows_the_role_label(default):
    assert selector(default, "primary") == {
        **MEMBER, "pg-rejoin.io/role": "primary",
    }
    spec = default.one("Service", f"{NAME}-primary")["spec"]
    assert "publishNotReadyAddresses" not in spec and "clusterIP" not in spec


def test_the_replica_service_follows_the_role_label(default):
    assert selector(default, "replicas")["pg-rejoin.io/role"] == "replica"


def test_the_headless_service_names_every_member_ready_or_not(default):
    spec = default.one("Service", f"{NAME}-headless")["spec"]
    assert spec["clusterIP"] == "None" and spec["publishNotReadyAddresses"] is True
    assert "pg-rejoin.io/role" not in spec["selector"]
    assert default.one("StatefulSet")["spec"]["serviceName"] == f"{NAME}-headless"


def test_no_role_is_remembered_in_the_pod_template(default):
    assert "pg-rejoin.io/role" not in default.pod["metadata"]["labels"]
    assert not [k for k in default.pod["metadata"]["annotations"] if k.startswith("pg-rejoin.io/")]


def test_types_and_annotations_of_services(render):
    rendered = render("--set", "service.primary.type=LoadBalancer,service.primary.annotations.a=b,"
                      "service.replicas.enabled=false")
    service = rendered.one("Service", f"{NAME}-primary")
    assert service["spec"]["type"] == "LoadBalancer"
    assert service["metadata"]["annotations"] == {"a": "b"}
    assert len(rendered.all("Service")) == 2


def test_services_reach_the_port_by_its_name(default):
    for service in default.all("Service"):
        assert service["spec"]["ports"] == [{"name": "postgresql", "port": 5432, "targetPort": "postgresql"}]


def test_a_service_of_somebody_else(render):
    rendered = render("--set", "rejoin.discovery=service,rejoin.primaryService=theirs")
    assert rendered.env("rejoin-init")["PG_REJOIN_PRIMARY_SERVICE"] == "theirs"
    assert rendered.env("rejoin-init")["PG_REJOIN_DISCOVERY"] == "service"
    assert [s["metadata"]["name"] for s in rendered.all("Service")] == [f"{NAME}-headless"]


def test_a_label_of_somebody_else(render):
    rendered = render("--set", "rejoin.discovery=label,rejoin.roleLabel=operator.example/role")
    assert rendered.env("rejoin-init")["PG_REJOIN_ROLE_LABEL"] == "operator.example/role"
    assert selector(rendered, "primary")["operator.example/role"] == "primary"
    assert selector(rendered, "replicas")["operator.example/role"] == "replica"


# ---- StatefulSet and claims

def test_pods_are_made_in_parallel(default):
    assert default.one("StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"


def test_claims_are_retained(default):
    spec = default.one("StatefulSet")["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}


def test_claims(render):
    claim = render().one("StatefulSet")["spec"]["volumeClaimTemplates"][0]
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "8Gi"}}}
    rendered = render("--set", "persistence.storageClass=fast,persistence.size=1Ti,"
                      "persistence.accessModes={ReadWriteOncePod}")
    claim = rendered.one("StatefulSet")["spec"]["volumeClaimTemplates"][0]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOncePod"], "storageClassName": "fast",
        "resources": {"requests": {"storage": "1Ti"}},
    }
    rendered = render("--set", "persistence.storageClass=-")
    assert rendered.one("StatefulSet")["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"] == ""


def render_changed_chart(helm, tmp_path, *changes):
    """The chart with other lines in its Chart.yaml."""
    copy = tmp_path / "pg-rejoin"
    shutil.copytree(CHART, copy)
    text = (copy / "Chart.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (copy / "Chart.yaml").write_text(text)
    result = helm.run("template", "r", copy, "--namespace", "ns", "--set", "auth.existingSecret=credentials")
    assert result.returncode == 0, result.stderr
    return Rendered([o for o in yaml.safe_load_all(result.stdout) if o])


def test_immutable_fields_know_no_version(helm, tmp_path, default):
    """What an upgrade must not change may not hold what an upgrade changes."""
    after = render_changed_chart(
        helm, tmp_path, ("\nversion: 0.1.0", "\nversion: 9.9.9"), ('appVersion: "0.1.0"', 'appVersion: "9.9.9"'))
    assert after.one("StatefulSet")["metadata"]["labels"]["app.kubernetes.io/version"] == "9.9.9"
    for field in ["selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"]:
        assert after.one("StatefulSet")["spec"][field] == default.one("StatefulSet")["spec"][field], field


def test_a_new_chart_version_alone_restarts_no_database(helm, tmp_path, default):
    after = render_changed_chart(helm, tmp_path, ("\nversion: 0.1.0", "\nversion: 9.9.9"))
    assert after.one("StatefulSet")["metadata"]["labels"]["helm.sh/chart"] == "pg-rejoin-9.9.9"
    assert after.pod == default.pod


def test_one_pod_at_a_time_may_be_drained(render):
    rendered = render()
    spec = rendered.one("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["selector"] == rendered.one("StatefulSet")["spec"]["selector"]
    assert not render("--set", "podDisruptionBudget.enabled=false").all("PodDisruptionBudget")
    assert render("--set", "podDisruptionBudget.maxUnavailable=50%").one("PodDisruptionBudget")["spec"][
        "maxUnavailable"] == "50%"


# ---- labels

RECOMMENDED = {
    "app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component", "app.kubernetes.io/version",
    "app.kubernetes.io/managed-by", "helm.sh/chart",
}


def test_recommended_labels_on_every_object(default):
    for o in default.objects:
        assert RECOMMENDED <= set(o["metadata"]["labels"]), o["metadata"]["name"]


def test_every_label_and_annotation_is_a_string(render):
    rendered = render("--values", str(CHART / "ci/everything-values.yaml"), minimal=False)
    for o in [*rendered.objects, rendered.pod]:
        for key, value in {**o["metadata"]["labels"], **o["metadata"].get("annotations", {})}.items():
            assert isinstance(value, str), f"{key} is {value!r}"


def test_common_labels_and_annotations_are_on_every_object(render):
    rendered = render("--set-string", "commonLabels.team=1e3,commonAnnotations.note=yes")
    for o in [*rendered.objects, rendered.pod]:
        assert o["metadata"]["labels"]["team"] == "1e3"
        assert o["metadata"]["annotations"]["note"] == "yes"
    assert "team" not in rendered.one("StatefulSet")["spec"]["selector"]["matchLabels"]


# ---- scripts

def test_scripts_are_the_files_of_the_chart(default):
    maps = {"scripts": ["clone.sh", "self-test.sh"], "initdb": ["00-create-roles.sh", "zz-finish-initdb.sh"]}
    for name, keys in maps.items():
        data = default.one("ConfigMap", f"{NAME}-{name}")["data"]
        assert sorted(data) == keys
        for key in keys:
            file = key.removeprefix("00-").removeprefix("zz-")
            assert data[key].strip() == script(file).read_text().strip()


def test_scripts_are_mounted_where_they_are_run(default):
    assert default.containers["clone"]["command"] == ["/bin/sh", "/etc/pg-rejoin/scripts/clone.sh"]
    assert default.volumes[default.mounts("clone")["/etc/pg-rejoin/scripts"]["name"]]["configMap"] == {
        "name": f"{NAME}-scripts"}
    assert default.volumes[default.mounts("postgres")["/docker-entrypoint-initdb.d"]["name"]]["configMap"] == {
        "name": f"{NAME}-initdb", "defaultMode": 0o555}


def test_lines_for_pg_hba(render, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text("postgresql:\n  initdb:\n    pgHba:\n      - 'hostssl all \"app $x\" all cert'\n")
    script = render("--values", str(values)).one("ConfigMap", f"{NAME}-initdb")["data"]["01-pg-hba.sh"]
    # Quoted here document: the shell leaves the line as it is.
    assert "<<'LINES'\nhostssl all \"app $x\" all cert\nLINES\n" in script


def test_scripts_of_ones_own(render, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text("postgresql:\n  initdb:\n    scripts:\n      10-app.sql: |\n        CREATE DATABASE app;\n")
    data = render("--values", str(values)).one("ConfigMap", f"{NAME}-initdb")["data"]
    assert sorted(data) == ["00-create-roles.sh", "10-app.sql", "zz-finish-initdb.sh"]
    assert data["10-app.sql"] == "CREATE DATABASE app;\n"


# ---- helm test

def self_test(render, *arguments):
    rendered = render(*arguments, hooks=True)
    hooks = [o for o in rendered.objects if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    assert [(o["kind"], o["metadata"]["name"]) for o in hooks] == [("Pod", f"{NAME}-self-test")]
    return rendered, hooks[0]


def self_test_containers(pod):
    containers = {c["name"]: c for c in pod["spec"]["containers"]}
    assert list(containers) == ["self-test", "discovery"]
    return containers


def test_the_self_test_is_restricted_and_only_discovery_has_a_token(render):
    rendered, pod = self_test(render)
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    assert pod["spec"]["securityContext"] == rendered.pod["spec"]["securityContext"]
    for name, container in self_test_containers(pod).items():
        assert container["securityContext"] == rendered.containers["postgres"]["securityContext"]
        mounts = {m["name"] for m in container["volumeMounts"]}
        assert ("rejoin-token" in mounts) == (name == "discovery")
        assert ("rejoin-credentials" in mounts) == (name == "self-test")
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["serviceAccountName"] == rendered.pod["spec"]["serviceAccountName"]
    assert pod["spec"]["restartPolicy"] == "Never"


@pytest.mark.parametrize("values, restarts", [("rejoin.restartPod=true", "true"), ("rejoin.restartPod=false", "false"),
                                              ("rejoin.discovery=label,rejoin.roleLabel=a/b", "false")])
def test_the_self_test_discovers_as_the_members_do(render, values, restarts):
    rendered, pod = self_test(render, "--set", values)
    container = self_test_containers(pod)["discovery"]
    assert container["image"] == rendered.containers["rejoin"]["image"]
    assert container["args"] == ["discover", "--rights"]
    env = {v["name"]: v.get("value") for v in container["env"]}
    members = rendered.env("rejoin-init")
    for name in ("DISCOVERY", "RECORD", "MEMBERS", "POD_SELECTOR", "HEADLESS_SERVICE", "REWIND_PASSWORD_FILE"):
        assert env[f"PG_REJOIN_{name}"] == members[f"PG_REJOIN_{name}"]
    assert env["PG_REJOIN_RESTART_POD"] == restarts


def test_the_self_test_is_no_member(render):
    rendered, pod = self_test(render)
    for service in rendered.all("Service"):
        assert not service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    members = rendered.one("StatefulSet")["spec"]["selector"]["matchLabels"]
    assert not members.items() <= pod["metadata"]["labels"].items()


def test_the_self_test_asks_the_primary_as_a_rejoin_does(render):
    rendered, pod = self_test(render, "--set", "tls.enabled=true,tls.existingSecret=t,rejoin.sslMode=verify-full")
    container, discovery = self_test_containers(pod).values()
    env = {v["name"]: v["value"] for v in container["env"]}
    assert env["PGHOST"] == f"{NAME}-primary.ns.svc"
    assert env["PGSSLMODE"] == "verify-full" and env["PGSSLROOTCERT"] == "/etc/pg-rejoin/tls/ca.crt"
    assert not [k for k in env if "PASSWORD" in k]
    mounts = {m["mountPath"]: m["name"] for m in container["volumeMounts"]}
    volumes = {v["name"]: v for v in pod["spec"]["volumes"]}
    assert set(mounts.values()) | {m["name"] for m in discovery["volumeMounts"]} == set(volumes)
    assert volumes["rejoin-token"] == rendered.volumes["rejoin-token"]
    assert volumes["rejoin-credentials"] == rendered.volumes["rejoin-credentials"]
    assert volumes["rejoin-ca"] == rendered.volumes["rejoin-ca"]
    assert volumes["scripts"]["configMap"] == rendered.volumes["rejoin-scripts"]["configMap"]


# ---- notes

def notes(*arguments):
    # Helm 4 only: 3 asks for a cluster before it prints them. (It renders them in every other test.)
    result = helm_of(4).run("install", "r", CHART, "--namespace", "ns", "--dry-run=client",
                            "--set", "auth.existingSecret=credentials", *arguments)
    assert result.returncode == 0, result.stderr
    return result.stdout.split("NOTES:")[1]


def test_notes_show_the_outcome_and_the_promotion():
    text = notes()
    assert r".metadata.annotations.pg-rejoin\.io/outcome" in text
    assert "kubectl -n ns exec STANDBY -c rejoin -- pg-rejoin promote" in text
    assert "r-pg-rejoin-primary.ns.svc:5432" in text
    assert "does not decide failovers" in text
    assert r"ROLE:.metadata.labels.pg-rejoin\.io/role," in text
    assert "Never use `helm upgrade --force`" in text
    assert "promote\n" not in notes("--set", "rejoin.discovery=service,rejoin.primaryService=theirs")


def test_notes_warn_of_what_is_insecure():
    assert "WARNING: tls.enabled is false" in notes()
    assert "WARNING: tls.enabled" not in notes("--set", "tls.enabled=true,tls.existingSecret=t")
    assert "no standby" in notes("--set", "replicas=1")


def test_notes_say_what_is_lost_without_native_sidecars():
    assert "the sidecar is a plain container" in notes("--set", "rejoin.nativeSidecar=false")
    assert "plain container" not in notes("--set", "rejoin.nativeSidecar=true")
