"""tools/check_deps.py finds each kind of offence in a small tree, and none in the tree it was made from."""
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGE = """# Architecture

## Folders

| folder | what it does | may include |
|---|---|---|
| `base` | results | |
| `ops` | operations | base |
| `ops/cpu` | fast ones | ops |
| `api` | routes | base |
| `cli` | commands | everything |

## Threads
"""
CMAKE = """quern_library(base DEPS Threads::Threads)
quern_library(ops DEPS quern_base)
quern_library(ops/cpu NAME ops_cpu DEPS quern_ops)
quern_library(api DEPS quern_base simdjson::simdjson)
quern_library(cli DEPS quern_api quern_ops_cpu)
"""


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "ARCHITECTURE.md").write_text(PAGE)
    (tmp_path / "CMakeLists.txt").write_text(CMAKE)
    for path, include in [("base/a.h", "<string>"), ("ops/b.h", '"base/a.h"'), ("ops/cpu/c.cc", '"ops/b.h"'), ("ops/cpu/c_test.cc", '"cli/d.h"'),
                          ("api/e.cc", '"base/a.h"'), ("cli/d.h", '"ops/cpu/c.h"'), ("main.cc", '"cli/d.h"')]:
        file = tmp_path / "src" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#include {include}\n")
    return tmp_path


def check(tree):
    done = subprocess.run([sys.executable, ROOT / "tools/check_deps.py", tree], capture_output=True, text=True)
    return done.returncode, done.stdout


def replace(file, old, new):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_tree_that_keeps_to_its_table_passes(tree):
    assert check(tree) == (0, "dependency check: 7 files, 0 offences\n")


@pytest.mark.parametrize("damage,offence", [
    (lambda t: (t / "src/ops/b.h").write_text('#include "api/e.h"\n'), "src/ops/b.h:1: ops may not include api (allowed: base, ops)"),
    (lambda t: (t / "src/ops/b.h").write_text('#include "ops/cpu/c.h"\n'), "src/ops/b.h:1: ops may not include ops/cpu"),
    (lambda t: (t / "src/base/a.h").write_text('\n  #  include "ops/b.h"\n'), "src/base/a.h:2: base may not include ops"),
    (lambda t: (t / "src/api/e.cc").write_text('#include "cache/f.h"\n'), "src/api/e.cc:1: api may not include cache"),
    (lambda t: [(t / "src/cache").mkdir(), (t / "src/cache/f.h").write_text("")], "src/cache/f.h: folder cache has no row in ARCHITECTURE.md"),
    (lambda t: [(t / "src/api/routes").mkdir(), (t / "src/api/routes/f.cc").write_text('#include "ops/b.h"\n')], "src/api/routes/f.cc:1: api may not include ops"),
    (lambda t: (t / "src/ops/kernels.inc").write_text("//\n" * 351), "src/ops/kernels.inc: 351 lines, at most 350"),
    (lambda t: (t / "src/ops/cpu/c_test.cc").write_text("//\n" * 351), "src/ops/cpu/c_test.cc: 351 lines, at most 350"),
    (lambda t: (t / "src/base/a.h").write_text("\nif (std::filesystem::exists(path_of(a, b))) {}\n"), "src/base/a.h:2: exists() throws"),
    (lambda t: (t / "src/base/a.h").write_text("for (auto& e : fs::directory_iterator(path)) {}\n"), "src/base/a.h:1: directory_iterator() throws"),
    (lambda t: replace(t / "CMakeLists.txt", "quern_library(api DEPS quern_base", "quern_library(api DEPS quern_base quern_ops"),
     "CMakeLists.txt: DEPS of api are ['base', 'ops'], its row in ARCHITECTURE.md says ['base']"),
    (lambda t: replace(t / "CMakeLists.txt", "quern_library(ops DEPS quern_base)", "quern_library(ops DEPS)"), "DEPS of ops are []"),
    (lambda t: replace(t / "CMakeLists.txt", "quern_library(cli", "quern_library(cache DEPS quern_base)\nquern_library(cli"), "cache has no row"),
    (lambda t: replace(t / "ARCHITECTURE.md", "| `cli`", "| `cache` | x | base |\n| `cli`"), "cache is no quern_library()"),
    (lambda t: replace(t / "ARCHITECTURE.md", "| results | |", "| results | api |"), "base and api may include each other"),
    (lambda t: replace(t / "ARCHITECTURE.md", "## Folders", "## Rooms"), "no table of folders"),
])
def test_each_offence_is_named(tree, damage, offence):
    damage(tree)
    code, printed = check(tree)
    assert code == 1 and offence in printed, printed


def test_calls_with_an_error_code_pass(tree):
    (tree / "src/base/a.h").write_text("std::filesystem::exists(path_of(a, b), ec);\nfs::rename(a,\n  b, ec);\nfs::path(a);\n")
    assert check(tree)[0] == 0


def test_generated_tables_may_be_long(tree):
    (tree / "src/ops/unicode_tables.inc").write_text("//\n" * 900)
    assert check(tree)[0] == 0
