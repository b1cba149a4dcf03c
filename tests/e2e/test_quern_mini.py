"""The model that Quern comes with: vectors that mean something, in two languages and code, also when cut."""

import json
import pathlib

import httpx
import numpy as np
import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "models/quern-mini"
PAIRS = [
    ("A man is playing a guitar.", "Someone plays a stringed instrument."),
    ("The stock market fell sharply today.", "Shares lost much of their value."),
    ("How do I reset my password?", "I forgot my login and need a new one."),
    ("今天天气很好，阳光明媚。", "外面是晴天，很暖和。"),
    ("怎么申请信用卡？", "办理信用卡需要什么手续"),
    ("The cat sleeps on the sofa.", "猫在沙发上睡觉。"),
    ("Beijing is the capital of China.", "北京是中国的首都。"),
    ("sort a list of numbers in ascending order", "def sort(values):\n    return sorted(values)"),
    ("read a text file line by line", "def read(path):\n    with open(path) as f:\n        return f.readlines()"),
]
QUESTIONS = [
    ("What is the capital of China?", "Beijing has been the capital of the People's Republic of China since 1949."),
    ("why is the sky blue", "Molecules in the air scatter short wavelengths of sunlight more than long ones."),
    ("怎样学好英语", "每天坚持听说读写练习，多背单词，是提高英语水平的好方法。"),
    ("how to boil an egg", "Put it into hot water for eight minutes, then cool it and peel the shell."),
]


@pytest.fixture(scope="module")
def mini(real):
    name = httpx.get(real.base_url + "/v1/models").json()["data"][0]["id"]
    if name != "quern-mini":
        pytest.skip(f"SKIPPED: the server under test runs {name}, not quern-mini")
    return real


def embed(server, texts, **extra):
    reply = httpx.post(server.base_url + "/v1/embeddings", json={"input": texts, **extra}, timeout=60)
    assert reply.status_code == 200, reply.text
    return np.array([item["embedding"] for item in reply.json()["data"]])


@pytest.mark.parametrize("dimensions", [384, 128, 32])
def test_a_text_finds_its_twin(mini, dimensions):
    left, right = (embed(mini, [pair[side] for pair in PAIRS], dimensions=dimensions) for side in (0, 1))
    wrong = [PAIRS[i][0] for i, best in enumerate((left @ right.T).argmax(1)) if best != i]
    assert len(wrong) <= (0 if dimensions == 384 else 1), wrong


@pytest.mark.parametrize("prompt", [{}, {"prompt_name": "query"}])
def test_a_question_finds_its_answer_with_and_without_the_prompt(mini, prompt):
    questions, answers = embed(mini, [q for q, _ in QUESTIONS], **prompt), embed(mini, [a for _, a in QUESTIONS])
    assert (questions @ answers.T).argmax(1).tolist() == list(range(len(QUESTIONS)))


def test_the_folder_is_what_sentence_transformers_expects():
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["architectures"] == ["Qwen3Model"] and config["hidden_size"] in (384, 512) and 24000 <= config["vocab_size"] <= 32768
    assert (FOLDER / "model.safetensors").stat().st_size <= 48_000_000
    assert json.loads((FOLDER / "1_Pooling/config.json").read_text())["pooling_mode_lasttoken"]
    assert [m["path"] for m in json.loads((FOLDER / "modules.json").read_text())] == ["", "1_Pooling", "2_Normalize"]
    assert json.loads((FOLDER / "config_sentence_transformers.json").read_text())["prompts"]["query"].endswith("\nQuery:")
    assert len(json.loads((FOLDER / "known_answers.json").read_text())["texts"]) >= 5
    for name in ("MODEL_CARD.md", "SOURCES.md", "tokenizer.json"):
        assert (FOLDER / name).stat().st_size > 1000
