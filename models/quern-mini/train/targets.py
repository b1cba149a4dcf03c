"""What the student is asked to match: the teacher's vectors, centred per language, turned so that they may be cut.

Subtracting each language's mean takes away what only says "this is Chinese", which helps search across languages. The axes
are learned so that the first 32, 64, 128... numbers alone tell near from far as the whole does (Matryoshka): the same vectors
along their principal axes lose three times as much of STS-B when cut to 128.
"""
import numpy as np
import torch
import torch.nn.functional as F

import data
from losses import similarity_loss
from teacher import Teacher

LANG_MIN_TEXTS = 1500
BATCH_TOKENS = 1 << 17
SAMPLE = 300000
NESTED_STEPS, NESTED_ROWS, NESTED_LR, NESTED_TEMPERATURE = 500, 1536, 2e-3, 0.05


@torch.no_grad()
def teacher_vectors(model, ragged, device, chosen=None):
    """Unit vectors f16 [N, H] on `device` of all rows or the chosen; rows of equal length share a batch: no mask is needed."""
    chosen = np.arange(len(ragged.lengths)) if chosen is None else chosen
    out = torch.empty(len(chosen), model.H, dtype=torch.float16, device=device)
    ids = torch.from_numpy(ragged.ids).to(device)
    lengths = ragged.lengths[chosen]
    order = np.argsort(lengths, kind="stable")
    edges = np.flatnonzero(np.diff(lengths[order], prepend=-1, append=1 << 30))
    for lo, hi in zip(edges[:-1], edges[1:]):
        length = int(lengths[order[lo]])
        step = max(1, BATCH_TOKENS // length)
        for i in range(lo, hi, step):
            rows = order[i:min(i + step, hi)]
            at = torch.from_numpy(ragged.starts[chosen[rows]]).to(device)[:, None] + torch.arange(length, device=device)
            out[torch.from_numpy(rows).to(device)] = F.normalize(model(ids[at].long(), None), dim=1).half()
    return out


def nested_axes(x, axes, scales):
    """Turns `axes` [H, H] and adapts `scales` [H] so that every width's similarities tell what those of x A s tell."""
    whole, n = F.normalize(x @ axes * scales, dim=1), len(axes)
    turn = torch.zeros(n, n, device=x.device, requires_grad=True)
    logs = scales.log().clone().requires_grad_(True)
    adam = torch.optim.Adam([turn, logs], lr=NESTED_LR)
    for step in range(NESTED_STEPS):
        rows = torch.randint(len(x), (NESTED_ROWS,), device=x.device)
        z = x[rows] @ axes @ torch.matrix_exp(turn - turn.T) * logs.exp()
        adam.zero_grad()
        similarity_loss(z, whole[rows], NESTED_TEMPERATURE).backward()
        adam.param_groups[0]["lr"] = NESTED_LR * (1 - step / NESTED_STEPS)
        adam.step()
    with torch.no_grad():
        return (axes @ torch.matrix_exp(turn - turn.T)).contiguous(), logs.exp()


class Map:
    """Language means per prefix and one rotation; fitted on the texts, then applied to any teacher vectors."""

    def __init__(self, vectors, langs, whiten):
        names, counts = np.unique(langs, return_counts=True)
        frequent = {n for n, c in zip(names, counts) if c >= LANG_MIN_TEXTS}
        self.group = lambda lang: "code" if lang.startswith("code-") else lang if lang in frequent else "other"
        self.means = self.means_of(vectors, langs)
        sample = torch.randperm(len(vectors), device=vectors.device)[:SAMPLE]
        centred = self._centred(vectors, langs, self.means)[sample].float()
        values, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
        values, axes = values.flip(0), axes.flip(1)
        scales = values.clamp(min=values[0] * 1e-4).pow(-whiten / 2)
        with torch.enable_grad():
            self.rotation, self.scales = nested_axes(centred, axes, scales)

    def groups(self, langs):
        return np.array([self.group(lang) for lang in langs])

    def means_of(self, vectors, langs):
        groups = self.groups(langs)
        return {g: vectors[torch.from_numpy(np.flatnonzero(groups == g)).to(vectors.device)].float().mean(0)
                for g in np.unique(groups)}

    def _centred(self, vectors, langs, means):
        names = sorted(self.means)
        index = torch.tensor([names.index(g) for g in self.groups(langs)], device=vectors.device)
        return vectors - torch.stack([means.get(n, self.means[n]) for n in names]).half()[index]

    def __call__(self, vectors, langs, means=None):
        centred = self._centred(vectors, langs, self.means if means is None else means)
        return torch.cat([F.normalize(c.float() @ self.rotation * self.scales, dim=1).half() for c in centred.split(200000)])


def load_teacher(folder, device):
    model = Teacher(data.tokenizers_of(folder)[1]).to(device)
    return model.bfloat16() if device == "cuda" else model
