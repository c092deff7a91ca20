"""pytest fixtures: one directory a test, kept when it fails, and a seed that is always printed."""

import os
import random
import tempfile
import zlib
from pathlib import Path

import pytest

from . import environment as envm
from . import tools


@pytest.fixture(scope="session")
def root(request) -> Path:
    """One directory for all workers of a session; holds templates, the binary and the tests' own."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")[:8]
    path = envm.work_directory_parent() / f"pgrj-{run}"
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    envm.give(path)
    (path / "templates").mkdir(exist_ok=True)
    envm.give(path / "templates")
    yield path
    if "PYTEST_XDIST_WORKER" not in os.environ:
        sweep(path)


def sweep(path: Path) -> None:
    """Removes what all tests share; directories of failed tests stay."""
    for shared in ("templates", "bin"):
        envm.remove_tree(path / shared)
    try:
        path.rmdir()
    except OSError:
        print(f"\nkept: {path}")


@pytest.fixture(scope="session")
def templates(root) -> Path:
    return root / "templates"


@pytest.fixture(scope="session")
def tool(root) -> tools.Tool:
    return tools.tool_under_test(root)


@pytest.fixture
def seed(request) -> int:
    """PG_REJOIN_SEED replays; otherwise random per run, or fixed by PG_REJOIN_SEED_BASE and the
    test's name so that a whole session repeats."""
    given = os.environ.get("PG_REJOIN_SEED")
    if given:
        value = int(given)
    elif os.environ.get("PG_REJOIN_SEED_BASE"):
        value = zlib.crc32(f"{os.environ['PG_REJOIN_SEED_BASE']}/{request.node.name}".encode()) % 1_000_000
    else:
        value = random.SystemRandom().randrange(1_000_000)
    print(f"seed {value} (replay: PG_REJOIN_SEED={value} pytest -k '{request.node.name}')")
    return value


@pytest.fixture
def directory(root, request):
    """This test's own directory: removed on success, kept and named on failure."""
    path = Path(tempfile.mkdtemp(prefix="t-", dir=root))
    path.chmod(0o755)
    envm.give(path)
    yield path
    kill_servers_below(path)
    report = getattr(request.node, "harness_report", None)
    if report is not None and report.passed and not os.environ.get("PG_REJOIN_KEEP"):
        envm.remove_tree(path)
    else:
        print(f"kept: {path}")


def kill_servers_below(path: Path) -> None:
    """Whatever a failed test left running in its own directory, found by its postmaster.pid."""
    from .cluster import alive, children_of
    for pid_file in path.glob("*/postmaster.pid"):
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
        if str(pid_file.parent) in command and alive(pid):
            for victim in [pid, *children_of(pid)]:
                try:
                    os.kill(victim, 9)
                except ProcessLookupError:
                    pass


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Remembers the result of the test's body for `directory`."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.harness_report = report
