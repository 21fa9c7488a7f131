"""Calls of a client, without an event loop and on each kind of one, and clients to call."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

from loopback import LoopServer, Server
from rerank_integrations import (
    ModelInfo,
    OpenRouter,
    Portkey,
    RerankClient,
    RerankResponse,
    Together,
)

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
QUERY = "a red bicycle"
TEXTS = ("apple pie", "a red bicycle", "a blue car")
KEYS = {
    "openrouter": "OPENROUTER_API_KEY",
    "together": "TOGETHER_API_KEY",
    "portkey": "PORTKEY_API_KEY",
}


def client_of(
    server: Server | LoopServer | str, gateway: str = "openrouter", **options: Any
) -> RerankClient:
    """A client of a gateway that is played by the server."""
    url = server if isinstance(server, str) else server.url
    if gateway == "openrouter":
        return RerankClient("m", provider=OpenRouter(api_key="the-key", base_url=url), **options)
    if gateway == "together":
        return RerankClient("m", provider=Together(api_key="the-key", base_url=url), **options)
    portkey = Portkey(api_key="the-key", base_url=url, provider="@host")
    return RerankClient("m", provider=portkey, **options)


class SyncCalls:
    """Calls a client without an event loop."""

    argument = "http_client"

    def __call__(
        self, client: RerankClient, query: Any = QUERY, documents: Any = TEXTS, **options: Any
    ) -> RerankResponse:
        """Rank, in this thread."""
        return client.rerank(query, documents, **options)

    def models(self, client: RerankClient, **options: Any) -> list[ModelInfo]:
        """List the models, in this thread."""
        return client.models(**options)

    def close(self, client: RerankClient) -> None:
        """Close a client."""
        client.close()

    @contextmanager
    def http_client(self, library: Any, **options: Any) -> Iterator[Any]:
        """A user's HTTP client, closed at the end."""
        with library.Client(**options) as theirs:
            yield theirs


class AsyncCalls:
    """Calls a client on one event loop."""

    argument = "async_http_client"

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def __call__(
        self, client: RerankClient, query: Any = QUERY, documents: Any = TEXTS, **options: Any
    ) -> RerankResponse:
        """Rank, on the loop."""
        return self._runner.run(client.arerank(query, documents, **options))

    def models(self, client: RerankClient, **options: Any) -> list[ModelInfo]:
        """List the models, on the loop."""
        return self._runner.run(client.amodels(**options))

    def close(self, client: RerankClient) -> None:
        """Close a client."""
        self._runner.run(client.aclose())

    @contextmanager
    def http_client(self, library: Any, **options: Any) -> Iterator[Any]:
        """A user's HTTP client, closed at the end."""
        theirs = library.AsyncClient(**options)
        try:
            yield theirs
        finally:
            self._runner.run(theirs.aclose())


Calls: TypeAlias = SyncCalls | AsyncCalls
