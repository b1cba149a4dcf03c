"""Step 2: a byte-level BPE vocabulary with Qwen's normaliser, split pattern and EOS template.

    python train_tokenizer.py OUT ROWS        # reads OUT/texts.jsonl, writes OUT/tokenizer.json with ROWS entries
"""
import json
import os
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

QWEN_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
                r"|\s+(?!\S)|\s+")
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SHARE = 0.35  # of the texts: enough for 28,000 merges and done in a minute
TOKEN_BYTES_MAX = 24


def sample(path):
    rng = random.Random(0)
    for line in open(path, encoding="utf-8"):
        if rng.random() < SHARE:
            yield json.loads(line)["t"]


def main(out, rows):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
    ])
    trainer = trainers.BpeTrainer(vocab_size=rows - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  max_token_length=TOKEN_BYTES_MAX, show_progress=False)
    tokenizer.train_from_iterator(sample(os.path.join(out, "texts.jsonl")), trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    eos = (SPECIAL[0], tokenizer.token_to_id(SPECIAL[0]))
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False)
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        processors.TemplateProcessing(single=f"$A {SPECIAL[0]}", pair=f"$A $B {SPECIAL[0]}", special_tokens=[eos]),
    ])
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    print(tokenizer.get_vocab_size(), "rows; eos", eos)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
