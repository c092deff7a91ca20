"""The tool under test and its rival, run the same way."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import pytest

from . import environment as envm
from .cluster import base_backup


@dataclass
class Run:
    """One finished run of a tool."""
    args: list
    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    def ok(self) -> "Run":
        assert self.status == 0, f"{self.describe()}"
        return self

    def describe(self) -> str:
        return f"exit {self.status} after {self.seconds:.2f} s: {' '.join(self.args)}\n{self.stdout}{self.stderr}"


class Tool:
    """A program with pg_rewind's command line. `needs_checkpoint`: upstream 14 and 15 take the
    source's timeline from its last checkpoint and think a fresh promotion never happened."""

    def __init__(self, name: str, command: list, needs_checkpoint: bool):
        self.name = name
        self.command = [str(c) for c in command]
        self.needs_checkpoint = needs_checkpoint

    def expect(self, *, upstream_lacks: str) -> None:
        """Only ever excuses the rival, when it stands in for the tool under test."""
        if self.name == "pg_rewind-15":
            pytest.xfail(f"upstream {upstream_lacks}")

    def args(self, target: Path, source: str, *options: str) -> list:
        return [*self.command, "-D", str(target), f"--source-server={source}", *options]

    def rewind(self, target: Path, source: str, *options: str, env=None, timeout=180) -> Run:
        return self.run_args(self.args(target, source, *options), env=env, timeout=timeout, cwd=target)

    def run_args(self, args, env=None, timeout=180, cwd=None) -> Run:
        begin = time.monotonic()
        done = envm.run(args, check=False, env=env, timeout=timeout, cwd=cwd)
        return Run([str(a) for a in args], done.returncode, done.stdout, done.stderr, time.monotonic() - begin)

    def spawn(self, target: Path, source: str, *options: str, env=None, output=subprocess.DEVNULL) -> subprocess.Popen:
        """For tests that kill it, children included."""
        return subprocess.Popen(self.args(target, source, *options), stdin=subprocess.DEVNULL, stdout=output,
                                stderr=output, start_new_session=True,
                                env=envm.clean_env(env), **envm.plain_user())


class Clone(Tool):
    """The control: no rewind but a fresh copy of the source. What fails with it is a defect of the
    tests (or of PostgreSQL), not of a rewind."""

    def __init__(self):
        super().__init__("clone", [], needs_checkpoint=False)

    def rewind(self, target: Path, source: str, *options: str, env=None, timeout=180) -> Run:
        begin = time.monotonic()
        connection = psycopg2.connect(source.replace("user=rewind_user", "user=postgres"))
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('data_directory'), current_setting('server_version_num')::int / 10000")
            data, major = cursor.fetchone()
            envm.remove_tree(target)
            base_backup(cursor, major, Path(data), target)
        connection.close()
        with open(target / "postgresql.auto.conf", "a") as conf:
            conf.write(f"primary_conninfo = '{source}'\n")
        (target / "standby.signal").touch()
        envm.give(target / "standby.signal")
        return Run(["clone"], 0, "", "", time.monotonic() - begin)


def pg_rewind_15() -> Tool:
    return Tool("pg_rewind-15", [envm.debian_program("pg_rewind")], needs_checkpoint=True)


def pg_rejoin(root: Path) -> Tool:
    """The binary named by PG_REJOIN_BIN, copied to where the plain user may execute it."""
    return Tool("pg-rejoin", [pg_rejoin_binary(root), "rewind"], needs_checkpoint=False)


def built(root: Path, variable: str, name: str) -> Path:
    """What an environment variable names, copied to where the plain user may execute it."""
    configured = os.environ.get(variable)
    if not configured:
        raise envm.MissingPart(f"{variable} names no {name}: tests/README.md says what to set")
    source = Path(configured).resolve()
    if not source.exists():
        raise envm.MissingPart(f"{variable}={configured} does not exist")
    folder = root / "bin"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    target = folder / name
    if not target.exists():
        fresh = folder / f"{name}.{os.getpid()}"
        shutil.copyfile(source, fresh)
        fresh.chmod(0o755)
        fresh.rename(target)
    return target


def pg_rejoin_binary(root: Path) -> Path:
    target = built(root, "PG_REJOIN_BIN", "pg-rejoin")
    alias = target.parent / "pg_rewind"
    if not alias.is_symlink():
        try:
            alias.symlink_to("pg-rejoin")
        except FileExistsError:
            pass  # another worker was quicker
    return target


def tool_under_test(root: Path) -> Tool:
    choice = os.environ.get("PG_REJOIN_TOOL", "pg-rejoin")
    makers = {"pg-rejoin": lambda: pg_rejoin(root), "pg_rewind": pg_rewind_15, "clone": Clone}
    return makers[choice]()
