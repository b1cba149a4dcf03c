#!/usr/bin/env python3
"""Two builds side by side on this machine: `quern bench` on each model, and HTTP over a model that costs nothing.

Verifies first: both builds give the same vectors (or near enough) and the same HTTP answers. Then times them in turn, N rounds,
whose order changes each round, and prints the median of the rounds' ratios NEW / OLD of each row: above 1 is faster. A build is a
folder with `quern` and `api_server_bench`. Needs wrk.
usage: compare_builds.py OLD NEW [--model-path DIR]... [--rounds 7] [--json FILE]
"""
import argparse
import json
import math
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile

import bench_http
from quern_server import Server, run_tool

ROOT = pathlib.Path(__file__).resolve().parents[1]
COSINE_MIN = 1 - 1e-6
TEXTS = ["The capital of China is Beijing.", "北京是中国的首都。", "def add(a, b):\n    return a + b", "word " * 700]


class Build:
    def __init__(self, folder, cpus):
        self.folder = pathlib.Path(folder)
        for name in ("quern", "api_server_bench"):
            if not (self.folder / name).exists():
                sys.exit(f"{self.folder / name} is missing: OLD and NEW are build folders")
        self.cpus = cpus
        self.commit = self.run("--version").split("(")[-1].rstrip(")\n")

    def run(self, *arguments, text=None):
        done = subprocess.run([self.folder / "quern", *map(str, arguments)], input=text, capture_output=True, text=True,
                              preexec_fn=lambda: os.sched_setaffinity(0, self.cpus))
        if done.returncode != 0:
            sys.exit(f"{self.folder}/quern {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def vectors(self, model):
        lines = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
        out = self.run("embed", "--model-path", model, "--input-format", "jsonl", text=lines)
        return [json.loads(line)["embedding"] for line in out.splitlines()]

    def bench(self, model, options):
        """Row -> tokens/s or inputs/s."""
        rows = {}
        common = ("bench", "--model-path", model, "--seconds", options.seconds)
        if options.cases:
            table = self.run(*common, "--cases", options.cases)
            rows = {case: float(rate) for case, rate in re.findall(r"^\| (\d+x\d+) \| [\d.]+ \| ([\d.]+) \|", table, re.M)}
            assert len(rows) == len(set(options.cases.split(","))), table
        if options.in_flight:
            line = self.run(*common, "--in-flight", options.in_flight)
            rows[f"{options.in_flight} in flight"] = float(re.search(r"flight: ([\d.]+) inputs/s", line).group(1))
        for row, rate in rows.items():
            if rate == 0:
                sys.exit(f"{self.folder}/quern: {model} {row}: nothing was done within {options.seconds} s; raise --seconds")
        return rows


def verify(builds, models):
    """Model -> "equal bits", or the lowest cosine between the builds' vectors."""
    found = {}
    for model in models:
        old, new = (build.vectors(model) for build in builds)
        assert len(old) == len(new) == len(TEXTS)
        cosines = [sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b)) for a, b in zip(old, new)]
        if not min(cosines) >= COSINE_MIN:  # a NaN fails, too
            sys.exit(f"{model}: the builds give different vectors: cosine {min(cosines):.9f}, at least {COSINE_MIN} is expected")
        found[model] = "equal bits" if old == new else f"cosine {min(cosines):.9f}"
    return found


def verify_http(servers):
    answers = [server.post("/v1/embeddings", {"input": TEXTS, "encoding_format": "base64"}) for server in servers]
    if answers[0]["data"] != answers[1]["data"]:
        sys.exit("the builds answer the same request differently over HTTP")
    for server in servers:
        bench_http.check(server)


def in_turn(rounds, actions):
    """Each round's results of both actions, in their own order; who goes first changes."""
    results = []
    for number in range(rounds):
        order = (0, 1) if number % 2 == 0 else (1, 0)
        done = {which: actions[which]() for which in order}
        results.append((done[0], done[1]))
        print(f"round {number + 1} of {rounds} done", file=sys.stderr, flush=True)
    return results


def summary(name, pairs):
    """pairs: (old, new) rates of each round."""
    ratios = [new / old for old, new in pairs]
    return {"row": name, "ratio": statistics.median(ratios), "ratios": ratios, "old": statistics.median(old for old, _ in pairs),
            "new": statistics.median(new for _, new in pairs), "rounds": pairs}


def bench_rows(builds, model, options):
    name = pathlib.Path(model).resolve().name
    results = in_turn(options.rounds, [lambda build=build: build.bench(model, options) for build in builds])
    return [summary(f"{name} {row}", [(old[row], new[row]) for old, new in results]) for row in results[0][0]]


def http_rows(builds, options):
    servers = []
    try:
        for build in builds:
            servers.append(Server([build.folder / "api_server_bench", "--log-level", "info"]))
        verify_http(servers)
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for connections in options.connections:
                actions = [lambda server=server: bench_http.wrk(server.url, connections, options.http_seconds, folder)[0] for server in servers]
                for action in actions:
                    action()  # warm
                rows.append(summary(f"HTTP, {connections} connections", in_turn(options.rounds, actions)))
        return rows
    finally:
        for server in servers:
            server.stop()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--model-path", action="append", help="a model folder; repeat it for several (default: quern-mini)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cases", default="512x8,12x32,12x1,2048x1", help='of `quern bench`; "" for none')
    parser.add_argument("--in-flight", type=int, default=32, help="a row with this many inputs in flight; 0: none")
    parser.add_argument("--seconds", type=float, default=5, help="for each case in each round")
    parser.add_argument("--connections", type=int, nargs="*", default=[64], help="HTTP rows; none: no HTTP")
    parser.add_argument("--http-seconds", type=int, default=10)
    parser.add_argument("--cpus", help="processors to run on, as 0,1 (default: all that this process may use)")
    parser.add_argument("--at-least", type=float, default=0, help="exit code 1 where a row's median ratio is below")
    parser.add_argument("--json", type=pathlib.Path, help="write everything measured to this file")
    return parser.parse_args()


def main():
    options = parse()
    if options.connections and not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk, or --connections without a number")
    cpus = {int(number) for number in options.cpus.split(",")} if options.cpus else os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)  # servers and wrk inherit it
    builds = [Build(options.old, cpus), Build(options.new, cpus)]
    models = options.model_path or [str(ROOT / "models/quern-mini")]
    report = {"old": builds[0].commit, "new": builds[1].commit, "cpus": sorted(cpus), "verified": verify(builds, models), "rows": []}
    print(f"old {report['old']}, new {report['new']}, processors {report['cpus']}; vectors: {report['verified']}\n")
    print("| row | new / old | old | new | rounds' ratios |\n|---|---|---|---|---|")
    parts = [lambda model=model: bench_rows(builds, model, options) for model in models]
    if options.connections:
        parts.append(lambda: http_rows(builds, options))
    for part in parts:
        for row in part():
            report["rows"].append(row)
            print(f"| {row['row']} | {row['ratio']:.3f} | {row['old']:,.1f} | {row['new']:,.1f} | {' '.join(f'{r:.3f}' for r in row['ratios'])} |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    slow = [row["row"] for row in report["rows"] if not row["ratio"] >= options.at_least]
    if slow:
        print(f"below {options.at_least}: {', '.join(slow)}")
    return 1 if slow else 0


if __name__ == "__main__":
    run_tool(main)
