#!/usr/bin/env python3
"""Asks sentence-transformers for the vectors of every folder in cases.py: reference.npz and reference.json.

`./dev golden folders` runs it. reference.npz: the distinct vectors f32 [texts, D]; reference.json: for each case which of them
is its own, or why the reference does not load it. `generate.py --dress NAME` instead writes dresses/NAME: the
configuration files of the base as the installed libraries save them.
"""
import argparse
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import warnings

os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")
import numpy as np  # noqa: E402
import sentence_transformers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

import folders  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
NEWER = int(transformers.__version__.split(".")[0]) >= 5


def load(folder):
    key = "dtype" if NEWER else "torch_dtype"
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu", local_files_only=True,
                                                     model_kwargs={key: torch.float32})


def save_dress(name):
    with tempfile.TemporaryDirectory() as work:
        source, saved = pathlib.Path(work) / "base", pathlib.Path(work) / "saved"
        folders.build(source)
        load(source).save(str(saved), safe_serialization=True)
        target = HERE / "dresses" / name
        shutil.rmtree(target, ignore_errors=True)
        for path in saved.rglob("*"):
            if path.is_file() and path.suffix == ".json" and path.name != "model.safetensors.index.json":
                (target / path.relative_to(saved)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / path.relative_to(saved))


def ask(case, folder):
    folders.build(folder, **case.base)
    case.change(folder)
    if "--append-eos" in case.flags:
        return None, "has no such flag"
    try:
        return load(folder).encode(folders.TEXTS, show_progress_bar=False).astype("<f4"), None
    except BaseException as error:  # whatever it is: the reference does not give a vector
        return None, f"{type(error).__name__}: {str(error).strip().splitlines()[0][:120] if str(error).strip() else ''}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dress")
    parser.add_argument("--only", help="cases whose name holds this text; prints, writes nothing")
    args = parser.parse_args()
    torch.set_num_threads(2)
    if args.dress:
        return save_dress(args.dress)
    from cases import CASES
    distinct, index, cases = [], {}, {}
    for case in CASES:
        if args.only and args.only not in case.name:
            continue
        with tempfile.TemporaryDirectory() as work:
            vectors, error = ask(case, pathlib.Path(work) / "folder")
        entry = {"error": error.replace(work, "")} if error else {}
        if vectors is not None:
            key = hashlib.sha256(vectors.tobytes()).hexdigest()
            if key not in index:
                index[key] = len(distinct)
                distinct.append(vectors)
            entry["vectors"] = index[key]
        cases[f"{case.file}: {case.name}"] = entry
        strange = (case.outcome == "equal") == bool(error)
        print(("!! " if strange and case.outcome == "equal" else "   ") + f"{case.outcome} {case.file}: {case.name}: "
              f"{error or index[key]}", file=sys.stderr, flush=True)
    if args.only:
        return None
    np.savez_compressed(HERE / "reference.npz", **{str(i): vectors for i, vectors in enumerate(distinct)})
    versions = {"sentence-transformers": sentence_transformers.__version__, "transformers": transformers.__version__,
                "torch": torch.__version__.split("+")[0]}
    (HERE / "reference.json").write_text(json.dumps({"versions": versions, "cases": cases}, indent=1, sort_keys=True) + "\n")
    return None


if __name__ == "__main__":
    main()
