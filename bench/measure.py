"""One run of one tool on a fresh copy: what it took."""

import os
import re
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path

import psycopg2

from harness import environment as envm
from harness.cluster import Cluster
from harness.tools import Tool

# sync_file_range, which pg_rewind calls once for each file before that, waits for nothing.
SYNCS = "fsync,fdatasync,syncfs,sync"


class PeakMemory:
    """The largest resident set of a process or one of its children, looked at a hundred times a second: what wait4() tells
    is at least that of the program that started it."""

    def __init__(self, pid: int):
        self.pid, self.peak_bytes = pid, 0
        self.ended = threading.Event()
        self.watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self.watcher.start()
        return self

    def __exit__(self, *_) -> None:
        self.ended.set()
        self.watcher.join()

    def _watch(self) -> None:
        while not self.ended.wait(0.01):
            pids = [self.pid]
            for pid in pids:
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                    pids += Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
                except OSError:  # it has ended
                    continue
                if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                    self.peak_bytes = max(self.peak_bytes, int(found[1]) * 1024)


def restore(pristine: Path, work: Path) -> None:
    envm.remove_tree(work)
    envm.run(["cp", "-a", "--reflink=auto", "--", pristine, work], timeout=900)
    os.sync()


def rewind(tool: Tool, data: Path, conninfo: str, *options: str, wrapper: tuple = ()) -> dict:
    """Wall time, CPU, peak memory and writes of the tool and its children (pg_rewind runs single-user PostgreSQL after a
    crash). What counts as written is what was made dirty in the page cache."""
    args = [*wrapper, *tool.args(data, conninfo, "-R", *options)]
    begin = time.monotonic()
    with subprocess.Popen([str(a) for a in args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=envm.clean_env(), **envm.plain_user()) as process:
        with PeakMemory(process.pid) as memory:
            output = process.stdout.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{tool.name} failed with {process.returncode}:\n{output}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "max_rss_bytes": memory.peak_bytes,
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
