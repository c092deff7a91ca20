"""After all other tests: no secret stands in anything that they have left. Runs last (conftest.py)."""
import pytest


def test_no_secret_anywhere(evidence, image, request):
    if len([item for item in request.session.items if "release" in item.fixturenames]) == 0:
        pytest.fail("run together with the other tests: alone it has nothing to search", pytrace=False)
    assert image
    evidence.read_logs()
    evidence.stop()
    arguments = evidence.arguments()
    # The search sees what it should: what is no secret is found in each kind of place.
    logs = [name for name in evidence.texts if name.startswith("log ")]
    for container in ("rejoin-init", "clone", "rejoin", "postgres"):
        assert any(f"/{container}/" in name for name in logs), f"no log of {container} among {logs}"
    assert any("pg-rejoin.io/outcome" in text for name, text in evidence.texts.items() if name.endswith("pods"))
    assert any('"message": "{\\"schema\\"' in text for name, text in evidence.texts.items() if name.endswith("pods")), \
        "no termination message was searched"
    assert any("RejoinClaimed" in text for name, text in evidence.texts.items() if name.endswith("events"))
    for program in ("pg-rejoin init", "pg-rejoin sidecar", "pg_basebackup", "initdb", "postgres: "):
        assert program in arguments, f"{program} was never seen among the processes"
    assert len(evidence.secrets) > 4, "no token was collected"

    findings = evidence.findings()
    assert not findings, "secrets found: " + "; ".join(findings)
    print(f"{len(evidence.secrets)} secrets searched in {len(evidence.texts)} texts and the arguments of "
          f"{arguments.count(chr(10))} processes")
