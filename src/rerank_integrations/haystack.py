"""The adapter for Haystack: `RerankRanker`, a component."""

# no `from __future__ import annotations`: Haystack 2.16 connects components by types, not by text
import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

from pydantic import ConfigDict, Field, SecretStr, StrictBool, StrictStr, model_validator

from rerank_integrations._adapter import (
    LEFT_TO_CLIENT,
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
    RerankCache,
    Retry,
    ScoreTransform,
    Timeout,
    UnusableImage,
    check_settings,
    checked_arguments,
    end_metadata,
    error_metadata,
    given,
    inside_reranker,
    log_warnings,
    naming,
    shown,
    with_retrieval_scores,
)
from rerank_integrations.client import RerankClient, check_names
from rerank_integrations.errors import (
    ConfigurationError,
    InvalidRequestError,
    RerankError,
    UnsupportedDocumentError,
)
from rerank_integrations.models import DocumentInput, RerankDocument, RerankResponse, as_list

try:
    from haystack import Document, component, default_from_dict, default_to_dict
    from haystack.core.errors import SerializationError
    from haystack.dataclasses import ByteStream, ImageContent
    from haystack.utils import Secret, deserialize_callable, serialize_callable
except ImportError as cause:
    raise ImportError(
        "rerank_integrations.haystack needs the extra 'haystack': "
        "pip install 'rerank-integrations[haystack]'"
    ) from cause

__all__ = ["RerankRanker"]

RETRIEVAL_SCORE = "retrieval_score"
_CONTENT = "content"  # Haystack's name for a document's own text
# Haystack's names for two settings
_SYNONYMS = {"top_k": "top_n", "meta_fields_to_embed": "rank_fields"}
_OBJECTS = ("client", "provider", "extra_headers")  # which YAML cannot hold


class _Ranking(Adapter):
    """The settings of a component, which cannot be a pydantic model itself, and its steps."""

    model_config = ConfigDict(title="RerankRanker")  # which errors name

    api_key: Any = Field(default=None, repr=False)  # may be a Haystack Secret until it is needed
    image_key: StrictStr | None = "image"
    keep_retrieval_score: StrictBool = False

    @model_validator(mode="after")
    def _check_client(self) -> Self:
        """Validate only what needs no key, because a pipeline can be loaded without one."""
        if self.model is None or self.client is not None:  # needs no key, or raises what to pass
            self._ranker().with_options(**self._options())
            return self
        if not isinstance(shown(self.api_key), Secret | SecretStr | str | None):
            kind = type(shown(self.api_key)).__name__
            raise ConfigurationError(f"api_key must be a Secret or a str, not {kind}")
        check_names(self.model, self.provider, self.fallbacks)
        check_settings(self._options())
        return self

    def with_client(self) -> Self:
        """Return a copy with the client, and with the key that a Secret refers to."""
        made = self
        if isinstance(shown(self.api_key), Secret):
            made = self.model_copy(update={"api_key": _resolved(self.api_key)})
        made._ranker().with_options(**made._options())  # noqa: SLF001  # its own class
        return made

    def begin(
        self, documents: object, changes: Mapping[str, Any]
    ) -> tuple[list[Document], RerankClient, dict[str, Any]]:
        """Return the documents to rank, the client, and the options of the call."""
        changes = {name: value for name, value in changes.items() if value is not None}
        options = self._call_options(_with_common_names(changes))
        return _distinct(documents), self._ranker(), options

    def inputs(
        self, documents: Sequence[Document], options: Mapping[str, Any]
    ) -> list[DocumentInput]:
        """Convert documents to rerank input."""
        by_fields = options.get("rank_fields", self._ranker().rank_fields) is not None
        inputs = [self._input(document, by_fields=by_fields) for document in documents]
        return with_retrieval_scores(self._ranker(), inputs, (one.score for one in documents))

    def _input(self, document: Document, *, by_fields: bool) -> DocumentInput:
        image, text = _image(document, self.image_key), document.content
        if not by_fields:
            return (text or "") if image is None else RerankDocument(text, image)
        fields = {**document.meta, "text": text, _CONTENT: text}
        fields.pop("image", None)
        return fields if image is None else RerankDocument(text, image, fields)

    def ranked(self, documents: Sequence[Document], response: RerankResponse) -> dict[str, Any]:
        """Return the output of a run."""
        log_warnings(response)
        kept = [self._copy(documents[result.index], result.relevance_score) for result in response]
        return {"documents": kept, "meta": end_metadata(response)}

    def passed(
        self, documents: Sequence[Document], error: RerankError, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the output of a run that failed, with `on_error="passthrough"`.

        Raises:
            RerankError: the error, with `on_error="raise"`, or if it is not passed through.
        """
        if not self._passes(error):
            raise error
        called = self.model_copy(update={k: v for k, v in options.items() if k == "top_n"})
        kept = called._unranked(documents, error)  # noqa: SLF001  # its own class
        if self.keep_retrieval_score:
            kept = [self._copy(document, document.score) for document in kept]
        return {"documents": kept, "meta": {"rerank_error": str(error), **error_metadata(error)}}

    def _copy(self, document: Document, score: float | None) -> Document:
        more = {RETRIEVAL_SCORE: document.score} if self.keep_retrieval_score else {}
        return dataclasses.replace(document, score=score, meta={**document.meta, **more})


@component
class RerankRanker:
    """Ranks the documents of a pipeline with a rerank model, best first.

    The client is created at the first run, or by `warm_up()`, so a pipeline can be loaded without
    a key. Like Haystack's own rankers, it ranks only one of several documents with the same id:
    the one with the highest score.

    Args:
        model: "provider:model", such as `"openrouter:cohere/rerank-v3.5"`.
        top_k: the maximum number of documents to return; None returns all. `top_n` is a synonym.
        meta_fields_to_embed: names of metadata fields to rank by, besides the text; the same as
            `rank_fields=[*names, "content"]`.
        rank_fields: names of metadata fields to rank by, in order. `"content"` and `"text"` are
            the document's own text. By default only the text is ranked.
        image_key: the metadata key of a document's image: an `ImageContent`, a `ByteStream`, bytes,
            a URL or a data URI. None ignores images in the metadata. An image in the document's
            `blob` takes precedence.
        keep_retrieval_score: whether to keep the score of the first stage in the metadata, as
            `retrieval_score`.
        api_key: the key, as a `Secret` or a str. None reads the provider's environment variable.
        client: a preconfigured `RerankClient`, in place of `model`, `provider`, `api_key`,
            `base_url` and `fallbacks`.
        on_error: "raise", or "passthrough" (graceful degradation): when the provider fails or no
            document can be ranked, the first `top_k` documents are returned with the scores of the
            retriever, with a log record.

    The other arguments are the settings of `RerankClient`; by default the settings of the client
    apply.

    Raises:
        ConfigurationError: an argument is invalid; the message says what to set. It is also a
            `ValueError`, like Haystack's own.
        InvalidRequestError: `top_n`, `top_k` or `rank_fields` is invalid.
    """

    @checked_arguments
    def __init__(
        self,
        model: str | None = None,
        *,
        top_k: int | NotGiven | None = NOT_GIVEN,
        meta_fields_to_embed: Sequence[str] | NotGiven | None = NOT_GIVEN,
        image_key: str | None = "image",
        keep_retrieval_score: bool = False,
        client: RerankClient | None = None,
        provider: Provider | None = None,
        api_key: Secret | SecretStr | str | None = None,
        base_url: str | None = None,
        fallbacks: Sequence[str | RerankClient] = (),
        on_error: OnError = "raise",
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
    ) -> None:
        self._given = {  # by the names that the caller used
            name: value
            for name, value in given(locals()).items()
            if name not in _DEFAULTS or value != _DEFAULTS[name]
        }
        self._settings = _Ranking(**_with_common_names(self._given))
        self._ready: _Ranking | None = None

    def __setattr__(self, name: str, value: object) -> None:
        """Set an attribute other than a setting; settings cannot change after validation.

        Raises:
            ConfigurationError: the attribute is a setting.
        """
        if name in _Ranking.model_fields or name in _SYNONYMS:
            raise ConfigurationError(
                f"{name} cannot be changed after a RerankRanker is created: create another; "
                "run() takes top_k and score_threshold"
            )
        object.__setattr__(self, name, value)  # not super(): `component` creates another class

    def warm_up(self) -> None:
        """Create the client, if there is none yet.

        Raises:
            ConfigurationError: a setting is invalid, or the key is missing.
            ValueError: the environment variable of a `Secret` is not set.
        """
        if self._ready is None:
            self._ready = self._settings.with_client()

    def close(self) -> None:
        """Close the connections of the client; a later run raises a `ConfigurationError`."""
        if self._ready is not None:
            self._ready.close()

    async def close_async(self) -> None:
        """Close the connections of the client, including those of the running event loop."""
        if self._ready is not None:
            await self._ready.aclose()

    def to_dict(self) -> dict[str, Any]:
        """Serialize the component for YAML: the arguments that were passed, without defaults.

        Returns:
            A dict for `from_dict`.

        Raises:
            SerializationError: an argument is an object or a secret, which cannot be serialized.
        """
        return default_to_dict(self, **{k: _as_yaml(k, v) for k, v in self._given.items()})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Create a component from the dict that `to_dict` returned.

        Args:
            data: the dict.

        Raises:
            ConfigurationError: an argument in it is invalid.
        """
        settings = dict(data.get("init_parameters", {}))
        if isinstance(settings.get("api_key"), Mapping):
            settings["api_key"] = Secret.from_dict(settings["api_key"])
        if isinstance(settings.get("retry"), Mapping):
            settings["retry"] = Retry(**settings["retry"])
        transform = settings.get("score_transform")
        if isinstance(transform, str) and "." in transform:
            settings["score_transform"] = deserialize_callable(transform)
        ranker: Self = default_from_dict(cls, {**data, "init_parameters": settings})
        return ranker

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, Any]:
        """Rank documents by their relevance to the query, best first.

        Args:
            query: the text to rank by.
            documents: the documents to rank, which are not modified.
            top_k: the maximum number of documents to return, instead of the component's `top_k`.
            score_threshold: the minimum score of a document to return, instead of the component's
                `score_threshold`.

        Returns:
            `documents`: copies of the documents with their score, best first. `meta`: facts about
            the call, such as the provider that served it, usage, request id and warnings.

        Raises:
            RerankError: the call failed, with `on_error="raise"`. Invalid arguments are always
                raised.
        """
        ranking = self._warm()
        found, client, options = ranking.begin(
            documents, {"top_k": top_k, "score_threshold": score_threshold}
        )
        if not found:
            return {"documents": [], "meta": {}}
        try:
            with (
                inside_reranker("haystack"),
                naming(lambda index: f"id {found[index].id!r}"),
            ):
                response = client.rerank(query, ranking.inputs(found, options), **options)
        except RerankError as error:
            return ranking.passed(found, error, options)
        return ranking.ranked(found, response)

    @component.output_types(documents=list[Document], meta=dict[str, Any])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, Any]:
        """Async version of `run`."""
        ranking = self._warm()
        found, client, options = ranking.begin(
            documents, {"top_k": top_k, "score_threshold": score_threshold}
        )
        if not found:
            return {"documents": [], "meta": {}}
        try:
            with (
                inside_reranker("haystack"),
                naming(lambda index: f"id {found[index].id!r}"),
            ):
                response = await client.arerank(query, ranking.inputs(found, options), **options)
        except RerankError as error:
            return ranking.passed(found, error, options)
        return ranking.ranked(found, response)

    def _warm(self) -> _Ranking:
        self.warm_up()
        assert self._ready is not None  # noqa: S101  # as `warm_up` has made it
        return self._ready


_DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        name: field.default
        for name, field in _Ranking.model_fields.items()
        if name not in LEFT_TO_CLIENT  # for those, None is a value of its own
    }
)


def _with_common_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings under the names that all adapters use.

    Raises:
        ConfigurationError: both names of a setting were passed, or `meta_fields_to_embed` is not a
            list.
        InvalidRequestError: a value is invalid.
    """
    settings = dict(settings)
    for theirs, ours in _SYNONYMS.items():
        if theirs not in settings:
            continue
        if ours in settings:
            raise ConfigurationError(f"{theirs} and {ours} mean the same; pass one of them")
        value = settings.pop(theirs)
        if theirs == "meta_fields_to_embed":
            if isinstance(value, str) or not isinstance(value, Sequence | None):
                kind = type(value).__name__
                raise ConfigurationError(f"{theirs} must be a list of names, not {kind}")
            value = [*value, _CONTENT] if value else None
        try:
            check_settings({ours: value})
        except InvalidRequestError as error:
            raise InvalidRequestError(str(error).replace(ours, theirs)) from None
        settings[ours] = value
    return settings


def _resolved(key: Any) -> SecretStr | None:
    """Return the key that a hidden Secret refers to; None if it is unset and not strict."""
    found = shown(key).resolve_value()
    if found is not None and not found.strip():  # else the provider's own variable would be read
        raise ConfigurationError(
            "the Secret of api_key= has an empty value; set its environment variable"
        )
    return None if found is None else SecretStr(found)


def _as_yaml(name: str, value: Any) -> Any:
    if name in _OBJECTS or (name == "fallbacks" and not all(isinstance(v, str) for v in value)):
        raise SerializationError(
            f"RerankRanker: {name}= is an object or a secret, which cannot be serialized; use "
            "model='provider:model', base_url= and environment variables"
        )
    if isinstance(value, RerankCache):
        if value.address is None:
            raise SerializationError(
                "RerankRanker: cache= is a RerankCache with max_age or max_entries, which cannot "
                "be serialized; pass 'memory' or 'sqlite:///path'"
            )
        return value.address
    if name == "api_key":
        if not isinstance(shown(value), Secret):
            raise SerializationError(
                "RerankRanker: api_key= is a key in clear text, which is not serialized; pass "
                "Secret.from_env_var(...), or set the provider's environment variable"
            )
        return shown(value).to_dict()
    if callable(value):
        try:
            return serialize_callable(value)
        except AttributeError:  # such as a functools.partial
            raise SerializationError(
                f"RerankRanker: {name}= is serialized as the name of a function, and a "
                f"{type(value).__name__} has none; pass a function that can be imported"
            ) from None
    return _plain(value)


def _plain(value: Any) -> Any:
    """Convert a value to the types that YAML has."""
    match value:
        case Retry():
            return _plain(dataclasses.asdict(value))
        case Mapping():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case str():
            return str(value)  # an address has a subclass of str
    return value.as_dict() if hasattr(value, "as_dict") else value  # httpx.Timeout


def _distinct(documents: object) -> list[Document]:
    """Return one document for each id, the one with the highest score, like Haystack's rankers."""
    if isinstance(documents, Document):
        raise InvalidRequestError("documents must be a list of documents, not one Document")
    best: dict[str, Document] = {}
    for document in as_list(documents):
        if not isinstance(document, Document):
            raise InvalidRequestError(
                f"documents must be Haystack documents, not {type(document).__name__}"
            )
        other = best.get(document.id)
        if other is None or _score(document) > _score(other):
            best[document.id] = document
    return list(best.values())


def _score(document: Document) -> float:
    return float("-inf") if document.score is None else document.score


def _image(document: Document, key: str | None) -> Any:
    """Return the image of a document: its blob, or the value of the metadata key."""
    blob = document.blob
    if blob is not None and (blob.mime_type or "image/").startswith("image/"):
        return blob.data
    image = document.meta.get(key) if key else None
    if isinstance(image, list | tuple):
        image = image[0] if image else None
    if isinstance(image, ByteStream):
        return image.data or None
    if isinstance(image, ImageContent):
        try:
            return RerankDocument.from_base64(image.base64_image).image
        except UnsupportedDocumentError as error:  # the client raises it, or leaves out the image
            return UnusableImage(str(error))
    return None if isinstance(image, str | bytes) and not image else image
