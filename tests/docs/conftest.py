import os
import pathlib
import subprocess
import time
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def document_server(tmp_path_factory):
    """A real `quern serve` with the default model; gives its port."""
    folder = tmp_path_factory.mktemp("documents")
    quern = ROOT / os.environ.get("QUERN_BUILD_DIR", "build/release") / "quern"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([quern, "serve", "--port", "0", "--port-file", folder / "port"], stderr=log, cwd=ROOT)
    try:
        for _ in range(1200):
            assert process.poll() is None, (folder / "log").read_text()
            if (folder / "port").exists():
                port = (folder / "port").read_text().strip()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
                    break
                except OSError:
                    pass
            time.sleep(0.05)
        else:
            raise AssertionError((folder / "log").read_text())
        yield port
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0
