"""Schemathesis: what /openapi.json promises is what the server does, whatever is sent."""

import subprocess
import sys

import httpx


def test_openapi_is_true_to_behaviour(fake):
    # Every check but one. Valid by schema is not always acceptable: prompt_name and instruction exclude each other, and a text
    # may be too long in tokens, neither of which OpenAPI 3.0 can say.
    command = [sys.executable, "-m", "schemathesis.cli", "run", fake.base_url + "/openapi.json", "--max-examples", "60", "--seed", "1",
               "--exclude-checks", "positive_data_acceptance",
               "--generation-database", "none", "--no-color"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0 and "Tested:" in result.stdout, result.stdout[-6000:] + result.stderr[-2000:]
    assert httpx.get(fake.base_url + "/health").status_code == 200
