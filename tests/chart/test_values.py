"""What the chart accepts, under which names, and that everything generated from it is up to date."""
import json
import os
import re
import subprocess

import pytest
import yaml

import values_reference
from conftest import CHART, CI_VALUES, ROOT, Rendered, helm_of

VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())


# ---- lint and cases

@pytest.mark.parametrize("values", CI_VALUES, ids=lambda p: p.name)
def test_lint(helm, values):
    result = helm.run("lint", "--strict", CHART, "--values", values)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda p: p.name)
def test_helm_3_and_4_print_the_same(values):
    assert helm_of(3).text("--values", str(values)) == helm_of(4).text("--values", str(values))


# ---- schema

def test_the_secret_is_required(helm):
    result = helm.run("template", "r", CHART)
    assert result.returncode != 0
    assert "auth.existingSecret is required" in result.stderr


@pytest.mark.parametrize("values", [
    # names that do not exist, at every level
    "nosuch=1", "image.nosuch=1", "auth.nosuch=1", "auth.secretKeys.nosuch=1", "tls.nosuch=1", "global.nosuch=1",
    "postgresql.nosuch=1", "postgresql.image.nosuch=1", "postgresql.initdb.nosuch=1",
    "postgresql.readinessProbe.nosuch=1", "rejoin.nosuch=1", "persistence.nosuch=1", "service.nosuch=1",
    "service.primary.nosuch=1", "service.primary.enabled=false", "podDisruptionBudget.nosuch=1",
    "serviceAccount.nosuch=1", "rbac.nosuch=1", "updateStrategy.nosuch=1", "rejoin.resources.nosuch=1",
    # values out of range
    "postgresql.majorVersion=13", "postgresql.majorVersion=19", "postgresql.port=80", "postgresql.port=70000",
    "replicas=-1", "replicas=1.5", "maxReplicas=0", "maxReplicas=65", "rejoin.discovery=etcd",
    "rejoin.deadlineSeconds=0", "rejoin.connections=0", "rejoin.maxRate=31k", "rejoin.maxRate=5T", "rejoin.maxRate=0M", "rejoin.nativeSidecar=maybe", "pg-rejoin-library.port=1", "rejoin.primaryService=7up", "rejoin.roleLabel=a/b/c", "rejoin.logFormat=xml", "rejoin.logLevel=loud", "rejoin.sslMode=always",
    "image.pullPolicy=Sometimes", "image.digest=md5:1", "image.tag=a b", "image.repository=UPPER",
    "persistence.size=big", "persistence.whenDeleted=Keep", "persistence.accessModes={ReadOnlyMany}",
    "service.primary.type=ExternalName", "updateStrategy.type=Recreate", "terminationGracePeriodSeconds=0",
    "podDisruptionBudget.maxUnavailable=half",
    # wrong types
    "replicas=two", "tls.enabled=maybe", "podLabels=1", "sidecars=1", "postgresql.parameters.work_mem.deep=1",
    # names that Kubernetes or PostgreSQL would refuse later
    "fullnameOverride=Upper", "nameOverride=a_b", "fullnameOverride=" + "x" * 53, "auth.existingSecret=A B",
    "auth.replicationUser=pg_bad", "auth.rewindUser=Quote\"d", "auth.secretKeys.postgres=a/b",
    # what is the chart's or the sidecar's to say
    "podLabels.pg-rejoin\\.io/role=primary", "commonLabels.app\\.kubernetes\\.io/name=x",
    "podAnnotations.pg-rejoin\\.io/outcome=x",
    "postgresql.parameters.restart_after_crash=on", "postgresql.parameters.wal_log_hints=off",
    "postgresql.parameters.full_page_writes=off", "postgresql.parameters.listen_addresses=localhost",
    "postgresql.parameters.data_directory=/x", "postgresql.parameters.hot_standby=off",
    "postgresql.parameters.port=1", "postgresql.parameters.primary_conninfo=x", "postgresql.parameters.wal_level=minimal",
    "postgresql.parameters.Bad-Name=1",
    "postgresql.initdb.scripts.evil=x", "postgresql.initdb.scripts.00-first\\.sh=x",
    "postgresql.initdb.scripts.zzz\\.sh=x", "postgresql.initdb.args={a}",
])
def test_refused(helm, values):
    error = helm.error("--set", values)
    assert re.search(r"schema|specifications", error), error


@pytest.mark.parametrize("values, reason", [
    ("replicas=9", "replicas (9) is above maxReplicas (8)"),
    ("rejoin.discovery=service", "rejoin.discovery service needs rejoin.primaryService"),
    ("rejoin.discovery=label", "rejoin.discovery label needs rejoin.roleLabel"),
    ("tls.enabled=true", "tls.enabled needs tls.existingSecret"),
    ("rejoin.sslMode=verify-full", "rejoin.sslMode verify-full needs tls.enabled and tls.caKey"),
])
def test_refused_with_the_reason(helm, values, reason):
    assert reason in helm.error("--set", values)


def objects_of(schema):
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects_of(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects_of(value)


def test_the_schema_is_strict_everywhere():
    found = list(objects_of(SCHEMA))
    assert len(found) >= 15
    for schema in found:
        assert schema["additionalProperties"] is not True, schema


def resolve(schema):
    while "$ref" in schema:
        schema = SCHEMA["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def test_the_schema_knows_every_value_and_no_other():
    def compare(schema, values, path):
        schema = resolve(schema)
        if schema.get("additionalProperties") is not False:
            return
        optional = {"rollingUpdate", "claims", "requests", "limits", "pg-rejoin-library"}
        assert set(values) - set(schema["properties"]) == set(), path
        assert set(schema["properties"]) - set(values) <= optional, path
        for key, value in values.items():
            if isinstance(value, dict):
                compare(schema["properties"][key], value, f"{path}.{key}")

    compare(SCHEMA, VALUES, "values")


@pytest.mark.parametrize("value", ["discovery", "logFormat", "logLevel", "sslMode"])
def test_the_schema_and_the_binary_accept_the_same_words(value):
    words = SCHEMA["properties"]["rejoin"]["properties"][value]["enum"]
    assert VALUES["rejoin"][value] in words
    if value == "discovery":  # those of which the image starts the server, and the sidecar keeps the labels or nobody
        presets = (ROOT / "src/topology/discovery_preset.cc").read_text()
        assert all(f'"{word}"' in presets for word in words)
        return
    accepted = re.findall(r"IsMember\(\s*\{([^}]*)\}", (ROOT / "src/cli/cli.cc").read_text())
    assert set(words) in [set(re.findall(r'"([^"]*)"', a)) for a in accepted]


# ---- documentation

def leaves(values, path=()):
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, path + (key,))
        else:
            yield path + (key,)


def test_every_value_is_described():
    described = {path for path, what in values_reference.descriptions((CHART / "values.yaml").read_text()) if what}
    # Values in Kubernetes' own words are described where they begin.
    whole = {("podSecurityContext",), ("containerSecurityContext",), ("updateStrategy",), ("rejoin", "resources"),
             ("rejoin", "initResources")}
    for path in leaves(VALUES):
        assert path in described or any(path[: len(w)] == w and w in described for w in whole), ".".join(path)


def test_the_reference_of_values_is_up_to_date():
    expected = values_reference.table((CHART / "values.yaml").read_text())
    assert values_reference.REFERENCE.read_text() == expected, "run tests/chart/values_reference.py"


# ---- names

ODD_RELEASES = [
    "y", "n", "1e3", "007", "0x1f", "true", "null", "a.b", "1.5", "pg-rejoin", "my-pg-rejoin", "a" * 53,
    "9" * 53, "a" * 42 + "-" + "b" * 10, "x" + "-" * 40 + "y",
]
SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@pytest.mark.parametrize("release", ODD_RELEASES)
def test_odd_release_names(render, release):
    rendered = render(release=release)
    names = [o["metadata"]["name"] for o in rendered.objects]
    assert all(isinstance(name, str) for name in names)
    for service in rendered.all("Service"):
        name = service["metadata"]["name"]
        assert SERVICE_NAME.fullmatch(name) and len(name) <= 63, name
    # "<name>-<hash of 10>" is a label of each pod.
    assert len(rendered.one("StatefulSet")["metadata"]["name"]) <= 52
    for o in [*rendered.objects, rendered.pod]:
        assert o["metadata"]["labels"]["app.kubernetes.io/instance"] == release
        for value in o["metadata"]["labels"].values():
            assert isinstance(value, str) and len(value) <= 63, value
    assert rendered.env("rejoin-init")["PG_REJOIN_POD_SELECTOR"].endswith(
        f"instance={release},app.kubernetes.io/component=database")


@pytest.mark.parametrize("override, expected", [
    ("fullnameOverride=db", "db"), ("nameOverride=db", "r-db"), ("fullnameOverride=7db", "pg-7db"),
])
def test_names_can_be_chosen(render, override, expected):
    assert render("--set", override).one("StatefulSet")["metadata"]["name"] == expected


def test_two_long_names_stay_two(render):
    names = {render(release="a" * 52 + end).one("StatefulSet")["metadata"]["name"] for end in "bc"}
    assert len(names) == 2


def test_names_are_quoted(helm):
    """A name that looks like a number or a truth value stays a string for every YAML reader."""
    text = helm.text("--set", "auth.existingSecret=1e3,serviceAccount.name=007,fullnameOverride=y",
                     "--set-string", "priorityClassName=1e3")
    for o in yaml.safe_load_all(text):
        if o:
            assert isinstance(o["metadata"]["name"], str)
    pod = Rendered([o for o in yaml.safe_load_all(text) if o]).pod["spec"]
    assert pod["serviceAccountName"] == "007"
    assert pod["priorityClassName"] == "1e3"
    assert [v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v] == ["1e3"] * 3


# ---- manifests, image, versions

def test_the_manifests_are_the_rendered_chart(helm):
    result = subprocess.run([ROOT / "manifests/render.sh", "-"], env={**os.environ, "HELM": helm.program},
                            capture_output=True, text=True, timeout=60, check=True)
    assert (ROOT / "manifests/pg-rejoin.yaml").read_text() == result.stdout, "run manifests/render.sh"


def test_the_manifests_are_for_any_namespace_but_for_one_line():
    text = (ROOT / "manifests/pg-rejoin.yaml").read_text()
    objects = Rendered([o for o in yaml.safe_load_all(text) if o])
    assert not [o for o in objects.objects if "namespace" in o["metadata"]]
    assert len(re.findall(r'^ *namespace: "pg-rejoin"$', text, re.M)) == 1
    assert "Helm" not in {v for o in objects.objects for v in o["metadata"]["labels"].values()}


def test_a_failing_helm_leaves_the_manifests_alone():
    before = (ROOT / "manifests/pg-rejoin.yaml").read_text()
    result = subprocess.run([ROOT / "manifests/render.sh"], env={**os.environ, "HELM": "false"},
                            capture_output=True, timeout=60, check=False)
    assert result.returncode != 0
    assert (ROOT / "manifests/pg-rejoin.yaml").read_text() == before
    assert not list((ROOT / "manifests").glob("*.new"))


def test_one_version_everywhere():
    project = re.search(r"project\(pg-rejoin VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == project
    assert f"ARG VERSION={project}\n" in (ROOT / "Dockerfile").read_text()


def test_kubernetes_that_is_too_old_is_refused(helm):
    result = helm.run("template", "r", CHART, "--set", "auth.existingSecret=s", "--kube-version", "1.26.9")
    assert result.returncode != 0 and "kubeVersion: >=1.27.0-0" in result.stderr


def test_the_image_runs_as_a_number_and_starts_our_program():
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"^USER (.*)$", text, re.M) == ["65532:65532"]
    assert re.findall(r"^ENTRYPOINT (.*)$", text, re.M) == ['["pg-rejoin"]']
    assert re.findall(r"^FROM (\S+)", text, re.M) == ["debian:bookworm-slim", "debian:bookworm-slim", "runtime"]
    for label in ["title", "description", "source", "version", "revision", "licenses"]:
        assert f"org.opencontainers.image.{label}=" in text


def test_the_build_context_is_only_what_is_compiled():
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines == ["*", "!CMakeLists.txt", "!CMakePresets.json", "!cmake", "!src"]


def test_scripts_pass_shellcheck():
    scripts = [*sorted(CHART.rglob("files/*.sh")), ROOT / "manifests/render.sh"]
    result = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout
