"""Readiness and metrics on a real cluster: every pod says that it could be rewound, and takes it back when a setting is
wrong; `check` agrees; /metrics is reachable from another pod and says what the pod is."""
import json
import re

from release import eventually

PORT = 9432


def metrics(release, pod, of):
    """The samples of pod `of`, as pod `pod` reads them over the network: {name and labels: value}."""
    ip = release.get("pod", of)["status"]["podIP"]
    request = f"exec 3<>/dev/tcp/{ip}/{PORT}; printf 'GET /metrics HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    answer = release.kubectl("exec", pod, "-c", "postgres", "--", "bash", "-c", request)
    assert answer.startswith(("HTTP/1.0 200", "HTTP/1.1 200")), answer
    return dict(re.findall(r"^(pg_rejoin_\S+) (\S+)$", answer.replace("\r", ""), re.MULTILINE))


def rewindable(release, pod):
    return release.annotations(pod).get("rewindable")


def test_readiness_and_metrics(release):
    release.install()
    primary, standby = release.roles()
    for pod in (primary, standby):
        eventually(f"{pod} says that it could be rewound", lambda: rewindable(release, pod) == "true")
        report = json.loads(release.kubectl("exec", pod, "-c", "rejoin", "--", "pg-rejoin", "check", "--json"))
        states = {check["name"]: check["state"] for check in report["checks"]}
        assert report["rewindable"] == "true" and "replication_login" in states, report
        assert {name for name, state in states.items() if state != "ok"} <= {"wal_kept", "disk_space"}, report
        assert not [event for event in release.events(pod) if event["reason"] == "NotRewindable"]

    seen = metrics(release, standby, primary)
    assert seen['pg_rejoin_role{role="primary"}'] == "1" and seen["pg_rejoin_record_holder"] == "1", seen
    assert seen['pg_rejoin_rewindable{rewindable="true"}'] == "1" and seen["pg_rejoin_authority_reachable"] == "1", seen
    assert float(seen["pg_rejoin_volume_free_bytes"]) > 0
    assert metrics(release, primary, standby)['pg_rejoin_role{role="standby"}'] == "1"

    # The chart's settings cannot be wrong; a role's grants can be taken away.
    grant = "EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean)"
    release.sql(primary, f"REVOKE {grant} FROM rewind")
    for pod in (primary, standby):  # the standby replays it
        eventually(f"{pod} takes it back", lambda: rewindable(release, pod) == "false")
        assert "pg_stat_file" in release.annotations(pod)["rewindable-reason"]
        eventually("an Event tells", lambda: [e for e in release.events(pod) if e["reason"] == "NotRewindable"])
        assert f"GRANT {grant}" in release.logs(pod, "rejoin")
    release.sql(primary, f"GRANT {grant} TO rewind")
    eventually("it could be rewound again", lambda: rewindable(release, standby) == "true")
