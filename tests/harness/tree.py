"""Byte-for-byte snapshots of a directory, for "untouched means untouched"."""

import hashlib
import os
import stat
from pathlib import Path


def snapshot(directory: Path) -> dict:
    """Path -> what it is: kind, permission bits, and content. Times and owners do not matter."""
    found = {}
    for folder, names, files in os.walk(directory):
        for name in [*names, *files]:
            path = Path(folder) / name
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                what = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                what = ("directory", oct(status.st_mode))
            else:
                what = ("file", oct(status.st_mode), status.st_size, hashlib.sha1(path.read_bytes()).hexdigest())
            found[str(path.relative_to(directory))] = what
    return found


def changes(before: dict, after: dict) -> list:
    """Readable lines, empty when equal."""
    lines = [f"gone: {p}" for p in sorted(before.keys() - after.keys())]
    lines += [f"new: {p}" for p in sorted(after.keys() - before.keys())]
    lines += [f"changed: {p} {before[p]} -> {after[p]}" for p in sorted(before.keys() & after.keys()) if before[p] != after[p]]
    return lines
