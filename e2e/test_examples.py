"""The examples, used as their README says, on the real cluster."""
import re
import shutil

import pytest

from release import HERE, Release, eventually

STATEFULSET = HERE.parent / "examples/statefulset"


class Adopted(Release):
    """What the example installs: pods db-0 and db-1."""

    def record(self):
        return self.get("configmap", "db-authority").get("data", {})


@pytest.fixture
def adopted(release, tmp_path):
    """The example with this test's namespace and images, as a person edits its kustomization.yaml."""
    made = Adopted(release.namespace, release.image, release.passwords)
    made.folder = tmp_path / "statefulset"
    shutil.copytree(STATEFULSET, made.folder)
    file = made.folder / "kustomization.yaml"
    text = file.read_text()
    for pattern, replacement in [(r"^namespace: .*", f"namespace: {made.namespace}"),
                                 (r"newTag: 0.1.0", f"newTag: {made.image.rsplit(':', 1)[1]}"),
                                 (r'newTag: "17"', 'newTag: "15"')]:
        text, count = re.subn(pattern, replacement, text, flags=re.M)
        assert count == 1, f"{pattern} in {text}"
    file.write_text(text)
    return made


def install_what_people_run(db):
    db.make_namespace(secret="db-passwords")
    db.kubectl("apply", "-f", "-", stdin=(db.folder / "before.yaml").read_text().replace("postgres:17", "postgres:15"))
    eventually("two pods are ready", lambda: len(db.ready_pods()) == 2, 180)
    db.make_table("db-0", "db-1")


def sql_literal(text):
    return text.replace("\\", "\\\\").replace("'", "''")


def adopt(db):
    """The steps of the README."""
    variables = "".join(f"\\set {role}_password '{sql_literal(db.passwords[role])}'\n" for role in ("rewind", "promote"))
    db.sql("db-0", variables + (db.folder / "roles.sql").read_text())
    db.kubectl("create", "configmap", "db-authority", "--from-literal=primary=db-0", "--from-literal=epoch=1")
    db.kubectl("label", "pod", "db-0", "pg-rejoin.io/role=primary")
    db.kubectl("delete", "statefulset", "db", "--cascade=orphan")
    db.kubectl("apply", "-k", db.folder)
    assert db.record()["primary"] == "db-0"
    db.kubectl("rollout", "status", "statefulset/db", "--timeout=240s")


@pytest.mark.long
def test_a_hand_written_statefulset_is_adopted_and_its_old_primary_rejoins_by_itself(adopted):
    install_what_people_run(adopted)
    adopt(adopted)
    assert adopted.record()["primary"] == "db-0" and adopted.rows("db-0", "both") == 500
    adopted.wait_streams("db-0", "db-1")
    adopted.agent("db-0", "check")
    eventually("roles are labelled", lambda: (adopted.role_label("db-0"), adopted.role_label("db-1")) ==
               ("primary", "replica"), 60)

    adopted.cut("db-1")
    adopted.insert("db-0", "lost", 3)
    uid = adopted.uid("db-0")
    adopted.promote("db-1")
    adopted.sql("db-1", "INSERT INTO t (origin) VALUES ('kept');")
    adopted.wait_replaced("db-0", uid)
    adopted.assert_follows("db-0", "db-1")
    found = adopted.wait_outcome("db-0", "rejoined")
    assert found["source"] == "db-1" and int(found["discarded-transactions"]) >= 3, found
    assert adopted.rows("db-0", "lost") == 0 and adopted.rows("db-0", "kept") == 1
    adopted.assert_same_table("db-0", "db-1")
    endpoints = adopted.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name=db",
                                "-o", "jsonpath={.items[*].endpoints[*].targetRef.name}")
    assert endpoints.split() == ["db-1"]
