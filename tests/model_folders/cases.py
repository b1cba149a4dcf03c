"""Which model folders give the reference's vectors, and which are refused: written down before either is asked.

Each case is a base with ONE thing changed. "equal": sentence-transformers loads it, and our vectors have a cosine of at
least 1 - 1e-6 with those of its encode(). "refused": exit code 2, and the message names file and field.
"""
from dataclasses import dataclass, field
from typing import Callable

from folders import (GONE, drop, edit, extra_tensor, merge, modules, move, no_metadata, pad_header, put, tensor_as, text,
                     weights, without_tensor)

C, M, ST = "config.json", "modules.json", "config_sentence_transformers.json"
P, B, T = "1_Pooling/config.json", "sentence_bert_config.json", "tokenizer_config.json"
OLD = "sentence_transformers.models."
IN, INTO = 256, ["Ġin", "to"]  # the vocabulary's id of "in"; the merge that makes " into"


@dataclass
class Case:
    name: str
    file: str
    field: str  # that the message of a refusal must hold
    change: Callable
    outcome: str
    base: dict = field(default_factory=dict)  # arguments of folders.build()
    flags: tuple = ()
    note: str = ""


CASES = []


def equal(name, file, change=lambda folder: None, **more):
    CASES.append(Case(name, file, "", change, "equal", **more))


def refused(name, file, named, change, **more):
    CASES.append(Case(name, file, named, change, "refused", **more))


def chain(*changes):
    def change(folder):
        for one in changes:
            one(folder)
    return change


def each_dress(make):
    for dress in ("st5-tf4", "st6-tf5"):
        make(dress, {"dress": dress})


# --- the bases ---------------------------------------------------------------------------------------------------------
for shape in ("base", "d128", "kv32", "mha", "long"):
    equal(f"base {shape}", "the base", base={"shape": shape})
for stored in ("bf16", "f16"):
    equal(f"base {stored}", "model.safetensors", base={"stored": stored})
equal("base 2 shards", "model.safetensors.index.json", base={"shards": 2})
equal("base prefix model.", "model.safetensors", base={"prefix": "model."})
each_dress(lambda dress, base: equal(f"base {dress}", "the base", base=base))

# --- config.json: fields that transformers fills in ---------------------------------------------------------------------
for key, shape in (("head_dim", "d128"), ("num_attention_heads", "heads32"), ("num_hidden_layers", "layers32"),
                   ("num_key_value_heads", "kv32"), ("intermediate_size", "ffn22016"), ("vocab_size", "vocab151936"),
                   ("hidden_size", "wide4096"), ("max_position_embeddings", "long")):
    equal(f"{key} absent", C, merge(C, **{key: GONE}), base={"shape": shape})
equal("num_key_value_heads null", C, merge(C, num_key_value_heads=None), base={"shape": "mha"})
for key in ("rms_norm_eps", "hidden_act", "attention_bias", "use_sliding_window", "sliding_window", "max_window_layers",
            "eos_token_id", "bos_token_id", "tie_word_embeddings", "torch_dtype", "use_cache", "architectures",
            "initializer_range", "attention_dropout", "rope_scaling", "rope_theta"):
    equal(f"{key} absent", C, merge(C, **{key: GONE}))
equal("everything optional absent", C, put(C, {
    "model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 32, "intermediate_size": 96, "vocab_size": 512, "rope_theta": 1000000}))
for eps in (1e-5, 0.001, 1e-12):
    equal(f"rms_norm_eps {eps}", C, merge(C, rms_norm_eps=eps))
equal("hidden_act swish", C, merge(C, hidden_act="swish"))

# --- config.json: RoPE in the spellings of transformers 4 and 5 ----------------------------------------------------------
for theta in (10000, 10000.0, 500000, 1e6, 5000000, 123.5):
    equal(f"rope_theta {theta!r}", C, merge(C, rope_theta=theta))
for name, rope in {
        "type default": {"type": "default"}, "rope_type default": {"rope_type": "default"},
        "empty": {}, "linear factor 1": {"rope_type": "linear", "factor": 1.0},
        "type linear factor 1": {"type": "linear", "factor": 1.0},
        "linear factor int 1": {"rope_type": "linear", "factor": 1},
        "dynamic factor 2": {"rope_type": "dynamic", "factor": 2.0},
        "type dynamic factor 4": {"type": "dynamic", "factor": 4.0},
        "default with theta": {"rope_type": "default", "rope_theta": 2000000},
        "both names": {"type": "default", "rope_type": "default"}}.items():
    equal(f"rope_scaling {name}", C, merge(C, rope_scaling=rope))
    equal(f"rope_parameters {name}", C, merge(C, rope_parameters=rope, rope_scaling=GONE))
equal("rope_parameters only theta", C, merge(C, rope_parameters={"rope_theta": 300000}, rope_theta=GONE, rope_scaling=GONE))
equal("rope_parameters theta wins", C, merge(C, rope_parameters={"rope_type": "default", "rope_theta": 300000}))
equal("rope_parameters null", C, merge(C, rope_parameters=None))
equal("rope_parameters no theta anywhere", C, merge(C, rope_parameters={"rope_type": "default"}, rope_theta=GONE))
equal("rope_parameters and rope_scaling", C, merge(C, rope_scaling={"rope_type": "default"},
                                                   rope_parameters={"rope_type": "default", "rope_theta": 123456}))
equal("partial_rotary_factor 1", C, merge(C, partial_rotary_factor=1.0))
for kind, more in (("linear", {"factor": 2.0}), ("yarn", {"factor": 4.0, "original_max_position_embeddings": 128}),
                   ("llama3", {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                               "original_max_position_embeddings": 128}),
                   ("longrope", {"factor": 1.0, "short_factor": [1.5] * 16, "long_factor": [2.0] * 16,
                                 "original_max_position_embeddings": 128})):
    named = "factor" if kind != "longrope" else "rope_type"
    refused(f"rope_scaling {kind}", C, named, merge(C, rope_scaling={"rope_type": kind, **more}))
    refused(f"rope_parameters {kind}", C, named, merge(C, rope_parameters={"rope_type": kind, **more}))
refused("rope_scaling type yarn", C, "factor", merge(C, rope_scaling={"type": "yarn", "factor": 2.0}))
refused("rope_scaling unknown type", C, "rope_type", merge(C, rope_scaling={"rope_type": "mrope", "factor": 1.0}))
refused("rope_scaling a number", C, "rope_scaling", merge(C, rope_scaling=2.0))
refused("rope_parameters for each layer type", C, "full_attention", merge(C, rope_parameters={
    "full_attention": {"rope_type": "default", "rope_theta": 1e6}}))
refused("rope_theta a text", C, "rope_theta", merge(C, rope_theta="1e6"))
refused("rope_theta 0", C, "rope_theta", merge(C, rope_theta=0))
refused("partial_rotary_factor 0.5", C, "partial_rotary_factor", merge(C, partial_rotary_factor=0.5))

# --- config.json: attention ----------------------------------------------------------------------------------------------
equal("is_causal true", C, merge(C, is_causal=True))
equal("use_bidirectional_attention false", C, merge(C, use_bidirectional_attention=False))
equal("layer_types full", C, merge(C, layer_types=["full_attention"] * 2))
equal("layer_types null", C, merge(C, layer_types=None))
equal("use_sliding_window without layers", C, merge(C, use_sliding_window=True, sliding_window=8, max_window_layers=2))
equal("use_sliding_window default layers", C, merge(C, use_sliding_window=True, sliding_window=8, max_window_layers=GONE))
equal("use_sliding_window null window", C, merge(C, use_sliding_window=True, sliding_window=None, max_window_layers=0))
equal("use_sliding_window as wide as the positions", C, merge(C, use_sliding_window=True, sliding_window=512,
                                                              max_window_layers=0))
equal("use_sliding_window full layer_types", C, merge(C, use_sliding_window=True, sliding_window=8, max_window_layers=0,
                                                      layer_types=["full_attention"] * 2))
equal("sliding_window off", C, merge(C, sliding_window=4, max_window_layers=0))
refused("is_causal false", C, "is_causal", merge(C, is_causal=False))
refused("is_causal null", C, "is_causal", merge(C, is_causal=None))
refused("use_bidirectional_attention true", C, "use_bidirectional_attention", merge(C, use_bidirectional_attention=True))
refused("use_sliding_window", C, "use_sliding_window", merge(C, use_sliding_window=True, sliding_window=8,
                                                             max_window_layers=0))
refused("use_sliding_window upper layer", C, "use_sliding_window", merge(C, use_sliding_window=True, sliding_window=8,
                                                                         max_window_layers=1))
refused("layer_types sliding", C, "layer_types", merge(C, use_sliding_window=True, sliding_window=8,
                                                       layer_types=["full_attention", "sliding_attention"]))
refused("layer_types linear", C, "layer_types", merge(C, layer_types=["full_attention", "linear_attention"]))
refused("layer_types too short", C, "layer_types", merge(C, layer_types=["full_attention"]))
refused("attention_bias true", C, "attention_bias", merge(C, attention_bias=True))
for name in ("Qwen3BidirectionalModel", "Qwen3ForSequenceClassification", "LlamaModel", "Qwen3MoeModel"):
    refused(f"architectures {name}", C, "architectures", merge(C, architectures=[name]))
equal("architectures Qwen3Model", C, merge(C, architectures=["Qwen3Model"]))
equal("architectures null", C, merge(C, architectures=None))
refused("model_type qwen2", C, "model_type", merge(C, model_type="qwen2"))
refused("model_type absent", C, "model_type", merge(C, model_type=GONE))
refused("hidden_act gelu", C, "hidden_act", merge(C, hidden_act="gelu"))
refused("quantization_config", C, "quantization_config", merge(C, quantization_config={
    "quant_method": "bitsandbytes", "load_in_8bit": True}))
refused("auto_map", C, "auto_map", merge(C, auto_map={"AutoModel": "modeling_custom.CustomModel"}))
refused("is_encoder_decoder", C, "is_encoder_decoder", merge(C, is_encoder_decoder=True))
refused("pruned_heads", C, "pruned_heads", merge(C, pruned_heads={"0": [1]}))
refused("head_dim null", C, "head_dim", merge(C, head_dim=None))
refused("head_dim odd", C, "head_dim", merge(C, head_dim=31))
refused("head_dim other", "model.safetensors", "q_norm", merge(C, head_dim=16))
refused("head_dim absent, not 128", "model.safetensors", "q_norm", merge(C, head_dim=GONE))
refused("num_key_value_heads absent, not 32", C, "num_key_value_heads", merge(C, num_key_value_heads=GONE))
refused("num_key_value_heads 3", C, "num_key_value_heads", merge(C, num_key_value_heads=3))
refused("num_attention_heads 4096", C, "num_attention_heads", merge(C, num_attention_heads=4096))
refused("hidden_size a text", C, "hidden_size", merge(C, hidden_size="64"))
refused("max_position_embeddings huge", C, "max_position_embeddings", merge(C, max_position_embeddings=1 << 40))
refused("rms_norm_eps a text", C, "rms_norm_eps", merge(C, rms_norm_eps="1e-6"))
refused("logit_softcap", C, "attn_logit_softcapping", merge(C, attn_logit_softcapping=50.0),
        note="transformers keeps it and computes without it; its author meant another forward pass")
refused("embedding_multiplier", C, "embedding_multiplier", merge(C, embedding_multiplier=12.0), note="likewise")

# --- config.json: notes and the rest -------------------------------------------------------------------------------------
for key, value in {
        "dtype": "float32", "torch_dtype": "bfloat16", "transformers_version": "5.99.0", "_name_or_path": "x/y",
        "unsloth_version": "2026.1", "unsloth_fixed": True, "use_cache": False, "pad_token_id": 434,
        "output_attentions": False, "return_dict": True, "id2label": {"0": "LABEL_0"}, "num_labels": 1, "my_note": "hello",
        "initializer_range": 0.5, "attention_dropout": 0.1, "bos_token_id": None, "eos_token_id": [434, 433],
        "pruned_heads": {}, "auto_map": {}, "quantization_config": None, "finetuning_task": None, "tie_word_embeddings": False,
        "chunk_size_feed_forward": 0, "problem_type": None, "mlp_bias": False, "attn_logit_softcapping": None,
        "_attn_implementation_autoset": True, "transformers.js_config": {"dtype": "q8"}, "task_specific_params": None,
        "max_window_layers": 1, "is_decoder": False, "add_cross_attention": False, "pretraining_tp": 1}.items():
    equal(f"{key} {value!r}", C, merge(C, **{key: value}))
equal("a key twice", C, text(C, lambda s: s.replace('"rms_norm_eps"', '"rms_norm_eps": 0.5, "rms_norm_eps"')))
equal("indented by tabs, CRLF", C, text(C, lambda s: s.replace("\n  ", "\r\n\t")))
refused("a byte-order mark", C, "byte-order mark", text(C, lambda s: "\ufeff" + s))
refused("cut short", C, "not valid JSON", text(C, lambda s: s[:-20]))
refused("a list", C, "model_type", put(C, []))
refused("empty", C, "is empty", put(C, b""))
refused("missing", C, "config.json", drop(C))
refused("a Git LFS pointer", C, "Git LFS", put(C, b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"))

# --- modules.json --------------------------------------------------------------------------------------------------------
NEW = "sentence_transformers.sentence_transformer.modules."
BASE = "sentence_transformers.base.modules."
for name, kinds in {
        "sentence-transformers 2": (OLD + "Transformer", OLD + "Pooling", OLD + "Normalize"),
        "files as names": (OLD + "Transformer.Transformer", OLD + "Pooling.Pooling", OLD + "Normalize.Normalize"),
        "sentence-transformers 5.4": (BASE + "transformer.Transformer", NEW + "pooling.Pooling",
                                      NEW + "normalize.Normalize"),
        "sentence-transformers 6": (BASE + "transformer.Transformer", NEW + "pooling.Pooling",
                                    BASE + "normalize.Normalize"),
        "new packages": (NEW + "Transformer", NEW + "Pooling", NEW + "Normalize")}.items():
    equal(f"modules of {name}", M, modules((kinds[0], ""), (kinds[1], "1_Pooling"), (kinds[2], "2_Normalize")))
equal("Normalize twice", M, modules((OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling"),
                                    (OLD + "Normalize", "2_Normalize"), (OLD + "Normalize", "3_Normalize")))
equal("no Normalize", M, modules((OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling")),
      note="the reference's vectors have other lengths; ours have length 1, and a line at start says so")
equal("Dropout", M, chain(modules((OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling"), (OLD + "Dropout", "2_Dropout"),
                                  (OLD + "Normalize", "3_Normalize")), put("2_Dropout/config.json", {"dropout": 0.5})))
equal("pooling in another folder", M, chain(modules((OLD + "Transformer", ""), (OLD + "Pooling", "pool"),
                                                    (OLD + "Normalize", "n")), move("1_Pooling", "pool")))
TRANSFORMER_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
equal("transformer in a folder", M, chain(modules((OLD + "Transformer", "0_Transformer"), (OLD + "Pooling", "1_Pooling"),
                                                  (OLD + "Normalize", "2_Normalize")),
                                          *(move(name, "0_Transformer/" + name) for name in TRANSFORMER_FILES)))
equal("idx in another order", M, text(M, lambda s: s.replace('"idx": 0', '"idx": 9')))
equal("kwargs", M, text(M, lambda s: s.replace('"idx": 0', '"kwargs": [], "idx": 0')))
equal("no modules.json, Qwen3ForCausalLM", M, drop(M), note="as above, without Normalize")
equal("Normalize with a config", M, put("2_Normalize/config.json", {"module_input_name": "sentence_embedding",
                                                                  "module_output_name": "sentence_embedding"}))
refused("no modules.json, Qwen3Model", M, "architectures", chain(drop(M), merge(C, architectures=["Qwen3Model"])))
refused("no modules.json, no architectures", M, "architectures", chain(drop(M), merge(C, architectures=GONE)))
for kind in ("Dense", "LayerNorm", "WordEmbeddings", "WeightedLayerPooling", "CNN", "LSTM", "Router", "Asym"):
    refused(f"module {kind}", M, kind, modules((OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling"),
                                               (OLD + kind, "2_" + kind), (OLD + "Normalize", "3_Normalize")))
refused("module of another package", M, "custom_st.Transformer", modules(
    ("custom_st.Transformer", ""), (OLD + "Pooling", "1_Pooling"), (OLD + "Normalize", "2_Normalize")))
refused("module of a cross-encoder", M, "cross_encoder", modules(
    (BASE + "transformer.Transformer", ""), ("sentence_transformers.cross_encoder.modules.logit_score.LogitScore", "1_L")))
refused("no Pooling", M, "Pooling", modules((OLD + "Transformer", ""), (OLD + "Normalize", "2_Normalize")))
refused("only a Transformer", M, "Pooling", modules((OLD + "Transformer", "")))
equal("Normalize before Pooling", M, modules((OLD + "Transformer", ""), (OLD + "Normalize", "2_Normalize"),
                                                       (OLD + "Pooling", "1_Pooling")))
refused("Pooling first", M, "type", modules((OLD + "Pooling", "1_Pooling"), (OLD + "Transformer", ""),
                                            (OLD + "Normalize", "2_Normalize")))
equal("Pooling twice", M, modules((OLD + "Transformer", ""), (OLD + "Pooling", "1_Pooling"),
                                            (OLD + "Pooling", "1_Pooling"), (OLD + "Normalize", "2_Normalize")))
refused("no modules", M, "modules", put(M, []))
refused("an object", M, "array", put(M, {}))
refused("two of one name", M, "name", text(M, lambda s: s.replace('"name": "2"', '"name": "1"')))
refused("a path outside", M, "path", modules((OLD + "Transformer", ""), (OLD + "Pooling", "../1_Pooling"),
                                             (OLD + "Normalize", "2_Normalize")))
refused("Normalize of the tokens", "2_Normalize/config.json", "module_input_name",
        put("2_Normalize/config.json", {"module_input_name": "token_embeddings"}))

# --- pooling -------------------------------------------------------------------------------------------------------------
MODES = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
FLAGS = {f"pooling_mode_{mode}": mode == "lasttoken" for mode in MODES}
equal("every flag", P, put(P, {"word_embedding_dimension": 64, **FLAGS, "include_prompt": True}))
equal("flags of sentence-transformers 2.0", P, put(P, {
    "word_embedding_dimension": 64, **{key: FLAGS[key] for key in list(FLAGS)[:4]}, "pooling_mode_lasttoken": True}))
equal("pooling_mode lasttoken", P, put(P, {"embedding_dimension": 64, "pooling_mode": "lasttoken", "include_prompt": True}))
equal("pooling_mode a list of one", P, put(P, {"embedding_dimension": 64, "pooling_mode": ["lasttoken"]}))
equal("pooling_mode wins over flags", P, put(P, {"embedding_dimension": 64, "pooling_mode": "lasttoken",
                                                 "pooling_mode_mean_tokens": True}))
equal("include_prompt absent", P, put(P, {"embedding_dimension": 64, "pooling_mode": "lasttoken"}))
equal("include_prompt false", P, put(P, {"embedding_dimension": 64, "pooling_mode": "lasttoken", "include_prompt": False}))
for mode in ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "nonsense", "LastToken"):
    refused(f"pooling_mode {mode}", P, "pooling_mode", put(P, {"embedding_dimension": 64, "pooling_mode": mode}))
for mode in MODES[:-1]:
    refused(f"flag {mode}", P, f"pooling_mode_{mode}", put(P, {"word_embedding_dimension": 64, **FLAGS,
                                                               f"pooling_mode_{mode}": True,
                                                               "pooling_mode_lasttoken": False}))
refused("two flags", P, "pooling_mode_mean_tokens", put(P, {"word_embedding_dimension": 64, **FLAGS,
                                                            "pooling_mode_mean_tokens": True}))
refused("pooling_mode a list of two", P, "pooling_mode", put(P, {"embedding_dimension": 64,
                                                                 "pooling_mode": ["lasttoken", "mean"]}))
refused("no flag on", P, "pooling_mode_lasttoken", put(P, {"word_embedding_dimension": 64, **FLAGS,
                                                           "pooling_mode_lasttoken": False}))
refused("no mode at all", P, "pooling_mode_lasttoken", put(P, {"word_embedding_dimension": 64}))
refused("unknown field", P, "pooling_weights", put(P, {"embedding_dimension": 64, "pooling_mode": "lasttoken",
                                                       "pooling_weights": [1]}))
refused("pooling config missing", P, P, drop(P))
each_dress(lambda dress, base: refused(f"pooling mean, {dress}", P, "pooling_mode", merge(
    P, **({"pooling_mode": "mean"} if dress == "st6-tf5" else
          {"pooling_mode_lasttoken": False, "pooling_mode_mean_tokens": True})), base=base))

# --- prompts -------------------------------------------------------------------------------------------------------------
PROMPTS = {"query": "Instruct: x\nQuery:", "document": ""}
equal("default prompt query", ST, merge(ST, prompts=PROMPTS, default_prompt_name="query"))
equal("default prompt document", ST, merge(ST, prompts=PROMPTS, default_prompt_name="document"))
equal("default prompt of another name", ST, merge(ST, prompts={"clustering": "Find topics: "},
                                                  default_prompt_name="clustering"))
equal("default prompt query, none given", ST, merge(ST, prompts={}, default_prompt_name="query"))
equal("default prompt null text", ST, merge(ST, prompts={"query": None}, default_prompt_name="query"))
equal("default prompt, prompt excluded", ST, chain(merge(ST, prompts=PROMPTS, default_prompt_name="query"),
                                                   merge(P, include_prompt=False)))
equal("no prompts", ST, merge(ST, prompts={}, default_prompt_name=None))
equal("no config_sentence_transformers.json", ST, drop(ST))
equal("a default prompt without modules.json", ST, chain(drop(M), merge(ST, prompts=PROMPTS, default_prompt_name="query")),
      note="then the reference reads no prompts")
for key, value in {"similarity_fn_name": "dot", "__version__": {"sentence_transformers": "2.0.0"}, "truncate_dim": None,
                   "model_type": "SentenceTransformer", "requirements": None, "note": "x"}.items():
    equal(f"{key} {value!r}", ST, merge(ST, **{key: value}))
equal("truncate_dim as wide as the model", ST, merge(ST, truncate_dim=64))
refused("truncate_dim 32", ST, "truncate_dim", merge(ST, truncate_dim=32))
refused("default prompt unknown", ST, "default_prompt_name", merge(ST, default_prompt_name="nonsense"))
refused("prompts a list", ST, "prompts", merge(ST, prompts=["x"]))
for kind in ("CrossEncoder", "SparseEncoder", "MultiVectorEncoder"):
    refused(f"model_type {kind}", ST, "model_type", merge(ST, model_type=kind))
each_dress(lambda dress, base: equal(f"default prompt, {dress}", ST, merge(ST, prompts=PROMPTS,
                                                                          default_prompt_name="query"), base=base))

# --- sentence_bert_config.json and tokenizer_config.json -------------------------------------------------------------------
for name, value in {"max_seq_length 512": {"max_seq_length": 512, "do_lower_case": False},
                    "max_seq_length 16 cuts": {"max_seq_length": 16}, "max_seq_length null": {"max_seq_length": None},
                    "empty": {}, "tokenizer_args empty": {"tokenizer_args": {}, "model_args": {}, "config_args": {}},
                    "padding left": {"tokenizer_args": {"padding_side": "left"}},
                    "task": {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings",
                             "modality_config": {"text": {"method": "forward",
                                                          "method_output_name": "last_hidden_state"}}},
                    "unpad_inputs": {"unpad_inputs": False}}.items():
    equal(f"sentence_bert_config {name}", B, put(B, value))
equal("sentence_roberta_config", "sentence_roberta_config.json", put("sentence_roberta_config.json", {"max_seq_length": 9}))
for name, named, value in (
        ("do_lower_case", "do_lower_case", {"do_lower_case": True}),
        ("model_max_length", "model_max_length", {"tokenizer_args": {"model_max_length": 8}}),
        ("transformer_task", "transformer_task", {"transformer_task": "text-generation"}),
        ("query_length", "query_length", {"query_length": 8}),
        ("processing_kwargs", "processing_kwargs", {"processing_kwargs": {"text": {"max_length": 8}}}),
        ("unknown argument", "pool_twice", {"pool_twice": True}),
        ("config_args", "is_causal", {"config_args": {"is_causal": True}})):
    refused(f"sentence_bert_config {name}", B, named, put(B, value))
for name, values in {"model_max_length absent": {"model_max_length": GONE}, "model_max_length 16 cuts": {"model_max_length": 16},
                     "model_max_length 1e30": {"model_max_length": int(1e30)}, "padding_side left": {"padding_side": "left"},
                     "truncation_side left": {"truncation_side": "left", "model_max_length": 16},
                     "truncation_side right": {"truncation_side": "right", "model_max_length": 16},
                     "chat_template": {"chat_template": "{{ x }}"}, "unk_token null": {"unk_token": None},
                     "class Qwen2TokenizerFast": {"tokenizer_class": "Qwen2TokenizerFast"},
                     "class Qwen2Tokenizer": {"tokenizer_class": "Qwen2Tokenizer"},
                     "split_special_tokens false": {"split_special_tokens": False},
                     "added_tokens_decoder": {"added_tokens_decoder": {"434": {
                         "content": "<|endoftext|>", "lstrip": False, "normalized": False, "rstrip": False,
                         "single_word": False, "special": True}}},
                     "additional_special_tokens": {"additional_special_tokens": ["<|endoftext|>"]},
                     "clean_up_tokenization_spaces": {"clean_up_tokenization_spaces": True}}.items():
    equal(f"tokenizer_config {name}", T, merge(T, **values))
equal("no tokenizer_config.json", T, drop(T))
equal("special_tokens_map.json", "special_tokens_map.json", put("special_tokens_map.json", {"eos_token": "<|endoftext|>"}))
for name, named, values in (
        ("eos_token unknown", "eos_token", {"eos_token": "<|new|>"}),
        ("additional_special_tokens unknown", "additional_special_tokens", {"additional_special_tokens": ["wine"]}),
        ("added_tokens_decoder unknown", "added_tokens_decoder", {"added_tokens_decoder": {"435": {"content": " wine"}}}),
        ("added_tokens_decoder lstrip", "lstrip", {"added_tokens_decoder": {"434": {
            "content": "<|endoftext|>", "lstrip": True, "special": True}}}),
        ("split_special_tokens", "split_special_tokens", {"split_special_tokens": True}),
        ("add_prefix_space", "add_prefix_space", {"add_prefix_space": True}),
        ("truncation_side up", "truncation_side", {"truncation_side": "up"})):
    refused(f"tokenizer_config {name}", T, named, merge(T, **values))
refused("added_tokens.json", "added_tokens.json", "wine", put("added_tokens.json", {"wine": 435}))

# A word of the vocabulary that is no added token: transformers would cut it out of the words it stands in.
for key in ("eos_token", "pad_token", "bos_token", "unk_token", "mask_token"):
    refused(f"{key} an ordinary word", T, key, merge(T, **{key: "in"}))
for key in ("additional_special_tokens", "extra_special_tokens"):
    refused(f"{key} an ordinary word", T, key, merge(T, **{key: ["in"]}))
refused("extra_special_tokens named", T, "image_token", merge(T, extra_special_tokens={"image_token": "in"}))
refused("special_tokens_map.json an ordinary word", "special_tokens_map.json", "eos_token",
        put("special_tokens_map.json", {"eos_token": "in"}))
refused("added_tokens.json an ordinary word", "added_tokens.json", "in", put("added_tokens.json", {"in": IN}))
refused("added_tokens_decoder an ordinary word", T, str(IN),
        merge(T, added_tokens_decoder={str(IN): {"content": "in", "special": True}}))

# Without attention_mask the reference counts the padding in.
for names in (["input_ids"], [], ["input_ids", "token_type_ids"]):
    refused(f"model_input_names {names}", T, "model_input_names", merge(T, model_input_names=names))
for names in (["attention_mask", "input_ids"], ["input_ids", "token_type_ids", "attention_mask"]):
    equal(f"model_input_names {names}", T, merge(T, model_input_names=names))

# --- the tokenizer's class: Qwen2Tokenizer, also where none is named, has rules of its own ---------------------------------
J = "tokenizer.json"
RULES = {
    "as it is": lambda value: None,
    "normalizer null": lambda value: value.update(normalizer=None),
    "another pattern": lambda value: value["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\p{L}+|\p{N}+"),
    "ignore_merges": lambda value: (value["model"].update(ignore_merges=True), value["model"]["merges"].remove(INTO))}
for name, rules in RULES.items():
    for kind in (GONE, None, "", "Qwen2Tokenizer", "Qwen2TokenizerFast", "PreTrainedTokenizer", "PreTrainedTokenizerFast",
                 "TokenizersBackend", "LlamaTokenizerFast", "Qwen3Tokenizer"):
        said = "absent" if kind is GONE else repr(kind)
        equal(f"tokenizer_class {said}, {name}", T, chain(merge(T, tokenizer_class=kind), edit(J, rules)))
    equal(f"no tokenizer_config.json, {name}", J, chain(drop(T), edit(J, rules)))
    equal(f"config.json's tokenizer_class, {name}", C, chain(
        merge(T, tokenizer_class=GONE), merge(C, tokenizer_class="PreTrainedTokenizerFast"), edit(J, rules)))
for kind in ("GPT2TokenizerFast", "GPT2Tokenizer", "BartTokenizerFast", "GPTNeoXTokenizerFast", "BertTokenizerFast", 7):
    refused(f"tokenizer_class {kind!r}", T, "tokenizer_class", merge(T, tokenizer_class=kind))
refused("config.json's tokenizer_class GPT2Tokenizer", C, "tokenizer_class", chain(
    merge(T, tokenizer_class=GONE), merge(C, tokenizer_class="GPT2Tokenizer")))
equal("config.json's tokenizer_class is second", C, merge(C, tokenizer_class="GPT2Tokenizer"))

# --- the end token: what tokenizer.json's post-processor says --------------------------------------------------------------
NO_TEMPLATE = merge(J, post_processor=None)
equal("no end token", J, NO_TEMPLATE)
equal("post-processor ByteLevel", J, merge(J, post_processor={"type": "ByteLevel", "add_prefix_space": True,
                                                              "trim_offsets": False, "use_regex": True}))
for key in ("add_eos_token", "add_bos_token"):
    for value in (True, False):
        equal(f"{key} {value} without a template", T, chain(NO_TEMPLATE, merge(T, **{key: value})))
        equal(f"{key} {value} with a template", T, merge(T, **{key: value}))
refused("--append-eos without a token", J, "--append-eos", chain(NO_TEMPLATE, merge(T, eos_token=GONE),
                                                                merge(C, eos_token_id=None)), flags=("--append-eos",))
refused("tokenizer.json missing", J, J, drop(J))
refused("tokenizer.json a Git LFS pointer", J, "Git LFS", put(J, b"version https://git-lfs.github.com/spec/v1\noid x\n"))
refused("vocab_size too small", J, "vocab_size", merge(C, vocab_size=400))

# --- weights -------------------------------------------------------------------------------------------------------------
S = "model.safetensors"
equal("no metadata", S, no_metadata())
for extra in (4, 1, 2, 3):
    equal(f"data at {extra} beyond a multiple of 8", S, pad_header(extra))
for dtype, width in (("I64", 8), ("BOOL", 1), ("F64", 8), ("U8", 1), ("I32", 4)):
    equal(f"an unused tensor of {dtype}", S, extra_tensor("position_ids", dtype, [4], width))
equal("an unused scalar", S, extra_tensor("step", "I64", [], 8))
equal("an unused lm_head", S, extra_tensor("lm_head.weight", "F32", [512, 64], 4))
equal("norms in f16", S, tensor_as("norm.weight", "F16"))
equal("norms in bf16", S, tensor_as("layers.0.input_layernorm.weight", "BF16"))
refused("a tensor missing", S, "norm.weight", without_tensor("norm.weight"))
refused("a tensor of F64", S, "norm.weight", tensor_as("norm.weight", "F64"))
refused("other names", S, "embed_tokens.weight", weights(lambda header, data: (
    {("module." + key if key != "__metadata__" else key): value for key, value in header.items()}, data, 0)))
refused("weights a Git LFS pointer", S, "Git LFS", put(S, b"version https://git-lfs.github.com/spec/v1\noid x\n"))
refused("weights missing", S, S, drop(S))
refused("weights unfinished", S, "did not finish", chain(move(S, S + ".incomplete")))
refused("a shard missing", "model-00002-of-00002.safetensors", "is missing", drop("model-00002-of-00002.safetensors"), base={"shards": 2})
refused("only PyTorch's weights", "pytorch_model.bin", "safetensors", move(S, "pytorch_model.bin"))
refused("an adapter", "adapter_config.json", "adapter", put("adapter_config.json", {"peft_type": "LORA"}))

# Refused although the reference, which passes over the field, gives the base's vectors for our texts.
for named, why in {
        "partial_rotary_factor 0.5": "transformers 5 passes over it; transformers 4 does not load the folder",
        "use_bidirectional_attention true": "transformers passes over it; the model's own code would not",
        "attention_bias true": "transformers fills the missing biases with zeros",
        "architectures Qwen3BidirectionalModel": "sentence-transformers loads Qwen3Model whatever stands here",
        "architectures Qwen3ForSequenceClassification": "likewise", "architectures LlamaModel": "likewise",
        "architectures Qwen3MoeModel": "likewise", "auto_map": "code of the model's own may compute something else",
        "is_encoder_decoder": "transformers passes over it", "pruned_heads": "transformers passes over it",
        "max_position_embeddings huge": "bounded, so that the tables of positions are",
        "Normalize of the tokens": "after the pooling it does nothing",
        "model_type CrossEncoder": "the reference would make an embedding model of it",
        "model_type SparseEncoder": "likewise", "model_type MultiVectorEncoder": "likewise",
        "sentence_bert_config query_length": "applies to encode_query() only",
        "sentence_bert_config config_args": "arguments of the model's own are not read",
        "tokenizer_config eos_token unknown": "a token that our texts do not hold",
        "tokenizer_config added_tokens_decoder lstrip": "a rule for a token that our texts do not hold",
        "tokenizer_config split_special_tokens": "likewise",
        "tokenizer_config add_prefix_space": "transformers 5 follows it with tokenizer_class Qwen2Tokenizer",
        "a tensor of F64": "no checkpoint of these models has one"}.items():
    found = [case for case in CASES if case.name == named and case.outcome == "refused"]
    assert len(found) == 1, named
    found[0].note = why
