"""What a data directory may look like after the power went: a model of data that was not synced.

Operations that a run did (a trace of fault_shim.cc) are certain once something has synced them: the data and
length of a file by an fsync of it, a name by an fsync of the directory that holds it, everything by a syncfs.
Until then each may have reached the storage or not, in any order, names before data, and of a write any part.
"""

import bisect
import random
from dataclasses import dataclass, field
from pathlib import Path

from . import environment as envm

SECTOR = 512


@dataclass
class Op:
    kind: str  # create, truncate, write, mkdir, unlink, rename, fsync, syncfs
    path: str = "."
    to: str = ""      # rename
    offset: int = 0   # write
    length: int = 0   # write, truncate
    data_at: int = 0  # write: in the trace's data
    file: int = -1    # the file that the name meant: create, truncate, write, rename
    certain: int = -1  # index of the sync that makes it so; -1: none does


@dataclass
class Trace:
    ops: list
    data: bytes
    names: dict = field(default_factory=dict)  # path -> file, at the end


def parent(path: str) -> str:
    return path.rpartition("/")[0] or "."


def read(folder: Path) -> Trace:
    ops = []
    for line in (folder / "ops").read_text().splitlines():
        kind, *fields = line.split("\t")
        op = Op(kind, *fields[:1])
        if kind == "rename":
            op.to = fields[1]
        elif kind == "truncate":
            op.length = int(fields[1])
        elif kind == "write":
            op.offset, op.length, op.data_at = (int(f) for f in fields[1:])
        ops.append(op)
    trace = Trace(ops, (folder / "data").read_bytes())
    written = max((op.data_at + op.length for op in ops if op.kind == "write"), default=0)
    assert len(trace.data) == written, f"the trace was cut off: {len(trace.data)} of {written} bytes"
    identify(trace)
    settle(trace)
    return trace


def identify(trace: Trace) -> None:
    """Gives each file a number that it keeps under all its names."""
    names = trace.names
    for number, op in enumerate(trace.ops):
        if op.kind in ("truncate", "write", "fsync", "rename", "unlink"):
            op.file = names.setdefault(op.path, number)
        if op.kind in ("create", "mkdir"):
            op.file = names[op.path] = number
        elif op.kind == "rename":
            names[op.to] = names.pop(op.path)
        elif op.kind == "unlink":
            names.pop(op.path)


def settle(trace: Trace) -> None:
    """Finds for each operation the sync that makes it certain."""
    everything, of_file, of_directory = [], {}, {}
    for number, op in enumerate(trace.ops):
        if op.kind == "syncfs":
            everything.append(number)
        elif op.kind == "fsync":
            of_file.setdefault(op.file, []).append(number)
            of_directory.setdefault(op.path, []).append(number)

    def next_in(numbers, number):
        at = bisect.bisect_right(numbers, number)
        return numbers[at] if at < len(numbers) else None

    gone = {}  # directory that is removed later -> sync that makes this certain, and so its emptiness
    for number, op in reversed(list(enumerate(trace.ops))):
        if op.kind in ("fsync", "syncfs"):
            continue
        if op.kind in ("write", "truncate"):
            own = next_in(of_file.get(op.file, []), number)
        else:
            # Where only the old name's directory is not synced, the file may be back under that name, too.
            own = next_in(of_directory.get(parent(op.to or op.path), []), number)
        found = [n for n in (own, next_in(everything, number), gone.get(parent(op.path))) if n is not None]
        op.certain = min(found) if found else -1
        if op.kind == "unlink" and found:
            gone[op.path] = op.certain


@dataclass
class State:
    """After a power loss just before operation `end`: `lost` are those that did not reach the storage."""
    end: int
    lost: set
    torn: dict = field(default_factory=dict)  # write -> bytes of it that did


def draw(trace: Trace, rng: random.Random) -> State:
    end = rng.randint(1, len(trace.ops))
    unsure = [n for n in range(end) if trace.ops[n].kind not in ("fsync", "syncfs")
              and not 0 <= trace.ops[n].certain < end]
    how = rng.choice(["any", "any", "few", "most", "names before data", "in order", "all"])
    if how == "in order":
        kept = set(unsure[:rng.randint(0, len(unsure))])
    elif how == "names before data":
        kept = {n for n in unsure if trace.ops[n].kind not in ("write", "truncate")}
    else:
        share = {"any": 0.5, "few": 0.05, "most": 0.95, "all": 0.0}[how]
        kept = {n for n in unsure if rng.random() < share}
    torn = {}
    for n in unsure:
        op = trace.ops[n]
        if op.kind == "write" and n in kept and op.length > SECTOR and rng.random() < 0.2:
            torn[n] = rng.randrange(0, op.length, SECTOR)
    return State(end, set(unsure) - kept, torn)


def build(trace: Trace, state: State, data: Path) -> None:
    """Makes a copy of the directory from before the run be the one after the power loss."""
    where = {}  # file -> its path now; None: it never came to be

    def place(op):
        if op.file not in where:  # it was there before the run
            where[op.file] = op.path
        return where[op.file]

    for number, op in enumerate(trace.ops[:state.end]):
        if op.kind in ("fsync", "syncfs"):
            continue
        there = number not in state.lost
        if op.kind in ("create", "mkdir"):
            parent_exists = (data / op.path).parent.is_dir()
            where[op.file] = op.path if there and parent_exists else None
            if where[op.file]:
                target = data / op.path
                if op.kind == "mkdir":
                    target.mkdir(mode=0o700, exist_ok=True)
                else:
                    target.write_bytes(b"")
                    target.chmod(0o600)
                envm.give(target)
            continue
        path = place(op)
        if path is None or not there:
            continue
        target = data / path
        if op.kind == "unlink":
            if target.is_dir() and not target.is_symlink():
                if not any(target.iterdir()):
                    target.rmdir()
            else:
                target.unlink(missing_ok=True)
            where[op.file] = None
        elif op.kind == "rename":
            if target.exists() and (data / op.to).parent.is_dir():
                target.rename(data / op.to)
                where[op.file] = op.to
        elif target.is_file():
            with open(target, "r+b") as file:
                if op.kind == "truncate":
                    file.truncate(op.length)
                else:
                    file.seek(op.offset)
                    file.write(trace.data[op.data_at:op.data_at + state.torn.get(number, op.length)])


# ---- what must hold, told from the operations alone

OWN = ("pg_rejoin/", "pg_wal/pg_rejoin/")
CONTROL = "global/pg_control"
FENCED_VERSION = 99999990


def is_own(path: str) -> bool:
    return path.startswith(OWN) or path in ("pg_rejoin", "pg_wal/pg_rejoin") or path.endswith(".pg_rejoin.tmp")


class Judge:
    """Says what is wrong with a state; "" for nothing. Knows only what PostgreSQL and the next run look at."""

    def __init__(self, trace: Trace):
        self.trace = trace
        self.visible = []   # operations on what PostgreSQL sees, pg_control apart
        self.controls = []  # (operation that gives pg_control its name, fenced?, writes of its content)
        self.journals = []
        writes = {}
        for number, op in enumerate(trace.ops):
            if op.kind in ("write", "truncate"):
                writes.setdefault(op.file, []).append(number)
            if op.kind == "rename" and op.to == CONTROL:
                content = list(writes.get(op.file, []))
                first = next(trace.ops[n] for n in content if trace.ops[n].kind == "write")
                version = int.from_bytes(trace.data[first.data_at + 8:first.data_at + 12], "little")
                self.controls.append((number, version == FENCED_VERSION, content))
            elif op.kind == "rename" and op.to == "pg_rejoin/journal":
                self.journals.append((number, list(writes.get(op.file, []))))
            elif op.kind not in ("fsync", "syncfs") and not is_own(op.to or op.path):
                self.visible.append(number)

    def __call__(self, state: State) -> str:
        def arrived(number):
            return number < state.end and number not in state.lost

        def whole(numbers):
            return all(arrived(n) and n not in state.torn for n in numbers)

        named = [c for c in self.controls if arrived(c[0])]
        if not named:
            seen = [n for n in self.visible if arrived(n)]
            return f"starts, and operation {seen[0]} has changed it" if seen else ""
        _, fenced, content = named[-1]
        if not whole(content):
            return "pg_control is torn"
        if fenced:
            return "" if any(arrived(n) and whole(c) for n, c in self.journals) else "fenced without a journal"
        missing = [n for n in self.visible if n < state.end and (n in state.lost or n in state.torn)]
        return f"published without operation {missing[0]}" if missing else ""
