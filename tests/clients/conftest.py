"""The server that the client libraries talk to, and what its plain HTTP API gives for the same text.

Only `./dev test clients` collects these tests: their libraries live in an environment of their own (.venv-clients).
"""
import asyncio
import os
import pathlib
import sys

import httpx
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from quern_server import Server  # noqa: E402

collect_ignore_glob = [] if "QUERN_TEST_CLIENTS" in os.environ else ["test_*.py"]

KEY = "a-key-for-clients"
# What a shell may hold must not lead a client elsewhere, and none of them reports home or fetches what it has on board.
for name in [name for name in os.environ if name.startswith(("OPENAI_", "AZURE_", "NVIDIA_", "LITELLM_"))]:
    del os.environ[name]
os.environ.update(NO_PROXY="127.0.0.1", no_proxy="127.0.0.1", LITELLM_LOCAL_MODEL_COST_MAP="True", MEM0_TELEMETRY="False",
                  HAYSTACK_TELEMETRY_ENABLED="False", AGNO_TELEMETRY="false", MEM0_DIR=str(ROOT / ".cache/mem0"))


class Reference:
    """What one server answers to a request without any client library."""

    def __init__(self, server, key=""):
        self.server, self.url = server, server.url
        self._http = httpx.Client(headers={"Authorization": f"Bearer {key}"} if key else {}, trust_env=False, timeout=60)

    def vectors(self, texts, prompt=None, **fields):
        """One request for each text, so that order and batching are the client's own affair."""
        return np.array([self._vector({"input": text, "prompt_name": prompt, **fields}) for text in texts])

    def _vector(self, body):
        answer = self._http.post(self.url + "/v1/embeddings", json=body)
        answer.raise_for_status()
        return answer.json()["data"][0]["embedding"]


def start(*flags):
    return Server([ROOT / os.environ.get("QUERN_BUILD_DIR", "build/release") / "quern", "serve", *flags])


def server_fixture(*flags, key=""):
    @pytest.fixture(scope="session")
    def reference():
        server = start(*flags)
        yield Reference(server, key)
        code = server.stop()
        assert code == 0, f"the server ended with {code}:\n{server.log_text()}"

    return reference


plain = server_fixture()  # as README starts it
keyed = server_fixture("--api-key", KEY, key=KEY)
refusing = server_fixture("--refuse-token-ids")
any_name = server_fixture("--served-model-name", "quern-mini", "--served-model-name", "*")


@pytest.fixture(scope="session")
def finish():
    """Gives what a call returns, waiting for it where it is a coroutine: all on one loop, as a program has it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)

    async def wait(value):
        return await value

    yield lambda value: loop.run_until_complete(wait(value)) if asyncio.iscoroutine(value) else value
    loop.close()


def assert_same(found, expected, what=""):
    """Each vector is the expected one to within 1e-6 of cosine, and in its place."""
    found = np.array(found, dtype=np.float64)
    assert found.shape == expected.shape, f"{what}: {found.shape} instead of {expected.shape}"
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 1 - 1e-6, f"{what}: cosine {cosine.min()} at text {cosine.argmin()}"
    # A client hands on what it got: f32 or its shortest decimal form, never less.
    assert np.abs(found - expected).max() <= 1e-7, f"{what}: off by {np.abs(found - expected).max()}"
