"""Play one case of the table against a client, over a real socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from faults.case import DOCUMENTS, QUERY, RESPONSE, SCORES, WARNED, Case
from loopback import running
from rerank_integrations import (
    OpenRouter,
    Portkey,
    Provider,
    RerankClient,
    RerankError,
    RerankResponse,
    Together,
)

Way: TypeAlias = Literal["sync", "async"]
WAYS: tuple[Way, ...] = get_args(Way)

_LARGE = 8 * 2**20  # bytes; more than the sockets of a connection take in unread
_PROVIDERS: dict[str, Callable[[str], Provider]] = {
    "openrouter": lambda url: OpenRouter(api_key="the-key", base_url=url),
    "together": lambda url: Together(api_key="the-key", base_url=url),
    "portkey": lambda url: Portkey(api_key="the-key", base_url=url, provider="@host"),
}


class Outcome(NamedTuple):
    """What a user got, as `Case.wanted` says it, and after how many seconds."""

    got: tuple[str, tuple[int, ...], int]
    seconds: float


def play(case: Case, gateway: str, way: Way) -> Outcome:
    """Make the call of a case."""
    with running(*case.script, door=case.door, small_buffer=True) as server:
        provider = _PROVIDERS[gateway](f"{case.scheme}://127.0.0.1:{server.port}")
        client = RerankClient("m", provider=provider, **case.options)
        with _calling(client, way, _documents(case)) as call:
            if case.on_pooled_connection:
                call()
                server.done.wait(10)
            before = server.begun
            began = time.monotonic()
            gets, ranked, attempts = _outcome(call, _documents(case))
            seconds = time.monotonic() - began
    return Outcome((gets, ranked, max(attempts, server.begun - before)), seconds)


def _outcome(
    call: Callable[[], RerankResponse], documents: tuple[str, ...]
) -> tuple[str, tuple[int, ...], int]:
    """What a call gives, its ranking, and how many requests it says to have sent."""
    try:
        response = call()
    except RerankError as error:
        return type(error).__name__, (), len(error.attempts)
    except Exception as error:  # noqa: BLE001  # the worst of all outcomes
        return f"untyped {type(error).__name__}", (), 0
    ranked = tuple(result.index for result in response)
    if any(result.document is not documents[result.index] for result in response):
        return "a wrong document", ranked, len(response.attempts)
    if any(result.relevance_score != SCORES[result.index] for result in response):
        return "a wrong score", ranked, len(response.attempts)
    return WARNED if response.warnings else RESPONSE, ranked, len(response.attempts)


@contextmanager
def _calling(
    client: RerankClient, way: Way, documents: Any
) -> Iterator[Callable[[], RerankResponse]]:
    """Calls the client, and closes it at the end."""
    if way == "sync":
        with client:
            yield lambda: client.rerank(QUERY, documents)
        return
    with asyncio.Runner() as runner:
        try:
            yield lambda: runner.run(client.arerank(QUERY, documents))
        finally:
            runner.run(client.aclose())


def _documents(case: Case) -> tuple[str, ...]:
    return (*DOCUMENTS[:2], DOCUMENTS[2] * (_LARGE // 10)) if case.is_large else DOCUMENTS
