"""Each rule finds what it is for: one violation at a time is planted into a small tree that keeps all rules."""

import os
import pathlib
import subprocess
import sys

import pytest

import rules

TABLES = """\
# Sources

| folder | may include | libraries |
|---|---|---|
| base | – | `spdlog/` |
| target | base | – |
| rewind | base, target | `nlohmann/`, `libpq-fe.h` |

| header | the one file |
|---|---|
| `libpq-fe.h` | rewind/plan.cc |

| file | what it writes |
|---|---|
| base/log.cc | a log |
"""

GOOD = {
    "README.md": "# Project\n\n[more](docs/more.md#a-heading-and-more)\n\n```sh\n./dev test\n```\n",
    "docs/more.md": "# More\n\n## A `heading`, and more\n\nBack to the [start](../README.md), or [here](#more).\n",
    ".ci/run": "#!/bin/sh\nexec ./dev test\n",
    "scripts/good.sh": "#!/bin/bash\nwork() {\n  echo done\n}\nwork\n",
    "src/README.md": TABLES,
    "src/CMakeLists.txt": "add_module(base DEPENDS spdlog::spdlog)\nadd_module(rewind DEPENDS base target)\n",
    "src/base/log.h": "// Lines for people and machines.\n#pragma once\n#include <string>\nvoid Log(const std::string& line);\n",
    "src/base/log.cc": '#include "base/log.h"\n\n#include <spdlog/fmt/fmt.h>\n#include <unistd.h>\n\n'
                       "void Log(const std::string& line) {\n  ::write(2, line.data(), line.size());\n}\n",
    "src/target/file.cc": "#include <fcntl.h>\nint Open() {\n  return ::open(\"x\", O_RDWR | O_CREAT);\n}\n",
    "src/rewind/facts.h": '// What is known, and by nobody implemented.\n#pragma once\n#include "base/log.h"\n',
    "src/rewind/plan.h": '// What happens to each file. See docs/more.md.\n#pragma once\n#include "base/log.h"\n',
    "src/rewind/plan.cc": '#include "rewind/plan.h"\n#include <libpq-fe.h>\n#include <sys/stat.h>\n'
                          "// Calls unlink(), which only target may.\n"
                          'const char* Words() {\n  return "rename(x)";\n}\nvoid F() { target.write(1); plan.rename(2); }\n',
    "tests/CMakeLists.txt": "foreach(folder base rewind)\n",
    "tests/unit/rewind/plan_test.cc": "int x;\n",
}


def plant(root, files):
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        if path in (".ci/run", "scripts/good.sh"):
            file.chmod(0o755)


@pytest.fixture
def tree(tmp_path, monkeypatch):
    # Not part of any checkout around it, and nothing remembered of an earlier run.
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "no-such-repository"))
    monkeypatch.setenv("PG_REJOIN_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "tree"
    plant(root, GOOD)
    return rules.Tree(root)


def long_function(lines):
    return "int F(int a,\n      int b) {\n" + "  a += b;\n" * (lines - 4) + "  return a;\n}\n"


PLANTED = [
    (rules.include_table, {"src/base/x.cc": '#include "rewind/plan.h"\n'}, "base may not include rewind"),
    (rules.include_table, {"src/target/x.cc": '#include "target/../base/log.h"\n#include "rewind/plan.h"\n'},
     "target may not include rewind"),
    (rules.include_table, {"src/target/x.cc": "#include <nlohmann/json.hpp>\n"}, "target may not include <nlohmann/json.hpp>"),
    (rules.include_table, {"src/target/x.cc": "#include <libpq-fe.h>\n"}, "target may not include <libpq-fe.h>"),
    (rules.include_table, {"src/base/x.cc": '#include "log.h"\n'}, "no file src/log.h"),
    (rules.include_table, {"src/other/x.cc": "int x;\n"}, "folder other has no row"),
    (rules.include_table, {"src/README.md": TABLES.replace("| base | – |", "| base | rewind |")}, "circle among base, rewind"),
    (rules.include_table, {"src/README.md": TABLES.replace("| target | base |", "| target | base, gone |")},
     "names gone, which has no row"),
    (rules.include_table, {"src/CMakeLists.txt": "add_module(base DEPENDS target)\n"}, "base links target"),
    (rules.heavy_headers, {"src/rewind/other.cc": "#include <libpq-fe.h>\n"}, "is for src/rewind/plan.cc alone"),
    (rules.heavy_headers, {"src/rewind/plan.h": "// What happens to each file.\n#pragma once\n#include <nlohmann/json.hpp>\n"},
     "json_fwd.hpp"),
    (rules.one_writer, {"src/rewind/x.cc": 'void F() { ::unlink("x"); }\n'}, "changes a directory (unlink("),
    (rules.one_writer, {"src/rewind/x.cc": 'int F() { return open("x", O_WRONLY); }\n'}, "opens a file for writing (O_WRONLY"),
    (rules.one_writer, {"src/rewind/x.cc": "void F(int fd) { pwrite(fd, p, 1, 0); }\n"}, "writes (pwrite("),
    (rules.one_writer, {"src/rewind/x.cc": "void F(int fd) { ::ftruncate(fd, 0); }\n"}, "changes a file's length"),
    (rules.one_writer, {"src/rewind/x.cc": 'void F() { mkdir("x", 0700); }\n'}, "changes a directory (mkdir("),
    (rules.one_writer, {"src/rewind/x.cc": 'void F() { std::rename("x", "y"); }\n'}, "changes a directory (rename("),
    (rules.one_writer, {"src/rewind/x.cc": 'void F() { std::remove("x"); }\n'}, "removes a file"),
    (rules.one_writer, {"src/rewind/x.cc": "void F() { std::filesystem::remove_all(x); }\n"}, "changes a file"),
    (rules.one_writer, {"src/rewind/x.cc": 'void F() { std::ofstream out("x"); }\n'}, "opens a file for writing"),
    (rules.one_writer, {"src/rewind/x.h": 'inline void F() { fopen("x", "w"); }\n'}, "opens a file for writing"),
    (rules.one_writer, {"src/rewind/x.cc": "void F() { fchmod(fd, 0600); }\n"}, "changes a file's attributes"),
    (rules.one_writer, {"src/rewind/x.cc": 'void F() { execlp("postgres", "x"); }\n'}, "runs another program"),
    (rules.one_writer, {"src/main.cc": 'int main() { system("rm"); }\n'}, "runs another program"),
    (rules.one_writer, {"src/base/log.cc": "int x;\n"}, "is listed as a writer and changes nothing"),
    (rules.tests_mirror_sources, {"tests/unit/rewind/gone_test.cc": "int x;\n"}, "no src/rewind/gone.cc"),
    (rules.tests_mirror_sources, {"tests/unit/rewind/plan.cc": "int x;\n"}, "unit tests are named"),
    (rules.tests_mirror_sources, {"tests/unit/target/file_test.cc": "int x;\n"}, "tests/unit/target is not built"),
    (rules.header_comments, {"src/base/x.h": "#pragma once\n// Too late, here it is.\n"}, "begins with a comment"),
    (rules.header_comments, {"src/base/x.h": "// A header that is included twice.\nint x;\n"}, "no #pragma once"),
    (rules.self_contained_headers, {"src/base/x.h": "// Needs what it does not include.\n#pragma once\nstd::string x();\n"},
     "does not compile by itself"),
    (rules.self_contained_headers, {"src/base/log.h": "// Taken from below others' feet.\n#pragma once\nlog::Missing x;\n"},
     "src/rewind/facts.h:1: does not compile by itself"),
    (rules.self_contained_headers, {"src/rewind/plan.cc": '#include "base/log.h"\n#include "rewind/plan.h"\n'},
     "plan.cc:1: includes its own header first"),
    (rules.function_length, {"src/base/x.cc": long_function(71)}, "x.cc:1: function of 71 lines"),
    (rules.function_length, {"src/base/x.cc": "struct S {\n" + "".join(
        f"  {line}\n" for line in long_function(80).splitlines()) + "};\n"}, "x.cc:2: function of 80 lines"),
    (rules.function_length, {"scripts/good.sh": "#!/bin/bash\nwork() {\n" + "  :\n" * 80 + "}\n"}, "function of 82 lines"),
    (rules.function_length, {"bench/x.py": "def f():\n" + "    f()\n" * 80}, "function of 81 lines"),
    (rules.links, {"docs/x.md": "[a](gone.md)\n"}, "link to nowhere: gone.md"),
    (rules.links, {"docs/x.md": "[a](more.md#gone)\n"}, "no such heading: more.md#gone"),
    (rules.links, {"docs/x.md": "[a](../../outside)\n"}, "link to nowhere: ../../outside"),
    (rules.links, {"src/base/x.cc": "// Why: docs/gone.md.\n"}, "no docs/gone.md"),
    (rules.no_machine_paths, {"scripts/x.py": 'open("' + "/home" + '/me/x")\n'}, "absolute path of a machine"),
    (rules.nothing_for_later, {"src/base/x.cc": "// TO" + "DO: more\n"}, "open an issue"),
    (rules.nothing_for_later, {"docs/x.md": "<!-- FIX" + "ME -->\n"}, "open an issue"),
    (rules.clean_text, {"docs/x.md": "no end"}, "no newline at the end"),
    (rules.clean_text, {"docs/x.md": "a \nb\n"}, "x.md:1: white space"),
    (rules.clean_text, {"docs/x.md": "a\r\n"}, "x.md:1: white space"),
    (rules.clean_text, {"scripts/x.sh": "#!/bin/sh\n:\n"}, "may not be run"),
    (rules.clean_text, {"docs/x.md": "0123456789\n" * 30_000}, "more than"),
    (rules.documented_command, {".ci/run": "#!/bin/sh\nexec ./dev build\n"}, "runs something else"),
    (rules.documented_command, {"README.md": "# No command\n"}, "no test command"),
]


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_good_tree_passes(tree, rule):
    assert not [str(f) for f in rule(tree)]


@pytest.mark.parametrize("rule, files, expected", PLANTED, ids=lambda value: getattr(value, "__name__", ""))
def test_violation_is_found(tree, rule, files, expected):
    plant(tree.root, files)
    found = [str(f) for f in rule(tree)]
    assert any(expected in text for text in found), found


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, _, _ in PLANTED} == set(rules.RULES)


def test_stricter_than_the_limit_only(tree):
    plant(tree.root, {"src/base/x.cc": long_function(rules.FUNCTION_LINES_MAX)})
    assert not list(rules.function_length(tree))


def test_a_header_is_compiled_again_when_what_it_includes_changes(tree):
    assert not list(rules.self_contained_headers(tree))
    plant(tree.root, {"src/base/log.h": "// Broken in the meantime, by someone.\n#pragma once\nbroken\n"})
    again = rules.Tree(tree.root)
    assert {f.path for f in rules.self_contained_headers(again)} == {"src/rewind/facts.h"}


@pytest.mark.parametrize("body, status", [("pass", 0), ("pytest.skip('no server')", 1), ("assert False", 1)])
def test_a_run_with_a_skipped_test_fails(tmp_path, body, status):
    (tmp_path / "test_x.py").write_text(f"import pytest\ndef test_it():\n    {body}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "never_skips", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parent)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout
