"""Each client library's ways to ask for vectors, by name: a table that test_libraries.py goes through.

`library(name, calls...)` names what its function gives: call -> how. `how` takes texts and gives their vectors, or a
coroutine of them. A call of another width, prompt or treatment of the text says so in EXPECTED.
"""
import dataclasses
import importlib
import inspect

MODEL = "quern-mini"
AZURE_VERSION = "2024-10-21"
BUILDERS = {}


@dataclasses.dataclass(frozen=True)
class Expected:
    """How a call's vectors come about, in the words of the HTTP API."""

    prompt: str | None = None
    fields: tuple = ()
    one_line: bool = False  # the client puts a space in place of each line break


def library(name, **calls):
    """Registers a builder: called with the server's address and key, it gives the calls that are named here."""
    def register(build):
        BUILDERS[name] = (build, calls)
        return build

    return register


PLAIN = Expected()
QUERY = Expected(prompt="query")
NARROW = Expected(fields=(("dimensions", 64),))
ONE_LINE = Expected(one_line=True)
ALL_FOUR = {"text": PLAIN, "batch": PLAIN, "async_text": PLAIN, "async_batch": PLAIN}


def each(one):
    """Texts one by one through a call that takes one text."""
    if not inspect.iscoroutinefunction(one):
        return lambda texts: [one(text) for text in texts]

    async def ask(texts):
        return [await one(text) for text in texts]

    return ask


def of_openai(client, **options):
    """The four calls of the official library's client, sync or async."""
    def sync(texts):
        return [row.embedding for row in client.embeddings.create(model=MODEL, input=texts, **options).data]

    async def ask(texts):
        return [row.embedding for row in (await client.embeddings.create(model=MODEL, input=texts, **options)).data]

    return sync if "Async" not in type(client).__name__ else ask


def one_at_a_time(many):
    """The first of a batch of one, through a call that takes several."""
    async def ask(texts):
        return [(await many([text]))[0] for text in texts]

    return ask if inspect.iscoroutinefunction(many) else lambda texts: [many([text])[0] for text in texts]


@library("openai", **ALL_FOUR, floats=PLAIN, base64=PLAIN, narrow=NARROW, async_narrow=NARROW, query=QUERY)
def openai_calls(url, key):
    import openai
    sync = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0)
    later = openai.AsyncOpenAI(base_url=url + "/v1/", api_key=key, max_retries=0)

    def base64(texts):
        import numpy as np
        rows = sync.embeddings.create(model=MODEL, input=texts, encoding_format="base64").data
        import base64 as codec
        return [np.frombuffer(codec.b64decode(row.embedding), "<f4") for row in rows]

    return {"text": each(lambda text: sync.embeddings.create(model=MODEL, input=text).data[0].embedding), "batch": of_openai(sync),
            "async_text": one_at_a_time(of_openai(later)), "async_batch": of_openai(later),
            "floats": of_openai(sync, encoding_format="float"), "base64": base64,
            "narrow": of_openai(sync, dimensions=64), "async_narrow": of_openai(later, dimensions=64),
            "query": of_openai(sync, extra_body={"prompt_name": "query"})}


@library("openai-azure", **ALL_FOUR, deployment=PLAIN, v1=PLAIN)
def openai_azure(url, key):
    import openai
    same = {"api_key": key, "api_version": AZURE_VERSION, "max_retries": 0}
    sync, later = openai.AzureOpenAI(azure_endpoint=url, **same), openai.AsyncAzureOpenAI(azure_endpoint=url + "/", **same)
    return {"text": one_at_a_time(of_openai(sync)), "batch": of_openai(sync),
            "async_text": one_at_a_time(of_openai(later)), "async_batch": of_openai(later),
            "deployment": of_openai(openai.AzureOpenAI(azure_endpoint=url, azure_deployment=MODEL, **same)),
            "v1": of_openai(openai.OpenAI(base_url=url + "/openai/v1/", api_key=key, max_retries=0))}


def of_langchain(embeddings):
    """LangChain's interface: documents and queries, sync and async."""
    return {"text": each(embeddings.embed_query), "batch": embeddings.embed_documents,
            "async_text": each(embeddings.aembed_query), "async_batch": embeddings.aembed_documents}


@library("langchain-openai", **ALL_FOUR, narrow=NARROW, query=QUERY)
def langchain_openai(url, key):
    from langchain_openai import OpenAIEmbeddings
    same = {"base_url": url + "/v1", "api_key": key, "model": MODEL, "check_embedding_ctx_length": False, "max_retries": 0}
    return of_langchain(OpenAIEmbeddings(**same)) | {
        "narrow": OpenAIEmbeddings(dimensions=64, **same).embed_documents,
        "query": each(OpenAIEmbeddings(model_kwargs={"extra_body": {"prompt_name": "query"}}, **same).embed_query)}


@library("langchain-openai-azure", **ALL_FOUR)
def langchain_azure(url, key):
    from langchain_openai import AzureOpenAIEmbeddings
    return of_langchain(AzureOpenAIEmbeddings(azure_endpoint=url, api_key=key, model=MODEL, api_version=AZURE_VERSION,
                                              check_embedding_ctx_length=False, max_retries=0))


@library("langchain-nvidia", text=QUERY, batch=PLAIN, async_text=QUERY, async_batch=PLAIN, narrow=NARROW, unnamed=PLAIN, root=PLAIN)
def langchain_nvidia(url, key):
    from langchain_nvidia_ai_endpoints import NVIDIAEmbeddings
    same = {"base_url": url + "/v1", "api_key": key}
    return of_langchain(NVIDIAEmbeddings(model=MODEL, **same)) | {
        "narrow": NVIDIAEmbeddings(model=MODEL, dimensions=64, truncate="END", **same).embed_documents,
        "unnamed": NVIDIAEmbeddings(**same).embed_documents,  # takes the first of /v1/models
        "root": NVIDIAEmbeddings(model=MODEL, base_url=url, api_key=key).embed_documents}


def of_llama_index(embedding):
    return {"text": each(embedding.get_text_embedding), "batch": embedding.get_text_embedding_batch,
            "async_text": each(embedding.aget_text_embedding), "async_batch": embedding.aget_text_embedding_batch}


@library("llama-index-openai-like", **dict.fromkeys([*ALL_FOUR, "query", "async_query"], ONE_LINE),
         narrow=Expected(one_line=True, fields=NARROW.fields), with_prompt=Expected(one_line=True, prompt="query"))
def llama_index_openai_like(url, key):
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding
    same = {"model_name": MODEL, "api_base": url + "/v1", "api_key": key, "max_retries": 0}
    embedding = OpenAILikeEmbedding(**same)
    prompted = OpenAILikeEmbedding(additional_kwargs={"extra_body": {"prompt_name": "query"}}, **same)
    return of_llama_index(embedding) | {
        "query": each(embedding.get_query_embedding), "async_query": each(embedding.aget_query_embedding),
        "narrow": OpenAILikeEmbedding(dimensions=64, **same).get_text_embedding_batch,
        "with_prompt": each(prompted.get_query_embedding)}


# Its synchronous query asks for a passage, so the prompt is missing there: the library's own fault in 0.6.0.
@library("llama-index-nvidia", **ALL_FOUR, query=PLAIN, async_query=QUERY, narrow=NARROW, unnamed=PLAIN)
def llama_index_nvidia(url, key):
    from llama_index.embeddings.nvidia import NVIDIAEmbedding
    same = {"base_url": url + "/v1", "api_key": key, "max_retries": 0}
    embedding = NVIDIAEmbedding(model=MODEL, **same)
    return of_llama_index(embedding) | {
        "query": each(embedding.get_query_embedding), "async_query": each(embedding.aget_query_embedding),
        "narrow": NVIDIAEmbedding(model=MODEL, dimensions=64, truncate="END", **same).get_text_embedding_batch,
        "unnamed": NVIDIAEmbedding(**same).get_text_embedding_batch}


def of_litellm(**options):
    import litellm

    def sync(texts):
        return [row["embedding"] for row in litellm.embedding(input=texts, **options).data]

    async def ask(texts):
        return [row["embedding"] for row in (await litellm.aembedding(input=texts, **options)).data]

    return {"text": one_at_a_time(sync), "batch": sync, "async_text": one_at_a_time(ask), "async_batch": ask}


@library("litellm-openai", **ALL_FOUR, narrow=NARROW, query=QUERY)
def litellm_openai(url, key):
    same = {"model": f"openai/{MODEL}", "api_base": url + "/v1", "api_key": key}
    return of_litellm(**same) | {"narrow": of_litellm(dimensions=64, allowed_openai_params=["dimensions"], **same)["batch"],
                                 "query": of_litellm(extra_body={"prompt_name": "query"}, **same)["batch"]}


@library("litellm-azure", **ALL_FOUR)
def litellm_azure(url, key):
    return of_litellm(model=f"azure/{MODEL}", api_base=url, api_key=key, api_version=AZURE_VERSION)


@library("litellm-nvidia-nim", **ALL_FOUR, query=QUERY)
def litellm_nvidia(url, key):
    same = {"model": f"nvidia_nim/{MODEL}", "api_base": url + "/v1", "api_key": key}
    return of_litellm(**same) | {"query": of_litellm(input_type="query", truncate="END", **same)["batch"]}


def litellm_like_openai(provider):
    return lambda url, key: of_litellm(model=f"{provider}/{MODEL}", api_base=url + "/v1", api_key=key)


for _provider in ("hosted_vllm", "lm_studio", "infinity", "xinference"):
    library(f"litellm-{_provider}", **ALL_FOUR)(litellm_like_openai(_provider))


def of_haystack(text_embedder, document_embedder):
    from haystack import Document

    async def text_later(text):
        return (await text_embedder.run_async(text))["embedding"]

    async def documents_later(texts):
        return [found.embedding for found in (await document_embedder.run_async([Document(content=text) for text in texts]))["documents"]]

    return {"text": each(lambda text: text_embedder.run(text)["embedding"]), "async_text": each(text_later), "async_batch": documents_later,
            "batch": lambda texts: [found.embedding for found in document_embedder.run([Document(content=text) for text in texts])["documents"]]}


@library("haystack", **ALL_FOUR, narrow=NARROW, query=QUERY)
def haystack_calls(url, key):
    from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
    from haystack.utils import Secret
    same = {"api_base_url": url + "/v1", "api_key": Secret.from_token(key), "model": MODEL, "max_retries": 0}
    prefix = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
    narrow, query = OpenAITextEmbedder(dimensions=64, **same), OpenAITextEmbedder(prefix=prefix, **same)
    return of_haystack(OpenAITextEmbedder(**same), OpenAIDocumentEmbedder(progress_bar=False, **same)) | {
        "narrow": each(lambda text: narrow.run(text)["embedding"]), "query": each(lambda text: query.run(text)["embedding"])}


@library("haystack-azure", **ALL_FOUR)
def haystack_azure(url, key):
    from haystack.components.embedders import AzureOpenAIDocumentEmbedder, AzureOpenAITextEmbedder
    from haystack.utils import Secret
    same = {"azure_endpoint": url, "api_key": Secret.from_token(key), "azure_deployment": MODEL, "max_retries": 0}
    return of_haystack(AzureOpenAITextEmbedder(**same), AzureOpenAIDocumentEmbedder(progress_bar=False, **same))


@library("mem0", text=ONE_LINE, batch=ONE_LINE, search=ONE_LINE, narrow=Expected(one_line=True, fields=NARROW.fields), lmstudio=ONE_LINE,
         azure=ONE_LINE)
def mem0_calls(url, key):
    from mem0.utils.factory import EmbedderFactory
    same = {"model": MODEL, "api_key": key}

    def create(**more):
        return EmbedderFactory.create("openai", {**same, "openai_base_url": url + "/v1", **more}, None)

    return {"text": each(create().embed), "batch": create(embedding_dims=384).embed_batch,
            "search": each(lambda text: create().embed(text, "search")), "narrow": create(embedding_dims=64).embed_batch,
            "lmstudio": EmbedderFactory.create("lmstudio", {**same, "lmstudio_base_url": url + "/v1"}, None).embed_batch,
            "azure": EmbedderFactory.create("azure_openai", {"model": MODEL, "azure_kwargs": {
                "api_key": key, "azure_deployment": MODEL, "azure_endpoint": url, "api_version": AZURE_VERSION}}, None).embed_batch}


@library("semantic-kernel", async_text=PLAIN, async_batch=PLAIN, in_pieces=PLAIN, narrow=NARROW, query=QUERY)
def semantic_kernel_calls(url, key):
    import openai
    from semantic_kernel.connectors.ai.open_ai import OpenAITextEmbedding
    service = OpenAITextEmbedding(ai_model_id=MODEL, async_client=openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0))

    def ask(**options):
        async def many(texts):
            return await service.generate_embeddings(texts, **options)

        return many

    return {"async_text": one_at_a_time(ask()), "async_batch": ask(), "in_pieces": ask(batch_size=7), "narrow": ask(dimensions=64),
            "query": ask(extra_body={"prompt_name": "query"})}


@library("semantic-kernel-azure", async_text=PLAIN, async_batch=PLAIN)
def semantic_kernel_azure(url, key):
    import openai
    from semantic_kernel.connectors.ai.open_ai import AzureTextEmbedding
    client = openai.AsyncAzureOpenAI(azure_endpoint=url, api_key=key, api_version=AZURE_VERSION, max_retries=0)
    service = AzureTextEmbedding(deployment_name=MODEL, async_client=client)

    async def many(texts):
        return await service.generate_embeddings(texts)

    return {"async_text": one_at_a_time(many), "async_batch": many}


@library("pydantic-ai", **ALL_FOUR, narrow=NARROW, query=QUERY, azure=PLAIN)
def pydantic_ai_calls(url, key):
    from pydantic_ai import Embedder
    from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
    from pydantic_ai.providers.azure import AzureProvider
    from pydantic_ai.providers.openai import OpenAIProvider
    azure = Embedder(OpenAIEmbeddingModel(MODEL, provider=AzureProvider(azure_endpoint=url, api_version=AZURE_VERSION, api_key=key)))

    def create(**settings):
        return Embedder(OpenAIEmbeddingModel(MODEL, provider=OpenAIProvider(base_url=url + "/v1", api_key=key)), settings=settings or None)

    embedder = create()

    async def one_later(text):
        return (await embedder.embed_query(text)).embeddings[0]

    async def many_later(texts):
        return (await embedder.embed_documents(texts)).embeddings

    return {"text": each(lambda text: embedder.embed_query_sync(text).embeddings[0]),
            "batch": lambda texts: embedder.embed_documents_sync(texts).embeddings,
            "async_text": each(one_later), "async_batch": many_later, "azure": lambda texts: azure.embed_documents_sync(texts).embeddings,
            "narrow": lambda texts: create(dimensions=64).embed_documents_sync(texts).embeddings,
            "query": lambda texts: create(extra_body={"prompt_name": "query"}).embed_query_sync(texts).embeddings}


@library("agno", text=PLAIN, async_text=PLAIN, async_batch=PLAIN, narrow=NARROW, query=QUERY)
def agno_calls(url, key):
    from agno.knowledge.embedder.openai import OpenAIEmbedder
    same = {"id": MODEL, "base_url": url + "/v1", "api_key": key}
    embedder = OpenAIEmbedder(dimensions=384, **same)

    async def many(texts):
        return (await embedder.async_get_embeddings_batch_and_usage(texts))[0]

    return {"text": each(embedder.get_embedding), "async_text": each(embedder.async_get_embedding), "async_batch": many,
            "narrow": each(OpenAIEmbedder(dimensions=64, **same).get_embedding),
            "query": each(OpenAIEmbedder(dimensions=384, request_params={"extra_body": {"prompt_name": "query"}}, **same).get_embedding)}
