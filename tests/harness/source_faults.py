"""What happens to a source while a rewind reads from it, at a chosen moment."""

import subprocess
import time
from dataclasses import dataclass

from . import environment as envm
from .cluster import Cluster
from .hostile_source import HostileSource, Trigger
from .tools import Run


class World:
    """Three nodes made from stopped ones: the diverged target, its source, and a standby of the source. Each case
    has its own, for what happens to a source does not pass."""

    def __init__(self, pristine: dict, directory):
        self.nodes = {}
        for name, node in pristine.items():
            twin = Cluster(directory, node.major, name, settings=node.settings)
            envm.copy_tree(node.data, twin.data)
            self.nodes[name] = twin
        self.target, self.source, self.third = (self.nodes[name] for name in ("target", "source", "third"))
        self.source.start()
        self.third.make_standby(self.source)
        self.third.start()
        self.third.wait_replay(self.source.flush_lsn())

    def close(self) -> None:
        for node in self.nodes.values():
            node.kill()


class Fault:
    """A way to lose a source. `strike` is called by the proxy while all of its connections stand still; `repair`
    after the run, and returns the node that the next attempt goes to."""

    def __init__(self, world: World, proxy: HostileSource):
        self.world, self.proxy = world, proxy

    def strike(self) -> None:
        raise NotImplementedError

    def repair(self) -> Cluster:
        return self.world.source

    @staticmethod
    def read_from(world: World) -> Cluster:
        return world.source


class Cut(Fault):
    """All connections end; new ones are taken."""

    def strike(self):
        self.proxy.cut(reset=False)


class Reset(Fault):
    def strike(self):
        self.proxy.cut(reset=True)


class Refused(Fault):
    """And nobody gets in any more."""

    def strike(self):
        self.proxy.refuse()
        self.proxy.cut(reset=False)


class Silent(Fault):
    """A half-open connection: nothing arrives and nothing ends. Nobody waits until the tool gives up: it is told to
    end, and has to."""

    def strike(self):
        self.proxy.lie.silent = True


class Killed(Fault):
    """What it had not flushed is gone; it comes back later."""

    def strike(self):
        self.world.source.kill()

    def repair(self):
        return self.world.source.start()


class Restarted(Fault):
    """It is back at once."""
    mode = "fast"

    def strike(self):
        self.world.source.stop(self.mode)
        self.world.source.start()


class Crashed(Restarted):
    mode = "immediate"


class Demoted(Fault):
    """A switchover: its standby leads now, and it follows. The next attempt reads from it nevertheless."""

    def strike(self):
        source, third = self.world.source, self.world.third
        source.stop("fast")
        third.promote()
        source.make_standby(third)
        source.start()

    def repair(self):
        self.world.source.wait_replay(self.world.third.flush_lsn())
        return self.world.source


class Promoted(Fault):
    """It was a standby, and leads a timeline of its own from now on."""

    def strike(self):
        self.world.third.promote()

    def repair(self):
        self.world.source.kill()
        return self.world.third

    @staticmethod
    def read_from(world):
        return world.third


class FailedOver(Fault):
    """It dies, and its standby, which may have less WAL, takes its place."""

    def strike(self):
        self.world.source.kill()
        self.world.third.promote()

    def repair(self):
        return self.world.third


@dataclass
class Outcome:
    """Of one run whose source may have met its fault."""
    run: Run
    struck: bool
    next: Cluster  # whom the next attempt reads from


def run(tool, world: World, kind, when) -> Outcome:
    """`when` is a Trigger's."""
    trigger = Trigger(when)
    failures = []
    with HostileSource(kind.read_from(world), trigger) as proxy:
        fault = kind(world, proxy)

        def act():
            try:
                fault.strike()
            except Exception as error:  # must not vanish with the proxy's thread
                failures.append(error)

        trigger.act = act
        begin = time.monotonic()
        process = tool.spawn(world.target.data, proxy.conninfo(), "-R", output=subprocess.PIPE)
        try:
            if kind is Silent:
                while process.poll() is None and not trigger.told:
                    time.sleep(0.01)
                process.terminate()
            output, errors = (text.decode(errors="replace") for text in process.communicate(timeout=60))
        finally:
            process.kill()
    if failures:
        raise failures[0]
    done = Run(process.args, process.returncode, output, errors, time.monotonic() - begin)
    struck = trigger.told > 0
    return Outcome(done, struck, fault.repair() if struck else kind.read_from(world))
