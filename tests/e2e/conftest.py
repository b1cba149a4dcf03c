"""Starts the servers the tests talk to.

Protocol tests run against `api_server_bench`, the real HTTP and API code over an engine that costs nothing; it is taken from
QUERN_BENCH_SERVER or the newest one under build/. Tests of the whole path run against QUERN_BINARY, a command line such as
"build/release/quern serve --model-path DIR", and are skipped, loudly, when it is not set.
"""

import os
import pathlib
import shlex
import socket
import sys

import openai
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import quern_server  # noqa: E402


class Server(quern_server.Server):
    """A server with the clients that these tests talk through."""

    @property
    def base_url(self):
        return self.url

    def connect(self, timeout_s=10.0):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s)

    def client(self, key="unused"):
        return openai.OpenAI(base_url=self.base_url + "/v1", api_key=key, max_retries=0, timeout=60)


def bench_server_path():
    given = os.environ.get("QUERN_BENCH_SERVER")
    if given:
        return given
    built = sorted(ROOT.glob("build/*/api_server_bench"), key=lambda path: path.stat().st_mtime)
    if not built:
        pytest.exit("build api_server_bench first, or set QUERN_BENCH_SERVER", returncode=2)
    return str(built[-1])


@pytest.fixture
def start_fake():
    """Starts a server with the given flags; stopped, and checked for a clean exit, after the test."""
    servers = []

    def start(*flags):
        servers.append(Server([bench_server_path(), *flags]))
        return servers[-1]

    yield start
    for server in servers:
        assert server.stop() == 0


@pytest.fixture(scope="module")
def fake():
    """One server for a module's protocol tests."""
    server = Server([bench_server_path(), "--context", "4096", "--header-timeout-ms", "1000", "--body-timeout-ms", "1500"])
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="session")
def real():
    """`quern serve` with a model."""
    command = os.environ.get("QUERN_BINARY")
    if not command:
        pytest.skip("SKIPPED: QUERN_BINARY is not set, the whole path is not tested")
    server = Server(shlex.split(command))
    yield server
    assert server.stop() == 0
