"""Tests of how a call of several requests ends: too late, after a failure, after a retry.

A request waits here until another has ended, never for a time.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest

from calls import Calls, client_of
from cases import cases
from fakes import Clock, override
from loopback import Received, Reply, Server, ranks_all
from rerank_integrations import (
    BadRequestError,
    RerankClient,
    RerankTimeoutError,
    ServiceUnavailableError,
)

ONE_BY_ONE: dict[str, Any] = {"max_documents_per_request": 1, "max_concurrency": 1}
ANSWER = b'{"results":[{"index":0,"relevance_score":0.5}]}'
BAD = Reply({"error": {"message": "no"}}, 400)


class Slow(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer that is whole, and then takes time to be closed."""

    def __init__(self, closes: Callable[[], None]) -> None:
        self._closes = closes

    def __iter__(self) -> Iterator[bytes]:
        yield ANSWER

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield ANSWER

    def close(self) -> None:
        """Let the time pass."""
        self._closes()

    async def aclose(self) -> None:
        """The same, on an event loop."""
        self._closes()


class Far:
    """A far side whose every answer takes so many seconds of a clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.asked: list[bytes] = []
        self._clock = clock
        self._seconds = seconds

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        self.asked.append(request.content)
        return httpx.Response(200, stream=Slow(self._passes))

    def _passes(self) -> None:
        self._clock.now += self._seconds


@pytest.mark.parametrize(("deadline", "sent"), [(4.0, 1), (5.0, 1), (9.0, 2), (15.0, 3)])
def test_too_late_for_those_that_wait(
    call: Calls, clock: Clock, *, deadline: float, sent: int
) -> None:
    """A request whose turn comes at the deadline or later is not sent, and fails the call."""
    far = Far(clock, 5.0)
    with call.http_client(httpx, transport=httpx.MockTransport(far)) as theirs:
        client = client_of("https://far.invalid", **ONE_BY_ONE, **{call.argument: theirs})
        with pytest.raises(RerankTimeoutError, match="deadline"):
            call(client, documents=["a", "b", "c", "d"], deadline=deadline)
    assert len(far.asked) == sent


def test_in_time_for_all(call: Calls, clock: Clock) -> None:
    """A call whose last request goes before the deadline succeeds, however late its answer."""
    far = Far(clock, 5.0)
    with call.http_client(httpx, transport=httpx.MockTransport(far)) as theirs:
        client = client_of("https://far.invalid", **ONE_BY_ONE, **{call.argument: theirs})
        response = call(client, documents=["a", "b", "c"], deadline=10.5)
    assert (len(response), len(response.attempts), len(far.asked)) == (3, 3, 3)


def test_too_late_for_some(call: Calls, clock: Clock) -> None:
    """With on_partial='keep' what was answered in time is ranked, and the rest is missing."""
    far = Far(clock, 5.0)
    with call.http_client(httpx, transport=httpx.MockTransport(far)) as theirs:
        client = client_of("https://far.invalid", **ONE_BY_ONE, **{call.argument: theirs})
        given: dict[str, Any] = {"deadline": 10.0, "on_partial": "keep"}
        response = call(client, documents=["a", "b", "c", "d"], **given)
    assert ([result.index for result in response], response.missing) == ([0, 1], (2, 3))
    assert (len(response.attempts), len(far.asked)) == (2, 2)


def ended(client: RerankClient) -> None:
    """Wait for the threads of a call that has failed."""
    client.close()
    for thread in threading.enumerate():
        if thread.name.startswith("rerank"):
            thread.join(30)


@cases("good", [0, 1, 4])
def test_none_is_begun_after_a_failure(call: Calls, server: Server, good: int) -> None:
    """The request that follows a failed one is never sent: it would be billed for nothing."""
    server.plays(*[ranks_all] * good, BAD, ranks_all)
    client = client_of(server, **ONE_BY_ONE)
    with pytest.raises(BadRequestError):
        call(client, documents=["a"] * 20)
    ended(client)
    assert len(server.received) == good + 1


def test_those_on_their_way_are_not_waited_for(call: Calls, server: Server) -> None:
    """A call fails at once, also where another of its requests has no answer yet.

    Its error lists those in flight too.
    """
    in_flight = threading.Barrier(3)

    def step(received: Received) -> Reply:
        in_flight.wait(30)
        if received.body["documents"] == ["bad"]:
            return BAD
        server.released.wait(30)
        return ranks_all(received)

    server.plays(step)
    client = client_of(server, max_documents_per_request=1, max_concurrency=3)
    with pytest.raises(BadRequestError) as caught:
        call(client, documents=["a", "b", "bad"])
    assert not server.released.is_set()
    kinds = [(attempt.error or "").partition(":")[0] for attempt in caught.value.attempts]
    assert kinds == ["cancelled", "cancelled", "BadRequestError"]
    server.released.set()
    ended(client)


def test_waits_end_with_the_call(server: Server) -> None:
    """A thread that waits to send again ends when the call has failed."""
    both = threading.Barrier(2)

    def step(received: Received) -> Reply:
        both.wait(30)
        if received.body["documents"] == ["bad"]:
            return BAD
        return Reply(status=503, headers={"Retry-After": "50"})

    server.plays(step)
    with client_of(server, max_documents_per_request=1) as client:
        with pytest.raises(BadRequestError):
            client.rerank("q", ["a", "bad"])
        threads = [one for one in threading.enumerate() if one.name.startswith("rerank")]
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads)
    assert len(server.received) == 2


@cases("startable", [0, 1, 3])
def test_without_threads(server: Server, monkeypatch: pytest.MonkeyPatch, startable: int) -> None:
    """Where threads cannot be started, as at the exit, the calling thread sends the requests."""
    usual, started = threading.Thread.start, itertools.count()

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("rerank") and next(started) >= startable:
            raise RuntimeError("can't create new thread at interpreter shutdown")
        usual(thread)

    override(monkeypatch, start_thread=start)
    with client_of(server, max_documents_per_request=1) as client:
        response = client.rerank("q", list("abcdef"))
        assert sorted(result.index for result in response) == list(range(6))
        server.plays(BAD)
        server.received.clear()
        with pytest.raises(BadRequestError) as caught:
            client.rerank("q", list("abcdef"))
    if not startable:
        assert len(caught.value.attempts) == len(server.received) == 1


def test_a_split_call_at_exit() -> None:
    """A split call in an `atexit` function works."""
    program = """
import atexit
from rerank_integrations import Local, RerankClient
scorer = Local(scorer=lambda query, documents: [0.5] * len(documents))
client = RerankClient("m", provider=scorer, max_documents_per_request=1)
atexit.register(lambda: print(len(client.rerank("a", ["a", "b", "c"]))))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    assert (ran.stdout, ran.stderr) == ("3\n", "")


def test_retry_of_one_part(call: Calls, server: Server, pauses: Sequence[float]) -> None:
    """A request that fails in passing is sent again alone, and the call succeeds."""
    failures = iter([True, True])

    def step(received: Received) -> Reply:
        if received.body["documents"] == ["b"] and next(failures, False):
            return Reply({"error": {"message": "busy"}}, 503)
        return ranks_all(received)

    server.plays(step)
    with client_of(server, max_documents_per_request=1) as client:
        response = call(client, documents=["a", "b", "c"])
    sent = sorted(received.body["documents"][0] for received in server.received)
    assert sent == ["a", "b", "b", "b", "c"]
    assert [bool(attempt.error) for attempt in response.attempts] == [0, 1, 1, 0, 0]
    assert (len(response), len(pauses)) == (3, 2)


def test_retries_are_those_of_a_part(call: Calls, server: Server, pauses: Sequence[float]) -> None:
    """Each request may be sent again max_retries times; the error lists those of all requests."""
    seen: list[str] = []

    def step(received: Received) -> Reply:
        [document] = received.body["documents"]
        seen.append(document)
        if document == "c" or seen.count(document) == 1:
            return Reply({"error": {"message": "busy"}}, 503)
        return ranks_all(received)

    server.plays(step)
    client = client_of(server, **ONE_BY_ONE, max_retries=1)
    with client, pytest.raises(ServiceUnavailableError) as caught:
        call(client, documents=["a", "b", "c"])
    assert seen == ["a", "a", "b", "b", "c", "c"]
    assert [bool(attempt.error) for attempt in caught.value.attempts] == [1, 0, 1, 0, 1, 1]
    assert (caught.value.retries, len(pauses)) == (3, 3)


def test_client_goes_on_after_a_failure(call: Calls, server: Server) -> None:
    """After a call of several requests has failed the next one works, in split form too."""
    server.plays(BAD, ranks_all)
    with client_of(server, **ONE_BY_ONE) as client:
        with pytest.raises(BadRequestError):
            call(client, documents=["a", "b", "c"])
        response = call(client, documents=["a", "b", "c"])
    assert [result.index for result in response] == [0, 1, 2]
