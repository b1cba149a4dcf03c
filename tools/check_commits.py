#!/usr/bin/env python3
"""Holds the commits of a branch to CONTRIBUTING.md: a subject of at most 72 characters, an empty line, a body that says why.

Looks at BASE..HEAD, without merges; history before BASE stays as it is. usage: check_commits.py BASE
"""
import subprocess
import sys

SUBJECT_MAX = 72


def git(*arguments):
    done = subprocess.run(["git", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def offences(message):
    lines = message.strip().split("\n")
    if len(lines[0]) > SUBJECT_MAX:
        yield f"the subject has {len(lines[0])} characters, at most {SUBJECT_MAX} are allowed"
    if len(lines) > 1 and lines[1]:
        yield "the line behind the subject is not empty"
    if not any(line.strip() for line in lines[1:]):
        yield "there is no body that says why"


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    commits = git("rev-list", "--no-merges", f"{sys.argv[1]}..HEAD").split()
    found = 0
    for commit in commits:
        message = git("show", "-s", "--format=%B", commit)
        for offence in offences(message):
            print(f"{commit[:12]} {message.splitlines()[0][:SUBJECT_MAX]!r}: {offence}")
            found += 1
    print(f"commit check: {len(commits)} commits, {found} offences")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
