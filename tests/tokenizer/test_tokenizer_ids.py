"""Ids equal Hugging Face `tokenizers`: a small tokenizer trained here (always), Qwen3's on a corpus (with ../shared)."""

import os
import warnings

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import compare_tokenizers
from tokenizer_inputs import QWEN3, corpus_lines, hostile_lines

QWEN_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {"qwen": QWEN_PATTERN, "three_digits": QWEN_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")}


@pytest.fixture(scope="session", autouse=True)
def tool():
    assert os.path.exists(compare_tokenizers.tool_path()), "build tokenizer_bench, and point QUERN_BUILD_DIR at the build"


def train(path, pattern, normalizer):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    )  # fmt: skip
    tokenizer.train_from_iterator([text for text in hostile_lines(4000, seed=3) if len(text) < 1000], trainer)
    tokenizer.add_tokens([AddedToken("<think>", normalized=False), AddedToken("caf\u00e9", normalized=True), AddedToken("<")])
    eos = tokenizer.token_to_id("<|endoftext|>")
    template = processors.TemplateProcessing(single="$A <|endoftext|>", special_tokens=[("<|endoftext|>", eos)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False, add_prefix_space=False, use_regex=False), template])
    tokenizer.save(str(path))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("normalizer", ["nfc", "none"])
def test_trained_tokenizer(tmp_path, pattern, normalizer):
    path = tmp_path / "tokenizer.json"
    train(path, PATTERNS[pattern], normalizers.NFC() if normalizer == "nfc" else None)
    texts = hostile_lines(9000, seed=4) + ["cafe\u0301 caf\u00e9 <<think>", "un cafe\u0301s<|im_end|>"]
    assert compare_tokenizers.first_differences(path, texts) == []


def test_qwen3_tokenizer_over_the_corpus():
    if not QWEN3.exists():
        warnings.warn(f"SKIPPED: {QWEN3} is not there; Qwen3's own tokenizer was not compared")
        pytest.skip(f"SKIPPED: needs {QWEN3}")
    texts = corpus_lines(50_000) + hostile_lines(12_000)
    assert compare_tokenizers.first_differences(QWEN3, texts) == []
