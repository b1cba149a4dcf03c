"""Compares quern's tokenizer with Hugging Face `tokenizers`: ids first, then speed on one thread, side by side.

    python tests/tokenizer/compare_tokenizers.py [--tokenizer PATH] [--lines N] [--hostile N] [--runs N]

Exits 1 when an id differs. Times are medians over rounds in which the two take turns; nothing is timed before the ids agree.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402 (reads the environment)

from tokenizer_inputs import QWEN3, corpus_lines, hostile_lines, read_ids, write_texts  # noqa: E402


def tool_path():
    return os.path.join(os.environ.get("QUERN_BUILD_DIR", "build/release"), "tokenizer_bench")


def run_tool(*arguments):
    return subprocess.run([tool_path(), *map(str, arguments)], check=True, capture_output=True, text=True).stdout


def first_differences(tokenizer_path, texts, limit=10):
    """[(index, ours, theirs)] of the first `limit` texts whose ids differ."""
    theirs = Tokenizer.from_file(str(tokenizer_path))
    theirs.no_truncation()
    theirs.no_padding()
    with tempfile.TemporaryDirectory() as folder:
        texts_path, ids_path = os.path.join(folder, "texts"), os.path.join(folder, "ids")
        write_texts(texts_path, texts)
        run_tool("ids", tokenizer_path, texts_path, ids_path)
        ours = read_ids(ids_path)
    assert len(ours) == len(texts), f"the tool answered {len(ours)} of {len(texts)} texts"
    differences = []
    for index, text in enumerate(texts):
        expected = theirs.encode(text).ids
        if ours[index] != expected:
            differences.append((index, ours[index], expected))
            if len(differences) == limit:
                break
    return differences


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def time_both(tokenizer_path, texts, runs):
    """Medians in seconds: ours, theirs line by line, theirs as one batch; and our load time."""
    theirs = Tokenizer.from_file(str(tokenizer_path))
    ours_s, lines_s, batch_s, load_s = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        texts_path = os.path.join(folder, "texts")
        write_texts(texts_path, texts)
        for _ in range(runs):
            # The first run of a process fills its caches, as the first round does for `tokenizers`.
            report = json.loads(run_tool("time", tokenizer_path, texts_path, 2))
            ours_s.append(report["run_s"][-1])
            load_s.append(report["load_s"])
            lines_s.append(seconds(lambda: [theirs.encode(text) for text in texts]))
            batch_s.append(seconds(lambda: theirs.encode_batch_fast(texts)))
    return tuple(map(statistics.median, (ours_s, lines_s, batch_s, load_s)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokenizer", default=QWEN3)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--hostile", type=int, default=30_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()

    corpus = corpus_lines(options.lines)
    texts = corpus + hostile_lines(options.hostile)
    differences = first_differences(options.tokenizer, texts)
    for index, ours, theirs in differences:
        print(f"DIFFERS: text {index}: {ascii(texts[index][:200])}\n  ours   {ours[:40]}\n  theirs {theirs[:40]}")
    if differences:
        return 1
    print(f"ids equal: {len(corpus)} corpus lines, {len(texts) - len(corpus)} hostile lines")

    timed = corpus or texts
    megabytes = sum(len(text.encode()) for text in timed) / 1e6
    ours_s, lines_s, batch_s, load_s = time_both(options.tokenizer, timed, options.runs)
    print(f"{megabytes:.1f} MB on one thread, median of {options.runs}; load {load_s:.3f} s")
    print(f"quern                     {ours_s:8.3f} s  {megabytes / ours_s:7.1f} MB/s")
    for name, taken in (("encode per line", lines_s), ("encode_batch_fast", batch_s)):
        print(f"tokenizers {name:<17} {taken:5.3f} s  {megabytes / taken:7.1f} MB/s  quern is {taken / ours_s:.1f}x")
    return 0


if __name__ == "__main__":
    sys.exit(main())
