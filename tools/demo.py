#!/usr/bin/env python3
"""The demo: starts `quern serve`, embeds English, Chinese and code sentences over HTTP, prints their similarities, stops.

Standard library only. usage: demo.py QUERN [--model-path DIR]
"""
import argparse
import base64
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

QUERIES = ["How do I sort a list in Python?", "What is the capital of China?", "今天天气怎么样？"]
DOCUMENTS = [
    "def sort_numbers(values):\n    return sorted(values)",
    "Beijing is the capital of the People's Republic of China.",
    "北京是中国的首都。",
    "It is sunny and warm today, with a light wind.",
    "The recipe needs two eggs, flour and a little sugar.",
]


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)


def embed(base, texts, **extra):
    reply = post(f"{base}/v1/embeddings", {"input": texts, "encoding_format": "base64", **extra})
    rows = [base64.b64decode(item["embedding"]) for item in reply["data"]]
    return [struct.unpack(f"<{len(row) // 4}f", row) for row in rows], reply["usage"]["total_tokens"]


def wait_ready(process, port_file, log_path, seconds=120):
    for _ in range(seconds * 20):
        if process.poll() is not None:
            sys.exit(f"quern serve ended with exit code {process.returncode}:\n{log_path.read_text()}")
        port = port_file.read_text().strip() if port_file.exists() else ""
        if port:
            base = f"http://127.0.0.1:{port}"
            try:
                urllib.request.urlopen(f"{base}/ready", timeout=5).close()
                return base
            except OSError:
                pass
        time.sleep(0.05)
    sys.exit(f"quern serve was not ready within {seconds} s:\n{log_path.read_text()}")


def show(queries, documents):
    print("\nSimilarity (cosine) of each query with each document:\n")
    for number, text in enumerate(DOCUMENTS):
        print(f"  [{number}] {' '.join(text.split())}")
    print("\n  " + "".join(f"{f'[{n}]':>8}" for n in range(len(DOCUMENTS))))
    for text, query in zip(QUERIES, queries):
        scores = [sum(a * b for a, b in zip(query, document)) for document in documents]
        best = max(scores)
        print("  " + "".join(f"{s:7.3f}{'*' if s == best else ' '}" for s in scores) + f"  {text}")


def measure(base, seconds=3.0):
    texts = [f"{i}. {text}" for i in range(16) for text in QUERIES + DOCUMENTS]
    tokens, requests, begin = 0, 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        tokens += embed(base, texts)[1]
        requests += 1
    elapsed = time.perf_counter() - begin
    print(f"\n{tokens / elapsed:,.0f} tokens/s, {requests * len(texts) / elapsed:,.0f} texts/s "
          f"({requests} requests of {len(texts)} short texts from one client, {os.cpu_count()} cores)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("quern")
    parser.add_argument("--model-path", help="default: the model the binary comes with")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port_file, log_path = pathlib.Path(folder, "port"), pathlib.Path(folder, "log")
        command = [options.quern, "serve", "--port", "0", "--port-file", str(port_file)]
        if options.model_path:
            command += ["--model-path", options.model_path]
        with log_path.open("wb") as log:
            process = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            base = wait_ready(process, port_file, log_path)
            model = json.load(urllib.request.urlopen(f"{base}/v1/models", timeout=10))["data"][0]["id"]
            print(f"quern serve is ready on {base} with the model {model}")
            show(embed(base, QUERIES, prompt_name="query")[0], embed(base, DOCUMENTS)[0])
            measure(base)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=60)
        print(f"server stopped (exit code {code})")
        return code


if __name__ == "__main__":
    sys.exit(main())
