"""Run in a clean environment: what was installed ranks, and what was not says its name.

python -I tests/installed.py [EXTRA ...]
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import rerank_integrations
from rerank_integrations import (
    ConfigurationError,
    Local,
    OpenRouter,
    RerankClient,
    RerankResponse,
)

QUERY = "a red bicycle"
TEXTS = ["a blue car", "a red bicycle", "a red wine"]
BEST_FIRST = [1, 2, 0]  # by the number of words that they share with the query

NOT_IN_ALL = {"cross-encoder", "evaluation"}  # large; without a wheel for Linux on arm64
# an ONNX model whose logit is the mean of the ids of the words
MEAN_OF_IDS = (
    "CAkSADqVAQofCglpbnB1dF9pZHMSAWYiBENhc3QqCQoCdG8YAaABAgo1CgFmEgZsb2dpdHMiClJlZHVjZU1lYW4q"
    "CwoEYXhlc0ABoAEHKg8KCGtlZXBkaW1zGAGgAQISAWdaHQoJaW5wdXRfaWRzEhAKDggHEgoKAxIBYgoDEgFzYhkK"
    "BmxvZ2l0cxIPCg0IARIJCgMSAWIKAggBQgQKABAR"
)


class Endpoint(BaseHTTPRequestHandler):
    """A rerank endpoint on loopback: the more of the query's words, the better."""

    protocol_version = "HTTP/1.1"
    received: list[dict[str, Any]]

    def do_POST(self) -> None:
        """Rank the documents of one request."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.received.append(body)
        wanted = set(body["query"].split())
        results = [
            {"index": index, "relevance_score": len(wanted & set(str(document).split())) / 10}
            for index, document in enumerate(body["documents"])
        ]
        answer = json.dumps({"model": body["model"], "results": results}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def endpoint() -> Iterator[tuple[OpenRouter, list[dict[str, Any]]]]:
    """A provider whose requests go to an endpoint in this process, and what that received."""
    received: list[dict[str, Any]] = []
    handler = type("Here", (Endpoint,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield (
                OpenRouter(api_key="a", base_url=f"http://127.0.0.1:{server.server_port}"),
                received,
            )
        finally:
            server.shutdown()
            thread.join()


def core() -> None:
    """The package is the one installed here, whole, and its client ranks, sync and async."""
    home = Path(rerank_integrations.__file__).parent
    assert home.is_relative_to(sys.prefix), f"not what was installed: {home}"
    assert (home / "py.typed").is_file(), "type checkers would not see its types"
    assert version("rerank-integrations") == rerank_integrations.__version__
    for public in rerank_integrations.__all__:
        getattr(rerank_integrations, public)

    with endpoint() as (provider, received), RerankClient("m", provider=provider) as client:
        here = client.rerank(QUERY, TEXTS)
        there = asyncio.run(client.arerank(QUERY, TEXTS, top_n=2))
    assert [result.index for result in here] == BEST_FIRST, here
    assert [result.index for result in there] == BEST_FIRST[:2], there
    assert [body["documents"] for body in received] == [TEXTS, TEXTS], received

    mine = Local(scorer=lambda query, texts: [float(len(text)) for text in texts])
    longest = RerankClient("longest", provider=mine).rerank("q", ["a", "aaa", "aa"])
    assert [result.index for result in longest] == BEST_FIRST, longest


def langchain() -> None:
    """The LangChain adapter ranks over HTTP, sync and async."""
    from langchain_core.documents import Document

    from rerank_integrations.langchain import RerankCompressor

    documents = [Document(text) for text in TEXTS]
    with endpoint() as (provider, _), RerankClient("m", provider=provider) as client:
        reranker = RerankCompressor(client=client)
        for found in (
            reranker.compress_documents(documents, QUERY),
            asyncio.run(reranker.acompress_documents(documents, QUERY)),
        ):
            assert [one.page_content for one in found] == [TEXTS[i] for i in BEST_FIRST], found
    import_module("rerank_integrations.testing.compressors")


def llama_index() -> None:
    """The LlamaIndex adapter ranks over HTTP, sync and async."""
    from llama_index.core.schema import NodeWithScore, TextNode

    from rerank_integrations.llama_index import RerankPostprocessor

    nodes = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]
    with endpoint() as (provider, _), RerankClient("m", provider=provider) as client:
        reranker = RerankPostprocessor(client=client)
        for found in (
            reranker.postprocess_nodes(nodes, query_str=QUERY),
            asyncio.run(reranker.apostprocess_nodes(nodes, query_str=QUERY)),
        ):
            assert [one.node.get_content() for one in found] == [TEXTS[i] for i in BEST_FIRST]
    import_module("rerank_integrations.testing.postprocessors")


def haystack() -> None:
    """The Haystack component ranks over HTTP, sync and async."""
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # it calls out otherwise
    from haystack import Document

    from rerank_integrations.haystack import RerankRanker

    documents = [Document(content=text) for text in TEXTS]
    with endpoint() as (provider, _), RerankClient("m", provider=provider) as client:
        ranker = RerankRanker(client=client)
        for found in (
            ranker.run(QUERY, documents),
            asyncio.run(ranker.run_async(QUERY, documents)),
        ):
            assert [one.content for one in found["documents"]] == [TEXTS[i] for i in BEST_FIRST]


def local() -> None:
    """BM25 and the hybrid rank in this process."""
    for engine in ("bm25", "hybrid"):
        response = RerankClient(f"local:{engine}").rerank(QUERY, TEXTS)
        assert [result.index for result in response] == BEST_FIRST, response


def cross_encoder() -> None:
    """A tiny model in a folder, which prefers words that come late in its vocabulary, ranks."""
    tokenizers = import_module("tokenizers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "car", "blue", "a", "red", "wine", "bicycle"]
    model = tokenizers.models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    with TemporaryDirectory() as name:
        folder = Path(name)
        tokenizer.save(str(folder / "tokenizer.json"))
        config = {"model_max_length": 64, "pad_token": "[PAD]", "pad_token_id": 0}
        for file in ("config", "tokenizer_config", "special_tokens_map"):
            text = json.dumps({} if file == "special_tokens_map" else config)
            (folder / f"{file}.json").write_text(text, encoding="utf-8")
        (folder / "model.onnx").write_bytes(b64decode(MEAN_OF_IDS))
        response = RerankClient(f"local:cross-encoder/{folder}").rerank(QUERY, TEXTS)
    assert [result.index for result in response] == BEST_FIRST, response
    assert response.score_kind == "probability", response


def images() -> None:
    """A Pillow image goes over HTTP, made smaller."""
    from PIL import Image

    with (
        endpoint() as (provider, received),
        RerankClient("m", provider=provider, max_image_pixels=100) as client,
    ):
        client.rerank(QUERY, [{"image": Image.new("RGB", (64, 32), "red")}])
    written = json.dumps(received[0]["documents"])
    encoded = written.partition(";base64,")[2].partition('"')[0]
    with Image.open(BytesIO(b64decode(encoded))) as sent:
        assert 0 < sent.width * sent.height <= 100, sent.size


def aiohttp() -> None:
    """The client ranks over aiohttp."""
    from httpx_aiohttp import HttpxAiohttpClient

    async def many(provider: OpenRouter) -> list[RerankResponse]:
        client = RerankClient("m", provider=provider, async_http_client=HttpxAiohttpClient)
        return await asyncio.gather(*(client.arerank(QUERY, TEXTS) for _ in range(10)))

    with endpoint() as (provider, _):
        for response in asyncio.run(many(provider)):
            assert [result.index for result in response] == BEST_FIRST, response


def evaluation() -> None:
    """Models are measured, and the report is written."""
    from rerank_integrations.evaluation import evaluate

    local = Local(scorer=lambda query, texts: [float(len(text)) for text in texts])
    found = evaluate(small_dataset(), [RerankClient("longest", provider=local)])
    assert found.verdict.outcome == "too few", found
    assert found.verdict.text in found.to_html()


def small_dataset() -> Any:
    """Two queries with their candidates."""
    from rerank_integrations.evaluation import Dataset

    queries = {"1": QUERY, "2": TEXTS[2]}
    documents = dict(zip("abc", TEXTS, strict=True))
    return Dataset(
        documents=documents,
        queries=queries,
        judgments={"1": {"b": 1}, "2": {"c": 1}},
        candidates={query: list(documents) for query in queries},
    )


def without_evaluation() -> None:
    """What needs the extra `evaluation`."""
    from rerank_integrations.evaluation import evaluate

    evaluate(small_dataset(), ["local:bm25"])


def tracing() -> None:
    """A call begins a span."""
    from opentelemetry import trace

    begun = []

    class Tracer(trace.NoOpTracer):
        def start_span(self, name: str, *given: Any, **named: Any) -> trace.Span:
            begun.append(name)
            return super().start_span(name, *given, **named)

    class Provider(trace.NoOpTracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
            return Tracer()

    trace.set_tracer_provider(Provider())
    with endpoint() as (provider, _), RerankClient("m", provider=provider) as client:
        client.rerank(QUERY, TEXTS)
    assert begun == ["rerank m"], begun


def cli() -> None:
    """The command `rerank` ranks over HTTP."""
    script = shutil.which("rerank", path=str(Path(sys.executable).parent))
    assert script is not None, "there is no command"
    with endpoint() as (provider, _):
        address = ["--model", "openrouter:m", "--base-url", str(provider.base_url)]
        ran = subprocess.run(
            [script, "run", QUERY, "-", *address],
            input="\n".join(TEXTS),
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "OPENROUTER_API_KEY": "a"},
        )
    assert ran.returncode == 0, ran.stderr
    assert [json.loads(line)["index"] for line in ran.stdout.splitlines()] == BEST_FIRST


def without_cli() -> None:
    """The command, which ends the process with what is missing."""
    from rerank_integrations.cli import main

    try:
        main()
    except SystemExit as ended:
        raise ImportError(ended.code) from ended


def without_local() -> None:
    """What needs the extra `local`."""
    RerankClient("local:bm25").rerank(QUERY, TEXTS)


def without_cross_encoder() -> None:
    """What needs the extra `cross-encoder`; nothing is downloaded."""
    RerankClient("local:cross-encoder/BAAI/bge-reranker-base").rerank(QUERY, TEXTS)


def without_images() -> None:
    """What needs the extra `images`."""
    RerankClient("m", provider=OpenRouter(api_key="a"), max_image_pixels=100)


def importing(module: str) -> Callable[[], object]:
    """What needs an extra by being imported."""
    return lambda: import_module(f"rerank_integrations.{module}")


def refused(extra: str, needs_it: Callable[[], object]) -> None:
    """What needs an extra that is not there names it, and says how to install it."""
    try:
        needs_it()
    except (ImportError, ConfigurationError) as error:
        assert f"pip install 'rerank-integrations[{extra}]'" in str(error), error
    else:
        raise AssertionError(f"the extra {extra} is not there, and was not missed")


@dataclass(frozen=True)
class Extra:
    """One extra: what it installs, what it makes possible, and what needs it."""

    module: str
    works: Callable[[], None]
    needed_by: list[Callable[[], object]]


EXTRAS = {
    "langchain": Extra(
        "langchain_core", langchain, [importing("langchain"), importing("testing.compressors")]
    ),
    "llama-index": Extra(
        "llama_index", llama_index, [importing("llama_index"), importing("testing.postprocessors")]
    ),
    "haystack": Extra("haystack", haystack, [importing("haystack")]),
    "local": Extra("bm25s", local, [without_local]),
    "cross-encoder": Extra("fastembed", cross_encoder, [without_cross_encoder]),
    "images": Extra("PIL", images, [without_images]),
    "aiohttp": Extra("httpx_aiohttp", aiohttp, []),  # imported by the user
    "evaluation": Extra("ir_measures", evaluation, [without_evaluation]),
    "tracing": Extra("opentelemetry", tracing, []),  # the same
    "cli": Extra("rich", cli, [without_cli]),
}


def main(asked: list[str]) -> None:
    """Check the core, each extra that was asked for, and the refusals of what is not there."""
    wanted = set(EXTRAS) - NOT_IN_ALL if asked == ["all"] else set(asked)
    there = {name for name, extra in EXTRAS.items() if find_spec(extra.module)}
    assert wanted <= there, f"not installed: {wanted - there}"
    assert wanted or not there, f"this environment is not bare: {there}"

    core()
    for name in sorted(wanted):
        EXTRAS[name].works()
    missing = sorted(set(EXTRAS) - there)
    for name in missing:
        for needs_it in EXTRAS[name].needed_by:
            refused(name, needs_it)
    print(
        f"{', '.join(sorted(wanted)) or 'bare'}: works; missed: {', '.join(missing) or 'nothing'}"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
