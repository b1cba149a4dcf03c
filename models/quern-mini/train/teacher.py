"""The teacher on PyTorch: multilingual-e5-small (a 12-layer BERT encoder), mean pooling over all tokens."""
import numpy as np
import torch
import torch.nn.functional as F

from teacher_file import dequantise


class Teacher(torch.nn.Module):
    def __init__(self, parts):
        super().__init__()
        shape = parts["shape"]
        self.H, self.layers, self.heads, self.eps = shape["H"], shape["NL"], shape["NH"], shape["eps"]
        self.bos, self.eos, self.pad, self.max_tokens = parts["bos"], parts["eos"], parts["pad"], shape["MAXP"]
        for name, (dtype, size, blob) in parts["tensors"].items():
            columns = shape["FF"] if name.endswith("fo.w") else self.H
            is_matrix = name == "emb.word" or (name.endswith(".w") and "ln" not in name)
            array = dequantise(blob, columns) if is_matrix else np.frombuffer(blob.tobytes(), "<f4")
            if name == "emb.pos":
                array = array.reshape(-1, self.H)
            self.register_buffer(name.replace(".", "_"), torch.from_numpy(np.array(array)))

    def linear(self, x, name):
        return F.linear(x, getattr(self, name + "_w"), getattr(self, name + "_b"))

    def norm(self, x, name):
        return F.layer_norm(x, (self.H,), getattr(self, name + "_w"), getattr(self, name + "_b"), self.eps)

    def forward(self, ids, mask):
        """ids i64 [B, L], mask bool [B, L] (None: no padding) -> f32 [B, H], not normalised."""
        B, L = ids.shape
        x = self.norm(self.emb_word[ids] + self.emb_pos[:L] + self.emb_type[:self.H], "emb_ln")
        keys = None if mask is None else mask[:, None, None, :]
        for i in range(self.layers):
            q, k, v = (self.linear(x, f"l{i}_{n}").view(B, L, self.heads, -1).transpose(1, 2) for n in "qkv")
            a = F.scaled_dot_product_attention(q, k, v, attn_mask=keys).transpose(1, 2).reshape(B, L, self.H)
            x = self.norm(x + self.linear(a, f"l{i}_ao"), f"l{i}_aln")
            x = self.norm(x + self.linear(F.gelu(self.linear(x, f"l{i}_fi")), f"l{i}_fo"), f"l{i}_oln")
        if mask is None:
            return x.float().mean(1)
        weight = mask[:, :, None].to(x.dtype)
        return (x * weight).sum(1).float() / weight.sum(1).float()
