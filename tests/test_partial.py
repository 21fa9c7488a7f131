"""Calls of several requests of which some fail: what is kept, what is missing, what is raised."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from calls import Calls, client_of
from cases import cases
from fakes import attempts_of, override
from loopback import Fault, Received, Reply, Server, Step, ranking
from rerank_integrations import (
    AuthenticationError,
    BadRequestError,
    RateLimitError,
    RerankError,
    ResponseError,
    ServiceUnavailableError,
)
from rerank_integrations.models import RerankResponse
from support import call as prepared, http_response, merged, parsed, ranking as ranked

DOCUMENTS = ("a", "bb", "ccc", "dddd", "eeeee")
KEEP: dict[str, Any] = {"max_documents_per_request": 1, "max_retries": 0, "on_partial": "keep"}
RAISE = KEEP | {"on_partial": "raise"}


def answers(**failing: Step) -> Callable[[Received], Reply]:
    """Scores a document by its length, but plays the step that is named like its first letter."""

    def step(received: Received) -> Reply:
        documents = received.body["documents"]
        usage = {"search_units": 1, "total_tokens": len(documents[0])}
        good = ranking(*map(len, documents), usage=usage, id=f"id-{documents[0][0]}")
        played = failing.get(documents[0][0], good)
        return played if isinstance(played, Reply) else Reply(status=599)

    return step


def failed(status: int, words: str = "no") -> Reply:
    """An error answer."""
    return Reply({"error": {"message": words}}, status)


def test_what_was_answered_is_ranked(call: Calls, server: Server) -> None:
    """The documents of answered requests are ranked, best first, with the caller's indexes."""
    server.plays(answers(b=failed(503), d=failed(503)))
    with client_of(server, **KEEP) as client:
        response = call(client, "q", DOCUMENTS)
    assert [(r.index, r.relevance_score, r.document) for r in response] == [
        (4, 5.0, "eeeee"),
        (2, 3.0, "ccc"),
        (0, 1.0, "a"),
    ]
    assert response.missing == (1, 3)


def test_what_is_missing_is_not_what_is_blank(call: Calls, server: Server) -> None:
    """Missing documents are named by the caller's indexes, apart from the blank ones."""
    server.plays(answers(b=failed(503)))
    with client_of(server, **KEEP | {"max_documents_per_request": 2}) as client:
        response = call(client, "q", ["", "a", " ", "aa", "b", "", "bb", "c"])
    assert (response.skipped, response.missing) == ((0, 2, 5), (4, 6))
    assert [result.index for result in response] == [3, 1, 7]


def test_warnings_say_why(call: Calls, server: Server) -> None:
    """Each failure is a warning of its own, and failures alike are told once."""
    server.plays(answers(a=failed(429, "slow down"), c=failed(400, "odd"), d=failed(400, "odd")))
    with client_of(server, **KEEP) as client:
        warnings = call(client, "q", DOCUMENTS).warnings
    assert len(warnings) == 2
    assert all("missing" in warning for warning in warnings)
    assert ["slow down" in warnings[0], "odd" in warnings[1]] == [True, True]


def test_attempts_of_all_parts(call: Calls, server: Server, pauses: Sequence[float]) -> None:
    """Attempts list the requests of all parts, failed ones and their retries included."""
    server.plays(answers(b=failed(503)))
    with client_of(server, **KEEP | {"max_retries": 2}) as client:
        response = call(client, "q", DOCUMENTS)
    kinds = [kind for _, kind in attempts_of(response)]
    assert kinds == ["", *["ServiceUnavailableError"] * 3, "", "", ""]
    assert len(server.received) == len(kinds)


def test_usage_of_the_rest(call: Calls, server: Server) -> None:
    """Usage and ids are those of the requests that were answered."""
    server.plays(answers(b=failed(503), d=failed(503)))
    with client_of(server, **KEEP) as client:
        response = call(client, "q", DOCUMENTS)
    assert response.usage.counts() == {"search_units": 3, "total_tokens": 9}
    assert response.id == "id-a, id-c, id-e"


def test_top_n_of_the_rest(call: Calls, server: Server) -> None:
    """The best of what was answered come out, as many as were asked for."""
    server.plays(answers(e=failed(503)))
    with client_of(server, **KEEP) as client:
        response = call(client, "q", DOCUMENTS, top_n=2)
    assert [result.index for result in response] == [3, 2]


def test_nothing_missing_says_nothing(call: Calls, server: Server) -> None:
    """Where all requests are answered, nothing is missing and nothing is warned of."""
    server.plays(answers())
    with client_of(server, **KEEP) as client:
        response = call(client, "q", DOCUMENTS)
    assert (response.missing, response.warnings, len(response)) == ((), (), 5)


@cases("on_partial", ["keep", "raise"])
def test_all_parts_fail(call: Calls, server: Server, on_partial: str) -> None:
    """Where no request is answered, the call fails."""
    server.plays(failed(503))
    options: Any = KEEP | {"on_partial": on_partial}
    with client_of(server, **options) as client:
        with pytest.raises(ServiceUnavailableError) as caught:
            call(client, "q", DOCUMENTS)
        if on_partial == "keep":
            assert len(caught.value.attempts) == len(server.received) == len(DOCUMENTS)


def test_the_first_of_all_errors_is_raised(call: Calls, server: Server) -> None:
    """Where all fail in their own ways, the error is that of the first documents."""
    server.plays(answers(a=failed(401), b=failed(429), c=Reply(b""), d=failed(400), e=failed(503)))
    with client_of(server, **KEEP) as client, pytest.raises(AuthenticationError):
        call(client, "q", DOCUMENTS)


@cases("documents", [["a"], ["", "a", " "]], ids=str)
def test_a_single_request_is_not_partial(call: Calls, server: Server, documents: list[str]) -> None:
    """A call of one request that fails is raised, whatever is to be kept."""
    server.plays(failed(400))
    with client_of(server, **KEEP) as client, pytest.raises(BadRequestError):
        call(client, "q", documents)


@cases(
    ("step", "kind"),
    [
        (failed(400), BadRequestError),
        (failed(429), RateLimitError),
        (failed(503), ServiceUnavailableError),
        (Reply(b"<html>"), ResponseError),
    ],
    ids=str,
)
def test_by_default_one_failure_fails_the_call(
    call: Calls, server: Server, step: Step, kind: type[RerankError]
) -> None:
    """Unless partial answers are kept, the error of one request is that of the call.

    It lists every request that was sent, also those in flight when the call failed.
    """
    server.plays(answers(c=step))
    options = {name: RAISE[name] for name in ("max_documents_per_request", "max_retries")}
    with client_of(server, **options) as client, pytest.raises(kind) as caught:
        call(client, "q", DOCUMENTS)
    kinds = [name for _, name in attempts_of(caught.value)]
    assert kinds.count(kind.__name__) == 1
    assert set(kinds) <= {kind.__name__, "", "cancelled"}
    assert 3 <= len(kinds) <= len(DOCUMENTS)


def test_a_failure_ends_what_has_not_begun(call: Calls, server: Server) -> None:
    """After a failure that fails the call, requests that were not sent yet are never sent."""
    server.plays(answers(a=failed(400)))
    with client_of(server, **RAISE, max_concurrency=1) as client, pytest.raises(BadRequestError):
        call(client, "q", DOCUMENTS)
    assert len(server.received) <= 2  # a thread may take the next one before it is told


def test_a_failure_ends_the_retries_of_the_rest(
    call: Calls, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a call has failed none of its requests is sent again."""
    pausing, failed_by_then = threading.Event(), threading.Event()

    def pause(seconds: float) -> None:
        pausing.set()
        failed_by_then.wait(10)

    async def apause(seconds: float) -> None:
        pausing.set()
        await asyncio.Event().wait()

    def step(received: Received) -> Reply:
        if received.body["documents"] == ["a"]:
            return failed(503)
        pausing.wait(10)
        return failed(400)

    override(monkeypatch, sleep=pause, async_sleep=apause)
    server.plays(step)
    with client_of(server, **RAISE | {"max_retries": 1}) as client:
        with pytest.raises(BadRequestError):
            call(client, "q", ["a", "b"])
        failed_by_then.set()
        for thread in threading.enumerate():
            if thread.name.startswith("rerank"):
                thread.join(10)
    assert len(server.received) == 2


def test_one_call_can_keep_what_the_client_would_not(call: Calls, server: Server) -> None:
    """A call's own on_partial holds for that call."""
    server.plays(answers(b=failed(503)))
    with client_of(server, **RAISE) as client:
        assert call(client, "q", DOCUMENTS, on_partial="keep").missing == (1,)
        with pytest.raises(ServiceUnavailableError):
            call(client, "q", DOCUMENTS)


def test_a_partial_answer_is_an_answer(call: Calls, server: Server, second: Server) -> None:
    """Where a part is kept, no fallback is asked; where none is, the next one ranks all."""
    server.plays(answers(b=failed(503)))
    with client_of(server, **KEEP, fallbacks=["together:m"]) as client:
        assert call(client, "q", DOCUMENTS).missing == (1,)
        assert not second.received
        server.plays(failed(503))
        response = call(client, "q", DOCUMENTS)
    assert (response.provider, response.missing, len(response)) == ("together", (), 5)


@cases("on_partial", ["keep", "raise"])
def test_attempts_of_all(call: Calls, server: Server, second: Server, on_partial: str) -> None:
    """Where the fallback fails too, the error lists every request that either was sent."""
    for each in (server, second):
        each.plays(failed(503))
    options: Any = KEEP | {"on_partial": on_partial, "max_concurrency": 1}
    client = client_of(server, **options, fallbacks=["together:m"])
    with client, pytest.raises(ServiceUnavailableError) as caught:
        call(client, "q", DOCUMENTS)
    names = [name for name, _ in attempts_of(caught.value)]
    sent = [len(server.received), len(second.received)]
    assert [names.count("openrouter"), names.count("together")] == sent
    assert sent == ([5, 5] if on_partial == "keep" else [1, 1])


def test_parts_of_several_faults(call: Calls, server: Server) -> None:
    """A dropped connection in one request loses the documents of that request alone."""
    server.plays(Fault.DROP, answers())
    with client_of(server, **KEEP, max_concurrency=1) as client:
        response = call(client, "q", DOCUMENTS)
    assert (response.missing, len(response)) == ((0,), 4)


parts = st.lists(st.integers(1, 4), min_size=2, max_size=6)


@settings(deadline=None)
@given(sizes=parts, failing=st.sets(st.integers(0, 5)), top_n=st.none() | st.integers(1, 30))
def test_every_document_is_in_one_place(
    sizes: list[int], failing: set[int], top_n: int | None
) -> None:
    """Whatever fails, each document is either ranked or missing, and never both."""
    most = max(sizes)
    documents = [f"{number}" for number in range(sum(sizes))]
    call = prepared(*documents, max_documents_per_request=most, top_n=top_n)
    outcomes: list[RerankResponse | RerankError] = []
    for place, part in enumerate(call.chunks):
        if place in failing:
            outcomes.append(RateLimitError(f"part {place}"))
        else:
            scores = ((at, -float(sent)) for at, sent in enumerate(part.sent))
            outcomes.append(parsed(part, http_response(ranked(*scores))))
    if len(failing & set(range(len(outcomes)))) == len(outcomes):
        with pytest.raises(RateLimitError, match="part 0"):
            merged(call, outcomes)
        return
    response = merged(call, outcomes)
    answered = [n for n in range(len(documents)) if n // most not in failing]
    assert [result.index for result in response] == answered[:top_n]
    assert sorted([*answered, *response.missing]) == list(range(len(documents)))
    assert all(result.document is documents[result.index] for result in response)
