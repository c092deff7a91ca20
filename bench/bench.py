#!/usr/bin/env python3
"""pg-rejoin beside pg_rewind 15: the same diverged directory, restored for each run, in turns.

One pair of servers is made: pgbench at --scale, a promotion, and --seconds of writes on both
sides. Then each tool rewinds a fresh twin of the old primary --runs times, alternating, so that a
slow moment of the machine hits both. Wall time, CPU and peak memory are those of the tool and its
children (pg_rewind runs single-user PostgreSQL after a crash). Bytes from the source are counted by
a proxy in one more run each, whose time does not count; with --latency-ms that run is timed too.

Figures only: nothing here passes or fails.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from proxy import Proxy  # noqa: E402

from harness import environment as envm  # noqa: E402
from harness import tools  # noqa: E402
from harness.cluster import Cluster, template  # noqa: E402

SETTINGS = {
    "shared_buffers": "512MB", "max_wal_size": "8GB", "wal_keep_size": "8GB", "checkpoint_timeout": "5min",
    "autovacuum_naptime": "10s", "wal_compression": "off",
}


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def pgbench(node: Cluster, *args: str) -> None:
    envm.run([envm.debian_program("pgbench"), "-h", node.socket_directory, "-p", str(node.port), "-U", "postgres", *args, "bench"],
             timeout=1800)


def prepare(root: Path, options) -> tuple:
    """The stopped, diverged target's pristine directory, and the running source."""
    base = template(root / "templates", 15, checksums=True, segment_mb=16)
    primary = Cluster(root, 15, "p", settings=SETTINGS)
    standby = Cluster(root, 15, "s", settings=SETTINGS)
    envm.copy_tree(base, primary.data)
    envm.copy_tree(base, standby.data)
    primary.start()
    primary.sql("CREATE DATABASE bench")
    standby.make_standby(primary)
    standby.start()
    say(f"pgbench -i at scale {options.scale}")
    pgbench(primary, "-i", "-q", "-s", str(options.scale))
    primary.sql("CHECKPOINT")
    pgbench(primary, "-c", "4", "-T", str(max(options.seconds // 4, 1)))
    standby.wait_replay(primary.flush_lsn(), timeout=600)
    standby.promote()
    standby.sql("CHECKPOINT")
    say(f"{options.seconds} s of writes on both sides")
    loads = [subprocess.Popen([str(envm.debian_program("pgbench")), "-h", str(n.socket_directory), "-U", "postgres", "-n", "-c", "4",
                               "-T", str(options.seconds), "bench"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              env=envm.clean_env(), **envm.plain_user()) for n in (primary, standby)]
    for load in loads:
        load.wait()
    primary.stop(options.stop)
    standby.sql("CHECKPOINT")
    return primary, standby


def restore(pristine: Path, work: Path) -> None:
    envm.remove_tree(work)
    envm.copy_tree(pristine, work)
    os.sync()


def measure(tool: tools.Tool, data: Path, conninfo: str) -> dict:
    begin = time.monotonic()
    process = tool.spawn(data, conninfo, "-R", output=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{tool.name} failed with {process.returncode}:\n{output.decode(errors='replace')}")
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "max_rss_bytes": usage.ru_maxrss * 1024}


def through_proxy(tool: tools.Tool, pristine: Path, work: Path, source: Cluster, delay_s: float) -> dict:
    restore(pristine, work)
    proxy = Proxy(str(source.socket_directory / f".s.PGSQL.{source.port}"), delay_s)
    conninfo = f"host=127.0.0.1 port={proxy.port} user=rewind_user dbname=postgres"
    result = measure(tool, work, conninfo)
    proxy.close()
    return {"bytes_received": proxy.received, "bytes_sent": proxy.sent, "connections": proxy.connections, "seconds": result["seconds"]}


def check(work: Path, primary: Cluster, source: Cluster) -> None:
    """A figure for a wrong result would be worthless."""
    node = Cluster(primary.directory, 15, "check", settings=SETTINGS)
    node.data = work
    node.start(timeout=300)
    node.wait_replay(source.flush_lsn(), timeout=300)
    sums = "SELECT count(*), sum(hashtextextended(a::text, 0)) FROM pgbench_accounts a"
    ours = node.sql(sums, "bench")
    node.stop("fast")
    if ours != source.sql(sums, "bench"):
        raise SystemExit("the rewound node differs from the source")


def summary(runs: list) -> dict:
    return {key: statistics.median(r[key] for r in runs) for key in runs[0]}


def table(results: dict) -> str:
    ours, theirs = results["tools"]["pg-rejoin"], results["tools"]["pg_rewind-15"]
    rows = [("", "pg-rejoin", "pg_rewind 15", "ratio")]

    def row(label, a, b, form):
        rows.append((label, form(a), form(b), f"{b / a:.2f}" if a else "-"))

    mb = lambda v: f"{v / 1e6:.1f} MB"  # noqa: E731
    s = lambda v: f"{v:.2f} s"  # noqa: E731
    row("wall time, median", ours["median"]["seconds"], theirs["median"]["seconds"], s)
    row("CPU time, median", ours["median"]["cpu_seconds"], theirs["median"]["cpu_seconds"], s)
    row("peak memory, median", ours["median"]["max_rss_bytes"], theirs["median"]["max_rss_bytes"], mb)
    row("received from the source", ours["proxy"]["bytes_received"], theirs["proxy"]["bytes_received"], mb)
    if "far" in ours:
        row(f"wall time at {results['latency_ms']} ms each way", ours["far"]["seconds"], theirs["far"]["seconds"], s)
    widths = [max(len(r[i]) for r in rows) for i in range(4)]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))) for r in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=100, help="pgbench scale (100: 1.5 GB)")
    parser.add_argument("--seconds", type=int, default=20, help="writes on both sides")
    parser.add_argument("--runs", type=int, default=3, help="runs of each tool")
    parser.add_argument("--stop", choices=["fast", "immediate", "kill"], default="immediate", help="how the old primary ends")
    parser.add_argument("--latency-ms", type=float, default=0, help="one more run each over a link with this delay each way")
    parser.add_argument("--json", type=Path, help="also write everything to this file")
    options = parser.parse_args()

    parent = Path(os.environ.get("PG_REJOIN_TEST_DIR", "/tmp"))  # a real disk: flushing is part of the figure
    root = Path(tempfile.mkdtemp(prefix="pgrj-bench-", dir=parent))
    root.chmod(0o755)
    envm.give(root)
    primary = source = None
    try:
        primary, source = prepare(root, options)
        pristine, work = primary.data, root / "work.data"
        rivals = [tools.pg_rejoin(root), tools.pg_rewind_15()]
        runs = {tool.name: [] for tool in rivals}
        for number in range(options.runs):
            for tool in rivals if number % 2 == 0 else reversed(rivals):
                restore(pristine, work)
                runs[tool.name].append(measure(tool, work, source.conninfo("rewind_user")))
                say(f"run {number + 1} {tool.name}: {runs[tool.name][-1]['seconds']:.2f} s")
                if number == 0:
                    check(work, primary, source)
        results = {
            "machine": {"cpus": os.cpu_count(), "system": platform.platform(), "directory": str(parent)},
            "scale": options.scale, "seconds_of_writes": options.seconds, "stop": options.stop, "latency_ms": options.latency_ms,
            "target_bytes": sum(p.stat().st_blocks * 512 for p in pristine.rglob("*") if p.is_file() and not p.is_symlink()),
            "tools": {},
        }
        for tool in rivals:
            entry = {"runs": runs[tool.name], "median": summary(runs[tool.name])}
            entry["proxy"] = through_proxy(tool, pristine, work, source, 0.0)
            if options.latency_ms:
                entry["far"] = through_proxy(tool, pristine, work, source, options.latency_ms / 1000)
            results["tools"][tool.name] = entry
    finally:
        for node in (primary, source):
            if node is not None:
                node.kill()
        envm.remove_tree(root)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
