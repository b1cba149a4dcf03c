#!/usr/bin/env python3
"""Writes a Qwen3 model folder with random weights: for tests and benchmarks of any shape without a download.

The weights are drawn so that activations keep their size from layer to layer and different texts give different vectors.
Needs numpy, and tokenizers unless --tokenizer names a tokenizer.json to copy. The same arguments give the same bytes.
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

# hidden, layers, heads, kv heads, head_dim, intermediate, vocabulary rows (0: as many as the tokenizer has), positions
PRESETS = {
    "tiny": (64, 2, 4, 2, 16, 160, 0, 4096),
    "wide-q": (48, 3, 6, 1, 24, 96, 0, 512),  # q width 144 != hidden, one K/V head
    "kv8": (128, 2, 16, 8, 16, 256, 0, 512),
    "0.6b-shape": (1024, 28, 16, 8, 128, 3072, 151669, 32768),
}
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
END = "<|endoftext|>"
TEXT = [
    "The quick brown fox jumps over the lazy dog. How do I sort a list in Python? It depends on what you want.",
    "北京是中国的首都。今天天气怎么样？我们去公园散步吧。", "El zorro marrón salta sobre el perro perezoso. Ночь, улица, фонарь.",
    "def sort_numbers(values):\n    return sorted(values)\n\nfor (int i = 0; i < n; ++i) { sum += a[i]; }",
]


def make_tokenizer(path):
    """A small byte-level BPE of Qwen's family, trained on TEXT."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    end = tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])
    tokenizer.save(str(path))
    return tokenizer.get_vocab_size(), end


def encode(values, dtype):
    if dtype == "f32":
        return values.astype("<f4").tobytes()
    if dtype == "f16":
        return values.astype("<f2").tobytes()
    bits = values.astype("<f4").view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def tensors(shape, tied, prefix, random):
    """(name, shape, values) in file order, one at a time: a 0.6B model must not stand in memory twice."""
    D, L, H, K, d, F, V, _ = shape

    def normal(name, rows, cols, scale):
        values = random.standard_normal((rows, cols), dtype=np.float32)
        values *= scale
        return prefix + name, (rows, cols), values

    def norm(name, size):
        return prefix + name, (size,), (1 + 0.1 * random.standard_normal(size, dtype=np.float32))

    yield normal("embed_tokens.weight", V, D, 1.0)
    for layer in range(L):
        at = f"layers.{layer}."
        yield norm(at + "input_layernorm.weight", D)
        yield normal(at + "mlp.down_proj.weight", D, F, 1 / F**0.5)
        yield normal(at + "mlp.gate_proj.weight", F, D, 1 / D**0.5)
        yield normal(at + "mlp.up_proj.weight", F, D, 1 / D**0.5)
        yield norm(at + "post_attention_layernorm.weight", D)
        yield norm(at + "self_attn.k_norm.weight", d)
        yield normal(at + "self_attn.k_proj.weight", K * d, D, 1 / D**0.5)
        yield normal(at + "self_attn.o_proj.weight", D, H * d, 1 / (H * d) ** 0.5)
        yield norm(at + "self_attn.q_norm.weight", d)
        yield normal(at + "self_attn.q_proj.weight", H * d, D, 1 / D**0.5)
        yield normal(at + "self_attn.v_proj.weight", K * d, D, 1 / D**0.5)
    yield norm("norm.weight", D)
    if not tied:
        yield "lm_head.weight", (V, D), random.standard_normal((V, D), dtype=np.float32)


def write_safetensors(path, items, dtype):
    """Names and shapes first (cheap to know), then the values as they are drawn."""
    sizes = {"f32": 4, "f16": 2, "bf16": 2}
    names = {"f32": "F32", "f16": "F16", "bf16": "BF16"}
    body = path.with_suffix(".part")
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    with body.open("wb") as file:
        for name, shape, values in items:
            end = offset + int(np.prod(shape)) * sizes[dtype]
            header[name] = {"dtype": names[dtype], "shape": list(shape), "data_offsets": [offset, end]}
            file.write(encode(values, dtype))
            offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file, body.open("rb") as values:
        file.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(values, file, 1 << 24)
    body.unlink()
    return {name for name in header if name != "__metadata__"}, offset


def write_weights(folder, items, dtype, shards):
    if shards == 1:
        write_safetensors(folder / "model.safetensors", items, dtype)
        return
    items = list(items)
    weight_map, total = {}, 0
    for number in range(shards):
        name = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
        written, size = write_safetensors(folder / name, items[number::shards], dtype)
        weight_map.update(dict.fromkeys(written, name))
        total += size
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))


def write_json(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--preset", choices=PRESETS, default="tiny")
    parser.add_argument("--dtype", choices=["f32", "bf16", "f16"], default="bf16")
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--untied", action="store_true", help="add an lm_head of its own")
    parser.add_argument("--prefix", default="", help='"model." writes names as fine-tunes have them')
    parser.add_argument("--tokenizer", type=pathlib.Path, help="a tokenizer.json to copy")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    if options.tokenizer:
        shutil.copyfile(options.tokenizer, folder / "tokenizer.json")
        tokenizer = json.loads(options.tokenizer.read_text(encoding="utf-8"))
        ids = {t["content"]: t["id"] for t in tokenizer["added_tokens"]}
        vocab, end = max([*tokenizer["model"]["vocab"].values(), *ids.values()]) + 1, ids[END]
    else:
        vocab, end = make_tokenizer(folder / "tokenizer.json")
    shape = list(PRESETS[options.preset])
    shape[6] = shape[6] or vocab
    D, L, H, K, d, F, V, positions = shape
    write_json(folder / "config.json", {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_act": "silu", "attention_bias": False, "rope_scaling": None,
        "use_sliding_window": False, "sliding_window": None, "rms_norm_eps": 1e-6, "rope_theta": 1000000, "tie_word_embeddings": not options.untied,
        "hidden_size": D, "num_hidden_layers": L, "num_attention_heads": H, "num_key_value_heads": K, "head_dim": d, "intermediate_size": F,
        "vocab_size": V, "max_position_embeddings": positions, "eos_token_id": end, "torch_dtype": {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[options.dtype],
    })
    write_json(folder / "modules.json", [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ])
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": D, "pooling_mode_lasttoken": True, "include_prompt": True})
    write_json(folder / "config_sentence_transformers.json", {
        "prompts": {"query": "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:", "document": ""},
        "default_prompt_name": None, "similarity_fn_name": "cosine",
    })
    random = np.random.Generator(np.random.PCG64(options.seed))
    write_weights(folder, tensors(shape, not options.untied, options.prefix, random), options.dtype, options.shards)


if __name__ == "__main__":
    main()
