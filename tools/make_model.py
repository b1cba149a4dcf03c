#!/usr/bin/env python3
"""Writes a Hugging Face folder of a Qwen3 embedding model with random weights, for tests and benchmarks.

Needs numpy; safetensors files are written here, and tokenizers is imported only to train a tokenizer. The weights of a
preset and seed are the same bytes everywhere (numpy's PCG64).
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

#           D     L   H   K  d    F     V       positions
PRESETS = {
    "tiny": (64, 3, 4, 2, 32, 96, 512, 512),
    "odd": (80, 2, 3, 1, 18, 112, 333, 256),        # nothing a multiple of 16; one K/V head
    "group8": (64, 2, 8, 1, 16, 96, 256, 256),      # eight query heads for one K/V head
    "group1": (64, 2, 4, 4, 32, 96, 256, 256),      # no grouping
    "wide-q": (64, 2, 8, 4, 32, 160, 256, 256),     # H d = 4 D
    "long": (64, 2, 2, 1, 32, 96, 256, 32768),      # every position of the real models, at a price a test can pay
    "0.6b": (1024, 28, 16, 8, 128, 3072, 151669, 32768),
}
TEXT = ["The quick brown fox jumps over the lazy dog.", "Der Wein reift in der kühlen Stille des Kellers.",
        "向量是一串数字，意思相近的句子靠得近。", "Les vecteurs se comparent par leur angle.",
        "def add(a, b): return a + b  # 42", "A mill grinds grain into flour; this one grinds text into vectors."]


def config_of(shape, dtype):
    D, L, H, K, d, F, V, positions = shape
    return {"architectures": ["Qwen3ForCausalLM"], "attention_bias": False, "attention_dropout": 0.0,
            "bos_token_id": V - 1, "eos_token_id": V - 1, "head_dim": d, "hidden_act": "silu", "hidden_size": D,
            "initializer_range": 0.02, "intermediate_size": F, "max_position_embeddings": positions,
            "max_window_layers": L, "model_type": "qwen3", "num_attention_heads": H, "num_hidden_layers": L,
            "num_key_value_heads": K, "rms_norm_eps": 1e-6, "rope_scaling": None, "rope_theta": 1000000,
            "sliding_window": None, "tie_word_embeddings": True,
            "torch_dtype": {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}[dtype],
            "use_cache": True, "use_sliding_window": False, "vocab_size": V}


def tensor_shapes(shape, prefix, untied):
    """(name, shape, scale); scale 0 marks a norm. Products keep the size of what they are given."""
    D, L, H, K, d, F, V, _ = shape
    yield f"{prefix}embed_tokens.weight", (V, D), 1.0
    for l in range(L):
        at = f"{prefix}layers.{l}."
        yield at + "input_layernorm.weight", (D,), 0
        yield at + "self_attn.q_proj.weight", (H * d, D), D ** -0.5
        yield at + "self_attn.k_proj.weight", (K * d, D), D ** -0.5
        yield at + "self_attn.v_proj.weight", (K * d, D), D ** -0.5
        yield at + "self_attn.q_norm.weight", (d,), 0
        yield at + "self_attn.k_norm.weight", (d,), 0
        yield at + "self_attn.o_proj.weight", (D, H * d), (H * d) ** -0.5
        yield at + "post_attention_layernorm.weight", (D,), 0
        yield at + "mlp.gate_proj.weight", (F, D), D ** -0.5
        yield at + "mlp.up_proj.weight", (F, D), D ** -0.5
        yield at + "mlp.down_proj.weight", (D, F), F ** -0.5
    yield f"{prefix}norm.weight", (D,), 0
    if untied:
        yield "lm_head.weight", (V, D), 1.0


def stored(values, dtype):
    if dtype == "f32":
        return values.tobytes()
    if dtype == "f16":
        return values.astype(np.float16).tobytes()
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


def random_values(generator, shape, scale):
    if scale == 0:
        return (1 + 0.2 * generator.standard_normal(shape, dtype=np.float32)).astype(np.float32)
    count = int(np.prod(shape))
    if count < 1 << 16:
        return generator.standard_normal(shape, dtype=np.float32) * np.float32(scale)
    # Uniform, from raw bits: a billion weights in seconds. Variance as above.
    raw = generator.integers(0, 1 << 16, count, dtype=np.uint16).astype(np.float32)
    return ((raw - 32767.5) * np.float32(scale * 3 ** 0.5 / 32768)).reshape(shape)


def write_safetensors(path, tensors, generator, dtype):
    size = 4 if dtype == "f32" else 2
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _ in tensors:
        end = at + int(np.prod(shape)) * size
        header[name] = {"dtype": dtype.upper(), "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for _, shape, scale in tensors:
            out.write(stored(random_values(generator, shape, scale), dtype))
    return at


def write_tokenizer(folder, source, vocab_size):
    if source:
        shutil.copy(source, folder / "tokenizer.json")
        return
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, decoders, processors, trainers, Regex
    pattern = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
               r"|\s+(?!\S)|\s+")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=max(vocab_size - 1, 256), initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(TEXT * 20, trainer)
    tokenizer.add_special_tokens(["<|endoftext|>"])
    eos = tokenizer.token_to_id("<|endoftext|>")
    if eos < vocab_size:
        tokenizer.post_processor = processors.Sequence([
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(single="$A <|endoftext|>", pair="$A $B <|endoftext|>",
                                          special_tokens=[("<|endoftext|>", eos)])])
        tokenizer.save(str(folder / "tokenizer.json"))


def write_sentence_transformers(folder):
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    (folder / "modules.json").write_text(json.dumps([
        {"idx": i, "name": name, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (name, path, kind) in enumerate(modules)], indent=2))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    pooling = {f"pooling_mode_{mode}": mode == "lasttoken" for mode in modes}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling, indent=2))
    task = "Given a web search query, retrieve relevant passages that answer the query"
    (folder / "config_sentence_transformers.json").write_text(json.dumps({
        "prompts": {"query": f"Instruct: {task}\nQuery:", "document": ""}, "default_prompt_name": None,
        "similarity_fn_name": "cosine"}, indent=2))


def make_model(folder, preset="tiny", dtype="f32", seed=1, shards=1, untied=False, prefix="", layers=0):
    """Config and weights into `folder`, without a tokenizer."""
    shape = PRESETS[preset]
    if layers:
        shape = (shape[0], layers, *shape[2:])
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config = config_of(shape, dtype)
    config["tie_word_embeddings"] = not untied
    (folder / "config.json").write_text(json.dumps(config, indent=2))
    generator = np.random.Generator(np.random.PCG64(seed))
    tensors = list(tensor_shapes(shape, prefix, untied))
    if shards == 1:
        write_safetensors(folder / "model.safetensors", tensors, generator, dtype)
    else:
        weight_map, total = {}, 0
        for s in range(shards):
            part = tensors[s * len(tensors) // shards:(s + 1) * len(tensors) // shards]
            name = f"model-{s + 1:05}-of-{shards:05}.safetensors"
            total += write_safetensors(folder / name, part, generator, dtype)
            weight_map |= {tensor: name for tensor, _, _ in part}
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2))
    write_sentence_transformers(folder)
    return shape


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--dtype", choices=["f32", "bf16", "f16"], default="bf16")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--layers", type=int, default=0, help="instead of the preset's")
    parser.add_argument("--untied", action="store_true", help="write an lm_head of its own")
    parser.add_argument("--prefix", default="", help='of the tensor names: "" or "model."')
    parser.add_argument("--tokenizer", help="a tokenizer.json to copy instead of training one")
    args = parser.parse_args()
    shape = make_model(args.folder, args.preset, args.dtype, args.seed, args.shards, args.untied, args.prefix,
                       args.layers)
    write_tokenizer(args.folder, args.tokenizer, shape[6])


if __name__ == "__main__":
    main()
