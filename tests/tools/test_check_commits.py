"""tools/check_commits.py: what a commit's message must have, and where it looks."""
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def commit(tmp_path):
    def git(*arguments):
        return subprocess.run(["git", "-c", "user.name=test", "-c", "user.email=test@example.org", *arguments], cwd=tmp_path, check=True,
                              capture_output=True, text=True).stdout.strip()

    def make(message):
        git("commit", "-q", "--allow-empty", "-m", message)
        return git("rev-parse", "HEAD")

    git("init", "-q")
    make.folder = tmp_path
    return make


def check(commit, base):
    done = subprocess.run([sys.executable, ROOT / "tools/check_commits.py", base], cwd=commit.folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("message,said", [
    ("x" * 73 + "\n\nwhy", "the subject has 73 characters"),
    ("subject", "no body"),
    ("subject\nwhy", "behind the subject is not empty"),
])
def test_a_bad_message_is_named(commit, message, said):
    base = commit("old history, as it is")
    bad = commit(message)
    commit("good\n\nwhy")
    code, printed = check(commit, base)
    assert code == 1 and said in printed and bad[:12] in printed, printed
    assert check(commit, bad)[0] == 0


def test_good_messages_pass(commit):
    base = commit("old history, as it is")
    commit("x" * 72 + "\n\nwhy")
    assert check(commit, base) == (0, "commit check: 1 commits, 0 offences\n")


def test_an_unknown_base_is_an_error(commit):
    commit("one")
    assert check(commit, "no-such-commit")[0] == 1
