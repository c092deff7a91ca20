#!/usr/bin/env python3
"""How soon a lost leader streams again: Patroni alone, Patroni with pg-rejoin, and pg-rejoin's own chart.

In each round each way in turn, alone on the Kubernetes that is up: a new cluster of two pods with the data of pgbench
at --scale loses its leader after --transactions that the standby has not got; the standby leads, writes as many of its
own, and the lost pod may be scheduled again. All pods have the same number of containers, where those that a way does
not need do nothing: a container's start takes as long as much of what is measured.

What counts is the time from the pod's scheduling (by the scheduler's Event) until the new leader has it as a streaming
standby. Figures only: nothing here passes or fails.
"""
import argparse
import datetime
import secrets
import statistics
import sys

from patroni import Patroni
from release import HERE, ROLES, Release, cluster, eventually, node_gone, run

CONTAINERS = 3  # init containers and sidecars in the chart's pod
# In the server itself, so that no client's start counts.
UNTIL_STREAMING = """
DO $$ BEGIN
  LOOP
    PERFORM pg_stat_clear_snapshot();
    EXIT WHEN EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming');
    PERFORM pg_sleep(0.02);
  END LOOP;
END $$;
SELECT extract(epoch FROM clock_timestamp());
"""


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Chart(Release):
    """With what the clusters of Patroni have, too."""

    def install_for(self, settings):  # pylint: disable=unused-argument # Patroni's
        self.install("--set", "persistence.size=2Gi", restart_pod=False)

    def fail_over(self, old, new):
        self.lose(old)
        self.promote(new)


class Beside(Patroni):
    def __init__(self, variant, *arguments):
        super().__init__(*arguments)
        self.variant = variant

    def install_for(self, settings):
        self.install(self.variant, settings, CONTAINERS)

    def fail_over(self, old, new):
        self.lose(old)
        eventually(f"{new} leads", lambda: self.leader() == new and self.is_read_write(new), 120)


def load(deployed, pod, *arguments):
    deployed.kubectl("exec", pod, "-c", "postgres", "--", "pgbench", "-n", "-U", "postgres", *arguments, "bench")


def seconds(time):
    return datetime.datetime.fromisoformat(time.replace("Z", "+00:00")).timestamp()


def prepare(deployed, options):
    deployed.install_for({"ttl": 20 + options.loop_wait, "loop_wait": options.loop_wait, "maximum_lag_on_failover": 1 << 40})
    old, new = deployed.roles()
    deployed.sql(old, "CREATE DATABASE bench;")
    load(deployed, old, "-iq", "-IdtGvp", "-s", str(options.scale))
    deployed.sql(old, "CHECKPOINT;")
    eventually(f"{new} has all of it", lambda: deployed.sql(
        old, "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()") == "1", 120)
    return old, new


def one_round(deployed, options):
    """Seconds from scheduling to streaming, and to the server's container."""
    old, new = prepare(deployed, options)
    deployed.hold_back(old)
    writes = ["-c", "4", "-t", str(options.transactions // 4)]
    load(deployed, old, *writes)
    before = deployed.uid(old)
    with node_gone():
        deployed.fail_over(old, new)
        load(deployed, new, *writes)
        deployed.wait_replaced(old, before)
    streaming = float(deployed.sql(new, UNTIL_STREAMING))
    deployed.wait_ready(old)
    scheduled = next(e["eventTime"] for e in deployed.events(old) if e["reason"] == "Scheduled")
    started = deployed.container_state(old)["running"]["startedAt"]
    return streaming - seconds(scheduled), seconds(started) - seconds(scheduled)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=30, help="of pgbench: 15 MB each (30)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--transactions", type=int, default=8000, help="on each side (8000)")
    parser.add_argument("--loop-wait", type=int, default=10, help="Patroni's (10, its default); its ttl is 20 s longer")
    options = parser.parse_args()
    cluster("postgres-image", "15", timeout=900)
    passwords = {role: secrets.token_hex(8) for role in ROLES}
    images = run(HERE / "image.sh", timeout=1800).strip(), passwords, run(HERE / "image.sh", "patroni", timeout=900).strip()

    ways = {
        "Patroni, pg_rewind": lambda name: Beside("base", name, *images),
        "Patroni, init container": lambda name: Beside("init-container", name, *images),
        "Patroni, pg-rejoin as pg_rewind": lambda name: Beside("rewind-program", name, *images),
        "the chart": lambda name: Chart(name, *images[:2]),
    }
    times = {way: [] for way in ways}
    for number in range(options.rounds):
        for way, make in ways.items():
            deployed = make(f"bench-{secrets.token_hex(3)}")
            try:
                times[way].append(one_round(deployed, options))
            finally:
                deployed.delete_namespace()
            streaming, container = times[way][-1]
            say(f"round {number + 1}, {way}: {streaming:.1f} s, {container:.0f} s of it until the server's container")
    print("| median, from scheduling to streaming | s | of it until the server's container |\n|---|---|---|")
    for way, found in times.items():
        streaming, container = (statistics.median(column) for column in zip(*found))
        print(f"| {way} | {streaming:.1f} | {container:.0f} |")


if __name__ == "__main__":
    main()
