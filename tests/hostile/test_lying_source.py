"""A source that lies, and the real program against it: it refuses or finishes what is right, writes nothing outside of
its directory, stays small, says what was wrong, and leaves a directory that is untouched or can be finished.

Each case is one lie (harness/hostile_source.py); everything else comes from a real server. What a source says about the
*content* of pages cannot be found out and is not in here.
"""

import os
import re
import struct
import subprocess
import threading
import time
from dataclasses import dataclass

import pytest

from harness import environment as envm
from harness import oracle, scenario, tree
from harness.hostile_source import (Cut, Greeting, HostileSource, Lie, Messages, Rows, data_row, error_response, hang_up,
                                    message)
from harness.tools import Run

MAJOR = 17
SECRET = "canary-5e1d"
PEAK_MB = 300
FENCED_VERSION = 99_999_990
CONTROL = "global/pg_control"


# ---- the attack


@pytest.fixture(scope="module")
def prepared(shared_directory, templates, tool):
    """One diverged pair, whose target is restored for each case."""
    pair = scenario.start_pair(shared_directory(), templates, MAJOR, 4711, segment_mb=1)
    scenario.diverge(pair, "kill", steps=6, checkpoint_source=tool.needs_checkpoint)
    ready = scenario.Prepared(pair)
    ready.before = tree.snapshot(ready.pristine)
    yield ready
    pair.close()


@pytest.fixture
def victim(prepared, directory):
    """The target, with something beside it that has to stay."""
    node = prepared.fresh_target(directory)
    canary = directory / "canary"
    canary.mkdir()
    (canary / "keep").write_text("untouched\n")
    for path in (canary, canary / "keep"):
        envm.give(path)
    yield node
    node.kill()


@dataclass
class Result:
    run: Run
    peak_mb: int
    untouched: bool


def attack(prepared, victim, tool, lie: Lie, **conninfo) -> Result:
    """Runs the program against the lie and checks what holds whatever was said."""
    outside = surroundings(victim)
    with HostileSource(prepared.source, lie) as source:
        run, peak_mb = run_measured(tool, victim, source.conninfo(**conninfo))
    print(run.describe(), f"peak {peak_mb} MB, told {lie.told} times")
    assert lie.told, "the lie was never told"
    assert run.status in (0, 1), run.describe()
    assert peak_mb < PEAK_MB
    assert not re.search(r"[^\n\x20-\x7e]", run.output), "control characters in the output"
    assert SECRET not in run.output, "a password in the output"
    assert tree.changes(outside, surroundings(victim)) == []
    changed = tree.changes(prepared.before, tree.snapshot(victim.data))
    return Result(run, peak_mb, not [c for c in changed if "rejoin" not in c])


def surroundings(victim) -> dict:
    """Everything beside the data directory, but for the lock that is there to stay."""
    inside = (victim.data.name + "/", victim.data.name + ".lock")
    return {path: what for path, what in tree.snapshot(victim.directory).items()
            if path != victim.data.name and not path.startswith(inside)}


def run_measured(tool, victim, conninfo: str):
    begin = time.monotonic()
    args = tool.args(victim.data, conninfo, "-R")
    process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               env=envm.clean_env(), **envm.plain_user())
    timer = threading.Timer(60, process.kill)
    timer.start()
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    timer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    run = Run(args, process.returncode, output.decode(errors="backslashreplace"), "", time.monotonic() - begin)
    return run, usage.ru_maxrss // 1024


def finishes(prepared, victim, tool) -> None:
    """The lie has ended: an honest run finishes the job, and the server starts and catches up."""
    tool.rewind(victim.data, prepared.conninfo(), "-R").ok()
    victim.start()
    assert victim.value("SELECT pg_is_in_recovery()")
    victim.wait_replay(prepared.source.flush_lsn())
    victim.stop("immediate")


def refused(prepared, victim, tool, lie: Lie, says: str, **conninfo) -> None:
    """An error that names what is wrong; the directory is as it was, or fenced and can be finished."""
    result = attack(prepared, victim, tool, lie, **conninfo)
    assert result.run.status == 1, result.run.describe()
    assert re.search(says, result.run.output, re.IGNORECASE), f"no {says!r} in: {result.run.describe()}"
    if not result.untouched:
        version = struct.unpack_from("<I", (victim.data / CONTROL).read_bytes(), 8)[0]
        assert version == FENCED_VERSION, "the directory is half-made and a server would start on it"
        finishes(prepared, victim, tool)


def before_fence(prepared, victim, tool, lie: Lie, says: str, **conninfo) -> None:
    """Refused, and nothing but our own folders was changed."""
    result = attack(prepared, victim, tool, lie, **conninfo)
    assert result.run.status == 1, result.run.describe()
    assert re.search(says, result.run.output, re.IGNORECASE), f"no {says!r} in: {result.run.describe()}"
    assert result.untouched, "the directory was changed"


def first(row) -> bool:
    return row.request.number == 0 and row.index == 0


# ---- names


def entry(path: bytes, size=b"0", isdir=b"f", link=None) -> list:
    return [path, size, isdir, link]


def listed(*entries) -> Rows:
    """These come first in the list of files."""
    return Rows("list", lambda row: [*entries, row.fields], first)


NAMES = {
    "absolute": (b"/etc/passwd", "absolute path"),
    "absolute-own": (b"/", "absolute path"),
    "parent": (b"..", "not canonical"),
    "above": (b"../canary/new", "not canonical"),
    "up-and-down": (b"a/../../b", "not canonical"),
    "deep-above": (b"base/../../canary/keep", "not canonical"),
    "deep-end": (b"base/..", "not canonical"),
    "dot": (b"./postgresql.conf", "not canonical"),
    "dot-inside": (b"base/./5", "not canonical"),
    "double-slash": (b"base//5", "not canonical"),
    "slash-at-end": (b"base/", "not canonical"),
    "only-slashes": (b"base///", "not canonical"),
    "empty": (b"", "empty path"),
    "nul": (b"base/5\0/../../canary", "control character"),
    "newline": (b"base\n/5", "control character"),
    "tab": (b"base\t", "control character"),
    "escape": (b"\x1b[2J\x1b]0;owned\x07", "control character"),
    "delete": (b"base/\x7f", "control character"),
    "long-name": (b"n" * 256, "too long"),
    "4-KiB": (b"p/" * 2048 + b"x", "too long"),
    "1-MiB": (b"x" * (1 << 20), "too long"),
    "64-MiB": (b"x" * (64 << 20), "too long"),
    "backslash-above": (b"..\\..\\canary/../..", "not canonical"),
    "not-utf8-above": (b"\xff/../\xfe", "not canonical"),
}


@pytest.mark.parametrize("name", NAMES)
def test_name(prepared, victim, tool, name):
    path, says = NAMES[name]
    before_fence(prepared, victim, tool, listed(entry(path)), says)


def test_name_that_no_query_can_ask_for(prepared, victim, tool):
    """0xff is a file name and no UTF-8."""
    before_fence(prepared, victim, tool, listed(entry(b"caf\xe9.txt", b"10")), "not UTF-8")


HARMLESS = {
    "prefix-twin": [entry(b"base/5/1x", b"3"), entry(b"basement", b"3"), entry(b"pg_wal2", b"0", b"t"),
                    entry(b"pg_wal2/000000010000000000000001", b"3"), entry(b"globalx/pg_control", b"3")],
    "case-twin": [entry(b"BASE", b"0", b"t"), entry(b"BASE/5", b"0", b"t"), entry(b"Global", b"0", b"t"),
                  entry(b"PG_version", b"3")],
    "ours": [entry(b"pg_rejoin", b"0", b"t"), entry(b"pg_rejoin/journal", b"3"), entry(b"pg_wal/pg_rejoin", b"0", b"t"),
             entry(b"pg_wal/pg_rejoin/diverged.done", b"3")],
    "configuration": [entry(b"postgresql.conf", b"3"), entry(b"recovery.signal", b"0"), entry(b"backup_label", b"9")],
    "version-link": [entry(b"PG_VERSION", link=b"/etc/passwd")], "version-directory": [entry(b"PG_VERSION", b"0", b"t")],
    "twice": [entry(b"PG_VERSION", b"3"), entry(b"PG_VERSION", b"3")],
}


@pytest.mark.parametrize("what", HARMLESS)
def test_harmless_entries(prepared, victim, tool, what):
    """Names that look like PostgreSQL's and are not, and that are there for nobody: the result is right."""
    journal_and_label = [victim.data / p for p in ("pg_rejoin", "recovery.signal", "backup_label.old")]
    lie = Rows("list", lambda row: [*HARMLESS[what], row.fields], lambda row: row.index == 0)
    result = attack(prepared, victim, tool, lie)
    if result.run.status == 0:
        assert not any(p.exists() for p in journal_and_label)
    finishes(prepared, victim, tool)


# ---- links and types

LINKS = {
    "tablespace-etc": ([entry(b"pg_tblspc/99999", link=b"/etc"), entry(b"pg_tblspc/99999/passwd", b"9")], "tablespace"),
    "tablespace-root": ([entry(b"pg_tblspc/99999", link=b"/")], "tablespace"),
    "tablespace-long": ([entry(b"pg_tblspc/99999", link=b"/" + b"x" * (1 << 20))], "tablespace"),
    "tablespace-escape": ([entry(b"pg_tblspc/9\xc2\x9b1", link=b"/\x1b[31m")], "tablespace"),
    "tablespace-loop": ([entry(b"pg_tblspc/99998", link=b"/pg_tblspc/99999"),
                         entry(b"pg_tblspc/99999", link=b"/pg_tblspc/99998")], "tablespace"),
    "control-file": ([entry(b"global", link=b"/etc")], "different type"),
    "base": ([entry(b"base", link=b"/etc")], "different type"),
    "database": ([entry(b"base/5", link=b"/etc")], "different type"),
    "relation": ([entry(b"base/5/999999", link=b"/etc/passwd")], "not a regular file"),
    "catalog": ([entry(b"base/5/1259", link=b"/etc/passwd")], "different type|not a regular file"),
    "foreign": ([entry(b"extra", link=b"/etc")], "tablespace|link"),
    "wal": ([entry(b"pg_xact", link=b"/etc")], "different type"),
}


@pytest.mark.parametrize("where", LINKS)
def test_link(prepared, victim, tool, where):
    entries, says = LINKS[where]
    names = {e[0] for e in entries}
    first_names = Rows("list", lambda row: ([*entries] if first(row) else []) + ([row.fields] if row.fields[0] not in names else []),
                       lambda row: row.request.number == 0)
    before_fence(prepared, victim, tool, first_names, says)


def test_tablespace_link_to_the_data_directory(prepared, victim, tool):
    own = str(victim.data).encode()
    before_fence(prepared, victim, tool, listed(entry(b"pg_tblspc/99999", link=own)), "tablespace")


def replaced(path: bytes, *fields, number=0) -> Rows:
    """The entry of a path that is listed."""
    return Rows("list", lambda row: [list(fields)], lambda row: row.request.number == number and row.fields[0] == path)


TYPES = {
    "directory-as-file": ((b"base", b"10", b"f", None), "different type"),
    "database-as-file": ((b"base/5", b"10", b"f", None), "different type"),
    "catalog-as-directory": ((b"base/5/1259", b"0", b"t", None), "different type|not a regular file"),
    "transactions-as-file": ((b"pg_xact", b"8192", b"f", None), "different type"),
}


@pytest.mark.parametrize("what", TYPES)
def test_type(prepared, victim, tool, what):
    fields, says = TYPES[what]
    before_fence(prepared, victim, tool, replaced(fields[0], *fields), says)


@pytest.mark.parametrize("path", [b"global/pg_control", b"PG_VERSION", b"base", b"pg_xact"])
def test_list_without_what_every_server_has(prepared, victim, tool, path):
    """Missing in a list means removed on the target: a list that is cut short must not be believed."""
    gone = Rows("list", lambda row: [], lambda row: row.fields[0] == path or row.fields[0].startswith(path + b"/"))
    before_fence(prepared, victim, tool, gone, path.decode())


def test_empty_list(prepared, victim, tool):
    before_fence(prepared, victim, tool, Rows("list", lambda row: []), "WAL segment|list of files")


# ---- sizes

SIZES = {
    "negative": b"-1", "smallest": b"-9223372036854775808", "2^63": b"9223372036854775808", "2^64": b"18446744073709551616",
    "2^63-1": b"9223372036854775807", "2^46+1": b"70368744177665", "text": b"many", "trailing": b"12abc", "empty": b"",
    "null": None, "exponent": b"1e5", "blank": b" 5", "plus": b"+5", "fraction": b"8192.0", "digits": b"1" * 100_000,
}


@pytest.mark.parametrize("size", SIZES)
def test_size(prepared, victim, tool, size):
    before_fence(prepared, victim, tool, listed(entry(b"base/5/999999", SIZES[size])), "unexpected file size")


HUGE = {
    "new-relation": [entry(b"base/5/999999", b"%d" % (1 << 46))],
    "fork": [entry(b"base/5/1259_fsm", b"%d" % (1 << 46))],
    "sum-wraps": [entry(b"base/5/%d" % n, b"%d" % (1 << 46)) for n in range(1_000_000, 1_000_000 + (1 << 18))],
}


@pytest.mark.parametrize("what", HUGE)
def test_more_than_fits(prepared, victim, tool, what):
    before_fence(prepared, victim, tool, listed(*HUGE[what]), "disk space|file size|in all")


def test_relation_that_is_huge(prepared, victim, tool):
    fields = (b"base/5/1259", b"%d" % (1 << 45), b"f", None)
    before_fence(prepared, victim, tool, replaced(fields[0], *fields), "disk space|size")


def test_relation_that_grows_for_ever(prepared, victim, tool):
    """The list is asked for once more behind the copy, for what relations have grown by."""
    fields = (b"base/5/1259", b"%d" % (1 << 46), b"f", None)
    refused(prepared, victim, tool, replaced(fields[0], *fields, number=1), "size|File too large|space")


def many_entries(count: int):
    rows = b"".join(data_row(entry(b"extra/%07d" % n, isdir=b"f")) for n in range(10_000))
    for n in range(count // 10_000):
        yield rows.replace(b"extra/", b"e%04d/" % n)
    yield message(b"C", b"SELECT 1\0")


def test_a_million_files(prepared, victim, tool):
    """More than there are, and memory for them all."""
    before_fence(prepared, victim, tool, Messages("list", lambda: many_entries(1_000_000), first), "WAL segment|list of files")


# ---- pieces of files


RELATION = r"base/\d+/\d+(_\w+)?"  # behind the fence, asked for by its exact length
SEGMENT = r"pg_wal/[0-9A-F]{24}"  # before it


def chunk(change, where: str, number=0) -> Rows:
    """The number-th piece of files of such a name."""
    seen = []

    def at(row):
        if not re.fullmatch(where, row.path):
            return False
        seen.append(row)
        return len(seen) == number + 1

    return Rows("fetch", change, at)


CHUNKS = {
    "one-byte-longer": (lambda r: [[r.fields[0], r.fields[1] + b"x"]], "longer than asked"),
    "1-MiB-longer": (lambda r: [[r.fields[0], r.fields[1] + b"x" * (1 << 20)]], "longer than asked"),
    "64-MiB-longer": (lambda r: [[r.fields[0], b"x" * (64 << 20)]], "longer than asked"),
    "next-number": (lambda r: [[struct.pack("!q", r.index + 2), r.fields[1]]], "unexpected row number"),
    "number-0": (lambda r: [[struct.pack("!q", 0), r.fields[1]]], "unexpected row number"),
    "number-negative": (lambda r: [[struct.pack("!q", -1), r.fields[1]]], "unexpected row number"),
    "number-huge": (lambda r: [[b"\x7f" + b"\xff" * 7, r.fields[1]]], "unexpected row number"),
    "number-of-4-bytes": (lambda r: [[struct.pack("!i", r.index + 1), r.fields[1]]], "unexpected row number"),
    "number-null": (lambda r: [[None, r.fields[1]]], "unexpected row number"),
    "number-as-text": (lambda r: [[b"1", r.fields[1]]], "unexpected row number"),
    "number-of-1-MiB": (lambda r: [[b"1" * (1 << 20), r.fields[1]]], "unexpected row number"),
    "twice": (lambda r: [r.fields, r.fields], "unexpected row"),
    "not-at-all": (lambda r: [], "unexpected (row number|end of rows)"),
    "one-column": (lambda r: [[r.fields[0]]], "column|fields|unexpected|expected"),
    "three-columns": (lambda r: [[*r.fields, b"x"]], "column|fields|unexpected|expected"),
}


@pytest.mark.parametrize("where", [RELATION, SEGMENT], ids=["relation", "wal"])
@pytest.mark.parametrize("what", CHUNKS)
def test_chunk(prepared, victim, tool, what, where):
    change, says = CHUNKS[what]
    refused(prepared, victim, tool, chunk(change, where), says)


DIGESTS = {
    "of-31-bytes": (lambda r: [[r.fields[0], r.fields[1][:-1]]], "unexpected digest"),
    "of-33-bytes": (lambda r: [[r.fields[0], r.fields[1] + b"x"]], "unexpected digest"),
    "empty": (lambda r: [[r.fields[0], b""]], "unexpected digest"),
    "of-64-MiB": (lambda r: [[r.fields[0], b"x" * (64 << 20)]], "unexpected digest"),
    "next-number": (lambda r: [[struct.pack("!q", r.index + 2), r.fields[1]]], "unexpected row number"),
    "twice": (lambda r: [r.fields, r.fields], "unexpected row"),
    "not-at-all": (lambda r: [], "unexpected (row number|end of rows)"),
    "one-column": (lambda r: [[r.fields[0]]], "unexpected"),
}


@pytest.mark.parametrize("what", DIGESTS)
def test_digest(prepared, victim, tool, what):
    change, says = DIGESTS[what]
    before_fence(prepared, victim, tool, Rows("digest", change, first), says)


@pytest.mark.parametrize("what", [None, bytes(32)], ids=["gone", "zeros"])
def test_digest_of_other_content(prepared, victim, tool, what):
    """Then the files are copied."""
    lie = Rows("digest", lambda row: [[row.fields[0], what]])
    assert attack(prepared, victim, tool, lie).run.status == 0
    victim.make_standby(prepared.source)  # not of the liar, who is gone
    oracle.light(victim, prepared.source)


def test_rows_without_end(prepared, victim, tool):
    rows = [data_row([struct.pack("!q", n + 1), b"x"]) for n in range(1 << 17)]
    refused(prepared, victim, tool, Messages("fetch", rows, silent=False), "longer than asked|more rows|unexpected")


@pytest.mark.parametrize("what", ["null", "empty", "half"])
def test_wal_that_is_gone(prepared, victim, tool, what):
    """While it is fetched, before anything has changed."""
    pieces = {"null": None, "empty": b"", "half": b"\0" * 4096}
    lie = chunk(lambda r: [[r.fields[0], pieces[what]]], SEGMENT, 1)
    before_fence(prepared, victim, tool, lie, "removed WAL|can be read to|could not read WAL")


def altered(offset: int, value: bytes):
    """A piece of WAL with other bytes at an offset of each of its pages."""
    def change(row):
        data = bytearray(row.fields[1])
        for page in range(0, len(data) - offset - len(value), 8192):
            data[page + offset:page + offset + len(value)] = value
        return [[row.fields[0], bytes(data)]]
    return change


WAL = {
    "zeros": (0, b"\0" * 8192), "other-magic": (0, b"\x00\x01"), "unknown-flags": (2, b"\xf0\xf0"),
    "timeline-0": (4, b"\0" * 4), "timeline-99": (4, struct.pack("<I", 99)), "other-address": (8, b"\xff" * 8),
    "no-continuation": (16, struct.pack("<I", 0xfffffff0)), "noise": (200, bytes(range(256)) * 4),
    "record-length-0": (24, b"\0" * 4), "record-of-4-GB": (24, b"\xff" * 4), "other-system": (24, b"\x01" * 8),
}


@pytest.mark.parametrize("what", WAL)
def test_damaged_wal(prepared, victim, tool, what):
    lie = Rows("fetch", altered(*WAL[what]), lambda row: row.path.startswith("pg_wal/0"))
    before_fence(prepared, victim, tool, lie, "WAL")


# ---- control file


def control(change, number=None) -> Rows:
    return Rows("read", lambda row: [[change(row.fields[0])]],
                lambda row: row.path == CONTROL and number in (None, row.request.number))


def patched(offset: int, value: bytes):
    """Other bytes under a right checksum."""
    def change(content):
        raw = bytearray(content)
        raw[offset:offset + len(value)] = value
        struct.pack_into("<I", raw, 288, crc32c(raw[:288]))
        return bytes(raw)
    return change


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


u32 = struct.Struct("<I").pack
CONTROLS = {
    "other-system": (patched(0, b"\x01" * 8), "different systems"),
    "control-version": (patched(8, u32(1300)), "control version"),
    "catalog-version": (patched(12, u32(199912311)), "not supported|damaged"),
    "major": (patched(12, u32(202209061)), "not supported|PostgreSQL|version"),
    "state": (patched(16, u32(99)), "database state"),
    "alignment": (patched(204, u32(4)), "alignment"),
    "float-format": (patched(208, b"\0" * 8), "floating-point"),
    "block-size": (patched(216, u32(4096)), "block size"),
    "segment-0": (patched(220, u32(0)), "blocks a relation segment"),
    "segment-huge": (patched(220, u32(0xffffffff)), "blocks a relation segment"),
    "segment-other": (patched(220, u32(1024)), "segment size"),
    "wal-block-size": (patched(224, u32(16384)), "block size"),
    "wal-segment-0": (patched(228, u32(0)), "WAL segment size"),
    "wal-segment-odd": (patched(228, u32((1 << 20) + 1)), "WAL segment size"),
    "wal-segment-other": (patched(228, u32(1 << 24)), "segment size"),
    "no-checksums": (patched(252, u32(0)), "checksums"),
    "no-full-page-writes": (patched(56, b"\0"), "full_page_writes"),
    "checksum": (lambda c: c[:100] + bytes([c[100] ^ 1]) + c[101:], "checksum"),
    "cut": (lambda c: c[:100], "100 bytes"),
    "longer": (lambda c: c + b"\0", "more than"),
    "64-MiB": (lambda c: c + b"\0" * (64 << 20), "more than"),
    "empty": (lambda c: b"", "0 bytes"),
    "null": (lambda c: None, "no control file"),
    "zeros": (lambda c: b"\0" * 8192, "damaged|not supported|unknown"),
    "noise": (lambda c: b"\xa5" * 8192, "damaged|not supported|unknown"),
    "fenced": (patched(8, u32(FENCED_VERSION)), "control version|rewind|rewound"),
}


@pytest.mark.parametrize("what", CONTROLS)
def test_control_file(prepared, victim, tool, what):
    change, says = CONTROLS[what]
    before_fence(prepared, victim, tool, control(change), says)


# ---- who it is

IDENTITY = {
    "lsn-text": (1, b"everywhere", "unexpected LSN"),
    "lsn-empty": (1, b"", "unexpected LSN"),
    "lsn-null": (1, None, "unexpected LSN"),
    "lsn-negative": (1, b"-1/0", "unexpected LSN"),
    "lsn-long": (1, b"0" * 1000 + b"1/0", "unexpected LSN"),
    "lsn-three-parts": (1, b"1/2/3", "unexpected LSN"),
    "lsn-escape": (1, b"\x1b[2J0/1", "unexpected LSN"),
    "lsn-first": (1, b"0/0", "WAL|line|behind|position"),
    "lsn-last": (1, b"FFFFFFFF/FFFFFFFF", "WAL"),
    "lsn-far": (1, b"FF/0", "WAL"),
    "wal-file-text": (2, b"newest", "unexpected WAL file name"),
    "wal-file-lower-case": (2, b"00000002000000000000000a", "unexpected WAL file name"),
    "wal-file-timeline-0": (2, b"000000000000000000000003", "unexpected WAL file name"),
    "wal-file-long": (2, b"0000000200000000000000030", "unexpected WAL file name"),
    "wal-file-above": (2, b"../../../../../etc/passwd", "unexpected WAL file name"),
    "wal-file-null": (2, None, "unexpected WAL file name"),
    "timeline-unknown": (2, b"FFFFFFFF0000000000000003", "no pg_wal/FFFFFFFF.history"),
    "no-full-page-writes": (3, b"off", "full_page_writes"),
}


@pytest.mark.parametrize("what", IDENTITY)
def test_identity(prepared, victim, tool, what):
    column, value, says = IDENTITY[what]
    lie = Rows("identity", lambda row: [[value if n == column else f for n, f in enumerate(row.fields)]])
    before_fence(prepared, victim, tool, lie, says)


def test_primary_that_says_it_is_a_standby(prepared, victim, tool):
    """A standby may be the source, and all else about it is true."""
    lie = Rows("identity", lambda row: [[b"t", *row.fields[1:]]])
    attack(prepared, victim, tool, lie).run.ok()
    finishes(prepared, victim, tool)


LATER = {  # at the second question, behind the copy
    "in-recovery": (0, b"t"), "lsn-first": (1, b"0/0"), "lsn-last": (1, b"FFFFFFFF/FFFFFFFF"), "lsn-far": (1, b"FFF/0"),
    "timeline-unknown": (2, b"FFFFFFFF0000000000000003"), "restarted": (4, b"1999-12-31 23:59:59+00"),
}


@pytest.mark.parametrize("what", LATER)
def test_identity_behind_the_copy(prepared, victim, tool, what):
    column, value = LATER[what]
    lie = Rows("identity", lambda row: [[value if n == column else f for n, f in enumerate(row.fields)]],
               lambda row: row.request.number > 0)
    refused(prepared, victim, tool, lie, "restarted or changed|WAL|history|space")


SHAPES = {
    "no-row": lambda row: [], "two-rows": lambda row: [row.fields] * 2, "one-column": lambda row: [row.fields[:1]],
    "extra-column": lambda row: [[*row.fields, b"x"]], "a-million-rows": lambda row: [row.fields] * 1_000_000,
    "64-MiB": lambda row: [[b"x" * (64 << 20), *row.fields[1:]]],
}


SHAPED = [(kind, shape) for kind in ("session", "incarnation", "identity", "read") for shape in SHAPES
          if (kind != "session" or shape == "a-million-rows") and (kind == "identity" or shape != "one-column")
          and (kind, shape) != ("incarnation", "64-MiB")]


@pytest.mark.parametrize("kind, shape", SHAPED)
def test_shape(prepared, victim, tool, kind, shape):
    before_fence(prepared, victim, tool, Rows(kind, SHAPES[shape], first), "unexpected|column|field|more than|expected")


# ---- histories

def history(change) -> Rows:
    return Rows("read", lambda row: [[change(row.fields[0])]], lambda row: row.path.endswith(".history"))


HISTORIES = {
    "garbage": lambda h: b"\x1b[31m\0\xff\n", "empty": lambda h: b"", "null": lambda h: None,
    "decreasing": lambda h: b"1\t0/5000000\tx\n2\t0/1000000\tx\n", "zero": lambda h: b"1\t0/0\tx\n",
    "huge": lambda h: b"1\tFFFFFFFF/FFFFFFFF\tx\n", "own-timeline": lambda h: h + b"2\t0/9000000\tx\n",
    "later-timeline": lambda h: b"9\t0/9000000\tx\n", "twice": lambda h: h + h, "negative": lambda h: b"-1\t0/1\tx\n",
    "overflow": lambda h: b"4294967297\t0/1\tx\n", "no-lsn": lambda h: b"1\n", "long": lambda h: h * ((17 << 20) // len(h)),
    "elsewhere": lambda h: b"1\t0/1000100\tx\n",
}


@pytest.mark.parametrize("what", HISTORIES)
def test_history(prepared, victim, tool, what):
    before_fence(prepared, victim, tool, history(HISTORIES[what]), "history|WAL|fork|ancestor|line")


# ---- errors, messages, connections

NASTY = b"\x1b[2J\x1b]0;owned\x07\r\nfake: done " + b"\x80\xff" * 10


@pytest.mark.parametrize("kind", ["session", "incarnation", "identity", "read", "list", "fetch", "digest"])
def test_error_text(prepared, victim, tool, kind):
    lie = Messages(kind, [error_response(NASTY * 100)])
    refused(prepared, victim, tool, lie, "query on the source server failed")


def test_error_behind_the_fence(prepared, victim, tool):
    lie = Messages("fetch", [error_response(NASTY, b"58P01")], lambda row: row.path.startswith("base/"))
    refused(prepared, victim, tool, lie, "rewind incomplete|query on the source server failed")


def test_no_permission(prepared, victim, tool):
    lie = Messages("list", [error_response(NASTY, b"42501")])
    before_fence(prepared, victim, tool, lie, "Grant the rewind role")


def ask_for_password(client, _):
    """And quote it in an error."""
    client.sendall(message(b"R", struct.pack("!i", 3)))
    said = client.recv(1000)
    client.sendall(error_response(b"wrong password: " + said[5:-1] + b" \x1b[31m"))


def test_password_in_an_error(prepared, victim, tool):
    before_fence(prepared, victim, tool, Greeting(ask_for_password), "could not connect", password=SECRET)


class Tattling(Lie):
    """Has asked for the password, and quotes it in the error of a later query."""

    def greet(self, client, startup):
        client.sendall(message(b"R", struct.pack("!i", 3)))
        self.password = client.recv(1000)[5:-1]
        return True

    def answer(self, request, kind, body):
        if request.kind == "list" and kind == b"T":
            self.told += 1
            yield error_response(b"no: " + self.password)
        elif not (request.kind == "list" and kind in b"DC"):
            yield message(kind, body)


def test_password_in_a_later_error(prepared, victim, tool):
    before_fence(prepared, victim, tool, Tattling(), "query on the source server failed", password=SECRET)


def says(*data: bytes):
    return Greeting(lambda client, _: [client.sendall(d) for d in data])


GREETINGS = {
    "http": says(b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\n\r\n<h1>\x1b[31mno</h1>"),
    "ssh": says(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "nothing": says(b""),
    "reset": Greeting(lambda client, _: hang_up(client, True)),
    "zeros": says(b"\0" * 1000),
    "noise": says(bytes(range(256)) * 100),
    "error": says(error_response(NASTY)),
    "old-error": says(b"E\x1b[31mFATAL: no\n\0"),
    "error-without-end": says(b"E" + struct.pack("!i", 20000) + b"M" + b"x" * 15000),
    "unknown-authentication": says(message(b"R", struct.pack("!i", 99))),
    "kerberos": says(message(b"R", struct.pack("!i", 2))),
    "sasl-without-mechanism": says(message(b"R", struct.pack("!i", 10) + b"\0")),
    "sasl-unknown": says(message(b"R", struct.pack("!i", 10) + b"NO-SUCH\0\0")),
    "authentication-cut": says(b"R" + struct.pack("!i", 8) + b"\0\0"),
    "authentication-long": says(b"R" + struct.pack("!i", 1 << 30) + b"\0" * 100),
    "length-negative": says(b"R" + struct.pack("!i", -1)),
    "length-0": says(b"R" + struct.pack("!i", 0)),
    "ready-at-once": says(message(b"Z", b"I")),
    "data-at-once": says(data_row([b"x"])),
    "copy-at-once": says(message(b"W", b"\0\0\0")),
    "other-protocol": says(message(b"v", struct.pack("!ii", 9 << 16, 0))),
}


@pytest.mark.parametrize("what", GREETINGS)
def test_greeting(prepared, victim, tool, what):
    before_fence(prepared, victim, tool, GREETINGS[what], "could not connect", connect_timeout=2)


SSL_ANSWERS = {
    "refused": b"N", "unknown": b"X", "then-plaintext": b"S" + message(b"R", struct.pack("!i", 0)),
    "then-nothing": b"S", "error": error_response(b"no TLS here"), "http": b"HTTP/1.1 400\r\n\r\n",
}


@pytest.mark.parametrize("mode", ["require", "verify-full"])
@pytest.mark.parametrize("what", SSL_ANSWERS)
def test_tls_is_required(prepared, victim, tool, what, mode):
    """No password goes out without it."""
    heard = []

    def speak(client, startup):
        heard.append(startup)
        client.sendall(SSL_ANSWERS[what])
        client.settimeout(0.5)
        try:
            heard.append(client.recv(10_000))
        except OSError:
            pass

    before_fence(prepared, victim, tool, Greeting(speak), "could not connect", sslmode=mode, password=SECRET,
                 connect_timeout=2)
    assert SECRET.encode() not in b"".join(heard)
    assert b"rewind_user" not in b"".join(heard)


MESSAGES = {
    "length-3": b"D" + struct.pack("!i", 3), "length-0": b"D\0\0\0\0", "length-negative": b"D" + struct.pack("!i", -5),
    "more-fields-than-columns": data_row([b"x"] * 100), "field-past-the-end": message(b"D", struct.pack("!hi", 1, 1000)),
    "field-of-minus-2": message(b"D", struct.pack("!hi", 1, -2)), "no-fields": message(b"D", b""),
    "fields-negative": message(b"D", struct.pack("!h", -1)), "unknown-type": message(b"\xff", b"x" * 100),
    "copy-in": message(b"G", b"\0\0\0"), "copy-out": message(b"H", b"\0\0\0"), "copy-both": message(b"W", b"\0\0\0"),
    "function-result": message(b"V", struct.pack("!i", -1)), "authentication": message(b"R", struct.pack("!i", 3)),
    "complete": message(b"C", b"SELECT 0\0"), "ready": message(b"Z", b"I"), "other-columns": message(b"T", struct.pack("!h", 0)),
    "long-type": message(b"T", b"\x7f\xff"), "notice-flood": message(b"N", b"SNOTICE\0M" + NASTY + b"\0\0") * 10_000,
    "notifications": message(b"A", struct.pack("!i", 1) + b"\x1b[31m\0\x1b\0") * 1000,
    "parameter": message(b"S", b"server_version\0" + b"99\0"), "empty-query": message(b"I"),
    "portal-suspended": message(b"s"), "backend-key": message(b"K", b"\0" * 8), "negotiation": message(b"v", b"\0" * 8),
}


@pytest.mark.parametrize("kind", ["read", "fetch", "digest"])
@pytest.mark.parametrize("what", MESSAGES)
def test_message(prepared, victim, tool, what, kind):
    """In the midst of an answer that goes on."""
    lie = Messages(kind, [MESSAGES[what]], silent=False)
    result = attack(prepared, victim, tool, lie)
    if result.run.status == 0 or not result.untouched:
        finishes(prepared, victim, tool)


BYTES = [0, 1, 8, 100, 500, 2_000, 10_000, 30_000, 60_000, 100_000, 200_000, 400_000, 700_000, 1_000_000, 1_500_000, 2_000_000]


@pytest.mark.parametrize("how", ["reset", "end"])
@pytest.mark.parametrize("count", BYTES)
def test_connection_ends(prepared, victim, tool, count, how):
    refused(prepared, victim, tool, Cut(count, how == "reset"), "could not connect|query on the source server failed")
