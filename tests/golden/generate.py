#!/usr/bin/env python3
"""Dumps what transformers computes on tiny random models: tests/golden/<case>.bin and the models' folders.

`./dev golden` runs it with the torch and transformers of requirements.txt. A case differs from its neighbours in the
shape (make_model.py's presets), the stored dtype, the shards, the tensor names' prefix, or an lm_head of its own.
Little-endian file: u32 count of sequences; for each: u32 tokens T, i32 ids [T], u32 layers L, u32 width D,
f32 hidden states [L, T, D] (the embedding, then each layer but the last), f32 vector [D] (f32), f32 vector [D] (bf16).
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


def pooled(model, ids):
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), output_hidden_states=True)
    last = out.last_hidden_state[0, -1].float()
    return [h[0].float().numpy() for h in out.hidden_states[:-1]], (last / last.norm()).numpy()


def main():
    torch.set_num_threads(2)
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
