"""The student: Qwen3 (pre-norm, grouped-query attention with q/k norms, RoPE, SwiGLU), last-token pooling.

Batches are [B, L] with B * L constant, padded on the right: under a causal mask the padding comes after the last real
token and cannot reach it, so no mask is needed. Parameter names are those of Qwen3-Embedding checkpoints.
"""
import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6
ROPE_THETA = 1e6
HEAD_DIM = 64


def rms_norm(x, weight):
    x32 = x.float()
    return (x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + EPS)).to(x.dtype) * weight.to(x.dtype)


def rotate(x, cos, sin):
    """x [T, heads, d]; cos, sin [T, d]: Hugging Face's half-and-half rotation."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos[:, None] + turned * sin[:, None]


class Norm(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))


class Attention(nn.Module):
    def __init__(self, hidden, heads, kv_heads):
        super().__init__()
        self.q_proj = nn.Linear(hidden, heads * HEAD_DIM, bias=False)
        self.k_proj = nn.Linear(hidden, kv_heads * HEAD_DIM, bias=False)
        self.v_proj = nn.Linear(hidden, kv_heads * HEAD_DIM, bias=False)
        self.o_proj = nn.Linear(heads * HEAD_DIM, hidden, bias=False)
        self.q_norm, self.k_norm = Norm(HEAD_DIM), Norm(HEAD_DIM)


class Mlp(nn.Module):
    def __init__(self, hidden, intermediate):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, intermediate, bias=False)
        self.up_proj = nn.Linear(hidden, intermediate, bias=False)
        self.down_proj = nn.Linear(intermediate, hidden, bias=False)


class Layer(nn.Module):
    def __init__(self, hidden, heads, kv_heads, intermediate):
        super().__init__()
        self.input_layernorm, self.post_attention_layernorm = Norm(hidden), Norm(hidden)
        self.self_attn = Attention(hidden, heads, kv_heads)
        self.mlp = Mlp(hidden, intermediate)


def before_attention(x, norm, wq, wk, wv, nq, nk, cos, sin):
    """x [T, H] -> q [T, heads, d], k, v [T, kv_heads, d]."""
    h = rms_norm(x, norm)
    qkv = F.linear(h, torch.cat((wq, wk, wv)).to(h.dtype))
    q, k, v = (t.view(len(h), -1, HEAD_DIM) for t in qkv.split((len(wq), len(wk), len(wv)), 1))
    return rotate(rms_norm(q, nq), cos, sin), rotate(rms_norm(k, nk), cos, sin), v


def after_attention(x, a, wo, norm, gate, up, down):
    x = x + F.linear(a, wo.to(a.dtype))
    h = rms_norm(x, norm)
    g, u = F.linear(h, torch.cat((gate, up)).to(h.dtype)).chunk(2, 1)
    return x + F.linear(F.silu(g) * u, down.to(h.dtype))


def attention(q, k, v):
    """Causal; q [B, heads, L, d], k, v [B, kv_heads, L, d] -> [B, heads, L, d]."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = (t.repeat_interleave(groups, 1) for t in (k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


class Student(nn.Module):
    def __init__(self, shape, dtype=torch.bfloat16, compiled=True):
        super().__init__()
        self.shape, self.dtype = shape, dtype
        self.embed_tokens = nn.Embedding(shape["vocab"], shape["hidden"])
        self.layers = nn.ModuleList(Layer(shape["hidden"], shape["heads"], shape["kv_heads"], shape["intermediate"])
                                    for _ in range(shape["layers"]))
        self.norm = Norm(shape["hidden"])
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / (2 * shape["layers"]) ** 0.5 if deep else p.shape[1] ** -0.5 * 0.7)
        nn.init.normal_(self.embed_tokens.weight, std=0.1)
        make = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
        self.before, self.after = make(before_attention), make(after_attention)

    def forward(self, ids, lengths, plain=False):
        """ids i64 [B, L], lengths i64 [B] (the end-of-text token included) -> f32 [B, H], not normalised.

        `plain` runs the uncompiled functions: for shapes seen once, in evaluation.
        """
        before, after = (before_attention, after_attention) if plain else (self.before, self.after)
        B, L = ids.shape
        inverse = ROPE_THETA ** (-torch.arange(0, HEAD_DIM, 2, device=ids.device).float() / HEAD_DIM)
        angle = torch.arange(L, device=ids.device).float()[:, None] * inverse
        angle = torch.cat((angle, angle), -1).repeat(B, 1)
        cos, sin = angle.cos().to(self.dtype), angle.sin().to(self.dtype)
        x = F.embedding(ids.reshape(-1), self.embed_tokens.weight).to(self.dtype)
        for layer in self.layers:
            at, mlp = layer.self_attn, layer.mlp
            q, k, v = before(x, layer.input_layernorm.weight, at.q_proj.weight, at.k_proj.weight, at.v_proj.weight,
                             at.q_norm.weight, at.k_norm.weight, cos, sin)
            q, k, v = (t.view(B, L, -1, HEAD_DIM).transpose(1, 2) for t in (q, k, v))
            a = attention(q, k, v).transpose(1, 2).reshape(B * L, -1)
            x = after(x, a, at.o_proj.weight, layer.post_attention_layernorm.weight, mlp.gate_proj.weight,
                      mlp.up_proj.weight, mlp.down_proj.weight)
        last = torch.arange(B, device=ids.device) * L + lengths - 1
        return rms_norm(x[last].float(), self.norm.weight)
