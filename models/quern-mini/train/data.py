"""Unpacks what pack.py wrote: texts, their token ids for the student and the teacher, and the dev sets."""
import concurrent.futures
import functools
import glob
import json
import lzma
import os

import numpy as np

import teacher_file

PROMPT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
STUDENT_TOKENS_MAX = 384
TEACHER_TOKENS_MAX = 384
CUTS, CUT_TOKENS_MIN = 2, 8
PASSAGE, QUERY = "passage: ", "query: "


class Ragged:
    """Rows of token ids, flat: `ids` and `starts` (one more than there are rows)."""

    def __init__(self, rows=(), ids=None, lengths=None):
        self.lengths = np.array([len(r) for r in rows], np.int64) if lengths is None else lengths
        self.ids = np.concatenate([np.empty(0, np.int32), *(np.asarray(r, np.int32) for r in rows)]) if ids is None else ids
        self.starts = np.concatenate([[0], np.cumsum(self.lengths)])

    @staticmethod
    def join(parts):
        return Ragged(ids=np.concatenate([p.ids for p in parts]), lengths=np.concatenate([p.lengths for p in parts]))


@functools.cache
def tokenizers_of(folder):
    from tokenizers import Tokenizer
    parts = teacher_file.load(os.path.join(folder, "teacher.pkl"))
    student = lzma.open(os.path.join(folder, "tokenizer.json.xz"), "rt", encoding="utf-8").read()
    return Tokenizer.from_str(student), parts, teacher_file.tokenizer(parts)


def student_ids(folder, texts, prompt=""):
    tokenizer = tokenizers_of(folder)[0]
    eos = tokenizer.token_to_id("<|endoftext|>")
    rows = [e.ids for e in tokenizer.encode_batch_fast([prompt + t for t in texts])]
    return Ragged([r if len(r) <= STUDENT_TOKENS_MAX else r[:STUDENT_TOKENS_MAX - 1] + [eos] for r in rows])


def teacher_ids(folder, texts, prefix=PASSAGE):
    _, parts, tokenizer = tokenizers_of(folder)
    rows = tokenizer.encode_batch_fast([prefix + teacher_file.normalise(parts, t) for t in texts])
    return Ragged([[parts["bos"], *r.ids[:TEACHER_TOKENS_MAX - 2], parts["eos"]] for r in rows])


def unpack_texts(path):
    return lzma.open(path).read().decode().split("\0")


def beginnings(folder, texts, seed):
    """Of each text of CUT_TOKENS_MIN tokens or more, CUTS beginnings that end with a token of the student.

    Returns rows of (text's place, token's place) i64 [n, 2], and the teacher's ids of the beginnings.
    """
    tokenizer, rng, at, out = tokenizers_of(folder)[0], np.random.default_rng(seed), [], []
    for i, e in enumerate(tokenizer.encode_batch(texts)):
        tokens = min(len(e.ids), STUDENT_TOKENS_MAX) - 1
        if tokens >= CUT_TOKENS_MIN:
            for k in rng.choice(np.arange(1, tokens - 1), CUTS, replace=False):
                at.append((i, k))
                out.append(texts[i][:e.offsets[k][1]])
    return np.array(at, np.int64).reshape(-1, 2), teacher_ids(folder, out)


def tokenise(folder, texts, prompted, prefix, cut):
    """One worker's share: student ids (with the prompt, where that is asked for), teacher ids, beginnings."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    begun = beginnings(folder, texts if cut else [], seed=len(texts[0]))
    return (student_ids(folder, texts, PROMPT if prompted else ""), teacher_ids(folder, texts, prefix), *begun)


def load_texts(folder, workers):
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(unpack_texts, sorted(glob.glob(os.path.join(folder, "texts*.xz")))))
    meta = json.loads(lzma.open(os.path.join(folder, "meta.json.xz")).read())
    texts = [t for part in parts for t in part]
    langs = [lang for _, lang, n in meta["runs"] for _ in range(n)]
    sources = [i for i, (_, _, n) in enumerate(meta["runs"]) for _ in range(n)]
    assert len(texts) == len(langs), (len(texts), len(langs))
    return texts, np.array(langs), np.array(sources), meta["sets"]


def tokenise_all(folder, texts, workers, prompted=False, prefix=PASSAGE, cut=False, chunk=2000):
    """Student ids, teacher ids; beginnings as (text's place, token's place) and their teacher ids."""
    with concurrent.futures.ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(tokenise, folder, texts[i:i + chunk], prompted, prefix, cut) for i in range(0, len(texts), chunk)]
        student, teacher, places, begun = zip(*[job.result() for job in jobs])
    places = np.concatenate([p + [i * chunk, 0] for i, p in enumerate(places)])
    return Ragged.join(student), Ragged.join(teacher), places, Ragged.join(begun)
