"""Fallbacks over real sockets: who answers in a provider's place, after which failure, with what.

Breaks, copies, deadlines and adapters have files of their own.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest

from calls import QUERY, TEXTS, Calls, client_of
from cases import cases
from fakes import attempts_of, chain, ended
from loopback import Fault, Reply, Server, Step, ranking
from rerank_integrations import (
    AuthenticationError,
    InvalidRequestError,
    Local,
    OpenRouter,
    RateLimitError,
    RerankClient,
    RerankDocument,
    RerankError,
    ResponseError,
    StatusError,
    TransportError,
    UnsupportedDocumentError,
)
from support import PNG

PASSED_ON: tuple[tuple[Step, str], ...] = (
    (Fault.DROP, "TransportError"),
    (Fault.HALF, "TransportError"),
    (Reply(status=401), "AuthenticationError"),
    (Reply(status=402), "PaymentRequiredError"),
    (Reply(status=403), "PermissionDeniedError"),
    (Reply(status=404), "NotFoundError"),
    (Reply(status=408), "ProviderTimeoutError"),
    (Reply(status=429), "RateLimitError"),
    (Reply(status=429, headers={"Retry-After": "86400"}), "RateLimitError"),
    (Reply(status=500), "ServerError"),
    (Reply(status=501), "ServerError"),
    (Reply(status=502), "BadGatewayError"),
    (Reply(status=503), "ServiceUnavailableError"),
    (Reply(status=504), "ProviderTimeoutError"),
    (Reply(status=524), "ProviderTimeoutError"),
    (Reply(status=529), "OverloadedError"),
    (Reply(b"<html></html>"), "ResponseError"),
    (Reply(b""), "ResponseError"),
    (Reply({"error": {"message": "out of luck"}}), "ResponseError"),
    (ranking(0.5, 0.4, 0.3, 0.2), "ResponseError"),
    (Reply(b"plain", headers={"Content-Encoding": "gzip"}), "ResponseError"),
)
OWN_FAULT = (300, 302, 307, 400, 405, 409, 410, 413, 415, 418, 422, 451)
NO_MODEL = {"error": {"message": "Unable to access m", "code": "model_not_available"}}
ANSWERED = [("openrouter", "RateLimitError"), ("together", "")]


@cases(("step", "why"), PASSED_ON, ids=str)
def test_the_next_answers(
    call: Calls, server: Server, second: Server, step: Step, why: str
) -> None:
    """After a failure that another provider may not have, the next one answers, and says so."""
    server.plays(step)
    with chain(server, "together:n") as client:
        response = call(client)
    assert attempts_of(response) == [("openrouter", why), ("together", "")]
    assert (response.provider, response.model, len(second.received)) == ("together", "n", 1)
    assert [result.document for result in response] == [TEXTS[1], TEXTS[0], TEXTS[2]]


def test_the_next_answers_for_one_that_is_silent(
    call: Calls, server: Server, second: Server
) -> None:
    """After a timeout the next one answers."""
    server.plays(Fault.STALL)
    with chain(server, client_of(second, "together"), timeout=0.05) as client:
        assert attempts_of(call(client)) == [("openrouter", "RerankTimeoutError"), ("together", "")]


def noted(error: RerankError) -> list[str]:
    """Who did not answer either, by the notes of an error."""
    return [note.partition(" failed too: ")[0] for note in error.__notes__]


def test_the_next_answers_for_one_that_cannot_be_reached(call: Calls, nobody: str) -> None:
    """After a refused connection the next one answers."""
    with client_of(nobody, max_retries=0, fallbacks=["local:bm25"]) as client:
        assert attempts_of(call(client)) == [("openrouter", "TransportError"), ("local", "")]


def test_the_next_answers_for_a_model_that_is_not_available(call: Calls, server: Server) -> None:
    """After Together's 400 for a model that needs an endpoint of its own, the next one answers."""
    server.plays(Reply(NO_MODEL, 400))
    with chain(server, "local:bm25", gateway="together") as client:
        assert attempts_of(call(client)) == [("together", "BadRequestError"), ("local", "")]


@cases("status", OWN_FAULT)
def test_a_wrong_call_is_asked_of_nobody_else(
    call: Calls, server: Server, second: Server, status: int
) -> None:
    """A status that blames the call is raised at once, and nobody else sees its documents."""
    server.plays(Reply({"error": {"message": "no"}}, status))
    with chain(server, "together:n") as client, pytest.raises(StatusError) as caught:
        call(client)
    assert (caught.value.status_code, len(caught.value.attempts)) == (status, 1)
    assert not second.received


@cases(
    "given",
    [
        {"query": " "},
        {"query": None},
        {"documents": "one text"},
        {"documents": [None]},
        {"documents": [{"text": b"bytes"}]},
        {"top_n": 0},
        {"rank_fields": []},
    ],
    ids=str,
)
def test_what_is_refused_here_is_sent_to_nobody(
    call: Calls, server: Server, second: Server, given: dict[str, Any]
) -> None:
    """A call that is refused before it is sent goes to no fallback either."""
    with chain(server, "together:n") as client, pytest.raises(InvalidRequestError) as caught:
        call(client, **given)
    assert not caught.value.attempts
    assert not server.received
    assert not second.received


def test_nothing_to_rank_asks_nobody(call: Calls, server: Server, second: Server) -> None:
    """A list without a text gives the empty response of the provider itself."""
    with chain(server, "together:n") as client:
        response = call(client, documents=["", " "])
    assert (response.provider, response.skipped, response.attempts) == ("openrouter", (0, 1), ())


def test_the_next_is_asked_after_the_retries(
    call: Calls, server: Server, second: Server, pauses: Sequence[float]
) -> None:
    """A fallback is asked when all retries are used up, and has as many of its own."""
    server.plays(Reply(status=503))
    second.plays(Reply(status=500), Fault.DROP, ranking(0.5))
    with chain(server, "together:n", max_retries=2) as client:
        response = call(client)
    names = [name for name, _ in attempts_of(response)]
    assert names == ["openrouter"] * 3 + ["together"] * 3
    assert [len(server.received), len(second.received), len(pauses)] == [3, 3, 4]


def test_a_provider_that_recovers_needs_no_fallback(
    call: Calls, server: Server, second: Server, pauses: Sequence[float]
) -> None:
    """A provider whose retry is answered answers, and no fallback is asked."""
    server.plays(Reply(status=503), ranking(0.5))
    with chain(server, "together:n", max_retries=1) as client:
        assert call(client).provider == "openrouter"
    assert not second.received


def test_the_first_of_a_call_is_asked_first(call: Calls, server: Server, second: Server) -> None:
    """Each call asks the provider first, although the one before was answered elsewhere."""
    server.plays(Reply(status=429), ranking(0.5))
    with chain(server, "together:n") as client:
        assert [call(client).provider, call(client).provider] == ["together", "openrouter"]


@cases("status", [401, 429, 500, 400, 422])
def test_a_fallback_that_fails_is_passed_too(
    call: Calls, server: Server, second: Server, status: int
) -> None:
    """Whatever a fallback answers, the one after it is asked."""
    server.plays(Reply(status=429))
    second.plays(Reply(status=status))
    with chain(server, "together:n", "local:bm25") as client:
        response = call(client)
    assert [name for name, _ in attempts_of(response)] == ["openrouter", "together", "local"]
    assert response.provider == "local"


@cases(
    ("step", "kind"),
    [
        (Reply(status=429), RateLimitError),
        (Reply(status=401), AuthenticationError),
        (Fault.DROP, TransportError),
        (Reply(b""), ResponseError),
    ],
    ids=str,
)
def test_the_first_error_is_raised(
    call: Calls, server: Server, second: Server, step: Step, kind: type[RerankError]
) -> None:
    """Where all fail, the provider's error comes out, with everybody's attempts in order."""
    server.plays(step)
    second.plays(Reply(status=503))
    others = client_of(second, "portkey", max_retries=0), "together:n"
    with chain(server, *others) as client, pytest.raises(kind) as caught:
        call(client)
    assert attempts_of(caught.value)[1:] == [
        ("portkey", "ServiceUnavailableError"),
        ("together", "ServiceUnavailableError"),
    ]
    assert attempts_of(caught.value)[0] == ("openrouter", kind.__name__)
    assert noted(caught.value) == ["portkey:m", "together:n"]


@pytest.mark.usefixtures("pauses")
def test_a_note_for_each_fallback(server: Server, second: Server) -> None:
    """Where all fail, the traceback has a note for each fallback, and none for the first."""
    server.plays(Reply(status=500), Reply(status=503))
    second.plays(Reply(status=429), Reply(status=503))
    other = client_of(second, "portkey", max_retries=1)
    first = client_of(server, max_retries=1, fallbacks=[other])
    with first as client, pytest.raises(RerankError) as caught:
        client.rerank(QUERY, TEXTS)
    assert len(caught.value.attempts) == 4
    assert noted(caught.value) == ["portkey:m"]


def test_nothing_of_the_first_reaches_a_fallback(
    call: Calls, server: Server, second: Server
) -> None:
    """Headers, body keys, model and key of the first stay with the first; the client is shared."""
    server.plays(Reply(status=503))
    with call.http_client(httpx, headers={"X-Mine": "1"}) as theirs:
        mine: dict[str, Any] = {call.argument: theirs, "extra_headers": {"X-A": "1"}}
        with chain(server, "together:n", extra_body={"a": 1}, **mine) as client:
            call(client, extra_headers={"X-B": "1"}, extra_body={"b": 1}, model="other")
    (first,), (then,) = server.received, second.received
    assert [first.headers.get(name) for name in ("x-mine", "x-a", "x-b")] == ["1", "1", "1"]
    assert then.headers["authorization"] == "Bearer the-second-key"
    assert then.headers["x-mine"] == "1"
    assert not {"x-a", "x-b"} & then.headers.keys()
    assert "the-key" not in f"{then.headers} {then.content!r}"
    assert then.body == {"model": "n", "query": QUERY, "documents": list(TEXTS)}


OWN: dict[str, Any] = {"extra_headers": {"X-A": "1"}, "extra_body": {"a": 1}, "max_retries": 0}


def by_key(url: str) -> RerankClient:
    """A client with a key and an address, and a fallback of the same provider."""
    return RerankClient("openrouter:m", api_key="the-key", base_url=url, fallbacks=NAMED, **OWN)


def by_object(url: str) -> RerankClient:
    """The same with a provider object."""
    asked = OpenRouter(api_key="the-key", base_url=url, provider_preferences={"zdr": True})
    return RerankClient("m", provider=asked, fallbacks=NAMED, **OWN)


def of_later(url: str) -> RerankClient:
    """A copy whose provider was given later than the fallback was named."""
    return by_key("http://localhost:1").with_options(provider=by_object(url).provider)


NAMED = ["openrouter:n"]
COPIES: tuple[Callable[[RerankClient], RerankClient], ...] = (
    lambda client: client,
    lambda client: client.with_options(top_n=1),
    lambda client: pickle.loads(pickle.dumps(client)),  # noqa: S301
)


@cases("made", [by_key, by_object, of_later])
@cases("copied", COPIES, ids=["itself", "with_options", "pickle"])
def test_a_name_of_the_same_provider(
    call: Calls,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    made: Callable[[str], RerankClient],
    copied: Callable[[RerankClient], RerankClient],
) -> None:
    """A fallback by name of the client's provider is sent what the first is, and to its address.

    Headers and body keys are for this provider too. A key of the environment is not used.
    """
    monkeypatch.setenv("OPENROUTER_API_KEY", "of-the-environment")
    server.plays(Reply(status=503), ranking(0.9, 0.8, 0.7))
    with copied(made(server.url)) as client:
        assert call(client, extra_headers={"X-B": "1"}).model == "n"
    first, then = server.received
    sent = ("authorization", "x-a", "x-b")
    assert [then.headers[name] for name in sent] == ["Bearer the-key", "1", "1"]
    assert then.body == first.body | {"model": "n"}
    assert ("provider" in then.body) is (made is not by_key)


SETTINGS: tuple[dict[str, Any], ...] = (
    {"max_retries": 0},
    {"on_invalid_document": "skip"},
    {"max_document_chars": 3},
    {"keep_raw": True, "top_n": 1},
)


@cases("given", SETTINGS)
def test_settings_of_a_copy_reach_a_name(
    call: Calls, server: Server, second: Server, pauses: Sequence[float], given: dict[str, Any]
) -> None:
    """What with_options sets holds for a fallback by name, as what is given for a call does."""
    server.plays(Reply(status=503))
    second.plays(Reply(status=503), ranking(0.9))
    documents: list[Any] = ["apple pie", *([5] if "on_invalid_document" in given else ["a car"])]
    came = []
    with chain(server, "together:m", max_retries=1) as client:
        for asked, options in ((client, given), (client.with_options(**given), {})):
            outcome = ended(call, asked, "q", documents, **options)
            came.append((attempts_of(outcome), [one.body for one in second.received]))
            second.reset()
            second.plays(Reply(status=503), ranking(0.9))
    assert came[0] == came[1]
    assert came[0][1]


def test_a_client_as_a_fallback_keeps_its_own(call: Calls, server: Server, second: Server) -> None:
    """A client that is a fallback sends with its own headers, body keys, key, and HTTP client."""
    server.plays(Reply(status=503))
    with call.http_client(httpx, headers={"X-Mine": "1"}) as theirs:
        own = {"extra_headers": {"X-A": "own"}, "extra_body": {"a": "own"}, call.argument: theirs}
        with chain(server, client_of(second, "together", **own)) as client:
            call(client, extra_headers={"X-A": "first"}, extra_body={"a": "first"})
    (then,) = second.received
    assert [then.headers[name] for name in ("x-mine", "x-a")] == ["1", "own"]
    assert (then.body["a"], then.headers["authorization"]) == ("own", "Bearer the-key")


def test_a_client_as_a_fallback_has_its_own_retries(
    call: Calls, server: Server, second: Server, pauses: Sequence[float]
) -> None:
    """A client that is a fallback repeats as often as it was set to."""
    server.plays(Reply(status=503))
    second.plays(Reply(status=503), Reply(status=503), ranking(0.5))
    with chain(server, client_of(second, "together", max_retries=2)) as client:
        call(client)
    assert [len(server.received), len(second.received)] == [1, 3]


@cases("of_call", [False, True], ids=["client", "call"])
@cases("as_client", [False, True], ids=["string", "object"])
def test_what_is_asked_for_reaches_a_fallback(
    call: Calls, server: Server, second: Server, *, of_call: bool, as_client: bool
) -> None:
    """What top_n and rank_fields ask for holds whoever answers."""
    asked: dict[str, Any] = {"top_n": 1, "rank_fields": ["b"]}
    server.plays(Reply(status=503))
    other = client_of(second, "together", top_n=9, rank_fields=["a"]) if as_client else "together:m"
    with chain(server, other, **({} if of_call else asked)) as client:
        response = call(client, "q", [{"a": "1", "b": "2"}], **(asked if of_call else {}))
    assert second.received[0].body == {"model": "m", "query": "q", "documents": ["2"], "top_n": 1}
    assert len(response) == 1


THRESHOLDS: tuple[tuple[dict[str, Any], dict[str, Any], bool, int, bool], ...] = (
    ({"score_threshold": 0.6}, {}, False, 3, True),  # of the client
    ({}, {"score_threshold": 0.6}, False, 3, True),  # of the call
    ({"score_threshold": 0.9}, {"score_threshold": None}, False, 3, False),
    ({}, {}, False, 3, False),
    ({"score_threshold": 0.6, "top_n": 2}, {}, False, 2, True),
    ({"score_threshold": 0.6}, {"score_threshold": 0.5}, True, 1, False),  # a client's own
)


@cases(("of_client", "of_call", "own", "count", "is_warned"), THRESHOLDS)
def test_a_threshold_is_for_the_model_that_it_was_set_with(
    call: Calls,
    server: Server,
    second: Server,
    of_client: dict[str, Any],
    of_call: dict[str, Any],
    *,
    own: bool,
    count: int,
    is_warned: bool,
) -> None:
    """A fallback keeps all its results, with a warning, unless it has a threshold of its own."""
    server.plays(Reply(status=503))
    second.plays(ranking(0.3, 0.2, 0.1))
    other = client_of(second, "together", score_threshold=0.25) if own else "together:n"
    with chain(server, other, **of_client) as client:
        response = call(client, **of_call)
        assert (response.provider, len(response)) == ("together", count)
        server.plays(ranking(0.9, 0.8, 0.1))
        first = call(client, **of_call)  # which the provider itself serves
        assert (len(first), first.warnings) == (2 if is_warned or own else 3, ())
    in_place, *others = response.warnings
    assert in_place.startswith("together:")
    assert "answered in place of openrouter:m: ServiceUnavailableError" in in_place
    assert bool(others) is is_warned
    for warning in others:
        assert "score_threshold=0.6 was not applied" in warning
        assert "openrouter:m" in warning
        assert "together:n answered" in warning


def test_images_as_text_reach_a_fallback(call: Calls, server: Server, second: Server) -> None:
    """Where a call ranks images by their text, a fallback for text does so and says so."""
    server.plays(Reply(status=503))
    with chain(server, "together:n") as client:
        response = call(client, "q", [RerankDocument("a", image=PNG)], on_image="text")
    assert second.received[0].body["documents"] == ["a"]
    assert response.warnings


def test_one_that_cannot_take_the_call_is_passed_over(
    call: Calls, server: Server, second: Server
) -> None:
    """A fallback for text only is not asked about an image: the one after it is, and it is told."""
    server.plays(Reply(status=429))
    sees = Local(scorer=lambda query, documents: [1.0] * len(documents), sees_images=True)
    document = RerankDocument("a", image=PNG)
    with chain(server, "together:n", RerankClient("eyes", provider=sees)) as client:
        response = call(client, "q", [document])
    assert response[0].document is document
    assert attempts_of(response) == [
        ("openrouter", "RateLimitError"),
        ("together", "not asked"),
        ("local", ""),
    ]
    assert "image" in (response.attempts[1].error or "")
    assert not second.received


def test_an_image_that_nobody_else_takes(call: Calls, server: Server) -> None:
    """Where no fallback can take the call, the provider's own error comes out."""
    server.plays(Reply(status=429))
    with chain(server, "local:bm25") as client, pytest.raises(RateLimitError) as caught:
        call(client, "q", [RerankDocument("a", image=PNG)])
    assert attempts_of(caught.value) == [("openrouter", "RateLimitError"), ("local", "not asked")]


def test_an_image_for_a_first_that_takes_text(call: Calls, server: Server, second: Server) -> None:
    """A call that the provider itself cannot take is refused, whatever its fallbacks take."""
    with chain(second, client_of(server), gateway="together") as client:
        outcome = ended(call, client, "q", [RerankDocument("a", image=PNG)])
    assert isinstance(outcome, UnsupportedDocumentError)
    assert not server.received


def test_documents_are_read_once(call: Calls, server: Server, second: Server) -> None:
    """Documents that can be read only once reach a fallback whole."""
    server.plays(Reply(status=429))
    with chain(server, "together:n") as client:
        response = call(client, documents=iter(TEXTS))
    assert second.received[0].body["documents"] == list(TEXTS)
    assert attempts_of(response) == ANSWERED
