"""One run of one tool on a fresh copy: what it took."""

import os
import re
import subprocess
import time
from datetime import datetime
from pathlib import Path

import psycopg2

from harness import environment as envm
from harness.cluster import Cluster
from harness.tools import Tool

SYNCS = "fsync,fdatasync,sync_file_range,syncfs,sync"


def restore(pristine: Path, work: Path) -> None:
    envm.remove_tree(work)
    envm.run(["cp", "-a", "--reflink=auto", "--", pristine, work], timeout=900)
    os.sync()


def rewind(tool: Tool, data: Path, conninfo: str, *options: str, wrapper: tuple = ()) -> dict:
    """Wall time, CPU, peak memory and writes of the tool and its children (pg_rewind runs single-user PostgreSQL after a
    crash; the peak is that of the largest process)."""
    args = [*wrapper, *tool.args(data, conninfo, "-R", *options)]
    begin = time.monotonic()
    with subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=envm.clean_env(), **envm.plain_user()) as process:
        output = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{tool.name} failed with {process.returncode}:\n{output}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "max_rss_bytes": usage.ru_maxrss * 1024,
            "bytes_written": usage.ru_oublock * 512, "output": output}


def until_it_streams(node: Cluster, lsn: str) -> float:
    """Seconds from the server's start until it streams and has replayed what the source had."""
    begin = time.monotonic()
    node.spawn(extra={"fsync": "on"})
    while True:
        try:
            with node.session() as cursor:
                while True:
                    cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn AND EXISTS"
                                   " (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')", [lsn])
                    if cursor.fetchone()[0]:
                        return time.monotonic() - begin
                    time.sleep(0.01)
        except psycopg2.OperationalError as error:
            if not node.running() or time.monotonic() - begin > 600:
                raise SystemExit(f"the rewound node does not stream: {error}\n{node.log_tail()}")
            time.sleep(0.01)


def syncs(strace_summary: str) -> int:
    """Calls in the table of strace -c: the column before the last, or before the errors."""
    calls = 0
    for line in strace_summary.splitlines():
        fields = line.split()
        if fields and fields[-1] in SYNCS.split(","):
            calls += int(fields[3])
    return calls


def phases(output: str) -> dict:
    """Seconds of each phase, from the time stamps of the debug log of ours."""
    stamps = [(datetime.fromisoformat(m[1]), m[2]) for m in re.finditer(r"^(\S+ \S+) .*phase: (.+)$", output, re.M)]
    ended = re.findall(r"^(\d{4}-\S+ \S+) ", output, re.M)
    if not stamps:
        return {}
    found: dict = {}
    for (begin, name), end in zip(stamps, [*(s for s, _ in stamps[1:]), datetime.fromisoformat(ended[-1])]):
        found[name] = found.get(name, 0.0) + (end - begin).total_seconds()
    return found
