#!/usr/bin/env python3
"""Writes docs/reference/values.md from the comments of the chart's values.yaml.

  tests/chart/values_reference.py        writes the file
  tests/chart/values_reference.py -      prints it

The comment lines right above a key describe it.
"""
import json
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
VALUES = ROOT / "charts/pg-rejoin/values.yaml"
REFERENCE = ROOT / "docs/reference/values.md"

HEADER = """\
# Values of the chart

<!-- Generated from charts/pg-rejoin/values.yaml by tests/chart/values_reference.py: edit the comments there. -->

`charts/pg-rejoin/values.schema.json` refuses names that are not in this table, and values of another kind.

| value | default | what |
| --- | --- | --- |
"""


def descriptions(text):
    """Yields (path, description) of each key, in the order of the file; "" where there is no comment."""
    comment, parents = [], []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith("#"):
            comment.append(stripped.lstrip("#").strip())
            continue
        key = re.match(r"( *)([A-Za-z_]\w*):", line)
        if key:
            depth = len(key.group(1)) // 2
            parents = parents[:depth] + [key.group(2)]
            yield tuple(parents), " ".join(comment)
        comment = []


def lookup(values, path):
    for key in path:
        values = values[key]
    return values


def table(text):
    values = yaml.safe_load(text)
    described = {path: what for path, what in descriptions(text)}
    rows = []
    for path, what in described.items():
        if not what:
            continue
        value = lookup(values, path)
        # A group whose members are described shows its own meaning, and they show their defaults.
        group = any(described[other] for other in described if len(other) > len(path) and other[: len(path)] == path)
        default = "" if group else f"`{json.dumps(value, ensure_ascii=False)}`"
        name = ".".join(path)
        rows.append(f"| {f'**{name}**' if group else f'`{name}`'} | {default} | {what.replace('|', chr(92) + '|')} |")
    return HEADER + "\n".join(rows) + "\n"


if __name__ == "__main__":
    reference = table(VALUES.read_text())
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(reference)
    else:
        REFERENCE.write_text(reference)
