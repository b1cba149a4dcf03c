"""Builds model folders: small random models, each a base with one thing changed.

A base is a shape (make_model.py's weights, the same bytes everywhere) and a dress: the configuration files as one pair
of library versions writes them (dresses/). A change is a function of the folder's path.
"""
import json
import pathlib
import shutil
import struct
import sys

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tools"))
import make_model  # noqa: E402

#            D    L   H  K   d    F    V    positions
SHAPES = {
    "base": (64, 2, 4, 2, 32, 96, 512, 512),
    "d128": (64, 2, 4, 2, 128, 96, 512, 512),
    "kv32": (64, 1, 32, 32, 4, 96, 512, 512),
    "heads32": (64, 1, 32, 2, 4, 96, 512, 512),
    "mha": (64, 2, 4, 4, 32, 96, 512, 512),
    "layers32": (32, 32, 4, 2, 8, 32, 512, 512),
    "ffn22016": (16, 1, 4, 2, 8, 22016, 512, 512),
    "vocab151936": (16, 1, 4, 2, 8, 32, 151936, 512),
    "wide4096": (4096, 1, 2, 1, 8, 16, 512, 512),
    "long": (64, 2, 4, 2, 32, 96, 512, 32768),
}
TEXTS = ["red wine in a cool cellar", "the e\u0301tude, grinds into: a winding inning.", "Der Wein reift in der Stille.", "向量是一串数字，意思相近的句子靠得近。",
         "A mill grinds grain into flour; this one grinds text into vectors. " * 3 + "The end."]
GONE = object()  # as a value in merge(): the key is taken out


def build(folder, shape="base", dress="plain", stored="f32", prefix="", shards=1):
    """The unchanged folder: weights of `shape`, files of `dress`."""
    make_model.PRESETS["model-folder"] = SHAPES[shape]
    make_model.make_model(folder, "model-folder", stored, seed=11, shards=shards, prefix=prefix)
    shutil.copy(HERE / "base" / "tokenizer.json", folder / "tokenizer.json")
    write(folder, "1_Pooling/config.json", {"word_embedding_dimension": SHAPES[shape][0], "pooling_mode_lasttoken": True,
                                            "pooling_mode_mean_tokens": False, "include_prompt": True})
    write(folder, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512,
                                            "pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"})
    if dress != "plain":
        shutil.copytree(HERE / "dresses" / dress, folder, dirs_exist_ok=True)


def write(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False))


# --- changes -----------------------------------------------------------------------------------------------------------

def merge(name, **values):
    """Sets keys of a JSON object; GONE takes one out."""
    def change(folder):
        path = folder / name
        value = json.loads(path.read_text()) if path.exists() else {}
        value.update(values)
        write(folder, name, {key: item for key, item in value.items() if item is not GONE})
    return change


def edit(name, change_value):
    """Changes a JSON object by a function of it."""
    def change(folder):
        value = json.loads((folder / name).read_text())
        change_value(value)
        write(folder, name, value)
    return change


def put(name, content):
    """Writes a file: bytes as they are, anything else as JSON."""
    def change(folder):
        if isinstance(content, bytes):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        else:
            write(folder, name, content)
    return change


def drop(name):
    def change(folder):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return change


def move(source, target):
    def change(folder):
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        (folder / source).rename(folder / target)
    return change


def text(name, edit):
    """Edits a file's text."""
    def change(folder):
        before = (folder / name).read_text()
        after = edit(before)
        assert after != before, f"{name}: the change changes nothing"
        (folder / name).write_text(after)
    return change


def modules(*entries):
    """modules.json of (type, path) pairs, named 0, 1, ..."""
    return put("modules.json", [{"idx": i, "name": str(i), "path": path, "type": kind}
                                for i, (kind, path) in enumerate(entries)])


def weights(edit):
    """Rewrites model.safetensors: edit(header, data) -> (header, data, padding of the header)."""
    def change(folder):
        path = folder / "model.safetensors"
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        header, data, pad = edit(json.loads(raw[8:8 + size]), raw[8 + size:])
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8 + pad)
        path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    return change


def pad_header(extra):
    return weights(lambda header, data: (header, data, extra))


def extra_tensor(name, dtype, shape, width):
    def edit(header, data):
        size = width * int(np.prod(shape)) if shape else width
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + size]}
        return header, data + bytes(size), 0
    return weights(edit)


def without_tensor(name):
    """Leaves the tensor out, and fills its bytes under a name that nothing uses."""
    def edit(header, data):
        header["unused"] = header.pop(name)
        return header, data, 0
    return weights(edit)


def tensor_as(name, dtype):
    """Stores one tensor in another dtype, at the end of the file."""
    def edit(header, data):
        begin, end = header[name]["data_offsets"]
        values = np.frombuffer(data[begin:end], "<f4")
        raw = values.astype("<f8").tobytes() if dtype == "F64" else make_model.stored(values, dtype.lower())
        header["unused"] = header[name]
        header[name] = {"dtype": dtype, "shape": header["unused"]["shape"],
                        "data_offsets": [len(data), len(data) + len(raw)]}
        return header, data + raw, 0
    return weights(edit)


def no_metadata():
    def edit(header, data):
        header.pop("__metadata__")
        return header, data, 0
    return weights(edit)
