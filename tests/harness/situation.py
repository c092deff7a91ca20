"""A random situation: what one story of test_random.py is made of. Each dimension is drawn on its own."""

import functools
import random
from dataclasses import dataclass

from . import environment as envm
from .scenario import STOP_MODES


@dataclass(frozen=True)
class Situation:
    major: int
    checksums: bool       # otherwise wal_log_hints
    segment_mb: int
    settings: dict
    consistent: bool      # replay compares each page with an image of it: wal_consistency_checking
    tablespace: str       # none | real | in place
    template: str         # none | untouched | changed: of a database that both sides copy after the fork
    strategy: str         # of that copy: wal_log | file_copy
    earlier: int          # failovers between the two nodes before
    target: str           # old primary | standby ahead | promoted again: on a timeline of its own
    ending: str           # how the target's server ends
    source: str           # new primary | standby | lagging standby: of it
    busy: bool            # files come and go on the primary while the last attempt runs
    archive: str          # none | oldest | all: segments that the target's pg_wal has lost and its archive has
    second: str           # what the first attempt comes to before another failover: none | killed | published | started
    third: str            # who is promoted then: caught up | behind | before the fork: on a line of its own
    retries: int          # attempts that are killed before the last one

    def __str__(self) -> str:
        return ", ".join(f"{name}: {value}" for name, value in vars(self).items())

    @property
    def copies_files(self) -> bool:
        """Whether replay of the database's creation copies the template as it is then."""
        return self.strategy == "file_copy" or self.major < 15

    @property
    def may_refuse(self) -> bool:
        """The one refusal that is right: a database copied by file, from a template that was changed."""
        return self.template == "changed" and self.copies_files


def draw(major: int, rng: random.Random) -> Situation:
    consistent = rng.random() < 0.1
    return Situation(
        major=major,
        checksums=rng.random() < 0.5,
        segment_mb=rng.choice([1, 1, 2, 16]),
        settings=draw_settings(major, rng, consistent),
        consistent=consistent,
        tablespace=rng.choices(["none", "real", "in place"], [3, 1, 1])[0],
        template=rng.choices(["none", "untouched", "changed"], [4, 3, 1])[0],
        strategy=rng.choices(["wal_log", "file_copy"], [3, 1])[0],
        earlier=rng.choices([0, 1, 2], [6, 2, 1])[0],
        target=rng.choices(["old primary", "standby ahead", "promoted again"], [4, 1, 1])[0],
        ending=rng.choice(STOP_MODES),
        source=rng.choices(["new primary", "standby", "lagging standby"], [3, 1, 1])[0],
        busy=rng.random() < 0.5,
        archive=rng.choices(["none", "oldest", "all"], [6, 1, 1])[0],
        second=rng.choices(["none", "killed", "published", "started"], [4, 2, 1, 1])[0],
        third=rng.choice(["caught up", "behind", "before the fork"]),
        retries=rng.choices([0, 1, 2], [6, 2, 1])[0],
    )


def draw_settings(major: int, rng: random.Random, consistent: bool) -> dict:
    """Of all nodes. Small buffers make dirty pages reach the disk early and in any order. An image in every record
    takes minutes to compress."""
    wanted = rng.choice(["off", "on", "lz4", "zstd"])
    return {
        "wal_compression": "off" if consistent else compression(major, wanted),
        "wal_level": rng.choice(["replica", "logical"]),
        "shared_buffers": rng.choice(["1MB", "16MB"]),
        "track_commit_timestamp": rng.choice(["off", "on"]),
    }


def compression(major: int, wanted: str) -> str:
    """What this server was built with, so that a seed draws the same otherwise on all."""
    function = {"lz4": b"LZ4_compress", "zstd": b"ZSTD_compress"}.get(wanted)
    return wanted if not function or major >= 15 and function in server_program(major) else "on"


@functools.cache
def server_program(major: int) -> bytes:
    return (envm.server_bin(major) / "postgres").read_bytes()


# All but hash, where PostgreSQL's own check stops replays that are right. Before 17 a bucket's page is imaged without its
# lock. And a Hash/DELETE names its bucket's page without an image to restore (REGBUF_NO_IMAGE), so that where the relation
# was dropped later, plain crash recovery of 14 to 18 finds zeros there, "invalid page pd_lower 0": the image of an overflow
# page behind it has lengthened the file. (Heap2/VISIBLE would do the same, but only without checksums and hint bits.)
CONSISTENCY_CHECKING = "heap2,heap,btree,gin,gist,sequence,spgist,brin,generic"
