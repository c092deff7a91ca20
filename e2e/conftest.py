"""One cluster for the session, one namespace and Helm release for each test."""
import os
import secrets as random_secrets

import pytest

from evidence import Evidence
from patroni import Patroni
from release import HERE, ROLES, STATE, Release, cluster, run


def pytest_configure(config):
    config.addinivalue_line("markers", "long: only with ./dev test --long, or when it is named")


def pytest_collection_modifyitems(config, items):
    # It searches what all others have left.
    items.sort(key=lambda item: item.path.name == "test_secrets.py")
    named = any(".py" in argument for argument in config.args)
    if not named and os.environ.get("PG_REJOIN_LONG") != "yes":
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    release = getattr(item, "release", None)
    if report.failed and release is not None and call.when in ("setup", "call"):
        report.sections.append(("kubectl", release.dump()))


@pytest.fixture(scope="session")
def evidence():
    found = Evidence(STATE / "logs/pods")
    # Characters that are special to shells, URLs, connection strings and JSON must not matter. The first word is
    # what is searched for.
    for role in ROLES:
        found.secrets[f"{role} password"] = f"canary-{role}-{random_secrets.token_hex(8)} '\"\\:@/%$"
    found.start()
    yield found
    found.stop()


@pytest.fixture(scope="session")
def image(evidence):  # pylint: disable=redefined-outer-name,unused-argument # watches from the start
    """The cluster is up and has the images; gives the name of ours."""
    was_up = cluster("exec", "kubectl", "get", "--raw", "/readyz", check=False).returncode == 0
    if not was_up:
        cluster("up", timeout=1800)
    cluster("postgres-image", "15", timeout=900)
    yield run(HERE / "image.sh", timeout=1800).strip()
    if not was_up and not os.environ.get("PG_REJOIN_KEEP"):
        cluster("down")


@pytest.fixture(scope="session")
def patroni_image(image):  # pylint: disable=redefined-outer-name,unused-argument # the cluster is up
    yield run(HERE / "image.sh", "patroni", timeout=900).strip()


@pytest.fixture
def release(request, image, evidence):  # pylint: disable=redefined-outer-name
    """A namespace to install into; what is in it is searched for secrets, and removed, afterwards."""
    yield from namespace_for(request, evidence, lambda name, passwords: Release(name, image, passwords))


@pytest.fixture
def patroni(request, image, patroni_image, evidence):  # pylint: disable=redefined-outer-name
    """The same for a cluster that Patroni keeps."""
    yield from namespace_for(request, evidence, lambda name, passwords: Patroni(name, image, passwords, patroni_image))


def namespace_for(request, evidence, make):  # pylint: disable=redefined-outer-name
    name = request.node.name.replace("_", "-").replace("[", "-").strip("]").removeprefix("test-")
    passwords = {role: evidence.secrets[f"{role} password"] for role in ROLES}
    made = make(f"e2e-{name[:40].rstrip('-')}-{random_secrets.token_hex(2)}", passwords)
    request.node.release = made
    yield made
    evidence.collect(made)
    if not os.environ.get("PG_REJOIN_KEEP"):
        made.delete_namespace()
