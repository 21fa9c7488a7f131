"""Everyone who is measured: ours, the vendors' SDKs, the frameworks' rerankers, and the limits.

Each maker takes the server's address, the documents and top_n, and gives a call that returns the
indexes of the best documents, so that it can be checked before it is timed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic_core import from_json, to_json

Call = Callable[[], list[int]]
QUERY = "a red bicycle"
KEY = "a-key"


def texts(count: int) -> list[str]:
    """Documents of 800 characters."""
    return [f"{number} ".ljust(800, "x") for number in range(count)]


def plain_httpx(url: str, documents: Sequence[str], top_n: int) -> Call:
    """What one writes by hand: the reference."""
    client = httpx.Client(headers={"authorization": f"Bearer {KEY}"})

    def call() -> list[int]:
        body = {"model": "m", "query": QUERY, "documents": documents, "top_n": top_n}
        answer = client.post(f"{url}/v1/rerank", json=body).raise_for_status().json()
        return [result["index"] for result in answer["results"]]

    return call


def raw_socket(url: str, documents: Sequence[str], top_n: int) -> Call:
    """The limit: prebuilt bytes, and a response that is read but not parsed."""
    parts = urlsplit(url)
    held = socket.create_connection((parts.hostname, parts.port or 80))
    held.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    content = to_json({"model": "m", "query": QUERY, "documents": documents, "top_n": top_n})
    head = f"POST /v1/rerank HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-length: {len(content)}"
    sent = head.encode() + b"\r\n\r\n" + content

    def call() -> list[int]:
        held.sendall(sent)
        got = b""
        while not got.endswith(b"}}"):
            got += held.recv(1 << 20)
        return list(range(top_n))

    return call


def ours(url: str, documents: Sequence[str], top_n: int) -> Call:
    """`RerankClient.rerank`."""
    from rerank_integrations import OpenRouter, RerankClient

    client = RerankClient("m", provider=OpenRouter(api_key=KEY, base_url=url))
    return lambda: [result.index for result in client.rerank(QUERY, documents, top_n=top_n)]


def ours_langchain(url: str, documents: Sequence[str], top_n: int) -> Call:
    """`RerankCompressor.compress_documents`."""
    from langchain_core.documents import Document

    from rerank_integrations.langchain import RerankCompressor

    reranker: Any = RerankCompressor(
        model="openrouter:m",
        api_key=KEY,  # type: ignore[arg-type]
        base_url=url,
        top_n=top_n,
    )
    found = [Document(text, metadata={"place": i}) for i, text in enumerate(documents)]
    return lambda: [d.metadata["place"] for d in reranker.compress_documents(found, QUERY)]


def ours_llama_index(url: str, documents: Sequence[str], top_n: int) -> Call:
    """`RerankPostprocessor.postprocess_nodes` with rank_fields."""
    from llama_index.core.schema import NodeWithScore, TextNode

    from rerank_integrations.llama_index import RerankPostprocessor

    reranker = RerankPostprocessor(
        model="openrouter:m",
        api_key=KEY,  # type: ignore[arg-type]
        base_url=url,
        top_n=top_n,
        rank_fields=["title", "text"],
    )
    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata={"title": f"t{i}", "place": i}), score=0.5)
        for i, text in enumerate(documents)
    ]
    return lambda: [
        found.node.metadata["place"] for found in reranker.postprocess_nodes(nodes, query_str=QUERY)
    ]


def openrouter_sdk(url: str, documents: Sequence[str], top_n: int) -> Call:
    """OpenRouter's own SDK."""
    from openrouter import OpenRouter

    sdk = OpenRouter(api_key=KEY, server_url=f"{url}/v1")

    def call() -> list[int]:
        answer = sdk.rerank.rerank(model="m", query=QUERY, documents=list(documents), top_n=top_n)
        return [int(result.index) for result in answer.results]

    return call


def together_sdk(url: str, documents: Sequence[str], top_n: int) -> Call:
    """Together's own SDK."""
    from together import Together

    sdk = Together(api_key=KEY, base_url=f"{url}/v1")

    def call() -> list[int]:
        answer = sdk.rerank.create(model="m", query=QUERY, documents=list(documents), top_n=top_n)
        return [result.index for result in answer.results]

    return call


def portkey_sdk(url: str, documents: Sequence[str], top_n: int) -> Call:
    """Portkey's own SDK; it has no rerank method, so it posts."""
    from portkey_ai import Portkey

    sdk: Any = Portkey(api_key=KEY, base_url=f"{url}/v1", provider="cohere")
    body = {"model": "m", "query": QUERY, "documents": list(documents), "top_n": top_n}

    def call() -> list[int]:
        answer = sdk.post("/rerank", **body)
        return [result["index"] for result in from_json(answer.model_dump_json())["results"]]

    return call


def cohere_sdk(url: str, documents: Sequence[str], top_n: int) -> Call:
    """Cohere's own SDK."""
    import cohere

    sdk = cohere.ClientV2(api_key=KEY, base_url=url)

    def call() -> list[int]:
        answer = sdk.rerank(model="m", query=QUERY, documents=documents, top_n=top_n)
        return [result.index for result in answer.results]

    return call


def langchain_cohere(url: str, documents: Sequence[str], top_n: int) -> Call:
    """LangChain's CohereRerank."""
    import cohere
    from langchain_cohere import CohereRerank
    from langchain_core.documents import Document

    sdk = cohere.ClientV2(api_key=KEY, base_url=url)
    reranker: Any = CohereRerank(client=sdk, model="m", top_n=top_n)
    found = [Document(text, metadata={"place": i}) for i, text in enumerate(documents)]
    return lambda: [d.metadata["place"] for d in reranker.compress_documents(found, QUERY)]


def llama_index_cohere(url: str, documents: Sequence[str], top_n: int) -> Call:
    """LlamaIndex's CohereRerank."""
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    return _of_nodes(CohereRerank(api_key=KEY, model="m", top_n=top_n, base_url=url), documents)


def llama_index_jina(url: str, documents: Sequence[str], top_n: int) -> Call:
    """LlamaIndex's JinaRerank."""
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    return _of_nodes(
        JinaRerank(api_key=KEY, model="m", top_n=top_n, base_url=f"{url}/v1"), documents
    )


def llama_index_alone(url: str, documents: Sequence[str], top_n: int) -> Call:
    """A LlamaIndex postprocessor that does nothing: what the framework itself costs."""
    del url
    from llama_index.core.postprocessor.types import BaseNodePostprocessor

    class Nothing(BaseNodePostprocessor):
        def _postprocess_nodes(self, nodes: Any, query_bundle: Any = None) -> Any:
            del query_bundle
            return nodes[:top_n]

    return _of_nodes(Nothing(), documents)


def _of_nodes(reranker: Any, documents: Sequence[str]) -> Call:
    from llama_index.core.schema import NodeWithScore, TextNode

    nodes = [
        NodeWithScore(node=TextNode(text=text, metadata={"title": f"t{i}", "place": i}), score=0.5)
        for i, text in enumerate(documents)
    ]
    return lambda: [
        found.node.metadata["place"] for found in reranker.postprocess_nodes(nodes, query_str=QUERY)
    ]


def litellm(url: str, documents: Sequence[str], top_n: int) -> Call:
    """litellm.rerank."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks the internet for prices
    import litellm as library

    def call() -> list[int]:
        answer: Any = library.rerank(
            model="jina_ai/m",
            query=QUERY,
            documents=list(documents),
            top_n=top_n,
            api_key=KEY,
            api_base=f"{url}/v1/rerank",
        )
        return [result["index"] for result in answer.results]

    return call


PLAIN = "plain httpx"
OURS = {"RerankClient": ours, "RerankCompressor": ours_langchain}
PEERS = {
    "openrouter SDK": openrouter_sdk,
    "together SDK": together_sdk,
    "portkey SDK": portkey_sdk,
    "cohere SDK": cohere_sdk,
    "LangChain CohereRerank": langchain_cohere,
    "LlamaIndex CohereRerank": llama_index_cohere,
    "LlamaIndex JinaRerank": llama_index_jina,
    "litellm.rerank": litellm,
}
ALL = {
    PLAIN: plain_httpx,
    "raw socket (limit)": raw_socket,
    **OURS,
    "RerankPostprocessor": ours_llama_index,
    "LlamaIndex, no-op": llama_index_alone,
    **PEERS,
}
