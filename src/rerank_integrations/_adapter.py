"""What all adapters can be set to and say about a call: the same words in every framework."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    SecretStr,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from rerank_integrations._cache import CacheSetting, RerankCache, cache_of
from rerank_integrations._options import (
    INSTEAD,
    NOT_GIVEN,
    NotGiven,
    OnImage,
    OnInvalidDocument,
    OnPartial,
    Options,
    PhasedTimeout,
    Retry,
    ScoreTransform,
    Timeout,
    check_settings,
    checked_arguments,
    given,
    hide_secrets,
    merged_settings,
    refuse_unknown_argument,
)
from rerank_integrations._tracing import as_current, guard, inside_reranker
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import (
    AuthenticationError,
    ConfigurationError,
    InvalidRequestError,
    PaymentRequiredError,
    PermissionDeniedError,
    RerankError,
    UnsupportedDocumentError,
)
from rerank_integrations.images import ImageUrls, UnusableImage
from rerank_integrations.models import DocumentInput, RerankDocument, RerankResponse
from rerank_integrations.providers._validation import Address, finite, shown
from rerank_integrations.providers.base import Provider

# what an adapter needs for its signatures, from one place
__all__ = [
    "LEFT_TO_CLIENT",
    "NOT_GIVEN",
    "Adapter",
    "CacheSetting",
    "ImageUrls",
    "NotGiven",
    "OnError",
    "OnImage",
    "OnInvalidDocument",
    "OnPartial",
    "Provider",
    "RerankCache",
    "Retry",
    "ScoreTransform",
    "Timeout",
    "UnusableImage",
    "check_settings",
    "checked_arguments",
    "declared_init",
    "end_metadata",
    "error_metadata",
    "given",
    "in_span_of",
    "inside_reranker",
    "log_warnings",
    "naming",
    "shown",
    "with_retrieval_scores",
]
# what the client says where the adapter does not
LEFT_TO_CLIENT = tuple(
    option.name
    for option in dataclasses.fields(Options)
    if option.name not in {"model", "provider"}
)
# what does not go away until someone changes a key, an account or a permission
_FOR_A_PERSON = (AuthenticationError, PaymentRequiredError, PermissionDeniedError)
_MAY_BE_NONE = frozenset(LEFT_TO_CLIENT) - {
    *("max_retries", "retry_on_timeout", "extra_headers", "extra_body", "on_image"),
    *("on_invalid_document", "image_urls", "max_concurrency", "on_partial", "keep_raw"),
    "trace_content",
}
log = logging.getLogger("rerank_integrations")


OnError: TypeAlias = Literal["raise", "passthrough"]
"""What an adapter does if reranking fails."""


def _timeout_as_json(timeout: Any) -> Any:
    return timeout.as_dict() if isinstance(timeout, PhasedTimeout) else timeout


def _comparable(value: Any) -> Any:
    """The value with lists for tuples and dicts for timeouts, as JSON gives them back."""
    match value:
        case dict():
            return {name: _comparable(item) for name, item in value.items()}
        case list() | tuple():
            return [_comparable(item) for item in value]
        case RerankCache():
            return (value.path, value.max_age, value.max_entries)
        case _:
            return _timeout_as_json(value)


def _words_only(value: Any) -> Any:
    """What JSON can hold; a function is left out."""
    return value if isinstance(value, str) else None


def _address(cache: RerankCache | None) -> str | None:
    return None if cache is None else cache.address


def _names_only(fallbacks: Sequence[Any]) -> list[str]:
    return [one for one in fallbacks if isinstance(one, str)]


F = TypeVar("F", bound=Callable[..., None])


def declared_init(declared: F) -> F:
    """An `__init__` with the signature of `declared`, which sets what was given and no default.

    So a subclass may change a default, and `model_fields_set` holds what the caller set.
    """
    takes = [name for name in inspect.signature(declared).parameters if name != "self"]

    @functools.wraps(declared)
    def init(self: Any, *args: Any, **keywords: Any) -> None:
        if len(args) > 1:
            args = ()
            hide_secrets(keywords, ())
            raise ConfigurationError(f"{type(self).__name__} takes one positional argument, model")
        taken = {**({"model": args[0]} if args else {}), **keywords}
        del keywords  # it may hold a key, which the frame of an error must not show
        known = dict.fromkeys([*takes, *type(self).model_fields])  # a subclass may have its own
        hide_secrets(taken, known)
        refuse_unknown_argument(type(self).__name__, list(taken), list(known), INSTEAD)
        BaseModel.__init__(self, **given(taken))

    return init  # type: ignore[return-value]


class Adapter(BaseModel):
    """The settings that adapters share, and the client that they lead to."""

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, hide_input_in_errors=True
    )

    model: str | None = None
    client: SkipJsonSchema[RerankClient | None] = Field(default=None, exclude=True, repr=False)
    provider: SkipJsonSchema[Provider | None] = Field(default=None, exclude=True, repr=False)
    api_key: SecretStr | None = Field(default=None, repr=False)
    base_url: Annotated[str, AfterValidator(Address)] | None = None
    fallbacks: Annotated[Sequence[Any], PlainSerializer(_names_only)] = ()
    on_error: OnError = "raise"
    top_n: int | None = Field(default=None, ge=1, strict=True)
    rank_fields: Sequence[str] | None = Field(default=None, min_length=1)
    instruction: str | None = None
    score_transform: Annotated[
        SkipJsonSchema[ScoreTransform | None], PlainSerializer(_words_only)
    ] = None
    score_threshold: float | None = Field(default=None, strict=True, allow_inf_nan=False)
    timeout: Annotated[Any, PlainSerializer(_timeout_as_json)] = None
    deadline: float | None = None
    max_retries: int | None = Field(default=None, strict=True)
    retry_on_timeout: bool | None = Field(default=None, strict=True)
    retry: Retry | None = None
    extra_headers: SkipJsonSchema[Any] = Field(default=None, exclude=True, repr=False)
    extra_body: Mapping[str, Any] | None = None
    on_image: OnImage | None = None
    on_invalid_document: OnInvalidDocument | None = None
    max_document_chars: int | None = Field(default=None, strict=True)
    max_image_bytes: int | None = Field(default=None, strict=True)
    max_image_pixels: int | None = Field(default=None, strict=True)
    image_urls: ImageUrls | None = None
    max_documents_per_request: int | None = Field(default=None, strict=True)
    max_request_bytes: int | None = Field(default=None, strict=True)
    max_concurrency: int | None = Field(default=None, strict=True)
    on_partial: OnPartial | None = None
    requests_per_minute: int | None = Field(default=None, strict=True)
    documents_per_minute: int | None = Field(default=None, strict=True)
    keep_raw: bool | None = Field(default=None, strict=True)
    trace_content: bool | None = Field(default=None, strict=True)
    cache: Annotated[
        SkipJsonSchema[RerankCache | None], BeforeValidator(cache_of), PlainSerializer(_address)
    ] = None

    _made: tuple[object, RerankClient] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _check_client(self) -> Self:
        self._ranker().with_options(**self._options())  # checks them now, not at the first call
        return self

    def __copy__(self) -> Self:
        """A copy that shares the connections, and does not close them."""
        other = super().__copy__()
        if self._made is not None and self.client is None:
            source, client = self._made
            other._made = source, client.with_options()  # noqa: SLF001  # its own class
        return other

    def __eq__(self, other: object) -> bool:
        """Equal settings make equal adapters, whatever connections they have open."""
        return type(self) is type(other) and self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash(type(self))  # settings may change

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """What was set, for the repr; all else is left to the client."""
        return [pair for pair in super().__repr_args__() if pair[0] in self.model_fields_set]

    def _copy_with(self, changes: dict[str, Any]) -> Self:
        """A copy with other settings, checked; it shares the connections where they still fit."""
        self._keep_key(changes)
        own = {name: getattr(self, name) for name in self.model_fields_set}
        changes = merged_settings(own, changes, only=changes.keys())
        checked = type(self)(**{**own, **changes})
        return self.model_copy(update={name: getattr(checked, name) for name in changes})

    def _keep_key(self, changes: Mapping[str, Any]) -> None:
        """Refuse a model of another provider that would be sent the key of this one.

        Raises:
            ConfigurationError: so it would, at an address that is not this one's.
        """
        name, other = ((one or "").partition(":")[0] for one in (self.model, changes.get("model")))
        is_same_address = self.base_url is not None and "base_url" not in changes
        if (
            self.api_key is not None
            and "api_key" not in changes
            and name
            and other not in ("", name)
            and not is_same_address
        ):
            raise ConfigurationError(
                f"the key that was given is for {name}, and not sent to {other}: pass api_key= "
                "with model=; None takes it from the environment"
            )

    def _settings(self) -> dict[str, Any]:
        """What equal adapters have in common."""
        return {name: _comparable(value) for name, value in self.__dict__.items()}

    def _can_be_loaded(self) -> bool:
        """Whether JSON can hold all that was set: it holds no object, and no header."""
        objects = (self.client, self.provider, self.extra_headers)
        by_name = all(isinstance(fallback, str) for fallback in self.fallbacks)
        return (
            by_name
            and (self.cache is None or self.cache.address is not None)
            and all(one is None for one in objects)
            and _words_only(self.score_transform) == self.score_transform
        )

    def close(self) -> None:
        """Close the connections; a `client` that was given stays open.

        A copy leaves the connections open for the adapter that it is a copy of.
        """
        if self.client is None:
            self._ranker().close()

    async def aclose(self) -> None:
        """The same, and close the connections of the running event loop too."""
        if self.client is None:
            await self._ranker().aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _ranker(self) -> RerankClient:
        """The client, made anew where `model_copy` has changed what it was made from."""
        source = (
            self.model, self.client, self.provider, self.api_key, self.base_url, self.fallbacks
        )  # fmt: skip
        made = self._made
        if made is None or made[0] != source:
            self._made = made = (
                source,
                _client_of(
                    self.model,
                    self.client,
                    provider=self.provider,
                    api_key=self.api_key,
                    base_url=self.base_url,
                    fallbacks=self.fallbacks,
                ),
            )
        return made[1]

    def _options(self) -> dict[str, Any]:
        """What a call overrides: what was set here, or in a subclass; else the client's holds."""
        own, was_set = self.__dict__, self.model_fields_set
        return {
            name: own[name]
            for name in LEFT_TO_CLIENT
            if own[name] is not None or (name in was_set and name in _MAY_BE_NONE)
        }

    def _call_options(self, changes: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """What a call overrides: what was set here, then what was given for the call.

        Which documents come depends on the query, so one of them cannot fail a call unless that
        was asked for.
        """
        own = merged_settings(self._options(), changes)
        if "on_invalid_document" not in own and not self._ranker().on_invalid_document:
            own["on_invalid_document"] = "text"
        return own

    def _top_n(self) -> int | None:
        return self._options().get("top_n", self._ranker().top_n)

    def _passes(self, error: RerankError) -> bool:
        """Whether to go on without scores: for a fault of the provider or of the documents."""
        wrong_call = isinstance(error, ConfigurationError | InvalidRequestError)
        if self.on_error == "raise" or (
            wrong_call and not isinstance(error, UnsupportedDocumentError)
        ):
            return False
        level = logging.ERROR if isinstance(error, _FOR_A_PERSON) else logging.WARNING
        log.log(level, "reranking failed; returning documents in original order: %s", error)
        return True

    def _unranked(self, documents: Sequence[Any], error: RerankError) -> list[Any]:
        """The first documents in their order, without those that a success would leave out."""
        left_out = set(error.skipped)
        kept = [one for index, one in enumerate(documents) if index not in left_out]
        return kept[: self._top_n()]

    def _start_metadata(self, count: int) -> dict[str, Any]:
        """What a trace says of a call when it begins."""
        ranker = self._ranker()
        return {
            "rerank_provider": ranker.provider.name,
            "rerank_model": ranker.model,
            "rerank_documents": count,
            "rerank_top_n": self._top_n(),
        }


def with_retrieval_scores(
    client: RerankClient, documents: list[DocumentInput], scores: Iterable[Any]
) -> list[DocumentInput]:
    """The documents with the score of the first stage, where the client or a fallback counts it."""
    if not client._takes_retrieval_scores():  # noqa: SLF001  # of this package
        return documents
    return [_scored(one, score) for one, score in zip(documents, scores, strict=True)]


def _scored(document: DocumentInput, score: Any) -> DocumentInput:
    # what is no finite number is no score: a retriever may leave out or fail to give one
    score = finite(score.item() if hasattr(score, "item") else score)
    match document:
        case str():
            return RerankDocument(document, retrieval_score=score)
        case RerankDocument():
            return dataclasses.replace(document, retrieval_score=score)
    return RerankDocument(fields=document, retrieval_score=score)


def log_warnings(response: RerankResponse) -> None:
    """Log what the caller should know of a call, in one line."""
    if response.warnings:
        log.warning("%s", "; ".join(response.warnings))


@contextmanager
def naming(id_of: Callable[[int], str]) -> Iterator[None]:
    """An error about a document that passes also names the document's id.

    Args:
        id_of: what to call the document with an index, such as "id 'x'"; "" where it has no id.
    """
    try:
        yield
    except UnsupportedDocumentError as error:
        name = "" if error.index is None else id_of(error.index)
        if name:
            place = f"document {error.index}"
            error.args = (str(error).replace(place, f"{place} ({name})", 1),)
        raise


def in_span_of(run: Any) -> AbstractContextManager[None]:
    """Let the client's span nest in the one that an instrumentation of LangChain made for a run.

    It does not make its spans current, so the client's would be the root of another trace.
    """
    with guard:  # another handler's method of this name may be anything
        spans = (one.get_span(run.run_id) for one in run.handlers if hasattr(one, "get_span"))
        return as_current(next((span for span in spans if span is not None), None))
    return nullcontext()


def end_metadata(response: RerankResponse) -> dict[str, Any]:
    """What a trace says of a call when it has succeeded."""
    warnings = {"rerank_warnings": list(response.warnings)} if response.warnings else {}
    usage = {f"rerank_{name}": value for name, value in response.usage.counts().items()}
    hits = {"rerank_cache_hits": response.cache_hits} if response.cache_hits else {}
    return {
        "rerank_served_by": response.provider,
        "rerank_request_id": response.request_id,
        "rerank_retries": response.retries,
        **usage,
        **hits,
        **warnings,
    }


def error_metadata(error: RerankError) -> dict[str, Any]:
    """What a trace says of a call when it has failed."""
    return {
        "rerank_request_id": getattr(error, "request_id", None),
        "rerank_retries": error.retries,
    }


def _client_of(model: str | None, client: RerankClient | None, **named: Any) -> RerankClient:
    arguments: dict[str, Any] = {
        name: value
        for name, value in named.items()
        if value is not None and (value or name != "fallbacks")  # an empty list is none
    }
    if (model is None) == (client is None):
        raise ConfigurationError(
            "pass either model='provider:model', such as 'openrouter:cohere/rerank-v3.5', "
            "or client=RerankClient(...)"
        )
    if client is not None:
        if arguments:
            raise ConfigurationError(
                f"{' and '.join(arguments)} must be given to the client, not beside it"
            )
        return client
    assert model is not None  # noqa: S101  # as was just checked
    return RerankClient(model, **arguments)
