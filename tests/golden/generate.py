#!/usr/bin/env python3
"""Dumps what transformers computes on tiny random models: tests/golden/<case>.bin and the models' folders.

`./dev golden` runs it with the torch and transformers of requirements.txt. A case differs from its neighbours in the
shape (make_model.py's presets), the stored dtype, the shards, the tensor names' prefix, or an lm_head of its own.
Little-endian file: u32 count of sequences; for each: u32 tokens T, i32 ids [T], u32 layers L, u32 width D,
f32 hidden states [L, T, D] (the embedding, then each layer but the last), f32 vector [D] (f32), f32 vector [D] (bf16).
The case "long" has inputs of up to every position: u32 count; for each: u32 T, u32 seed of its ids (long_ids()), u32 D,
f32 vector [D] (f32). `generate.py long` makes that case alone.
"""
import pathlib
import struct
import sys

import numpy as np
import torch
from transformers import AutoModel

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tools"))
from make_model import make_model  # noqa: E402

CASES = {
    "odd": ("odd", "bf16", {"prefix": "model."}),
    "group8": ("group8", "bf16", {"shards": 2}),
    "wide-q": ("wide-q", "bf16", {}),
    "group1-untied": ("group1", "bf16", {"untied": True, "prefix": "model."}),
    "f16-shards": ("group1", "f16", {"shards": 3, "prefix": "model."}),
    "f32": ("odd", "f32", {}),
}
LENGTHS = [1, 2, 17, 70]
LONG_LENGTHS = [8192, 32003, 32768]


def pooled(model, ids):
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    last = out.last_hidden_state[0, -1].float()
    return [h[0].float().numpy() for h in out.hidden_states[:-1]], (last / last.norm()).numpy()


def long_ids(T, V, seed):
    ids, state = [], seed
    for _ in range(T):
        state = (state * 1664525 + 1013904223) % 2**32
        ids.append((state >> 16) % V)
    return ids


def make_long():
    folder = HERE / "models" / "long"
    V = make_model(folder, "long", "bf16", seed=7)[6]
    exact = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with open(HERE / "long.bin", "wb") as out:
        out.write(struct.pack("<I", len(LONG_LENGTHS)))
        for seed, T in enumerate(LONG_LENGTHS, start=1):
            with torch.no_grad():
                last = exact(input_ids=torch.tensor([long_ids(T, V, seed)])).last_hidden_state[0, -1]
            vector = (last / last.norm()).numpy().astype("<f4")
            out.write(struct.pack("<III", T, seed, len(vector)) + vector.tobytes())


def main():
    torch.set_num_threads(2)
    make_long()
    if sys.argv[1:] == ["long"]:
        return
    for case, (preset, stored, options) in CASES.items():
        folder = HERE / "models" / case
        V = make_model(folder, preset, stored, seed=7, **options)[6]
        exact = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        rough = AutoModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
        generator = np.random.Generator(np.random.PCG64(3))
        with open(HERE / f"{case}.bin", "wb") as out:
            out.write(struct.pack("<I", len(LENGTHS)))
            for T in LENGTHS:
                ids = generator.integers(0, V, T).tolist()
                hidden, vector = pooled(exact, ids)
                _, vector_bf16 = pooled(rough, ids)
                out.write(struct.pack("<I", T) + np.array(ids, "<i4").tobytes())
                out.write(struct.pack("<II", len(hidden), hidden[0].shape[1]))
                out.write(np.stack(hidden).astype("<f4").tobytes())
                out.write(vector.astype("<f4").tobytes() + vector_bf16.astype("<f4").tobytes())


if __name__ == "__main__":
    main()
