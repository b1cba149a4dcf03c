import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from quern_server import Server  # noqa: E402


@pytest.fixture(scope="session")
def document_server():
    """A real `quern serve` with the default model; gives its port."""
    server = Server([ROOT / os.environ.get("QUERN_BUILD_DIR", "build/release") / "quern", "serve"])
    yield server.port
    assert server.stop() == 0
