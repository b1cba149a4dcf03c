"""What libraries do at their defaults where that matters: token ids of another vocabulary, wired-in names and widths, long texts."""
import pathlib

import openai
import pytest
from conftest import KEY, assert_same, start
from libraries import MODEL

QUESTION = "What is the capital of China?"
WARNING = "token ids instead of text"
LOW_IDS, HIGH_ID = "hello world", "The llama's zygomorphic quinquennium"  # all of cl100k's ids below this model's 28,000, or not


@pytest.fixture
def cl100k(monkeypatch):
    """The vocabulary that LangChain cuts with; tiktoken would fetch it, LiteLLM brings it along."""
    import litellm
    folder = pathlib.Path(litellm.__file__).parent / "litellm_core_utils/tokenizers"
    assert any(folder.iterdir())
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    import tiktoken
    return tiktoken.get_encoding("cl100k_base")


def langchain(url, key="none", **more):
    from langchain_openai import OpenAIEmbeddings
    return OpenAIEmbeddings(base_url=url + "/v1", api_key=key, model=MODEL, max_retries=0, **more)


def test_the_prompt_makes_a_difference(keyed):
    """Else no test here could tell a query from a passage."""
    plain, query = keyed.vectors([QUESTION])[0], keyed.vectors([QUESTION], "query")[0]
    assert plain @ query < 0.99


def test_langchain_sends_ids_by_default_and_the_log_says_so_once_per_key(cl100k):
    assert max(cl100k.encode(LOW_IDS)) < 28000 <= max(cl100k.encode(HIGH_ID))
    server = start("--api-key", KEY, "--api-key", "another-key")
    try:
        for key in (KEY, "another-key"):
            client = langchain(server.url, key)
            before = server.log_text().count(WARNING)
            wrong = client.embed_query(LOW_IDS)
            right = langchain(server.url, key, check_embedding_ctx_length=False).embed_query(LOW_IDS)
            assert sum(a * b for a, b in zip(wrong, right)) < 0.9, "ids of another vocabulary gave the text's vector: is there a default to celebrate?"
            client.embed_documents([LOW_IDS, LOW_IDS])
            with pytest.raises(openai.BadRequestError, match="this model.s own tokenizer, from 0 to 27999"):
                client.embed_query(HIGH_ID)
    finally:
        assert server.stop() == 0
    assert before == 1 and server.log_text().count(WARNING) == 2


def test_langchain_is_refused_with_refuse_token_ids(cl100k, refusing, finish):
    with pytest.raises(openai.BadRequestError, match="--refuse-token-ids"):
        langchain(refusing.url).embed_query(LOW_IDS)
    with pytest.raises(openai.BadRequestError, match="--refuse-token-ids"):
        finish(langchain(refusing.url).aembed_documents([LOW_IDS]))
    assert_same(langchain(refusing.url, check_embedding_ctx_length=False).embed_documents([LOW_IDS]), refusing.vectors([LOW_IDS]))


def wired_in_names(url):
    """Libraries without a model's name: each asks for one of OpenAI's."""
    from haystack.components.embedders import OpenAITextEmbedder
    from haystack.utils import Secret
    from langchain_openai import OpenAIEmbeddings
    from mem0.utils.factory import EmbedderFactory
    haystack = OpenAITextEmbedder(api_base_url=url + "/v1", api_key=Secret.from_token("none"), max_retries=0)
    langchain = OpenAIEmbeddings(base_url=url + "/v1", api_key="none", check_embedding_ctx_length=False, max_retries=0)
    mem0 = EmbedderFactory.create("openai", {"openai_base_url": url + "/v1", "api_key": "none"}, None)
    return {"haystack": lambda: haystack.run(QUESTION)["embedding"], "langchain": lambda: langchain.embed_query(QUESTION),
            "mem0": lambda: mem0.embed(QUESTION)}


@pytest.mark.parametrize("name", ["haystack", "langchain", "mem0"])
def test_a_wired_in_name_is_refused_by_name_or_taken_by_a_star(name, plain, any_name):
    with pytest.raises(openai.NotFoundError, match=f'served here: "{MODEL}"'):
        wired_in_names(plain.url)[name]()
    assert_same([wired_in_names(any_name.url)[name]()], any_name.vectors([QUESTION]))


def test_agno_sends_a_width_that_the_refusal_names(plain):
    from agno.knowledge.embedder.openai import OpenAIEmbedder
    with pytest.raises(Exception, match="'dimensions' must be an integer from 32 to 384, not 1536"):
        OpenAIEmbedder(id=MODEL, base_url=plain.url + "/v1", api_key="none").get_embedding(QUESTION)


def test_a_missing_key_is_said(keyed):
    for wrong in ("none", KEY + "x"):
        with pytest.raises(openai.AuthenticationError):
            openai.OpenAI(base_url=keyed.url + "/v1", api_key=wrong, max_retries=0).embeddings.create(model=MODEL, input=QUESTION)
        with pytest.raises(openai.AuthenticationError):
            openai.AzureOpenAI(azure_endpoint=keyed.url, api_key=wrong, api_version="1", max_retries=0).embeddings.create(model=MODEL, input=QUESTION)


def nvidia_clients(url, truncate):
    from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings
    from llama_index.embeddings.nvidia import NVIDIAEmbedding
    return [NVIDIAEmbeddings(base_url=url + "/v1", model=MODEL, truncate=truncate).embed_documents,
            NVIDIAEmbedding(base_url=url + "/v1", model=MODEL, truncate=truncate, max_retries=0).get_text_embedding_batch]


@pytest.mark.parametrize("side", ["START", "END"])
def test_nvidia_clients_cut_long_texts_when_asked(side, plain):
    long = " ".join(f"word{n}" for n in range(4000))
    for refused, cut in zip(nvidia_clients(plain.url, "NONE"), nvidia_clients(plain.url, side)):
        with pytest.raises(Exception, match="2048"):
            refused([long])
        assert_same(cut([long]), plain.vectors([long], truncate={"START": "left", "END": "right"}[side]))


def test_openai_lists_the_models_wherever_it_embeds(plain, any_name, finish):
    same = {"api_key": "none", "max_retries": 0}
    azure = {"azure_endpoint": plain.url, "api_version": "2024-10-21", **same}
    for client in (*(openai.OpenAI(base_url=plain.url + path, **same) for path in ("/v1", "/v1/", "", "/openai/v1")), openai.AzureOpenAI(**azure)):
        assert [model.id for model in client.models.list()] == [MODEL] and client.models.retrieve(MODEL).id == MODEL
        usage = client.embeddings.create(model=MODEL, input=[QUESTION]).usage
        assert usage.prompt_tokens == usage.total_tokens > 0
    assert finish(openai.AsyncAzureOpenAI(**azure).models.retrieve(MODEL)).id == MODEL
    assert openai.OpenAI(base_url=any_name.url + "/v1", **same).models.retrieve("text-embedding-3-small").id == "text-embedding-3-small"
