#!/usr/bin/env python3
"""What HTTP costs: the rate of `quern serve` under wrk beside the engine's own rate, in turn, on this machine.

Both keep the same number of inputs in flight; the engine's own rate has no tokenizer, no JSON and no sockets in it. Before
anything is timed, the server's vectors are checked. With --null, the server is api_server_bench: the real HTTP and API
code over a model that costs nothing. Needs wrk. usage: bench_http.py BUILD_FOLDER [--model-path DIR] [--null]
"""
import argparse
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

from quern_server import Server, run_tool

TEXT = "How do I sort a list in Python?"
SCRIPT = """wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '%s'
"""


def check(server):
    reply = server.post("/v1/embeddings", {"input": TEXT})
    vector = reply["data"][0]["embedding"]
    assert abs(math.fsum(x * x for x in vector) - 1) < 1e-4, "not a unit vector"
    return reply["usage"]["total_tokens"]


def wrk(url, connections, seconds, folder):
    script = pathlib.Path(folder, "post.lua")
    script.write_text(SCRIPT % json.dumps({"input": TEXT, "encoding_format": "base64"}))
    out = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "60s", "-s", script,
                          url + "/v1/embeddings"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        sys.exit(f"wrk saw errors:\n{out}")
    return float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1)), re.search(r"99%\s+(\S+)", out).group(1)


def engine_rate(quern, model, connections, seconds):
    out = subprocess.run([quern, "bench", *model, "--in-flight", str(connections), "--text", TEXT, "--seconds", str(seconds)],
                         capture_output=True, text=True, check=True).stdout
    return float(re.search(r"flight: ([\d.]+) inputs/s", out).group(1))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--model-path")
    parser.add_argument("--null", action="store_true")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    model = ["--model-path", options.model_path] if options.model_path else []
    command = ([options.build / "api_server_bench", "--log-level", "info"] if options.null else
               [options.build / "quern", "serve", *model])
    http, own, slowest = [], [], ""
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            server = Server(command)
            tokens = check(server)
            commit = server.get("/info")["commit"]
            wrk(server.url, options.connections, 2, folder)  # warm
            rate, slowest = wrk(server.url, options.connections, options.seconds, folder)
            http.append(rate)
            server.stop()
            if not options.null:
                own.append(engine_rate(options.build / "quern", model, options.connections, options.seconds))
    print(f"commit {commit}; HTTP, {options.connections} connections: {statistics.median(http):,.1f} requests/s of {tokens} tokens "
          f"(p99 {slowest}; rounds: {', '.join(f'{r:,.1f}' for r in http)})")
    if own:
        ratio = statistics.median(h / o for h, o in zip(http, own))
        print(f"engine alone: {statistics.median(own):,.1f} inputs/s (rounds: {', '.join(f'{r:,.1f}' for r in own)})")
        print(f"through HTTP: {100 * ratio:.1f}% of the engine's own rate (median of the rounds' ratios)")


if __name__ == "__main__":
    run_tool(main)
