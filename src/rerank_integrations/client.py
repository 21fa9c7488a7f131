"""RerankClient: one client for every provider, sync and async."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from rerank_integrations._arguments import refuse_unknown
from rerank_integrations._drive import arun, run
from rerank_integrations._flow import rerank_flow
from rerank_integrations._hidden import Hidden
from rerank_integrations._lane import Lane
from rerank_integrations._options import (
    CallOptions,
    ClientOptions,
    Options,
    Settings,
    hide_headers,
    resolved,
)
from rerank_integrations._wire import prepare
from rerank_integrations.errors import ConfigurationError, RerankError
from rerank_integrations.models import DocumentInput, RerankResponse
from rerank_integrations.providers.base import Provider

__all__ = ["CallOptions", "RerankClient"]

_ARGUMENTS = (*ClientOptions.__annotations__, "http_client", "async_http_client")


class RerankClient:
    """Ranks documents by their relevance to a query.

    One client serves threads and event loops, several at once or one after another. Copies and
    pickles leave live connections behind; a pickle holds the key in clear text.

    Args:
        model: "provider:model", such as `"openrouter:cohere/rerank-v3.5"` or `"local:bm25"`;
            with `provider` given, the model alone.
        provider: a provider object, for more than a key from the environment.
        http_client: an `httpx.Client` of yours; used as it is, never closed, never
            pickled; redirects are not followed all the same.
        async_http_client: an `httpx.AsyncClient` of yours, for one event loop; likewise.
        top_n: how many results to return; None (the default) for all.
        rank_fields: names of the fields to rank by, in order; `"text"` is a document's own text,
            `"a.b"` is field b of field a. None ranks by all of a document's fields.
        timeout: seconds for each phase of a request, or an `httpx.Timeout`; None waits for ever.
            By default 5 s to connect and 30 s for the rest, or what your `http_client` has.
        deadline: seconds for the whole call, retries and pauses included, 60 by default; None
            for no limit.
        max_retries: how often a request is sent again after a failure that may pass, 2 by
            default. A request whose answer was lost may be billed again.
        extra_headers: headers to add to every request.
        extra_body: keys to add to the body, for what the provider does not offer.
        on_image: "raise" refuses an image where the provider takes text only; "text" ranks the
            document's text alone, and says so in the response's warnings.
        max_image_bytes: the largest image to send, 10 MiB by default; None for no limit.
        max_image_pixels: an image of more pixels is sent smaller. Needs the extra `images`.
        image_urls: which URLs of images are passed on: "any" (the default), "public" for none
            of private addresses, or "none". No URL is ever fetched here.
        max_documents_per_request: with more documents several requests are sent and their
            results ranked together, unless the model's scores depend on the whole list. By
            default 1000, or what the provider takes; None for no limit.
        max_request_bytes: the same for the size of a request's body; 32 MiB by default.
        max_concurrency: how many requests of one call are on their way at once, 4 by default.

    Raises:
        ConfigurationError: the message says what to set.
        InvalidRequestError: `top_n` or `rank_fields` out of range.
    """

    def __init__(
        self,
        model: str,
        *,
        provider: Provider | None = None,
        http_client: Any = None,
        async_http_client: Any = None,
        **settings: Unpack[Settings],
    ) -> None:
        hide_headers(settings)
        refuse_unknown("RerankClient", settings, _ARGUMENTS)
        model, provider = resolved(model, provider)
        _check_clients(provider, http_client, async_http_client)
        self._options = Options(provider=provider, model=model, **settings)  # type: ignore[arg-type]
        self._lane = Lane(http_client, async_http_client)

    @property
    def model(self) -> str:
        """The model, as the provider spells it."""
        return self._options.model

    @property
    def provider(self) -> Provider:
        """The provider, with its key hidden."""
        return self._options.provider

    @property
    def top_n(self) -> int | None:
        """How many results a call returns; None for all."""
        return self._options.top_n

    @property
    def rank_fields(self) -> Sequence[str] | None:
        """The fields that a call ranks by; None for all of a document's."""
        return self._options.rank_fields

    def rerank(
        self, query: str, documents: Iterable[DocumentInput], **options: Unpack[CallOptions]
    ) -> RerankResponse:
        """Rank documents by their relevance to the query, best first.

        Args:
            query: the text to rank by.
            documents: strings, mappings of fields or `RerankDocument`s; none of them is changed.
                An empty list gives an empty response and sends nothing.
            **options: `model`, or any setting of the client but the HTTP clients, for this call
                instead of the client's; headers and body keys are added to the client's.

        Raises:
            InvalidRequestError: refused here; nothing was sent.
            TransportError: no complete answer came.
            ResponseError: an answer came that cannot be trusted.
            StatusError: the provider answered with an error.
        """
        given, documents = Hidden(documents), ()
        try:
            call = prepare(self._options.but("rerank", CallOptions, options), query, given.reveal())
            return run(rerank_flow(call), self._lane)
        except RerankError as error:
            # its frames hold documents and answers, which error trackers would store
            raise error.with_traceback(None)  # noqa: B904

    async def arerank(
        self, query: str, documents: Iterable[DocumentInput], **options: Unpack[CallOptions]
    ) -> RerankResponse:
        """The same as `rerank`, without blocking the event loop."""
        given, documents = Hidden(documents), ()
        try:
            call = prepare(
                self._options.but("arerank", CallOptions, options), query, given.reveal()
            )
            return await arun(rerank_flow(call), self._lane)
        except RerankError as error:
            raise error.with_traceback(None)  # noqa: B904

    def with_options(self, **changes: Unpack[ClientOptions]) -> Self:
        """A copy with other options, headers and body keys added to those in force.

        It shares this client's connections, so closing either closes both.

        Args:
            **changes: `provider`, `model` and every option of `rerank`. Without a new `provider`
                the model stays with the one in force.
        """
        return self._alike(self._options.but("with_options", ClientOptions, changes), self._lane)

    def close(self) -> None:
        """Close the connections; a call afterwards is an error.

        Those of an event loop close when the loop ends, or with `aclose()` on it.
        """
        self._lane.close()

    async def aclose(self) -> None:
        """Close the connections, those of the running event loop included."""
        await self._lane.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __copy__(self) -> Self:
        return self._alike(self._options, self._lane.unopened())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()  # the options never change, so they can be shared

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self._options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._options = state["options"]
        self._lane = Lane()

    def __repr__(self) -> str:
        if not hasattr(self, "_options"):  # shown in a traceback out of __init__
            return "RerankClient(...)"
        return f"RerankClient({self.model!r}, provider={self.provider!r}, top_n={self.top_n})"

    def _alike(self, options: Options, lane: Lane) -> Self:
        other = object.__new__(type(self))
        other._options = options
        other._lane = lane
        return other


def _check_clients(provider: Provider, http_client: Any, async_http_client: Any) -> None:
    pairs = (("http_client", http_client, False), ("async_http_client", async_http_client, True))
    for name, client, is_async in pairs:
        if client is None:
            continue
        if provider.handler is not None:
            raise ConfigurationError(
                f"{name} has no use with {provider.name}, which sends nothing over the network"
            )
        send = getattr(client, "send", None)
        fits = callable(getattr(client, "build_request", None)) and callable(send)
        if not fits or inspect.isclass(client) or inspect.iscoroutinefunction(send) is not is_async:
            kind = "httpx.AsyncClient" if is_async else "httpx.Client"
            raise ConfigurationError(f"{name} must be an {kind}, not {type(client).__name__}")
