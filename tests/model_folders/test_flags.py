"""The flags that say which folder, and how a folder's own words reach the vectors and the messages."""
import os
import subprocess

import numpy as np
import pytest

import folders
from test_model_folders import BINARY, NO_TEMPLATE, cosine, run


@pytest.fixture
def folder(tmp_path):
    folders.build(tmp_path / "folder")
    return tmp_path / "folder"


def embed(*flags, env=None, text="red wine\n", stdin=True):
    return subprocess.run([BINARY, "embed", "--dtype", "f32", "--threads", "1", *flags], input=text if stdin else None,
                          capture_output=True, text=True, timeout=120, env={**os.environ, **(env or {})})


def test_append_eos_is_what_a_template_would_do(folder):
    _, _, with_template = run(folder)
    NO_TEMPLATE(folder)
    _, _, without = run(folder)
    code, stderr, appended = run(folder, "--append-eos")
    assert code == 0, stderr
    assert np.array_equal(appended, with_template)
    assert cosine(without, with_template) < 0.9


@pytest.mark.parametrize("tokens", [8, 64, 128, 193])
def test_a_small_context_starts(tokens):
    done = embed("--context-length", str(tokens), "-i", "-", "-o", "-")  # quern-mini, whose known answers are longer
    assert done.returncode == 0, done.stderr


def verify(*flags):
    return subprocess.run([BINARY, "verify", "--threads", "1", *flags], capture_output=True, text=True, timeout=120)


def test_verify_says_what_it_has_checked():
    whole = verify()
    assert whole.returncode == 0 and "agree" in whole.stdout and "left out" not in whole.stdout, whole.stdout
    some = verify("--context-length", "64")
    assert some.returncode == 0 and "agree" in some.stdout and "left out" in some.stdout, some.stdout
    none = verify("--context-length", "1")
    assert none.returncode == 1 and "nothing was embedded" in none.stdout and "NOT OK" in none.stdout, none.stdout
    skipped = verify("--skip-check")
    assert skipped.returncode == 0 and "skipped" in skipped.stdout and "agree" not in skipped.stdout, skipped.stdout
    assert "finite" not in none.stdout + skipped.stdout


def test_empty_model_path_is_an_error_and_an_empty_variable_is_not():
    done = embed("--model-path", "")
    assert done.returncode == 2
    assert done.stderr == "quern embed: --model-path: is empty; leave the flag out for its default\n"
    assert embed("--skip-check", env={"QUERN_MODEL_PATH": "", "QUERN_REVISION": ""}).returncode == 0


def test_revision_from_the_cache(folder, tmp_path):
    repository = tmp_path / "hub" / "models--Org--Emb"
    (repository / "snapshots").mkdir(parents=True)
    folder.rename(repository / "snapshots" / "abc123")
    env = {"HF_HUB_CACHE": str(tmp_path / "hub")}
    for flags in (["Org/Emb"], ["Org/Emb@abc123"], ["Org/Emb", "--revision", "abc123"]):
        done = embed("--skip-check", "--model-path", *flags, env=env)
        assert done.returncode == 0, done.stderr
    done = embed("--model-path", "Org/Emb", "--revision", "other", env=env)
    assert done.returncode == 2 and "abc123" in done.stderr


def test_default_prompt_is_for_inputs_that_name_none(folder):
    folders.merge("config_sentence_transformers.json", prompts={"query": "Q: ", "document": ""},
                  default_prompt_name="query")(folder)
    _, _, default = run(folder)
    _, _, query = run(folder, "--prompt-name", "query")
    _, _, document = run(folder, "--prompt-name", "document")
    assert np.array_equal(default, query)
    assert cosine(default, document) < 0.99


@pytest.mark.parametrize("change, once", [
    (folders.drop("tokenizer.json"), "tokenizer.json"),
    (folders.put("tokenizer.json", b"{"), "tokenizer.json"),
    (folders.merge("tokenizer.json", normalizer={"type": "Lowercase"}), "normalizer"),
    (folders.drop("config.json"), "config.json")])
def test_no_message_repeats_its_prefix(folder, change, once):
    change(folder)
    done = embed("--model-path", folder)
    assert done.returncode == 2
    assert done.stderr.count(once) == 1, done.stderr


def test_context_over_the_model_names_the_flag_once(folder):
    done = embed("--model-path", folder, "--context-length", "513")
    assert done.returncode == 2
    assert done.stderr.count("--context-length") == 1 and "at most 512" in done.stderr
