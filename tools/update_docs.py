#!/usr/bin/env python3
"""Writes what the documents say about flags and tests from what is there: `./dev docs`. With --check: says what is out of date.

Between "<!-- NAME: written by ./dev docs -->" and "<!-- end -->" stand:
  limits   each flag of `quern serve --help` that is a limit: its name, its default, its help (OPERATIONS.md)
  launch-flags   what other servers' flags become, as `quern help launch-lines` prints it (docs/launch-lines.md)
  counts   tests by place, as ctest and pytest list them (TESTING.md)
usage: update_docs.py BUILD_FOLDER [--check]
"""
import argparse
import collections
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIMIT = re.compile(r"--max-|-timeout-|-grace-|--context-length|-bytes$")


def output_of(*command):
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def read_flags(help_text):
    """[(names, default or "", help)] of each flag that has an environment variable, in the order of --help."""
    flags = []
    options = help_text.partition("\nOptions:\n")[2].partition("\n\nEvery flag")[0]
    for entry in re.split(r"\n(?=  -)", "\n" + options):
        match = re.match(r"\s*(--\S+)(.*?)\(Env:QUERN_\w+\)(.*)", entry, re.S)
        if match:
            names, kind, text = match.groups()
            default = re.search(r"=(\S*) *$", kind.strip())
            flags.append((names.split(","), default.group(1) if default else "", " ".join(text.split())))
    return flags


def limits_table(help_text):
    rows = [(names, default, text) for names, default, text in read_flags(help_text) if LIMIT.search(names[0])]
    lines = ["| flag | default | what it limits |", "|---|---|---|"]
    for names, default, text in rows:
        lines.append(f"| {', '.join(f'`{name}`' for name in names)} | {f'{int(default):,}' if default.isdigit() else default} | {text.replace('|', '/')} |")
    return "\n".join(lines)


def count_units(names):
    """Rows of (place, count) from ctest's names; a fuzzer's name stands before its test's."""
    fuzz = [name for name in names if re.match(r"\w+_fuzz\.", name)]
    return [("`src/*/*_test.cc`, `tests/fuzz/mutate_test.cc`", len(names) - len(fuzz)), ("`src/*/*_fuzz.cc`, as tests", len(fuzz))]


def counts_table(build):
    names = re.findall(r"^ *Test +#\d+: (.*)$", output_of("ctest", "--test-dir", build, "-N"), re.M)
    collected = output_of(ROOT / ".venv/bin/python", "-m", "pytest", "--collect-only", "-q", "tests")
    folders = collections.Counter(re.findall(r"^(tests/\w+)/\S+::", collected, re.M))
    rows = count_units(names) + [(f"`{folder}`", count) for folder, count in sorted(folders.items())]
    return "\n".join(["| where | tests |", "|---|---|", *(f"| {where} | {count} |" for where, count in rows)])


def replace_block(text, name, block):
    pattern = re.compile(rf"(<!-- {name}: written by \./dev docs -->\n).*?(\n<!-- end -->)", re.S)
    if len(pattern.findall(text)) != 1:
        sys.exit(f'there must be one "<!-- {name}: written by ./dev docs -->" ... "<!-- end -->"')
    return pattern.sub(lambda match: match.group(1) + block + match.group(2), text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    blocks = {"OPERATIONS.md": ("limits", limits_table(output_of(options.build.resolve() / "quern", "serve", "--help"))),
              "docs/launch-lines.md": ("launch-flags", output_of(options.build.resolve() / "quern", "help", "launch-lines").rstrip()),
              "TESTING.md": ("counts", counts_table(options.build))}
    stale = []
    for page, (name, block) in blocks.items():
        before = (ROOT / page).read_text()
        after = replace_block(before, name, block)
        if before != after:
            stale.append(page)
            if not options.check:
                (ROOT / page).write_text(after)
    if stale:
        print(f"{' and '.join(stale)} {'out of date: ./dev docs writes them' if options.check else 'written'}")
    return 1 if stale and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
