"""Step 5: trains the students named on the command line, one after the other, and measures each on the dev sets.

    python train.py PACK OUT RUNS.json [SECONDS]

RUNS.json is a list of {"name", "seconds", "shape": {hidden, layers, heads, kv_heads, intermediate}, and recipe keys
(see RECIPE)}. With SECONDS, the best of them is trained anew for what is left of that time, an averaged checkpoint
written and measured every CHECKPOINT_SECONDS. Weights go to OUT as bf16, in parts of at most 15 MB.
"""
import copy
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
from model import Student, fused_attention, plain_attention
from muon import Muon

RECIPE = {"lr": 5e-4, "muon_lr": 1e-3, "cosine": 1.0, "similarity": 0.1, "temperature": 0.05, "pairs_from": 0.6,
          "pairs_weight": 0.3, "pairs_temperature": 0.05, "teacher_init": True, "muon": True, "near": True}
BUCKETS = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384]
STEP_TOKENS = 98304
CLUSTERS, NEIGHBOURS = 4096, 32
VARIANTS = 300000
EMA = 0.999
CHECKPOINT_SECONDS = 150
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


def variants(texts, chosen, rng):
    """Of each chosen text a near twin (a span of words dropped, doubled elsewhere's or replaced), for fine distinctions."""
    out, last = [], []
    for i in chosen:
        gap = " " if " " in texts[i] else ""
        words = texts[i].split(" ") if gap else list(texts[i])
        size = int(rng.integers(1, max(2, len(words) // 4 + 1)))
        at = int(rng.integers(0, max(1, len(words) - size)))
        other = [] if rng.random() < 0.5 or bool(last) and (last[0] != gap) or not last else last[1][at:at + size]
        out.append(gap.join(words[:at] + other + words[at + size:]) or texts[i])
        last = [gap, words]
    return out


class Corpus:
    """Every training row on the device: student ids, targets; rows [plain | prompted | long | variants]."""

    def __init__(self, folder, workers):
        rng = np.random.default_rng(0)
        texts, langs, sources, self.pairs, self.sets = data.load_texts(folder, workers)
        log(len(texts), "texts", len(self.pairs), "pairs unpacked")
        plain, plain_teacher = data.tokenise_all(folder, texts, workers)
        short = np.flatnonzero((plain.lengths <= PROMPTED_TOKENS_MAX) & (rng.random(len(texts)) < PROMPTED_SHARE))
        prompted, prompted_teacher = data.tokenise_all(folder, [texts[i] for i in short], workers, True, data.QUERY)
        joined, at = long_texts(texts, sources, rng)
        long, long_teacher = data.tokenise_all(folder, joined, workers)
        chosen = np.sort(rng.permutation(np.flatnonzero((plain.lengths >= 6) & (plain.lengths <= 48)))[:VARIANTS])
        varied, varied_teacher = data.tokenise_all(folder, variants(texts, chosen, rng), workers)
        log("tokenised", len(plain.ids), len(prompted.ids), len(long.ids), "student tokens,", len(plain_teacher.ids), "teacher")
        model = targets.load_teacher(folder, DEVICE)
        raw = targets.teacher_vectors(model, plain_teacher, DEVICE)
        raw_query = targets.teacher_vectors(model, prompted_teacher, DEVICE)
        raw_long = targets.teacher_vectors(model, long_teacher, DEVICE)
        raw_varied = targets.teacher_vectors(model, varied_teacher, DEVICE)
        log("teacher vectors")
        self.whiten = WHITEN if not os.environ.get("MEASURE_TEACHER") else self._measure_teacher(folder, model, raw, raw_query, langs, langs[short])
        self.map = targets.Map(raw, langs, self.whiten)
        means_query = self.map.means_of(raw_query, langs[short])
        shared = targets.share_between_translations(self.map(raw, langs), self.pairs)
        query = F.normalize(self.map(raw_query, langs[short], means_query).float() + shared[short].float(), dim=1).half()
        self.targets = torch.cat([shared, query, self.map(raw_long, langs[at]),
                                  self.map(raw_varied, langs[chosen])])
        origin = np.concatenate([np.arange(len(texts)), short, at, chosen])
        self.near = self._neighbours(origin)
        all_rows = data.Ragged.join([plain, prompted, long, varied])
        self.lengths = torch.from_numpy(all_rows.lengths).to(DEVICE)
        self.starts = torch.from_numpy(all_rows.starts[:-1]).to(DEVICE)
        self.ids = torch.from_numpy(all_rows.ids).to(DEVICE)
        self.ids = torch.cat([self.ids, torch.zeros(max(BUCKETS), dtype=self.ids.dtype, device=DEVICE)])
        self.lengths_cpu = all_rows.lengths
        self.prompted_of = np.full(len(texts), -1)
        self.prompted_of[short] = len(texts) + np.arange(len(short))
        log("targets; languages", {k: round(float(v.norm()), 3) for k, v in self.map.means.items()})

    def _neighbours(self, origin):
        """For each row (cluster, its origin's place): sorting by it puts texts of near meaning beside each other."""
        centres = self.targets[torch.randperm(len(self.targets), device=DEVICE)[:CLUSTERS]]
        cluster = torch.cat([(part @ centres.T).argmax(1) for part in self.targets.split(65536)]).cpu().numpy()
        return cluster[origin], origin

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


def batches_of(lengths, rng, group=1, near=None):
    """Endless (bucket, places) with bucket * len(places) * group == STEP_TOKENS; each place once an epoch, shuffled.

    With `near`, runs of NEIGHBOURS rows stay together, so that a batch holds texts hard to tell apart as well as strangers.
    """
    buckets = np.searchsorted(BUCKETS, lengths)
    while True:
        batches = []
        for b, length in enumerate(BUCKETS):
            places = rng.permutation(np.flatnonzero(buckets == b))
            if near is not None and len(places) > NEIGHBOURS:
                mix = rng.permutation(len(lengths))
                places = places[np.lexsort((mix[near[1][places]], near[0][places]))]
                runs = np.split(places, np.arange(NEIGHBOURS, len(places), NEIGHBOURS))
                places = np.concatenate([runs[i] for i in rng.permutation(len(runs))])
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
    """How far the student's vectors are from the targets, and how far their similarities: the sum, and both parts."""
    same_width = z.shape[1] == t.shape[1]
    widths = WIDTHS if same_width else WIDTHS[:-1] + [z.shape[1]]
    far = sum(1 - F.cosine_similarity(z[:, :w], t[:, :w], dim=1).mean() for w in widths) / len(widths) if same_width else z.new_zeros(())
    unlike = similarity_loss(z, t, widths, recipe["temperature"])
    return recipe["cosine"] * far + recipe["similarity"] * unlike, (far.detach(), unlike.detach())


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


def choose_attention(shape):
    """Up to which length the plain attention is the faster one here."""
    best = 0
    for length in BUCKETS:
        B, times = STEP_TOKENS // length, []
        for attend in (plain_attention, fused_attention):
            q, k, v = (torch.randn(B, length, h, 64, device=DEVICE, dtype=torch.bfloat16, requires_grad=True)
                       for h in (shape["heads"], shape["kv_heads"], shape["kv_heads"]))
            for i in range(8):
                if i == 3:
                    torch.cuda.synchronize()
                    begin = time.time()
                attend(*(t.transpose(1, 2) for t in (q, k, v))).transpose(1, 2).contiguous().sum().backward()
            torch.cuda.synchronize()
            times.append((time.time() - begin) / 5)
        log("attention of", length, "tokens: plain, fused ms", [round(1e3 * t, 2) for t in times])
        best = length if times[0] < times[1] else best
    return best


def train(corpus, folder, run, checkpoint=None):
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
    average = Student(shape, torch.bfloat16 if DEVICE == "cuda" else torch.float32, compiled=False).to(DEVICE)
    student.plain_attention_tokens_max = corpus.plain_attention_tokens_max
    singles = batches_of(corpus.lengths_cpu, rng, near=corpus.near if recipe["near"] else None)
    side = corpus.lengths_cpu[corpus.pairs[:, :2]]
    doubles = batches_of(np.where(side.max(1) > 256, 10**6, side.max(1)), rng, group=2)
    begin = first = saved = time.time()
    step, tokens, profiler, recent = 0, 0, None, []
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
            distilled, parts = distillation_loss(z, t, recipe)
            loss = loss + distilled
        else:
            length, places = next(singles)
            ids, lengths, rows = corpus.batch(places, length)
            loss, parts = distillation_loss(student(ids, lengths), corpus.targets[rows].float(), recipe)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0, foreach=True)
        for group in adam.param_groups:
            group["lr"] = recipe["lr"] * rate
        adam.step()
        if muon:
            muon.step(recipe["muon_lr"] * rate)
        student.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(student.parameters()), 1 - min(EMA, 1 - 3 / (step + 4)))
        step, tokens = step + 1, tokens + ids.numel()
        if step == 60:  # compiled by now: the time given counts from here
            begin = first = saved = time.time()
            tokens = 0
        if DEVICE == "cuda" and run.get("profile") and step in (100, 110):
            profiler = profile_steps(profiler)
        if checkpoint and time.time() - saved > CHECKPOINT_SECONDS:
            saved = time.time()
            checkpoint(average)
        recent.append(torch.stack(parts))
        if step % 500 == 0:
            far, unlike = torch.stack(recent).mean(0).tolist()
            recent.clear()
            log(run["name"], "step", step, f"1 - cosine {far:.4f} similarities {unlike:.4f} of time {done:.3f}",
                "Mtok/s", round(tokens / (time.time() - first) / 1e6, 3))
    log(run["name"], step, "steps,", round(tokens / (time.time() - first) / 1e6, 3), "Mtok/s")
    return average


def profile_steps(profiler):
    """Starts at the first call; at the second logs where the device's time went."""
    if profiler is None:
        profiler = torch.profiler.profile()
        profiler.__enter__()
        torch.cuda.synchronize()
        return profiler
    torch.cuda.synchronize()
    profiler.__exit__(None, None, None)
    print(profiler.key_averages().table(sort_by="self_cuda_time_total", row_limit=22, max_name_column_width=70), flush=True)
    return None


def remember(embed):
    known = {}

    def remembered(texts, is_query):
        key = (tuple(texts), is_query)
        if key not in known:
            known[key] = embed(texts, is_query)
        return known[key]
    return remembered


def measure(student, corpus, folder, name, cache):
    student = copy.deepcopy(student)
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


def worth(report):
    """What a comparison is decided by: the sum of the figures that are asked for."""
    return sum(report["all"][k] for k in ("sts_en", "sts_zh", "sts_zh_2", "lcqmc", "scifact"))


def main(folder, out, runs_path, seconds_in_all="0"):
    workers = int(os.environ.get("WORKERS", "16"))
    print(os.getpid(), file=open(os.path.join(os.path.dirname(os.path.abspath(out)), "pid"), "w"))
    os.makedirs(out, exist_ok=True)
    torch.set_float32_matmul_precision("high")
    corpus, cache, reports = Corpus(folder, workers), {}, {}
    runs = json.load(open(runs_path))
    corpus.plain_attention_tokens_max = choose_attention(runs[0]["shape"]) if DEVICE == "cuda" else 64

    def finish(student, name):
        save(student, out)
        reports[name] = measure(student, corpus, folder, name, cache)
        json.dump(reports, open(os.path.join(out, "reports.json"), "w"), indent=1)

    for run in runs:
        finish(train(corpus, folder, run), run["name"])
    left = float(seconds_in_all) - (time.time() - START) - 60
    if left > 0:
        best = max(runs, key=lambda run: worth(reports[run["name"]]))
        log("chosen:", best["name"], "for", round(left), "s")
        final = {**best, "name": "final: " + best["name"], "seconds": left}
        finish(train(corpus, folder, final, lambda student: finish(student, final["name"] + " so far")), final["name"])
    log("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
