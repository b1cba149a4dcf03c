#!/usr/bin/env python3
"""Holds src/ to the table of folders in ARCHITECTURE.md: every #include, every DEPS of CMakeLists.txt, the size of every file.
And no call of std::filesystem that throws.

A folder may include itself, what its row lists, and whatever those may include; "everything" is everything. Its DEPS are its row.
Tests (_test, _fuzz, _bench) may include anything. Exit code 1 and one line per offence. usage: check_deps.py [ROOT]
"""
import pathlib
import re
import sys

LINES_MAX = 350
CODE = (".cc", ".h", ".inc", ".cu", ".cuh")
EVERYTHING = "everything"
# Calls of std::filesystem that throw without an error_code -> the arguments of the form that has one.
FILESYSTEM = {"exists": 2, "is_directory": 2, "is_regular_file": 2, "file_size": 2, "remove": 2, "remove_all": 2, "rename": 3, "create_directory": 2,
              "create_directories": 2, "canonical": 2, "weakly_canonical": 2, "absolute": 2, "read_symlink": 2, "resize_file": 3, "copy_file": 4,
              "last_write_time": 2, "status": 2, "space": 2, "current_path": 1, "temp_directory_path": 1, "directory_iterator": 2,
              "recursive_directory_iterator": 2}


def read_table(text):
    """Folder -> what it may include, as its row in the table under "## Folders" says."""
    part = re.search(r"^## Folders\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    rows = re.findall(r"^\| `([a-z_/]+)` \|[^|]*\|([^|]*)\|$", part.group(1), re.M) if part else []
    return {folder: [name.strip() for name in names.split(",") if name.strip()] for folder, names in rows}


def read_deps(text):
    """Folder -> the folders among the DEPS of its quern_library()."""
    calls = re.findall(r"^quern_library\((\S+)(?: NAME (\S+))? DEPS([^)]*)\)", text, re.M)
    folder_of_target = {"quern_" + (name or folder): folder for folder, name, _ in calls}
    return {folder: [folder_of_target.get(dep, dep) for dep in deps.split() if dep.startswith("quern_")] for folder, _, deps in calls}


def allowed(folder, table):
    if EVERYTHING in table[folder]:
        return set(table)
    seen, todo = set(), [folder]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += table.get(name, [])
    return seen


def folder_of(path, table):
    """The longest folder of the table that `path`, relative to src/, lies in; its own folder where there is none."""
    parts = path.split("/")[:-1]
    for count in range(len(parts), 0, -1):
        if "/".join(parts[:count]) in table:
            return "/".join(parts[:count])
    return "/".join(parts)


def table_offences(table):
    for folder, names in table.items():
        for name in names:
            if name not in table and name != EVERYTHING:
                yield f"ARCHITECTURE.md: {folder} may include {name}, which has no row"
        for name in names:
            if name in table and folder in allowed(name, table) and EVERYTHING not in table[name]:
                yield f"ARCHITECTURE.md: {folder} and {name} may include each other"


def cmake_offences(table, deps):
    for folder in sorted(set(table) | set(deps)):
        if folder not in table:
            yield f"CMakeLists.txt: {folder} has no row in ARCHITECTURE.md"
        elif folder not in deps:
            yield f"ARCHITECTURE.md: {folder} is no quern_library() of CMakeLists.txt"
        elif EVERYTHING not in table[folder] and set(deps[folder]) != set(table[folder]):
            yield f"CMakeLists.txt: DEPS of {folder} are {sorted(deps[folder])}, its row in ARCHITECTURE.md says {sorted(table[folder])}"


def argument_count(text):
    """Arguments of a call whose "(" is just before `text`."""
    depth, count, empty = 0, 1, True
    for sign in text:
        if sign == ")" and depth == 0:
            return 0 if empty else count
        depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(sign, 0)
        count += sign == "," and depth == 0
        empty = empty and sign.isspace()
    return count


def throwing_calls(text):
    """(line, name) of calls that throw what nobody catches: an unreadable folder would end the process."""
    for match in re.finditer(r"\b(?:fs|filesystem)::(\w+)(?: \w+)?\(", text):
        if argument_count(text[match.end():]) < FILESYSTEM.get(match.group(1), 0):
            yield text.count("\n", 0, match.start()) + 1, match.group(1)


def is_test(file):
    return re.search(r"_(test|fuzz|bench)\.cc$", file.name) is not None


def file_offences(file, path, table):
    lines = file.read_text().splitlines()
    if len(lines) > LINES_MAX and not file.stem.endswith("_tables"):
        yield f"src/{path}: {len(lines)} lines, at most {LINES_MAX} are allowed"
    if is_test(file) or path == "main.cc":
        return
    for number, name in throwing_calls("\n".join(lines)):
        yield f"src/{path}:{number}: {name}() throws; give it a std::error_code"
    folder = folder_of(path, table)
    if folder not in table:
        yield f"src/{path}: folder {folder} has no row in ARCHITECTURE.md"
        return
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        target = folder_of(match.group(1), table) if match else ""
        if target and target not in allowed(folder, table):
            yield f"src/{path}:{number}: {folder} may not include {target} (allowed: {', '.join(sorted(allowed(folder, table)))})"


def check(root):
    """(offences, files looked at)"""
    table = read_table((root / "ARCHITECTURE.md").read_text())
    deps = read_deps((root / "CMakeLists.txt").read_text())
    if not table or not deps:
        return ["no table of folders in ARCHITECTURE.md, or no quern_library() in CMakeLists.txt"], 0
    offences = [*table_offences(table), *cmake_offences(table, deps)]
    files = [file for file in sorted((root / "src").rglob("*")) if file.suffix in CODE]
    for file in files:
        offences += file_offences(file, str(file.relative_to(root / "src")), table)
    return offences, len(files)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[1])
    offences, files = check(root)
    for offence in offences:
        print(offence)
    print(f"dependency check: {files} files, {len(offences)} offences")
    return 1 if offences or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
