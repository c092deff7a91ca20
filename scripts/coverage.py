#!/usr/bin/python3
"""What the unit tests of the engine execute: a table of src, and failure where a file of BAR is below it.

    scripts/coverage.py [BUILD]      (./dev coverage builds and runs everything)

BUILD is the tree of the preset "coverage". Only the unit tests of FOLDERS run: a file is covered by tests of its own
folder, not by what happens to pass through it elsewhere. Branches are those that the source has: what the compiler adds
for exceptions is not counted.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ["pgdata", "rewind", "topology"]
# They repeat what others do, in every generated state and with a kill at every point: minutes when not optimised.
LEFT_OUT = "DecisionInvariant.*:*Killed.*"
LINES_MIN = 98.0
BRANCHES_MIN = 95.0
# Initializer lists of JSON: taking them apart after an exception makes branches that are not marked as such.
NO_BRANCHES = r'^(?!.*\b(if|for)\b).*(Json::array\(\{|\{\{("|what))'
BAR = [
    "src/pgdata/file_rules.cc",
    "src/rewind/apply.cc",
    "src/rewind/copied_blocks.cc",
    "src/rewind/journal.cc",
    "src/rewind/plan.cc",
    "src/rewind/rewind.cc",
    "src/topology/decision.cc",
]


def run_tests(build):
    for old in build.rglob("*.gcda"):
        old.unlink()
    for folder in FOLDERS:
        command = [build / "tests" / f"{folder}_test", "--gtest_brief=1", f"--gtest_filter=-{LEFT_OUT}"]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if result.returncode != 0:
            sys.exit(f"{result.stdout}coverage: {folder}_test failed")


def measure(build):
    """gcovr's files: lines with a count, and branches with one each."""
    command = ["gcovr", "--root", ROOT, "--filter", f"{ROOT}/src/", "--object-directory", build, build,
               "--exclude-throw-branches", "--exclude-unreachable-branches",
               "--exclude-branches-by-pattern", NO_BRANCHES, "--json", "-", "-j", str(os.cpu_count())]
    result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return {file["file"]: file["lines"] for file in json.loads(result.stdout)["files"]}


def share(counts):
    return 100.0 * sum(1 for count in counts if count) / len(counts) if counts else 100.0


def figures(lines):
    lines = [line for line in lines if not line["gcovr/noncode"]]
    return (share([line["count"] for line in lines]),
            share([branch["count"] for line in lines for branch in line["branches"]]))


def missed(lines):
    """"12 34b": line 12 never ran, line 34 never went one of its ways."""
    words = []
    for line in lines:
        if line["gcovr/noncode"]:
            continue
        if not line["count"]:
            words.append(str(line["line_number"]))
        elif not all(branch["count"] for branch in line["branches"]):
            words.append(f"{line['line_number']}b")
    return " ".join(words)


def main():
    build = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/coverage").resolve()
    run_tests(build)
    files = measure(build)
    failed = [path for path in BAR if path not in files]
    print(f"{'file':<40} {'lines':>7} {'branches':>9}")
    for path, lines in sorted(files.items()):
        line_share, branch_share = figures(lines)
        low = path in BAR and (line_share < LINES_MIN or branch_share < BRANCHES_MIN)
        failed += [path] if low else []
        mark = " TOO LOW" if low else " ok" if path in BAR else ""
        print(f"{path:<40} {line_share:>6.1f}% {branch_share:>8.1f}%{mark}")
    for path in (path for path in BAR if path in files):
        print(f"not covered in {path} (b: a branch): {missed(files[path]) or 'nothing'}")
    if failed:
        sys.exit(f"coverage: below {LINES_MIN:.0f} % of lines or {BRANCHES_MIN:.0f} % of branches: {', '.join(failed)}")


if __name__ == "__main__":
    main()
