"""RerankClient: one client for every provider, sync and async."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from os import PathLike
from time import time_ns
from types import TracebackType
from typing import Any, NamedTuple, Self, overload

from pydantic import SecretStr

from rerank_integrations._cache import MEMORY, CacheSetting, cache_of
from rerank_integrations._checkpoint import open_store
from rerank_integrations._engine import MakeCall, run_async, run_sync, timed
from rerank_integrations._ledger import Ledger, Price, Progress, reporter
from rerank_integrations._many import (
    AsyncManyResults,
    ManyResults,
    OnRowError,
    Plan,
    PreparedCall,
    TaskRun,
    ThreadRun,
    check_many,
)
from rerank_integrations._options import (
    MAX_REQUEST_BYTES,
    NOT_GIVEN,
    AsyncHTTPClient,
    HTTPClient,
    NotGiven,
    OnImage,
    OnInvalidDocument,
    OnPartial,
    Options,
    Retry,
    ScoreTransform,
    Timeout,
    check_given,
    checked_arguments,
    given,
    named,
    resolved,
)
from rerank_integrations._request import RequestPlan, plan_request
from rerank_integrations._retry import (
    Candidate,
    fallback_call,
    known_models,
    models_call,
    rerank_call,
)
from rerank_integrations._rows import Row, aread_rows, read_rows
from rerank_integrations._secrets import Secret
from rerank_integrations._shared_limit import RateLimitStore, shared_reserve
from rerank_integrations._tracing import Subject, current_context, refuse
from rerank_integrations._transport import Transport, running_loop
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.fields import shown_query
from rerank_integrations.images import MAX_IMAGE_BYTES, ImageUrls
from rerank_integrations.models import (
    DocumentInput,
    DocumentT,
    QueryInput,
    RerankResponse,
    as_list,
)
from rerank_integrations.providers._model_list import ModelInfo
from rerank_integrations.providers.base import Provider

# settings of a call that hold for the first model only; a threshold is on the scale of its scores
_OF_ONE_MODEL = ("model", "score_threshold", "score_transform")
_OF_ONE_PROVIDER = (*_OF_ONE_MODEL, "extra_headers", "extra_body")
_CALL_SETTINGS = frozenset(option.name for option in dataclasses.fields(Options)) - {
    *("provider", "max_concurrency")  # in `rerank_many` the latter counts calls
}
# attributes that a pickle leaves out, and all attributes that a subclass did not add
_OF_PROCESS = frozenset({"_share", "_also_closed"})
_ATTRIBUTES = _OF_PROCESS | {"_options", "_transport", "_fallbacks"}
_SETTINGS = frozenset(option.name for option in dataclasses.fields(Options)) - {"model", "provider"}


class RerankClient:
    """Ranks documents by their relevance to a query.

    Several threads and event loops can use one client, at the same time or one after another.
    Copies and pickles do not carry over open connections. A pickle holds the key in clear text.

    Args:
        model: "provider:model", such as `"openrouter:cohere/rerank-v3.5"` or `"local:bm25"`;
            with `provider`, the model alone.
        provider: a provider object, for more options than a key from the environment.
        api_key: the key for the provider that `model` names. None reads the provider's environment
            variable.
        base_url: another address for that provider.
        http_client: an `httpx.Client`, or a callable that creates one, such as
            `functools.partial(httpx.Client, proxy="http://localhost:3128")`. A client that you
            pass is never closed and never pickled; a forked child refuses it if the parent has
            used it. A callable is called once in each process, and the client that it creates is
            closed with this one. Redirects are followed only within the same origin.
        async_http_client: the same with `httpx.AsyncClient`. A callable is called once for each
            event loop.
        fallbacks: models or clients to use, in this order, when the provider fails. A name uses
            the settings of this client, without its `score_transform` and `score_threshold`, and
            without an `instruction` that the model does not take. A model of the same provider is
            requested with the same key, address, provider arguments, headers and body keys;
            another provider gets none of them. A client uses its own settings, with the `top_n`,
            `rank_fields` and `deadline` of this one.
            Invalid requests are raised immediately. All of them share the deadline: with one
            fallback, the provider has half of it.
        top_n: the maximum number of results; None (the default) returns all.
        rank_fields: names of the fields to rank by, in order. `"text"` is a document's own text,
            `"a.b"` is field b of field a. None ranks by all fields of a document.
        instruction: what the model should look for, such as "find the page that answers the
            question". It is sent in the provider's own form. A model that takes no instruction
            raises a `ConfigurationError`.
        score_transform: "sigmoid" converts a logit to a probability; a function converts one score
            to another. None (the default) leaves the provider's scores unchanged.
        score_threshold: the minimum score of a result, after `score_transform`; None (the default)
            keeps all results. Score scales differ between models.
        timeout: seconds for each phase of a request, or an `httpx.Timeout`; None waits forever.
            The default is 5 s to connect and 30 s for the rest, or the timeout of your
            `http_client`.
        deadline: seconds for the whole call, including retries and backoff, 60 by default; None
            for no limit. The wait for a slot of `requests_per_minute` or `documents_per_minute`
            is not counted; it may take up to the same number of seconds.
        max_retries: how often a request is retried after a transient failure, 2 by
            default. A request whose response was lost may be billed again.
        retry_on_timeout: whether a request that timed out while waiting for its response is
            retried, True by default. Set it to False for a server that queues requests: it may
            still be working on the first one.
        retry: a `Retry`, the whole retry policy, in place of `max_retries` and `retry_on_timeout`.
        extra_headers: headers to add to every request.
        extra_body: keys to add to the request body, for options that the provider object does not
            have.
        on_image: what happens to an image if the provider takes only text: "raise" is an error,
            "text" uses the text alone and warns. By default such a document is invalid, and
            `on_invalid_document` decides; such a query is an error.
        on_invalid_document: what happens to a document that cannot be sent, such as one with an
            image that is refused, with bytes in a field, or larger than `max_request_bytes`.
            "raise" (the default) fails the call, and the error names the document. "skip" leaves
            out the document, lists it in `response.skipped` and warns. "text" (the default of
            adapters) leaves out only an image, ranks the document by its text and warns; a
            document without text is skipped. If no document is left to send, the call fails.
        max_document_chars: longer texts are truncated at a word boundary before they are sent,
            with a warning; None (the default) sends the whole text.
        max_image_bytes: the size of the largest image to send, 10 MiB by default; None for no
            limit.
        max_image_pixels: images with more pixels are resized before they are sent. Needs the extra
            `images`.
        image_urls: which image URLs are passed on to the provider: "any" (the default), "public"
            (no private addresses) or "none". URLs are never fetched here.
        max_documents_per_request: a longer list is split into several requests, and their results
            are ranked together, unless the model's scores depend on the whole list. By default
            1000, or the provider's own limit; None for no limit.
        max_request_bytes: the same limit for the size of a request body, 32 MiB by default.
        max_concurrency: how many requests of one call are in flight at once, 4 by default.
        on_partial: what happens when one request of a split call fails: "raise" fails the call,
            "keep" ranks the other documents and lists the missing ones in `response.missing`.
        requests_per_minute: how many requests this client and its copies send in any minute, in
            all threads and tasks together; further requests wait. None for no limit.
        documents_per_minute: the same limit for documents.
        keep_raw: whether `response.raw` keeps the parsed body of each response, False by default.
        trace_content: whether OpenTelemetry spans show the query and the documents, True by
            default. Images are never shown.
        cache: where scores are stored, so that the same pair of query and document is not sent and
            paid for twice: `"memory"`, `"sqlite:///path"` or a `RerankCache`. None (the default)
            for no cache.

    Raises:
        ConfigurationError: an argument is invalid or a key is missing; the message says what to
            set.
        InvalidRequestError: `top_n` or `rank_fields` is invalid.
    """

    _also_closed: tuple[Transport, ...] = ()

    @checked_arguments
    def __init__(
        self,
        model: str,
        *,
        provider: Provider | None = None,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        http_client: HTTPClient | Callable[[], HTTPClient] | None = None,
        async_http_client: AsyncHTTPClient | Callable[[], AsyncHTTPClient] | None = None,
        fallbacks: Sequence[str | RerankClient] = (),
        top_n: int | None = None,
        rank_fields: Sequence[str] | None = None,
        instruction: str | None = None,
        score_transform: ScoreTransform | None = None,
        score_threshold: float | None = None,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | None = 60.0,
        max_retries: int = 2,
        retry_on_timeout: bool = True,
        retry: Retry | None = None,
        extra_headers: Mapping[str, str] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | None = None,
        max_image_bytes: int | None = MAX_IMAGE_BYTES,
        max_image_pixels: int | None = None,
        image_urls: ImageUrls = "any",
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | None = MAX_REQUEST_BYTES,
        max_concurrency: int = 4,
        on_partial: OnPartial = "raise",
        requests_per_minute: int | None = None,
        documents_per_minute: int | None = None,
        keep_raw: bool = False,
        trace_content: bool = True,
        cache: CacheSetting | None = None,
    ) -> None:
        settings = {name: value for name, value in locals().items() if name in _SETTINGS}
        self._set_up(model, provider, api_key, base_url, settings)
        _check_clients(self.provider, http_client, async_http_client)
        self._transport = Transport(http_client, async_http_client)
        self._share = self._transport.share()
        chains = map(self._fallback, _checked_list(fallbacks))
        self._fallbacks = tuple(one for chain in chains for one in chain)

    def _set_up(
        self,
        model: str,
        provider: Provider | None,
        api_key: Any,
        base_url: str | None,
        settings: dict[str, Any],
    ) -> None:
        own = {"api_key": api_key, "base_url": base_url}
        own = {name: value for name, value in own.items() if value is not None}
        if provider is not None and own:
            raise ConfigurationError(
                f"{' and '.join(own)} cannot be combined with provider=; pass "
                f"{'it' if len(own) == 1 else 'them'} to the provider object"
            )
        model, provider = resolved(model, provider, **own)
        if settings["extra_headers"] is None:
            del settings["extra_headers"]
        self._options = Options(provider=provider, model=model, **settings)

    @property
    def model(self) -> str:
        """The name of the model, without the provider."""
        return self._options.model

    @property
    def provider(self) -> Provider:
        """The provider object; its repr hides the key."""
        return self._options.provider

    @property
    def top_n(self) -> int | None:
        """The maximum number of results of a call; None for all."""
        return self._options.top_n

    @property
    def rank_fields(self) -> Sequence[str] | None:
        """The fields that a call ranks by; None for all fields of a document."""
        return self._options.rank_fields

    @property
    def on_invalid_document(self) -> OnInvalidDocument | NotGiven:
        """What happens to a document that cannot be sent; NOT_GIVEN means "raise"."""
        return self._options.on_invalid_document

    @overload
    def rerank(
        self,
        query: QueryInput,
        documents: Iterable[DocumentT],
        *,
        model: str | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> RerankResponse[DocumentT]: ...
    @overload  # for lists of several types, which type checkers may not name
    def rerank(  # type: ignore[overload-cannot-match]
        self,
        query: QueryInput,
        documents: Iterable[DocumentInput],
        *,
        model: str | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> RerankResponse[Any]: ...
    @checked_arguments
    def rerank(
        self,
        query: QueryInput,
        documents: Iterable[DocumentInput],
        *,
        model: str | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> RerankResponse[Any]:
        """Rank documents by their relevance to the query, best first.

        Args:
            query: the text to rank by; or, if the provider takes an image as the query, a
                `RerankDocument` or a mapping with an `image`, a `text`, or both.
            documents: strings, mappings of fields or `RerankDocument`s, which are not modified.
                An empty list returns an empty response and sends nothing.
            model: another model of the same provider, without `provider:`.

        The other arguments are the settings of the client, for this call only. Headers and body
        keys are added to those of the client; every other argument replaces its setting.

        Returns:
            The results, best first, at most `top_n`, with usage and request id. Blank documents
            are not sent; their indexes are in `skipped`.

        Raises:
            InvalidRequestError: the call is invalid; nothing was sent.
            ConfigurationError: an argument is invalid, or the client is closed.
            TransportError: no complete response was received.
            ResponseError: a 2xx response is invalid.
            StatusError: the server returned an error status.
            ScorerError: the scorer of `Local` failed.
        """
        call = self._prepare(query, documents, given(locals()))
        if self.provider.handler is None:
            self._transport.sender()  # making it does not count against the deadline
        return run_sync(*call)

    @overload
    async def arerank(
        self,
        query: QueryInput,
        documents: Iterable[DocumentT],
        *,
        model: str | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> RerankResponse[DocumentT]: ...
    @overload  # for lists of several types, which type checkers may not name
    async def arerank(  # type: ignore[overload-cannot-match]
        self,
        query: QueryInput,
        documents: Iterable[DocumentInput],
        *,
        model: str | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> RerankResponse[Any]: ...
    @checked_arguments
    async def arerank(
        self,
        query: QueryInput,
        documents: Iterable[DocumentInput],
        *,
        model: str | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> RerankResponse[Any]:
        """Async version of `rerank`."""
        running_loop()
        changes = given(locals())
        if changes.get("max_image_pixels", self._options.max_image_pixels) is None:
            call = self._prepare(query, documents, changes)
        else:  # to decode and resize images takes long
            call = await asyncio.to_thread(self._prepare, query, documents, changes)
        if self.provider.handler is None:
            await self._transport.async_sender()
        return await run_async(*call)

    @checked_arguments
    def models(self, *, refresh: bool = False) -> list[ModelInfo]:
        """List the rerank models that the provider offers.

        The list is cached: this client, and copies of it with the same provider that share its
        connections, request it once. If a server does not mark its rerank models, all models are
        listed. `local:` lists its own model.

        Args:
            refresh: request the list again.

        Returns:
            The models in the order of the provider's list.

        Raises:
            ConfigurationError: the provider has no such list; the message names its documentation.
            NotFoundError: this server has no such list.
            RerankError: the same errors as from `rerank`, with the same timeouts, retries and
                deadline. Fallbacks are not used.
        """
        found = self._known_models(refresh)
        if found is None:
            self._transport.sender()
            found = run_sync(self._list_call())
        return list(found)

    @checked_arguments
    async def amodels(self, *, refresh: bool = False) -> list[ModelInfo]:
        """Async version of `models`."""
        running_loop()
        found = self._known_models(refresh)
        if found is None:
            await self._transport.async_sender()
            found = await run_async(self._list_call())
        return list(found)

    @checked_arguments
    def rerank_many(
        self,
        rows: Iterable[Mapping[str, Any]] | str | PathLike[str],
        *,
        max_concurrency: int = 64,
        preserve_order: bool = False,
        on_error: OnRowError = "raise",
        max_cost: float | None = None,
        max_requests: int | None = None,
        price: Price | None = None,
        checkpoint: str | PathLike[str] | None = None,
        rate_limit: RateLimitStore | None = None,
        progress: bool | Callable[[Progress], Any] = False,
        model: str | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> ManyResults:
        """Rank the documents of many rows concurrently, and yield each result when it is ready.

        Args:
            rows: an iterable of `{"id": ..., "query": ..., "documents": [...]}`, or the path of a
                JSONL file with such an object on each line. An `id` is a str or an int; without
                one, the id of a row is its number, counted from 1, or its line number in a file.
                Other keys are not sent. Rows are read in threads of the run, one thread at a time;
                at most `3 * max_concurrency` rows are read but not yet returned.
            max_concurrency: how many calls are in flight at once. The client's own
                `max_concurrency` limits the requests of one call whose list is split.
            preserve_order: whether results come in the order of the rows; by default each comes
                when it is ready.
            on_error: "raise" ends the run with the error of the first row that fails; "keep" puts
                it into `result.error` and continues.
            max_cost: the budget in US dollars: no call starts that could exceed it. The cost of a
                call is known only from its response. So the largest cost so far is reserved for
                each call in flight, and calls run one at a time until the first cost is known.
            max_requests: the same limit for the number of requests.
            price: a `Price`, if responses do not report the cost.
            checkpoint: a file that stores finished rows: `.sqlite`, or `.jsonl` with one line for
                each result. A run with the same file sends only rows that are not in it.
            rate_limit: `"sqlite:///path"`, a file through which processes on one machine share
                `requests_per_minute` and `documents_per_minute`; or an object with a method
                `reserve(requests, documents)`, which takes a slot and returns the seconds until it
                begins.
            progress: a function that is called with a `Progress` after each row; True shows a
                progress bar of tqdm.
            model: another model of the same provider, without `provider:`.

        The other arguments are the settings of the client. A call waits without a limit for a slot
        of the rate limit, and its deadline starts with the slot.

        Returns:
            An iterator over the `RowResult` of each row. Its attributes `usage`, `cost` and
            `requests` hold the totals so far.

        Raises:
            BudgetExceededError: the next call could exceed `max_cost` or `max_requests`. The
                results of calls in flight are yielded first.
            CheckpointMismatchError: the checkpoint belongs to another run.
            ConfigurationError: an argument is invalid, or `max_cost` is set and the cost cannot be
                known.
            InvalidRequestError: a row is malformed; the message has its number.
        """
        given_now = given(locals())
        changes = _settings_of_all(given_now)
        shared = shared_reserve(rate_limit, self._options.replace(changes).rate_limit())
        source = read_rows(rows)
        plan = self._plan_of(given_now, changes)

        def prepare(row: Row) -> PreparedCall:
            make_call, subject = self._prepare(row.query, row.documents, changes)

            def run() -> tuple[RerankResponse, float]:
                self._check_open()
                took: list[float] = []
                timed_call = timed(make_call, took.append)
                return run_sync(timed_call, subject, patient=True, shared=shared), took[0]

            return PreparedCall(run, is_free=not subject.plan.chunks)

        return ManyResults(plan, ThreadRun(plan, source, prepare).results())

    @checked_arguments
    def arerank_many(
        self,
        rows: AsyncIterable[Mapping[str, Any]] | Iterable[Mapping[str, Any]] | str | PathLike[str],
        *,
        max_concurrency: int = 64,
        preserve_order: bool = False,
        on_error: OnRowError = "raise",
        max_cost: float | None = None,
        max_requests: int | None = None,
        price: Price | None = None,
        checkpoint: str | PathLike[str] | None = None,
        rate_limit: RateLimitStore | None = None,
        progress: bool | Callable[[Progress], Any] = False,
        model: str | NotGiven = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> AsyncManyResults:
        """Async version of `rerank_many`; `rows` may be an async iterable too."""
        given_now = given(locals())
        changes = _settings_of_all(given_now)
        shared = shared_reserve(rate_limit, self._options.replace(changes).rate_limit())
        source = aread_rows(rows)
        plan = self._plan_of(given_now, changes)

        context = current_context()

        def prepare(row: Row) -> PreparedCall:
            around = context if row.trace_context is None else row.trace_context
            make_call, subject = self._prepare(row.query, row.documents, changes, around)

            async def run() -> tuple[RerankResponse, float]:
                self._check_open()
                took: list[float] = []
                timed_call = timed(make_call, took.append)
                return await run_async(timed_call, subject, patient=True, shared=shared), took[0]

            return PreparedCall(run, is_free=not subject.plan.chunks)

        return AsyncManyResults(plan, TaskRun(plan, source, prepare).results())

    @checked_arguments
    def with_options(
        self,
        *,
        model: str | NotGiven = NOT_GIVEN,
        provider: Provider | NotGiven | None = NOT_GIVEN,
        top_n: int | NotGiven | None = NOT_GIVEN,
        rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
        instruction: str | NotGiven | None = NOT_GIVEN,
        score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
        score_threshold: float | NotGiven | None = NOT_GIVEN,
        timeout: Timeout | NotGiven = NOT_GIVEN,
        deadline: float | NotGiven | None = NOT_GIVEN,
        max_retries: int | NotGiven = NOT_GIVEN,
        retry_on_timeout: bool | NotGiven = NOT_GIVEN,
        retry: Retry | NotGiven | None = NOT_GIVEN,
        extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
        extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
        on_image: OnImage | NotGiven = NOT_GIVEN,
        on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
        max_document_chars: int | NotGiven | None = NOT_GIVEN,
        max_image_bytes: int | NotGiven | None = NOT_GIVEN,
        max_image_pixels: int | NotGiven | None = NOT_GIVEN,
        image_urls: ImageUrls | NotGiven = NOT_GIVEN,
        max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
        max_request_bytes: int | NotGiven | None = NOT_GIVEN,
        max_concurrency: int | NotGiven = NOT_GIVEN,
        on_partial: OnPartial | NotGiven = NOT_GIVEN,
        requests_per_minute: int | NotGiven | None = NOT_GIVEN,
        documents_per_minute: int | NotGiven | None = NOT_GIVEN,
        keep_raw: bool | NotGiven = NOT_GIVEN,
        trace_content: bool | NotGiven = NOT_GIVEN,
        cache: CacheSetting | NotGiven | None = NOT_GIVEN,
    ) -> Self:
        """Return a copy with other settings, which shares the connections of this client.

        Closing this client closes the connections. Closing the copy leaves them open, unless this
        client no longer exists and no other copy is open. Headers and body keys are added to those
        of this client, unless the copy has another provider: what is for one vendor is not sent to
        another. Every other argument replaces its setting. Fallbacks given by name use the new
        settings too.

        Args:
            model: another model of the same provider, or of `provider` if that is passed.
            provider: another provider object; None takes the provider from `model`, which is then
                "provider:model".

        The other arguments are the settings of the client.

        Raises:
            ConfigurationError: an argument is invalid.
            InvalidRequestError: `top_n` or `rank_fields` is invalid.
        """
        options = self._options.replace(given(locals()))
        fallbacks = tuple(
            one if one.transport else _by_name(options, one.options.model, one.options.provider)
            for one in self._fallbacks
        )
        share = self._transport.share(self._share)
        return self._copy(_options=options, _fallbacks=fallbacks, _share=share)

    def close(self) -> None:
        """Close the connections; later calls raise a `ConfigurationError`.

        Connections of an event loop are closed when the loop ends, or by `aclose()` on that loop.
        Closing a copy made by `with_options` leaves the connections of the original open.
        """
        for transport in self._to_close():
            transport.close()

    async def aclose(self) -> None:
        """Close the connections, including those of the running event loop."""
        for transport in self._to_close():
            await transport.aclose()

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
        transport = self._transport.clone()
        return self._copy(_transport=transport, _share=transport.share(), _also_closed=())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        memo[id(self)] = other = self.__copy__()  # options never change, so they can be shared
        for name in vars(self).keys() - _ATTRIBUTES:  # of a subclass
            setattr(other, name, deepcopy(getattr(self, name), memo))
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _OF_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._share = self._transport.share()
        # the clients that the fallbacks came from were not pickled, so they are closed here
        self._also_closed = tuple(one.transport for one in self._fallbacks if one.transport)

    def __repr__(self) -> str:
        if not hasattr(self, "_options"):  # shown in a traceback out of __init__
            return "RerankClient(...)"
        return f"RerankClient({self.model!r}, provider={self.provider!r}, top_n={self.top_n})"

    def _copy(self, **changes: Any) -> Self:
        """Return a copy with some attributes changed; attributes of a subclass are kept."""
        other = object.__new__(type(self))
        vars(other).update(vars(self) | changes)
        return other

    def _to_close(self) -> tuple[Transport, ...]:
        """Mark this client as closed, and return the transports to close with it."""
        closes = self._transport.leave(self._share)
        return (self._transport, *self._also_closed) if closes else ()

    def _check_open(self) -> None:
        """Raise ConfigurationError if the client was closed."""
        self._transport.check_open(self._share)

    def _known_models(self, refresh: bool) -> Sequence[ModelInfo] | None:  # noqa: FBT001
        """Return the models, or None if the list must be requested."""
        self._check_open()
        found = known_models(self._options, self._transport)
        return None if refresh and self.provider.own_models() is None else found

    def _list_call(self) -> MakeCall[Sequence[ModelInfo]]:
        return lambda _: models_call(self._options, self._transport)

    def _prepare(
        self, query: Any, documents: Any, changes: Any, context: Any = None
    ) -> tuple[MakeCall[RerankResponse], Subject]:
        """Check and encode a call; validation errors are raised immediately, and traced."""
        started = time_ns()
        try:
            make_call, plan = self._planned(query, documents, changes)
            self._check_open()
        except BaseException as error:
            shows = changes.get("trace_content", self._options.trace_content) is True
            asked = RequestPlan(
                self._options.replace({"trace_content": shows}),
                query=shown_query(query),
                documents=documents if isinstance(documents, list | tuple) else (),
            )
            refuse(Subject(asked, started, context), error)
            raise
        return make_call, Subject(plan, started, context)

    def _planned(
        self, query: Any, documents: Any, changes: Any
    ) -> tuple[MakeCall[RerankResponse], RequestPlan]:
        """What makes the call, and what is asked.

        Raises:
            RerankError: what is wrong with it.
        """
        if isinstance(changes.get("cache"), str) and changes["cache"] == MEMORY:
            raise ConfigurationError(
                "cache='memory' for one call creates a cache that the next call cannot use; set it "
                "on the client, or pass a RerankCache() that you keep"
            )
        options = self._options.replace(changes)
        if not self._fallbacks:
            plan = plan_request(options, query, documents)
            return lambda _: rerank_call(plan, self._transport), plan
        given = as_list(documents)
        own = plan_request(options, query, given)
        asked = {name: getattr(options, name) for name in ("top_n", "rank_fields", "deadline")}

        def candidate(fallback: _Fallback) -> Candidate:
            is_own = fallback.transport is None and fallback.options.provider is options.provider
            other = _OF_ONE_MODEL if is_own else _OF_ONE_PROVIDER
            shared = {name: changes[name] for name in changes if name not in other} | asked
            its = fallback.options.replace(_that_fit(fallback.options, shared))
            transport = fallback.transport or self._transport
            return Candidate(its, transport, lambda: plan_request(its, query, given))

        candidates = [
            Candidate(options, self._transport, lambda: own),
            *map(candidate, self._fallbacks),
        ]
        return lambda clock: fallback_call(candidates, clock), own

    def _plan_of(self, arguments: dict[str, Any], changes: dict[str, Any]) -> Plan:
        """Return the plan of a run of many calls.

        Raises:
            ConfigurationError: an argument is invalid.
            CheckpointMismatchError: the checkpoint belongs to another run.
        """
        check_many(arguments)
        ledger = Ledger(arguments["max_cost"], arguments["max_requests"], arguments["price"])
        if ledger.max_cost is not None:
            self._check_cost(ledger.price)
        options = self._options.replace(changes)  # checks them before the first row
        path = arguments["checkpoint"]
        report = reporter(arguments["progress"], arguments["rows"])
        return Plan(
            ledger,
            arguments["max_concurrency"],
            arguments["preserve_order"],
            arguments["on_error"],
            None if path is None else open_store(path, options),
            report,
            options.cache is not None,
        )

    def _check_cost(self, price: Price | None) -> None:
        """Refuse `max_cost` if no response would report the cost."""
        every = [self.provider, *(one.options.provider for one in self._fallbacks)]
        if price is not None or any(one.may_say_cost() for one in every):
            return
        names = " and ".join(dict.fromkeys(one.name for one in every))
        cure = "pass price=Price(per_1000_search_units=...) or price=Price(per_million_tokens=...)"
        if all(one.handler is not None for one in every):
            cure = "leave it out for what runs in this process"
        raise ConfigurationError(
            f"max_cost needs to know the cost, and responses of {names} do not say it: {cure}"
        )

    def _takes_image_query(self) -> bool:
        """Whether this client or a fallback takes an image as the query."""
        every = (self._options, *(one.options for one in self._fallbacks))
        return any(options.provider.takes_image_query(options.model) for options in every)

    def _takes_retrieval_scores(self) -> bool:
        """Whether this client or a fallback uses the `retrieval_score` of documents."""
        every = (self._options, *(one.options for one in self._fallbacks))
        return any(options.provider.takes_retrieval_scores for options in every)

    def _fallback(self, given: object) -> list[_Fallback]:
        """Return a fallback for the client or name, followed by the fallbacks of that client."""
        if isinstance(given, RerankClient):
            theirs = [_Fallback(given._options, None), *given._fallbacks]  # noqa: SLF001
            transport = given._transport  # noqa: SLF001
            return [one._replace(transport=one.transport or transport) for one in theirs]
        model, found = _named_fallback(given, self.provider)
        provider = found() if isinstance(found, type) else found
        return [_by_name(self._options, model, provider)]

    def _alone(self) -> Self:
        """Return a copy without fallbacks, which shares the connections."""
        return self._copy(_fallbacks=(), _share=self._transport.share(self._share))


def _settings_of_all(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the call settings of a run; its cache is created once, for all calls."""
    changes = {name: arguments[name] for name in arguments if name in _CALL_SETTINGS}
    if "cache" in changes:
        changes["cache"] = cache_of(changes["cache"])
    return changes


class _Fallback(NamedTuple):
    """A model to use when the provider fails.

    `transport` is that of another client; None if the fallback was given by name.
    """

    options: Options
    transport: Transport | None


def _by_name(options: Options, model: str, provider: Provider) -> _Fallback:
    """Return a fallback that was given by name, with the settings of the client."""
    if provider.name == options.provider.name:  # with_options may have replaced it
        provider = options.provider.for_fallback(model)
    changes: dict[str, Any] = dict.fromkeys(("instruction", *_OF_ONE_MODEL))
    if provider is not options.provider:
        changes |= {"extra_headers": Secret(None), "extra_body": None}
    own = dataclasses.replace(options, **{**changes, "model": model, "provider": provider})
    return _Fallback(own.replace(_that_fit(own, {"instruction": options.instruction})), None)


def _that_fit(options: Options, changes: dict[str, Any]) -> dict[str, Any]:
    """Drop an instruction that the provider does not take; the response of the fallback warns."""
    instruction = changes.get("instruction")
    if instruction is not None:
        try:
            options.provider.instructed(options.model, instruction)
        except ConfigurationError:
            return {**changes, "instruction": None}
    return changes


def check_names(model: object, provider: object, fallbacks: object) -> None:
    """Check the model, the provider and the fallbacks, as far as this needs no key.

    Raises:
        ConfigurationError: an unknown provider, no model, or a wrong type.
    """
    own = named(model, provider)[1]
    for fallback in _checked_list(fallbacks):
        if not isinstance(fallback, RerankClient):
            _named_fallback(fallback, own)


def _named_fallback(
    given: object, own: Provider | type[Provider]
) -> tuple[str, Provider | type[Provider]]:
    """Return the model of a fallback and its provider; `own` if the name is that of `own`."""
    if not isinstance(given, str):
        raise ConfigurationError(
            "a fallback must be 'provider:model', such as 'local:bm25', or a RerankClient, "
            f"not {type(given).__name__}"
        )
    name, _, model = given.partition(":")
    return (model, own) if name == own.name and model.strip() else named(given, None)


def _checked_list(fallbacks: Any) -> Sequence[Any]:
    if isinstance(fallbacks, str | RerankClient) or not isinstance(fallbacks, Sequence):
        raise ConfigurationError("fallbacks must be a list, such as ['local:bm25']")
    return fallbacks


def _check_clients(provider: Provider, http_client: Any, async_http_client: Any) -> None:
    pairs = (("http_client", http_client, False), ("async_http_client", async_http_client, True))
    for name, http, is_async in pairs:
        if http is not None:
            if provider.handler is not None:
                raise ConfigurationError(
                    f"{name} cannot be used with {provider.name}, which sends nothing over the "
                    "network; leave it out"
                )
            check_given(name, http, is_async=is_async)
