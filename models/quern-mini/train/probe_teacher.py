"""Optional: what is left of the untrained teacher when it is crippled towards Qwen3's shape, on STS-B dev.

Spearman over the first PAIRS pairs, vectors centred. Takes about two minutes a line on two cores.

    python probe_teacher.py PACK [PAIRS]
"""
import json
import lzma
import os
import sys

import torch
import torch.nn.functional as F

import data
import dev_sets
import targets

ALL, EIGHT = range(12), [0, 1, 3, 4, 6, 7, 9, 11]
CASES = {"as it is": {}, "no positions": {"positions": False}, "eight of twelve layers": {"layers": EIGHT},
         "causal, read at the last token": {"causal": True}, "causal, eight layers": {"causal": True, "layers": EIGHT}}


def vector(m, ids, causal=False, positions=True, layers=ALL):
    L = len(ids)
    x = m.norm(m.emb_word[ids] + (m.emb_pos[:L] if positions else m.emb_pos[:64].mean(0)) + m.emb_type[:m.H], "emb_ln")
    for i in layers:
        q, k, v = (m.linear(x, f"l{i}_{n}").view(L, m.heads, -1).transpose(0, 1) for n in "qkv")
        a = F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal)[0].transpose(0, 1).reshape(L, m.H)
        x = m.norm(x + m.linear(a, f"l{i}_ao"), f"l{i}_aln")
        x = m.norm(x + m.linear(F.gelu(m.linear(x, f"l{i}_fi")), f"l{i}_fo"), f"l{i}_oln")
    return x[-1] if causal else x.mean(0)


@torch.no_grad()
def main(folder, pairs="500"):
    teacher = targets.load_teacher(folder, "cpu")
    sets = json.loads(lzma.open(os.path.join(folder, "meta.json.xz")).read())["sets"]
    for case, how in CASES.items():
        figures = []
        for name in ("sts_en", "sts_zh"):
            sides = []
            for side in "ab":
                rows = data.teacher_ids(folder, sets[name][side][:int(pairs)])
                ids = [torch.from_numpy(rows.ids[i:j]).long() for i, j in zip(rows.starts[:-1], rows.starts[1:])]
                sides.append(torch.stack([vector(teacher, row, **how) for row in ids]))
            mean = torch.cat(sides).mean(0)
            similarity = F.cosine_similarity(*(side - mean for side in sides))
            figures.append(dev_sets.spearman(similarity.numpy(), sets[name]["y"][:int(pairs)]))
        print(f"{case}: English {figures[0]:.3f}, Chinese {figures[1]:.3f}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
