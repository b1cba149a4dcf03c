#!/usr/bin/env python3
"""For bench/gpu.sh, on a machine with a GPU: a checkpoint of a model's exact shape with random weights from a seed, the
vectors that transformers computes from it in f32, and the ceilings that the library's bare products and bare attention
reach in loops of seconds.

Writes DIR/config.json, DIR/model.safetensors (bf16) and DIR/reference.bin: u32 count, width; then for each text u32
length, i32 ids, f32 vector. Needs torch, transformers and safetensors.
"""
import argparse
import json
import pathlib
import random
import struct
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
from make_model import config_of, tensor_shapes  # noqa: E402

#         D     L   H   K  d    F      V       positions
SDPA_TOKENS_MAX = 4096
SHAPES = {
    "0.6b": (1024, 28, 16, 8, 128, 3072, 151669, 32768),
    "4b": (2560, 36, 32, 8, 128, 9728, 151665, 40960),
    "8b": (4096, 36, 32, 8, 128, 12288, 151665, 40960),
}
LENGTHS = [12, 12, 13, 29, 31, 64, 100, 127, 128, 129, 200, 255, 300, 512, 511, 777, 1024, 1500, 2047, 2048]


def make_checkpoint(shape, folder, seed):
    from safetensors.torch import save_file
    generator = torch.Generator(device="cuda").manual_seed(seed)
    tensors = {}
    for name, size, scale in tensor_shapes(shape, "", False):
        noise = torch.randn(size, generator=generator, device="cuda", dtype=torch.float32)
        values = 1 + 0.2 * noise if scale == 0 else noise * scale
        tensors[name] = values.to(torch.bfloat16).cpu()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config_of(shape, "bf16")))
    return tensors


def attention_in_chunks(module, query, key, value, attention_mask, scaling, **_):
    """transformers' attention, causal with grouped heads, 512 rows of scores at a time: all of 32k tokens' would be 128 GiB."""
    assert attention_mask is None and query.shape[0] == 1
    heads, tokens, width = query.shape[1:]
    grouped = query[0].view(key.shape[1], -1, tokens, width)  # [K, H / K, T, d]
    out = torch.empty(1, tokens, heads, width, device=query.device, dtype=query.dtype)
    for begin in range(0, tokens, 512):
        end = min(begin + 512, tokens)
        scores = grouped[:, :, begin:end] @ key[0, :, None, :end].transpose(-1, -2) * scaling
        scores[..., begin:].masked_fill_(torch.ones(end - begin, end - begin, dtype=torch.bool, device=query.device).triu(1), float("-inf"))
        mixed = torch.softmax(scores, dim=-1) @ value[0, :, None, :end]
        out[0, begin:end] = mixed.reshape(heads, end - begin, width).transpose(0, 1)
    return out, None


@torch.no_grad()
def write_reference(shape, tensors, folder, seed, lengths, end_token):
    from transformers import AttentionInterface, Qwen3Config, Qwen3Model
    settings = config_of(shape, "f32")
    settings["rope_parameters"] = {"rope_type": "default", "rope_theta": settings["rope_theta"]}  # transformers 5
    config = Qwen3Config.from_dict(settings)
    AttentionInterface.register("in_chunks", attention_in_chunks)
    with torch.device("meta"):
        model = Qwen3Model(config)
    model.load_state_dict({name: t.to("cuda", torch.float32) for name, t in tensors.items()}, assign=True)
    model.rotary_emb = type(model.rotary_emb)(config, device="cuda")  # its table is no parameter: not on meta
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    with open(folder / "reference.bin", "wb") as out:
        out.write(struct.pack("<II", len(lengths), shape[0]))
        for length in lengths:
            ids = torch.randint(0, shape[6], (length,), generator=generator, dtype=torch.int32)
            if end_token is not None:
                ids[-1] = end_token
            config._attn_implementation = "sdpa" if length <= SDPA_TOKENS_MAX else "in_chunks"
            hidden = model(input_ids=ids[None].long().cuda()).last_hidden_state[0, -1]
            vector = torch.nn.functional.normalize(hidden, dim=-1).float().cpu().contiguous()
            out.write(struct.pack("<I", length) + ids.numpy().tobytes() + vector.numpy().tobytes())
    del model


def rate(work, seconds):
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start, rounds = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        for _ in range(4):
            work()
        torch.cuda.synchronize()
        rounds += 4
    return rounds / (time.perf_counter() - start)


def fp8_products(shapes, inputs, T, L, seconds):
    def quantised(x):
        scale = x.float().abs().amax(dim=1, keepdim=True) / 448
        return (x.float() / scale).to(torch.float8_e4m3fn), scale
    layers = [[quantised(torch.randn(n, c, device="cuda", dtype=torch.bfloat16) * c ** -0.5) for n, c in shapes]
              for _ in range(4)]
    rows = {c: quantised(x) for c, x in inputs.items()}

    def products():
        for layer in layers:
            for w, w_scale in layer:
                x, x_scale = rows[w.shape[1]]
                torch._scaled_mm(x, w.t(), x_scale, w_scale.t(), out_dtype=torch.bfloat16, use_fast_accum=True)
    print(f"ceiling fp8_products_tokens_per_s {T * rate(products, seconds) * 4 / L:.0f}", flush=True)


@torch.no_grad()
def ceilings(shape, seconds, dtype):
    D, L, H, K, d, F, _, _ = shape
    a = torch.empty(1 << 30, dtype=torch.uint8, device="cuda")
    b = torch.empty_like(a)
    print(f"ceiling copy_TBps {2 * a.numel() * rate(lambda: b.copy_(a), 1.0) / 1e12:.2f}")
    del a, b
    T = 8192
    half = torch.bfloat16
    shapes = [((H + 2 * K) * d, D), (D, H * d), (2 * F, D), (D, F)]
    layers = [[torch.randn(n, c, device="cuda", dtype=half) * c ** -0.5 for n, c in shapes] for _ in range(4)]
    inputs = {c: torch.randn(T, c, device="cuda", dtype=half) for _, c in shapes}

    def products():
        for layer in layers:
            for w in layer:
                torch.mm(inputs[w.shape[1]], w.t())
    per_s = rate(products, seconds)
    print(f"ceiling products_tokens_per_s {T * per_s * 4 / L:.0f}", flush=True)
    if dtype == "fp8":
        fp8_products(shapes, inputs, T, L, seconds)
    from torch.nn.attention import SDPBackend, sdpa_kernel
    for length in (512, 2048, 8192):
        n = T // length
        q = torch.randn(n, H, length, d, device="cuda", dtype=half)
        k = torch.randn(n, K, length, d, device="cuda", dtype=half)
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            def attend():
                torch.nn.functional.scaled_dot_product_attention(q, k, k, is_causal=True, enable_gqa=True)
            print(f"ceiling attention_{length}_tokens_per_s {T * rate(attend, seconds / 2) / L:.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="4b")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each ceiling's loop")
    parser.add_argument("--dtype", choices=["bf16", "f16", "fp8"], default="bf16", help="fp8: its products' ceiling too")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--texts", type=int, default=len(LENGTHS), help="of 12 to 2,048 tokens; the first ones have fixed lengths")
    parser.add_argument("--long", type=int, default=0, help="one more text of so many tokens")
    parser.add_argument("--end-token", type=int, help="the last token of each text")
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    start = time.perf_counter()
    tensors = make_checkpoint(shape, args.folder, args.seed)
    print(f"checkpoint made in {time.perf_counter() - start:.1f} s", flush=True)
    start = time.perf_counter()
    drawn = random.Random(args.seed)
    lengths = LENGTHS + [round(12 * (2048 / 12) ** drawn.random()) for _ in range(args.texts - len(LENGTHS))]
    lengths += [args.long] if args.long else []
    write_reference(shape, tensors, args.folder, args.seed + 1, lengths, args.end_token)
    print(f"reference computed in {time.perf_counter() - start:.1f} s", flush=True)
    del tensors
    torch.cuda.empty_cache()
    if args.seconds > 0:
        ceilings(shape, args.seconds, args.dtype)


if __name__ == "__main__":
    main()
