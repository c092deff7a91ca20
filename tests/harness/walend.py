"""How a crash leaves a directory: pages of one moment, and WAL that ends wherever we want.

The pages are those of a checkpoint after which nothing was written back; all WAL of later is then allowed to be lost
from any position on, as it is when a machine loses its page cache.
"""

import os
import re
import shutil
import signal
from pathlib import Path

from . import environment as envm
from .cluster import Cluster, children_of
from .walblocks import lsn

# Bytes of a logical message's record beside the message: headers, lengths, an empty prefix, alignment.
MESSAGE_OVERHEAD = 56
PAGE = 8192
ROOMY = {"wal_buffers": "4MB"}  # an insertion's WAL may stay in memory


def freeze(node: Cluster, path: Path) -> None:
    """The pages of a running node that nobody else uses, just after a checkpoint."""
    node.sql("CHECKPOINT")
    envm.copy_tree(node.data, path)
    envm.remove_tree(path / "pg_wal")
    (path / "postmaster.pid").unlink()


def give_wal(frozen: Path, stopped: Cluster) -> None:
    """All WAL that the node wrote until it was stopped."""
    envm.copy_tree(stopped.data / "pg_wal", frozen / "pg_wal")


def message(node: Cluster, size: int) -> tuple[int, int]:
    """Writes one WAL record of about `size` bytes that changes no page; returns where it begins and ends."""
    with node.session() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
        start = lsn(cursor.fetchone()[0])
        cursor.execute("SELECT pg_logical_emit_message(false, '', repeat('x', %s))::text", [size])
        return start, lsn(cursor.fetchone()[0])


def crossing_message(node: Cluster, segment_bytes: int) -> tuple[int, int]:
    """One that begins in a segment and ends in the next."""
    return message(node, segment_bytes - PAGE)


def message_to_segment_end(node: Cluster, segment_bytes: int) -> int:
    """A record whose last byte is the last of its segment; returns where it ends."""
    for _ in range(10):  # the server itself may write a record in between
        _, at = message(node, 1)
        left = segment_bytes - at % segment_bytes
        if left > PAGE:
            message(node, left - left // PAGE * 24 - PAGE // 2 - MESSAGE_OVERHEAD)
        with node.session() as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
            left = segment_bytes - lsn(cursor.fetchone()[0]) % segment_bytes
        if MESSAGE_OVERHEAD < left < PAGE - 40:
            _, end = message(node, left - MESSAGE_OVERHEAD)
            if end % segment_bytes == 0:
                return end
    raise AssertionError("no record ends at the end of a segment")


def segment_file(data: Path, timeline: int, number: int, segment_bytes: int) -> Path:
    per_log = (1 << 32) // segment_bytes
    return data / "pg_wal" / f"{timeline:08X}{number // per_log:08X}{number % per_log:08X}"


def cut(data: Path, segment_bytes: int, end: int, beyond: str, timeline: int = 1) -> None:
    """No byte of WAL behind `end` has reached the disk. `beyond`: the next segments are "missing", or one is there that
    was "recycled": an old one under its new name, to be overwritten."""
    last = (end - 1) // segment_bytes
    with open(segment_file(data, timeline, last, segment_bytes), "r+b") as file:
        file.truncate(end - last * segment_bytes)
        file.truncate(segment_bytes)
    kept = segment_file(data, timeline, last, segment_bytes).name
    for path in (data / "pg_wal").iterdir():
        if len(path.name) == len(kept) and path.name[:8] == kept[:8] and path.name > kept:
            path.unlink()
    if beyond == "recycled":
        old, fresh = (segment_file(data, timeline, number, segment_bytes) for number in (last - 1, last + 1))
        shutil.copyfile(old, fresh)
        fresh.chmod(0o600)
        envm.give(fresh)


def lose_an_insertion(node: Cluster, database: str, table: str) -> None:
    """A crash that loses the WAL of an insertion: what it added to the table's file stays, and is in no WAL. The server
    (with ROOMY settings) is started again; the table has a column v and no index."""
    path = node.data / node.value("SELECT pg_relation_filepath(%s)", database, [table])
    connection = node.connect(database)
    for pid in children_of(node.process.pid):
        if re.search(b"walwriter|background writer|checkpointer", Path(f"/proc/{pid}/cmdline").read_bytes()):
            os.kill(pid, signal.SIGSTOP)
    connection.cursor().execute(f"INSERT INTO {table} (v) SELECT repeat(md5(g::text), 40) FROM generate_series(1, 240) g")
    node.kill()
    connection.close()
    node.start()
    node.sql("CHECKPOINT")
    assert zero_blocks(path), "the insertion is in the WAL"


def zero_blocks(path: Path) -> list:
    content = path.read_bytes()
    return [n for n in range(len(content) // PAGE) if not any(content[n * PAGE:(n + 1) * PAGE])]
