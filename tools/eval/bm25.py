"""BM25 (Robertson and Zaragoza 2009), the baseline that knows no meaning: words, and pairs of characters for Chinese."""
import collections
import math
import re

import numpy as np

K1, B = 1.2, 0.75
WORD = re.compile(r"[\u3400-\u9fff]+|\w+")


def terms(text):
    out = []
    for word in WORD.findall(text.lower()):
        if "\u3400" <= word[0] <= "\u9fff":
            out += [word[i:i + 2] for i in range(max(1, len(word) - 1))]
        else:
            out.append(word)
    return out


class Bm25:
    def __init__(self, documents):
        bags = [collections.Counter(terms(d)) for d in documents]
        sizes = np.array([sum(bag.values()) for bag in bags], dtype=np.float64)
        self.length = K1 * (1 - B + B * sizes / sizes.mean())
        self.postings = collections.defaultdict(lambda: ([], []))
        for place, bag in enumerate(bags):
            for term, count in bag.items():
                self.postings[term][0].append(place)
                self.postings[term][1].append(count)

    def scores(self, query):
        """f64 [documents]."""
        total = np.zeros(len(self.length))
        for term in terms(query):
            if term not in self.postings:
                continue
            places, counts = (np.array(x) for x in self.postings[term])
            idf = math.log(1 + (len(self.length) - len(places) + 0.5) / (len(places) + 0.5))
            total[places] += idf * counts * (K1 + 1) / (counts + self.length[places])
        return total


def figures(dev_sets, sets):
    """The same figures as dev_sets.score, by BM25 instead of vectors."""
    out = {}
    for name in dev_sets.PAIR_SETS:
        s = sets[name]
        index = Bm25(s["b"])
        out[name] = dev_sets.spearman([index.scores(a)[i] for i, a in enumerate(s["a"])], s["y"])
    s = sets["scifact"]
    index = Bm25(s["docs"])
    out["scifact"] = dev_sets.ndcg_at_10(np.array([index.scores(q) for q in s["queries"]]), s["relevant"])
    index = Bm25(sets["enzh"]["b"])
    out["enzh"] = dev_sets.both_ways(np.array([index.scores(a) for a in sets["enzh"]["a"]]))
    return out
