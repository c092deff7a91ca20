#!/usr/bin/env python3
"""pg-rejoin beside pg_rewind 15: the same diverged directory, restored for each run, in turns.

For each scenario one pair of servers is made; then each tool rewinds a fresh twin of the old primary
--runs times, alternating, so that a slow moment of the machine hits both, and the rewound node is
started until it streams. One more run each, whose time does not count, counts bytes from the source
(by a proxy) and calls that flush (by strace). At the end the result of ours is compared with the
source, row by row: a figure for a wrong result would be worthless.

Figures only: nothing here passes or fails, but a wrong result.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
import measure  # noqa: E402
import report  # noqa: E402
from proxy import Proxy  # noqa: E402
from scenarios import DATABASE, SCENARIOS, Scenario  # noqa: E402

from harness import environment as envm  # noqa: E402
from harness import oracle, tools  # noqa: E402
from harness.cluster import Cluster  # noqa: E402

# Every table by a checksum that does not depend on order; one row, so that 100,000 tables are one query.
CONTENT = """
SELECT count(*), md5(string_agg(name || content, ',' ORDER BY name)) FROM (
  SELECT c.relname AS name, query_to_xml(format(
    'SELECT count(*), sum(hashtextextended(t::text, 0)) FROM ONLY %s t', c.oid::regclass), false, true, '')::text AS content
  FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace) q"""


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Bench:
    """One scenario: a diverged directory and the server to follow."""

    def __init__(self, scenario: Scenario, root: Path, options):
        self.scenario, self.options, self.root = scenario, options, root
        self.rivals = [tools.pg_rejoin(root), tools.pg_rewind_15()]
        self.primary, self.source = scenario.prepare(root, options.size, lambda text: say(f"{scenario.name} {text}"))
        self.work = root / "work.data"

    def close(self) -> None:
        for node in (self.primary, self.source):
            node.kill()

    def run(self) -> dict:
        runs = {tool.name: [] for tool in self.rivals}
        for number in range(self.options.runs):
            for tool in self.rivals if number % 2 == 0 else reversed(self.rivals):
                runs[tool.name].append(self.timed(tool))
        counts = {tool.name: self.counted(tool) for tool in self.rivals}
        rates = self.engine_rates() if self.scenario.rates else {}
        phases = self.verify()
        return {
            "name": self.scenario.name, "title": self.scenario.title,
            "target_bytes": sum(p.lstat().st_blocks * 512 for p in self.primary.data.rglob("*")),
            "files": sum(1 for p in self.primary.data.rglob("*") if p.is_file()),
            "tools": {name: {"runs": each, "median": {key: statistics.median(run[key] for run in each) for key in each[0]},
                             **counts[name]} for name, each in runs.items()},
            "phases": phases, **rates,
        }

    def engine_rates(self) -> dict:
        """Decoding and fetching by themselves (engine_rate.cc)."""
        program = tools.built(self.root, "PG_REJOIN_ENGINE_RATE", "engine_rate")
        scan = envm.run([program, "scan", self.primary.data], timeout=600)
        fetch = envm.run([program, "fetch", self.source.conninfo("rewind_user"), self.source.data, "4"], timeout=600)
        return {"engine": {**json.loads(scan.stdout), **json.loads(fetch.stdout)}}

    def node(self) -> Cluster:
        node = Cluster(self.root, 15, "r", settings=self.primary.settings)
        node.data = self.work
        return node

    def timed(self, tool: tools.Tool) -> dict:
        measure.restore(self.primary.data, self.work)
        proxy = self.open_proxy() if self.scenario.far else None
        lsn = self.source.flush_lsn()
        result = measure.rewind(tool, self.work, self.through(proxy))
        del result["output"]
        node = self.node()
        try:
            result["replay_seconds"] = measure.until_it_streams(node, lsn)
        finally:
            node.kill()
            if proxy:
                proxy.close()
        result["seconds_until_streaming"] = result["seconds"] + result["replay_seconds"]
        say(f"{self.scenario.name} {tool.name}: {result['seconds']:.2f} s, streams after {result['seconds_until_streaming']:.2f} s")
        return result

    def open_proxy(self) -> Proxy:
        return Proxy(str(self.source.socket_directory / f".s.PGSQL.{self.source.port}"), self.scenario.delay_s, self.scenario.rate)

    def through(self, proxy: Proxy | None) -> str:
        if not proxy:
            return self.source.conninfo("rewind_user")
        return f"host=127.0.0.1 port={proxy.port} user=rewind_user dbname=postgres"

    def counted(self, tool: tools.Tool) -> dict:
        measure.restore(self.primary.data, self.work)
        proxy = self.open_proxy()
        summary = self.root / f"{tool.name}.strace"
        summary.touch(mode=0o666)
        summary.chmod(0o666)
        strace = ("strace", "--seccomp-bpf", "-f", "-qq", "-c", "-e", f"trace={measure.SYNCS}", "-o", summary)
        measure.rewind(tool, self.work, self.through(proxy), wrapper=strace)
        proxy.close()
        return {"bytes_received": proxy.received, "connections": proxy.connections, "syncs": measure.syncs(summary.read_text())}

    def verify(self) -> dict:
        """One more run of ours, whose phases are told, and whose result is compared."""
        measure.restore(self.primary.data, self.work)
        proxy = self.open_proxy() if self.scenario.far else None
        output = measure.rewind(self.rivals[0], self.work, self.through(proxy), "--debug")["output"]
        oracle.settle(self.source)
        node = self.node()
        try:
            node.start(timeout=600)
            node.wait_replay(self.source.flush_lsn(), timeout=600)
            found = [[n.sql(CONTENT, DATABASE), oracle.complaints(node)] for n in (node, self.source)]
            if found[0] != found[1] or not found[0][0][0][0]:
                raise SystemExit(f"the rewound node differs from the source: {found}")
        finally:
            node.kill()
            if proxy:
                proxy.close()
        return measure.phases(output)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="\n".join(["scenarios:", *(f"  {s.name}  {s.title}" for s in SCENARIOS)]))
    parser.add_argument("scenario", nargs="*", help="S1 ...; all without one")
    parser.add_argument("--size", type=float, default=1, metavar="FACTOR", help="scales the amounts of data and writes (1: up to 5 GB on disk three times)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each tool")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything to this file")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="also write the tables of docs/performance.md to this file")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write the picture of the README to this file")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="measure nothing: print what --json has written")
    options = parser.parse_args()
    unknown = set(options.scenario) - {s.name for s in SCENARIOS}
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}")
    return options


def measure_all(options) -> dict:
    parent = Path(os.environ.get("PG_REJOIN_TEST_DIR", "/tmp"))  # a real disk: flushing is part of the figure
    results = []
    for scenario in SCENARIOS:
        if options.scenario and scenario.name not in options.scenario:
            continue
        root = Path(tempfile.mkdtemp(prefix="pgrj-bench-", dir=parent))
        root.chmod(0o755)
        envm.give(root)
        bench = None
        try:
            bench = Bench(scenario, root, options)
            results.append(bench.run())
        finally:
            if bench:
                bench.close()
            envm.remove_tree(root)
    versions = [envm.run([command, "--version"]).stdout.strip() for command in
                (os.environ["PG_REJOIN_BIN"], envm.debian_program("pg_rewind"), envm.server_bin(15) / "postgres")]
    return {"machine": {"cpus": os.cpu_count(), "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
                        "system": platform.platform()},
            "versions": versions, "size": options.size, "runs": options.runs, "scenarios": results}


def main() -> None:
    options = arguments()
    results = json.loads(options.from_json.read_text()) if options.from_json else measure_all(options)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(report.markdown(results))
    if options.svg:
        options.svg.write_text(report.picture(results))
    print(report.markdown(results))


if __name__ == "__main__":
    main()
