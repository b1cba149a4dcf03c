"""Every command in the documents is run here, or named below with the reason why it is run elsewhere.

A command is a line of a ```sh block. `curl` lines run against a real `quern serve`; port 30000 stands for its port.
"""
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(ROOT.glob("*.md"))

# Command -> what runs it. A command of the documents that is neither here nor run below fails the test.
RUN_ELSEWHERE = {
    "./dev test": "this very run",
    "./dev test dev": ".ci/run",
    "./dev test tsan": "by hand before a release: a third build of everything",
    "./dev fmt": "would change the tree under test",
    "./dev lint": "by hand before each push: clang-tidy takes minutes",
    "./dev fuzz 60": "by hand: its time is the number it is given for each fuzzer",
    "./dev bench": "by hand: a 1.2 GB model and quiet cores",
    "./dev bench http": "by hand: quiet cores",
    "./dev golden": "by hand: installs PyTorch",
    "./dev eval": "by hand: needs ../shared",
    "./dev eval transformers": "by hand: needs ../shared, installs PyTorch",
}


def commands(document):
    """(line number, command) of each ```sh block; a line ending in a backslash goes on."""
    found, inside, pending = [], False, ""
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = line.strip() == "```sh"
            continue
        if not inside:
            continue
        text = pending + re.sub(r"(^|\s+)#\s.*$", "", line)
        if text.endswith("\\"):
            pending = text[:-1]
            continue
        pending = ""
        if text.strip():
            found.append((number, text.strip()))
    return found


ALL = [(d.name, n, c) for d in DOCUMENTS for n, c in commands(d)]


def test_documents_hold_commands():
    assert any(name == "README.md" for name, _, _ in ALL), "README.md has no ```sh block: the parser or the README is broken"


@pytest.mark.parametrize("name,number,command", ALL, ids=[f"{n}:{k}" for n, k, _ in ALL])
def test_command(name, number, command, request):
    if command in RUN_ELSEWHERE:
        pytest.skip(f"run elsewhere: {RUN_ELSEWHERE[command]}")
    if "30000" in command and "serve" not in command:
        port = request.getfixturevalue("document_server")
        command = command.replace("30000", str(port))
    if "serve" in command:
        pytest.skip("run elsewhere: the fixture document_server starts it")
    environment = dict(os.environ, PATH=f"{ROOT / os.environ.get('QUERN_BUILD_DIR', 'build/release')}:{os.environ['PATH']}")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{name}:{number}: {command}\n{done.stdout}\n{done.stderr}"
