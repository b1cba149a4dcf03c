#!/usr/bin/env python3
"""Compares vectors that `eval.py --vectors` wrote with transformers' in f32: the lowest and the mean cosine, and where.

Every text of up to --tokens tokens, and every SHARE-th of the longer ones. Exit code 1 when a cosine lies below --least.
"""
import argparse
import json
import pathlib
import sys

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import Qwen3Model

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH_TOKENS = 8192


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vectors", help="what eval.py --vectors wrote")
    parser.add_argument("--model-path", default=ROOT / "models/quern-mini", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--share", type=int, default=10)
    parser.add_argument("--least", type=float, default=0.9999)
    options = parser.parse_args()
    prompts = json.loads((options.model_path / "config_sentence_transformers.json").read_text())["prompts"]
    tokenizer = Tokenizer.from_file(str(options.model_path / "tokenizer.json"))
    model = Qwen3Model.from_pretrained(options.model_path, dtype=torch.float32, attn_implementation="eager").eval()
    given = np.load(options.vectors)
    texts, vectors = given["texts"].tobytes().decode().split("\0"), torch.from_numpy(given["vectors"])
    ids = [tokenizer.encode((prompts["query"] if q else "") + t).ids for t, q in zip(texts, given["is_query"])]
    long = [i for i, row in enumerate(ids) if len(row) > options.tokens]
    skipped = set(long) - set(long[::options.share])
    order = sorted((i for i in range(len(ids)) if i not in skipped), key=lambda i: len(ids[i]))
    cosines, begin = torch.empty(len(order), dtype=torch.float64), 0
    while begin < len(order):  # texts of one length: no padding, no mask
        length = len(ids[order[begin]])
        rows = [i for i in order[begin:begin + max(1, BATCH_TOKENS // length)] if len(ids[i]) == length]
        with torch.no_grad():
            last = model(input_ids=torch.tensor([ids[i] for i in rows])).last_hidden_state[:, -1]
        cosines[begin:begin + len(rows)] = torch.cosine_similarity(last.double(), vectors[rows].double())
        begin += len(rows)
        if sys.stderr.isatty():
            print(f"\r{begin}/{len(order)} texts ", end="" if begin < len(order) else "\n", file=sys.stderr, flush=True)
    worst = order[int(cosines.argmin())]
    print(f"{len(order)} texts, {sum(len(ids[i]) for i in order)} tokens ({len(skipped)} long ones left out): cosine with transformers "
          f"in f32 lowest {cosines.min():.7f}, mean {cosines.mean():.7f}; lowest for {texts[worst][:60]!r}")
    return 0 if cosines.min() >= options.least else 1


if __name__ == "__main__":
    sys.exit(main())
