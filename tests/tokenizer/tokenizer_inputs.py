"""Texts for comparing tokenizers: seeded hostile lines, and multilingual lines where ../shared has them."""

import io
import json
import pathlib
import random
import struct
import unicodedata

import numpy as np

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared"
QWEN3 = SHARED / "reference" / "qwen3-embedding" / "tokenizer.json"

SNIPPETS = [
    "", " ", "\n", "\r\n", "\t", "'", "''", "a", "Hello, world!", "I'm sure they'll say we've DON'T'RE 'S 'LL",
    "x'\u017fy '\u017f", "a\u0085b", "  leading", "trailing  ", " \n \n\n  x", "\u3000全角\u3000", "123 4567,89", "٣٤٥ ⅷ ½ ² ໒",
    "<|endoftext|>", "a<|im_start|>user\n<|im_end|>b", "<|im_start", "<think></think>", "<<|endoftext|>|>", "<tool_call>{}",
    "e\u0301 a\u030a\u0301 \u1e9b\u0323", "\u1100\u1161\u11a8 \uac00\u11a8 한국어", "\u0958 \u2126 \u212b \uf900 \U0002fa1d",
    "👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪", "\u200b\u200d\ufeff\u00ad", "\x00\x01\x1c\x1f\x7f", "\u180e a\u180eb", "\ufffd\uffff\U0010ffff",
    "def f(x):\n    return x**2  # ok\n\n\tif x != None:\r\n\t\tpass", "https://example.com/a?b=c&d=%20#e", "الْعَرَبِيَّةُ", "हिन्दी क्षत्रिय",
    "ไทยคำว่า", "עִבְרִית", "\U00011935\U00011930 \U00011938", "\U000105c2\u0307", "\u0344\u0385", "中文，标点。！", "a\u0334\u0345\u0316\u0301",
]
POOLS = [
    (0x20, 0x7F), (0x00, 0x20), (0x80, 0x250), (0x300, 0x370), (0x370, 0x600), (0x600, 0x780), (0x8A0, 0x1000),
    (0x1000, 0x1400), (0x1680, 0x1B00), (0x1AB0, 0x1B00), (0x1E00, 0x2070), (0x2000, 0x2C00), (0x3000, 0x3400),
    (0x4E00, 0x5200), (0xA640, 0xABFF), (0xAC00, 0xD7A4), (0x1100, 0x1200), (0xF900, 0xFB50), (0xFB00, 0x10000),
    (0x10000, 0x11F00), (0x1D100, 0x1D250), (0x1F300, 0x1FB00), (0x2F800, 0x2FA20), (0x0, 0x110000),
]
WORDS = ["the", " The", "'s", "'LL", "'re", "\r\n", "\n", "  ", "\t", " ", "123", "foo_bar", "…", "<|im_end|>", "é", "日本", "\u0301", "!", "?!"]


def random_text(rng, length):
    """`length` pieces drawn from a few scripts, with the pattern's own characters strewn in."""
    pools = rng.sample(POOLS, rng.randint(1, 3))
    out = []
    for _ in range(length):
        if rng.random() < 0.3:
            out.append(rng.choice(WORDS))
        else:
            code_point = rng.randrange(*rng.choice(pools))
            out.append(" " if 0xD800 <= code_point < 0xE000 else chr(code_point))
    return "".join(out)


def hostile_lines(count, seed=1):
    """`count` texts: the fixed snippets, every code point in turn, random mixtures, NFD, and 100k-character lines."""
    rng = random.Random(seed)
    lines = list(SNIPPETS)
    code_points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and (c < 0x32000 or c >= 0xE0000 and c < 0xE0200)]
    for start in range(0, len(code_points), 64):
        chunk = code_points[start : start + 64]
        lines.append("".join(f"a{chr(c)}b {chr(c)}" for c in chunk))
        lines.append("".join(map(chr, chunk)))
    long_size = 100_000
    lines += ["a" * long_size, " " * long_size, "'" * long_size, "\n " * (long_size // 2), "e\u0301\u0316" * (long_size // 3)]
    lines += ["".join(chr(rng.randrange(0x61, 0x7B)) for _ in range(long_size)), "日本語" * (long_size // 3)]
    lines += ["".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(long_size)), "\u0301\u0316" * (long_size // 2)]
    while len(lines) < count:
        text = random_text(rng, rng.choice([1, 2, 3, 5, 10, 40]))
        lines.append(unicodedata.normalize("NFD", text) if rng.random() < 0.2 else text)
    return lines


def corpus_lines(count, seed=2):
    """Up to `count` multilingual lines spread over ../shared/data/corpus; empty when it is not there."""
    import zstandard  # only this part needs it

    texts = []
    for path in sorted((SHARED / "data" / "corpus").glob("*.jsonl.zst")):
        with path.open("rb") as raw, zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
            for line in io.TextIOWrapper(stream, encoding="utf-8"):
                texts += [v for v in json.loads(line).values() if isinstance(v, str) and len(v) > 8]
    random.Random(seed).shuffle(texts)
    return texts[:count]


def write_texts(path, texts):
    """The tool's input: u32 byte count, then the bytes, for each text."""
    with open(path, "wb") as file:
        for text in texts:
            data = text.encode()
            file.write(struct.pack("<I", len(data)) + data)


def read_ids(path):
    """The tool's output: one list of ids for each text."""
    words = np.fromfile(path, dtype="<i4")
    ids, at = [], 0
    while at < len(words):
        count = int(words[at])
        ids.append(words[at + 1 : at + 1 + count].tolist())
        at += 1 + count
    return ids
