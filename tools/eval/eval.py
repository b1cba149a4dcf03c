#!/usr/bin/env python3
"""Measures a model on the development sets through `quern serve`, beside BM25, its teacher and published figures.

The sets are read from --data (../shared/data/eval); the 1,000 held-back English-Chinese pairs are found again in --corpus by the
rule that kept them out of training. `./dev eval` runs this; nothing is trained on any of it.
"""
import argparse
import base64
import json
import pathlib
import sys
import time

import numpy as np

import bm25

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "models/quern-mini/train"), str(ROOT / "tools")]
import dev_sets  # noqa: E402
import select_texts  # noqa: E402
from quern_server import Server, run_tool  # noqa: E402

BATCH = 128
GOALS = {"sts_en": 0.78, "sts_zh": 0.70, "lcqmc": 0.60, "scifact": 0.50, "enzh": 0.80}
CUT_LOSS_MAX = 0.02  # of the STS figures at 128 dimensions
# Qwen3-Embedding-0.6B in the public MTEB results (b22da495); only sts_zh_2 is of the same split as ours, the others are test sets.
PUBLISHED = {"sts_en": "0.911 (test)", "sts_zh_2": "0.852", "lcqmc": "0.765 (test)", "scifact": "0.697"}
TITLES = {"sts_en": "STS-B dev, English, Spearman", "sts_zh": "STS-B dev, Chinese (stsb-multi-mt), Spearman",
          "sts_zh_2": "STS-B dev, Chinese (CSTS), Spearman", "lcqmc": "LCQMC dev, Spearman", "scifact": "SciFact, nDCG@10",
          "scifact_no_prompt": "SciFact without the query prompt", "enzh": "en-zh sentences, 1,000 pairs, accuracy"}


class Embedder:
    """Embeds through a server, each text once."""

    def __init__(self, server):
        self.server, self.known, self.tokens = server, {}, 0

    def __call__(self, texts, is_query=False):
        """f32 [texts, width]."""
        wanted = list(dict.fromkeys(t for t in texts if (t, is_query) not in self.known))
        for begin in range(0, len(wanted), BATCH):
            chunk = wanted[begin:begin + BATCH]
            body = {"input": chunk, "encoding_format": "base64", "truncate": True}
            if is_query:
                body["prompt_name"] = "query"
            reply = self.server.post("/v1/embeddings", body)
            self.tokens += reply["usage"]["total_tokens"]
            for text, item in zip(chunk, reply["data"]):
                self.known[text, is_query] = np.frombuffer(base64.b64decode(item["embedding"]), "<f4")
            done = begin + len(chunk)
            if sys.stderr.isatty():
                print(f"\r{done}/{len(wanted)} texts ", end="\n" if done == len(wanted) else "", file=sys.stderr, flush=True)
        return np.stack([self.known[t, is_query] for t in texts])


def held_back(corpus, cache):
    if not cache.exists():
        print("finding the held-back pairs in the corpus", file=sys.stderr)
        rows = select_texts.held_back(select_texts.kept_pairs(corpus))
        cache.parent.mkdir(parents=True, exist_ok=True)
        select_texts.write_held_back(rows, cache)
    return cache


def table(full, cut, baseline, teacher):
    lines = ["| set | goal | quern-mini | at 128 dimensions | BM25 | teacher | Qwen3-Embedding-0.6B, published |",
             "|---|---|---|---|---|---|---|"]
    for name, title in TITLES.items():
        figure = lambda of: f"{of[name]:.3f}" if name in of else ""  # noqa: E731
        goal = f">= {GOALS[name]:.2f}" if name in GOALS else ""
        lines.append(f"| {title} | {goal} | {figure(full)} | {figure(cut)} | {figure(baseline)} | {figure(teacher)} | "
                     f"{PUBLISHED.get(name, '')} |")
    return "\n".join(lines)


def missed(full, cut):
    out = [f"{TITLES[n]}: {full[n]:.4f}, the goal is {goal}" for n, goal in GOALS.items() if not full[n] >= goal]
    return out + [f"{TITLES[n]}: {full[n] - cut[n]:.4f} lower at 128 dimensions, at most {CUT_LOSS_MAX} is allowed"
                  for n in ("sts_en", "sts_zh") if not full[n] - cut[n] <= CUT_LOSS_MAX]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quern", default=ROOT / "build/release/quern", help="the binary")
    parser.add_argument("--model-path", default=ROOT / "models/quern-mini", type=pathlib.Path)
    parser.add_argument("--dtype", default="auto", help="as `quern serve` takes it")
    parser.add_argument("--data", default=ROOT.parent / "shared/data/eval", type=pathlib.Path)
    parser.add_argument("--corpus", default=ROOT.parent / "shared/data/corpus", type=pathlib.Path)
    parser.add_argument("--vectors", type=pathlib.Path, help="also write every text and its vector here (.npz)")
    options = parser.parse_args()
    if not options.data.exists() or not options.corpus.exists():
        sys.exit(f"./dev eval needs the development sets in {options.data} and the corpus in {options.corpus}; name them with "
                 "--data and --corpus")
    sets = dev_sets.load(options.data, held_back(options.corpus, ROOT / ".cache/eval/heldout.jsonl"))
    teacher_file = options.model_path / "train/teacher_figures.json"
    teacher = json.loads(teacher_file.read_text()) if teacher_file.exists() else {}
    server = Server([options.quern, "serve", "--model-path", options.model_path, "--dtype", options.dtype, "--log-level", "warn"])
    info, embed, begin = server.get("/info"), Embedder(server), time.time()
    try:
        full, cut = (dev_sets.score(sets, embed, dims) for dims in (None, 128))
    finally:
        code = server.stop()
    seconds = time.time() - begin
    print(table(full, cut, bm25.figures(dev_sets, sets), teacher))
    print(f"\n{len(embed.known)} texts, {embed.tokens} tokens in {seconds:.0f} s; dtype {options.dtype}, quern {info['version']}")
    if options.vectors:
        keys = list(embed.known)
        np.savez(options.vectors, texts=np.frombuffer("\0".join(k[0] for k in keys).encode(), np.uint8), is_query=np.array([k[1] for k in keys]),
                 vectors=np.stack([embed.known[k] for k in keys]))
    failures = missed(full, cut)
    print("\n".join(failures) if failures else "every goal is reached")
    return 1 if failures or code != 0 else 0


if __name__ == "__main__":
    run_tool(main)
