"""The base of all adapters: shared settings, passthrough of failures, and trace metadata."""

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
    ValidationError,
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
from rerank_integrations.fields import shown_query
from rerank_integrations.images import ImageUrls, UnusableImage
from rerank_integrations.models import DocumentInput, RerankDocument, RerankResponse
from rerank_integrations.providers._validation import Address, finite, shown
from rerank_integrations.providers.base import Provider

# names that adapters import from here, for their signatures
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
    "shown_query",
    "with_retrieval_scores",
]
# settings that are left to the client if the adapter does not set them
LEFT_TO_CLIENT = tuple(
    option.name
    for option in dataclasses.fields(Options)
    if option.name not in {"model", "provider"}
)
# permanent failures, until someone changes a key, an account or a permission
_PERMANENT_ERRORS = (AuthenticationError, PaymentRequiredError, PermissionDeniedError)
_MAY_BE_NONE = frozenset(LEFT_TO_CLIENT) - {
    *("max_retries", "retry_on_timeout", "extra_headers", "extra_body", "on_image"),
    *("on_invalid_document", "image_urls", "max_concurrency", "on_partial", "keep_raw"),
    "trace_content",
}
# settings that the client's own checks refuse in plainer words than pydantic; the others have
# another form in JSON
_CHECKED_FIRST = frozenset(LEFT_TO_CLIENT) - {"cache", "retry", "score_transform"}
_MOST_MODELS = 32  # models other than its own for which an adapter keeps a client
log = logging.getLogger("rerank_integrations")


OnError: TypeAlias = Literal["raise", "passthrough"]
"""What an adapter does when reranking fails."""


def _timeout_as_json(timeout: Any) -> Any:
    return timeout.as_dict() if isinstance(timeout, PhasedTimeout) else timeout


def _comparable(value: Any) -> Any:
    """Convert tuples to lists and timeouts to dicts, as after a round trip through JSON."""
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
    """Return a str unchanged, and None for a function, which JSON cannot represent."""
    return value if isinstance(value, str) else None


def _address(cache: RerankCache | None) -> str | None:
    return None if cache is None else cache.address


def _names_only(fallbacks: Sequence[Any]) -> list[str]:
    return [one for one in fallbacks if isinstance(one, str)]


F = TypeVar("F", bound=Callable[..., None])


def declared_init(declared: F) -> F:
    """Return an `__init__` with the signature of `declared`, which sets only what was passed.

    It sets no defaults. So a subclass can change a default, and `model_fields_set` holds what the
    caller set.
    """
    takes = [name for name in inspect.signature(declared).parameters if name != "self"]

    @functools.wraps(declared)
    def init(self: Any, *args: Any, **keywords: Any) -> None:
        if len(args) > 1:
            args = ()
            hide_secrets(keywords, ())
            raise ConfigurationError(
                f"{type(self).__name__} takes one positional argument, model; pass the others by "
                "name"
            )
        taken = {**({"model": args[0]} if args else {}), **keywords}
        del keywords  # it may hold a key, which a traceback must not show
        known = dict.fromkeys([*takes, *type(self).model_fields])  # a subclass may have its own
        hide_secrets(taken, known)
        refuse_unknown_argument(type(self).__name__, list(taken), list(known), INSTEAD)
        Adapter.__init__(self, **given(taken))

    return init  # type: ignore[return-value]


def _own_error(error: ValidationError) -> RerankError:
    """Return the error that pydantic has wrapped, or a ConfigurationError for its own findings."""
    found = error.errors(include_url=False, include_input=False)
    for one in found:
        cause = one.get("ctx", {}).get("error")
        if isinstance(cause, RerankError):
            return cause.with_traceback(None)
    problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in found]
    return ConfigurationError(f"{error.title}: {'; '.join(problems)}")


class Adapter(BaseModel):
    """The settings that all adapters share, and the client that is created from them."""

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

    _made: tuple[tuple[Any, ...], RerankClient] | None = PrivateAttr(default=None)
    _other_models: dict[str, tuple[object, RerankClient]] = PrivateAttr(default_factory=dict)

    def __init__(self, **settings: Any) -> None:
        check_settings(
            {
                name: value
                for name, value in settings.items()
                if name in _CHECKED_FIRST and value is not None
            }
        )
        try:
            BaseModel.__init__(self, **settings)
        except ValidationError as error:
            refused = _own_error(error)
        else:
            return
        raise refused

    @model_validator(mode="after")
    def _check_client(self) -> Self:
        self._ranker().with_options(**self._options())  # validates them now, not at the first call
        return self

    def __copy__(self) -> Self:
        """Return a copy that shares the connections; closing it leaves them open."""
        other = super().__copy__()
        if self._made is not None and self.client is None:
            source, client = self._made
            other._made = source, client.with_options()  # noqa: SLF001  # its own class
        other._other_models = {}  # noqa: SLF001
        return other

    def __eq__(self, other: object) -> bool:
        """Compare the settings; open connections do not matter."""
        return type(self) is type(other) and self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash(type(self))  # settings may change

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Return what the repr shows: the settings that were set, not those of the client."""
        return [pair for pair in super().__repr_args__() if pair[0] in self.model_fields_set]

    def _copy_with(self, changes: dict[str, Any]) -> Self:
        """Return a validated copy with changes, which shares the connections if possible."""
        self._keep_key(changes)
        own = {name: getattr(self, name) for name in self.model_fields_set}
        changes = merged_settings(own, changes, only=changes.keys())
        checked = type(self)(**{**own, **changes})
        return self.model_copy(update={name: getattr(checked, name) for name in changes})

    def _keep_key(self, changes: Mapping[str, Any]) -> None:
        """Refuse a model of another provider if what is for this provider would be sent to it.

        Raises:
            ConfigurationError: the key, a header or a body key would be sent to another address.
        """
        name, other = ((one or "").partition(":")[0] for one in (self.model, changes.get("model")))
        is_same_address = self.base_url is not None and "base_url" not in changes
        if not name or other in ("", name) or is_same_address:
            return
        for kept in ("api_key", "extra_headers", "extra_body"):
            if kept not in changes and getattr(self, kept):
                raise ConfigurationError(
                    f"{kept} is for {name} and is not sent to {other}: pass {kept}= together with "
                    "model=" + "; None reads the key from the environment" * (kept == "api_key")
                )

    def _settings(self) -> dict[str, Any]:
        """Return the settings that decide whether two adapters are equal."""
        return {name: _comparable(value) for name, value in self.__dict__.items()}

    def _can_be_loaded(self) -> bool:
        """Return whether all settings can be written as JSON: no objects and no headers."""
        objects = (self.client, self.provider, self.extra_headers)
        by_name = all(isinstance(fallback, str) for fallback in self.fallbacks)
        return (
            by_name
            and (self.cache is None or self.cache.address is not None)
            and all(one is None for one in objects)
            and _words_only(self.score_transform) == self.score_transform
        )

    def close(self) -> None:
        """Close the connections of the client, unless the client was passed as `client`.

        Closing a copy leaves the connections of the original open.
        """
        for _, other in self._other_models.values():
            other.close()
        if self.client is None:
            self._ranker().close()

    async def aclose(self) -> None:
        """Close the connections as `close` does, including those of the running event loop."""
        for _, other in self._other_models.values():
            await other.aclose()
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

    def _with_model(self, model: str) -> Self:
        """Return a copy that asks another model.

        It is made for each call. So another model of the same provider is asked over the same
        connections, within the same rate limit; the client of another provider is kept for the
        next call, and closed with this adapter.
        """
        if self.client is not None:
            return self.model_copy(update={"client": self.client.with_options(model=model)})
        self._keep_key({"model": model})
        copy = self.model_copy(update={"model": model})
        kept = self._other_models.get(model)
        if kept is None or kept[0] != self._source():
            kept = self._other_models[model] = self._source(), self._client_for(model)
            if len(self._other_models) > _MOST_MODELS:
                del self._other_models[next(iter(self._other_models))]
        copy._made = copy._source(), kept[1]  # noqa: SLF001  # its own class
        return copy

    def _client_for(self, model: str) -> RerankClient:
        """Return a client for another model, over the same connections if these fit."""
        if self.provider is not None:
            return self._ranker().with_options(model=model)
        name, _, own = model.partition(":")
        if own and name == self._ranker().provider.name:
            return self._ranker().with_options(model=own)
        return _client_of(
            model, None, api_key=self.api_key, base_url=self.base_url, fallbacks=self.fallbacks
        )

    def _source(self) -> tuple[object, ...]:
        """Return what the client is made of."""
        return (
            self.model, self.client, self.provider, self.api_key, self.base_url, self.fallbacks
        )  # fmt: skip

    def _ranker(self) -> RerankClient:
        """Return the client; it is created again if `model_copy` has changed its settings."""
        source = self._source()
        made = self._made
        if made is None or made[0] != source:
            if made is not None:
                _check_same_vendor(made[0], source)
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
        """Return the settings that override those of the client: set here, or in a subclass."""
        own, was_set = self.__dict__, self.model_fields_set
        return {
            name: own[name]
            for name in LEFT_TO_CLIENT
            if own[name] is not None or (name in was_set and name in _MAY_BE_NONE)
        }

    def _call_options(self, changes: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Return the settings of a call: those of the adapter, overridden by those of the call.

        By default an invalid document does not fail the call (`on_invalid_document="text"`),
        because the caller does not choose which documents a retriever finds.
        """
        own = merged_settings(self._options(), changes)
        if "on_invalid_document" not in own and not self._ranker().on_invalid_document:
            own["on_invalid_document"] = "text"
        return own

    def _top_n(self) -> int | None:
        return self._options().get("top_n", self._ranker().top_n)

    def _passes(self, error: RerankError) -> bool:
        """Return whether to continue without scores, after a failure of provider or documents."""
        wrong_call = isinstance(error, ConfigurationError | InvalidRequestError)
        if self.on_error == "raise" or (
            wrong_call and not isinstance(error, UnsupportedDocumentError)
        ):
            return False
        level = logging.ERROR if isinstance(error, _PERMANENT_ERRORS) else logging.WARNING
        log.log(level, "reranking failed; returning documents in original order: %s", error)
        return True

    def _unranked(self, documents: Sequence[Any], error: RerankError) -> list[Any]:
        """Return the first documents in their order, without blank and skipped ones."""
        left_out = set(error.skipped)
        kept = [one for index, one in enumerate(documents) if index not in left_out]
        return kept[: self._top_n()]

    def _start_metadata(self, count: int) -> dict[str, Any]:
        """Return the trace metadata that is known when a call begins."""
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
    """Add the scores of the first stage to documents, if the client or a fallback uses them."""
    if not client._takes_retrieval_scores():  # noqa: SLF001  # of this package
        return documents
    return [_scored(one, score) for one, score in zip(documents, scores, strict=True)]


def _scored(document: DocumentInput, score: Any) -> DocumentInput:
    # a value that is not a finite number counts as missing: some retrievers return no score
    score = finite(score.item() if hasattr(score, "item") else score)
    match document:
        case str():
            return RerankDocument(document, retrieval_score=score)
        case RerankDocument():
            return dataclasses.replace(document, retrieval_score=score)
    return RerankDocument(fields=document, retrieval_score=score)


def log_warnings(response: RerankResponse) -> None:
    """Log the warnings of a response in one record."""
    if response.warnings:
        log.warning("%s", "; ".join(response.warnings))


@contextmanager
def naming(id_of: Callable[[int], str]) -> Iterator[None]:
    """Add the document's id to the message of an error about a document.

    Args:
        id_of: returns the words for the document with an index, such as "id 'x'"; "" without an id.
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
    """Nest the client's span in the span that a LangChain instrumentation has created for a run.

    The instrumentation does not make its spans current, so without this the client's span would be
    the root of another trace.
    """
    with guard:  # other handlers may have an unrelated method of this name
        spans = (one.get_span(run.run_id) for one in run.handlers if hasattr(one, "get_span"))
        return as_current(next((span for span in spans if span is not None), None))
    return nullcontext()


def end_metadata(response: RerankResponse) -> dict[str, Any]:
    """Return the trace metadata of a call that has succeeded."""
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
    """Return the trace metadata of a call that has failed."""
    return {
        "rerank_request_id": getattr(error, "request_id", None),
        "rerank_retries": error.retries,
    }


def _check_same_vendor(before: tuple[Any, ...], now: tuple[Any, ...]) -> None:
    """Refuse a model of another provider, set by `model_copy` or by assignment, with the same key.

    Raises:
        ConfigurationError: the key would be sent to another address.
    """
    names = [(source[0] or "").partition(":")[0] for source in (before, now)]
    key, base_url = now[3], now[4]
    if all(names) and names[0] != names[1] and key and key == before[3] and base_url is None:
        raise ConfigurationError(
            f"api_key is for {names[0]} and is not sent to {names[1]}: set api_key too; None reads "
            "the key from the environment"
        )


def _client_of(model: str | None, client: RerankClient | None, **named: Any) -> RerankClient:
    arguments: dict[str, Any] = {
        name: value
        for name, value in named.items()
        if value is not None and (value or name != "fallbacks")  # an empty list means no fallbacks
    }
    if (model is None) == (client is None):
        raise ConfigurationError(
            "pass either model='provider:model', such as 'openrouter:cohere/rerank-v3.5', "
            "or client=RerankClient(...)"
        )
    if client is not None:
        if arguments:
            raise ConfigurationError(
                f"{' and '.join(arguments)} cannot be combined with client=; pass "
                f"{'it' if len(arguments) == 1 else 'them'} to the RerankClient"
            )
        return client
    assert model is not None  # noqa: S101  # as was just checked
    return RerankClient(model, **arguments)
