"""The whole path, `quern serve` with a model, through the official OpenAI client."""

import base64

import httpx
import numpy as np
import openai
import pytest

TEXTS = ["hello", "The capital of France is Paris.", "\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd", "\U0001f600 emoji", " ", "x" * 300]


def embed(server, texts, **extra):
    result = server.client().embeddings.create(model=server.client().models.list().data[0].id, input=texts, **extra)
    return [np.asarray(item.embedding, dtype=np.float32) for item in result.data], result.usage


def test_vectors_are_unit_and_independent_of_company(real):
    together, usage = embed(real, TEXTS)
    width = httpx.get(real.base_url + "/info").json()["width"]
    tokens = 0
    for text, vector in zip(TEXTS, together):
        (alone,), alone_usage = embed(real, text)
        tokens += alone_usage.prompt_tokens
        assert vector.shape == (width,) and abs(np.linalg.norm(vector) - 1) < 1e-4
        assert np.array_equal(alone, vector), text
    assert usage.prompt_tokens == tokens


def test_float_equals_base64(real):
    url = real.base_url + "/v1/embeddings"
    plain = httpx.post(url, json={"input": TEXTS, "encoding_format": "float"}, timeout=60).json()["data"]
    coded = httpx.post(url, json={"input": TEXTS, "encoding_format": "base64"}, timeout=60).json()["data"]
    for a, b in zip(plain, coded):
        assert np.asarray(a["embedding"], dtype="<f4").tobytes() == base64.b64decode(b["embedding"])


def test_dimensions(real):
    (full,), _ = embed(real, "hello")
    (cut,), _ = embed(real, "hello", dimensions=32)
    assert np.allclose(cut, full[:32] / np.linalg.norm(full[:32]), atol=1e-6)


def test_prompt_changes_the_vector_as_its_text_does(real):
    (by_name,), _ = embed(real, "hello", extra_body={"instruction": "Find it"})
    (by_text,), _ = embed(real, "Instruct: Find it\nQuery:hello")
    (plain,), _ = embed(real, "hello")
    assert np.array_equal(by_name, by_text) and not np.array_equal(by_name, plain)


def test_batch_of_2048(real):
    vectors, _ = embed(real, [f"number {i}" for i in range(2048)])
    assert len({vector.tobytes() for vector in vectors}) == 2048


def test_refusals_leave_the_server_well(real):
    for bad in ("", [], ["a", ""]):
        with pytest.raises(openai.BadRequestError):
            embed(real, bad)
    with pytest.raises(openai.NotFoundError):
        real.client().embeddings.create(model="no-such-model", input="a")
    context = httpx.get(real.base_url + "/info").json()["context_tokens_max"]
    with pytest.raises(openai.BadRequestError, match=str(context)):
        embed(real, [[1] * (context + 1)])
    assert httpx.get(real.base_url + "/ready").status_code == 200
