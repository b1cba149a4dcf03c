#!/usr/bin/env python3
"""Writes docs/model-folders.md: what of a model folder is equal to the reference, and what is refused."""
import json
import pathlib

from cases import CASES

HERE = pathlib.Path(__file__).resolve().parent
DOCUMENT = HERE.parent.parent / "docs" / "model-folders.md"

HEAD = """# Model folders: equal to the reference, or refused

A folder that loads gives the vectors of sentence-transformers' `encode()` with the folder's own default prompt: cosine at
least 1 - 1e-6 in f32. Everything that would give others is refused at start, exit code 2, with a message that names file,
field, what was found and what is allowed. This page is written by `tests/model_folders/table.py` from the list that the
tests run ({equal} folders equal, {refused} refused; reference: {versions}).

- A field of `config.json` that nobody here has heard of is passed over when its name is a note's; when it speaks of the
  computation (attention, norm, scale, ...) and is not off, it is refused.
- Vectors always have length 1. For a folder without a Normalize module the reference's have other lengths; a line at
  start says so.
- The end token is what `tokenizer.json`'s post-processor appends. Where it appends none, none is added, and a line at
  start says so; `--append-eos` adds it.
- Inputs over `max_seq_length` or `model_max_length` are errors here unless a request asks to truncate; then they are cut
  where the reference cuts them.
"""


def document():
    reference = json.loads((HERE / "reference.json").read_text())
    versions = ", ".join(f"{name} {version}" for name, version in reference["versions"].items())
    counts = {outcome: sum(case.outcome == outcome for case in CASES) for outcome in ("equal", "refused")}
    lines = [HEAD.format(versions=versions, **counts)]
    for outcome, title in (("equal", "Equal"), ("refused", "Refused")):
        third = " the message names | the reference |" if outcome == "refused" else ""
        lines += [f"## {title}", "", f"| file | changed |{third}", f"|---|---|{'---|---|' if third else ''}"]
        for case in CASES:
            if case.outcome != outcome:
                continue
            name = case.name + (f" ({case.note})" if case.note else "")
            error = reference["cases"][f"{case.file}: {case.name}"].get("error")
            what = "loads it" if error is None else "refuses it too: " + error.split(":")[0]
            third = f" `{case.field}` | {what} |" if outcome == "refused" else ""
            lines.append(f"| `{case.file}` | {name} |{third}".replace("`the base`", ""))
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document())
