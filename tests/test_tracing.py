"""The client's own spans and metrics, by OpenTelemetry, and how they nest in those of others."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import httpx
import pytest
from haystack import Document as HaystackDocument, Pipeline
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode
from opentelemetry import context, trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

import rerank_integrations._tracing as written
from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from fakes import chain
from loopback import Reply, Server, ranking, ranks_all
from rerank_integrations import (
    DocumentInput,
    Local,
    RerankBatch,
    RerankClient,
    RerankDocument,
    RerankError,
    Retry,
    Together,
)
from rerank_integrations.haystack import RerankRanker
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor
from support import DATA_URI, PIXELS, PNG
from telemetry import inside, telemetry

KEY = "the-key"  # of every client here
USAGE = {"search_units": 1, "total_tokens": 150, "cost": 0.001}
HUNDRED = [f"text {number}" for number in range(100)]
OUTPUT = "reranker.output_documents.{}.document.content"
INPUT = "reranker.input_documents.{}.document.content"
WAYS = ["sync", "async"]


def ranked(client: Any, way: str, *given: Any, **options: Any) -> Any:
    """Rank, by the method or by its async twin."""
    if way == "sync":
        return client.rerank(*given, **options)
    return asyncio.run(client.arerank(*given, **options))


def shown(attributes: Any, key: str) -> list[Any]:
    """The values under a key with a number in it, in order."""
    found: list[Any] = []
    while key.format(len(found)) in attributes:
        found.append(attributes[key.format(len(found))])
    return found


def scored(*scores: float, **options: Any) -> RerankClient:
    """A client whose documents have these scores."""
    scorer = Local(scorer=lambda query, documents: list(scores))
    return RerankClient("mine", provider=scorer, **options)


def test_a_call_is_a_span(call: Calls, server: Server, pauses: Sequence[float]) -> None:
    """A call is a RERANKER in the caller's trace, and its requests are spans within it."""
    headers = {"X-Generation-Id": "gen-1"}
    best = ranking(0.1, 0.9, 0.5, model="m-2", provider="Cohere", usage=USAGE, headers=headers)
    server.plays(Reply(status=503), best)
    instrumentor = HTTPXClientInstrumentor()
    with telemetry() as told, client_of(server, top_n=2) as client:
        instrumentor.instrument(tracer_provider=told.provider)
        try:
            call(client)
            call.close(client)
        finally:
            instrumentor.uninstrument()
        span, said = told.only()
        posts = told.named("POST")
        (tokens,) = told.points("gen_ai.client.token.usage")
        (duration,) = told.points("gen_ai.client.operation.duration")

    assert (span.name, span.kind, span.status.status_code) == (
        "rerank m",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert len(posts) == 2
    assert all(inside(post, span) for post in posts)
    assert said.pop("output.value").count("relevance_score") == 2
    assert said == {
        "openinference.span.kind": "RERANKER",
        "reranker.query": QUERY,
        "reranker.model_name": "m",
        "reranker.top_k": 2,
        **{INPUT.format(place): text for place, text in enumerate(TEXTS)},
        OUTPUT.format(0): TEXTS[1],
        OUTPUT.format(1): TEXTS[2],
        "reranker.output_documents.0.document.score": 0.9,
        "reranker.output_documents.1.document.score": 0.5,
        "input.value": QUERY,
        "output.mime_type": "application/json",
        "llm.token_count.total": 150,
        "llm.cost.total": 0.001,
        "gen_ai.usage.input_tokens": 150,
        "gen_ai.operation.name": "rerank",
        "gen_ai.provider.name": "openrouter",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m-2",
        "rerank.served_by": "Cohere",
        "rerank.request_id": "gen-1",
        "rerank.search_units": 1,
        "rerank.attempts": 2,
        "rerank.documents": 3,
    }
    retry, wait = span.events
    assert (retry.name, wait.name) == ("rerank.retry", "rerank.wait")
    assert (retry.attributes or {})["http.response.status_code"] == 503
    assert [(wait.attributes or {})["rerank.seconds"]] == pauses
    named = {key: said[key] for key in said if key.startswith(("gen_ai.op", "gen_ai.pr"))}
    models = {"gen_ai.request.model": "m", "gen_ai.response.model": "m-2"}
    assert tokens == (150, {**named, **models, "gen_ai.token.type": "input"})
    assert duration[1] == {**named, **models}
    assert 0 < duration[0] < 60


@cases("way", WAYS)
@cases("shows", [True, False])
@cases(("status", "name"), [(400, "BadRequestError"), (401, "AuthenticationError")])
def test_a_failed_call_is_an_error(
    *, server: Server, way: str, shows: bool, status: int, name: str
) -> None:
    """The span has the error, without a key; where contents are hidden, without its message."""
    body = {"error": {"message": f"key {KEY} and {TEXTS[0]}"}}
    server.plays(Reply(body, status))
    with telemetry() as told, client_of(server) as client:
        with pytest.raises(RerankError):
            ranked(client, way, QUERY, TEXTS, trace_content=shows)
        span, said = told.only()
        (duration,) = told.points("gen_ai.client.operation.duration")

    assert span.status.status_code is StatusCode.ERROR
    assert (said["error.type"], said["http.response.status_code"]) == (name, status)
    assert (said["rerank.attempts"], said["openinference.span.kind"]) == (1, "RERANKER")
    assert duration[1]["error.type"] == name
    (event,) = span.events
    assert event.name == "exception"
    assert str((event.attributes or {})["exception.type"]).endswith(name)
    assert (TEXTS[0] in span.to_json()) is shows
    assert KEY not in span.to_json()


def test_a_fallback_is_an_event(server: Server, second: Server) -> None:
    """Each provider that failed is an event, and the span says who answered."""
    server.plays(Reply(status=500))
    with telemetry() as told, chain(server, "together:n") as client:
        client.rerank(QUERY, TEXTS)
        span, said = told.only()

    (event,) = span.events
    assert event.name == "rerank.fallback"
    assert event.attributes == {
        "gen_ai.provider.name": "openrouter",
        "gen_ai.request.model": "m",
        "error.type": "ServerError",
        "http.response.status_code": 500,
    }
    assert (said["gen_ai.provider.name"], said["rerank.served_by"]) == ("openrouter", "together")
    assert said["rerank.attempts"] == 2

    with chain(server, "together:n") as client:
        for _ in range(5):  # until its circuit breaker is open
            client.rerank(QUERY, TEXTS)
        count = len(server.received)
        with telemetry() as told:
            client.rerank(QUERY, TEXTS)
            span, _ = told.only()
    (event,) = span.events
    assert event.name == "rerank.fallback"
    assert event.attributes == {
        "gen_ai.provider.name": "openrouter",
        "gen_ai.request.model": "m",
        "error.type": "circuit_breaker_open",
    }
    assert len(server.received) == count


SECRET = "what nobody else may read"
REFUSED: list[tuple[Any, Any, dict[str, Any], str]] = [
    ("", TEXTS, {}, "InvalidRequestError"),
    (7, TEXTS, {}, "InvalidRequestError"),
    (SECRET, [SECRET, {"image": PNG}], {}, "UnsupportedDocumentError"),
    (SECRET, [SECRET, 7], {}, "UnsupportedDocumentError"),
    (SECRET, SECRET, {}, "InvalidRequestError"),
    (SECRET, range(2), {}, "UnsupportedDocumentError"),
    (SECRET, [SECRET], {"model": ""}, "ConfigurationError"),
    (SECRET, [SECRET], {"top_n": 0}, "InvalidRequestError"),
    (SECRET, [SECRET], {"instruction": "x"}, "ConfigurationError"),
    (SECRET, [SECRET], {"trace_content": SECRET}, "ConfigurationError"),
]


@cases("way", WAYS)
@cases("shows", [True, False])
@cases("refused", REFUSED)
def test_a_call_that_is_refused_is_an_error(
    *, way: str, shows: bool, refused: tuple[Any, Any, dict[str, Any], str]
) -> None:
    """A call of which nothing is sent has a span too, in which contents may be hidden."""
    query, documents, options, kind = refused
    client = RerankClient("m", provider=Together(api_key=KEY), trace_content=shows)
    with telemetry() as told:
        with pytest.raises(RerankError):
            ranked(client, way, query, documents, **options)
        assert not trace.get_current_span().is_recording()
        span, said = told.only()
        (duration,) = told.points("gen_ai.client.operation.duration")

    assert (span.name, said["rerank.attempts"]) == ("rerank m", 0)
    assert (said["error.type"], duration[1]["error.type"]) == (kind, kind)
    assert span.status.status_code is StatusCode.ERROR
    is_shown = shows and query == SECRET and "trace_content" not in options
    assert (SECRET in span.to_json()) is is_shown
    assert KEY not in span.to_json()


@cases("way", WAYS)
def test_a_split_call_is_one_span(server: Server, pauses: Sequence[float], way: str) -> None:
    """Requests at once are in one span, with the retries of each."""
    server.plays(Reply(status=503), Reply(status=503), ranks_all)
    options: dict[str, Any] = {"max_documents_per_request": 2, "retry": Retry(max_retries=5)}
    with telemetry() as told, client_of(server, **options) as client:
        ranked(client, way, QUERY, HUNDRED[:8])
        span, said = told.only()

    assert [event.name for event in span.events].count("rerank.retry") == 2
    assert (said["rerank.documents"], said["rerank.attempts"]) == (8, 6)


def test_a_call_that_sends_nothing_is_a_span(server: Server) -> None:
    """What comes from the cache is shown as what was asked for, and so is an empty list."""
    documents: list[DocumentInput] = [{"title": "A", "text": "b"}, "c"]
    with client_of(server, cache="memory") as client:
        client.rerank(QUERY, documents)
        with telemetry() as told:
            client.rerank(QUERY, documents)
            _, said = told.only()

    assert (said["rerank.cache_hits"], said["rerank.attempts"]) == (2, 0)
    assert shown(said, INPUT) == ["title: A\ntext: b", "c"]
    assert sorted(shown(said, OUTPUT)) == ["c", "title: A\ntext: b"]
    with telemetry() as told, client_of(server) as client:
        client.rerank(QUERY, [])
        _, said = told.only()
    assert (said["reranker.query"], said["rerank.documents"]) == (QUERY, 0)


def test_nothing_is_loaded_that_is_not_used() -> None:
    """Where the process does not use OpenTelemetry, a call does not load it."""
    code = (
        "import sys; from rerank_integrations import RerankClient;"
        "RerankClient('local:bm25').rerank('a', ['a b']);"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ran.stdout.strip() == "[]"


class NoCalls(Sampler):
    """Drops the spans of calls, and keeps all others."""

    def should_sample(
        self, parent_context: Any, trace_id: int, name: str, *_: Any, **__: Any
    ) -> Any:
        """Whether to keep a span."""
        keep = not name.startswith("rerank ")
        return SamplingResult(Decision.RECORD_AND_SAMPLE if keep else Decision.DROP)

    def get_description(self) -> str:
        """The name of the sampler."""
        return "no calls"


def test_tracing_that_is_paused_or_sampled_out(server: Server) -> None:
    """No span where tracing is paused, and none of the requests where the call is sampled out."""
    instrumentor = HTTPXClientInstrumentor()
    with telemetry(sampler=ParentBased(NoCalls())) as told, client_of(server) as client:
        instrumentor.instrument(tracer_provider=told.provider)
        try:
            client.rerank(QUERY, TEXTS)
        finally:
            instrumentor.uninstrument()
        assert len(server.received) == 1
        assert told.spans == []
    with telemetry() as told:
        token = context.attach(context.set_value("suppress_instrumentation", value=True))
        scored(1, 2, 3).rerank(QUERY, TEXTS)
        context.detach(token)
        assert told.spans == []
        scored(1, 2, 3).rerank(QUERY, TEXTS)
        assert len(told.spans) == 1


@cases(
    ("limits", "variables", "inputs", "outputs"),
    [
        ({}, {}, 80, 10),
        ({}, {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "60"}, 12, 10),
        ({}, {"OTEL_ATTRIBUTE_COUNT_LIMIT": "48"}, 0, 10),
        ({"max_span_attributes": 40}, {}, 0, 6),
        ({"max_span_attributes": 25}, {}, 0, 0),
        ({"max_span_attributes": SpanLimits.UNSET}, {}, 100, 10),
    ],
    ids=["usual", "variable", "general variable", "in code", "tiny", "none"],
)
def test_the_limit_of_attributes_takes_documents_first(
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, Any],
    variables: dict[str, str],
    inputs: int,
    outputs: int,
) -> None:
    """Nothing is dropped: outputs are shown first, then inputs in their order, as many as fit."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with telemetry(span_limits=SpanLimits(**limits)) as told:
        scored(*range(100)).rerank(QUERY, HUNDRED, top_n=10)
        span, said = told.only()

    assert getattr(span, "dropped_attributes", 0) == 0
    assert (said["openinference.span.kind"], said["reranker.query"]) == ("RERANKER", QUERY)
    assert (said["reranker.top_k"], said["rerank.documents"]) == (10, 100)
    assert shown(said, OUTPUT) == HUNDRED[: -outputs - 1 : -1]
    assert shown(said, INPUT) == HUNDRED[:inputs]


def test_details_come_where_they_fit() -> None:
    """Ids, first scores and fields are shown where all fit; whatever the number, none is lost."""
    shown_whole = []
    for count in range(1, 31):
        documents = [
            RerankDocument("a", fields={"id": place, "x": 1}, retrieval_score=1.0)
            for place in range(count)
        ]
        with telemetry() as told:
            scored(*range(count)).rerank(QUERY, documents)
            span, said = told.only()
        assert getattr(span, "dropped_attributes", 0) == 0
        assert len(shown(said, OUTPUT)) == count
        kinds = [key.rpartition(".")[2] for key in said if key.startswith("reranker.")]
        shown_whole.append(kinds.count("metadata") == kinds.count("id") / 2 == count)
    assert shown_whole == [True] * sum(shown_whole) + [False] * (30 - sum(shown_whole))
    assert 10 < sum(shown_whole) < 20


def by_client(**options: Any) -> None:
    """A call of a client that was made so."""
    scored(2, 1, **options).rerank("query", ["red", "blue"])


def by_call(**options: Any) -> None:
    """A call that was made so."""
    scored(2, 1).rerank("query", ["red", "blue"], **options)


def by_langchain(**options: Any) -> None:
    """LangChain's adapter."""
    compressor = RerankCompressor(client=scored(2, 1), **options)
    compressor.compress_documents([Document("red"), Document("blue")], "query")


def by_llama_index(**options: Any) -> None:
    """LlamaIndex's adapter."""
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("red", "blue")]
    RerankPostprocessor(client=scored(2, 1), **options).postprocess_nodes(nodes, query_str="query")


def by_haystack(**options: Any) -> None:
    """Haystack's component."""
    documents = [HaystackDocument(content=text) for text in ("red", "blue")]
    RerankRanker(client=scored(2, 1), **options).run("query", documents)


def by_batch(**options: Any) -> None:
    """The workers of an engine."""
    batch = RerankBatch(client=scored(2, 1), **options)
    assert batch({"query": ["query"], "documents": [["red", "blue"]]})["indices"] == [[0, 1]]


CALLERS = [by_client, by_call, by_langchain, by_llama_index, by_haystack, by_batch]


@cases("caller", CALLERS, ids=lambda caller: caller.__name__)
@cases("shows", [True, False])
def test_contents_are_a_setting(*, caller: Callable[..., None], shows: bool) -> None:
    """With `trace_content=False` no span has the query or a text; scores and counts stay."""
    with telemetry() as told:
        caller(trace_content=shows)
        span, said = told.only()

    written = span.to_json()
    assert all((text in written) is shows for text in ("query", '"red"', "blue"))
    assert [one["index"] for one in json.loads(said["output.value"])] == [0, 1]
    assert said["rerank.documents"] == 2


@cases(
    ("variable", "query", "inputs", "outputs"),
    [
        ("OPENINFERENCE_HIDE_INPUTS", "__REDACTED__", [], ["red"]),
        ("OPENINFERENCE_HIDE_INPUT_TEXT", "__REDACTED__", [], ["red"]),
        ("OPENINFERENCE_HIDE_OUTPUTS", "query", ["red", "blue"], []),
        ("OPENINFERENCE_HIDE_OUTPUT_TEXT", "query", ["red", "blue"], []),
        ("OPENINFERENCE_HIDE_RETRIEVAL_DOCUMENTS", "query", [], []),
    ],
)
def test_the_environment_hides_contents(
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    query: str,
    inputs: list[str],
    outputs: list[str],
) -> None:
    """The variables of OpenInference hold without its tracer, which reads them otherwise."""
    monkeypatch.setenv(variable, "True")
    with telemetry() as told:
        by_call(top_n=1)
        _, said = told.only()

    assert (said["reranker.query"], said["input.value"]) == (query, query)
    assert (shown(said, INPUT), shown(said, OUTPUT)) == (inputs, outputs)
    hides_all = not outputs and inputs
    assert (said["output.value"] == "__REDACTED__") is bool(hides_all)


class Odd:
    """What cannot be shown."""

    def model_dump(self) -> Any:
        """Raise."""
        raise LookupError


def test_documents_of_all_kinds() -> None:
    """A text is cut, an image is a word, and what else a document brings has its attributes."""
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    documents: list[DocumentInput] = [
        "a" * 5000,
        f"before {DATA_URI} after",
        {
            "id": 7,
            "title": "A",
            "text": "b",
            "page": {"y": math.nan, "z": b"a"},
            "x": f"{DATA_URI}",
        },
        RerankDocument("page", image=DATA_URI, retrieval_score=0.5),
        RerankDocument(image=PNG, fields={"title": "C"}),
        {"text": "c", "loop": loop, "x" * 3000: 1, "odd": Odd()},
        "half \ud800 a pair",
        "",
    ]
    provider = Local(scorer=lambda query, texts: [1.0] * len(texts), sees_images=True)
    with telemetry() as told:
        RerankClient("mine", provider=provider).rerank(
            QUERY, documents, rank_fields=["title", "text"], top_n=3
        )
        span, said = told.only()

    contents = shown(said, INPUT)
    assert contents[0] == "a" * 2000
    assert contents[1] == "before <image data> after"
    assert contents[2].split() == ["title:", "A", "text:", "b"]
    assert contents[3] == "page [image]"
    assert contents[4].endswith("[image]")
    assert contents[6] == "half \ufffd a pair"
    assert contents[7] == ""
    at = "reranker.input_documents.{}.document.{}"
    assert said[at.format(2, "id")] == "7"
    page = json.loads(said[at.format(2, "metadata")])["page"]
    assert page == {"y": None, "z": "<1 bytes>"}
    assert said[at.format(3, "score")] == 0.5
    assert at.format(5, "metadata") not in said
    assert said["reranker.output_documents.2.document.id"] == "7"
    assert PIXELS not in span.to_json()
    assert "PNG" not in span.to_json()


def interrupted() -> None:
    """A call during which somebody presses Ctrl-C."""

    def scorer(query: str, documents: Sequence[str]) -> list[float]:
        raise KeyboardInterrupt

    RerankClient("mine", provider=Local(scorer=scorer)).rerank(QUERY, TEXTS)


def cancelled() -> None:
    """A call whose task is cancelled."""

    async def main() -> None:
        began = asyncio.Event()

        async def scorer(query: str, documents: Sequence[str]) -> list[float]:
            began.set()
            await asyncio.Event().wait()
            return []

        client = RerankClient("mine", provider=Local(scorer=scorer))
        task = asyncio.create_task(client.arerank(QUERY, TEXTS))
        await began.wait()
        task.cancel()
        await task

    asyncio.run(main())


@cases(
    ("given_up", "kind"),
    [(interrupted, KeyboardInterrupt), (cancelled, asyncio.CancelledError)],
)
def test_a_call_that_is_given_up_ends_its_span(
    given_up: Callable[[], None], kind: type[BaseException]
) -> None:
    """The span ends, says why, and is not current any more."""
    with telemetry() as told:
        with pytest.raises(kind):
            given_up()
        span, said = told.only()
        assert not trace.get_current_span().is_recording()

    assert said["error.type"] == kind.__name__
    assert span.status.status_code is StatusCode.ERROR


async def by_arerank(client: RerankClient) -> None:
    """The client's own call."""
    await client.arerank(QUERY, TEXTS)


async def by_compressor(client: RerankClient) -> None:
    """LangChain's adapter, which has handlers to tell."""
    handlers: list[Any] = [BaseCallbackHandler()]
    await RerankCompressor(client=client).acompress_documents([Document("a")], QUERY, handlers)


@cases("called", [by_arerank, by_compressor], ids=lambda called: called.__name__)
def test_a_call_that_is_collected_ends_its_span(
    called: Callable[[RerankClient], Coroutine[Any, Any, None]],
) -> None:
    """A task that is collected ends its span too, though it is in another context by then."""

    async def scorer(query: str, documents: Sequence[str]) -> list[float]:
        began.set()
        await asyncio.Event().wait()
        return []

    async def main() -> None:
        tasks.append(asyncio.create_task(called(client)))
        await began.wait()

    client, tasks = RerankClient("mine", provider=Local(scorer=scorer)), list[Any]()
    began = asyncio.Event()
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # it says that a task was pending
    with telemetry() as told:
        loop.run_until_complete(main())
        loop.close()
        tasks.clear()
        gc.collect()
        span, said = told.only()

    assert said["error.type"] == "GeneratorExit"
    assert span.status.status_code is StatusCode.ERROR


class Failing(SpanProcessor):
    """A span processor with a mistake in it."""

    def __init__(self, when: str) -> None:
        self._when = when

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        """Raise, if it is to."""
        if self._when == "start":
            raise RuntimeError(QUERY)

    def on_end(self, span: ReadableSpan) -> None:
        """Raise, if it is to."""
        if self._when == "end":
            raise RuntimeError(QUERY)


@cases("when", ["start", "end"])
@cases("way", WAYS)
def test_a_listener_that_fails_does_not_fail_the_call(
    *, server: Server, caplog: pytest.LogCaptureFixture, way: str, when: str
) -> None:
    """The answer, or the call's own error, comes; a warning says where tracing failed."""
    server.plays(ranks_all, Reply(status=400))
    with telemetry() as told, client_of(server) as client:
        told.provider.add_span_processor(Failing(when))
        assert len(ranked(client, way, QUERY, TEXTS)) == 3
        with pytest.raises(RerankError):
            ranked(client, way, QUERY, TEXTS)
        assert not trace.get_current_span().get_span_context().is_valid
        points = told.points("gen_ai.client.operation.duration")

    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert len(warnings) == 2
    assert all(one.startswith("tracing failed: RuntimeError at ") for one in warnings)
    assert QUERY not in caplog.text
    assert len(points) == (2 if when == "end" else 0)


def of_scorer(message: str) -> RerankClient:
    """A client whose scorer raises."""

    def scorer(query: str, documents: Sequence[str]) -> list[float]:
        raise ValueError(message)

    return RerankClient("mine", provider=Local(scorer=scorer))


def of_http_client(message: str) -> RerankClient:
    """A client whose HTTP client raises what is no error of HTTP."""

    def respond(request: httpx.Request) -> httpx.Response:
        raise ValueError(message + str(dict(request.headers)))

    theirs = httpx.Client(transport=httpx.MockTransport(respond))
    return client_of("http://127.0.0.1:1", http_client=theirs)


@cases(
    ("client_that", "message", "shown_as"),
    [
        (of_scorer, "half \ud800 a pair", "half \ufffd a pair"),
        (of_scorer, f"no {DATA_URI} please", "no <image data> please"),
        (of_http_client, "sent ", None),
    ],
    ids=["surrogate", "image", "key"],
)
def test_the_message_of_an_error_is_one_that_a_span_can_hold(
    client_that: Callable[[str], RerankClient], message: str, shown_as: str | None
) -> None:
    """It can be encoded and has no image; that of an error that is not ours is left out."""
    with telemetry() as told:
        with pytest.raises((RerankError, ValueError)), client_that(message) as client:
            client.rerank(QUERY, TEXTS)
        span, _ = told.only()

    (event,) = span.events
    texts = [span.status.description, *(event.attributes or {}).values()]
    written = "\n".join(map(str, texts)).encode().decode()
    assert "ValueError" in written
    assert PIXELS not in written
    assert KEY not in written
    assert message not in written
    if shown_as is not None:
        assert written.count(shown_as) >= 3


def rows() -> Iterator[dict[str, Any]]:
    """Rows of many calls."""
    return ({"query": QUERY, "documents": ["red", "blue"]} for _ in range(5))


def many(client: RerankClient) -> None:
    """In threads."""
    list(client.rerank_many(rows(), max_concurrency=3))


def many_later(client: RerankClient) -> None:
    """In tasks, which begin when nobody is in the caller's span any more."""

    async def main() -> None:
        with trace.use_span(trace.INVALID_SPAN):
            async for _ in results:
                pass

    results = client.arerank_many(rows(), max_concurrency=3)
    asyncio.run(main())


BATCHES: list[RerankBatch] = []


def a_batch(client: RerankClient) -> None:
    """In the loop of a batch, which began in the span of somebody else."""
    if not BATCHES:
        BATCHES.append(RerankBatch(client=client))
    list(BATCHES[0].rows(rows()))


@cases("called", [many, many_later, a_batch], ids=lambda called: called.__name__)
def test_each_row_is_a_span_of_its_caller(called: Callable[[RerankClient], None]) -> None:
    """Each row of many calls is a span of its own, in that of whoever asked for it."""
    with telemetry() as told:
        for name in ("first", "second"):
            with trace.get_tracer("test").start_as_current_span(name):
                called(scored(2, 1))
        first, second = (told.named(name)[0] for name in ("first", "second"))
        spans = told.named("rerank ")

    assert len(spans) == 10
    assert [sum(inside(span, around) for span in spans) for around in (first, second)] == [5, 5]

    if called is not many_later:
        return  # threads may still be in a call, and a batch keeps its client
    with telemetry() as told:
        with trace.get_tracer("test").start_as_current_span("caller"), suppress(RerankError):
            called(RerankClient("m", provider=Together(api_key=KEY), max_request_bytes=1))
        (caller,) = told.named("caller")
        refused = told.named("rerank ")
    assert refused
    assert all(inside(span, caller) for span in refused)
    assert {span.status.status_code for span in refused} == {StatusCode.ERROR}


class Instrumentation(BaseCallbackHandler):
    """A handler of LangChain that has a span for each run, and does not make it current."""

    def __init__(self) -> None:
        self._spans: dict[Any, Any] = {}

    def get_span(self, run_id: Any) -> Any:
        """The span of a run."""
        return self._spans.get(run_id)

    def on_retriever_start(self, *_: Any, run_id: Any, **__: Any) -> None:
        """Begin a span."""
        self._spans[run_id] = trace.get_tracer("test").start_span("run")

    def on_retriever_end(self, *_: Any, run_id: Any, **__: Any) -> None:
        """End it."""
        self._spans.pop(run_id).end()


class OfAnotherKind(BaseCallbackHandler):
    """A handler whose method of this name is for something else."""

    def get_span(self) -> None:
        """Nothing of a run."""


def compress(way: str, **options: Any) -> None:
    """Rerank by LangChain's adapter."""
    compressor, documents = RerankCompressor(client=scored(2, 1)), [Document("a"), Document("b")]
    if way == "sync":
        compressor.compress_documents(documents, QUERY, **options)
    else:
        asyncio.run(compressor.acompress_documents(documents, QUERY, **options))


def postprocess(way: str) -> None:
    """Rerank by LlamaIndex's adapter."""
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in ("red", "blue")]
    reranker = RerankPostprocessor(client=scored(2, 1))
    if way == "sync":
        reranker.postprocess_nodes(nodes, query_str=QUERY)
    else:
        asyncio.run(reranker.apostprocess_nodes(nodes, query_str=QUERY))


def run_pipeline(way: str) -> None:
    """Rerank by Haystack's component."""
    pipeline = Pipeline()
    pipeline.add_component("ranker", RerankRanker(client=scored(2, 1)))
    documents = [HaystackDocument(content=text) for text in ("red", "blue")]
    inputs = {"ranker": {"query": QUERY, "documents": documents}}
    if way == "sync":
        pipeline.run(inputs)
    else:
        asyncio.run(pipeline.run_async(inputs))


@cases("way", WAYS)
def test_a_call_joins_the_trace_of_its_run(way: str) -> None:
    """In LangChain the span nests in the one that a handler has for the run, where one has it."""
    with telemetry() as told:
        compress(way, callbacks=[Instrumentation()])
        span, _ = told.only()
        (run,) = told.named("run")
    assert inside(span, run)

    with telemetry() as told:
        compress(way, callbacks=[OfAnotherKind()])
        span, _ = told.only()
    assert span.parent is None


@cases(
    ("framework", "instrumentor", "calls", "around", "kinds"),
    [
        (
            "langchain",
            "LangChainInstrumentor",
            compress,
            "RerankCompressor",
            ("RETRIEVER", "RERANKER"),
        ),
        (
            "llama_index",
            "LlamaIndexInstrumentor",
            postprocess,
            "RerankPostprocessor",
            ("RERANKER", None),
        ),
        ("haystack", "HaystackInstrumentor", run_pipeline, "RerankRanker", ("RERANKER", None)),
    ],
    ids=["langchain", "llama-index", "haystack"],
)
@cases("way", WAYS)
def test_one_trace_with_one_reranker(
    *,
    framework: str,
    instrumentor: str,
    calls: Callable[[str], None],
    around: str,
    kinds: tuple[str | None, str | None],
    way: str,
) -> None:
    """Under OpenInference's instrumentation of a framework a trace has one RERANKER.

    The client's span is in that of the framework; where this one is a RERANKER, it has the
    documents, and the client's has usage and request id.
    """
    module = pytest.importorskip(f"openinference.instrumentation.{framework}")
    theirs = getattr(module, instrumentor)()
    with telemetry() as told, ExitStack() as stack:
        theirs.instrument(tracer_provider=told.provider)
        if not theirs.is_instrumented_by_opentelemetry:
            pytest.skip(f"the instrumentation is for another version of {framework}")
        stack.callback(theirs.uninstrument)
        calls(way)
        span, said = told.only()
        (outer,) = told.named(around)
        every = [(one.attributes or {}).get("openinference.span.kind") for one in told.spans]

    assert inside(span, outer)
    assert len({one.context.trace_id for one in told.spans if one.context}) == 1
    assert every.count("RERANKER") == 1
    assert ((outer.attributes or {})["openinference.span.kind"], said.get(written.KIND)) == kinds
    assert (OUTPUT.format(0) in said) is (kinds[1] == "RERANKER")
    assert said["rerank.documents"] == 2


def test_the_names_are_those_of_openinference() -> None:
    """The literals are what the packages of OpenInference call them."""
    names = pytest.importorskip("openinference.semconv.trace")
    config = pytest.importorskip("openinference.instrumentation.config")
    kinds = names.OpenInferenceSpanKindValues
    span, reranker = names.SpanAttributes, names.RerankerAttributes
    document = names.DocumentAttributes
    assert [
        (span.OPENINFERENCE_SPAN_KIND, kinds.RERANKER.value),
        (span.INPUT_VALUE, span.OUTPUT_VALUE, span.OUTPUT_MIME_TYPE),
        (reranker.RERANKER_QUERY, reranker.RERANKER_MODEL_NAME, reranker.RERANKER_TOP_K),
        (reranker.RERANKER_INPUT_DOCUMENTS, reranker.RERANKER_OUTPUT_DOCUMENTS),
        (
            document.DOCUMENT_CONTENT,
            document.DOCUMENT_ID,
            document.DOCUMENT_SCORE,
            document.DOCUMENT_METADATA,
        ),
    ] == [
        (written.KIND, written.RERANKER),
        (written.INPUT_VALUE, written.OUTPUT_VALUE, written.OUTPUT_TYPE),
        (written.QUERY, written.MODEL_NAME, written.TOP_K),
        (written.INPUT_DOCUMENTS, written.OUTPUT_DOCUMENTS),
        (written.CONTENT, written.ID, written.SCORE, written.METADATA),
    ]
    counts = {
        span.LLM_TOKEN_COUNT_PROMPT: "prompt_tokens",
        span.LLM_TOKEN_COUNT_COMPLETION: "completion_tokens",
        span.LLM_TOKEN_COUNT_TOTAL: "total_tokens",
        span.LLM_COST_TOTAL: "cost",
    }
    assert counts.items() <= written.TOKENS.items()
    hiding = (*written.HIDE_INPUTS, *written.HIDE_OUTPUTS, written.HIDE_DOCUMENTS)
    assert all(getattr(config, name) == name for name in hiding)
    assert config.REDACTED_VALUE == written.REDACTED
