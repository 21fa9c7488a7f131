"""HTTP clients that are not ours: a user's, or one that knows the way through a proxy.

They are asked by duck typing, so that every library with the interface of httpx will do.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

from rerank_integrations._address import PHASES, ssl_context
from rerank_integrations._kept import MOST_KEPT
from rerank_integrations._received import Body
from rerank_integrations._wire import Request
from rerank_integrations.providers.base import Answer

_LARGEST_WHOLE = 2**20  # bytes; a body up to here is one piece, which hooks of theirs can read


class Theirs:
    """A client of theirs, for all threads."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def send(self, request: Request, phases: Any, ends: float | None) -> Answer:
        """Post the request, and read the whole answer before `ends`, on the monotonic clock."""
        left = None if ends is None else ends - time.monotonic()
        content = request.content.reveal()
        built = _built(self.client, request, phases, left, iter(content))
        response = self.client.send(built, stream=True, follow_redirects=False)
        try:
            body = Body(request, response.headers, decode=False)
            for chunk in response.iter_bytes():
                body.add(chunk)
                if ends is not None and time.monotonic() > ends:
                    raise TimeoutError
            return body.answer(response.status_code)
        finally:
            response.close()

    def close(self) -> None:
        """Close the client."""
        self.client.close()


class LoopTheirs:
    """A client of theirs, for one event loop."""

    def __init__(self, client: Any) -> None:
        self.client = client

    async def send(self, request: Request, phases: Any, left: float | None) -> Answer:
        """Post the request, and read the whole answer."""
        pieces = _one_by_one(request.content.reveal())
        built = _built(self.client, request, phases, left, pieces)
        response = await self.client.send(built, stream=True, follow_redirects=False)
        try:
            body = Body(request, response.headers, decode=False)
            async for chunk in response.aiter_bytes():
                body.add(chunk)
            return body.answer(response.status_code)
        finally:
            await response.aclose()

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


def _built(client: Any, request: Request, phases: Any, left: float | None, pieces: Any) -> Any:
    seconds = phases or client.timeout.as_dict()
    if left is not None:
        seconds = {k: left if v is None else max(0.0, min(left, v)) for k, v in seconds.items()}
    content = request.content.reveal()
    return client.build_request(
        "POST",
        request.url,
        headers={**request.headers.reveal(), "content-length": str(request.size)},
        content=b"".join(content) if request.size <= _LARGEST_WHOLE else pieces,
        extensions={"timeout": seconds},
    )


async def _one_by_one(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def proxy_client(*, is_async: bool) -> Any:
    """A client of the HTTP library's own that goes through the proxy of the environment.

    None where the environment names no proxy.
    """
    from urllib.request import getproxies  # noqa: PLC0415  # slow

    if not {"http", "https", "all"} & getproxies().keys():
        return None
    import httpx  # noqa: PLC0415  # slow to load, and needed for this alone

    kind = httpx.AsyncClient if is_async else httpx.Client
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=MOST_KEPT)
    return kind(verify=ssl_context(), timeout=httpx.Timeout(**PHASES), limits=limits)
