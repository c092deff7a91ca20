"""What a stopped directory's pg_control says: the fields that stories check (pg_control.h; the same in 14 to 18)."""

import struct
from dataclasses import dataclass
from pathlib import Path

IN_PRODUCTION = 6


@dataclass
class Control:
    state: int
    checkpoint: int
    redo: int
    checkpoint_timeline: int
    min_recovery_point: int
    min_recovery_timeline: int


def read(data: Path) -> Control:
    raw = (data / "global" / "pg_control").read_bytes()
    state, = struct.unpack_from("<I", raw, 16)
    checkpoint, redo, timeline = struct.unpack_from("<QQI", raw, 32)
    point, point_timeline = struct.unpack_from("<QI", raw, 136)
    return Control(state, checkpoint, redo, timeline, point, point_timeline)
