"""The pod of the StatefulSet: containers in order, what each is told, what each may see."""
import re

import pytest

from conftest import CHART, CI_VALUES, ROOT

OURS = ["rejoin-init", "clone", "rejoin", "postgres"]
AGENTS = ["rejoin-init", "rejoin"]
WITH_DATA = ["rejoin-init", "clone", "postgres"]
CREDENTIALS = "/etc/pg-rejoin/credentials"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def test_containers_are_in_the_order_of_the_contract(default):
    spec = default.pod["spec"]
    assert [c["name"] for c in spec["initContainers"]] == ["rejoin-init", "clone", "rejoin"]
    assert [c["name"] for c in spec["containers"]] == ["postgres"]


def test_only_the_sidecar_restarts_always(default):
    policies = {name: c.get("restartPolicy") for name, c in default.containers.items()}
    assert policies == {"rejoin-init": None, "clone": None, "rejoin": "Always", "postgres": None}


def test_without_native_sidecars_the_sidecar_is_a_plain_container(render, default):
    for arguments in [("--kube-version", "1.28.3"), ("--set", "rejoin.nativeSidecar=false")]:
        rendered = render(*arguments)
        spec = rendered.pod["spec"]
        assert [c["name"] for c in spec["initContainers"]] == ["rejoin-init", "clone"]
        assert [c["name"] for c in spec["containers"]] == ["postgres", "rejoin"]
        native = dict(default.containers["rejoin"])
        assert native.pop("restartPolicy") == "Always"
        assert rendered.containers["rejoin"] == native
        assert rendered.containers["postgres"] == default.containers["postgres"], "it asks for leave all the same"
        assert rendered.volumes == default.volumes
        assert rendered.one("Role") == default.one("Role")


def test_whether_the_sidecar_is_native_follows_the_cluster_unless_said(render):
    for arguments, native in [(("--kube-version", "1.29.0"), True), (("--kube-version", "v1.28.15-gke.1"), False),
                              (("--kube-version", "v1.29.1-gke.1"), True),
                              (("--kube-version", "1.28.3", "--set", "rejoin.nativeSidecar=true"), True)]:
        init = [c["name"] for c in render(*arguments).pod["spec"]["initContainers"]]
        assert ("rejoin" in init) == native, arguments


def test_agents_run_our_image_and_the_others_the_image_of_postgresql(default):
    images = {name: c["image"] for name, c in default.containers.items()}
    assert images["rejoin-init"] == images["rejoin"] == "pg-rejoin:0.1.0"
    assert images["clone"] == images["postgres"] == "docker.io/library/postgres:17"


def test_agents_need_no_shell(default):
    assert default.containers["rejoin-init"]["args"] == ["init"]
    assert default.containers["rejoin"]["args"] == ["sidecar"]
    assert all("command" not in default.containers[name] for name in AGENTS)


def test_postgres_is_behind_the_gate(default):
    assert default.containers["postgres"]["command"] == [
        "/pg-rejoin/bin/pg-rejoin-gate", "--pgdata", PGDATA, "--marks-initdb", "--ask", "/pg-rejoin/gate",
        "--ask-seconds", "3000", "--", "docker-entrypoint.sh", "postgres",
    ]


def test_the_gate_and_the_sidecar_meet_in_one_directory(default):
    assert default.env("rejoin")["PG_REJOIN_GATE_DIR"] == "/pg-rejoin/gate"
    for name in ("rejoin", "postgres"):
        mount = default.mounts(name)["/pg-rejoin/gate"]
        assert mount["name"] == "rejoin-gate" and not mount.get("readOnly")
    assert default.volumes["rejoin-gate"]["emptyDir"]["medium"] == "Memory"


def test_without_a_record_nobody_asks_and_nobody_restarts(render):
    rendered = render("--set", "rejoin.discovery=service,rejoin.primaryService=x")
    assert "--ask" not in rendered.containers["postgres"]["command"]
    assert not {"PG_REJOIN_GATE_DIR", "PG_REJOIN_RESTART_POD"} & set(rendered.env("rejoin"))


def test_the_sidecar_has_no_probe_and_nothing_else_a_readiness_of_its_own(default):
    probes = {"readinessProbe", "livenessProbe", "startupProbe"}
    for name in ["rejoin-init", "clone", "rejoin"]:
        assert not probes & set(default.containers[name]), name


# ---- what the agents are told: the contract between chart and binary

PGDATA = "/var/lib/postgresql/data/pgdata"
SHARED_ENV = {
    "PGPORT": "5432",
    "POD_NAME": "field:metadata.name",
    "POD_NAMESPACE": "field:metadata.namespace",
    "POD_UID": "field:metadata.uid",
    "PG_REJOIN_DISCOVERY": "record",
    "PG_REJOIN_RECORD": "r-pg-rejoin-authority",
    "PG_REJOIN_PRIMARY_SERVICE": "r-pg-rejoin-primary",
    "PG_REJOIN_HEADLESS_SERVICE": "r-pg-rejoin-headless",
    "PG_REJOIN_POD_SELECTOR": (
        "app.kubernetes.io/name=pg-rejoin,app.kubernetes.io/instance=r,app.kubernetes.io/component=database"),
    "PG_REJOIN_MEMBERS": ",".join(f"r-pg-rejoin-{i}" for i in range(8)),
    "PG_REJOIN_ROLE_LABEL": "pg-rejoin.io/role",
    "PG_REJOIN_ANNOTATION_PREFIX": "pg-rejoin.io/",
    "PG_REJOIN_REWIND_USER": "rewind",
    "PG_REJOIN_REWIND_PASSWORD_FILE": f"{CREDENTIALS}/rewind-password",
    "PG_REJOIN_REWIND_DATABASE": "postgres",
    "PG_REJOIN_REPLICATION_USER": "replicator",
    "PG_REJOIN_REPLICATION_PASSWORD_FILE": f"{CREDENTIALS}/replication-password",
    "PG_REJOIN_SSLMODE": "prefer",
    "PG_REJOIN_CONNECTIONS": "4",
    "PG_REJOIN_DEADLINE_S": "300",
    "PG_REJOIN_LOG_FORMAT": "text",
    "PG_REJOIN_LOG_LEVEL": "info",
    "PG_REJOIN_RUN_DIR": "/run/pg-rejoin",
    "PG_REJOIN_TERMINATION_LOG": "/dev/termination-log",
    "PG_REJOIN_DATA_DIRECTORY_MODE": "0700",
}


def test_environment_of_init_is_the_contract(default):
    assert default.env("rejoin-init") == {
        **SHARED_ENV, "PGDATA": PGDATA, "PG_REJOIN_BIN_DIR": "/pg-rejoin/bin"}


def test_environment_of_the_sidecar_is_the_contract(default):
    assert default.env("rejoin") == {
        **SHARED_ENV,
        "PG_REJOIN_PROMOTE_USER": "promoter",
        "PG_REJOIN_PROMOTE_PASSWORD_FILE": f"{CREDENTIALS}/promote-password",
        "PG_REJOIN_GATE_DIR": "/pg-rejoin/gate",
        "PG_REJOIN_RESTART_POD": "true",
        "PG_REJOIN_METRICS_PORT": "9432",
    }


@pytest.mark.parametrize("rate", ["32k", "50M", "1G"])
def test_a_rate_is_passed_on(render, rate):
    assert render("--set", f"rejoin.maxRate={rate}").env("rejoin-init")["PG_REJOIN_MAX_RATE"] == rate


def test_environment_of_clone_is_the_contract(default):
    assert default.env("clone") == {"PGDATA": PGDATA, "PG_REJOIN_RUN_DIR": "/run/pg-rejoin"}


def test_environment_of_postgres(default):
    assert default.env("postgres") == {
        "PGDATA": PGDATA,
        "PGPORT": "5432",
        "POSTGRES_USER": "postgres",
        "POSTGRES_PASSWORD_FILE": f"{CREDENTIALS}/postgres-password",
        "POSTGRES_INITDB_ARGS": "--data-checksums --auth-local=trust --auth-host=scram-sha-256",
        "POSTGRES_HOST_AUTH_METHOD": "scram-sha-256",
        "PG_REJOIN_CREDENTIALS_DIR": CREDENTIALS,
        "PG_REJOIN_REPLICATION_USER": "replicator",
        "PG_REJOIN_REWIND_USER": "rewind",
        "PG_REJOIN_PROMOTE_USER": "promoter",
    }


def test_init_asks_every_pod_there_can_be_while_the_api_is_down(render):
    assert render("--set", "replicas=2,maxReplicas=2").env("rejoin-init")["PG_REJOIN_MEMBERS"] == (
        "r-pg-rejoin-0,r-pg-rejoin-1")


def test_the_binary_knows_every_variable_that_the_chart_sets(default):
    known = (ROOT / "src/cli/cli.cc").read_text()
    for name in AGENTS:
        for variable in default.env(name):
            assert f'"{variable}"' in known, f"{variable} is read by nobody"


def test_the_pod_selector_selects_the_pod_and_is_immutable_with_it(default):
    pairs = dict(pair.split("=") for pair in SHARED_ENV["PG_REJOIN_POD_SELECTOR"].split(","))
    assert default.one("StatefulSet")["spec"]["selector"]["matchLabels"] == pairs
    assert pairs.items() <= default.pod["metadata"]["labels"].items()


def test_files_that_the_environment_names_are_mounted(default):
    for name in AGENTS:
        secret = default.volumes[default.mounts(name)[CREDENTIALS]["name"]]["secret"]
        present = {f"{CREDENTIALS}/{item['path']}" for item in secret["items"]}
        named = {v for k, v in default.env(name).items() if k.endswith("_PASSWORD_FILE")}
        assert named and named <= present
    named = default.env("postgres")["POSTGRES_PASSWORD_FILE"]
    secret = default.volumes[default.mounts("postgres")[CREDENTIALS]["name"]]["secret"]
    assert named in {f"{CREDENTIALS}/{item['path']}" for item in secret["items"]}


# ---- majors

@pytest.mark.parametrize("major", [14, 15, 16, 17])
def test_up_to_17_the_volume_is_at_data(render, major):
    rendered = render("--set", f"postgresql.majorVersion={major}")
    for name in WITH_DATA:
        assert rendered.mounts(name)["/var/lib/postgresql/data"]["name"] == "data"
        assert rendered.env(name)["PGDATA"] == "/var/lib/postgresql/data/pgdata"
    assert rendered.containers["postgres"]["image"].endswith(f"postgres:{major}")


def test_from_18_the_volume_is_one_higher(render):
    rendered = render("--set", "postgresql.majorVersion=18")
    for name in WITH_DATA:
        assert rendered.mounts(name)["/var/lib/postgresql"]["name"] == "data"
        assert "/var/lib/postgresql/data" not in rendered.mounts(name)
        assert rendered.env(name)["PGDATA"] == "/var/lib/postgresql/pgdata"
    assert rendered.containers["postgres"]["image"].endswith("postgres:18")


# ---- security

@pytest.mark.parametrize("name", OURS)
def test_every_container_is_restricted(default, name):
    assert default.containers[name]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_pod_is_restricted(default):
    assert default.pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 999,
        "runAsGroup": 999,
        "fsGroup": 999,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(default.pod["spec"])


def test_only_volume_types_of_the_restricted_level(default):
    kinds = {next(k for k in v if k != "name") for v in default.pod["spec"]["volumes"]}
    assert kinds <= {"configMap", "emptyDir", "projected", "secret"}


def test_a_platform_may_choose_the_user(render):
    rendered = render(
        "--set", "podSecurityContext.runAsUser=null,podSecurityContext.runAsGroup=null,podSecurityContext.fsGroup=null"
    )
    assert rendered.pod["spec"]["securityContext"] == {
        "runAsNonRoot": True,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_the_token_is_mounted_by_name_into_agents_only(default):
    assert default.pod["spec"]["automountServiceAccountToken"] is False
    holders = [name for name in OURS if TOKEN in default.mounts(name)]
    assert holders == AGENTS
    for name in holders:
        assert default.mounts(name)[TOKEN]["readOnly"] is True
    sources = default.volumes["rejoin-token"]["projected"]["sources"]
    assert [next(iter(s)) for s in sources] == ["serviceAccountToken", "configMap", "downwardAPI"]
    assert sources[0]["serviceAccountToken"]["path"] == "token"
    assert sources[0]["serviceAccountToken"]["expirationSeconds"] <= 3607
    assert sources[1]["configMap"] == {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}


def test_no_container_takes_a_secret_from_its_environment(default):
    for container in default.containers.values():
        assert "envFrom" not in container
        for variable in container["env"]:
            assert "secretKeyRef" not in variable.get("valueFrom", {}), variable["name"]


def test_passwords_are_named_by_file_only(default):
    for name in OURS:
        for key, value in default.env(name).items():
            if "PASSWORD" in key:
                assert key.endswith("_FILE") and value.startswith(CREDENTIALS), key
        arguments = default.containers[name].get("command", []) + default.containers[name].get("args", [])
        assert not [a for a in arguments if "password" in a.lower() and "password_encryption" not in a]


@pytest.mark.parametrize("name, passwords", [
    ("rejoin-init", ["replication-password", "rewind-password"]),
    ("rejoin", ["promote-password", "replication-password", "rewind-password"]),
])
def test_agents_see_the_passwords_that_they_use_and_never_the_superusers(default, name, passwords):
    secret = default.volumes[default.mounts(name)[CREDENTIALS]["name"]]["secret"]
    assert sorted(i["path"] for i in secret["items"]) == passwords


def test_clone_sees_no_secret_but_the_passfile_that_init_wrote(default):
    used = {default.volumes[m["name"]].get("secret") for m in default.mounts("clone").values() if m["name"] != "data"}
    assert used == {None}


def test_credentials_are_read_only_and_closed_to_others(default):
    for name in ["rejoin-init", "rejoin", "postgres"]:
        mount = default.mounts(name)[CREDENTIALS]
        assert mount["readOnly"] is True
        assert default.volumes[mount["name"]]["secret"]["defaultMode"] == 0o400


def test_secret_and_keys_can_be_named(render):
    rendered = render("--set", "auth.existingSecret=mine,auth.secretKeys.postgres=admin,auth.secretKeys.rewind=rw")
    secret = rendered.volumes["credentials"]["secret"]
    assert secret["secretName"] == "mine"
    assert {"key": "admin", "path": "postgres-password"} in secret["items"]
    assert {"key": "rw", "path": "rewind-password"} in secret["items"]
    for name in ["rejoin-credentials", "rejoin-init-credentials"]:
        assert rendered.volumes[name]["secret"]["secretName"] == "mine"
        assert {"key": "rw", "path": "rewind-password"} in rendered.volumes[name]["secret"]["items"]


def test_the_sidecar_has_no_data(default):
    """It holds the API's token all the time and asks the server; only init changes the files."""
    assert "data" not in {mount["name"] for mount in default.mounts("rejoin").values()}
    assert "readOnly" not in default.mounts("rejoin-init")["/var/lib/postgresql/data"]


# ---- what is shared between the containers

def test_the_gate_is_handed_over_through_an_empty_dir(default):
    assert "emptyDir" in default.volumes["rejoin-bin"]
    assert "readOnly" not in default.mounts("rejoin-init")["/pg-rejoin/bin"]
    assert default.mounts("postgres")["/pg-rejoin/bin"]["readOnly"] is True
    assert "/pg-rejoin/bin" not in default.mounts("rejoin")


def test_the_passfile_is_in_memory_and_everyone_who_streams_sees_it(default):
    assert default.volumes["rejoin-run"]["emptyDir"]["medium"] == "Memory"
    for name in OURS:
        assert default.mounts(name)["/run/pg-rejoin"]["name"] == "rejoin-run"
    assert default.mounts("postgres")["/run/pg-rejoin"]["readOnly"] is True


def test_what_postgres_writes_outside_of_its_data_is_on_volumes(default):
    for path in ["/tmp", "/var/run/postgresql", "/dev/shm"]:
        volume = default.volumes[default.mounts("postgres")[path]["name"]]
        assert "emptyDir" in volume
        assert "readOnly" not in default.mounts("postgres")[path]
    assert default.volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "1Gi"}


def test_every_mount_has_a_volume_and_every_volume_a_mount(render):
    for arguments in [(), ("--set", "tls.enabled=true,tls.existingSecret=t")]:
        rendered = render(*arguments)
        mounted = {m["name"] for c in rendered.containers.values() for m in c["volumeMounts"]}
        claimed = {t["metadata"]["name"] for t in rendered.one("StatefulSet")["spec"]["volumeClaimTemplates"]}
        assert mounted == set(rendered.volumes) | claimed


# ---- the server

def settings(rendered):
    arguments = rendered.containers["postgres"]["args"]
    assert arguments[0::2] == ["-c"] * (len(arguments) // 2)
    pairs = [a.split("=", 1) for a in arguments[1::2]]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def test_settings_that_a_safe_rewind_needs(default):
    assert settings(default) == {
        "listen_addresses": "*",
        "hot_standby": "on",
        "wal_log_hints": "on",
        "restart_after_crash": "off",
        "max_wal_senders": "10",
        "wal_keep_size": "512MB",
    }


@pytest.mark.parametrize("given, expected", [
    ("1000000", "1000000"), ("0.9", "0.9"), ("true", "true"), ("256MB", "256MB"), ("on", "on"),
])
def test_settings_of_every_type_arrive_as_written(render, given, expected):
    assert settings(render("--set", f"postgresql.parameters.some_setting={given}"))["some_setting"] == expected


def test_large_numbers_from_a_values_file_are_not_rounded(render, tmp_path):
    values = tmp_path / "values.yaml"
    values.write_text("postgresql:\n  parameters:\n    max_connections: 12345678\n")
    assert settings(render("--values", str(values)))["max_connections"] == "12345678"


def test_defaults_can_be_changed_and_taken_away(render):
    changed = settings(render("--set", "postgresql.parameters.wal_keep_size=8GB"))
    assert changed["wal_keep_size"] == "8GB"
    assert "max_wal_senders" not in settings(render("--set", "postgresql.parameters.max_wal_senders=null"))


def test_shutdown_is_fast_whatever_the_image_says(default):
    command = default.containers["postgres"]["lifecycle"]["preStop"]["exec"]["command"]
    assert "--mode=fast" in command[-1] and command[-1].endswith("|| true")
    assert default.pod["spec"]["terminationGracePeriodSeconds"] == 300


def test_probes_ask_over_tcp_so_that_the_initialising_server_is_not_ready(default):
    postgres = default.containers["postgres"]
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
        command = " ".join(postgres[probe]["exec"]["command"])
        assert "pg_isready" in command and "-h 127.0.0.1" in command


def test_a_server_in_recovery_is_alive_but_not_ready(default):
    postgres = default.containers["postgres"]
    for probe in ["startupProbe", "livenessProbe"]:
        assert postgres[probe]["exec"]["command"][-1].endswith("[ $? -le 1 ]")
    assert postgres["readinessProbe"]["exec"]["command"][0] == "pg_isready"


def test_a_long_initialisation_is_not_cut_off(default):
    probe = default.containers["postgres"]["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 3600


def test_a_port_reaches_everyone(render):
    rendered = render("--set", "postgresql.port=5433")
    for name in ["rejoin-init", "rejoin", "postgres"]:
        assert rendered.env(name)["PGPORT"] == "5433"
    assert rendered.containers["postgres"]["ports"] == [{"name": "postgresql", "containerPort": 5433}]
    assert {s["spec"]["ports"][0]["port"] for s in rendered.all("Service")} == {5433}


# ---- TLS

def test_without_tls_nothing_of_it(default):
    assert "ssl" not in settings(default)
    assert not {"tls", "rejoin-ca"} & set(default.volumes)
    assert "PG_REJOIN_SSLROOTCERT" not in default.env("rejoin-init")


def test_tls_serves_and_verifies(render):
    rendered = render("--set", "tls.enabled=true,tls.existingSecret=cert,rejoin.sslMode=verify-full")
    assert settings(rendered)["ssl"] == "on"
    assert settings(rendered)["ssl_cert_file"] == "/etc/pg-rejoin/tls/tls.crt"
    assert settings(rendered)["ssl_key_file"] == "/etc/pg-rejoin/tls/tls.key"
    for name in AGENTS:
        assert rendered.env(name)["PG_REJOIN_SSLMODE"] == "verify-full"
        assert rendered.env(name)["PG_REJOIN_SSLROOTCERT"] == "/etc/pg-rejoin/tls/ca.crt"
    # primary_conninfo names the CA by path: the same one in all of them.
    for name in OURS:
        volume = rendered.volumes[rendered.mounts(name)["/etc/pg-rejoin/tls"]["name"]]
        assert "ca.crt" in {i["path"] for i in volume["secret"]["items"]}


def test_only_the_server_sees_its_private_key(render):
    rendered = render("--set", "tls.enabled=true,tls.existingSecret=cert")
    with_key = {
        name for name in OURS
        for m in rendered.mounts(name).values()
        if "tls.key" in {i["path"] for i in rendered.volumes.get(m["name"], {}).get("secret", {}).get("items", [])}
    }
    assert with_key == {"postgres"}


def test_tls_without_a_ca(render):
    rendered = render("--set", "tls.enabled=true,tls.existingSecret=cert,tls.caKey=,rejoin.sslMode=require")
    assert "rejoin-ca" not in rendered.volumes
    assert "PG_REJOIN_SSLROOTCERT" not in rendered.env("rejoin")


# ---- images

@pytest.mark.parametrize("values, expected", [
    ("image.tag=x", "pg-rejoin:x"),
    ("image.registry=reg:5000", "reg:5000/pg-rejoin:0.1.0"),
    ("image.repository=a/b,image.registry=reg", "reg/a/b:0.1.0"),
    ("global.imageRegistry=mirror,image.registry=reg", "mirror/pg-rejoin:0.1.0"),
    ("image.tag=x,image.digest=sha256:" + "a" * 64, "pg-rejoin@sha256:" + "a" * 64),
])
def test_image_references(render, values, expected):
    assert render("--set-string", values).containers["rejoin-init"]["image"] == expected


def test_image_of_postgresql(render):
    rendered = render("--set-string", "postgresql.image.tag=17.10-bookworm,global.imageRegistry=m/i")
    assert rendered.containers["postgres"]["image"] == "m/i/library/postgres:17.10-bookworm"
    rendered = render("--set-string", "postgresql.image.digest=sha256:" + "b" * 64)
    assert rendered.containers["clone"]["image"] == "docker.io/library/postgres@sha256:" + "b" * 64


def test_pull_policy_and_secrets(render):
    rendered = render("--set", "image.pullPolicy=Never,postgresql.image.pullPolicy=Always,global.imagePullSecrets={a,b}")
    assert [rendered.containers[n]["imagePullPolicy"] for n in OURS] == ["Never", "Always", "Never", "Always"]
    assert rendered.pod["spec"]["imagePullSecrets"] == [{"name": "a"}, {"name": "b"}]


# ---- scheduling and extensions

def test_pods_prefer_different_nodes(default):
    term = default.pod["spec"]["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    selector = default.one("StatefulSet")["spec"]["selector"]
    assert term["podAffinityTerm"]["labelSelector"] == selector


def test_init_requests_do_not_raise_those_of_the_pod(render):
    rendered = render("--set", "postgresql.resources.requests.cpu=1,postgresql.resources.requests.memory=1Gi")
    assert rendered.containers["rejoin-init"]["resources"]["requests"] == {"cpu": "100m", "memory": "64Mi"}
    assert rendered.containers["rejoin"]["resources"]["requests"] == {"cpu": "10m", "memory": "32Mi"}
    assert rendered.containers["postgres"]["resources"]["requests"] == {"cpu": 1, "memory": "1Gi"}


def test_everything_of_ones_own_arrives(render):
    rendered = render("--values", str(CHART / "ci/everything-values.yaml"), minimal=False)
    spec = rendered.pod["spec"]
    assert [c["name"] for c in spec["initContainers"]] == ["first", "rejoin-init", "clone", "rejoin"]
    assert [c["name"] for c in spec["containers"]] == ["postgres", "beside"]
    assert "more" in rendered.volumes
    assert rendered.mounts("postgres")["/more"]["name"] == "more"
    for name in ["rejoin-init", "rejoin", "postgres"]:
        assert rendered.env(name)["TZ"] == "UTC"
    assert rendered.containers["postgres"]["envFrom"] == [{"configMapRef": {"name": "more"}}]
    assert spec["affinity"] == {"nodeAffinity": {}}
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["topologySpreadConstraints"][0]["topologyKey"] == "zone"
    assert spec["priorityClassName"] == "high"
    assert spec["schedulerName"] == "other"
    assert spec["hostAliases"][0]["hostnames"] == ["other"]
    assert spec["dnsConfig"]["options"][0]["name"] == "ndots"
    assert rendered.pod["metadata"]["labels"]["tier"] == "007"
    assert rendered.pod["metadata"]["annotations"]["scrape"] == "false"
    assert rendered.env("postgres")["POSTGRES_INITDB_ARGS"].endswith("scram-sha-256 --encoding=UTF8 --locale=C")
    assert rendered.env("postgres")["PG_REJOIN_REPLICATION_USER"] == "repl_user"
    assert rendered.env("rejoin")["PG_REJOIN_PROMOTE_USER"] == "promote_user"
    assert rendered.env("rejoin-init")["PG_REJOIN_DEADLINE_S"] == "60"
    assert rendered.env("rejoin-init")["PG_REJOIN_LOG_FORMAT"] == "json"


def test_no_value_is_left_unresolved(helm):
    for values in CI_VALUES:
        text = helm.text("--values", str(values))
        assert not re.search(r"<no value>|<nil>|%!|map\[", text), values.name
