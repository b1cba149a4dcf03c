"""The student: Qwen3 (pre-norm, grouped-query attention with q/k norms, RoPE, SwiGLU), last-token pooling.

Batches are [B, L] with B * L constant, padded on the right: under a causal mask the padding comes after the last real
token and cannot reach it, so no mask is needed. Parameter names are those of Qwen3-Embedding checkpoints.
"""
import torch
import torch.nn.functional as F
from torch import nn

EPS = 1e-6


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
    def __init__(self, hidden, heads, kv_heads, head_dim):
        super().__init__()
        self.q_proj = nn.Linear(hidden, heads * head_dim, bias=False)
        self.k_proj = nn.Linear(hidden, kv_heads * head_dim, bias=False)
        self.v_proj = nn.Linear(hidden, kv_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(heads * head_dim, hidden, bias=False)
        self.q_norm, self.k_norm = Norm(head_dim), Norm(head_dim)


class Mlp(nn.Module):
    def __init__(self, hidden, intermediate):
        super().__init__()
        self.gate_proj = nn.Linear(hidden, intermediate, bias=False)
        self.up_proj = nn.Linear(hidden, intermediate, bias=False)
        self.down_proj = nn.Linear(intermediate, hidden, bias=False)


class Layer(nn.Module):
    def __init__(self, shape):
        super().__init__()
        hidden = shape["hidden"]
        self.input_layernorm, self.post_attention_layernorm = Norm(hidden), Norm(hidden)
        self.self_attn = Attention(hidden, shape["heads"], shape["kv_heads"], shape["head_dim"])
        self.mlp = Mlp(hidden, shape["intermediate"])


def before_attention(x, norm, wq, wk, wv, nq, nk, cos, sin):
    """x [T, H] -> q [T, heads, d], k, v [T, kv_heads, d]."""
    h = rms_norm(x, norm)
    qkv = F.linear(h, torch.cat((wq, wk, wv)).to(h.dtype))
    q, k, v = (t.view(len(h), -1, len(nq)) for t in qkv.split((len(wq), len(wk), len(wv)), 1))
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


def attend(layer, x, B, L, cos, sin, before=before_attention):
    """x [B * L, H] -> what the heads of all tokens gather, [B * L, heads * d]."""
    at = layer.self_attn
    q, k, v = before(x, layer.input_layernorm.weight, at.q_proj.weight, at.k_proj.weight, at.v_proj.weight,
                     at.q_norm.weight, at.k_norm.weight, cos, sin)
    q, k, v = (t.view(B, L, -1, t.shape[-1]).transpose(1, 2) for t in (q, k, v))
    return attention(q, k, v).transpose(1, 2).reshape(B * L, -1)


class Student(nn.Module):
    def __init__(self, shape, dtype=torch.bfloat16, compiled=True):
        super().__init__()
        self.shape, self.dtype = shape, dtype
        self.embed_tokens = nn.Embedding(shape["vocab"], shape["hidden"])
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape["layers"]))
        self.norm = Norm(shape["hidden"])
        for name, p in self.named_parameters():
            if p.dim() == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / (2 * shape["layers"]) ** 0.5 if deep else p.shape[1] ** -0.5 * 0.7)
        nn.init.normal_(self.embed_tokens.weight, std=0.1)
        make = (lambda f: torch.compile(f, dynamic=False)) if compiled else (lambda f: f)
        self.before, self.after = make(before_attention), make(after_attention)

    def rotations(self, B, L, device):
        """cos, sin [B * L, head_dim] of RoPE, every row of the batch from position 0 on."""
        d = self.shape["head_dim"]
        inverse = self.shape["rope_theta"] ** (-torch.arange(0, d, 2, device=device).float() / d)
        angle = torch.arange(L, device=device).float()[:, None] * inverse
        angle = torch.cat((angle, angle), -1).repeat(B, 1)
        return angle.cos().to(self.dtype), angle.sin().to(self.dtype)

    def forward(self, ids, places, plain=False):
        """ids i64 [B, L], places i64 [B, K] of the tokens whose vectors are wanted -> f32 [B, K, H], not normalised.

        `plain` runs the uncompiled functions: for shapes seen once, in evaluation.
        """
        before, after = (before_attention, after_attention) if plain else (self.before, self.after)
        B, L = ids.shape
        cos, sin = self.rotations(B, L, ids.device)
        x = F.embedding(ids.reshape(-1), self.embed_tokens.weight).to(self.dtype)
        for layer in self.layers:
            mlp = layer.mlp
            a = attend(layer, x, B, L, cos, sin, before)
            x = after(x, a, layer.self_attn.o_proj.weight, layer.post_attention_layernorm.weight, mlp.gate_proj.weight,
                      mlp.up_proj.weight, mlp.down_proj.weight)
        rows = torch.arange(B, device=ids.device)[:, None] * L + places.clamp(min=0)
        return rms_norm(x[rows].float(), self.norm.weight)
