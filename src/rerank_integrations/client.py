"""RerankClient: one client for every provider, sync and async."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, Unpack

from rerank_integrations._arguments import refuse_unknown
from rerank_integrations._drive import AnyFlow, run
from rerank_integrations._fallback import Candidate, fallback_flow
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
from rerank_integrations.models import DocumentInput, RerankResponse, listed
from rerank_integrations.providers.base import Provider

__all__ = ["CallOptions", "RerankClient"]

_OF_ONE_PROVIDER = ("model", "extra_headers", "extra_body")
_ARGUMENTS = (*ClientOptions.__annotations__, "http_client", "async_http_client", "fallbacks")


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
        fallbacks: who answers when the provider fails, one after another: "provider:model", with
            the settings of this client but its headers and body keys, or a client with its own.
            What is wrong with the call itself is raised at once. The time is shared: with one
            fallback the provider has half of the deadline.
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
        on_partial: when one request of several fails, "raise" fails the call; "keep" ranks what
            was answered, and names the documents that are missing in the response.
        requests_per_minute: how many requests this client and its copies send in any minute, in
            all threads and tasks together; the rest wait. None for no limit.
        documents_per_minute: the same for documents.

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
        fallbacks: Sequence[str | RerankClient] = (),
        **settings: Unpack[Settings],
    ) -> None:
        hide_headers(settings)
        refuse_unknown("RerankClient", settings, _ARGUMENTS)
        model, provider = resolved(model, provider)
        _check_clients(provider, http_client, async_http_client)
        self._options = Options(provider=provider, model=model, **settings)  # type: ignore[arg-type]
        self._lane = Lane(http_client, async_http_client)
        chains = map(self._fallback, _checked_list(fallbacks))
        self._fallbacks = tuple(one for chain in chains for one in chain)

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
            return run(self._flow("rerank", query, given, options), self._lane)
        except RerankError as error:
            # its frames hold documents and answers, which error trackers would store
            raise error.with_traceback(None)  # noqa: B904

    async def arerank(
        self, query: str, documents: Iterable[DocumentInput], **options: Unpack[CallOptions]
    ) -> RerankResponse:
        """The same as `rerank`, without blocking the event loop."""
        from rerank_integrations._loop_drive import arun  # noqa: PLC0415  # slow

        given, documents = Hidden(documents), ()
        try:
            return await arun(self._flow("arerank", query, given, options), self._lane)
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
        for lane in self._lanes():
            lane.close()

    async def aclose(self) -> None:
        """Close the connections, those of the running event loop included."""
        for lane in self._lanes():
            await lane.aclose()

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
        other = self._alike(self._options, self._lane.unopened())
        other._fallbacks = tuple(  # noqa: SLF001
            one._replace(lane=one.lane.unopened()) if one.is_own else one for one in self._fallbacks
        )
        return other

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()  # the options never change, so they can be shared

    def __getstate__(self) -> dict[str, Any]:
        return {"options": self._options, "fallbacks": [one.options for one in self._fallbacks]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._options = state["options"]
        self._fallbacks = tuple(
            _Fallback(options, Lane(), is_own=True) for options in state["fallbacks"]
        )
        self._lane = Lane()

    def __repr__(self) -> str:
        if not hasattr(self, "_options"):  # shown in a traceback out of __init__
            return "RerankClient(...)"
        return f"RerankClient({self.model!r}, provider={self.provider!r}, top_n={self.top_n})"

    def _flow(self, owner: str, query: str, documents: Hidden[Any], changes: Any) -> AnyFlow:
        """The steps of a call; what is wrong with it is raised now."""
        options = self._options.but(owner, CallOptions, changes)
        if not self._fallbacks:
            return rerank_flow(prepare(options, query, documents.reveal()))
        given = Hidden(listed(documents.reveal()))
        own = prepare(options, query, given.reveal())

        def candidate(other: _Fallback) -> Candidate:
            its = other.options.but(owner, CallOptions, dict(shared))
            return Candidate(its, other.lane, lambda: prepare(its, query, given.reveal()))

        shared: Any = {name: changes[name] for name in changes if name not in _OF_ONE_PROVIDER}
        for name in ("top_n", "rank_fields", "deadline"):
            shared[name] = getattr(options, name)
        others = map(candidate, self._fallbacks)
        return fallback_flow([Candidate(options, self._lane, lambda: own), *others])

    def _lanes(self) -> list[Lane]:
        return [self._lane, *(other.lane for other in self._fallbacks if other.is_own)]

    def _fallback(self, given: object) -> list[_Fallback]:
        """The client or name that was given, and the fallbacks of that client."""
        if isinstance(given, RerankClient):
            client = _Fallback(given._options, given._lane, is_own=False)  # noqa: SLF001
            return [client, *(one._replace(is_own=False) for one in given._fallbacks)]  # noqa: SLF001
        if not isinstance(given, str):
            raise ConfigurationError(
                "a fallback is 'provider:model', such as 'local:bm25', or a RerankClient, "
                f"not {type(given).__name__}"
            )
        model, provider = resolved(given, None)
        options = dataclasses.replace(
            self._options,
            model=model,
            provider=provider,
            extra_headers=Hidden(None),  # headers and body keys are for one provider
            extra_body=None,
        )
        return [_Fallback(options, Lane(), is_own=True)]

    def _alike(self, options: Options, lane: Lane) -> Self:
        other = object.__new__(type(self))
        other._options = options
        other._lane = lane
        other._fallbacks = self._fallbacks
        return other


class _Fallback(NamedTuple):
    """Who answers in the provider's place; its lane is closed with the client if it is its own."""

    options: Options
    lane: Lane
    is_own: bool


def _checked_list(fallbacks: Any) -> Sequence[Any]:
    if isinstance(fallbacks, str | RerankClient) or not isinstance(fallbacks, Sequence):
        raise ConfigurationError("fallbacks must be a list, such as ['local:bm25']")
    return fallbacks


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
        import inspect  # noqa: PLC0415  # slow, and rare

        if not fits or inspect.isclass(client) or inspect.iscoroutinefunction(send) is not is_async:
            kind = "httpx.AsyncClient" if is_async else "httpx.Client"
            raise ConfigurationError(f"{name} must be an {kind}, not {type(client).__name__}")
