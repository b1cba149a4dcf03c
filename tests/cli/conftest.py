import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from quern_server import Server  # noqa: E402


@pytest.fixture(scope="session")
def quern():
    return ROOT / os.environ.get("QUERN_BUILD_DIR", "build/release") / "quern"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory):
    """A random model with a real tokenizer: small enough to load in milliseconds."""
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([sys.executable, ROOT / "tools" / "make_model.py", "--preset", "tiny", folder], check=True)
    return folder


@pytest.fixture
def start(quern, tiny_model):
    """Starts `quern serve` with the tiny model and the given flags; none outlives its test."""
    servers = []

    def start_one(*flags):
        servers.append(Server([quern, "serve", "--model-path", tiny_model, *flags]))
        return servers[-1]

    yield start_one
    for server in servers:
        if server.process.poll() is None:
            server.kill()
