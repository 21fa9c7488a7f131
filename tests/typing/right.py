"""What users write: type checkers find nothing wrong here. It is read, never run."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import assert_type

import httpx
import httpx2
from haystack.utils import Secret
from httpx_aiohttp import HttpxAiohttpClient
from langchain_core.documents import Document
from llama_index.core.schema import MetadataMode, NodeWithScore
from pydantic import SecretStr

from rerank_integrations import (
    NOT_GIVEN,
    Local,
    ManyResults,
    OpenRouter,
    Portkey,
    Price,
    QueryInput,
    RerankClient,
    RerankDocument,
    RerankError,
    RerankResponse,
    RowResult,
    StatusError,
    Together,
)
from rerank_integrations.evaluation import evaluate, sample
from rerank_integrations.haystack import RerankRanker
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

client = RerankClient("openrouter:cohere/rerank-v3.5")
keyed = RerankClient("openrouter:cohere/rerank-v3.5", api_key="k", base_url="https://host")
secret = RerankClient("together:m", api_key=SecretStr("k"), fallbacks=["local:bm25", client])
own = RerankClient(
    "m",
    provider=OpenRouter(api_key="k", title="My app", categories=["cli-agent"]),
    http_client=httpx.Client,
    async_http_client=functools.partial(httpx.AsyncClient, http2=True),
    timeout=httpx.Timeout(5.0, read=60.0),
    deadline=None,
    max_documents_per_request=None,
    extra_headers={"X-Team": "search"},
    extra_body={"seed": 1},
    on_image="text",
    score_threshold=0.2,
)
portkey = Portkey(
    api_key="k", provider="cohere", authorization=SecretStr("up"), metadata={"a": "b"}
)
together = Together(api_key=SecretStr("k"))
modern = RerankClient("m", http_client=httpx2.Client(), async_http_client=httpx2.AsyncClient)
aiohttp = RerankClient("m", async_http_client=HttpxAiohttpClient())
local = Local(scorer=lambda query, texts: [float(len(text)) for text in texts])


class CrossEncoder:
    """A model with the method of a cross-encoder."""

    def predict(self, sentences: list[tuple[str, str]], batch_size: int = 32) -> list[float]:
        """One score for each pair."""
        return [float(batch_size) for _ in sentences]


async def remote(query: str, texts: Sequence[str]) -> list[float]:
    """An async scorer."""
    return [float(len(query)) for _ in texts]


scorers = [
    Local(scorer=CrossEncoder()),
    Local(scorer=CrossEncoder().predict),
    Local(scorer=remote),
    Local(),
]
response = client.rerank("q", ["a", "b"], top_n=1, timeout=NOT_GIVEN, rank_fields=("text",))
mixed = client.rerank("q", ["a", {"title": "t"}, RerankDocument(text="x", image=b"")])
picture: QueryInput = RerankDocument(image=b"")
by_picture = assert_type(client.rerank(picture, ["a"]), RerankResponse[str])
also_by_picture = client.rerank({"text": "q", "image": "https://host/a.png"}, ["a"])
index: int = response[0].index
score: float = response[0].relevance_score
names: list[int] = [result.index for result in response]
cost: float | None = response.usage.cost
remaining: str = response.headers["x-ratelimit-remaining"]
of_each: list[str] = [one["x-request-id"] for one in response.headers]  # of a split call
other = client.with_options(top_n=3, provider=together, model="m")
assert_type(other, RerankClient)


async def asynchronous() -> int:
    """The same on an event loop."""
    async with client:
        found = await client.arerank("q", ({"text": "a"} for _ in range(3)), deadline=5)
    return len(found)


def handled() -> float | None:
    """Errors have types."""
    try:
        client.rerank("q", [])
    except StatusError as error:
        return error.retry_after
    except RerankError as error:
        return float(error.retries)
    return None


compressor = RerankCompressor(model="openrouter:m", api_key="sk", top_n=3, rank_fields=["title"])
positional = RerankCompressor("local:bm25", on_error="passthrough", timeout=3, max_retries=0)
changed = compressor.with_options(top_n=None, api_key=SecretStr("k"), score_threshold=0.1)
assert_type(changed, RerankCompressor)
documents: Sequence[Document] = compressor.compress_documents([Document("a")], "q")
postprocessor = RerankPostprocessor(
    "local:bm25", metadata_mode="all", allow_local_images="images", provider=None, fallbacks=()
)
modes = postprocessor.with_options(metadata_mode=MetadataMode.EMBED, keep_retrieval_score=True)
assert_type(modes, RerankPostprocessor)
nodes: list[NodeWithScore] = postprocessor.postprocess_nodes([], query_str="q")
ranker = RerankRanker(
    "openrouter:m", top_k=3, meta_fields_to_embed=["title"], api_key=Secret.from_env_var("KEY")
)
output = ranker.run("q", [], top_k=1)
ranker.close()


def stream() -> Iterator[dict[str, object]]:
    """Rows of many queries."""
    yield {"id": 1, "query": "q", "documents": ["a"]}


with client.rerank_many(stream(), max_cost=1.5, price=Price(per_million_tokens=0.05)) as many:
    for row_result in many:
        assert_type(row_result.id, str | int)
        assert_type(row_result.error, RerankError | None)
        print(row_result.response, many.cost, many.usage.total_tokens)
client.rerank_many("in.jsonl", checkpoint="run.sqlite", progress=print, on_error="keep", top_n=1)
texts_alone: ManyResults[str] = client.rerank_many([{"query": "q", "documents": ["a"]}])
first: RowResult[str] = next(texts_alone)
if first.response is not None:
    assert_type(first.response[0].document, str)
evaluate("my-data", ["local:bm25"], rank_fields=["title"], api_key="k", timeout=3, k=5)
sample("my-data", 3, "labels.csv", rank_fields=("title",))
client.arerank_many([{"query": "q", "documents": ["a"]}], preserve_order=True)
