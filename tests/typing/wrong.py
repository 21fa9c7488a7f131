"""What users get wrong: type checkers flag each line that ends with `# wrong`. It is never run."""

from __future__ import annotations

import functools

import httpx

from rerank_integrations import (
    Local,
    RerankBatch,
    OpenRouter,
    Portkey,
    RerankClient,
    RerankDocument,
)
from rerank_integrations.evaluation import evaluate, sample
from rerank_integrations.haystack import RerankRanker
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor
from rerank_integrations.providers.local import bm25

client = RerankClient("local:bm25")
compressor = RerankCompressor("local:bm25")
postprocessor = RerankPostprocessor("local:bm25")
response = client.rerank("q", ["a"])

RerankClient()  # wrong
RerankClient(5)  # wrong
RerankClient("m", "k")  # wrong
RerankClient("m", topn=3)  # wrong
RerankClient("m", top_n="3")  # wrong
RerankClient("m", timeout="default")  # wrong
RerankClient("m", on_image="ignore")  # wrong
RerankClient("m", fallbacks=[5])  # wrong
RerankClient("m", extra_headers={"X-A": 1})  # wrong
OpenRouter("k")  # wrong
OpenRouter(api_key=5)  # wrong
OpenRouter(apikey="k")  # wrong
Portkey(api_key="k", max_tokens_per_doc="512")  # wrong
Local(scorer=3)  # wrong
Local(scorer=len)  # wrong
Local(scorer=bm25, sees_images="yes")  # wrong
RerankClient("m", http_client=3)  # wrong
RerankClient("m", http_client=httpx.AsyncClient())  # wrong
RerankClient("m", http_client=httpx.AsyncClient)  # wrong
RerankClient("m", async_http_client=httpx.Client())  # wrong
RerankClient("m", async_http_client=functools.partial(httpx.Client, http2=True))  # wrong
RerankBatch("m", async_http_client=httpx.Client)  # wrong
evaluate("my-data", ["local:bm25"], rank_feilds=["title"])  # wrong
evaluate("my-data", ["local:bm25"], top_n="3")  # wrong
sample("my-data", 3, "labels.csv", rank_feilds=["title"])  # wrong
RerankDocument(text=5)  # wrong
client.rerank("q")  # wrong
client.rerank_many({"query": "q", "documents": ["a"]})  # wrong
client.rerank_many([], on_error="ignore")  # wrong
client.rerank(["a"], "q")  # wrong
client.rerank(b"", ["a"])  # wrong
client.rerank("q", ["a"], top_k=3)  # wrong
client.rerank("q", ["a"], provider=None)  # wrong
client.rerank("q", [5])  # wrong
client.with_options(topn=1)  # wrong
client.with_options(max_retries="2")  # wrong
compressor.with_options(topn=1)  # wrong
compressor.with_options(top_n="1")  # wrong
postprocessor.with_options(metadata_mode="everything")  # wrong
postprocessor.with_options(topn=1)  # wrong
RerankCompressor("local:bm25", on_error="ignore")  # wrong
RerankCompressor("local:bm25", score_key=5)  # wrong
RerankPostprocessor("local:bm25", keep_retrieval_score="yes")  # wrong
response["scores"]  # wrong
response.scores  # wrong
response[0].score  # wrong
score: str = response[0].relevance_score  # wrong
RerankRanker("local:bm25", topk=1)  # wrong
RerankRanker("local:bm25", top_k="1")  # wrong
