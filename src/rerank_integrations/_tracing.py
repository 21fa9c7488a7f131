"""Records a span and metrics for each call, if the OpenTelemetry API is loaded in the process.

The attribute names are those of OpenInference and of the GenAI semantic conventions, as literals,
so neither package is needed:
https://github.com/Arize-ai/openinference/blob/main/spec/semantic_conventions.md
https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, lru_cache
from importlib import import_module
from types import TracebackType
from typing import Any, NamedTuple

import orjson

from rerank_integrations import __version__
from rerank_integrations._request import Chunk, RequestPlan
from rerank_integrations.errors import RerankError
from rerank_integrations.fields import IMAGE, TEXT, fields_of, image_of
from rerank_integrations.models import RerankResponse, Usage, replace_surrogates, without_image_data
from rerank_integrations.providers._validation import finite

SCOPE = "rerank_integrations"
KIND = "openinference.span.kind"
RERANKER = "RERANKER"
QUERY = "reranker.query"
MODEL_NAME = "reranker.model_name"
TOP_K = "reranker.top_k"
INPUT_DOCUMENTS = "reranker.input_documents"
OUTPUT_DOCUMENTS = "reranker.output_documents"
CONTENT, ID, SCORE, METADATA = (
    f"document.{part}" for part in ("content", "id", "score", "metadata")
)
INPUT_VALUE = "input.value"
OUTPUT_VALUE, OUTPUT_TYPE = "output.value", "output.mime_type"
TOKENS = {
    "llm.token_count.prompt": "prompt_tokens",
    "llm.token_count.completion": "completion_tokens",
    "llm.token_count.total": "total_tokens",
    "llm.cost.total": "cost",
    "rerank.search_units": "search_units",
}
HIDE_INPUTS = ("OPENINFERENCE_HIDE_INPUTS", "OPENINFERENCE_HIDE_INPUT_TEXT")
HIDE_OUTPUTS = ("OPENINFERENCE_HIDE_OUTPUTS", "OPENINFERENCE_HIDE_OUTPUT_TEXT")
HIDE_DOCUMENTS = "OPENINFERENCE_HIDE_RETRIEVAL_DOCUMENTS"
REDACTED = "__REDACTED__"
DURATION = "gen_ai.client.operation.duration"
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105  # no secret
_OPERATION, _PROVIDER = "gen_ai.operation.name", "gen_ai.provider.name"
_ASKED, _ANSWERED = "gen_ai.request.model", "gen_ai.response.model"
# the buckets that the conventions recommend
_SECONDS = tuple(0.01 * 2**power for power in range(14))
_COUNTS = tuple(float(4**power) for power in range(14))
# OpenTelemetry keeps 128 attributes of a span where nothing else is said, and drops the oldest
_USUAL_LIMIT = 128
_LIMITS = ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT")
_ESSENTIALS = 28  # attributes that say more than a document does
_MOST_OF_DOCUMENTS = 1000  # attributes: exporters refuse spans of many megabytes
_MOST_CHARACTERS = 2000  # of one content; there is no limit by default
_MOST_IN_TEXT = 100  # results that are told as one text
_PARTS = 4  # attributes of an input that is shown whole
_SHORTEST_WAIT = 0.01  # seconds; a busy rate limit is asked again after less
_SUPPRESSED = "suppress_instrumentation"  # a key in the context, by which tracing is paused
_TRACE, _METRICS = "opentelemetry.trace", "opentelemetry.metrics"
_CONTEXT = "opentelemetry.context"
_module = cache(import_module)
_recorded: ContextVar[Any] = ContextVar("rerank_span", default=None)
_reranks: ContextVar[str] = ContextVar("rerank_inside", default="")
_made: dict[str, tuple[object, Any]] = {}  # what is used, and the provider that it is of
log = logging.getLogger("rerank_integrations")


class _Guard:
    """Suppresses errors of tracing, such as a span processor that raises, and logs them."""

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, _: object, where: TracebackType | None
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        place = traceback.extract_tb(where)[-1]  # a message might quote the span
        log.warning("tracing failed: %s at %s:%s", kind.__name__, place.filename, place.lineno)
        return True


guard = _Guard()


class Subject(NamedTuple):
    """What is known about a call before it begins.

    Attributes:
        plan: the call.
        started: when the caller called, in nanoseconds since the epoch.
        context: the parent context of the span; None for the current context.
    """

    plan: RequestPlan
    started: int
    context: Any = None


def begin(subject: Subject) -> Recording | None:
    """Start recording a call; None if the OpenTelemetry API is not loaded, or is suppressed."""
    if _TRACE not in sys.modules and _METRICS not in sys.modules:
        return None  # so nobody has set a provider; to import it would take longer than a call
    if _module(_CONTEXT).get_value(_SUPPRESSED, subject.context):
        return None
    with guard:
        return Recording(subject)
    return None


def refuse(subject: Subject, error: BaseException) -> None:
    """Record a call that failed before it began to send."""
    record = begin(subject)
    if record is not None:
        record.fail(error)


def current_context() -> Any:
    """Return the current context; None if the OpenTelemetry API is not loaded."""
    if _TRACE not in sys.modules:
        return None
    return _module(_CONTEXT).get_current()


def add_event(name: str, attributes: Mapping[str, Any]) -> None:
    """Add an event to the span of the current call, without attributes that are None."""
    span = _recorded.get()
    if span is not None and span.is_recording():
        span.add_event(name, {key: said for key, said in attributes.items() if said is not None})


def add_wait(seconds: float) -> None:
    """Add an event for a wait before a request."""
    if seconds >= _SHORTEST_WAIT:
        add_event("rerank.wait", {"rerank.seconds": seconds})


@contextmanager
def as_current(span: Any) -> Iterator[None]:
    """Make a foreign span the current one within the context manager; None changes nothing."""
    if span is None:
        yield
        return
    with _module(_TRACE).use_span(span, record_exception=False, set_status_on_exception=False):
        yield


@contextmanager
def inside_reranker(framework: str) -> Iterator[None]:
    """Mark the span that OpenInference creates for a framework's adapter as a RERANKER span.

    OpenInference itself sets its kind only when the span ends.
    """
    token = _reranks.set(f"openinference.instrumentation.{framework}")
    try:
        yield
    finally:
        _reranks.reset(token)


class Recording:
    """The span of a call, current until it ends, and the metrics of the call."""

    def __init__(self, subject: Subject) -> None:
        self._plan, self._started = subject.plan, subject.started
        self._span: Any = None
        self._is_inner = False
        self._tokens: list[tuple[Any, Any]] = []
        if _TRACE not in sys.modules:
            return
        trace = _module(_TRACE)
        self._is_inner = _is_inside_reranker(trace, subject.context)
        self._setup = _setup(trace)
        span = self._setup.tracer.start_span(
            f"rerank {self._plan.options.model}",
            context=subject.context,
            kind=trace.SpanKind.CLIENT,
            attributes=self._named(),  # a sampler may look at them
            start_time=subject.started,
        )
        if not span.get_span_context().is_valid:
            return  # there is no tracer provider
        # one that is not recorded is made current too, else those of its requests are exported
        context = _module(_CONTEXT)
        token = context.attach(trace.set_span_in_context(span, subject.context))
        self._tokens.append((context.detach, token))
        if span.is_recording():
            self._span = span
            self._tokens.append((_recorded.reset, _recorded.set(span)))

    def end(self, response: Any) -> None:
        """Record that the call has succeeded."""
        with guard:
            if self._span is not None:
                said = {
                    _ANSWERED: response.model,
                    "gen_ai.response.id": response.id,
                    "rerank.served_by": response.provider,
                    "rerank.request_id": response.request_id,
                    "rerank.attempts": len(response.attempts),
                    "rerank.cache_hits": response.cache_hits or None,
                    **_usage(response.usage),
                }
                self._describe(said, response)
        self._close()
        self._measure(response.usage, {_ANSWERED: response.model})

    def fail(self, error: BaseException) -> None:
        """Record that the call has failed or was cancelled."""
        kind = type(error).__name__
        with guard:
            if self._span is not None:
                said = {
                    "error.type": kind,
                    "http.response.status_code": getattr(error, "status_code", None) or None,
                    "rerank.request_id": getattr(error, "request_id", None),
                }
                if isinstance(error, RerankError):
                    said["rerank.attempts"] = len(error.attempts)
                self._describe(said)
                self._tell(error, kind)
        self._close()
        self._measure(Usage(), {"error.type": kind})

    def _tell(self, error: BaseException, kind: str) -> None:
        """Record an error, as far as its text may be shown."""
        text = kind
        # a server's message may repeat what was sent; one that is not ours may repeat a key
        shows = self._plan.options.trace_content and self._setup.inputs
        if shows and isinstance(error, RerankError):
            message, stack = map(_clean, (str(error), "".join(traceback.format_exception(error))))
            text = f"{kind}: {message}"
            own = {"exception.message": message, "exception.stacktrace": stack}
            self._span.record_exception(error, own)
        else:
            self._span.add_event("exception", {"exception.type": kind})
        self._span.set_status(_module(_TRACE).StatusCode.ERROR, text)

    def _close(self) -> None:
        with suppress(ValueError):  # a task that is closed as garbage ends in another context
            for leave, token in reversed(self._tokens):
                leave(token)
        if self._span is not None:
            with guard:
                self._span.end()

    def _named(self) -> dict[str, Any]:
        """Return the attributes that name the call, in a span and in a metric."""
        options = self._plan.options
        return {_OPERATION: "rerank", _PROVIDER: options.provider.name, _ASKED: options.model}

    def _describe(self, said: Mapping[str, Any], response: RerankResponse | None = None) -> None:
        """Set all attributes, the documents first, because those set last are dropped last."""
        plan, setup = self._plan, self._setup
        found: dict[str, Any] = {}
        room = setup.room(self._span)
        if not self._is_inner:
            results = () if response is None else response.results
            if plan.options.trace_content and setup.documents:
                found = _documents(plan, results, setup, room)
            if response is not None:
                found |= _output_value(results, found) if setup.outputs else _NO_OUTPUT
        if plan.options.trace_content:
            query = _shown([plan.query])[0] if setup.inputs else REDACTED
            found |= {QUERY: query} if self._is_inner else {INPUT_VALUE: query, QUERY: query}
        found["rerank.documents"] = len(plan.documents)
        found |= said
        if len(found) > room:  # those that were set at the start are the first to be dropped
            found |= self._named()
        found[MODEL_NAME], found[TOP_K] = plan.options.model, plan.options.top_n
        if not self._is_inner:
            found[KIND] = RERANKER
        self._span.set_attributes({key: one for key, one in found.items() if one is not None})

    def _measure(self, usage: Usage, said: Mapping[str, Any]) -> None:
        """Record the duration of the call and its tokens."""
        if _METRICS not in sys.modules:
            return
        with guard:
            if (made := _instruments(_module(_METRICS))) is None:
                return
            duration, tokens = made
            own = {**self._named(), **said}
            duration.record(max(0, time.time_ns() - self._started) / 1e9, own)
            counts = (("input", _input_tokens(usage)), ("output", usage.completion_tokens))
            for kind, count in counts:
                if count is not None:
                    tokens.record(int(count), {**own, "gen_ai.token.type": kind})


class _Setup(NamedTuple):
    """The tracer, with the environment's settings for spans when it was created."""

    tracer: Any
    inputs: bool
    outputs: bool
    documents: bool
    limit: int

    def room(self, span: Any) -> int:
        """Return how many attributes of documents fit into the span besides the essential ones."""
        # a limit that was set in code; the SDK's spans have it, though not as a public attribute
        limit = getattr(getattr(span, "_limits", None), "max_span_attributes", self.limit)
        most = _MOST_OF_DOCUMENTS
        return most if limit is None else max(0, min(most, limit - _ESSENTIALS))


def _setup(trace: Any) -> _Setup:
    """Return the tracer of the current provider, which a test may replace."""
    provider = getattr(trace, "_TRACER_PROVIDER", None)  # its getter takes longer than a span
    made = _made.get(_TRACE)
    if made is None or made[0] is not provider:
        said = (os.environ.get(name, "").strip() for name in _LIMITS)
        setup = _Setup(
            trace.get_tracer(SCOPE, __version__),
            not _is_set(*HIDE_INPUTS),
            not _is_set(*HIDE_OUTPUTS),
            not _is_set(HIDE_DOCUMENTS),
            next((int(one) for one in said if one.isdecimal()), _USUAL_LIMIT),
        )
        made = _made[_TRACE] = (provider, setup)
    found: _Setup = made[1]
    return found


def _is_set(*names: str) -> bool:
    return any(os.environ.get(name, "").lower() in ("true", "1") for name in names)


def _is_inside_reranker(trace: Any, context: Any) -> bool:
    """Return whether the parent span is a RERANKER span of OpenInference."""
    around = trace.get_current_span(context)
    scope = getattr(getattr(around, "instrumentation_scope", None), "name", "")
    if not scope.startswith("openinference."):
        return False
    return scope == _reranks.get() or (around.attributes or {}).get(KIND) == RERANKER


def _documents(
    plan: RequestPlan, results: Sequence[Any], setup: _Setup, room: int
) -> dict[str, Any]:
    """Return as many attributes of documents as fit: outputs first, then inputs in order."""
    found: dict[str, Any] = {}
    documents = plan.documents
    texts = _Texts(plan)
    if setup.outputs:
        kept = results[: room // 2]
        room -= 2 * len(kept)
        contents = texts.of(one.index for one in kept)
        scores = [one.relevance_score for one in kept]
        for part, values in ((CONTENT, contents), (SCORE, scores)):
            found.update(zip(_keys(OUTPUT_DOCUMENTS, part, len(kept)), values, strict=True))
    if setup.inputs:
        count = min(len(documents), room)
        contents = texts.of(range(count))
        found.update(zip(_keys(INPUT_DOCUMENTS, CONTENT, count), contents, strict=True))
    if len(documents) * _PARTS + len(results) <= room:
        found |= texts.details(results, setup)
    return found


class _Texts:
    """The texts of the documents, as a span shows them."""

    def __init__(self, plan: RequestPlan) -> None:
        self._documents = plan.documents
        self._whole = Chunk(plan.options, plan.documents, (), ())

    def of(self, indexes: Iterable[int]) -> list[str]:
        """Return the ranked texts of documents, with `[image]` in place of an image."""
        documents = self._documents
        return _shown(
            [
                one if type(one := documents[index]) is str else self._sent(index, one)
                for index in indexes
            ]
        )

    def _sent(self, index: int, document: Any) -> str:
        try:
            text = self._whole.sent_text(index)[:_MOST_CHARACTERS]
            image = image_of(document, fields_of(document))
        except RerankError:  # it was left out
            return f"<{type(document).__name__}>"
        return text if image is None else f"{text} [image]".lstrip()

    def details(self, results: Sequence[Any], setup: _Setup) -> dict[str, Any]:
        """Return attributes with the ids, retrieval scores and fields of the documents."""
        found: dict[str, Any] = {}
        for index, document in enumerate(self._documents if setup.inputs else ()):
            if type(document) is str:
                continue
            at = f"{INPUT_DOCUMENTS}.{index}."
            found[at + ID] = self._own_id(index)
            found[at + SCORE] = finite(getattr(document, "retrieval_score", None))
            with suppress(Exception):  # a field that is not ranked may be anything
                found[at + METADATA] = _metadata(document)
        for place, result in enumerate(results if setup.outputs else ()):
            found[f"{OUTPUT_DOCUMENTS}.{place}.{ID}"] = self._own_id(result.index)
        return found

    def _own_id(self, index: int) -> str | None:
        own = _fields(self._documents[index]).get("id")
        return _shown([str(own)])[0] if isinstance(own, str | int) else None


_APART = (TEXT, IMAGE, "id")  # what has an attribute of its own, or none


def _fields(document: Any) -> Mapping[Any, Any]:
    if isinstance(document, Mapping):
        return document
    return getattr(document, "fields", None) or {}


def _metadata(document: Any) -> str | None:
    """Return the other fields of a document as JSON; None if there are none, or too many."""
    rest = {name: value for name, value in _fields(document).items() if name not in _APART}
    # not by `json`, whose NaN no tool but Python's own reads
    told = orjson.dumps(without_image_data(rest), _outline, orjson.OPT_NON_STR_KEYS).decode()
    return told if rest and len(told) <= _MOST_CHARACTERS else None


def _outline(value: Any) -> str:
    return f"<{type(value).__name__}>"


_NO_OUTPUT = {OUTPUT_VALUE: REDACTED}


def _output_value(results: Sequence[Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """Return the results as one text, for tools that do not read document attributes."""
    keys = _keys(OUTPUT_DOCUMENTS, CONTENT, min(len(results), _MOST_IN_TEXT))
    told = [
        {"index": one.index, "relevance_score": one.relevance_score, "document": shown[key]}
        if key in shown
        else {"index": one.index, "relevance_score": one.relevance_score}
        for one, key in zip(results, keys, strict=False)
    ]
    return {OUTPUT_VALUE: orjson.dumps(told).decode(), OUTPUT_TYPE: "application/json"}


def _usage(usage: Usage) -> dict[str, Any]:
    found: dict[str, Any] = {key: getattr(usage, name) for key, name in TOKENS.items()}
    found["gen_ai.usage.input_tokens"] = _input_tokens(usage)
    found["gen_ai.usage.output_tokens"] = usage.completion_tokens
    return found


def _input_tokens(usage: Usage) -> float | None:
    return usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens


def _shown(texts: Sequence[str]) -> list[str]:
    """Truncate texts to the length that a span shows, and remove images."""
    cut = [text[:_MOST_CHARACTERS] for text in texts]
    joined = "".join(cut)
    if ";" in joined and "64," in joined:  # of ";base64,", in whatever case
        cut = list(map(without_image_data, cut))
    # half of a surrogate pair: an exporter could not encode it
    return cut if joined.isascii() else list(map(replace_surrogates, cut))


def _clean(text: str) -> str:
    """Remove images and lone surrogates from a text, without truncating it."""
    return replace_surrogates(without_image_data(text))


@lru_cache(256)
def _keys(documents: str, part: str, count: int) -> tuple[str, ...]:
    return tuple(f"{documents}.{index}.{part}" for index in range(count))


def _instruments(metrics: Any) -> tuple[Any, Any] | None:
    """Return the histograms of the current provider; None without one."""
    provider = getattr(getattr(metrics, "_internal", None), "_METER_PROVIDER", metrics)
    if provider is None:
        return None
    made = _made.get(_METRICS)
    if made is None or made[0] is not provider:
        meter = metrics.get_meter(SCOPE, __version__)
        pair = (
            meter.create_histogram(
                DURATION,
                unit="s",
                description="GenAI operation duration.",
                explicit_bucket_boundaries_advisory=_SECONDS,
            ),
            meter.create_histogram(
                TOKEN_USAGE,
                unit="{token}",
                description="Number of input and output tokens used.",
                explicit_bucket_boundaries_advisory=_COUNTS,
            ),
        )
        made = _made[_METRICS] = (provider, pair)
    found: tuple[Any, Any] = made[1]
    return found
