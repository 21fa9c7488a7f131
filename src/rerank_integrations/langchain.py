"""The adapter for LangChain: `RerankCompressor`, a `BaseDocumentCompressor`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, Self, TypeAlias, TypeVar, overload

from pydantic import Field, SecretStr
from pydantic.json_schema import SkipJsonSchema

from rerank_integrations import errors
from rerank_integrations._adapter import (
    NOT_GIVEN,
    Adapter,
    CacheSetting,
    ImageUrls,
    NotGiven,
    OnError,
    OnImage,
    OnInvalidDocument,
    OnPartial,
    Provider,
    Retry,
    ScoreTransform,
    Timeout,
    checked_arguments,
    declared_init,
    end_metadata,
    error_metadata,
    given,
    in_span_of,
    log_warnings,
    naming,
    shown_query,
)
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import ConfigurationError, InvalidRequestError, RerankError
from rerank_integrations.models import (
    DocumentInput,
    QueryInput,
    RerankDocument,
    RerankResponse,
    RerankResult,
    Usage,
    as_list,
    without_image_data,
)

try:
    from langchain_core import exceptions
    from langchain_core.callbacks import (
        AsyncCallbackManager,
        AsyncCallbackManagerForRetrieverRun,
        CallbackManager,
        CallbackManagerForRetrieverRun,
        Callbacks,
    )
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.documents.base import Blob
    from langchain_core.load.serializable import (
        Serializable,
        SerializedConstructor,
        SerializedNotImplemented,
    )
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import (
        Runnable,
        RunnableConfig,
        RunnableSerializable,
        ensure_config,
    )
    from langchain_core.runnables.base import coerce_to_runnable
except ImportError as cause:
    raise ImportError(
        "rerank_integrations.langchain needs the extra 'langchain': "
        "pip install 'rerank-integrations[langchain]'"
    ) from cause

# the first match wins, so subclasses come before their bases
_FAMILIES = (
    (errors.AuthenticationError, "ModelAuthenticationError"),
    (errors.PermissionDeniedError, "ModelPermissionDeniedError"),
    (errors.BadRequestError, "ModelInvalidRequestError"),
    (errors.PayloadTooLargeError, "ModelInvalidRequestError"),
    (errors.InvalidRequestError, "ModelInvalidRequestError"),
    (errors.NotFoundError, "ModelNotFoundError"),
    (errors.RateLimitError, "ModelRateLimitError"),
    (errors.ProviderTimeoutError, "ModelTimeoutError"),
    (errors.RerankTimeoutError, "ModelTimeoutError"),
    (errors.TransportError, "ModelConnectionError"),
    (errors.ServerError, "ModelAPIError"),
    (errors.ResponseError, "ModelAPIError"),
    (errors.ScorerError, "ModelAPIError"),
    (errors.RerankError, "ModelError"),
)


@contextmanager
def errors_of_both_families() -> Iterator[None]:
    """Make each RerankError that is raised also an instance of LangChain's `Model...Error`."""
    try:
        yield
    except RerankError as error:
        error.__class__ = _with_langchains_type(type(error))  # type: ignore[arg-type]
        raise


@cache
def _with_langchains_type(kind: type[RerankError]) -> type[RerankError]:
    name = next(name for own, name in _FAMILIES if issubclass(kind, own))
    theirs = getattr(exceptions, name, None)  # langchain-core has them from 1.6 on
    if theirs is None or issubclass(kind, theirs):
        return kind
    names = {"__module__": kind.__module__, "__doc__": kind.__doc__, "__reduce__": _as_our_own}
    return type(kind.__name__, (kind, theirs), names)


def _as_our_own(error: RerankError) -> tuple[Any, ...]:
    """Pickle as our own class, because a class created at run time cannot be imported."""
    return type(error).__bases__[0], error.args, error.__dict__


Retriever: TypeAlias = Runnable[str, Any] | Callable[[str], Any]
"""Returns documents for a query: a retriever, another Runnable, or a function."""
DocumentT = TypeVar("DocumentT", bound=Document | DocumentInput)
"""The type of the documents of one `rerank` call, and of the documents in its response."""

_TAGS = ["rerank"]
_PASSTHROUGH = "rerank_passthrough"


class RerankCompressor(Adapter, BaseDocumentCompressor, Serializable):
    """Keeps the documents that a rerank model finds most relevant, best first.

    Each result is a copy of a document with the score in its metadata. Blank documents are left
    out. Every call is a run of its own in the trace, with provider, model, usage and request id in
    its metadata. A pickle holds the key in clear text; `dumps` serializes the key as a reference to
    its environment variable.

    Args:
        model: "provider:model", such as `"openrouter:cohere/rerank-v3.5"`.
        client: a preconfigured RerankClient, in place of `model`, `provider`, `api_key`,
            `base_url` and `fallbacks`.
        provider: a provider object; `model` is then the model alone.
        api_key: the key for `model`. None reads the provider's environment variable.
        base_url: another address for the provider.
        fallbacks: models or clients to use when the provider fails.
        top_n: the maximum number of documents to keep; by default the setting of the client.
        rank_fields: names of metadata fields to rank by, in order. `"text"` and
            `"page_content"` are the document's own text, `"a.b"` is a nested value. By default
            only the text is ranked.
        instruction: what the model should look for. A model that takes no instruction raises a
            `ConfigurationError`.
        score_transform: "sigmoid" for logits, or a function of one score; applied before
            `score_threshold`.
        score_threshold: the minimum score of a document to keep. Score scales differ between
            models.
        on_error: "raise", or "passthrough" (graceful degradation): when the provider fails or no
            document can be ranked, the first `top_n` documents are returned unchanged, without
            scores, with a log record and an event in the trace. Other invalid arguments, such as
            an empty query, are always raised.
        on_image: what happens to an image if the provider takes only text: "raise" or "text"; by
            default the setting of the client.
        score_key: the metadata key for the score.
        image_key: the metadata key of a document's image: an http(s) URL, a `data:` URI, bytes,
            a PIL image, a `Blob` with data in memory, or a list of these, whose first item is
            used. None sends no images.
        document_to_input: a function that converts a `Document` to rerank input. It replaces
            `image_key`, and `rank_fields` then names fields of its result.

    The other arguments are the settings of `RerankClient` for the calls of this adapter; by
    default the settings of the client apply.

    Raises:
        ConfigurationError: an argument is unknown (the message suggests the right one), a value is
            invalid, the key is missing, or not exactly one of `model` and `client` was passed.
        InvalidRequestError: `top_n` or `rank_fields` is invalid.
    """

    model_config = Adapter.model_config  # Serializable would ignore unknown arguments

    score_key: str = Field(default="relevance_score", min_length=1)
    image_key: str | None = Field(default="image", min_length=1)
    document_to_input: SkipJsonSchema[Callable[[Document], DocumentInput] | None] = Field(
        default=None, exclude=True, repr=False
    )

    @declared_init
    def __init__(
        self,
        model: str | None = None,
        *,
        client: RerankClient | None = None,
        provider: Provider | None = None,
        api_key: str | SecretStr | None = None,
        base_url: str | None = None,
        fallbacks: Sequence[str | RerankClient] = (),
        on_error: OnError = "raise",
        score_key: str = "relevance_score",
        image_key: str | None = "image",
        document_to_input: Callable[[Document], DocumentInput] | None = None,
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
    ) -> None: ...

    @checked_arguments
    def with_options(
        self,
        *,
        model: str | NotGiven | None = NOT_GIVEN,
        client: RerankClient | NotGiven | None = NOT_GIVEN,
        provider: Provider | NotGiven | None = NOT_GIVEN,
        api_key: str | SecretStr | NotGiven | None = NOT_GIVEN,
        base_url: str | NotGiven | None = NOT_GIVEN,
        fallbacks: Sequence[str | RerankClient] | NotGiven = NOT_GIVEN,
        on_error: OnError | NotGiven = NOT_GIVEN,
        score_key: str | NotGiven = NOT_GIVEN,
        image_key: str | NotGiven | None = NOT_GIVEN,
        document_to_input: Callable[[Document], DocumentInput] | NotGiven | None = NOT_GIVEN,
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
        """Return a copy with other settings.

        The copy shares the connections, unless it has another model, client, provider, key,
        address or fallbacks. Headers and body keys are added to those of this adapter.

        Raises:
            ConfigurationError: an argument is unknown, a value is invalid, or the key is for
                another provider.
            InvalidRequestError: `top_n` or `rank_fields` is invalid.
        """
        return self._copy_with(given(locals()))

    def compress_documents(
        self, documents: Sequence[Document], query: QueryInput, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return the most relevant documents, best first.

        Args:
            documents: the documents to rank, which are not modified.
            query: the text to rank by.
            callbacks: LangChain's callbacks; by default those of the surrounding Runnable.

        Returns:
            Copies of the documents, with the score in the metadata.

        Raises:
            RerankError: the call failed. With langchain-core 1.6 or newer it is also an instance
                of LangChain's own exception, such as `ModelRateLimitError`.
        """
        found = _documents(documents)
        if not found:
            return []
        manager = CallbackManager.configure(_around(callbacks), local_tags=_TAGS)
        facts = _Facts()
        if manager.handlers:
            facts.announce(manager, self._start_metadata(len(found)))
        run = manager.on_retriever_start(None, shown_query(query), name=type(self).__name__)
        try:
            with in_span_of(run):
                response = self.rerank(found, query)
        except RerankError as error:
            facts.add(error_metadata(error))
            run.on_retriever_error(error)
            if not self._passes(error):
                raise
            manager.on_custom_event(_PASSTHROUGH, {"error": str(error)}, run_id=run.run_id)
            return self._unranked(found, error)
        except BaseException as error:
            run.on_retriever_error(error)
            raise
        kept = self._with_scores(response)
        if run.handlers:
            facts.add(end_metadata(response), response.usage)
            run.on_retriever_end(list(map(_redact, kept)))
        return kept

    async def acompress_documents(
        self, documents: Sequence[Document], query: QueryInput, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Async version of `compress_documents`."""
        found = _documents(documents)
        if not found:
            return []
        manager = AsyncCallbackManager.configure(_around(callbacks), local_tags=_TAGS)
        facts = _Facts()
        if manager.handlers:
            facts.announce(manager, self._start_metadata(len(found)))
        run = await manager.on_retriever_start(None, shown_query(query), name=type(self).__name__)
        try:
            with in_span_of(run):
                response = await self.arerank(found, query)
        except RerankError as error:
            facts.add(error_metadata(error))
            await run.on_retriever_error(error)
            if not self._passes(error):
                raise
            await manager.on_custom_event(_PASSTHROUGH, {"error": str(error)}, run_id=run.run_id)
            return self._unranked(found, error)
        except GeneratorExit:
            raise  # the task is garbage-collected: no event loop is left to call the handlers
        except BaseException as error:
            await run.on_retriever_error(error)
            raise
        kept = self._with_scores(response)
        if run.handlers:
            facts.add(end_metadata(response), response.usage)
            await run.on_retriever_end(list(map(_redact, kept)))
        return kept

    @checked_arguments
    def rerank(
        self,
        documents: Sequence[DocumentT],
        query: QueryInput,
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
    ) -> RerankResponse[DocumentT]:
        """Rank documents and return the whole response, with scores, usage and request id.

        Args:
            documents: LangChain documents, or the documents that `RerankClient.rerank` takes.
            query: the text or the image to rank by, as in `RerankClient.rerank`; here the documents
                come first.
            model: another model of the same provider, without `provider:`.

        The other arguments are those of `RerankClient.rerank`, for this call only.

        Returns:
            The response with the documents that you passed.

        Raises:
            RerankError: the call failed, as in `compress_documents`; `on_error` is not applied.
        """
        own = self._call_options(given(locals()))
        with errors_of_both_families(), naming(lambda index: _id_of(found[index])):
            found = _listed(documents)
            response = self._ranker().rerank(query, self._inputs(found, own), **own)
        log_warnings(response)
        return _restore_documents(found, response)

    @checked_arguments
    async def arerank(
        self,
        documents: Sequence[DocumentT],
        query: QueryInput,
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
    ) -> RerankResponse[DocumentT]:
        """Async version of `rerank`."""
        own = self._call_options(given(locals()))
        with errors_of_both_families(), naming(lambda index: _id_of(found[index])):
            found = _listed(documents)
            response = await self._ranker().arerank(query, self._inputs(found, own), **own)
        log_warnings(response)
        return _restore_documents(found, response)

    @overload
    def as_runnable(self, retriever: None = None) -> RerankRunnable: ...
    @overload
    def as_runnable(self, retriever: Retriever) -> RerankRetriever: ...
    def as_runnable(self, retriever: Retriever | None = None) -> RerankRunnable | RerankRetriever:
        """Return a Runnable that reranks, as a step of a chain.

        Args:
            retriever: where the documents come from. With a retriever, the input of the step is a
                query, as in `as_retriever`. Without one, it is a mapping
                `{"query": ..., "documents": ...}`.

        Returns:
            A Runnable whose `model`, `top_n` and `rank_fields` can be made configurable:
            `as_runnable().configurable_fields(top_n=ConfigurableField("top_n"))`.

        Raises:
            ConfigurationError: `retriever` has another type.
        """
        if retriever is not None:
            return self.as_retriever(retriever)
        return RerankRunnable(compressor=self, top_n=self._top_n())

    def as_retriever(self, retriever: Retriever) -> RerankRetriever:
        """Return a retriever that reranks what another retriever finds.

        Args:
            retriever: a retriever, or another Runnable or a function that returns documents for a
                query.

        Returns:
            A `BaseRetriever`, for example for `create_retriever_tool`. Its `model`, `top_n` and
            `rank_fields` can be made configurable.

        Raises:
            ConfigurationError: `retriever` has another type.
        """
        try:
            base: Runnable[str, Any] = coerce_to_runnable(retriever)
        except TypeError as cause:
            raise ConfigurationError(
                "retriever must be a LangChain retriever, or another Runnable or a function that "
                f"returns documents for a query, not {type(retriever).__name__}"
            ) from cause
        return RerankRetriever(retriever=base, compressor=self, top_n=self._top_n())

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: LangChain's `dumps` can serialize it."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The arguments that `dumps` replaces, each by the name of its environment variable."""
        name = self._ranker().provider.api_key_env
        return {"api_key": name} if name else {}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return what `dumps` writes.

        A compressor with a client, a provider object, headers or a function cannot be loaded
        again, so `not_implemented` is written.
        """
        if not self._can_be_loaded() or self.document_to_input is not None:
            return self.to_json_not_implemented()
        written = super().to_json()
        if written["type"] == "constructor":  # settings that were not set are left to the client
            plain = {**written["kwargs"], **self.model_dump(include={"timeout", "retry", "cache"})}
            excluded = {"client", "provider", "extra_headers", "document_to_input"}
            given = self.model_fields_set - excluded
            written["kwargs"] = {name: plain.get(name) for name in sorted(given)}
        return written

    def _inputs(
        self, documents: Sequence[Document | DocumentInput], options: Mapping[str, Any]
    ) -> list[DocumentInput]:
        rank_fields = options.get("rank_fields", self._ranker().rank_fields)
        image_key = self.image_key
        if self.document_to_input is not None or rank_fields is not None:
            own = "page_content" if "page_content" in (rank_fields or ()) else None
            return [
                self._input(one, by_fields=rank_fields is not None, own_name=own)
                if isinstance(one, Document)
                else {"text": one, own: one}
                if own is not None and isinstance(one, str)
                else one
                for one in documents
            ]
        return [  # most have neither image nor fields
            one.page_content
            if type(one) is Document and image_key not in one.metadata
            else self._input(one, by_fields=False)
            if isinstance(one, Document)
            else one
            for one in documents
        ]

    def _input(
        self, document: Document, *, by_fields: bool, own_name: str | None = None
    ) -> DocumentInput:
        """Convert a document to rerank input; `own_name` is another name for its own text."""
        if self.document_to_input is not None:
            return self.document_to_input(document)
        image = document.metadata.get(self.image_key) if self.image_key else None
        if isinstance(image, list | tuple):
            image = image[0] if image else None
        if isinstance(image, Blob):  # a file that it names is not read
            image = image.data if image.data is not None else image.path
        if isinstance(image, str | bytes) and not image:
            image = None
        if image is None and not by_fields:
            return document.page_content
        fields = None
        if by_fields:
            fields = {**document.metadata, "text": document.page_content}
            fields.pop("image", None)
            if own_name is not None:
                fields[own_name] = document.page_content
        if image is None and fields is not None:
            return fields
        return RerankDocument(text=document.page_content, image=image, fields=fields)

    def _with_scores(self, response: RerankResponse[Document]) -> list[Document]:
        return [
            (document := result.document).model_copy(
                update={"metadata": {**document.metadata, self.score_key: result.relevance_score}}
            )
            for result in response
        ]


class RerankRunnable(RunnableSerializable[Mapping[str, Any], list[Document]]):
    """A Runnable that takes `{"query": ..., "documents": ...}` and returns the best documents.

    `model`, `top_n` and `rank_fields` can be made configurable. If `model` or `rank_fields` is
    None, the setting of the compressor applies; if `top_n` is None, all documents are kept. If the
    compressor has a client, `model` is another model of the client's provider, without `provider:`.
    """

    compressor: RerankCompressor
    model: str | None = None
    top_n: int | None = None
    rank_fields: Sequence[str] | None = None

    def invoke(
        self,
        input: Mapping[str, Any],  # noqa: A002  # the name is LangChain's
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> list[Document]:
        """Rerank the documents in `input`.

        Args:
            input: a mapping with `query` and `documents`.
            config: LangChain's config of the run.

        Returns:
            The best documents, as from `RerankCompressor.compress_documents`.

        Raises:
            RerankError: the call failed, or `input` has another form.
        """

        def step(given: Mapping[str, Any], run_manager: Any) -> list[Document]:
            documents, query = _of_input(given)
            child = run_manager.get_child()
            return list(_configured(self).compress_documents(documents, query, callbacks=child))

        return self._call_with_config(step, input, config)

    async def ainvoke(
        self,
        input: Mapping[str, Any],  # noqa: A002  # the name is LangChain's
        config: RunnableConfig | None = None,
        **_: Any,
    ) -> list[Document]:
        """Async version of `invoke`."""

        async def step(given: Mapping[str, Any], run_manager: Any) -> list[Document]:
            documents, query = _of_input(given)
            child = run_manager.get_child()
            kept = await _configured(self).acompress_documents(documents, query, callbacks=child)
            return list(kept)

        return await self._acall_with_config(step, input, config)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """LangChain's `dumps` can write it, with its compressor."""
        return True


class RerankRetriever(BaseRetriever):
    """A retriever that reranks what another retriever finds.

    `model`, `top_n` and `rank_fields` can be made configurable, as in `RerankRunnable`. In a
    trace, the runs of the other retriever and of the compressor are nested in the run of this one.
    """

    retriever: Runnable[str, Any]
    compressor: RerankCompressor
    model: str | None = None
    top_n: int | None = None
    rank_fields: Sequence[str] | None = None

    def invoke(
        self,
        input: str,  # noqa: A002  # the name is LangChain's
        config: RunnableConfig | None = None,
        **further: Any,
    ) -> list[Document]:
        """Retrieve documents and rerank them.

        Args:
            input: the query.
            config: LangChain's config of the run.
            further: further arguments for the other retriever.

        Returns:
            The best documents, as from `RerankCompressor.compress_documents`.

        Raises:
            RerankError: reranking failed.
        """
        return super().invoke(input, config, **{_CONFIG: _of_call(config), **further})

    async def ainvoke(
        self,
        input: str,  # noqa: A002  # the name is LangChain's
        config: RunnableConfig | None = None,
        **further: Any,
    ) -> list[Document]:
        """Async version of `invoke`."""
        return await super().ainvoke(input, config, **{_CONFIG: _of_call(config), **further})

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **further: Any
    ) -> list[Document]:
        config: RunnableConfig = further.pop(_CONFIG, {})
        config = {**config, "callbacks": run_manager.get_child()}
        try:
            found = self.retriever.invoke(query, config, **further)
            child = run_manager.get_child()
            return list(_configured(self).compress_documents(found, query, callbacks=child))
        except BaseException as error:
            if not isinstance(error, Exception):  # LangChain ends the run of an Exception alone
                run_manager.on_retriever_error(error)
            raise

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **further: Any
    ) -> list[Document]:
        config: RunnableConfig = further.pop(_CONFIG, {})
        config = {**config, "callbacks": run_manager.get_child()}
        try:
            found = await self.retriever.ainvoke(query, config, **further)
            child = run_manager.get_child()
            return list(await _configured(self).acompress_documents(found, query, callbacks=child))
        except BaseException as error:
            if not isinstance(error, Exception | GeneratorExit):  # no loop is left after the latter
                await run_manager.on_retriever_error(error)
            raise

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """LangChain's `dumps` can write it, with its compressor."""
        return True


_CONFIG = "rerank_config"  # the argument that passes the config of a call to the first stage


def _of_call(config: RunnableConfig | None) -> RunnableConfig:
    """Return the part of the config for the first stage; callbacks pass tags and metadata."""
    whole = ensure_config(config)
    return {
        "configurable": whole["configurable"],
        "max_concurrency": whole.get("max_concurrency"),
        "recursion_limit": whole["recursion_limit"],
    }


def _configured(step: RerankRunnable | RerankRetriever) -> RerankCompressor:
    """Return the compressor of a step, with the settings of the step in place of its own."""
    own = step.compressor
    compressor = own if step.model is None else own._with_model(step.model)  # noqa: SLF001
    update: dict[str, Any] = {"top_n": step.top_n}
    if step.rank_fields is not None:
        update["rank_fields"] = step.rank_fields
    return compressor.model_copy(update=update)


class _Facts:
    """The part of a run's metadata that is known only when the call has ended.

    Two dicts are in the metadata from the start, and are filled later. A tracer with metadata of
    its own makes a shallow copy of the run's metadata at the start. So a key that is added later
    is not in the trace, but the content of these dicts is.
    """

    def __init__(self) -> None:
        self._call: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}

    def announce(
        self, manager: CallbackManager | AsyncCallbackManager, start: Mapping[str, Any]
    ) -> None:
        """Put the dicts, and what is already known, into the metadata of the next run."""
        known = {
            "ls_retriever_name": "rerank",
            "ls_provider": start["rerank_provider"],
            "ls_model_name": start["rerank_model"],
            "rerank": self._call,
            "usage_metadata": self._usage,  # LangSmith counts what is here
        }
        manager.add_metadata({**start, **known}, inherit=False)

    def add(self, facts: Mapping[str, Any], usage: Usage | None = None) -> None:
        """Fill the dicts; called before the handlers are notified of the end of the run."""
        self._call |= {name.removeprefix("rerank_"): value for name, value in facts.items()}
        self._usage |= _usage_metadata(usage) if usage else {}


def _usage_metadata(usage: Usage) -> dict[str, Any]:
    """Return tokens and cost by LangChain's names, as far as the provider reports them."""
    given = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
    if given is None:
        tokens = {}
    else:
        produced = int(usage.completion_tokens or 0)
        total = given + produced if usage.total_tokens is None else usage.total_tokens
        tokens = {
            "input_tokens": int(given),
            "output_tokens": produced,
            "total_tokens": int(total),
        }
    return tokens if usage.cost is None else {**tokens, "total_cost": usage.cost}


def _around(callbacks: Callbacks | None) -> Callbacks | None:
    """Return the callbacks that were passed, else those of the surrounding Runnable."""
    return callbacks or ensure_config().get("callbacks")


@errors_of_both_families()
def _of_input(given: object) -> tuple[Sequence[Document], QueryInput]:
    if not isinstance(given, Mapping) or not {"query", "documents"} <= given.keys():
        raise InvalidRequestError(
            "the input of the step must be {'query': ..., 'documents': [...]}"
        )
    return _documents(given["documents"]), given["query"]


def _id_of(document: object) -> str:
    found = getattr(document, "id", None) if isinstance(document, Document) else None
    return f"id {found!r}" if found else ""


def _listed(documents: object) -> Sequence[Any]:
    if isinstance(documents, str | Document):  # these can be iterated over too
        raise InvalidRequestError(
            f"documents must be a list of documents, not one {type(documents).__name__}; "
            "pass the documents first, then the query"
        )
    return as_list(documents)


@errors_of_both_families()
def _documents(documents: object) -> Sequence[Document]:
    found = _listed(documents)
    for document in found:
        if not isinstance(document, Document):
            raise InvalidRequestError(
                f"documents must be LangChain documents, not {type(document).__name__}; "
                "use rerank() for strings and mappings"
            )
    return found


def _restore_documents(
    documents: Sequence[DocumentT], response: RerankResponse
) -> RerankResponse[DocumentT]:
    """Return the response with the objects that the caller passed, not the converted ones."""
    results = (
        RerankResult(result.index, result.relevance_score, documents[result.index], result.details)
        for result in response
    )
    return replace(response, results=tuple(results))


def _redact(document: Document) -> Document:
    """Return a copy for the trace: without images, and not of a subclass, which may hold some."""
    text, metadata = without_image_data((document.page_content, document.metadata))
    return Document(text, id=document.id, metadata=metadata)
