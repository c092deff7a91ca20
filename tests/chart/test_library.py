"""The library chart: what it takes, what it prints, in charts that are not ours, and the examples that use it."""
import json
import re
import shutil

import pytest
import yaml

import values_reference
from conftest import CHART, LIBRARY, ROOT, Rendered

EXAMPLES = ROOT / "examples"
SETTINGS = {
    "name": "db", "image": "registry/pg-rejoin:1", "members": ["db-0", "db-1"], "podSelector": "app=db",
    "primaryService": "db", "headlessService": "db-headless", "secret": "passwords",
    "pgdata": "/data/pgdata", "dataMount": "/data", "dataVolume": "volume", "cloneImage": "postgres:17",
}
FRAGMENTS = ["initContainers", "containers", "gateCommand", "serverArguments", "serverMounts", "serverLifecycle",
             "volumes", "rules"]
OBJECTS = ["authority", "scripts", "rbac"]
TEMPLATES = "".join(
    f'{name}:\n  {{{{- include "pg-rejoin-library.{name}" $context | nindent 2 }}}}\n' for name in FRAGMENTS)


@pytest.fixture
def foreign(helm, tmp_path):
    """Renders a chart of somebody else, which includes every template."""
    chart = tmp_path / "foreign"
    (chart / "templates").mkdir(parents=True)
    shutil.copytree(LIBRARY, chart / "charts/pg-rejoin-library")
    (chart / "Chart.yaml").write_text("apiVersion: v2\nname: foreign\nversion: 1.2.3\n")
    context = '{{- $context := dict "root" $ "settings" .Values.settings -}}\n'
    # What is no object on its own, inside of one.
    (chart / "templates/fragments.yaml").write_text(context + "kind: Fragments\nmetadata: {name: x}\n" + TEMPLATES)
    for name in OBJECTS:
        (chart / f"templates/{name}.yaml").write_text(context + f'{{{{ include "pg-rejoin-library.{name}" $context }}}}\n')

    def render(*arguments, without=(), release="r", **changes):
        settings = {key: value for key, value in {**SETTINGS, **changes}.items() if key not in without}
        (chart / "values.yaml").write_text(json.dumps({"settings": settings}))
        # Not cached: the chart is another one each time.
        return helm._run_uncached("template", release, str(chart), "--namespace", "shop", *arguments)  # pylint: disable=protected-access

    def objects(*arguments, **changes):
        result = render(*arguments, **changes)
        assert result.returncode == 0, result.stderr
        return Rendered([o for o in yaml.safe_load_all(result.stdout) if o])

    objects.error = lambda **changes: render(**changes).stderr
    return objects


def fragments(rendered):
    return rendered.one("Fragments")


def env(container):
    return {v["name"]: v.get("value") for v in container["env"]}


# ---- one source of truth

def test_the_complete_chart_writes_nothing_of_the_library_twice():
    templates = "".join(file.read_text() for file in (CHART / "templates").glob("*.*"))
    for ours in ["rejoin-bin", "PG_REJOIN_MEMBERS", "serviceAccountToken", "pg-rejoin-gate", "wal_log_hints"]:
        assert ours not in templates, f"{ours} is the library's"


def test_the_complete_chart_needs_no_step_before_it_is_installed(helm):
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    library = yaml.safe_load((LIBRARY / "Chart.yaml").read_text())
    assert chart["dependencies"] == [{"name": "pg-rejoin-library", "version": library["version"]}]
    assert library["type"] == "library" and not LIBRARY.is_symlink()
    listed = helm.run("dependency", "list", CHART)
    assert re.search(r"^pg-rejoin-library\s+\S+\s+unpacked", listed.stdout, re.M), listed.stdout + listed.stderr


def test_the_reference_of_settings_is_up_to_date():
    assert values_reference.LIBRARY_REFERENCE.read_text() == values_reference.settings_table(), (
        "run tests/chart/values_reference.py")


def test_every_setting_is_described():
    described = {path: what for path, what in values_reference.descriptions(values_reference.settings_defaults())}
    for key in yaml.safe_load(values_reference.settings_defaults()):
        assert described[(key,)], key


# ---- what it takes

@pytest.mark.parametrize("missing", ["name", "image", "members", "podSelector", "primaryService", "headlessService",
                                     "secret", "pgdata", "dataMount"])
def test_a_missing_setting_is_named(foreign, missing):
    assert f'the setting "{missing}" is required' in foreign.error(without=[missing])


@pytest.mark.parametrize("changes, reason", [
    ({"nosuch": 1}, 'there is no setting "nosuch"'),
    ({"secretKeys": {"postgres": "x"}}, 'there is no setting "secretKeys.postgres"'),
    ({"pgdata": "/data"}, "pgdata /data has to be a directory below dataMount /data"),
    ({"pgdata": "/database"}, "pgdata /database has to be a directory below dataMount /data"),
    ({"members": "db-0,db-1"}, 'the setting "members" has to be a list, not a string'),
    ({"name": 7}, 'the setting "name" has to be a string, not a number'),
    ({"port": "5432"}, 'the setting "port" has to be a number, not a string'),
    ({"restartPod": "false"}, 'the setting "restartPod" has to be a truth value, not a string'),
    ({"labels": []}, 'the setting "labels" has to be a map, not a list'),
    ({"maxDiscardedTransactions": "5"}, 'the setting "maxDiscardedTransactions" has to be a number or null, not a string'),
    ({"nativeSidecar": "maybe"}, "nativeSidecar is auto, true or false, not maybe"),
    ({"discovery": "spilo"}, 'discovery spilo requires the setting "cluster"'),
])
def test_a_wrong_setting_is_refused_with_the_reason(foreign, changes, reason):
    assert reason in foreign.error(**changes)


@pytest.mark.parametrize("release", ["y", "1e3", "007", "null", "a" * 53])
def test_odd_names_stay_strings(foreign, release):
    rendered = foreign(release=release, name=release, secret="1e3", headlessService="y", members=["007", "1e3"])
    assert rendered.one("Role")["metadata"]["name"] == release
    assert rendered.one("RoleBinding")["subjects"][0]["name"] == release
    agent = fragments(rendered)["initContainers"][0]
    assert env(agent)["PG_REJOIN_HEADLESS_SERVICE"] == "y" and env(agent)["PG_REJOIN_MEMBERS"] == "007,1e3"
    assert fragments(rendered)["rules"][1]["resourceNames"] == ["007", "1e3"]
    assert all(isinstance(v, str) for v in env(agent).values() if v is not None)


def test_large_numbers_are_not_rounded(foreign):
    agent = fragments(foreign(maxDiscardedTransactions=12345678))["initContainers"][0]
    assert env(agent)["PG_REJOIN_MAX_DISCARDED_TRANSACTIONS"] == "12345678"


# ---- what it prints

def test_the_pod_is_whole(foreign):
    found = fragments(foreign())
    assert [c["name"] for c in found["initContainers"]] == ["rejoin-init", "clone", "rejoin"]
    assert found["containers"] is None
    volumes = {v["name"] for v in found["volumes"]}
    mounted = {m["name"] for c in found["initContainers"] for m in c["volumeMounts"]}
    assert mounted - volumes == {"volume"} and volumes <= mounted
    assert {m["name"] for m in found["serverMounts"]} <= volumes
    assert found["gateCommand"] == ["/pg-rejoin/bin/pg-rejoin-gate", "--pgdata", "/data/pgdata",
                                    "--ask", "/pg-rejoin/gate", "--ask-seconds", "3000", "--"]
    assert "--pgdata=/data/pgdata" in found["serverLifecycle"]["preStop"]["exec"]["command"][2]
    ours = {v["name"] for v in found["volumes"]} | {c["name"] for c in found["initContainers"]} - {"clone"}
    assert all(name.startswith("rejoin") for name in ours), "names that a foreign pod may have"


def test_without_native_sidecars_it_is_a_plain_container(foreign):
    for rendered in [foreign(nativeSidecar=False), foreign("--kube-version", "1.28.9")]:
        found = fragments(rendered)
        assert [c["name"] for c in found["initContainers"]] == ["rejoin-init", "clone"]
        [sidecar] = found["containers"]
        assert sidecar["name"] == "rejoin" and "restartPolicy" not in sidecar
    native = fragments(foreign("--kube-version", "1.29.0-gke.1"))["initContainers"][-1]
    assert native.pop("restartPolicy") == "Always" and native == sidecar
    assert not fragments(foreign("--kube-version", "1.28.9", nativeSidecar=True))["containers"]


def test_where_a_manager_starts_the_server_nobody_asks_restarts_or_promotes(foreign):
    rendered = foreign(discovery="spilo", cluster="acid", promoteUser="", replicationUser="", cloneImage="")
    found = fragments(rendered)
    assert [c["name"] for c in found["initContainers"]] == ["rejoin-init", "rejoin"]
    for container in found["initContainers"]:
        assert env(container)["PG_REJOIN_CLUSTER"] == "acid"
        assert not [name for name in env(container) if "PROMOTE" in name or "REPLICATION" in name or
                    name in ("PG_REJOIN_GATE_DIR", "PG_REJOIN_RESTART_POD")]
    assert "--ask" not in found["gateCommand"]
    assert "delete" not in found["rules"][1]["verbs"]
    assert {"apiGroups": [""], "resources": ["endpoints"], "resourceNames": ["acid", "acid-config"],
            "verbs": ["get"]} in found["rules"]
    assert [i["path"] for v in found["volumes"] for i in v.get("secret", {}).get("items", [])] == ["rewind-password"] * 2


def test_rights_are_those_of_the_reference(foreign):
    """docs/reference/discovery.md: preset, group / resource, names."""
    rows = re.findall(r"^\| (`[^|]*`) \| `([^`]*)` / `(\w+)` \| (`[^|]*`) \|$",
                      (ROOT / "docs/reference/discovery.md").read_text(), re.M)
    presets = [(preset, group.strip('"'), resource, [name.replace("{c}", "acid") for name in re.findall("`([^`]+)`", names)])
               for words, group, resource, names in rows for preset in re.findall("`([^`]+)`", words)]
    assert len(presets) >= 10
    for preset, group, resource, names in presets:
        rules = fragments(foreign(discovery=preset, cluster="acid"))["rules"]
        assert {"apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": ["get"]} in rules, preset


def test_objects(foreign):
    rendered = foreign(labels={"a": "b"}, annotations={"c": "d"}, serviceAccount="mine")
    record = rendered.one("ConfigMap", "db-authority")
    assert "data" not in record and record["metadata"]["annotations"] == {"c": "d", "helm.sh/resource-policy": "keep"}
    assert rendered.one("ConfigMap", "db-scripts")["data"]["clone.sh"].strip() == (
        LIBRARY / "files/clone.sh").read_text().strip()
    assert rendered.one("Role")["rules"] == fragments(rendered)["rules"]
    assert rendered.one("RoleBinding")["subjects"] == [{"kind": "ServiceAccount", "name": "mine", "namespace": "shop"}]
    for o in rendered.objects:
        if o["kind"] != "Fragments":
            assert o["metadata"]["labels"] == {"a": "b"} and o["metadata"]["annotations"]["c"] == "d"


# ---- the examples

def example_chart(helm, tmp_path):
    """examples/helm as its README installs it."""
    shutil.copytree(ROOT / "charts", tmp_path / "charts")
    shutil.copytree(EXAMPLES / "helm", tmp_path / "examples/helm")
    chart = tmp_path / "examples/helm"
    built = helm._run_uncached("dependency", "build", str(chart))  # pylint: disable=protected-access
    assert built.returncode == 0, built.stderr
    result = helm._run_uncached("template", "db", str(chart), "--namespace", "default")  # pylint: disable=protected-access
    assert result.returncode == 0, result.stderr
    return Rendered([o for o in yaml.safe_load_all(result.stdout) if o])


def test_the_statefulset_example_is_what_the_library_prints(helm, tmp_path):
    chart = example_chart(helm, tmp_path)
    objects = list(yaml.safe_load_all((EXAMPLES / "statefulset/pg-rejoin.yaml").read_text()))
    assert sorted(o["metadata"]["name"] + o["kind"] for o in objects) == [
        "db-authorityConfigMap", "db-scriptsConfigMap", "dbRole", "dbRoleBinding", "dbServiceAccount"]
    for o in objects:
        assert chart.one(o["kind"], o["metadata"]["name"]) == o
    patch = yaml.safe_load((EXAMPLES / "statefulset/statefulset-patch.yaml").read_text())
    spec, whole = patch["spec"]["template"]["spec"], chart.pod["spec"]
    assert spec["initContainers"][0] == {"$patch": "delete", "name": "standby"}
    assert spec["initContainers"][1:] == whole["initContainers"]
    assert spec["volumes"] == whole["volumes"]
    [server], [expected] = spec["containers"], whole["containers"]
    assert server["command"] == expected["command"] and server["lifecycle"] == expected["lifecycle"]
    assert server["args"] == ["-c", "wal_keep_size=512MB", *expected["args"]]
    assert all(mount in expected["volumeMounts"] for mount in server["volumeMounts"])


BITNAMI_CONTEXT = {
    "runAsNonRoot": True, "runAsUser": 1001, "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}}


def test_the_bitnami_example_is_what_the_library_prints(foreign):
    values = yaml.safe_load((EXAMPLES / "bitnami/values.yaml").read_text())
    rendered = foreign(
        name="shop-postgresql-rejoin", image="pg-rejoin:0.1.0",
        members=["shop-postgresql-primary-0", "shop-postgresql-read-0", "shop-postgresql-read-1"],
        podSelector="app.kubernetes.io/instance=shop,app.kubernetes.io/name=postgresql", dataVolume="data",
        primaryService="shop-postgresql-rw", headlessService="shop-postgresql-members", secret="shop-postgresql-passwords",
        replicationUser="repl_user", pgdata="/bitnami/postgresql/data", dataMount="/bitnami/postgresql",
        cloneImage="docker.io/bitnami/postgresql:17", serviceAccount="shop-postgresql", securityContext=BITNAMI_CONTEXT)
    expected = fragments(rendered)
    for pods in [values["primary"], values["readReplicas"]]:
        assert pods["initContainers"] == expected["initContainers"]
        assert pods["command"][:len(expected["gateCommand"])] == expected["gateCommand"]
        assert "entrypoint.sh" not in " ".join(pods["command"]), "it would demote a promoted server"
        assert pods["args"] == expected["serverArguments"] and pods["lifecycleHooks"] == expected["serverLifecycle"]
        assert pods["extraVolumeMounts"][:-1] == expected["serverMounts"]
        assert pods["extraVolumes"][:-1] == expected["volumes"]
    deployed = Rendered(values["extraDeploy"])
    for kind, name in [("ConfigMap", "shop-postgresql-rejoin-authority"), ("ConfigMap", "shop-postgresql-rejoin-scripts"),
                       ("Role", "shop-postgresql-rejoin"), ("RoleBinding", "shop-postgresql-rejoin")]:
        assert deployed.one(kind, name) == rendered.one(kind, name)
    # The chart takes all of it for a template.
    assert "{{" not in (EXAMPLES / "bitnami/values.yaml").read_text()


def test_the_spilo_example_is_what_the_library_prints(foreign):
    manifest, role, binding = yaml.safe_load_all((EXAMPLES / "spilo/postgresql.yaml").read_text())
    rendered = foreign(
        name="acid-shop-rejoin", image="pg-rejoin:0.1.0", members=["acid-shop-0", "acid-shop-1", "acid-shop-2"],
        podSelector="application=spilo,cluster-name=acid-shop", primaryService="acid-shop", replicationUser="",
        promoteUser="", secret="rewind.acid-shop.credentials.postgresql.acid.zalan.do", secretKeys={"rewind": "password"},
        pgdata="/home/postgres/pgdata/pgroot/data", dataMount="/home/postgres/pgdata", dataVolume="pgdata",
        discovery="spilo", cluster="acid-shop", serviceAccount="postgres-pod", cloneImage="",
        securityContext={"runAsUser": 101, "runAsGroup": 103, "runAsNonRoot": True, "allowPrivilegeEscalation": False,
                         "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        without=["headlessService"])
    [init] = manifest["spec"]["initContainers"]
    expected = fragments(rendered)["initContainers"][0]
    for variable in expected["env"]:
        if variable["name"] == "PG_REJOIN_BIN_DIR":
            variable["value"] = ""
    expected["volumeMounts"] = [m for m in expected["volumeMounts"] if m["name"] not in ("rejoin-bin", "rejoin-token")]
    assert init == expected
    volumes = {v["name"] for v in manifest["spec"]["additionalVolumes"]}
    assert {m["name"] for m in init["volumeMounts"]} == volumes | {"pgdata"}
    assert role == rendered.one("Role") and binding == rendered.one("RoleBinding")


def test_every_variable_of_the_examples_is_in_the_reference():
    known = (ROOT / "docs/reference/configuration.md").read_text()
    found = set()
    for file in EXAMPLES.rglob("*.yaml"):
        if "templates" not in file.parts:
            found |= set(re.findall(r"- name: (PG_REJOIN_\w+|POD_\w+)$", file.read_text(), re.M))
    assert len(found) >= 20
    unknown = {name for name in found if f"`{name}`" not in known}
    # "`PG_REJOIN_REWIND_USER`, `…_PASSWORD_FILE`, `…_DATABASE`"
    assert {re.sub(r".*?(_PASSWORD_FILE|_DATABASE)$", r"\1", name) for name in unknown} <= {"_PASSWORD_FILE", "_DATABASE"}
