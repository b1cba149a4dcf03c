#!/usr/bin/env python3
"""Holds every #include of src/ to the dependency table, and the table to itself.

Exit code 1 and one line per offence. The table is the one in ARCHITECTURE.md: a folder may include itself, what is listed
for it, and whatever those may include. Tests (_test, _fuzz, _bench) may include anything.
"""
import pathlib
import re
import sys

TABLE = {
    "base": [],
    "observe": ["base"],
    "core": ["base"],
    "tensor": ["base"],
    "ops": ["tensor"],
    "ops/cpu": ["ops"],
    "model": ["ops", "tokenizer", "core"],
    "tokenizer": ["base"],
    "kv": ["base"],
    "sched": ["kv", "core"],
    "worker": ["model", "core"],
    "engine": ["sched", "core"],
    "http": ["observe"],
    "api": ["core", "http", "observe"],
    "cli": ["api", "tokenizer", "http", "engine", "worker", "ops/cpu"],
}


def allowed(folder):
    seen, todo = set(), [folder]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += TABLE[name]
    return seen


def folder_of(path):
    parts = path.split("/")
    if parts == ["main.cc"]:
        return "cli"
    return "/".join(parts[:2]) if "/".join(parts[:2]) in TABLE else parts[0]


def main():
    root = pathlib.Path(__file__).resolve().parent.parent / "src"
    offences, checked = [], 0
    for file in sorted(root.rglob("*")):
        if file.suffix not in (".cc", ".h") or re.search(r"_(test|fuzz|bench)\.cc$", file.name):
            continue
        folder = folder_of(str(file.relative_to(root)))
        if folder not in TABLE:
            offences.append(f"{file}: folder {folder} is not in the table")
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = re.match(r'#include "([^"]+)"', line)
            if not match:
                continue
            checked += 1
            target = folder_of(match.group(1))
            if target not in allowed(folder):
                offences.append(f"{file}:{number}: {folder} may not include {target} (allowed: {sorted(allowed(folder))})")
    for offence in offences:
        print(offence)
    print(f"dependency check: {checked} includes, {len(offences)} offences")
    return 1 if offences or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
