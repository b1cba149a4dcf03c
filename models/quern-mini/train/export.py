"""Step 6: the trained parts -> an ordinary Hugging Face sentence-transformers folder, with known answers.

The known answers are transformers' vectors in f32, so that Quern checks itself against the reference implementation at every
start. Needs transformers and safetensors.

    python export.py RESULT OUT MODEL_FOLDER     # RESULT: what train.py wrote; OUT: what the steps before wrote
"""
import glob
import json
import os
import shutil
import sys

import torch

TOKENS_MAX = 2048  # trained on texts of up to 384
TASK = "Given a web search query, retrieve relevant passages that answer the query"
PROMPTS = {"query": f"Instruct: {TASK}\nQuery:", "document": ""}
ANSWERS = [("The capital of China is Beijing.", None), ("北京是中国的首都。", None), ("What is the capital of China?", "query"),
           ("def add(a, b):\n    return a + b", None), ("¿Dónde está la biblioteca?", None), ("🙂 e\u0301 = \u00e9", None),
           ("The mill grinds the grain of the whole valley into flour. " * 12, None)]


def config_of(shape, eos):
    return {"architectures": ["Qwen3Model"], "attention_bias": False, "attention_dropout": 0.0, "bos_token_id": eos,
            "eos_token_id": eos, "head_dim": shape["head_dim"], "hidden_act": "silu", "hidden_size": shape["hidden"], "initializer_range": 0.02,
            "intermediate_size": shape["intermediate"], "max_position_embeddings": TOKENS_MAX,
            "max_window_layers": shape["layers"], "model_type": "qwen3", "num_attention_heads": shape["heads"],
            "num_hidden_layers": shape["layers"], "num_key_value_heads": shape["kv_heads"], "rms_norm_eps": 1e-6,
            "rope_scaling": None, "rope_theta": shape["rope_theta"], "sliding_window": None, "tie_word_embeddings": True,
            "torch_dtype": "bfloat16", "use_cache": True, "use_sliding_window": False, "vocab_size": shape["vocab"]}


def write_json(path, value):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def known_answers(folder):
    from tokenizers import Tokenizer
    from transformers import Qwen3Model
    model = Qwen3Model.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    texts = []
    for text, prompt in ANSWERS:
        ids = torch.tensor([tokenizer.encode(PROMPTS.get(prompt, "") + text).ids])
        with torch.no_grad():
            last = model(input_ids=ids).last_hidden_state[0, -1].double()
        texts.append({"text": text, "prompt_name": prompt, "vector": [float(f"{x:.8g}") for x in last / last.norm()]})
    return {"texts": texts}


def write_sources(out, path):
    """The sources of the training texts by licence, as the corpus states it."""
    sources, by_licence = json.load(open(os.path.join(out, "sources.json"), encoding="utf-8")), {}
    for name, about in sources.items():
        by_licence.setdefault(about["licence"], []).append((about["texts"], name))
    lines = ["# Sources of quern-mini's training texts", "",
             f"{sum(about['texts'] for about in sources.values()):,} unique texts of {len(sources)} sources, with the licence that the "
             "corpus states for each and the number of texts.", "", "| licence as stated | sources (texts) |", "|---|---|"]
    for licence, rows in sorted(by_licence.items(), key=lambda item: -sum(n for n, _ in item[1])):
        lines.append(f"| {licence} | {', '.join(f'{name} ({n:,})' for n, name in sorted(rows, reverse=True))} |")
    open(path, "w", encoding="utf-8").write("\n".join(lines) + "\n")


def main(result, out, folder):
    os.makedirs(folder, exist_ok=True)
    shape = json.load(open(os.path.join(result, "shape.json")))
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        for part in sorted(glob.glob(os.path.join(result, "model.safetensors.[0-9]*"))):
            f.write(open(part, "rb").read())
    shutil.copy(os.path.join(out, "tokenizer.json"), folder)
    eos = next(t["id"] for t in json.load(open(os.path.join(out, "tokenizer.json")))["added_tokens"]
               if t["content"] == "<|endoftext|>")
    write_json(f"{folder}/config.json", config_of(shape, eos))
    write_json(f"{folder}/tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": TOKENS_MAX, "padding_side": "left",
        "pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "clean_up_tokenization_spaces": False})
    modes = ["cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken"]
    write_json(f"{folder}/1_Pooling/config.json", {"word_embedding_dimension": shape["hidden"], "include_prompt": True,
               **{f"pooling_mode_{mode}": mode == "lasttoken" for mode in modes}})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write_json(f"{folder}/modules.json", [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
                                          for i, (path, kind) in enumerate(modules)])
    write_json(f"{folder}/config_sentence_transformers.json",
               {"prompts": PROMPTS, "default_prompt_name": None, "similarity_fn_name": "cosine"})
    write_json(f"{folder}/known_answers.json", known_answers(folder))
    write_sources(out, f"{folder}/SOURCES.md")
    size = os.path.getsize(f"{folder}/model.safetensors")
    print(size, "bytes of weights")


if __name__ == "__main__":
    main(*sys.argv[1:])
