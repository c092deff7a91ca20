"""Faults in the system calls of the tool under test: fault_shim.cc, preloaded."""

import errno
from dataclasses import dataclass
from pathlib import Path

from . import tools

SITES = ("openat2", "pwrite", "pread", "read", "ftruncate", "fsync", "syncfs", "mkdirat", "unlinkat", "renameat",
         "recv", "send")
FOR_EVER = "+"


@dataclass
class Faults:
    """Environments for runs on one data directory."""
    library: Path
    data: Path
    scratch: Path  # the tool writes counts and traces there

    def none(self) -> dict:
        return {"LD_PRELOAD": str(self.library), "FAULT_ROOT": str(self.data), "FAULT_COUNTS": str(self.scratch / "counts")}

    def at(self, site: str, number: int, action) -> dict:
        """action: "kill", "short", "slow" and milliseconds, or the name of an errno; with FOR_EVER behind it, from there on."""
        name = action.removesuffix(FOR_EVER)
        value = name if name in ("kill", "short") or name.startswith("slow") else str(getattr(errno, name))
        return {**self.none(), "FAULT": f"{site}:{number}:{value}{FOR_EVER if action.endswith(FOR_EVER) else ''}"}

    def traced(self, folder: Path) -> dict:
        return {**self.none(), "FAULT_TRACE": str(folder)}

    def counts(self) -> dict:
        """Of the last run: calls by site, and "any"."""
        lines = (self.scratch / "counts").read_text().splitlines()
        return {site: int(count) for site, count in (line.split() for line in lines)}


def make(root: Path, data: Path, directory: Path) -> Faults:
    scratch = directory / "faults"
    scratch.mkdir(exist_ok=True)
    scratch.chmod(0o777)
    return Faults(tools.built(root, "PG_REJOIN_FAULT_SHIM", "fault_shim.so"), data, scratch)
