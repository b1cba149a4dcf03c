"""POST /v1/embeddings as the official OpenAI client sees it, over the fake engine (a byte is a token, EOS is 256)."""

import base64
import json

import httpx
import numpy as np
import openai
import pytest

EOS = 256
WIDTH = 1024


def post(server, body, **kwargs):
    data = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return httpx.post(server.base_url + "/v1/embeddings", content=data, timeout=60, **kwargs)


def error_of(response, status, param=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    if param is not None:
        assert error["param"] == param
    return error


def vectors_of(response):
    assert response.status_code == 200, response.text
    return [np.asarray(item["embedding"], dtype=np.float32) for item in response.json()["data"]]


def test_single_string(fake):
    result = fake.client().embeddings.create(model="quern-bench", input="hello")
    vector = np.asarray(result.data[0].embedding)
    assert vector.shape == (WIDTH,)
    assert abs(np.linalg.norm(vector) - 1) < 1e-5
    assert result.usage.prompt_tokens == result.usage.total_tokens == 6
    assert result.model == "quern-bench" and result.object == "list" and result.data[0].index == 0


def test_batch_of_2048_in_order(fake):
    texts = [f"text number {i}" for i in range(2048)]
    result = fake.client().embeddings.create(model="quern-bench", input=texts)
    assert [item.index for item in result.data] == list(range(2048))
    for i in (0, 1, 1023, 2047):
        alone = fake.client().embeddings.create(model="quern-bench", input=texts[i])
        assert alone.data[0].embedding == result.data[i].embedding


def test_too_many_inputs(fake):
    with pytest.raises(openai.BadRequestError, match="2048"):
        fake.client().embeddings.create(model="quern-bench", input=["a"] * 2049)


def test_base64_equals_float_bitwise(fake):
    texts = ["one", "two", "\u00e4\u00f6\u00fc \U0001f600"]
    floats = vectors_of(post(fake, {"input": texts, "encoding_format": "float"}))
    for width in (32, 33, 34, 1024):
        coded = post(fake, {"input": texts, "encoding_format": "base64", "dimensions": width}).json()["data"]
        plain = vectors_of(post(fake, {"input": texts, "encoding_format": "float", "dimensions": width}))
        for a, b in zip(coded, plain):
            decoded = np.frombuffer(base64.b64decode(a["embedding"], validate=True), dtype="<f4")
            assert decoded.tobytes() == b.tobytes()
    assert len(floats) == 3


def test_token_ids_equal_text(fake):
    by_text = post(fake, {"input": "abc"})
    for ids in ([97, 98, 99], [97, 98, 99, EOS], [97.0, 98, 99]):
        by_ids = post(fake, {"input": ids})
        assert by_ids.json()["data"] == by_text.json()["data"]
        assert by_ids.json()["usage"]["prompt_tokens"] == 4
    both = post(fake, {"input": [[97, 98, 99], [1, 2]]})
    assert both.json()["data"][0]["embedding"] == by_text.json()["data"][0]["embedding"]
    assert both.json()["usage"]["prompt_tokens"] == 7


@pytest.mark.parametrize("ids,param", [([-1], "input[0]"), ([1, 257], "input[1]"), ([1.5], "input[0]"), ([1, "a"], "input[1]"),
                                       ([[1], [2, 1 << 40]], "input[1][1]"), ([[1], []], "input[1]"), ([1 << 64], None)])
def test_bad_token_ids(fake, ids, param):
    error_of(post(fake, {"input": ids}), 400, param)


def test_dimensions_cut_and_normalise(fake):
    full = vectors_of(post(fake, {"input": "hello"}))[0]
    cut = vectors_of(post(fake, {"input": "hello", "dimensions": 32}))[0]
    raw = vectors_of(post(fake, {"input": "hello", "dimensions": 32, "normalize": False}))[0]
    expected = full[:32] / np.linalg.norm(full[:32].astype(np.float64))
    assert np.allclose(cut, expected, atol=1e-6)
    assert raw.tobytes() == full[:32].tobytes()
    assert vectors_of(post(fake, {"input": "hello", "dimensions": WIDTH}))[0].tobytes() == full.tobytes()


@pytest.mark.parametrize("dimensions", [31, 0, -5, 1025, 100.5, "64", True, 1 << 63])
def test_bad_dimensions(fake, dimensions):
    assert "32" in error_of(post(fake, {"input": "a", "dimensions": dimensions}), 400)["message"]


def test_model(fake):
    with pytest.raises(openai.NotFoundError) as caught:
        fake.client().embeddings.create(model="gpt-17", input="a")
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert post(fake, {"input": "a"}).json()["model"] == "quern-bench"
    assert post(fake, {"input": "a", "model": "text-embedding-3-small"}).json()["model"] == "text-embedding-3-small"
    models = fake.client().models.list()
    assert [model.id for model in models.data] == ["quern-bench", "text-embedding-3-small"]
    assert fake.client().models.retrieve("quern-bench").id == "quern-bench"
    with pytest.raises(openai.NotFoundError):
        fake.client().models.retrieve("nope")


def test_prompts_to_the_byte(fake):
    task = "Given a web search query, retrieve relevant passages that answer the query"
    query = post(fake, {"input": "what?", "prompt_name": "query"}).json()
    assert query["data"] == post(fake, {"input": f"Instruct: {task}\nQuery:what?"}).json()["data"]
    document = post(fake, {"input": "what?", "prompt_name": "document"}).json()
    assert document["data"] == post(fake, {"input": "what?"}).json()["data"]
    own = post(fake, {"input": "what?", "instruction": "Find it"}).json()
    assert own["data"] == post(fake, {"input": "Instruct: Find it\nQuery:what?"}).json()["data"]
    error_of(post(fake, {"input": "a", "prompt_name": "nope"}), 400, "prompt_name")
    error_of(post(fake, {"input": "a", "prompt_name": "query", "instruction": "x"}), 400, "instruction")
    error_of(post(fake, {"input": [1, 2], "instruction": "x"}), 400, "instruction")


def test_too_long_and_truncated(fake):
    text = "x" * 4000 + "y" * 1000
    error = error_of(post(fake, {"input": ["a", text]}), 400, "input[1]")
    assert "5001" in error["message"] and "4096" in error["message"]
    right = post(fake, {"input": text, "truncate": True}).json()
    assert right["usage"]["prompt_tokens"] == 4096
    assert right["data"] == post(fake, {"input": text[:4095]}).json()["data"]
    left = post(fake, {"input": text, "truncate": "left"}).json()
    assert left["data"] == post(fake, {"input": text[-4095:]}).json()["data"]
    short = post(fake, {"input": "abcdef", "truncate_prompt_tokens": 4}).json()
    assert short["usage"]["prompt_tokens"] == 4
    assert short["data"] == post(fake, {"input": "abc"}).json()["data"]
    error_of(post(fake, {"input": "abcdef", "truncate_prompt_tokens": 4, "truncate": False}), 400, "input")
    by_ids = post(fake, {"input": [97, 98, 99, 100], "truncate_prompt_tokens": 3, "truncate": "right"}).json()
    assert by_ids["data"] == post(fake, {"input": "ab"}).json()["data"]


@pytest.mark.parametrize("body,param", [
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": ["a", ""]}, "input[1]"),
    ({"input": [[]]}, "input[0]"),
    ({"input": None}, "input"),
    ({"input": 5}, "input"),
    ({"input": {"text": "a"}}, "input"),
    ({"input": [True]}, "input[0]"),
    ({"input": ["a", 5]}, "input[1]"),
    ({"input": [[1], "a"]}, "input[1]"),
    ({"model": "quern-bench"}, "input"),
    ({"input": "a", "model": 5}, "model"),
    ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
    ({"input": "a", "encoding_format": 1}, "encoding_format"),
    ({"input": "a", "user": 1}, "user"),
    ({"input": "a", "truncate": "middle"}, "truncate"),
    ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ({"input": "a", "normalize": "yes"}, "normalize"),
    ({"input": "a", "priority": 101}, "priority"),
    ({"input": "a", "timeout_ms": 0}, "timeout_ms"),
    ([], ""), (5, ""), ("text", ""), (None, ""),
])
def test_invalid_fields(fake, body, param):
    error_of(post(fake, json.dumps(body)), 400, param or None)


@pytest.mark.parametrize("body", [
    b"{\"input\": \"a\", \"dimensions\": 1180591620717411303424}",
    b"", b" ", b"{", b"{}x", b"nonsense", b'{"input": NaN}', b'{"input": [Infinity]}', b'{"input": [1e999]}',
    b'{"input": "\xff\xfe"}', b'{"input": "\\ud800"}', b'{"input": "a" "b"}', b"\x00\x01\x02", b'{"input": "a",}',
    b'{"input": ' + b"[" * 100 + b"]" * 100 + b"}", b"[" * 1000000, b'{"input": "a", "x": ' + b'{"a":' * 50 + b"1" + b"}" * 51,
    b'{"input": "a", "input": "b"}', b'{"input": "a", "z": 1, "z": 2}', b'{"input": "\n"}',
])
def test_malformed_json(fake, body):
    error_of(post(fake, body), 400)


def test_unknown_fields_nulls_and_content_types(fake):
    plain = post(fake, {"input": "a"}).json()
    odd = post(fake, {"input": "a", "no_such_field": {"deep": [1, {}]}, "dimensions": None, "user": None, "model": None,
                      "truncate": None, "encoding_format": None})
    assert odd.json() == plain
    assert post(fake, {"input": "a"}, headers={"content-type": "text/plain"}).json() == plain
    assert httpx.post(fake.base_url + "/embeddings", json={"input": "a"}).json() == plain


def test_huge_body(start_fake):
    server = start_fake("--body-bytes-max", "1000000", "--context", "2000000")
    with httpx.Client(base_url=server.base_url) as client:
        fits = client.post("/v1/embeddings", content=json.dumps({"input": "x" * 900_000}))
        assert fits.status_code == 200 and fits.json()["usage"]["prompt_tokens"] == 900_001
        error = error_of(client.post("/v1/embeddings", content=json.dumps({"input": "x" * 5_000_000})), 413)
        assert "1000000" in error["message"]
        assert client.get("/health").status_code == 200


def test_large_requests_use_the_pool_and_agree(fake):
    texts = [f"{i} " * 20 for i in range(2000)]
    together = vectors_of(post(fake, {"input": texts, "encoding_format": "float"}))
    for i in (0, 999, 1999):
        assert vectors_of(post(fake, {"input": texts[i]}))[0].tobytes() == together[i].tobytes()


@pytest.mark.parametrize("text,status", [("fail:nan", 500), ("fail:norm", 500), ("fail:internal", 500), ("fail:overloaded", 429)])
def test_engine_failures(fake, text, status):
    bad_before = fake.metric("quern_bad_vectors_total")
    response = post(fake, {"input": ["good", text, "good too"]})
    error_of(response, status)
    if status == 429:
        assert response.headers["retry-after"] == "3"
    assert fake.metric("quern_bad_vectors_total") - bad_before == (1 if text in ("fail:nan", "fail:norm") else 0)
    assert post(fake, {"input": "good"}).status_code == 200


def test_timeout_header(fake):
    assert post(fake, {"input": "a"}, headers={"x-timeout-ms": "1000"}).status_code == 200
    for bad in ("0", "soon", "-1", "1.5", "99999999999999999999"):
        error_of(post(fake, {"input": "a"}, headers={"x-timeout-ms": bad}), 400, "x-timeout-ms")


def test_request_id_and_timings(fake):
    given = post(fake, {"input": "a"}, headers={"x-request-id": "my-id-1"})
    assert given.headers["x-request-id"] == "my-id-1"
    assert given.headers["x-quern-tokens"] == "2"
    for part in ("tokenize", "queue", "compute", "total"):
        assert f"{part};dur=" in given.headers["server-timing"]
    ids = {post(fake, {"input": "a"}, headers={"x-request-id": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 200)}
    assert len(ids) == 3 and all(len(one) == 32 for one in ids)


def test_api_keys(start_fake):
    server = start_fake("--api-key", "secret-1:alice", "--api-key", "secret-2:bob")
    for key in ("secret-1", "secret-2"):
        assert len(server.client(key).embeddings.create(model="quern-bench", input="a").data) == 1
    for key in ("secret-", "secret-11", "secret-3", "SECRET-1", "x"):
        with pytest.raises(openai.AuthenticationError) as caught:
            server.client(key).embeddings.create(model="quern-bench", input="a")
        assert caught.value.code == "invalid_api_key"
    for path in ("/v1/models", "/info", "/v1/models/quern-bench"):
        error_of(httpx.get(server.base_url + path), 401)
        assert httpx.get(server.base_url + path, headers={"authorization": "bearer secret-1"}).status_code == 200
    for path in ("/health", "/ready", "/metrics", "/openapi.json"):
        assert httpx.get(server.base_url + path).status_code == 200
    error_of(post(server, {"input": "a"}, headers={"authorization": "Basic abc"}), 401)


def test_routes_and_methods(fake):
    error_of(httpx.get(fake.base_url + "/nope"), 404)
    for method, path in (("GET", "/v1/embeddings"), ("POST", "/health"), ("DELETE", "/v1/models"), ("PUT", "/embeddings")):
        response = httpx.request(method, fake.base_url + path)
        error_of(response, 405)
        assert response.headers["allow"]
    head = httpx.head(fake.base_url + "/health")
    assert head.status_code == 200 and head.content == b"" and int(head.headers["content-length"]) > 0
    assert httpx.options(fake.base_url + "/v1/embeddings").headers["allow"] == "POST, OPTIONS"
    assert httpx.get(fake.base_url + "/health?x=1").status_code == 200
    info = httpx.get(fake.base_url + "/info").json()
    assert info["width"] == WIDTH and info["context_tokens_max"] == 4096


def test_cors(fake, start_fake):
    assert "access-control-allow-origin" not in post(fake, {"input": "a"}).headers
    server = start_fake("--cors", "https://example.org", "--cors", "http://localhost:3000")
    for origin in ("https://example.org", "http://localhost:3000"):
        answer = httpx.post(server.base_url + "/v1/embeddings", json={"input": "a"}, headers={"origin": origin})
        assert answer.headers["access-control-allow-origin"] == origin and answer.headers["vary"] == "Origin"
    answer = httpx.post(server.base_url + "/v1/embeddings", json={"input": "a"}, headers={"origin": "https://example.com"})
    assert "access-control-allow-origin" not in answer.headers and answer.headers["vary"] == "Origin"
    preflight = httpx.options(server.base_url + "/v1/embeddings",
                              headers={"origin": "https://example.org", "access-control-request-headers": "authorization,x-a"})
    assert preflight.status_code == 204 and preflight.headers["access-control-allow-headers"] == "authorization,x-a"


def test_metrics(fake):
    before = {name: fake.metric(name) for name in ("quern_inputs_total", "quern_tokens_total", "quern_request_seconds_count")}
    post(fake, {"input": ["ab", "c"]})
    assert fake.metric("quern_inputs_total") - before["quern_inputs_total"] == 2
    assert fake.metric("quern_tokens_total") - before["quern_tokens_total"] == 5
    assert fake.metric("quern_request_seconds_count") - before["quern_request_seconds_count"] == 1
    assert fake.metric("quern_build_info") == 1 and fake.metric("process_resident_memory_bytes") > 1e6


def test_azure_paths_and_header(start_fake):
    server = start_fake("--api-key", "secret-1:alice", "--model-name", "*")
    client = openai.AzureOpenAI(azure_endpoint=server.base_url, api_key="secret-1", api_version="2024-02-01", max_retries=0)
    assert client.embeddings.create(model="my-deployment", input="a").model == "my-deployment"
    for path in ("/openai/v1/embeddings", "/openai/deployments/quern-bench/embeddings?api-version=1"):
        error_of(httpx.post(server.base_url + path, json={"input": "a"}), 401)
        answer = httpx.post(server.base_url + path, json={"input": "a"}, headers={"api-key": "secret-1"})
        assert answer.json()["model"] == "quern-bench"


def test_models_are_shown_beside_each_address_of_embeddings(fake, start_fake):
    known = httpx.get(fake.base_url + "/v1/models").json()
    for path in ("/v1", "", "/openai/v1", "/openai"):
        assert httpx.get(f"{fake.base_url}{path}/models").json() == known
        assert httpx.get(f"{fake.base_url}{path}/models/quern-bench").json() == known["data"][0]
        error_of(httpx.get(f"{fake.base_url}{path}/models/other"), 404)
    any_name = start_fake("--model-name", "*")
    assert httpx.get(any_name.base_url + "/v1/models/org%2Fother").json()["id"] == "org/other", "what a request may name is shown"
    error_of(httpx.get(any_name.base_url + "/v1/models/" + 1025 * "a"), 404)


def test_words_of_other_clients(fake):
    query = post(fake, {"input": "what?", "prompt_name": "query"}).json()
    assert post(fake, {"input": "what?", "input_type": "query", "truncate": "NONE"}).json() == query
    text = "x" * 5000
    assert post(fake, {"input": text, "truncate": "end"}).json() == post(fake, {"input": text, "truncate": True}).json()
    assert post(fake, {"input": text, "truncate_prompt_tokens": -1}).json()["usage"]["prompt_tokens"] == 4096
    error_of(post(fake, {"input": "a", "input_type": "image"}), 400, "input_type")


def test_refuse_token_ids_and_budget(start_fake):
    server = start_fake("--refuse-token-ids", "1", "--buffered-bytes-max", "1000000")
    error_of(post(server, {"input": [1, 2]}), 400, "input")
    assert "--max-buffered-bytes" in error_of(post(server, {"input": ["a"] * 500}), 413)["message"]
    assert post(server, {"input": "a"}).status_code == 200
    assert server.metric("quern_calls_live") == 0
