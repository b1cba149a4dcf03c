"""Every command in the documents is run here, or named below with the reason why it is run elsewhere.

A command is a line of a ```sh block. `curl` lines run against a real `quern serve`; port 30000 stands for its port. A line that
serves is started as it is but for its port, until it is ready; ORG/NAME is found in a Hugging Face cache made for the test.
"""
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from quern_server import Server  # noqa: E402
DOCUMENTS = sorted(ROOT.glob("*.md"))

# Command -> what runs it. A command of the documents that is neither here nor run below fails the test.
RUN_ELSEWHERE = {
    "./dev test": "this very run",
    "./dev test dev": ".ci/run",
    "./dev test tsan": ".ci/run, for the parts with threads",
    "./dev fmt": "would change the tree under test",
    "./dev lint": ".ci/run, on what changed",
    "./dev docs": "would change the tree under test; test_generated.py checks what it writes",
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


def serves(command):
    """Whether the line starts a server and would not end by itself."""
    return re.match(r"(\./dev|quern) serve\b", command) is not None and "--help" not in command


def without_port(command):
    return re.sub(r" --port[ =]\d+", "", command)


@pytest.fixture(scope="session")
def hugging_face_home(tmp_path_factory):
    """A cache with a tiny model under every ORG/NAME that a serving line of the documents names."""
    home = tmp_path_factory.mktemp("hf")
    model = tmp_path_factory.mktemp("tiny")
    subprocess.run([sys.executable, ROOT / "tools/make_model.py", "--preset", "tiny", model], check=True)
    for _, _, command in ALL:
        for repository in re.findall(r"--model-path[ =](\w[\w.-]*/[\w.-]+)", command) if serves(command) else []:
            folder = home / "hub" / f"models--{repository.replace('/', '--')}"
            if not folder.exists():
                shutil.copytree(model, folder / "snapshots" / "0123abc")
                (folder / "refs").mkdir()
                (folder / "refs/main").write_text("0123abc")
    return home


ALL = [(d.name, n, c) for d in DOCUMENTS for n, c in commands(d)]


def test_documents_hold_commands():
    assert any(name == "README.md" for name, _, _ in ALL), "README.md has no ```sh block: the parser or the README is broken"


@pytest.mark.parametrize("name,number,command", ALL, ids=[f"{n}:{k}" for n, k, _ in ALL])
def test_command(name, number, command, request):
    if command in RUN_ELSEWHERE:
        pytest.skip(f"run elsewhere: {RUN_ELSEWHERE[command]}")
    environment = dict(os.environ, PATH=f"{ROOT / os.environ.get('QUERN_BUILD_DIR', 'build/release')}:{os.environ['PATH']}")
    if serves(command):
        environment["HF_HOME"] = str(request.getfixturevalue("hugging_face_home"))
        server = Server([str(ROOT / word) if word == "./dev" else word for word in shlex.split(without_port(command))], environment=environment)
        assert server.get("/v1/models")["data"], name
        assert server.stop() == 0, server.log_text()
        return
    if "30000" in command:
        command = command.replace("30000", str(request.getfixturevalue("document_server")))
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{name}:{number}: {command}\n{done.stdout}\n{done.stderr}"
