"""What Prometheus and Grafana get: the sidecar's port, PodMonitor, alerts with a runbook each, dashboard."""
import json
import re

import pytest

from conftest import ROOT

NAME = "r-pg-rejoin"
ALL = "metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true,metrics.grafanaDashboard.enabled=true"
RUNBOOKS = ROOT / "docs/runbooks"
ALERTS = {
    "PgRejoinNoPrimary", "PgRejoinTwoPrimaries", "PgRejoinWaiting", "PgRejoinNotFollowing", "PgRejoinTransactionsDiscarded",
    "PgRejoinNotRewindable", "PgRejoinReadinessUnknown", "PgRejoinAuthorityUnreachable", "PgRejoinPaused",
    "PgRejoinCertificateExpires", "PgRejoinNotScraped",
}


def documented_metrics():
    page = (ROOT / "docs/reference/metrics.md").read_text()
    return set(re.findall(r"^\| `(pg_rejoin_\w+)` \|", page, re.MULTILINE))


def rules(rendered):
    groups = rendered.one("PrometheusRule", NAME)["spec"]["groups"]
    assert len(groups) == 1
    return {rule["alert"]: rule for rule in groups[0]["rules"]}


def test_the_sidecar_serves_metrics_and_nobody_else(default):
    assert default.env("rejoin")["PG_REJOIN_METRICS_PORT"] == "9432"
    assert default.containers["rejoin"]["ports"] == [{"name": "rejoin-metrics", "containerPort": 9432}]
    for name in ("rejoin-init", "clone"):
        assert "ports" not in default.containers[name]
        assert "PG_REJOIN_METRICS_PORT" not in {e["name"] for e in default.containers[name].get("env", [])}


def test_the_port_is_a_value_and_no_port_is_one_too(render):
    rendered = render("--set", "metrics.port=9500")
    assert rendered.env("rejoin")["PG_REJOIN_METRICS_PORT"] == "9500"
    assert rendered.containers["rejoin"]["ports"][0]["containerPort"] == 9500
    rendered = render("--set", f"metrics.enabled=false,{ALL}")
    assert "PG_REJOIN_METRICS_PORT" not in rendered.env("rejoin")
    assert "ports" not in rendered.containers["rejoin"]
    assert not rendered.all("PodMonitor") + rendered.all("PrometheusRule")
    assert not [o for o in rendered.all("ConfigMap") if o["metadata"]["name"].endswith("-dashboard")]


def test_what_needs_an_operator_is_off_by_default(default):
    assert not default.all("PodMonitor") + default.all("PrometheusRule")


def test_pod_monitor_finds_the_members_and_their_port(render):
    rendered = render("--set", f"{ALL},metrics.podMonitor.interval=10s,metrics.podMonitor.labels.release=mine")
    monitor = rendered.one("PodMonitor", NAME)
    assert monitor["spec"]["selector"] == rendered.one("StatefulSet")["spec"]["selector"]
    port = rendered.containers["rejoin"]["ports"][0]["name"]
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": port, "path": "/metrics", "interval": "10s"}]
    assert monitor["metadata"]["labels"]["release"] == "mine"


def test_alerts_have_a_runbook_a_severity_and_metrics_that_exist(render):
    found = rules(render("--set", ALL))
    assert set(found) == ALERTS
    known = documented_metrics() | {"kube_pod_status_phase"}
    for name, rule in found.items():
        used = set(re.findall(r"\b(?:pg_rejoin|kube)_\w+", rule["expr"]))
        assert used and used <= known, name
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert re.fullmatch(r"\d+[mh]", rule["for"]), rule["for"]
        assert rule["annotations"]["summary"].endswith(".")
        selectors = rule["expr"].count("{")
        assert selectors and selectors == rule["expr"].count('{namespace="ns",pod=~"r-pg-rejoin-[0-9]+"')
        page = RUNBOOKS / rule["annotations"]["runbook_url"].rpartition("/")[2]
        assert page.read_text().startswith(f"# {name}\n"), name
        for part in ("Meaning", "Impact", "Diagnosis", "Mitigation"):
            assert f"**{part}.**" in page.read_text(), (name, part)


def test_every_runbook_is_of_an_alert_and_every_alert_is_in_the_reference(render):
    found = rules(render("--set", ALL))
    pages = {rule["annotations"]["runbook_url"].rpartition("/")[2] for rule in found.values()}
    assert {page.name for page in RUNBOOKS.iterdir()} == pages
    reference = (ROOT / "docs/reference/metrics.md").read_text()
    for name, rule in found.items():
        page = rule["annotations"]["runbook_url"].rpartition("/")[2]
        assert f"| `{name}` | [{page.removesuffix('.md')}](../runbooks/{page}) |" in reference


def test_alerts_about_the_record_only_where_there_is_one(render):
    found = rules(render("--set", f"{ALL},rejoin.discovery=service,rejoin.primaryService=s"))
    assert ALERTS - set(found) == {
        "PgRejoinNoPrimary", "PgRejoinTwoPrimaries", "PgRejoinNotFollowing", "PgRejoinAuthorityUnreachable", "PgRejoinPaused"}


def test_who_is_not_scraped_has_not_lost_its_primary(render):
    found = rules(render("--set", ALL))
    role = 'pg_rejoin_role{namespace="ns",pod=~"r-pg-rejoin-[0-9]+",role="primary"}'
    # The sum of nothing is nothing: at least one pod has to say that it is no primary.
    assert found["PgRejoinNoPrimary"]["expr"] == f"sum({role}) == 0"
    assert found["PgRejoinNotScraped"]["expr"].startswith("absent(pg_rejoin_build_info{")


def test_who_was_promoted_before_it_was_seen_to_follow_is_left_out(render):
    pods = 'namespace="ns",pod=~"r-pg-rejoin-[0-9]+"'
    alert, promoted = rules(render("--set", ALL))["PgRejoinNotFollowing"]["expr"].split(" unless on (namespace, pod) ")
    assert alert == f'pg_rejoin_outcome_info{{{pods},outcome=~"rewound|resumed|cloning"}} == 1'
    assert promoted == f"pg_rejoin_record_holder{{{pods}}} == 1"


def test_runbooks_may_be_elsewhere(render):
    found = rules(render("--set", f"{ALL},metrics.prometheusRule.runbookBaseUrl=https://wiki/pg/"))
    assert found["PgRejoinPaused"]["annotations"]["runbook_url"] == "https://wiki/pg/paused.md"


@pytest.mark.parametrize("release", ["y", "1e3", "x" * 53])
def test_alerts_name_the_pods_of_odd_releases(render, release):
    rendered = render("--set", ALL, release=release)
    name = rendered.one("StatefulSet")["metadata"]["name"]
    for rule in rendered.one("PrometheusRule")["spec"]["groups"][0]["rules"]:
        assert f'pod=~"{name}-[0-9]+"' in rule["expr"]


def test_dashboard_shows_metrics_that_exist(render):
    config_map = render("--set", ALL).one("ConfigMap", f"{NAME}-dashboard")
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    dashboard = json.loads(config_map["data"]["pg-rejoin.json"])
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for expression in expressions for name in re.findall(r"\bpg_rejoin_\w+", expression)}
    assert len(expressions) >= 8 and used <= documented_metrics()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.parametrize("values", [
    "metrics.nosuch=1", "metrics.port=80", "metrics.port=70000", "metrics.podMonitor.interval=often",
    "metrics.prometheusRule.runbookBaseUrl=file:///x", "metrics.enabled=maybe", "metrics.podMonitor.labels=1",
])
def test_refused(helm, values):
    assert re.search(r"schema|specifications", helm.error("--set", values))
