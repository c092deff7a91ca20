"""What `pg-rejoin init` leaves in its termination log is what docs/reference/termination-message.schema.json says. Here
without an API server, so as far as init comes alone; e2e/release.py holds every message of a real pod against it."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from harness import environment as envm
from harness import tools
from harness.cluster import free_port, template

REFERENCE = Path(__file__).resolve().parents[2] / "docs/reference"
SCHEMA = json.loads((REFERENCE / "termination-message.schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


@pytest.fixture
def run_init(directory, root):
    """Runs init on a data directory whose API server is down; (message, exit status)."""
    run_dir = directory / "run"
    run_dir.mkdir()
    password = directory / "password"
    password.write_text("canary\n")
    kubeconfig = directory / "kubeconfig"
    kubeconfig.write_text(json.dumps({
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{free_port()}"}}],
        "users": [{"name": "u", "user": {"token": "t"}}]}))
    log = run_dir / "termination-log"
    log.touch()  # as the kubelet does
    for path in (run_dir, password, kubeconfig, log):
        envm.give(path)

    def run(data, *options):
        done = envm.run([
            tools.pg_rejoin_binary(root), "init", "-D", data, "--kubeconfig", kubeconfig, "--pod-name=x-0", "--namespace=n",
            "--pod-uid=u", "--record=r", "--primary-service=p", "--headless-service=h", "--pod-selector=a=b",
            "--deadline-s=0", f"--run-dir={run_dir}", f"--rewind-password-file={password}",
            f"--replication-password-file={password}", f"--termination-log={log}", *options],
            check=False, env={"PG_REJOIN_BIN_DIR": ""})
        assert log.read_text(), done
        message = json.loads(log.read_text())
        VALIDATOR.validate(message)
        assert message["exitStatus"] == done.returncode, done
        return message, done.returncode

    return run


def empty(data, templates):
    envm.run(["mkdir", "-p", data])


def primary(data, templates):
    envm.copy_tree(template(templates, 17, checksums=True, segment_mb=1), data)


def standby(data, templates):
    primary(data, templates)
    envm.run(["touch", data / "standby.signal"])


def half_made(data, templates):
    envm.run(["mkdir", "-p", "-m", "0700", data / "base"])
    envm.run(["touch", data / "PG_VERSION"])


@pytest.mark.parametrize("make, outcome, status, members", [
    (empty, "waiting", 10, set()),
    (primary, "waiting", 10, {"systemIdentifier", "history"}),
    (standby, "started", 0, {"systemIdentifier", "history"}),
    (half_made, "refused", 30, set()),
])
def test_what_init_leaves_fits_the_schema(run_init, directory, templates, make, outcome, status, members):
    data = directory / "pgdata"
    make(data, templates)
    message, ended = run_init(data)
    assert (message["outcome"], ended) == (outcome, status), json.dumps(message)
    assert members <= set(message) and "reportProblem" in message, message


EXAMPLE = {
    "schema": 1, "outcome": "rewound", "exitStatus": 0, "reason": "Diverged", "message": "rewound onto db-1", "source": "db-1",
    "systemIdentifier": "7000000000000000001", "history": "1@0/0,2@0/3000148", "timeline": 2, "forkLsn": "0/3000148",
    "discardedTransactions": 5, "discardedBytes": 1234, "discardedFrom": "2026-11-21 22:30:00.1 UTC",
    "discardedTo": "2026-11-21 22:31:00.1 UTC", "copiedBytes": 9500000, "durationSeconds": 1.2, "attempt": 1,
    "finishedAt": "2026-11-21T22:32:00Z",
}


def test_the_schema_can_refuse():
    VALIDATOR.validate(EXAMPLE)
    for name in SCHEMA["required"]:
        assert not VALIDATOR.is_valid({k: v for k, v in EXAMPLE.items() if k != name}), name
    for wrong in ({"outcome": "done"}, {"exitStatus": 1}, {"reason": "not a word"}, {"systemIdentifier": 7}, {"forkLsn": "0x1"},
                  {"history": "1"}, {"finishedAt": "yesterday"}, {"timeline": 0}, {"schema": 2}, {"surprise": 1}, {"hint": ""}):
        assert not VALIDATOR.is_valid({**EXAMPLE, **wrong}), wrong
    assert not VALIDATOR.is_valid({k: v for k, v in EXAMPLE.items() if k != "discardedBytes"})


def test_the_reference_has_a_row_for_each_member():
    table = (REFERENCE / "termination-message.md").read_text().partition("## Reasons")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(SCHEMA["properties"])
