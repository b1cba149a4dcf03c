#!/usr/bin/env python3
"""The demo: starts `quern serve`, embeds English, Chinese and code sentences over HTTP, prints their similarities, stops.

Standard library only. usage: demo.py QUERN [--model-path DIR]
"""
import argparse
import base64
import os
import struct
import time

from quern_server import Server, run_tool

QUERIES = ["How do I sort a list in Python?", "What is the capital of China?", "今天天气怎么样？"]
DOCUMENTS = [
    "def sort_numbers(values):\n    return sorted(values)",
    "Beijing is the capital of the People's Republic of China.",
    "北京是中国的首都。",
    "It is sunny and warm today, with a light wind.",
    "The recipe needs two eggs, flour and a little sugar.",
]


def embed(server, texts, **extra):
    reply = server.post("/v1/embeddings", {"input": texts, "encoding_format": "base64", **extra})
    rows = [base64.b64decode(item["embedding"]) for item in reply["data"]]
    return [struct.unpack(f"<{len(row) // 4}f", row) for row in rows], reply["usage"]["total_tokens"]


def show(queries, documents):
    print("\nSimilarity (cosine) of each query with each document:\n")
    for number, text in enumerate(DOCUMENTS):
        print(f"  [{number}] {' '.join(text.split())}")
    print("\n  " + "".join(f"{f'[{n}]':>8}" for n in range(len(DOCUMENTS))))
    for text, query in zip(QUERIES, queries):
        scores = [sum(a * b for a, b in zip(query, document)) for document in documents]
        best = max(scores)
        print("  " + "".join(f"{s:7.3f}{'*' if s == best else ' '}" for s in scores) + f"  {text}")


def measure(server, seconds=3.0):
    texts = [f"{i}. {text}" for i in range(16) for text in QUERIES + DOCUMENTS]
    tokens, requests, begin = 0, 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        tokens += embed(server, texts)[1]
        requests += 1
    elapsed = time.perf_counter() - begin
    print(f"\n{tokens / elapsed:,.0f} tokens/s, {requests * len(texts) / elapsed:,.0f} texts/s "
          f"({requests} requests of {len(texts)} short texts from one client, {os.cpu_count()} cores)")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("quern")
    parser.add_argument("--model-path", help="default: the model the binary comes with")
    options = parser.parse_args()
    model = ["--model-path", options.model_path] if options.model_path else []
    server = Server([options.quern, "serve", *model])
    try:
        name = server.get("/v1/models")["data"][0]["id"]
        print(f"quern serve is ready on {server.url} with the model {name}")
        show(embed(server, QUERIES, prompt_name="query")[0], embed(server, DOCUMENTS)[0])
        measure(server)
    finally:
        code = server.stop()
    print(f"server stopped (exit code {code})")
    return code


if __name__ == "__main__":
    run_tool(main)
