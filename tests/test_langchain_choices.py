"""A threshold, going on after a failure, the raw response, and errors of both families."""

from __future__ import annotations

import logging
import pickle
import re
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import httpx
import pytest
from langchain_core import exceptions
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document

from calls import client_of
from cases import cases
from langchain_support import (
    QUERY,
    AsyncTracer,
    Tracer,
    Way,
    ids,
    local,
    openrouter,
    scoring,
    three,
)
from loopback import Fault, Reply, Server, Step, ranking
from rerank_integrations import (
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    ConfigurationError,
    InvalidRequestError,
    Local,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    ProviderTimeoutError,
    RateLimitError,
    RerankClient,
    RerankDocument,
    RerankError,
    RerankTimeoutError,
    ResponseError,
    ScorerError,
    ServerError,
    ServiceUnavailableError,
    StatusError,
    TransportError,
)
from rerank_integrations.langchain import RerankCompressor, _with_langchains_type

EVENT = "rerank_passthrough"
with_their_types = pytest.mark.skipif(
    not hasattr(exceptions, "ModelError"), reason="langchain-core has these types from 1.6 on"
)


class Event(NamedTuple):
    """A custom event, as a handler is told."""

    name: str
    data: Any
    run_id: Any


class Events(BaseCallbackHandler):
    """Keeps every custom event."""

    def __init__(self) -> None:
        self.seen: list[Event] = []

    def on_custom_event(self, name: str, data: Any, *, run_id: Any, **_: Any) -> None:
        """Keep it."""
        self.seen.append(Event(name, data, run_id))


def once(server: Server | str, gateway: str = "openrouter", **arguments: Any) -> RerankCompressor:
    """A compressor that asks the server once and never again."""
    return RerankCompressor(client=client_of(server, gateway, max_retries=0), **arguments)


@cases(
    ("threshold", "kept"),
    [(None, "231"), (-1, "231"), (0.25, "231"), (0.5, "23"), (0.500001, "2"), (0.9, "2"), (1, "")],
)
def test_a_threshold_is_the_least_score_to_keep(
    way: Way, server: Server, threshold: float | None, kept: str
) -> None:
    """A document whose score is exactly the threshold is kept, and one below is not."""
    server.plays(ranking(0.25, 0.9, 0.5))

    assert ids(way.compress(openrouter(server, score_threshold=threshold), three())) == [*kept]


def test_a_threshold_and_a_top_n(way: Way) -> None:
    """Of the top_n best those that reach the threshold are kept."""
    client = scoring(0.25, 0.9, 0.5)
    for top_n, threshold, kept in [(1, 0.5, ["2"]), (2, 0.6, ["2"]), (3, 0.3, ["2", "3"])]:
        compressor = RerankCompressor(client=client, top_n=top_n, score_threshold=threshold)
        assert ids(way.compress(compressor, three())) == kept


def test_the_threshold_holds_for_the_response(way: Way) -> None:
    """rerank() leaves out results below the threshold, as RerankClient does."""
    compressor = RerankCompressor(client=scoring(0.25, 0.9, 0.5), score_threshold=0.6)

    assert [result.index for result in way.rerank(compressor, three())] == [1]


FAILURES: dict[str, Step | None] = {
    "refused": None,
    "dropped": Fault.DROP,
    "500": Reply(status=500),
    "401": Reply(status=401),
    "400": Reply(status=400),
    "no JSON": Reply(b"<html>"),
    "a wrong index": Reply({"results": [{"index": 9, "relevance_score": 1}]}),
}
failures = cases("step", FAILURES.values(), ids=FAILURES)


def failing(server: Server, nobody: str, step: Step | None, **arguments: Any) -> RerankCompressor:
    """A compressor whose calls fail in that way, and that goes on."""
    if step is not None:
        server.plays(step)
    return once(nobody if step is None else server, on_error="passthrough", **arguments)


@failures
def test_a_failure_can_be_passed_over(
    way: Way, server: Server, nobody: str, step: Step | None
) -> None:
    """With on_error="passthrough" the first top_n documents come back, the very same objects."""
    documents = three()

    kept = way.compress(failing(server, nobody, step, top_n=2), documents)

    assert [id(document) for document in kept] == [id(document) for document in documents[:2]]
    assert documents == three()


@failures
def test_a_failure_is_raised_otherwise(
    way: Way, server: Server, nobody: str, step: Step | None
) -> None:
    """Without on_error="passthrough" a failure is never swallowed."""
    compressor = failing(server, nobody, step).model_copy(update={"on_error": "raise"})

    with pytest.raises(RerankError):
        way.compress(compressor, three())


@cases(("arguments", "kept"), [({}, "12"), ({"top_n": None}, "123"), ({"top_n": 50}, "123")])
def test_how_many_pass(way: Way, server: Server, arguments: dict[str, Any], kept: str) -> None:
    """Where the adapter has no top_n, that of the client says how many pass; None is all."""
    server.plays(Reply(status=500))
    client = client_of(server, max_retries=0, top_n=2)
    compressor = RerankCompressor(client=client, on_error="passthrough", **arguments)

    assert ids(way.compress(compressor, three())) == [*kept]


def test_a_threshold_does_not_hold_for_what_passes(way: Way, server: Server) -> None:
    """Documents that pass without a score are not measured by the threshold."""
    server.plays(Reply(status=500))
    compressor = once(server, on_error="passthrough", score_threshold=0.5)

    assert ids(way.compress(compressor, three())) == ["1", "2", "3"]


def test_passing_is_logged_each_time(
    way: Way, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """Each failure that is passed over is a warning on our logger that says what failed."""
    server.plays(Reply({"error": {"message": "no capacity", "code": 500}}, 500))
    compressor = once(server, on_error="passthrough")
    with caplog.at_level(logging.WARNING, "rerank_integrations"):
        for _ in range(2):
            way.compress(compressor, three())

    logged = [record for record in caplog.records if record.name == "rerank_integrations"]
    assert [record.levelname for record in logged] == ["WARNING", "WARNING"]
    assert all("no capacity" in record.getMessage() for record in logged)


def test_a_success_logs_nothing(way: Way, server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Without a failure there is no warning and no event."""
    events = Events()
    with caplog.at_level(logging.WARNING, "rerank_integrations"):
        way.compress(once(server, on_error="passthrough"), three(), callbacks=[events])

    assert not caplog.records
    assert not events.seen


@cases("tracer", [Tracer(), AsyncTracer()], ids=["tracer", "async tracer"])
def test_passing_shows_in_the_trace(way: Way, server: Server, tracer: Any) -> None:
    """A failure that is passed over is an event of the run, and the run shows the error."""
    server.plays(Reply({"error": {"message": "no capacity", "code": 500}}, 500))
    events = Events()
    tracer.runs.clear()

    way.compress(once(server, on_error="passthrough"), three(), callbacks=[events, tracer])

    run = tracer.run()
    (event,) = events.seen
    assert (event.name, event.run_id) == (EVENT, run.id)
    assert "no capacity" in event.data["error"]
    assert "no capacity" in run.error
    assert run.end_time is not None


async def test_passing_shows_in_a_stream_of_events(server: Server) -> None:
    """A chain's astream_events tells that a failure was passed over."""
    server.plays(Reply(status=500))
    step = once(server, on_error="passthrough").as_runnable()
    stream = step.astream_events({"query": QUERY, "documents": three()}, version="v2")

    told = [event["name"] async for event in stream if event["event"] == "on_custom_event"]

    assert told == [EVENT]


def test_a_wrong_argument_is_raised_all_the_same(way: Way, server: Server) -> None:
    """A query without text is an error also with on_error="passthrough"."""
    with pytest.raises(InvalidRequestError):
        way.compress(once(server, on_error="passthrough"), [Document("text")], "")
    assert not server.received


def test_a_closed_client_is_an_own_mistake(way: Way, server: Server) -> None:
    """A client that was closed is an error also with on_error="passthrough"."""
    client = client_of(server)
    client.close()

    with pytest.raises(ConfigurationError, match="closed"):
        way.compress(RerankCompressor(client=client, on_error="passthrough"), three())


def test_the_raw_response_is_never_made_up(way: Way, server: Server) -> None:
    """rerank() raises also with on_error="passthrough", since it could not give scores."""
    server.plays(Reply(status=500))

    with pytest.raises(ServerError):
        way.rerank(once(server, on_error="passthrough"), three())


def test_the_raw_response(way: Way, server: Server) -> None:
    """rerank() takes documents first and gives the whole response."""
    server.plays(
        ranking(
            0.25,
            0.9,
            0.5,
            id="gen-1",
            provider="Cohere",
            usage={"search_units": 1, "cost": 0.001},
            headers={"X-Generation-Id": "request-1"},
        )
    )
    documents = three()

    response = way.rerank(openrouter(server, top_n=2), documents, QUERY)

    assert [(r.index, r.relevance_score) for r in response] == [(1, 0.9), (2, 0.5)]
    assert all(result.document is documents[result.index] for result in response)
    assert (response.id, response.request_id) == ("gen-1", "request-1")
    assert response.usage.counts() == {"search_units": 1, "cost": 0.001}


def test_a_result_keeps_what_else_the_provider_says(way: Way, server: Server) -> None:
    """The spans, the text that was sent and the extra keys of a result come with it."""
    span = {"start": 2, "end": 5, "score": 0.8}
    result = {"index": 1, "relevance_score": 0.9, "relevant_spans": [span], "tokens": 7}
    server.plays(Reply({"results": [result]}))

    (found,) = way.rerank(openrouter(server, top_n=1), three())

    assert [(one.start, one.end) for one in found.spans] == [(2, 5)]
    assert found.sent_text == three()[1].page_content
    assert found.extra == {"tokens": 7}


def test_the_raw_response_of_all_kinds_of_documents(way: Way, server: Server) -> None:
    """rerank() takes LangChain's documents and everything that a client takes, mixed."""
    documents: list[Any] = [
        Document("a", metadata={"image": "https://example.org/a.png"}),
        "b",
        {"title": "c"},
        RerankDocument(text="d"),
        "b",
    ]

    response = way.rerank(openrouter(server), documents)

    assert sorted(result.index for result in response) == [0, 1, 2, 3, 4]
    assert all(result.document is documents[result.index] for result in response)
    assert server.received[0].body["documents"] == [
        {"text": "a", "image": "https://example.org/a.png"},
        "b",
        "c",
        "d",
        "b",
    ]


def test_the_raw_response_for_nothing(way: Way, server: Server) -> None:
    """rerank() gives an empty response for an empty list, and sends nothing."""
    assert len(way.rerank(openrouter(server), [])) == 0
    assert not server.received


def test_the_raw_response_says_what_was_skipped(way: Way) -> None:
    """rerank() names the index of each blank document in the caller's list."""
    response = way.rerank(local(), [Document(""), Document("red"), " "])

    assert response.skipped == (0, 2)
    assert [result.index for result in response] == [1]


@cases(("top_n", "kept"), [(2, 2), (None, 3)])
def test_top_n_of_a_call_wins(way: Way, top_n: int | None, kept: int) -> None:
    """top_n of rerank() holds for that call alone; None is all."""
    compressor = local(top_n=1)

    assert len(way.rerank(compressor, three(), top_n=top_n)) == kept
    assert len(way.rerank(compressor, three())) == 1


def test_every_option_of_a_client_can_be_given_to_a_call(way: Way, server: Server) -> None:
    """rerank() takes what the client's takes: another model, headers, body keys, retries."""
    compressor = openrouter(server)

    way.rerank(
        compressor,
        three(),
        model="other",
        extra_headers={"X-A": "1"},
        extra_body={"a": 1},
        max_retries=0,
        timeout=5.0,
        deadline=9.0,
    )
    way.rerank(compressor, three())

    first, second = server.received
    assert (first.body["model"], first.body["a"], first.headers["x-a"]) == ("other", 1, "1")
    assert second.body.keys() == {"model", "query", "documents"}
    assert second.body["model"] == "m"


@cases(
    ("arguments", "cure"),
    [
        ({"topn": 1}, "topn"),
        ({"top_n": 0}, "top_n"),
        ({"rank_fields": "title"}, "rank_fields"),
        ({"documents": QUERY, "query": three()}, "query|documents"),
        ({"query": ""}, "query"),
        ({"documents": QUERY}, "documents"),
        ({"documents": three()[0]}, "documents"),
        ({"documents": {"title": "t"}}, "documents"),
        ({"documents": 7}, "documents"),
        ({"documents": [7]}, "not int"),
    ],
)
def test_a_wrong_call_is_refused(
    way: Way, server: Server, arguments: dict[str, Any], cure: str
) -> None:
    """rerank() refuses what could not work, says the cure, and sends nothing."""
    with pytest.raises((InvalidRequestError, ConfigurationError), match=cure):
        way.rerank(openrouter(server), **({"documents": three()} | arguments))
    assert not server.received


class Case(NamedTuple):
    """A failure, our class for it, the name of LangChain's, and whether to try again."""

    step: Step | None
    kind: type[RerankError]
    theirs: str
    again: bool


CASES = {
    "400": Case(Reply(status=400), BadRequestError, "ModelInvalidRequestError", again=False),
    "401": Case(Reply(status=401), AuthenticationError, "ModelAuthenticationError", again=False),
    "402": Case(Reply(status=402), PaymentRequiredError, "ModelError", again=False),
    "403": Case(
        Reply(status=403), PermissionDeniedError, "ModelPermissionDeniedError", again=False
    ),
    "404": Case(Reply(status=404), NotFoundError, "ModelNotFoundError", again=False),
    "408": Case(Reply(status=408), ProviderTimeoutError, "ModelTimeoutError", again=True),
    "413": Case(Reply(status=413), PayloadTooLargeError, "ModelInvalidRequestError", again=False),
    "418": Case(Reply(status=418), StatusError, "ModelError", again=False),
    "422": Case(Reply(status=422), BadRequestError, "ModelInvalidRequestError", again=False),
    "429": Case(Reply(status=429), RateLimitError, "ModelRateLimitError", again=True),
    "500": Case(Reply(status=500), ServerError, "ModelAPIError", again=True),
    "502": Case(Reply(status=502), BadGatewayError, "ModelAPIError", again=True),
    "503": Case(Reply(status=503), ServiceUnavailableError, "ModelAPIError", again=True),
    "504": Case(Reply(status=504), ProviderTimeoutError, "ModelTimeoutError", again=True),
    "524": Case(Reply(status=524), ProviderTimeoutError, "ModelTimeoutError", again=True),
    "529": Case(Reply(status=529), OverloadedError, "ModelAPIError", again=True),
    "refused": Case(None, TransportError, "ModelConnectionError", again=True),
    "dropped": Case(Fault.DROP, TransportError, "ModelConnectionError", again=True),
    "silent": Case(Fault.STALL, RerankTimeoutError, "ModelTimeoutError", again=True),
    "no JSON": Case(Reply(b"<html>"), ResponseError, "ModelAPIError", again=False),
}
SOME = ("401", "429", "refused", "silent", "no JSON")
all_cases = cases("case", CASES.values(), ids=CASES)
some_cases = cases("case", [CASES[name] for name in SOME], ids=SOME)


def error_of(way: Way, server: Server, nobody: str, case: Case) -> RerankError:
    """The error of a call that fails as the case says."""
    if case.step is not None:
        server.plays(case.step)
    timeout = httpx.Timeout(5.0, read=0.03) if case.step is Fault.STALL else 5.0
    client = client_of(nobody if case.step is None else server, max_retries=0, timeout=timeout)
    with pytest.raises(RerankError) as caught:
        way.compress(RerankCompressor(client=client), three())
    return caught.value


@with_their_types
@all_cases
def test_an_error_is_of_both_families(way: Way, server: Server, nobody: str, case: Case) -> None:
    """An error is caught as ours and as LangChain's, and says whether to try again."""
    error = error_of(way, server, nobody, case)

    assert isinstance(error, case.kind)
    assert type(error).__name__ == case.kind.__name__
    assert isinstance(error, getattr(exceptions, case.theirs))
    others = [kind for kind in type(error).__mro__ if kind.__module__ == exceptions.__name__]
    assert [kind.__name__ for kind in others][:1] == [case.theirs]
    assert error.is_retryable is case.again  # LangChain's middleware reads this


@with_their_types
def test_a_failing_scorer_is_of_both_families() -> None:
    """A scorer of the user's own that fails is caught as ours and as LangChain's, or passed by."""

    def failing(query: str, texts: Sequence[str]) -> list[float]:
        raise RuntimeError("no memory")

    client = RerankClient("mine", provider=Local(scorer=failing))
    with pytest.raises(ScorerError, match="no memory") as caught:
        RerankCompressor(client=client).compress_documents(three(), QUERY)
    assert isinstance(caught.value, getattr(exceptions, "ModelAPIError"))  # noqa: B009
    assert (type(caught.value.__cause__), caught.value.is_retryable) == (RuntimeError, False)
    kept = RerankCompressor(client=client, on_error="passthrough").compress_documents
    assert kept(three(), QUERY) == three()


@with_their_types
@pytest.mark.parametrize(
    ("query", "document"),
    [
        ("", Document("text")),
        (QUERY, Document("", metadata={"image": "no url"})),
        (QUERY, "no document of LangChain's"),
    ],
)
def test_what_is_refused_here_is_an_invalid_request(way: Way, query: str, document: Any) -> None:
    """A request that is refused before it is sent is LangChain's error for that, not retryable."""
    with pytest.raises(InvalidRequestError) as caught:
        way.compress(local(), [document], query)
    assert isinstance(caught.value, getattr(exceptions, "ModelInvalidRequestError"))  # noqa: B009
    assert isinstance(caught.value, ValueError)
    assert not caught.value.is_retryable


@some_cases
def test_an_error_says_what_it_says_without_langchain(
    way: Way, server: Server, nobody: str, case: Case
) -> None:
    """An error's text, attempts, cause and details are those of the client's own error."""
    error = error_of(way, server, nobody, case)
    timeout = httpx.Timeout(5.0, read=0.03) if case.step is Fault.STALL else 5.0
    client = client_of(nobody if case.step is None else server, max_retries=0, timeout=timeout)
    with client, pytest.raises(RerankError) as caught:
        way.ask(client, ["text"])

    assert type(caught.value) is case.kind
    measured = re.compile(r"after [\d.]+ s")
    assert measured.sub("", str(error)) == measured.sub("", str(caught.value))
    assert len(error.attempts) == 1
    assert type(error.__cause__) is type(caught.value.__cause__)
    assert vars(error).keys() == vars(caught.value).keys()
    assert getattr(error, "status_code", 0) == getattr(caught.value, "status_code", 0)


@some_cases
def test_an_error_can_be_pickled(way: Way, server: Server, nobody: str, case: Case) -> None:
    """A pickled error is our own class again, with its text, details and attempts."""
    error = error_of(way, server, nobody, case)

    again = pickle.loads(pickle.dumps(error))  # noqa: S301

    assert type(again) is case.kind
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@with_their_types
def test_the_raw_response_fails_with_both_families(way: Way, server: Server) -> None:
    """rerank() raises errors of both families too."""
    server.plays(Reply(status=429))

    with pytest.raises(RateLimitError) as caught:
        way.rerank(once(server), three())
    assert isinstance(caught.value, getattr(exceptions, "ModelRateLimitError"))  # noqa: B009


@with_their_types
def test_an_error_of_the_client_stays_ours_alone(server: Server) -> None:
    """A client that LangChain has nothing to do with raises no error of LangChain's."""
    server.plays(Reply(status=429))
    client = client_of(server, max_retries=0)
    with pytest.raises(RateLimitError):
        RerankCompressor(client=client).rerank(three(), QUERY)

    with pytest.raises(RateLimitError) as caught:
        client.rerank(QUERY, ["text"])
    assert type(caught.value) is RateLimitError


@with_their_types
def test_langchains_own_retry_works(way: Way, server: Server) -> None:
    """with_retry(...) on LangChain's type repeats a step that failed."""
    server.plays(Reply(status=429), ranking(0.25, 0.9, 0.5))
    kind = getattr(exceptions, "ModelRateLimitError")  # noqa: B009
    step = once(server).as_runnable()
    patient = step.with_retry(
        retry_if_exception_type=(kind,), wait_exponential_jitter=False, stop_after_attempt=2
    )

    assert len(way.invoke(patient, {"query": QUERY, "documents": three()})) == 3
    assert len(server.received) == 2


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A langchain-core from before it had error types for models."""
    for _, _, name, _ in (*CASES.values(), Case(None, RerankError, "ModelError", again=False)):
        monkeypatch.delattr(exceptions, name, raising=False)
    _with_langchains_type.cache_clear()
    yield exceptions
    _with_langchains_type.cache_clear()


@some_cases
def test_an_older_langchain_has_our_errors(
    older: ModuleType, way: Way, server: Server, nobody: str, case: Case
) -> None:
    """Where langchain-core has no such types an error is ours alone."""
    error = error_of(way, server, nobody, case)

    assert type(error) is case.kind
    assert error.is_retryable is case.again
