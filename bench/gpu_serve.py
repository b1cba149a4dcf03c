#!/usr/bin/env python3
"""For bench/gpu_serve.sh: what it asks of a server over HTTP but for the load, and the table at the end.

  bodies FOLDER PORT    bodies of requests, one a line: 12 and 512 token ids, texts of about 324 tokens
  first PORT BEGIN_S    waits for the first vector; seconds since BEGIN_S
  end DIR               the end token that DIR/tokenizer.json's post-processor appends
  quality PORT DIR      vectors of DIR/reference.bin's texts, whose end token the server appends, against it
  table FOLDER          reads what the steps wrote, prints one table
"""
import array
import base64
import json
import math
import pathlib
import random
import re
import struct
import sys
import time
import urllib.error
import urllib.request

VOCAB = 28000  # of the tokenizer that texts go through; ids stay below it too
TEXT_TOKENS = 324
WORDS = ("water river stone light winter garden letter number mountain history village music window evening language question answer "
         "market science weather morning island forest kitchen bridge machine library teacher country picture").split()


def post(port, body):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/embeddings", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def body_of(text):
    return {"model": "m", "input": text, "encoding_format": "base64"}


def vector_of(item):
    values = array.array("f")
    values.frombytes(base64.b64decode(item["embedding"]))
    return values


def make_texts(port, count, generator):
    """Texts of random words, as many as give TEXT_TOKENS tokens each; and the mean of what they have."""
    words, mean = TEXT_TOKENS, 0
    for _ in range(3):
        texts = [" ".join(generator.choice(WORDS) for _ in range(words)) for _ in range(count)]
        mean = post(port, body_of(texts[:64]))["usage"]["prompt_tokens"] / 64
        words = round(words * TEXT_TOKENS / mean)
    return texts, mean


def bodies(folder, port):
    generator = random.Random(5)
    ids = lambda length: [generator.randrange(VOCAB) for _ in range(length)]  # noqa: E731
    texts, mean = make_texts(port, 512, generator)
    for name, inputs in (("12", [ids(12) for _ in range(4096)]), ("512", [ids(512) for _ in range(1024)]), ("texts", texts)):
        (folder / f"{name}.bodies").write_text("".join(json.dumps(body_of(one)) + "\n" for one in inputs))
    (folder / "text_tokens").write_text(f"{mean}\n")


def first(port, begin_s):
    while time.time() - begin_s < 120:
        try:
            post(port, body_of([[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]))
            return time.time() - begin_s
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.01)
    sys.exit("no vector within 120 s")


def end_token(folder):
    processor = json.loads((folder / "tokenizer.json").read_text())["post_processor"]
    steps = processor.get("processors", [processor])
    (ids,) = [token["ids"] for step in steps for token in step.get("special_tokens", {}).values()]
    return ids[0]


def quality(port, folder):
    data = (folder / "reference.bin").read_bytes()
    count, width = struct.unpack_from("<II", data)
    at, worst = 8, 2.0
    for _ in range(count):
        (length,) = struct.unpack_from("<I", data, at)
        ids = struct.unpack_from(f"<{length}i", data, at + 4)
        wanted = struct.unpack_from(f"<{width}f", data, at + 4 + 4 * length)
        at += 4 + 4 * length + 4 * width
        got = vector_of(post(port, body_of([list(ids[:-1])]))["data"][0])
        norm = math.sqrt(sum(v * v for v in wanted) * sum(v * v for v in got))
        worst = min(worst, sum(a * b for a, b in zip(wanted, got)) / norm)
    return worst


def table(folder):
    def text_of(name):
        path = folder / name
        return path.read_text() if path.exists() else ""

    def field(name, key):
        match = re.search(rf"\b{key} ([\d.]+)", text_of(name))
        return float(match.group(1)) if match else float("nan")

    engine = re.search(r"\| 512x64 \| [\d.]+ \| (\d+) \|", text_of("engine"))
    engine_rate = float(engine.group(1)) if engine else float("nan")
    memory = [json.loads(line) for line in text_of("server.log").splitlines() if line.startswith("{") and '"memory"' in line]
    planned = [line["quern.bytes"] for line in memory if line["quern.part"].startswith("all on cuda")]
    planned_mib = planned[0] / 2**20 if planned else float("nan")
    used = [float(value) for value in text_of("memory").split()] or [float("nan")] * 2
    tokens = float(text_of("text_tokens") or "nan")
    alone, mixed = 512 * field("load_512", "per_s"), 512 * field("mixed_512", "per_s")
    rows = [
        ("quality over HTTP, lowest cosine", f"{float(text_of('quality') or 'nan'):.6f}", "0.999"),
        ("process start to first vector, s", f"{float(text_of('first') or 'nan'):.2f}", "6"),
        ("GPU memory after start / at the end, MiB", f"{used[0]:.0f} / {used[-1]:.0f}", f"table {planned_mib:.0f} +- 512; 16,000"),
        ("256 clients, 12 tokens, requests/s", f"{field('load_12x256', 'per_s'):.0f}", "4,500"),
        ("32 clients, 12 tokens, requests/s; p50 ms", f"{field('load_12x32', 'per_s'):.0f}; {field('load_12x32', 'p50_ms'):.2f}", "3,000; 10"),
        ("1 client, 12 tokens, p50 ms", f"{field('load_12x1', 'p50_ms'):.2f}", ""),
        ("64 clients, 512 ids, tokens/s", f"{alone:.0f}", f"95% of the engine's {engine_rate:.0f}: {100 * alone / engine_rate:.1f}%"),
        (f"64 clients, texts of {tokens:.1f} tokens, tokens/s", f"{tokens * field('load_texts', 'per_s'):.0f}", "83,000"),
        ("mixed: 12 tokens, p50 ms", f"{field('mixed_12', 'p50_ms'):.1f}", "60"),
        ("mixed: 512 ids, tokens/s", f"{mixed:.0f}", f"90% of alone: {100 * mixed / alone:.1f}%"),
    ]
    print("| work | measured | must |\n|---|---|---|")
    for row in rows:
        print("| " + " | ".join(row) + " |")


def main():
    command, *rest = sys.argv[1:]
    if command == "bodies":
        bodies(pathlib.Path(rest[0]), rest[1])
    elif command == "first":
        print(f"{first(rest[0], float(rest[1])):.3f}")
    elif command == "end":
        print(end_token(pathlib.Path(rest[0])))
    elif command == "quality":
        print(f"{quality(rest[0], pathlib.Path(rest[1])):.6f}")
    elif command == "table":
        table(pathlib.Path(rest[0]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
