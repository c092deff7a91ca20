#!/usr/bin/env python3
"""Writes docs/reference/values.md from the comments of the chart's values.yaml, and docs/reference/library.md from those
of the library chart's defaults.

  tests/chart/values_reference.py        writes the files
  tests/chart/values_reference.py -      prints the first

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
LIBRARY = ROOT / "charts/pg-rejoin/charts/pg-rejoin-library/templates/_settings.tpl"
LIBRARY_REFERENCE = ROOT / "docs/reference/library.md"

HEADER = """\
# Values of the chart

<!-- Generated from charts/pg-rejoin/values.yaml by tests/chart/values_reference.py: edit the comments there. -->

`charts/pg-rejoin/values.schema.json` refuses names that are not in this table, and values of another kind.

| value | default | what |
| --- | --- | --- |
"""

LIBRARY_HEADER = """\
# The library chart

<!-- Generated from charts/pg-rejoin/charts/pg-rejoin-library/templates/_settings.tpl by tests/chart/values_reference.py:
edit the comments there. -->

`charts/pg-rejoin/charts/pg-rejoin-library` prints what pg-rejoin adds to a pod, for charts that have a PostgreSQL of their
own; the complete chart is made of the same templates. It lies inside of it, so that both are one folder to install.
How to use it: [adopt](../how-to/adopt.md), [a worked chart](../../examples/helm).

Each template is called with `dict "root" $ "settings" MAP`:

| template | prints | goes to |
| --- | --- | --- |
| `pg-rejoin-library.initContainers` | list | `initContainers`, before what touches the data directory |
| `pg-rejoin-library.containers` | list, or nothing | `containers`: the sidecar, where it is not native |
| `pg-rejoin-library.volumes` | list | `volumes` |
| `pg-rejoin-library.gateCommand` | list | the server's `command`, before what it ran (ENTRYPOINT and CMD of its image) |
| `pg-rejoin-library.serverArguments` | list | the server's `args` |
| `pg-rejoin-library.serverMounts` | list | the server's `volumeMounts` |
| `pg-rejoin-library.serverLifecycle` | map | the server's `lifecycle` |
| `pg-rejoin-library.authority` | object | a template: the authority record |
| `pg-rejoin-library.scripts` | object | a template: `clone.sh`, with `cloneImage` |
| `pg-rejoin-library.rbac` | objects | a template: Role and RoleBinding |
| `pg-rejoin-library.rules` | list | the `rules` of a Role of your own, instead |

Settings that are not in this table are refused.

| setting | default | what |
| --- | --- | --- |
"""


def settings_defaults():
    return re.search(r'pg-rejoin-library.defaults" -}}\n(.*?){{- end -}}', LIBRARY.read_text(), re.S).group(1)


def settings_table():
    return LIBRARY_HEADER + rows(settings_defaults())


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
    return HEADER + rows(text)


def rows(text):
    values = yaml.safe_load(text)
    described = {path: what for path, what in descriptions(text)}
    lines = []
    for path, what in described.items():
        if not what:
            continue
        value = lookup(values, path)
        # A group whose members are described shows its own meaning, and they show their defaults.
        group = any(described[other] for other in described if len(other) > len(path) and other[: len(path)] == path)
        default = "" if group else f"`{json.dumps(value, ensure_ascii=False)}`"
        name = ".".join(path)
        lines.append(f"| {f'**{name}**' if group else f'`{name}`'} | {default} | {what.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    reference = table(VALUES.read_text())
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(reference)
    else:
        REFERENCE.write_text(reference)
        LIBRARY_REFERENCE.write_text(settings_table())
