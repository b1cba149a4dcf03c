"""Step 5: trains the students named on the command line, one after the other, and measures each on the dev sets.

    python train.py PACK OUT RUNS.json

RUNS.json is a list of {"name", "seconds", "shape": {hidden, layers, heads, kv_heads, intermediate}, and recipe keys
(see RECIPE)}. The weights of the last run are written to OUT as bf16, in parts of at most 15 MB.
"""
import json
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

import data
import dev_sets
import targets
from model import Student
from muon import Muon

RECIPE = {"lr": 2e-3, "muon_lr": 2e-3, "cosine": 1.0, "similarity": 1.0, "temperature": 0.05, "pairs_from": 0.6,
          "pairs_weight": 0.3, "pairs_temperature": 0.05, "teacher_init": True, "muon": True}
BUCKETS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
STEP_TOKENS = 73728
WHITEN = 0.3  # what MEASURE_TEACHER=1 chose
WIDTHS = [32, 64, 128, 256, 384]
SIMILARITY_ROWS_MAX = 1536
PROMPTED_SHARE, PROMPTED_TOKENS_MAX = 0.3, 64
LONG_TEXTS, LONG_CHARS = 60000, (300, 1600)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
START = time.time()


def log(*words):
    print(f"[{time.time() - START:6.1f}s]", *words, flush=True)


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


class Corpus:
    """Every training row on the device: student ids, targets; rows [plain | prompted | long]."""

    def __init__(self, folder, workers):
        rng = np.random.default_rng(0)
        texts, langs, sources, self.pairs, self.sets = data.load_texts(folder, workers)
        log(len(texts), "texts", len(self.pairs), "pairs unpacked")
        plain, plain_teacher = data.tokenise_all(folder, texts, workers)
        short = np.flatnonzero((plain.lengths <= PROMPTED_TOKENS_MAX) & (rng.random(len(texts)) < PROMPTED_SHARE))
        prompted, prompted_teacher = data.tokenise_all(folder, [texts[i] for i in short], workers, True, data.QUERY)
        joined, at = long_texts(texts, sources, rng)
        long, long_teacher = data.tokenise_all(folder, joined, workers)
        log("tokenised", len(plain.ids), len(prompted.ids), len(long.ids), "student tokens,", len(plain_teacher.ids), "teacher")
        model = targets.load_teacher(folder, DEVICE)
        raw = targets.teacher_vectors(model, plain_teacher, DEVICE)
        raw_query = targets.teacher_vectors(model, prompted_teacher, DEVICE)
        raw_long = targets.teacher_vectors(model, long_teacher, DEVICE)
        log("teacher vectors")
        self.whiten = WHITEN if not os.environ.get("MEASURE_TEACHER") else self._measure_teacher(folder, model, raw, raw_query, langs, langs[short])
        self.map = targets.Map(raw, langs, self.whiten)
        means_query = self.map.means_of(raw_query, langs[short])
        shared = targets.share_between_translations(self.map(raw, langs), self.pairs)
        query = F.normalize(self.map(raw_query, langs[short], means_query).float() + shared[short].float(), dim=1).half()
        self.targets = torch.cat([shared, query, self.map(raw_long, langs[at])])
        all_rows = data.Ragged.join([plain, prompted, long])
        self.lengths = torch.from_numpy(all_rows.lengths).to(DEVICE)
        self.starts = torch.from_numpy(all_rows.starts[:-1]).to(DEVICE)
        self.ids = torch.from_numpy(all_rows.ids).to(DEVICE)
        self.ids = torch.cat([self.ids, torch.zeros(max(BUCKETS), dtype=self.ids.dtype, device=DEVICE)])
        self.lengths_cpu = all_rows.lengths
        self.prompted_of = np.full(len(texts), -1)
        self.prompted_of[short] = len(texts) + np.arange(len(short))
        log("targets; languages", {k: round(float(v.norm()), 3) for k, v in self.map.means.items()})

    def _measure_teacher(self, folder, model, raw, raw_query, langs, langs_query):
        """Scores the teacher on the dev sets, plain and mapped; returns the whitening that suits its student best."""
        best, chosen = -1.0, 0.0
        plain = remember(lambda texts, is_query: targets.teacher_vectors(model, data.teacher_ids(
            folder, texts, data.QUERY if is_query else data.PASSAGE), DEVICE))
        for whiten in (None, 0.0, 0.3, 0.6):
            fitted = targets.Map(raw, langs, whiten or 0.0)
            means = {False: fitted.means, True: fitted.means_of(raw_query, langs_query)}

            def embed(texts, is_query, lang=lambda t: "zh" if any("\u4e00" <= c <= "\u9fff" for c in t) else "en"):
                v = plain(texts, is_query)
                return (v if whiten is None else fitted(v, [lang(t) for t in texts], means[is_query])).float().cpu().numpy()
            figures = dev_sets.score(self.sets, embed)
            log("teacher, whiten", whiten, {k: round(v, 4) for k, v in figures.items()})
            total = figures["sts_en"] + figures["sts_zh"] + figures["lcqmc"] + figures["scifact"] + figures["enzh"]
            if whiten is not None and total > best:
                best, chosen = total, whiten
        log("whitening chosen", chosen)
        return chosen

    def batch(self, rows, length):
        rows = torch.from_numpy(rows).to(DEVICE, non_blocking=True)
        lengths = self.lengths[rows].clamp(max=length)
        ids = self.ids[self.starts[rows][:, None] + torch.arange(length, device=DEVICE)].long()
        return ids, lengths, rows


def batches_of(lengths, rng, group=1):
    """Endless (bucket, places) with bucket * len(places) * group == STEP_TOKENS; each place once an epoch, shuffled."""
    buckets = np.searchsorted(BUCKETS, lengths)
    while True:
        batches = []
        for b, length in enumerate(BUCKETS):
            places = rng.permutation(np.flatnonzero(buckets == b))
            size = STEP_TOKENS // length // group
            batches += [(length, places[i:i + size]) for i in range(0, len(places) - size + 1, size)]
        for i in rng.permutation(len(batches)):
            yield batches[i]


def similarity_loss(z, t, widths, temperature):
    """Mean over widths of KL(teacher || student) between the rows of the in-batch similarity matrices."""
    z, t = z[:SIMILARITY_ROWS_MAX], t[:SIMILARITY_ROWS_MAX]
    hide = torch.eye(len(z), device=z.device, dtype=torch.bool)
    want = (t @ t.T / temperature).masked_fill(hide, -1e4).softmax(1)
    total = 0.0
    for w in widths:
        s = F.normalize(z[:, :w], dim=1)
        got = (s @ s.T / temperature).masked_fill(hide, -1e4).log_softmax(1)
        total = total + F.kl_div(got, want, reduction="batchmean")
    return total / len(widths)


def distillation_loss(z, t, recipe):
    same_width = z.shape[1] == t.shape[1]
    widths = WIDTHS if same_width else WIDTHS[:-1] + [z.shape[1]]
    loss = 0.0
    if same_width and recipe["cosine"]:
        loss = recipe["cosine"] * sum(1 - F.cosine_similarity(z[:, :w], t[:, :w], dim=1).mean() for w in widths) / len(widths)
    return loss + recipe["similarity"] * similarity_loss(z, t, widths, recipe["temperature"])


def pairs_loss(a, b, ta, tb, temperature):
    """InfoNCE both ways at two widths; a negative that the teacher finds as near as the true pair is not one."""
    truth = (ta * tb).sum(1, keepdim=True)
    false_negative = (ta @ tb.T > torch.minimum(truth, truth.new_tensor(0.9)) - 0.05)
    false_negative.fill_diagonal_(False)
    labels, total = torch.arange(len(a), device=a.device), 0.0
    for w in (128, a.shape[1]):
        s = F.normalize(a[:, :w], dim=1) @ F.normalize(b[:, :w], dim=1).T / temperature
        s = s.masked_fill(false_negative, -1e4)
        total = total + F.cross_entropy(s, labels) + F.cross_entropy(s.T, labels)
    return total / 4


@torch.no_grad()
def embed_with(student, folder, cache):
    """A function for dev_sets.score: texts -> full-width unit vectors, as the shipped model would give them."""
    def embed(texts, is_query):
        key = (tuple(texts), is_query)
        if key not in cache:
            cache[key] = data.student_ids(folder, texts, data.PROMPT if is_query else "")
        rows, out = cache[key], np.empty((len(texts), student.shape["hidden"]), np.float32)
        order = np.argsort(rows.lengths)
        for i in range(0, len(order), 256):
            chunk = order[i:i + 256]
            ids = np.zeros((len(chunk), rows.lengths[chunk].max()), np.int64)
            for k, r in enumerate(chunk):
                ids[k, :rows.lengths[r]] = rows.ids[rows.starts[r]:rows.starts[r + 1]]
            with torch.no_grad():
                z = student(torch.from_numpy(ids).to(DEVICE), torch.from_numpy(rows.lengths[chunk]).to(DEVICE), plain=True)
            out[chunk] = F.normalize(z, dim=1).cpu().numpy()
        return out
    return embed


def teacher_embeddings(folder, rows):
    """For each student token, the mean of the teacher's input embeddings over that token's own text, scaled alike."""
    tokenizer, parts, teacher_tokenizer = data.tokenizers_of(folder)
    words = data.teacher_file.dequantise(parts["tensors"]["emb.word"][2], parts["shape"]["H"])
    out = np.zeros((rows, words.shape[1]), np.float32)
    for i in range(rows):
        ids = teacher_tokenizer.encode(data.teacher_file.normalise(parts, tokenizer.decode([i]).strip())).ids
        out[i] = words[ids].mean(0) if ids else 0
    out -= out.mean(0)
    return torch.from_numpy(out / out.std() * 0.1)


def train(corpus, folder, run):
    recipe = {**RECIPE, **run}
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    shape = {**run["shape"], "vocab": data.tokenizers_of(folder)[0].get_vocab_size()}
    student = Student(shape, torch.bfloat16 if DEVICE == "cuda" else torch.float32, compiled=DEVICE == "cuda").to(DEVICE)
    if recipe["teacher_init"]:
        with torch.no_grad():
            known = teacher_embeddings(folder, shape["vocab"])
            student.embed_tokens.weight[:, :known.shape[1]] = known.to(DEVICE)
    matrices = [p for n, p in student.named_parameters() if p.dim() == 2 and "embed" not in n] if recipe["muon"] else []
    taken = {id(p) for p in matrices}
    adam = torch.optim.AdamW([p for p in student.parameters() if id(p) not in taken], lr=recipe["lr"], betas=(0.9, 0.98),
                             weight_decay=0.01, fused=DEVICE == "cuda")
    muon = Muon(matrices) if matrices else None
    singles = batches_of(corpus.lengths_cpu, rng)
    side = corpus.lengths_cpu[corpus.pairs[:, :2]]
    doubles = batches_of(np.where(side.max(1) > 256, 10**6, side.max(1)), rng, group=2)
    begin = first = time.time()
    step, tokens = 0, 0
    while (done := (time.time() - begin) / run["seconds"]) < 1:
        rate = min(1.0, (step + 1) / 300) * max(0.02, min(1.0, (1 - done) / 0.7))
        if done > recipe["pairs_from"] and step % 2:
            length, places = next(doubles)
            pair = corpus.pairs[places]
            left, prompted = pair[:, 0].copy(), corpus.prompted_of[pair[:, 0]]
            use = (pair[:, 2] == 1) & (prompted >= 0) & (corpus.lengths_cpu[prompted] <= length)
            left[use] = prompted[use]
            ids, lengths, rows = corpus.batch(np.concatenate([left, pair[:, 1]]), length)
            z, t, half = student(ids, lengths), corpus.targets[rows].float(), len(pair)
            loss = recipe["pairs_weight"] * pairs_loss(z[:half], z[half:], t[:half], t[half:], recipe["pairs_temperature"])
            loss = loss + distillation_loss(z, t, recipe)
        else:
            length, places = next(singles)
            ids, lengths, rows = corpus.batch(places, length)
            loss = distillation_loss(student(ids, lengths), corpus.targets[rows].float(), recipe)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0, foreach=True)
        for group in adam.param_groups:
            group["lr"] = recipe["lr"] * rate
        adam.step()
        if muon:
            muon.step(recipe["muon_lr"] * rate)
        student.zero_grad(set_to_none=True)
        step, tokens = step + 1, tokens + ids.numel()
        if step == 60:  # compiled by now: the time given counts from here
            begin = first = time.time()
            tokens = 0
        if step % 2000 == 0:
            log(run["name"], "step", step, "loss", round(float(loss), 4), "of time", round(done, 3),
                "Mtok/s", round(tokens / (time.time() - first) / 1e6, 3))
    log(run["name"], step, "steps,", round(tokens / (time.time() - first) / 1e6, 3), "Mtok/s")
    return student


def remember(embed):
    known = {}

    def remembered(texts, is_query):
        key = (tuple(texts), is_query)
        if key not in known:
            known[key] = embed(texts, is_query)
        return known[key]
    return remembered


def measure(student, corpus, folder, name, cache):
    with torch.no_grad():
        for p in student.parameters():
            p.copy_(p.bfloat16())
    embed, report = remember(embed_with(student, folder, cache)), {}
    for dims in (None, 128):
        report[str(dims or "all")] = {k: round(v, 4) for k, v in dev_sets.score(corpus.sets, embed, dims).items()}
        log("RESULT", name, "dims", dims or "all", report[str(dims or "all")])
    return report


def save(student, out):
    from safetensors.torch import save as to_bytes
    blob = to_bytes({n: p.detach().to(torch.bfloat16).cpu().contiguous() for n, p in student.named_parameters()},
                    metadata={"format": "pt"})
    part = 15_000_000
    for i in range(0, len(blob), part):
        open(os.path.join(out, f"model.safetensors.{i // part:02d}"), "wb").write(blob[i:i + part])
    json.dump(student.shape, open(os.path.join(out, "shape.json"), "w"))


def main(folder, out, runs_path):
    workers = int(os.environ.get("WORKERS", "16"))
    corpus, cache, reports = Corpus(folder, workers), {}, {}
    torch.set_float32_matmul_precision("high")
    for run in json.load(open(runs_path)):
        student = train(corpus, folder, run)
        save(student, out)
        reports[run["name"]] = measure(student, corpus, folder, run["name"], cache)
        json.dump(reports, open(os.path.join(out, "reports.json"), "w"), indent=1)
    log("params", sum(p.numel() for p in student.parameters()))


if __name__ == "__main__":
    main(*sys.argv[1:])
