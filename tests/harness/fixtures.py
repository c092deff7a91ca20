"""pytest fixtures: one directory a test, kept when it fails, and a seed that is always printed."""

import os
import random
import shutil
import signal
import tempfile
import zlib
from collections import Counter
from pathlib import Path

import pytest

from . import environment as envm
from . import tools
from .cluster import alive, kill_all

TEST_SECONDS = 300


def session_directory() -> Path:
    """One directory for all workers of a session, named after the process that leads it."""
    leader = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    return envm.work_directory_parent() / f"pgrj-{leader}"


@pytest.fixture(scope="session")
def root() -> Path:
    path = session_directory()
    sweep_dead(path.parent)
    path.mkdir(exist_ok=True)
    path.chmod(0o755)
    envm.give(path)
    (path / "templates").mkdir(exist_ok=True)
    envm.give(path / "templates")
    return path


def pytest_sessionfinish(session):
    if "PYTEST_XDIST_WORKER" not in os.environ and session_directory().exists():
        sweep(session_directory())


def pytest_terminal_summary(terminalreporter):
    """What tests recorded as ("tally", TEXT), counted: a run shows what it exercised."""
    reports = [r for key in ("passed", "failed") for r in terminalreporter.stats.get(key, []) if r.when == "call"]
    tally = Counter(value for r in reports for name, value in r.user_properties if name == "tally")
    for text, count in sorted(tally.items(), key=lambda item: -item[1]):
        terminalreporter.write_line(f"{count:5} {text}")


def sweep(path: Path) -> None:
    """Removes what the tests of a session share; directories of failed tests stay."""
    for shared in ("templates", "bin"):
        envm.remove_tree(path / shared)
    try:
        path.rmdir()
    except OSError:
        print(f"\nkept: {path}")


def sweep_dead(parent: Path) -> None:
    """What sessions that were killed left behind, but for their tests' directories."""
    for path in parent.glob("pgrj-[0-9]*"):
        if not Path(f"/proc/{path.name.removeprefix('pgrj-')}").exists():
            for shared in ("templates", "bin"):
                envm.remove_tree(path / shared)
            try:
                path.rmdir()
            except OSError:
                pass


@pytest.fixture(scope="session")
def templates(root) -> Path:
    return root / "templates"


@pytest.fixture(scope="session")
def tool(root) -> tools.Tool:
    return tools.tool_under_test(root)


@pytest.fixture(scope="session")
def kill_points(tool) -> list:
    if tool.name != "pg-rejoin":
        return [None]  # the rival is killed at random instants only
    run = tool.run_args([*tool.command, "--list-kill-points"]).ok()
    names = run.stdout.split()
    assert names, "a build without kill points: build with PG_REJOIN_KILL_POINTS=ON"
    return names


@pytest.fixture(autouse=True)
def deadline():
    """A test that hangs fails, with the line it hangs at."""
    def ring(*_):
        raise TimeoutError(f"the test takes more than {TEST_SECONDS} s")

    signal.signal(signal.SIGALRM, ring)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)


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
    path = make_directory(root)
    yield path
    report = getattr(request.node, "harness_report", None)
    finish(path, report is not None and not report.failed)


@pytest.fixture
def nodes(directory):
    """Collects servers, so that a failed story leaves none behind."""
    found = []
    yield found
    for node in found:
        node.kill()


@pytest.fixture
def target(prepared, directory):
    """The diverged node of a module's `prepared` (scenario.Prepared), for this test alone."""
    node = prepared.fresh_target(directory)
    yield node
    node.kill()


@pytest.fixture(scope="module")
def shared_directory(root, request):
    """Makes directories for what tests of a module share: kept when one of them failed."""
    made = []
    failed_before = request.session.testsfailed

    def make() -> Path:
        made.append(make_directory(root))
        return made[-1]

    yield make
    for path in made:
        finish(path, request.session.testsfailed == failed_before)


def finish(path: Path, passed: bool) -> None:
    kill_servers_below(path)
    if passed:
        envm.remove_tree(path)
        return
    if shutil.disk_usage(path).free < 8 << 30:  # it may be memory: many failures must not take it all
        for data in path.glob("*.data"):
            envm.remove_tree(data)
    print(f"kept: {path}")


def make_directory(root: Path) -> Path:
    path = Path(tempfile.mkdtemp(prefix="t-", dir=root))
    path.chmod(0o755)
    envm.give(path)
    return path


def kill_servers_below(path: Path) -> None:
    """Whatever a failed test left running in its own directory, found by its postmaster.pid."""
    for pid_file in path.glob("*/postmaster.pid"):
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except (OSError, ValueError):
            continue
        if str(pid_file.parent) in command and alive(pid):
            kill_all(pid)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Remembers the result of the test's body for `directory`."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.harness_report = report
