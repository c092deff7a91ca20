"""The search for secrets finds them however they are quoted: a search that finds nothing has to mean something. Needs no
cluster."""
import json
import shlex
import urllib.parse

import pytest

from evidence import Evidence

PASSWORD = "canary-rewind-0123456789abcdef '\"\\:@/%$"


@pytest.mark.parametrize("spelled", [
    PASSWORD,
    json.dumps({"message": PASSWORD}),
    json.dumps({"message": json.dumps({"hint": PASSWORD})}),
    "password='" + PASSWORD.replace("\\", "\\\\").replace("'", "\\'") + "'",
    shlex.quote(PASSWORD),
    "postgresql://u:" + urllib.parse.quote(PASSWORD, safe="") + "@h",
    PASSWORD.replace("\\", "\\\\").replace(":", "\\:"),  # a passfile
], ids=["plain", "json", "json in json", "conninfo", "shell", "url", "passfile"])
def test_found_in_every_spelling(tmp_path, spelled):
    found = Evidence(tmp_path)
    found.secrets = {"rewind password": PASSWORD}
    found.texts = {"a log": "before\n" + spelled + "\nafter", "another": "canary-rewind is no secret"}
    assert found.findings() == ["rewind password in a log"]
