"""The student's first weights, made from the teacher's: no training, a row of least-squares fits.

The teacher is a BERT encoder: normalised after each sublayer, biases, GELU, attention both ways. Run causally, without
positions, with some of its layers left out and read at the end-of-text token, it still means nearly the same
(README.md). This file writes that crippled teacher down as a Qwen3 model, one sublayer after the other:

- The residual stream. BERT's x' = g * (x + f(x)) / s + b multiplies the whole stream by g and 1 / s in every sublayer;
  Qwen3 only adds. So the student's stream is the teacher's divided by all the g and 1 / s so far, turned to the principal
  axes of the teacher's vectors. RMSNorm takes the scalar away again.
- Every weight that reads the stream is a ridge regression of what the teacher computes there on what the student sees
  there; every weight that writes to it is one of what is still missing. Biases come from the stream's large constant part.
- Query and key norms. A large constant in one slowly turning dimension of q, and in its partner of k, makes all norms
  equal without touching any product q.k. The other dimensions are balanced, the largest where RoPE turns slowest.
- GELU(a) ~ silu(1.702 a) / 1.702 with an `up` of 1; the neurons that matter least go.
"""
import numpy as np
import torch
import torch.nn.functional as F

import data
from model import attend, rms_norm
from teacher import Teacher

GELU_SIGMOID = 1.702
NORM_HEADROOM = 4.0  # squared norm of q and k with the constant in it, over that of the head with the largest without
RIDGE = 1e-4
EMBEDDING_RMS = 0.1  # the stream grows a hundredfold from there, as the teacher's later layers outweigh its first
EOS_WEIGHT = 6.0  # of the token that gives the vector, against the others
FIT_LENGTHS = {16: 1024, 32: 512, 64: 256}  # tokens of a text: number of texts, 49 thousand tokens in all


def ridge(x, y, relative=RIDGE):
    """x [T, n], y [T, m] -> W [m, n] with x W^T ~ y; `relative` is in units of the mean square of x."""
    x, y = x.double(), y.double()
    gram = x.T @ x
    gram.diagonal().add_(relative * gram.diagonal().mean())
    return torch.linalg.solve(gram, x.T @ y).T.float()


def token_embeddings(folder, teacher, rows):
    """For each student token the mean of the teacher's embeddings of its text, as they enter the first layer.

    One row more than there are tokens: what begins each text of the teacher (<s>).
    """
    from tokenizers import Tokenizer, pre_tokenizers
    tokenizer, parts, pieces = data.tokenizers_of(folder)
    pieces = Tokenizer.from_str(pieces.to_str())
    pieces.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="never", split=False)
    texts = [data.teacher_file.normalise(parts, tokenizer.decode([i], skip_special_tokens=False)) for i in range(rows)]
    drop = {parts["unk"], pieces.token_to_id("\u2581")}
    ids = [[k for k in e.ids if k not in drop] for e in pieces.encode_batch(texts)]
    ids[tokenizer.token_to_id("<|endoftext|>")] = [parts["eos"]]
    words = teacher.emb_word.float()
    ids.append([parts["bos"]])
    known = torch.tensor([bool(row) for row in ids], device=words.device)
    table = torch.stack([words[row].mean(0) if row else torch.zeros_like(words[0]) for row in ids])
    table[~known] = table[known].mean(0)
    x = table + teacher.emb_pos[:64].float().mean(0) + teacher.emb_type[:teacher.H].float()
    return teacher.norm(x, "emb_ln")


class Stream:
    """What the teacher holds for every token (x), and what the student's stream should hold then (wanted)."""

    def __init__(self, teacher, x, axes, chosen):
        """x [T + 1, H]: the last row is the teacher's <s>, which under a causal mask is the same in every text."""
        self.teacher, self.x, self.axes = teacher, x, axes
        self.s = torch.ones(len(x), 1, device=x.device)  # the product of the standard deviations so far, per token
        self.p = torch.ones_like(x[0])                   # the product of the norms' weights still to come, per channel
        for i in chosen:
            self.p = self.p * getattr(teacher, f"l{i}_aln_w") * getattr(teacher, f"l{i}_oln_w")
        self.p = self.p * EMBEDDING_RMS / (self.p * x).square().mean().sqrt()

    def add(self, f, name):
        u = self.x + f
        self.s = self.s * u.std(1, keepdim=True, unbiased=False)
        self.p = self.p / getattr(self.teacher, name + "_w")
        self.x = self.teacher.norm(u, name)

    def wanted(self):
        return (self.s * (self.p * self.x) @ self.axes)[:-1]


def balanced(q, k):
    """q, k [T, d] -> maps Mq, Mk [d, d] that keep every q.k and make both covariances one diagonal, largest first."""
    d, T = q.shape[1], len(q)
    chol = lambda x: torch.linalg.cholesky(x.T @ x / T + 1e-6 * x.square().mean() * torch.eye(d, device=x.device).double())  # noqa: E731
    lq, lk = chol(q), chol(k)
    u, sigma, v = torch.linalg.svd(lq.T @ lk)
    root = sigma.clamp(min=1e-9).rsqrt()
    return lk @ v.T * root, lq @ u * root


def slots(d):
    """The places of a head's dimensions from where RoPE turns slowest to fastest; the slowest pair is kept for constants."""
    half = d // 2
    return [p for i in range(half - 2, -1, -1) for p in (i, i + half)]


def heads_of(q, k, heads):
    """The teacher's q, k [T, H] -> what the student's should be before their norms, and the norms' weight."""
    d = q.shape[1] // heads
    q, k = (x.double().view(len(x), heads, d) for x in (q, k - k.mean(0)))
    new_q, new_k, place = torch.zeros_like(q), torch.zeros_like(k), slots(d)
    for h in range(heads):
        mq, mk = balanced(q[:, h], k[:, h])
        new_q[:, h, place] = (q[:, h] @ mq)[:, :d - 2]
        new_k[:, h, place] = (k[:, h] @ mk)[:, :d - 2]
    square = lambda x: x.square().sum(2).mean(0)  # noqa: E731
    total = NORM_HEADROOM * torch.maximum(square(new_q), square(new_k)).max()
    new_q[:, :, d // 2 - 1] = (total - square(new_q)).sqrt()
    new_k[:, :, d - 1] = (total - square(new_k)).sqrt()
    return new_q.flatten(1), new_k.flatten(1), float((total / d).sqrt())


class Transplant:
    """Fills `student` layer by layer; `r` is its own stream, `stream` the teacher's, for all tokens of the batches."""

    def __init__(self, student, teacher, table, axes, batches, chosen):
        """table f32 [vocabulary + 1, H], axes [H, H] orthogonal, batches: ids [B, L] without padding, chosen: teacher layers."""
        self.student, self.teacher, self.batches = student, teacher, batches
        ids = torch.cat([b.flatten() for b in batches])
        self.stream = Stream(teacher, torch.cat((table[ids], table[-1:])), axes, chosen)
        student.embed_tokens.weight.copy_((self.stream.p * table[:-1]) @ axes)
        self.weight = torch.cat([F.pad(torch.ones(len(b), b.shape[1] - 1), (0, 1), value=EOS_WEIGHT).view(-1, 1) for b in batches]).to(ids.device)
        self.r, self.missed = student.embed_tokens.weight[ids].clone(), []
        for place, i in enumerate(chosen):
            self.attention(student.layers[place], i)
            self.mlp(student.layers[place], i, is_last=place == len(student.layers) - 1)
        if len(chosen) < len(student.layers):
            self.pool(student.layers[len(chosen)])

    def by_batch(self, x, run):
        """run(part of x, B, L) for each batch, joined."""
        parts = x.split([b.numel() for b in self.batches])
        return torch.cat([run(part, *b.shape) for part, b in zip(parts, self.batches)])

    def teacher_heads(self, qkv, first, B, L):
        """The teacher's attention, causal; `first` is <s>, which every token sees."""
        all_tokens = torch.cat((first.expand(B, 1, -1), qkv.view(B, L, -1)), 1)
        q, k, v = all_tokens.view(B, L + 1, 3, self.teacher.heads, -1).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :, 1:].transpose(1, 2).reshape(B * L, -1)

    def attention(self, layer, i):
        at, stream, h = layer.self_attn, self.stream, rms_norm(self.r, layer.input_layernorm.weight)
        q, k, v = (self.teacher.linear(stream.x, f"l{i}_{n}") for n in "qkv")
        new_q, new_k, scale = heads_of(q[:-1], k[:-1], self.teacher.heads)
        for linear, want in ((at.q_proj, new_q), (at.k_proj, new_k), (at.v_proj, v[:-1])):
            linear.weight.copy_(ridge(h, want))
        at.q_norm.weight.fill_(scale ** 0.5)
        at.k_norm.weight.fill_(scale ** 0.5)
        qkv = torch.cat((q, k, v), 1)
        theirs = self.by_batch(qkv[:-1], lambda part, B, L: self.teacher_heads(part, qkv[-1], B, L))
        theirs = torch.cat((theirs, v[-1:]))  # <s> sees itself alone
        stream.add(self.teacher.linear(theirs, f"l{i}_ao"), f"l{i}_aln")
        ours = self.by_batch(self.r, lambda r, B, L: attend(layer, r, B, L, *self.student.rotations(B, L, r.device)))
        self.write(at.o_proj, ours, stream.wanted())

    def mlp(self, layer, i, is_last):
        mlp, stream, h = layer.mlp, self.stream, rms_norm(self.r, layer.post_attention_layernorm.weight)
        a = self.teacher.linear(stream.x, f"l{i}_fi")
        out, acts = getattr(self.teacher, f"l{i}_fo_w") * stream.p[:, None], F.gelu(a)
        worth = acts[:-1].var(0) * out.square().sum(0)
        kept = worth.topk(len(mlp.gate_proj.weight)).indices
        mlp.gate_proj.weight.copy_(GELU_SIGMOID * ridge(h, a[:-1, kept]))
        mlp.up_proj.weight.copy_(ridge(h, torch.ones_like(a[:-1, :1])).expand(len(kept), -1))
        stream.add(self.teacher.linear(acts, f"l{i}_fo"), f"l{i}_oln")
        want = stream.wanted()
        if is_last:
            want = want - want.mean(0)
        z = F.silu(mlp.gate_proj(h)) * mlp.up_proj(h)
        self.write(mlp.down_proj, z, want)
        unit, far = F.normalize(want, dim=1), F.normalize(want, dim=1) - F.normalize(self.r, dim=1)
        self.missed.append(float(far.square().sum() / (unit - unit.mean(0)).square().sum()))

    def pool(self, layer):
        """One layer more, whose heads look at all tokens alike: the mean of what the tokens hold."""
        at, eye = layer.self_attn, torch.eye(len(self.stream.axes), device=self.r.device)
        at.q_norm.weight.fill_(0.1)
        at.v_proj.weight.copy_(eye)
        at.o_proj.weight.copy_(eye * 4 * self.r.square().mean().sqrt())
        layer.mlp.down_proj.weight.zero_()

    def write(self, linear, x, want):
        """Only the direction of the stream counts, so every token weighs alike whatever its length."""
        weight = self.weight / want.norm(dim=1, keepdim=True)
        linear.weight.copy_(ridge(x * weight, (want - self.r) * weight))
        self.r = self.r + linear(x)


@torch.no_grad()
def fill(student, corpus, folder, chosen):
    """Fills `student` from the teacher's layers `chosen`; returns the share of the stream's variance each layer misses."""
    teacher = Teacher(data.tokenizers_of(folder)[1]).to(corpus.ids.device)
    table = token_embeddings(folder, teacher, student.shape["vocab"])
    rng, batches = np.random.default_rng(3), []
    for length, texts in FIT_LENGTHS.items():
        fit = np.flatnonzero((corpus.lengths_cpu[:len(corpus.langs)] == length) & (rng.random(len(corpus.langs)) < corpus.weights[:len(corpus.langs)]))
        batches.append(corpus.batch(rng.permutation(fit)[:texts], length)[0])
    missed = Transplant(student, teacher, table, corpus.map.rotation, batches, chosen).missed
    student.norm.weight.copy_(corpus.map.scales / corpus.map.scales[0])
    return missed
