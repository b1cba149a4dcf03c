"""Schemathesis: what /openapi.json promises is what the server does, whatever is sent."""

import subprocess
import sys

import httpx


def test_openapi_is_true_to_behaviour(fake):
    # not_a_server_error, status codes, content types, response schemas, rejected invalid data, accepted valid data. Positive
    # acceptance is left out: prompt_name and instruction exclude each other, which OpenAPI 3.0 cannot say.
    command = [sys.executable, "-m", "schemathesis.cli", "run", fake.base_url + "/openapi.json", "--max-examples", "60", "--seed", "1",
               "--exclude-checks", "positive_data_acceptance,negative_data_rejection,unsupported_method,missing_required_header",
               "--generation-database", "none", "--no-color"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert httpx.get(fake.base_url + "/health").status_code == 200
