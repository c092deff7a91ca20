"""Rules of the repository that no compiler checks. Each is a function of a Tree that yields Findings.

The rules about folders are data: tables in src/README.md. test_tree.py applies all rules to this checkout;
test_planted.py proves that each finds what it is for.
"""

import ast
import concurrent.futures
import functools
import hashlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

FUNCTION_LINES_MAX = 70
BLOB_BYTES_MAX = 300_000


@dataclass(frozen=True)
class Finding:
    path: str
    line: int
    text: str

    def __str__(self):
        return f"{self.path}:{self.line}: {self.text}"


class Tree:
    """A checkout: its files are those that git tracks, or would if asked to."""

    def __init__(self, root):
        self.root = Path(root)

    @functools.cached_property
    def paths(self):
        command = ["git", "-C", str(self.root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        listed = subprocess.run(command, capture_output=True, check=False)
        if listed.returncode == 0:
            names = listed.stdout.decode().split("\0")
        else:
            names = [str(p.relative_to(self.root)) for p in self.root.rglob("*")]
            names = [n for n in names if not re.match(r"(\.git|build)/|(.*/)?(__pycache__|\.pytest_cache)/", n)]
        return sorted({n for n in names if n and (self.root / n).is_file()})

    def matching(self, pattern):
        return [p for p in self.paths if re.fullmatch(pattern, p)]

    @functools.lru_cache(maxsize=None)
    def text(self, path):
        """None for what is not text. Inputs of fuzz targets are bytes, whatever they look like."""
        if path.startswith("tests/fuzz/corpus/"):
            return None
        try:
            return (self.root / path).read_bytes().decode()
        except UnicodeDecodeError:
            return None

    def lines(self, path):
        """Pairs of number and line."""
        return list(enumerate((self.text(path) or "").split("\n"), 1))

    def exists(self, path):
        return (self.root / path).exists()


# ---- the tables of src/README.md


class LayerTables:
    """What src/README.md says about folders."""

    PATH = "src/README.md"

    def __init__(self, tree):
        rows = {header: list(self._rows(tree, header)) for header in ("folder", "header", "file")}
        self.includes = {row[0]: self._words(row[1]) for row in rows["folder"]}
        self.libraries = {row[0]: self._code(row[2]) for row in rows["folder"]}
        self.only_file = {prefix: row[1] for row in rows["header"] for prefix in self._code(row[0])}
        self.writers = {row[0] for row in rows["file"]}

    def _rows(self, tree, first_header):
        """Cells of each row of the tables whose first column has that header."""
        inside = False
        for _, line in tree.lines(self.PATH):
            cells = [c.strip() for c in line.strip().strip("|").split("|")] if line.startswith("|") else []
            if not cells:
                inside = False
            elif not inside:
                inside = cells[0] == first_header
            elif not set(line) <= set("|-: "):
                yield cells

    @staticmethod
    def _words(cell):
        return set(re.findall(r"\w+", cell))

    @staticmethod
    def _code(cell):
        return re.findall(r"`([^`]+)`", cell)


def source_files(tree, pattern=r"(h|cc)"):
    return tree.matching(r"src/.*\." + pattern)


def folder_of(path):
    """"rewind" of src/rewind/plan.cc; "" of src/main.cc."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else ""


def includes_of(tree, path):
    for number, line in tree.lines(path):
        match = re.match(r'\s*#\s*include\s*([<"])([^">]+)[>"]', line)
        if match:
            yield number, match[1] == '"', match[2]


# Headers of the language and of the operating system.
SYSTEM_HEADER = re.compile(r"[a-z_0-9]+|(sys|linux|net|netinet|arpa)/[\w/]+\.h|(?!libpq)[a-z0-9_]+\.h")


def include_table(tree):
    """Folders include what their row of the table names, and the table agrees with the build."""
    tables = LayerTables(tree)
    for path in source_files(tree):
        folder = folder_of(path)
        if not folder:
            continue
        if folder not in tables.includes:
            yield Finding(path, 1, f"folder {folder} has no row in {tables.PATH}")
            continue
        for number, ours, header in includes_of(tree, path):
            if ours:
                other = header.split("/")[0]
                if not tree.exists(f"src/{header}"):
                    yield Finding(path, number, f"no file src/{header}: paths begin at src")
                elif other != folder and other not in tables.includes[folder]:
                    yield Finding(path, number, f"{folder} may not include {other}")
            elif not SYSTEM_HEADER.fullmatch(header) and not allowed_library(tables, folder, header):
                yield Finding(path, number, f"{folder} may not include <{header}>")
    yield from table_is_sound(tree, tables)


def allowed_library(tables, folder, header):
    if header.startswith("spdlog/fmt/"):
        return folder == "base" or "base" in tables.includes[folder]
    return any(header.startswith(prefix) for prefix in tables.libraries[folder])


def table_is_sound(tree, tables):
    for folder, others in tables.includes.items():
        if not tree.matching(rf"src/{folder}/.*\.(h|cc)"):
            yield Finding(tables.PATH, 1, f"row {folder}: no such folder")
        for other in others:
            if other not in tables.includes:
                yield Finding(tables.PATH, 1, f"row {folder} names {other}, which has no row")
    done = set()
    while True:
        ready = {f for f, others in tables.includes.items() if f not in done and others <= done}
        if not ready:
            break
        done |= ready
    if rest := set(tables.includes) - done:
        yield Finding(tables.PATH, 1, f"circle among {', '.join(sorted(rest))}")
    for number, line in tree.lines("src/CMakeLists.txt"):
        match = re.match(r"add_module\((\w+) DEPENDS ([^)]*)\)", line)
        if match and match[1] in tables.includes:
            linked = {w for w in match[2].split() if w in tables.includes}
            for other in sorted(linked - tables.includes[match[1]]):
                yield Finding("src/CMakeLists.txt", number, f"{match[1]} links {other}, which its row does not allow")


def heavy_headers(tree):
    """Expensive or quarantined headers are included by one file."""
    tables = LayerTables(tree)
    for path in source_files(tree):
        for number, _, header in includes_of(tree, path):
            for prefix, only in tables.only_file.items():
                if header.startswith(prefix) and path != f"src/{only}":
                    yield Finding(path, number, f"<{header}> is for src/{only} alone")
            if header == "nlohmann/json.hpp" and path.endswith(".h"):
                yield Finding(path, number, "headers include <nlohmann/json_fwd.hpp>")


# ---- one writer

# What changes a file, or could make another program do it.
CHANGING = [
    (r"\bO_(WRONLY|RDWR|CREAT|TRUNC|APPEND|TMPFILE)\b", "opens a file for writing"),
    (r"\b(creat|fopen|freopen|fdopen|mk[od]?stemps?|mkdtemp)\s*\(", "opens a file for writing"),
    (r"\bstd::(basic_)?(ofstream|fstream|filebuf)\b", "opens a file for writing"),
    (r"\b(p?writev?2?|pwrite64|copy_file_range|sendfile|splice|ioctl)\s*\(", "writes"),
    (r"\b(f?truncate|(posix_)?fallocate)\s*\(", "changes a file's length"),
    (r"\b(rename(at2?)?|(sym)?link(at)?|unlink(at)?|rmdir|mkdir(at)?|mkfifo|mknod(at)?)\s*\(", "changes a directory"),
    (r"::remove\s*\(", "removes a file"),
    (r"\b(f?chmod(at)?|[fl]?chown(at)?|utimensat|futimens|[fl]?setxattr)\s*\(", "changes a file's attributes"),
    (r"\bfilesystem::(remove|remove_all|rename|copy\w*|create_\w+|resize_file|permissions|last_write_time)\b",
     "changes a file"),
    (r"\bPROT_WRITE\b", "maps a file for writing"),
    (r"\b(system|popen|exec[lv]p?e?|execveat|posix_spawnp?|v?fork)\s*\(", "runs another program"),
]


def code_of(line):
    """The line without strings and comments."""
    return re.sub(r"//.*", "", re.sub(r'"(\\.|[^"\\])*"', '""', line))


def one_writer(tree):
    """Nothing but src/target changes a data directory; few files change any file at all."""
    tables = LayerTables(tree)
    used = set()
    for path in source_files(tree):
        if folder_of(path) == "target":
            continue
        for number, line in tree.lines(path):
            code = code_of(line)
            for pattern, what in CHANGING:
                # Not a method of ours that happens to have such a name.
                match = re.search(r"(?<![.>\w])" + pattern if pattern.startswith(r"\b") else pattern, code)
                if not match:
                    continue
                if path.removeprefix("src/") in tables.writers:
                    used.add(path.removeprefix("src/"))
                else:
                    yield Finding(path, number, f"{what} ({match[0].strip()}): only src/target may")
    for path in sorted(tables.writers - used):
        yield Finding(tables.PATH, 1, f"{path} is listed as a writer and changes nothing")


# ---- tests, headers


# The gate is a program and no library: what drives it is made of pod's parts.
MIRROR_EXCEPTIONS = {"tests/unit/pod/gate_test.cc": "src/gate/gate.cc"}


def tests_mirror_sources(tree):
    """tests/unit/<folder>/<name>_test.cc tests src/<folder>/<name>.{h,cc}."""
    for path in tree.matching(r"tests/unit/.*\.cc"):
        if tree.exists(MIRROR_EXCEPTIONS.get(path, "no such file")):
            continue
        match = re.fullmatch(r"tests/unit/(\w+)/(\w+)_test\.cc", path)
        if not match:
            yield Finding(path, 1, "unit tests are named tests/unit/<folder>/<name>_test.cc")
        elif not any(tree.exists(f"src/{match[1]}/{match[2]}.{suffix}") for suffix in ("cc", "h")):
            yield Finding(path, 1, f"no src/{match[1]}/{match[2]}.cc")
    built = re.search(r"foreach\(folder ([\w ]+)\)", tree.text("tests/CMakeLists.txt") or "")
    known = set(built[1].split()) if built else set()
    for folder in sorted({p.split("/")[2] for p in tree.matching(r"tests/unit/\w+/\w+_test\.cc")} - known):
        yield Finding("tests/CMakeLists.txt", 1, f"tests/unit/{folder} is not built")


def header_comments(tree):
    """A header says first what it is, and is included once."""
    for path in source_files(tree, "h"):
        lines = [line for _, line in tree.lines(path)]
        if not re.match(r"// \S.{15,}", lines[0]):
            yield Finding(path, 1, "a header begins with a comment that says what it is")
        if "#pragma once" not in lines:
            yield Finding(path, 1, "no #pragma once")


def self_contained_headers(tree):
    """Every header compiles by itself. The build proves it of x.h where x.cc includes it first of all; the others are
    compiled here, and not again until they, or what they include, or the compiler changes."""
    alone = []
    for path in source_files(tree, "h"):
        companion = path.removesuffix(".h") + ".cc"
        if not tree.exists(companion):
            alone.append(path)
        elif next(includes_of(tree, companion), (1, False, ""))[2] != path.removeprefix("src/"):
            yield Finding(companion, 1, "includes its own header first")

    compiler = os.environ.get("CXX", "g++")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    stamps = stamp_directory()

    def closure(path, seen):
        if path not in seen and tree.exists(path):
            seen.add(path)
            for _, ours, header in includes_of(tree, path):
                if ours:
                    closure(f"src/{header}", seen)
        return seen

    def compile_header(path):
        content = "\0".join(p + "\0" + (tree.text(p) or "") for p in sorted(closure(path, set())))
        stamp = stamps / hashlib.sha256(f"{version}\0{path}\0{content}".encode()).hexdigest()
        if stamp.exists():
            return None
        command = [compiler, "-std=c++20", "-fsyntax-only", "-x", "c++", "-I", str(tree.root / "src"), "-"]
        result = subprocess.run(command, input=f'#include "{path.removeprefix("src/")}"\n', capture_output=True,
                                text=True, check=False)
        if result.returncode == 0:
            stamp.touch()
            return None
        return Finding(path, 1, "does not compile by itself: " + result.stderr.strip()[:400])

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(compile_header, alone))


def stamp_directory():
    default = "/var/cache/pg-rejoin" if os.geteuid() == 0 else os.path.expanduser("~/.cache/pg-rejoin")
    path = Path(os.environ.get("PG_REJOIN_CACHE", default)) / "headers"
    path.mkdir(parents=True, exist_ok=True)
    return path


# ---- size


def function_length(tree):
    """Functions of programs and scripts have at most FUNCTION_LINES_MAX lines. Tests tell a story or are a table of
    cases: they may be longer."""
    for path in source_files(tree):
        yield from long_blocks(path, cpp_functions(tree.lines(path)))
    for path in tree.matching(r"(bench|e2e|scripts)/.*\.py|tests/tidy/rules\.py"):
        yield from long_blocks(path, python_functions(tree.text(path)))
    for path in tree.paths:
        if is_shell(tree, path):
            yield from long_blocks(path, shell_functions(tree.lines(path)))


def long_blocks(path, blocks):
    for first, last in blocks:
        if last - first + 1 > FUNCTION_LINES_MAX:
            yield Finding(path, first, f"function of {last - first + 1} lines; {FUNCTION_LINES_MAX} are enough")


def cpp_functions(lines):
    """Pairs of first and last line. Rests on clang-format: a function's closing brace is below the first character of
    its signature."""
    lines = [line for _, line in lines]
    for end_of_head, line in enumerate(lines):
        if not re.search(r"\).*\{$", code_of(line).rstrip()):
            continue
        first = end_of_head
        while first > 0 and re.search(r"[\w,(&|=?:*<>+-]$", code_of(lines[first - 1]).rstrip()) \
                and not re.match(r"\s*(public|private|protected|case\b.*|default):$|\s*#|\s*//", lines[first - 1]):
            first -= 1
        indent = re.match(r" *", lines[first])[0]
        for last in range(end_of_head + 1, len(lines)):
            if lines[last].startswith(indent + "}"):
                yield first + 1, last + 1
                break


def python_functions(text):
    for node in ast.walk(ast.parse(text or "")):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno


def is_shell(tree, path):
    return bool(re.match(r"#!.*\b(ba|da)?sh\b|# shellcheck shell=", tree.text(path) or ""))


def shell_functions(lines):
    first = None
    for number, line in lines:
        if re.match(r"\w+ ?\(\) *[{(]", line) and not re.search(r"[})]$", line):
            first = number
        elif first and line[:1] in ("}", ")"):
            yield first, number
            first = None


# ---- words


def links(tree):
    """Links in documents, and documents and headers named in comments, exist."""
    for path in tree.matching(r".*\.md"):
        yield from broken_links(tree, path)
    for path in tree.matching(r"(src|tests|e2e|scripts|charts|manifests|cmake|\.ci)/.*|dev|Dockerfile"):
        if path.endswith((".md", ".go", ".sum", ".mod")) or path.startswith("tests/tidy/"):
            continue
        for number, line in tree.lines(path):
            for named in re.findall(r"(?<![\w/.-])docs/[\w./-]+\.md\b", line):
                if not tree.exists(named):
                    yield Finding(path, number, f"no {named}")


def broken_links(tree, path):
    fenced = False
    for number, line in tree.lines(path):
        if line.startswith("```"):
            fenced = not fenced
        if fenced:
            continue
        for target in re.findall(r"\]\(([^()\s]+)\)", re.sub(r"`[^`]*`", "``", line)):
            if re.match(r"[a-z]+:", target):
                continue
            name, _, anchor = target.partition("#")
            linked = os.path.normpath(os.path.join(os.path.dirname(path), name)) if name else path
            if linked.startswith("..") or not tree.exists(linked):
                yield Finding(path, number, f"link to nowhere: {target}")
            elif anchor and linked.endswith(".md") and anchor not in anchors(tree.text(linked)):
                yield Finding(path, number, f"no such heading: {target}")


def anchors(text):
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", h).replace("`", "").strip().lower() for h in headings)
    return {re.sub(r"[^\w\- ]", "", h).replace(" ", "-") for h in plain}


# (The home of "postgres" is in Spilo's image.)
MACHINE_PATH = re.compile(r"(?<![\w./$}~-])/(work|root|home(?!/postgres/)|Users)/")
LATER = re.compile(r"(//|#|<!--|\*|--)\s*(TODO|FIXME|XXX|HACK)\b|\b(TODO|FIXME)[(:]")


def no_machine_paths(tree):
    """Nothing knows where it was written."""
    for path in tree.paths:
        for number, line in tree.lines(path):
            if match := MACHINE_PATH.search(line):
                yield Finding(path, number, f"absolute path of a machine: {match[0]}")


def nothing_for_later(tree):
    """What is not done is an issue, not a comment."""
    for path in tree.paths:
        for number, line in tree.lines(path):
            if match := LATER.search(line):
                yield Finding(path, number, f"{match[0].strip()}: open an issue, or do it")


def clean_text(tree):
    """Lines end cleanly, files with a newline; scripts may be run; nothing large is kept here."""
    for path in tree.paths:
        file = tree.root / path
        if file.stat().st_size > BLOB_BYTES_MAX:
            yield Finding(path, 1, f"more than {BLOB_BYTES_MAX} bytes")
        text = tree.text(path)
        if not text:
            continue
        if not text.endswith("\n"):
            yield Finding(path, text.count("\n") + 1, "no newline at the end")
        for number, line in tree.lines(path):
            if re.search(r"[ \t\r]$", line):
                yield Finding(path, number, "white space at the end of the line")
        runnable, named = os.access(file, os.X_OK), text.startswith("#!")
        if runnable and not named:
            yield Finding(path, 1, "may be run and has no #! line")
        # Files of the chart are run by name, in a ConfigMap without modes.
        if is_shell(tree, path) and named and not runnable and not path.startswith("charts/"):
            yield Finding(path, 1, "has a #! line and may not be run")


def documented_command(tree):
    """Continuous integration runs what the README tells people to run."""
    told = tree.exists("README.md") and re.findall(r"^\s*(\./dev test)\b", tree.text("README.md"), re.M)
    script = [line for _, line in tree.lines(".ci/run") if re.match(r"(exec )?\./", line)]
    if not told:
        yield Finding("README.md", 1, "no test command (./dev test)")
    if len(script) != 1 or not re.match(r"exec \./dev test( |$)", script[0]):
        yield Finding(".ci/run", 1, "runs something else than the README's test command")


RULES = [
    include_table, heavy_headers, one_writer, tests_mirror_sources, header_comments, self_contained_headers,
    function_length, links, no_machine_paths, nothing_for_later, clean_text, documented_command,
]
