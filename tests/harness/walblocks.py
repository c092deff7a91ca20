"""Which main-fork blocks a stretch of WAL refers to, as PostgreSQL's own readers see it."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from . import environment as envm

RECORD = re.compile(r"^rmgr: (\S+)\s+len .*? lsn: ([0-9A-F]+/[0-9A-F]+), prev [0-9A-F]+/[0-9A-F]+, desc: (.*)$")
BLOCK = re.compile(r"blkref #\d+: rel (\d+)/(\d+)/(\d+)(?: fork (\w+))? blk (\d+)")
END = re.compile(r"at ([0-9A-F]+/[0-9A-F]+)")


def lsn(text: str) -> int:
    high, low = text.split("/")
    return int(high, 16) << 32 | int(low, 16)


@dataclass
class Waldump:
    blocks: dict = field(default_factory=dict)       # "spc/db/rel blk" -> LSN of the last record
    checkpoints: list = field(default_factory=list)  # (LSN of the record, redo)
    end: int = 0                                     # where valid WAL ends
    end_message: str = ""


def waldump(data: Path, timeline: int, start: str) -> Waldump:
    """pg_waldump 15 from `start` to where it finds no valid record."""
    done = envm.run([envm.debian_program("pg_waldump"), "-p", data / "pg_wal", "-t", str(timeline), "-s", start], check=False)
    found = Waldump(end_message=done.stderr.strip())
    for line in done.stdout.splitlines():
        record = RECORD.match(line)
        if not record:
            continue
        at = lsn(record.group(2))
        if record.group(1) == "XLOG" and "CHECKPOINT_" in record.group(3):
            found.checkpoints.append((at, lsn(re.search(r"redo ([0-9A-F]+/[0-9A-F]+)", record.group(3)).group(1))))
        for spc, db, rel, fork, block in BLOCK.findall(record.group(3)):
            if not fork:
                found.blocks[f"{spc}/{db}/{rel} {block}"] = at
    ends = END.findall(done.stderr)
    found.end = lsn(ends[-1]) if ends else 0
    return found


def walinspect(node, start: str) -> dict:
    """The same from a running server of 16 and later, up to its flush position."""
    node.sql("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
    rows = node.sql("""
        SELECT reltablespace || '/' || reldatabase || '/' || relfilenode || ' ' || relblocknumber, max(start_lsn)::text
          FROM pg_get_wal_block_info(%s, pg_current_wal_flush_lsn(), false) WHERE relforknumber = 0 GROUP BY 1""", args=[start])
    return {block: lsn(at) for block, at in rows}
