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
)
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import ConfigurationError, InvalidRequestError, RerankError
from rerank_integrations.fields import shown_query
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

# the first match wins, so subclasses stand before their bases
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
    """A RerankError that passes is also the `Model...Error` of LangChain that fits it."""
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
    """A pickle holds our own class: one that is made at run time cannot be found again."""
    return type(error).__bases__[0], error.args, error.__dict__


Retriever: TypeAlias = Runnable[str, Any] | Callable[[str], Any]
"""What gives documents for a query: a retriever, any other Runnable, or a function."""
DocumentT = TypeVar("DocumentT", bound=Document | DocumentInput)
"""The type of the documents of one call of `rerank`, and so of those in its response."""

_TAGS = ["rerank"]
_PASSTHROUGH = "rerank_passthrough"


class RerankCompressor(Adapter, BaseDocumentCompressor, Serializable):
    """Keeps the documents that a rerank model finds most relevant, best first.

    Each is a copy with the score added to its metadata; blank ones are left out. Every call is
    a run of its own in the trace, with provider, model, usage and request id in its metadata.
    A pickle holds the key in clear text; `dumps` gives it by reference.

    Args:
        model: "provider:model", such as `"openrouter:cohere/rerank-v3.5"`.
        client: a RerankClient in place of `model`, `provider`, `api_key`, `base_url` and
            `fallbacks`.
        provider: a provider object, for `model` alone.
        api_key: the key for `model`; from the provider's environment variable when None.
        base_url: another address for `model`.
        fallbacks: models or clients that rank if the provider fails.
        top_n: how many to keep; where not given, as the client says.
        rank_fields: names of metadata fields to rank by, in order; `"text"` and
            `"page_content"` are the document's own text, `"a.b"` is a nested value. Without
            it the text is ranked alone.
        instruction: what the model is to look for; refused where nothing takes it.
        score_transform: "sigmoid" for logits, or a function of one score, before the threshold.
        score_threshold: the least score to keep; scales differ per model.
        on_error: "raise", or "passthrough": when the provider fails, or no document can be ranked,
            the first `top_n` documents come back as they are, without a score, with a log line
            and an event in the trace. Other wrong arguments, such as an empty query, are raised.
        on_image: "raise" or "text", where the provider takes text only; as the client says.
        score_key: the metadata key for the score.
        image_key: the metadata key of a document's image: an http(s) URL, a `data:` URI, bytes,
            a PIL image, a `Blob` that holds its data, or a list of which the first counts. None
            sends no images.
        document_to_input: converts a document to rerank input. `image_key` is then not used, and
            `rank_fields` names fields of its result.

    The other arguments are the settings of `RerankClient`, for the calls of this adapter; what is
    not given is as the client says.

    Raises:
        ConfigurationError: an unknown argument; the message says which was probably meant.
        pydantic.ValidationError: no key, a wrong value, neither or both of model and client.
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
        """A copy with other settings, checked; it shares the connections where they still fit."""
        return self._copy_with(given(locals()))

    def compress_documents(
        self, documents: Sequence[Document], query: QueryInput, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The most relevant documents, best first.

        Raises:
            RerankError: also of LangChain's own type, such as `ModelRateLimitError`.
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
        """The same, without blocking the event loop."""
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
            raise  # the task is collected: no event loop is left to tell the handlers on
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
        """The whole response: scores, usage, request id; documents come first here.

        Args:
            documents: LangChain documents, or whatever `RerankClient.rerank` takes.
            query: the text to rank by, or an image, as in `RerankClient.rerank`.
            model: another model of the same provider.

        The other arguments are those of `RerankClient.rerank`, for this call.
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
        """The same as `rerank`, without blocking the event loop."""
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
        """The compressor as a step of a chain.

        Args:
            retriever: what to take documents from. With it the step takes a query, as
                `as_retriever` says; without it, a mapping `{"query": ..., "documents": ...}`.

        Returns:
            A Runnable whose `model`, `top_n` and `rank_fields` can be made configurable:
            `as_runnable().configurable_fields(top_n=ConfigurableField("top_n"))`.
        """
        if retriever is not None:
            return self.as_retriever(retriever)
        return RerankRunnable(compressor=self, top_n=self._top_n())

    def as_retriever(self, retriever: Retriever) -> RerankRetriever:
        """A retriever of its own: another one, and the compressor behind it.

        Args:
            retriever: a retriever, or any Runnable or function that gives documents for a query.

        Returns:
            A `BaseRetriever` for whatever takes one, such as `create_retriever_tool`. Its `model`,
            `top_n` and `rank_fields` can be made configurable.

        Raises:
            ConfigurationError: it is none of these.
        """
        try:
            base: Runnable[str, Any] = coerce_to_runnable(retriever)
        except TypeError as cause:
            raise ConfigurationError(
                "retriever must be a LangChain retriever, or another Runnable or a function that "
                f"takes a query and gives documents, not {type(retriever).__name__}"
            ) from cause
        return RerankRetriever(retriever=base, compressor=self, top_n=self._top_n())

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """LangChain's `dumps` can write it."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Which argument `dumps` replaces by the name of which environment variable."""
        name = self._ranker().provider.api_key_env
        return {"api_key": name} if name else {}

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """What `dumps` writes.

        What holds a client, a provider object, headers or a function cannot be loaded, and says
        so as `not_implemented`.
        """
        if not self._can_be_loaded() or self.document_to_input is not None:
            return self.to_json_not_implemented()
        written = super().to_json()
        if written["type"] == "constructor":  # what was not set is left to the client
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
        """What the client is given of a document; `own_name` is another name for its own text."""
        if self.document_to_input is not None:
            return self.document_to_input(document)
        image = document.metadata.get(self.image_key) if self.image_key else None
        if isinstance(image, list | tuple):
            image = image[0] if image else None
        if isinstance(image, Blob):  # one that names a file is not read
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
    """A compressor as a step: `{"query": ..., "documents": ...}` in, documents out.

    `model`, `top_n` and `rank_fields` are there to be made configurable. A model or fields of
    None are the compressor's; a `top_n` of None keeps all. Where the compressor holds a client,
    the model is one of the client's provider.
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
        """Rerank the documents in `input`."""

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
        """The same, without blocking the event loop."""

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
    """A retriever and a compressor behind it: a query in, the best documents out.

    `model`, `top_n` and `rank_fields` are there to be made configurable, as in `RerankRunnable`.
    In a trace the runs of the retriever and of the compressor nest below its own.
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
        """Retrieve and rerank."""
        return super().invoke(input, config, **{_CONFIG: _of_call(config), **further})

    async def ainvoke(
        self,
        input: str,  # noqa: A002  # the name is LangChain's
        config: RunnableConfig | None = None,
        **further: Any,
    ) -> list[Document]:
        """The same, without blocking the event loop."""
        return await super().ainvoke(input, config, **{_CONFIG: _of_call(config), **further})

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **further: Any
    ) -> list[Document]:
        config: RunnableConfig = further.pop(_CONFIG, {})
        config = {**config, "callbacks": run_manager.get_child()}
        found = self.retriever.invoke(query, config, **further)
        child = run_manager.get_child()
        return list(_configured(self).compress_documents(found, query, callbacks=child))

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **further: Any
    ) -> list[Document]:
        config: RunnableConfig = further.pop(_CONFIG, {})
        config = {**config, "callbacks": run_manager.get_child()}
        found = await self.retriever.ainvoke(query, config, **further)
        child = run_manager.get_child()
        return list(await _configured(self).acompress_documents(found, query, callbacks=child))

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """LangChain's `dumps` can write it, with its compressor."""
        return True


_CONFIG = "rerank_config"  # the argument by which the config of a call reaches the first stage


def _of_call(config: RunnableConfig | None) -> RunnableConfig:
    """What a first stage is told of a call; its tags and metadata come by the callbacks."""
    whole = ensure_config(config)
    return {
        "configurable": whole["configurable"],
        "max_concurrency": whole.get("max_concurrency"),
        "recursion_limit": whole["recursion_limit"],
    }


def _configured(step: RerankRunnable | RerankRetriever) -> RerankCompressor:
    """The compressor of a step, with what the step says in place of its own settings."""
    update: dict[str, Any] = {"top_n": step.top_n}
    if step.model is not None and step.compressor.client is not None:
        update["client"] = step.compressor.client.with_options(model=step.model)
    elif step.model is not None:
        update["model"] = step.model
        step.compressor._keep_key(update)  # noqa: SLF001  # of the same module's compressor
    if step.rank_fields is not None:
        update["rank_fields"] = step.rank_fields
    return step.compressor.model_copy(update=update)


class _Facts:
    """What a run's metadata says of a call once it has ended.

    It is in two dicts that are in the metadata from the start. A tracer that has metadata of its
    own copies the run's at the start, so what is put into the run's own metadata later is not in
    the trace; the copy is shallow, so what is put into these dicts is.
    """

    def __init__(self) -> None:
        self._call: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}

    def announce(
        self, manager: CallbackManager | AsyncCallbackManager, start: Mapping[str, Any]
    ) -> None:
        """Put the dicts into the metadata of the run that is to begin, and what is known then."""
        known = {
            "ls_retriever_name": "rerank",
            "ls_provider": start["rerank_provider"],
            "ls_model_name": start["rerank_model"],
            "rerank": self._call,
            "usage_metadata": self._usage,  # LangSmith counts what is here
        }
        manager.add_metadata({**start, **known}, inherit=False)

    def add(self, facts: Mapping[str, Any], usage: Usage | None = None) -> None:
        """Fill the dicts; before the end of the run is told to the handlers."""
        self._call |= {name.removeprefix("rerank_"): value for name, value in facts.items()}
        self._usage |= _usage_metadata(usage) if usage else {}


def _usage_metadata(usage: Usage) -> dict[str, Any]:
    """Tokens and cost by LangChain's names, as far as the provider says them."""
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
    """Where the run nests: under the given callbacks, else under the Runnable around us."""
    return callbacks or ensure_config().get("callbacks")


@errors_of_both_families()
def _of_input(given: object) -> tuple[Sequence[Document], QueryInput]:
    if not isinstance(given, Mapping) or not {"query", "documents"} <= given.keys():
        raise InvalidRequestError("the step takes {'query': ..., 'documents': [...]}")
    return _documents(given["documents"]), given["query"]


def _id_of(document: object) -> str:
    found = getattr(document, "id", None) if isinstance(document, Document) else None
    return f"id {found!r}" if found else ""


def _listed(documents: object) -> Sequence[Any]:
    if isinstance(documents, str | Document):  # which can be iterated over too
        raise InvalidRequestError(
            f"documents must be a list of documents, not one {type(documents).__name__}; "
            "they come first, then the query"
        )
    return as_list(documents)


@errors_of_both_families()
def _documents(documents: object) -> Sequence[Document]:
    found = _listed(documents)
    for document in found:
        if not isinstance(document, Document):
            raise InvalidRequestError(
                f"documents must be LangChain documents, not {type(document).__name__}; "
                "rerank() takes strings and mappings as well"
            )
    return found


def _restore_documents(
    documents: Sequence[DocumentT], response: RerankResponse
) -> RerankResponse[DocumentT]:
    """The response with the objects that the caller passed, not what was made of them."""
    results = (
        RerankResult(result.index, result.relevance_score, documents[result.index], result.details)
        for result in response
    )
    return replace(response, results=tuple(results))


def _redact(document: Document) -> Document:
    """The document as a trace may hold it: a plain one, for a subclass may hold images."""
    text, metadata = without_image_data((document.page_content, document.metadata))
    return Document(text, id=document.id, metadata=metadata)
