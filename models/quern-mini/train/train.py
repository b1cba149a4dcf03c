"""Step 5: trains the students of RUNS.json, one after the other, and measures each on the dev sets.

    torchrun --nproc_per_node=GPUS train.py PACK OUT RUNS.json [SECONDS]

RUNS.json is a list of {"name", "seconds", "shape": {hidden, layers, heads, kv_heads, head_dim, intermediate,
rope_theta}, "from_layers": those of the teacher that it starts from, and recipe keys
(see RECIPE)}. With SECONDS, the best of them (the first, when "seconds" is 0) is trained for what is left of that time, an
averaged checkpoint written and measured every CHECKPOINT_SECONDS. Weights go to OUT as bf16, in parts of at most 15 MB.
"""
import copy
import json
import os
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

import data
import dev_sets
import transplant
from corpus import DEVICE, RANK, WORLD, Corpus, batches_of
from losses import distillation_loss
from model import Student
from muon import Muon

RECIPE = {"lr": 5e-4, "muon_lr": 1e-3, "similarity": 0.1, "temperature": 0.05, "beginnings": 0.5, "near": True}
STEP_TOKENS = 65536  # of one process
WARM_STEPS, SPEED_STEPS = 60, 160
EMA = 0.999
CHECKPOINT_SECONDS = 380
START = time.time()


def log(*words):
    if RANK == 0:
        print(f"[{time.time() - START:6.1f}s]", *words, flush=True)


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
                z = student(torch.from_numpy(ids).to(DEVICE), torch.from_numpy(rows.lengths[chunk, None] - 1).to(DEVICE), plain=True)[:, 0]
            out[chunk] = F.normalize(z, dim=1).cpu().numpy()
        return out
    return embed


def average_gradients(params):
    if WORLD == 1:
        return
    flat = torch._utils._flatten_dense_tensors([p.grad for p in params])
    dist.all_reduce(flat, dist.ReduceOp.AVG)
    for p, g in zip(params, torch._utils._unflatten_dense_tensors(flat, [p.grad for p in params])):
        p.grad = g


def make_student(corpus, folder, run):
    torch.manual_seed(0)
    shape = {**run["shape"], "vocab": data.tokenizers_of(folder)[0].get_vocab_size()}
    student = Student(shape, torch.bfloat16 if DEVICE == "cuda" else torch.float32, compiled=DEVICE == "cuda").to(DEVICE)
    missed = transplant.fill(student, corpus, folder, run["from_layers"])
    log("missed of the variance of the stream, after each layer:", [round(x, 3) for x in missed])
    if run.get("only_embeddings"):
        fresh = Student(shape, student.dtype, compiled=DEVICE == "cuda").to(DEVICE)
        with torch.no_grad():
            fresh.embed_tokens.weight.copy_(student.embed_tokens.weight * 0.1)
        student = fresh
    if WORLD > 1:
        for p in student.parameters():
            dist.broadcast(p.data, 0)
    average = Student(shape, student.dtype, compiled=False).to(DEVICE)
    average.load_state_dict(student.state_dict())
    return student, average


class Schedule:
    """Seconds -> steps, the same in every process: warms up, then decays from 30% on. `done` lies in [0, 1]."""

    def __init__(self, seconds):
        self.seconds, self.steps, self.begin = seconds, None, time.time()

    def rate(self, step):
        done = 0.0 if self.steps is None else step / self.steps
        return min(1.0, (step + 1) / 300) * max(0.01, min(1.0, (1 - done) / 0.7))

    def tick(self, step):
        if step == WARM_STEPS:  # compiled by now: the time given counts from here
            torch.cuda.synchronize() if DEVICE == "cuda" else None
            self.begin = time.time()
        if step == SPEED_STEPS:
            torch.cuda.synchronize() if DEVICE == "cuda" else None
            speed = (SPEED_STEPS - WARM_STEPS) / (time.time() - self.begin)
            steps = torch.tensor([WARM_STEPS + self.seconds * speed], device=DEVICE)
            if WORLD > 1:
                dist.broadcast(steps, 0)
            self.steps = max(SPEED_STEPS + 1, int(steps.item()))


def step_loss(corpus, student, recipe, batches):
    """Every process draws the same batches and takes its own of each round."""
    length, drawn = [next(batches) for _ in range(WORLD)][RANK]
    ids, rows = corpus.batch(drawn, length)
    places, t = corpus.wanted(rows)
    loss, parts = distillation_loss(student(ids, places), t, places >= 0, recipe)
    return loss, parts, ids.numel()


def train(corpus, folder, run, checkpoint=None):
    recipe, rng = {**RECIPE, **run}, np.random.default_rng(1)
    student, average = make_student(corpus, folder, run)
    params = list(student.parameters())
    matrices = [p for n, p in student.named_parameters() if p.dim() == 2 and "embed" not in n]
    taken = {id(p) for p in matrices}
    adam = torch.optim.AdamW([p for p in params if id(p) not in taken], lr=recipe["lr"], betas=(0.9, 0.98), weight_decay=0.01,
                             fused=DEVICE == "cuda")
    muon, schedule = Muon(matrices), Schedule(run["seconds"])
    batches = batches_of(corpus.lengths_cpu, rng, STEP_TOKENS, near=corpus.near if recipe["near"] else None, weights=corpus.weights)
    step, tokens, recent, first, saved = 0, 0, [], time.time(), time.time()
    while schedule.steps is None or step < schedule.steps:
        rate = schedule.rate(step)
        loss, parts, count = step_loss(corpus, student, recipe, batches)
        loss.backward()
        average_gradients(params)
        torch.nn.utils.clip_grad_norm_(params, 1.0, foreach=True)
        for group in adam.param_groups:
            group["lr"] = recipe["lr"] * rate
        adam.step()
        muon.step(recipe["muon_lr"] * rate)
        student.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), params, 1 - min(EMA, 1 - 3 / (step + 4)))
        step, tokens = step + 1, tokens + count * WORLD
        schedule.tick(step)
        recent.append(parts)
        if step % 500 == 0:
            far, begun, unlike = torch.stack(recent).mean(0).tolist()
            recent.clear()
            log(run["name"], "step", step, f"of {schedule.steps}; 1 - cosine {far:.4f}, of beginnings {begun:.4f}, similarities {unlike:.4f};",
                round(tokens / (time.time() - first) / 1e6, 3), "Mtok/s")
            if checkpoint and RANK == 0 and time.time() - saved > CHECKPOINT_SECONDS:
                saved = time.time()
                checkpoint(average)
    log(run["name"], step, "steps,", round(tokens / (time.time() - first) / 1e6, 3), "Mtok/s")
    return average


def measure(student, corpus, folder, name, cache):
    student = copy.deepcopy(student)
    with torch.no_grad():
        for p in student.parameters():
            p.copy_(p.bfloat16())
    known, embed, report = {}, embed_with(student, folder, cache), {}

    def remembered(texts, is_query):
        key = (tuple(texts), is_query)
        if key not in known:
            known[key] = embed(texts, is_query)
        return known[key]
    for dims in (None, 128):
        report[str(dims or "all")] = {k: round(v, 4) for k, v in dev_sets.score(corpus.sets, remembered, dims).items()}
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
    if WORLD > 1:
        torch.cuda.set_device(RANK)
        dist.init_process_group("nccl")
    torch.set_float32_matmul_precision("high")
    os.makedirs(out, exist_ok=True)
    if RANK == 0:
        print(os.getppid() if WORLD > 1 else os.getpid(), file=open(os.path.join(os.path.dirname(os.path.abspath(out)), "pid"), "w"))
    corpus, cache, reports = Corpus(folder, int(os.environ.get("WORKERS", os.cpu_count())), log), {}, {}
    if os.environ.get("MEASURE_TEACHER") and RANK == 0:
        for name, figures in zip(("teacher", "teacher, mapped"), corpus.measure_teacher(folder)):
            log(name, {k: round(v, 4) for k, v in figures.items()})
    runs = json.load(open(runs_path))

    def finish(student, name):
        if RANK == 0:
            save(student, out)
            reports[name] = measure(student, corpus, folder, name, cache)
            json.dump(reports, open(os.path.join(out, "reports.json"), "w"), indent=1)

    for run in runs:
        if run["seconds"]:
            finish(train(corpus, folder, run), run["name"])
    left = torch.tensor([float(seconds_in_all) - (time.time() - START) - 45], device=DEVICE)
    best = torch.tensor([max(range(len(runs)), key=lambda i: worth(reports[runs[i]["name"]])) if reports else 0], device=DEVICE)
    if WORLD > 1:
        dist.broadcast(left, 0)
        dist.broadcast(best, 0)
    if left.item() > 0:
        final = {**runs[int(best.item())], "seconds": left.item()}
        log("chosen:", final["name"], "for", round(final["seconds"]), "s")
        final["name"] = "final: " + final["name"]
        finish(train(corpus, folder, final, lambda student: finish(student, final["name"] + " so far")), final["name"])
    log("done")
    if WORLD > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
