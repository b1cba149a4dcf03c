"""The development sets, read from ../shared/data/eval, and how each is scored. Used for measuring only, never to train on."""
import csv
import json
import os

import numpy as np

PAIR_SETS = ("sts_en", "sts_zh", "sts_zh_2", "lcqmc")


def spearman(a, b):
    def ranks(x):
        x = np.asarray(x, dtype=np.float64)
        order = np.argsort(x, kind="stable")
        r = np.empty(len(x))
        r[order] = np.arange(len(x))
        _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
        return (np.bincount(inverse, r) / counts)[inverse]  # ties share their mean rank
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def load(eval_folder, heldout_path):
    """Name -> texts and labels, as plain lists (so that it packs as JSON)."""
    sets = {}
    for lang in ("en", "zh"):
        rows = list(csv.reader(open(os.path.join(eval_folder, "sts", f"stsb-{lang}-dev.csv"), encoding="utf-8")))
        sets[f"sts_{lang}"] = {"a": [r[0] for r in rows], "b": [r[1] for r in rows], "y": [float(r[2]) for r in rows]}
    for name, path in (("sts_zh_2", "sts/sts-b-dev.txt"), ("lcqmc", "lcqmc/dev.txt")):
        rows = [line.rstrip("\n").split("\t") for line in open(os.path.join(eval_folder, path), encoding="utf-8")]
        rows = [r for r in rows if len(r) == 3] or [line.rstrip("\n").split("||") for line in
                                                    open(os.path.join(eval_folder, path), encoding="utf-8")]
        rows = [r[-3:] for r in rows]
        sets[name] = {"a": [r[0] for r in rows], "b": [r[1] for r in rows], "y": [float(r[2]) for r in rows]}
    folder = os.path.join(eval_folder, "scifact")
    docs = [json.loads(line) for line in open(os.path.join(folder, "corpus.jsonl"), encoding="utf-8")]
    queries = {str(q["_id"]): q["text"] for q in map(json.loads, open(os.path.join(folder, "queries.jsonl"),
                                                                     encoding="utf-8"))}
    qrels = {}
    for line in list(open(os.path.join(folder, "qrels", "test.tsv")))[1:]:
        q, d, score = line.split("\t")
        if int(score) > 0:
            qrels.setdefault(q, []).append(d)
    place = {str(d["_id"]): i for i, d in enumerate(docs)}
    sets["scifact"] = {"docs": [(d.get("title", "") + " " + d["text"]).strip() for d in docs],
                       "queries": [queries[q] for q in qrels], "relevant": [[place[d] for d in ds] for ds in qrels.values()]}
    rows = [json.loads(line) for line in open(heldout_path, encoding="utf-8")]
    sets["enzh"] = {"a": [r["en"] for r in rows], "b": [r["zh"] for r in rows]}
    return sets


def all_texts(sets):
    return [t for s in sets.values() for key in ("a", "b", "docs", "queries") for t in s.get(key, [])]


def ndcg_at_10(scores, relevant):
    """scores [queries, docs]; relevant: for each query its relevant documents' places."""
    gains = 1 / np.log2(np.arange(2, 12))
    values = []
    for row, wanted in zip(scores, relevant):
        top = np.argsort(-row, kind="stable")[:10]
        ideal = gains[:len(wanted)].sum()
        values.append(sum(g for g, d in zip(gains, top) if d in wanted) / ideal)
    return float(np.mean(values))


def both_ways(similarity):
    """How often row i's best column is i, and column i's best row: the mean of the two accuracies."""
    places = np.arange(len(similarity))
    return float((np.mean(similarity.argmax(1) == places) + np.mean(similarity.argmax(0) == places)) / 2)


def score(sets, embed, dims=None):
    """embed(texts, is_query) -> unit vectors [N, width]; `dims` cuts and normalises again. Returns name -> figure."""
    def vectors(texts, is_query=False):
        v = np.asarray(embed(texts, is_query), dtype=np.float32)[:, :dims]
        return v / np.linalg.norm(v, axis=1, keepdims=True)
    figures = {}
    for name in PAIR_SETS:
        s = sets[name]
        figures[name] = spearman((vectors(s["a"]) * vectors(s["b"])).sum(1), s["y"])
    s = sets["scifact"]
    docs = vectors(s["docs"])
    figures["scifact"] = ndcg_at_10(vectors(s["queries"], True) @ docs.T, s["relevant"])
    figures["scifact_no_prompt"] = ndcg_at_10(vectors(s["queries"]) @ docs.T, s["relevant"])
    figures["enzh"] = both_ways(vectors(sets["enzh"]["a"]) @ vectors(sets["enzh"]["b"]).T)
    return figures
