"""Every training row on the device: student ids and targets. Rows: [plain | prompted | long | variants | spans].

With several GPUs the first process tokenises for all, and each computes its share of the teacher's vectors.
"""
import json
import os

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

import data
import dev_sets
import targets

BUCKETS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
CLUSTERS, NEIGHBOURS = 4096, 32
VARIANTS, SPANS = 400000, 1500000
WHITEN = 0.3  # what MEASURE_TEACHER=1 chose
PROMPTED_SHARE, PROMPTED_TOKENS_MAX = 0.3, 64
LONG_TEXTS, LONG_CHARS = 100000, (300, 1600)
SOURCE_FULL = 20000  # a source of n texts above this counts as sqrt(n * SOURCE_FULL)
LANG_WEIGHTS = {"en": 1.0, "zh": 1.0, "code": 0.35, "other": 0.5}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RANK, WORLD = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
SHARED = "/dev/shm/quern-mini"


def words_of(text):
    gap = " " if " " in text else ""
    return gap, text.split(" ") if gap else list(text)


def long_texts(texts, sources, rng):
    """Texts joined from neighbours of one source and language, so that the student also learns length."""
    out, at = [], []
    while len(out) < min(LONG_TEXTS, len(texts) // 20):
        i = int(rng.integers(len(texts) - 60))
        want, joined = rng.integers(*LONG_CHARS), ""
        for j in range(i, i + 60):
            if sources[j] != sources[i] or len(joined) > want:
                break
            joined += (" " if joined else "") + texts[j]
        if len(joined) > 150:
            out.append(joined)
            at.append(i)
    return out, np.array(at)


def variants(texts, chosen, rng):
    """Of each chosen text a near twin (a span of words dropped or replaced by another text's), for fine distinctions."""
    out, last = [], None
    for i in chosen:
        gap, words = words_of(texts[i])
        size = int(rng.integers(1, max(2, len(words) // 4 + 1)))
        at = int(rng.integers(0, max(1, len(words) - size)))
        other = last[1][at:at + size] if last and last[0] == gap and rng.random() < 0.5 else []
        out.append(gap.join(words[:at] + other + words[at + size:]) or texts[i])
        last = gap, words
    return out


def spans(texts, chosen, rng):
    """Of each chosen text a run of 2 to 14 words (or twice as many characters): many short texts for few tokens."""
    out = []
    for i in chosen:
        gap, words = words_of(texts[i])
        size = int(rng.integers(2, 15)) * (1 if gap else 2)
        at = int(rng.integers(0, max(1, len(words) - size)))
        out.append(gap.join(words[at:at + size]))
    return out


def weights_of(langs, sources):
    """How often a text is drawn, at most 1: large sources and languages that matter less here are thinned out."""
    counts = np.bincount(sources)
    by_source = np.minimum(1.0, np.sqrt(SOURCE_FULL / counts))[sources]
    group = np.array([lang if lang in ("en", "zh") else "code" if lang.startswith("code-") else "other" for lang in langs])
    return by_source * np.vectorize(LANG_WEIGHTS.get)(group)


def tokenise_rows(folder, workers, log):
    """Runs once; everything the processes need goes to SHARED as arrays."""
    rng = np.random.default_rng(0)
    texts, langs, sources, sets = data.load_texts(folder, workers)
    log(len(texts), "texts unpacked")
    plain = data.tokenise_all(folder, texts, workers, cut=True)
    lengths = plain[0].lengths
    short = np.flatnonzero((lengths <= PROMPTED_TOKENS_MAX) & (rng.random(len(texts)) < PROMPTED_SHARE))
    varied_of = np.sort(rng.permutation(np.flatnonzero((lengths >= 6) & (lengths <= 48)))[:VARIANTS])
    span_of = np.sort(rng.choice(np.flatnonzero(lengths >= 12), min(SPANS, len(texts))))
    joined, long_of = long_texts(texts, sources, rng)
    parts = [plain, data.tokenise_all(folder, [texts[i] for i in short], workers, True, data.QUERY),
             data.tokenise_all(folder, joined, workers, cut=True),
             data.tokenise_all(folder, variants(texts, varied_of, rng), workers),
             data.tokenise_all(folder, spans(texts, span_of, rng), workers)]
    origin = np.concatenate([np.arange(len(texts)), short, long_of, varied_of, span_of])
    student, teacher, begun = (data.Ragged.join([p[k] for p in parts]) for k in (0, 1, 3))
    first = np.cumsum([0] + [len(p[0].lengths) for p in parts])
    cuts = np.concatenate([p[2] + [first[i], 0] for i, p in enumerate(parts)])
    group = np.repeat(np.arange(len(parts)), np.diff(first))
    teacher = data.Ragged.join([teacher, begun])
    os.makedirs(SHARED, exist_ok=True)
    arrays = dict(ids=student.ids, lengths=student.lengths, teacher_ids=teacher.ids, teacher_lengths=teacher.lengths,
                  origin=origin, group=group, cuts=cuts, langs=langs, weights=weights_of(langs, sources))
    for name, array in arrays.items():
        np.save(f"{SHARED}/{name}.npy", array)
    json.dump(sets, open(f"{SHARED}/sets.json", "w"))
    log("tokenised", [int(p[0].lengths.sum()) for p in parts], "student tokens (plain, prompted, long, variants, spans)")


class Corpus:
    def __init__(self, folder, workers, log):
        if RANK == 0:
            tokenise_rows(folder, workers, log)
        if WORLD > 1:
            dist.barrier()
        load = lambda name: np.load(f"{SHARED}/{name}.npy")  # noqa: E731
        self.sets, self.langs = json.load(open(f"{SHARED}/sets.json")), load("langs")
        self.lengths_cpu, origin, group = load("lengths"), load("origin"), load("group")
        self.model = targets.load_teacher(folder, DEVICE)
        raw = self._teacher_vectors(data.Ragged(ids=load("teacher_ids"), lengths=load("teacher_lengths")))
        log("teacher vectors", tuple(raw.shape))
        cuts = load("cuts")
        of_target = np.concatenate([origin, origin[cuts[:, 0]]])  # the targets: one of each row, then of each beginning
        plain, prompted = (torch.from_numpy(np.flatnonzero(group == k)).to(DEVICE) for k in (0, 1))
        langs_prompted = self.langs[origin[group == 1]]
        self.map = targets.Map(raw[plain], self.langs, WHITEN)
        if WORLD > 1:
            dist.broadcast(self.map.rotation, 0)
            dist.broadcast(self.map.scales, 0)
        self.targets = self.map(raw, self.langs[of_target])
        self.means_query = self.map.means_of(raw[prompted], langs_prompted)
        query = self.map(raw[prompted], langs_prompted, self.means_query).float()
        # A prompted text is to lie between what the teacher says of it as a query and as a passage.
        own = torch.from_numpy(origin[group == 1]).to(DEVICE)
        self.targets[prompted] = F.normalize(query + self.targets[plain][own].float(), dim=1).half()
        # For each row the places of its tokens that have a target, the last one first; -1: none.
        self.places = torch.full((len(origin), 1 + data.CUTS), -1, device=DEVICE)
        self.places[:, 0] = torch.from_numpy(self.lengths_cpu - 1).to(DEVICE)
        self.target_of = torch.zeros_like(self.places)
        self.target_of[:, 0] = torch.arange(len(origin), device=DEVICE)
        for k in range(data.CUTS):
            rows = torch.from_numpy(cuts[k::data.CUTS, 0]).to(DEVICE)
            self.places[rows, 1 + k] = torch.from_numpy(cuts[k::data.CUTS, 1]).to(DEVICE)
            self.target_of[rows, 1 + k] = len(origin) + torch.arange(k, len(cuts), data.CUTS, device=DEVICE)
        self.near = self._neighbours(origin)
        self.weights = load("weights")[origin]
        starts = np.concatenate([[0], np.cumsum(self.lengths_cpu)])
        self.starts = torch.from_numpy(starts[:-1]).to(DEVICE)
        ids = torch.from_numpy(load("ids")).to(DEVICE)
        self.ids = torch.cat([ids, torch.zeros(max(BUCKETS), dtype=ids.dtype, device=DEVICE)])
        log("targets")

    def _teacher_vectors(self, ragged):
        if WORLD == 1:
            return targets.teacher_vectors(self.model, ragged, DEVICE)
        mine = np.arange(RANK, len(ragged.lengths), WORLD)
        part = targets.teacher_vectors(self.model, ragged, DEVICE, mine)
        rows = -(-len(ragged.lengths) // WORLD)
        part = F.pad(part, (0, 0, 0, rows - len(part)))
        every = torch.empty(WORLD, rows, part.shape[1], dtype=part.dtype, device=DEVICE)
        dist.all_gather_into_tensor(every, part)
        return every.transpose(0, 1).reshape(-1, part.shape[1])[:len(ragged.lengths)]

    def _neighbours(self, origin):
        """For each row (cluster, its origin's place): sorting by it puts texts of near meaning beside each other."""
        centres = self.targets[torch.from_numpy(np.random.default_rng(2).integers(0, len(self.targets), CLUSTERS)).to(DEVICE)]
        cluster = torch.cat([(part @ centres.T).argmax(1) for part in self.targets[:len(origin)].split(65536)]).cpu().numpy()
        return cluster, origin

    def batch(self, rows, length):
        """Rows -> ids i64 [B, length], rows on the device."""
        rows = torch.from_numpy(rows).to(DEVICE, non_blocking=True)
        ids = self.ids[self.starts[rows][:, None] + torch.arange(length, device=DEVICE)].long()
        return ids, rows

    def wanted(self, rows):
        """rows [B] -> token places i64 [B, 1 + CUTS] (-1: none) and targets f32 [B, 1 + CUTS, H]."""
        return self.places[rows], self.targets[self.target_of[rows]].float()

    def measure_teacher(self, folder):
        """The teacher's own figures on the dev sets, plain and mapped."""
        def embed(texts, is_query, mapped=True, lang=lambda t: "zh" if any("\u4e00" <= c <= "\u9fff" for c in t) else "en"):
            v = targets.teacher_vectors(self.model, data.teacher_ids(folder, texts, data.QUERY if is_query else data.PASSAGE), DEVICE)
            if mapped:
                v = self.map(v, [lang(t) for t in texts], self.means_query if is_query else None)
            return v.float().cpu().numpy()
        return dev_sets.score(self.sets, lambda t, q: embed(t, q, False)), dev_sets.score(self.sets, embed)


def batches_of(lengths, rng, step_tokens, near, weights):
    """Endless (bucket, places) with bucket * len(places) == step_tokens; places drawn by weight, then shuffled.

    With `near`, runs of NEIGHBOURS rows stay together, so that a batch holds texts hard to tell apart as well as strangers.
    """
    buckets = np.searchsorted(BUCKETS, lengths)
    while True:
        batches = []
        drawn = rng.random(len(lengths)) < weights
        for b, length in enumerate(BUCKETS):
            places = rng.permutation(np.flatnonzero((buckets == b) & drawn))
            if near is not None and len(places) > NEIGHBOURS:
                mix = rng.permutation(len(lengths))
                places = places[np.lexsort((mix[near[1][places]], near[0][places]))]
                runs = np.split(places, np.arange(NEIGHBOURS, len(places), NEIGHBOURS))
                places = np.concatenate([runs[i] for i in rng.permutation(len(runs))])
            size = step_tokens // length
            batches += [(length, places[i:i + size]) for i in range(0, len(places) - size + 1, size)]
        assert batches, "fewer rows than one step takes"
        for i in rng.permutation(len(batches)):
            yield batches[i]
