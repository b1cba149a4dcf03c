"""One tokenizer.json written in many ways: the same ids as the reference, or refused by the name of the field.

variants() yields (name, outcome, change): `change` edits a copy of the file; `outcome` is "equal", or the field that the
refusal must name. It is written down here before anything runs.
"""

import copy


def byte_level(**flags):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False, **flags}


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def put(path, value):
    """Sets the value at a dotted path; a callable gets a copy of the old value."""

    def change(root):
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            root = root[part]
        root[last] = value(copy.deepcopy(root[last])) if callable(value) else value

    return change


def drop(path):
    def change(root):
        *parents, last = path.split(".")
        for part in parents:
            root = root[int(part) if part.isdigit() else part]
        del root[last]

    return change


def both(*changes):
    def change(root):
        for each in changes:
            each(root)

    return change


def end_token(root):
    return next(token for token in root["added_tokens"] if token["content"] == "<|endoftext|>")


def template(root, single=None):
    token = end_token(root)
    eos = {"SpecialToken": {"id": token["content"], "type_id": 0}}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    pieces = {"A": text, "E": eos}
    special = {token["content"]: {"id": token["content"], "ids": [token["id"]], "tokens": [token["content"]]}}
    pair = [text, {"Sequence": {"id": "B", "type_id": 1}}]
    return {"type": "TemplateProcessing", "single": [pieces[p] for p in single or "AE"], "pair": pair, "special_tokens": special}


def post(make):
    def change(root):
        root["post_processor"] = make(root)

    return change


def add_token(content, **flags):
    """Its id is the one that the reference gives it, whatever the file says: the vocabulary's, else the next."""

    def change(root):
        vocab = root["model"]["vocab"]
        id_ = vocab.get(content, max([len(vocab) - 1, *(token["id"] for token in root["added_tokens"])]) + 1)
        base = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        root["added_tokens"].append({"id": id_, "content": content, **base, **flags})

    return change


def normalizers():
    nfc = {"type": "NFC"}
    yield "null", "equal", None
    yield "nfc", "equal", nfc
    yield "sequence of none", "equal", sequence("normalizers")
    yield "sequence of one", "equal", sequence("normalizers", nfc)
    yield "sequence of two", "equal", sequence("normalizers", nfc, nfc)
    yield "nested", "equal", sequence("normalizers", sequence("normalizers", nfc), sequence("normalizers"))
    yield "nested and empty", "equal", sequence("normalizers", sequence("normalizers"))
    for kind in ("NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt"):
        yield kind, "normalizer", {"type": kind}
        yield f"{kind} in a sequence", "normalizer.normalizers[1]", sequence("normalizers", nfc, {"type": kind})
    yield "strip", "normalizer", {"type": "Strip", "strip_left": True, "strip_right": True}
    yield "prepend", "normalizer", {"type": "Prepend", "prepend": "_"}
    yield "replace", "normalizer", {"type": "Replace", "pattern": {"String": " "}, "content": "_"}


def post_processors():
    level = byte_level()
    yield "null", "equal", lambda root: None
    yield "byte level", "equal", lambda root: level
    yield "byte level with flags", "equal", lambda root: byte_level(add_prefix_space=True, trim_offsets=True, use_regex=True)
    yield "template", "equal", template
    yield "template without end token", "equal", lambda root: template(root, "A")
    yield "sequence of none", "equal", lambda root: sequence("processors")
    yield "sequence of template", "equal", lambda root: sequence("processors", template(root))
    yield "sequence of byte level", "equal", lambda root: sequence("processors", level)
    yield "swapped", "equal", lambda root: sequence("processors", template(root), level)
    yield "byte level twice", "equal", lambda root: sequence("processors", level, template(root), level)
    yield "nested", "equal", lambda root: sequence("processors", sequence("processors", level), sequence("processors", template(root)))
    yield "nested and empty", "equal", lambda root: sequence("processors", sequence("processors"), sequence("processors", template(root)))
    yield "two templates, one empty", "equal", lambda root: sequence("processors", template(root, "A"), template(root))
    yield "two end tokens", "post_processor.processors[1]", lambda root: sequence("processors", template(root), template(root))
    yield "two end tokens in one", "post_processor.single", lambda root: template(root, "AEE")
    yield "start token", "post_processor.single", lambda root: template(root, "EA")
    yield "start and end", "post_processor.single", lambda root: template(root, "EAE")
    yield "text twice", "post_processor.single", lambda root: template(root, "AA")
    bert = {"sep": ["<|endoftext|>", 0], "cls": ["<|endoftext|>", 0]}
    yield "bert", "post_processor", lambda root: {"type": "BertProcessing", **bert}
    yield "roberta", "post_processor", lambda root: {"type": "RobertaProcessing", **bert, "trim_offsets": True, "add_prefix_space": False}


def pre_tokenizers():
    at = "pre_tokenizer.pretokenizers"

    def split_of(root):
        return copy.deepcopy(root["pre_tokenizer"]["pretokenizers"][0])

    def steps(*makers):
        def change(root):
            split = split_of(root)
            root["pre_tokenizer"] = sequence("pretokenizers", *[make(split) for make in makers])

        return change

    def split(value):
        return value

    def level(_):
        return byte_level()

    def nest(make):
        return lambda value: sequence("pretokenizers", make(value))

    def none(_):
        return sequence("pretokenizers")

    yield "nested split", "equal", steps(nest(split), level)
    yield "nested byte level", "equal", steps(split, nest(level))
    yield "nested twice", "equal", steps(nest(nest(split)), nest(level))
    yield "empty sequences between", "equal", steps(none, split, none, level, none)
    yield "a sequence of the sequence", "equal", put("pre_tokenizer", lambda old: sequence("pretokenizers", old))
    yield "swapped", at + "[0]", steps(level, split)
    yield "split alone", "pre_tokenizer", steps(split)
    yield "byte level alone", "pre_tokenizer", steps(level)
    yield "null", "pre_tokenizer", put("pre_tokenizer", None)
    yield "sequence of none", "pre_tokenizer", put("pre_tokenizer", sequence("pretokenizers"))
    yield "digits before", "pre_tokenizer", steps(lambda _: {"type": "Digits", "individual_digits": True}, split, level)
    yield "prefix space", at + "[1].add_prefix_space", put("pre_tokenizer.pretokenizers.1.add_prefix_space", True)
    yield "regex in byte level", at + "[1].use_regex", put("pre_tokenizer.pretokenizers.1.use_regex", True)
    yield "offsets trimmed", "equal", put("pre_tokenizer.pretokenizers.1.trim_offsets", True)
    for behavior in ("Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
        yield behavior, at + "[0].behavior", put("pre_tokenizer.pretokenizers.0.behavior", behavior)
    yield "inverted", at + "[0].invert", put("pre_tokenizer.pretokenizers.0.invert", True)
    yield "a string for a pattern", at + "[0].pattern", put("pre_tokenizer.pretokenizers.0.pattern", {"String": " "})
    yield "another pattern", "equal", put("pre_tokenizer.pretokenizers.0.pattern", {"Regex": r"[a-z]+|[0-9]{1,2}|[^a-z0-9]"})


def decoders():
    level = byte_level(trim_offsets=True)
    yield "null", "equal", None
    yield "sequence of none", "equal", sequence("decoders")
    yield "sequence of one", "equal", sequence("decoders", level)
    yield "with fuse", "equal", sequence("decoders", level, {"type": "Fuse"})
    yield "nested", "equal", sequence("decoders", sequence("decoders", level))
    yield "metaspace", "decoder", {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True}
    yield "word piece", "decoder.decoders[1]", sequence("decoders", level, {"type": "WordPiece", "prefix": "##", "cleanup": True})


def models():
    for value in (True, False, None):
        yield f"ignore_merges {value}", "equal", put("model.ignore_merges", value) if value is not None else drop("model.ignore_merges")
    raw = add_token("\u00e9")
    yield "ignore_merges beside an added token that NFC makes", "equal", both(put("model.ignore_merges", True), raw)
    yield "merges as strings", "equal", put("model.merges", lambda old: [m if isinstance(m, str) else " ".join(m) for m in old])
    yield "merges as pairs", "equal", put("model.merges", lambda old: [m.split(" ") if isinstance(m, str) else m for m in old])
    yield "merges backwards", "equal", put("model.merges", lambda old: old[::-1])
    yield "every third merge gone", "equal", put("model.merges", lambda old: [m for i, m in enumerate(old) if i % 3])
    yield "no merges", "equal", put("model.merges", [])
    yield "unk_token that is never needed", "equal", put("model.unk_token", "a")
    yield "fuse_unk", "equal", put("model.fuse_unk", True)
    yield "byte_fallback", "equal", put("model.byte_fallback", True)
    yield "dropout of nothing", "equal", put("model.dropout", 0.0)
    yield "dropout", "model.dropout", put("model.dropout", 0.1)
    yield "empty affixes", "equal", both(put("model.continuing_subword_prefix", ""), put("model.end_of_word_suffix", ""))
    yield "suffix", "model.end_of_word_suffix", put("model.end_of_word_suffix", "</w>")
    yield "prefix", "model.continuing_subword_prefix", put("model.continuing_subword_prefix", "##")
    yield "a byte missing", "model.vocab", drop("model.vocab.b")


def added_tokens():
    yield "truncation and padding set to nothing", "equal", both(put("truncation", None), put("padding", None))
    yield "a raw token", "equal", add_token("<think>")
    yield "a normalized token", "equal", add_token("caf\u00e9", normalized=True)
    yield "a decomposed one, normalized", "equal", add_token("cafe\u0301", normalized=True)
    yield "a special one, normalized", "equal", add_token("[X]", normalized=True, special=True)
    yield "one that begins another", "equal", both(add_token("<<"), add_token("<"))
    yield "of one letter", "equal", add_token("q")
    yield "of white space", "equal", both(add_token("    "), add_token("\n\n"))
    yield "none at all", "equal", both(put("added_tokens", []), put("post_processor", None))
    yield "spelled as a byte's token", "equal", add_token("\u00e9")
    yield "an id that leaves a gap", "added_tokens[3].id", add_token("<think>", id=30000)
    yield "an id of another token", "added_tokens[3].id", add_token("<think>", id=500)
    yield "a new id for a token of the vocabulary", "added_tokens[3].id", add_token("q", id=28000)
    for flag in ("single_word", "lstrip", "rstrip"):
        yield flag, f"].{flag}", add_token("<think>", **{flag: True})


def variants():
    yield "unchanged", "equal", lambda root: None
    groups = {"normalizer": normalizers, "decoder": decoders}
    for field, group in groups.items():
        for name, outcome, value in group():
            yield f"{field}: {name}", outcome, put(field, value)
        yield f"{field}: absent", "equal", drop(field)
    for name, outcome, make in post_processors():
        yield f"post_processor: {name}", outcome, post(make)
    yield "post_processor: absent", "equal", drop("post_processor")
    for group in (pre_tokenizers, models, added_tokens):
        for name, outcome, change in group():
            yield f"{group.__name__}: {name}", outcome, change
