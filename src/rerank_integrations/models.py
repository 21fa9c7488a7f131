"""Data classes: documents, results, the response and its usage."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass
from functools import wraps
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    NoReturn,
    TypeAlias,
    overload,
)

from rerank_integrations.errors import (
    Attempt,
    ConfigurationError,
    InvalidRequestError,
    UnsupportedDocumentError,
)
from rerank_integrations.images import bytes_to_data_uri, data_uri, is_picture, picture_to_data_uri
from rerank_integrations.providers._validation import finite, refuse_unknown
from rerank_integrations.providers.base import ScoreKind

if TYPE_CHECKING:  # a default, which typing has from Python 3.13 on; type checkers bring their own
    from typing_extensions import TypeVar

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)

USAGE_COUNTS = ("search_units", "total_tokens", "prompt_tokens", "completion_tokens", "cost")
_BASE64 = ";base64,"
# a data URI is found in several steps, each of which reads the text once: a single pattern would
# read the rest of the text again from every "data:"
_WORD = re.compile(r"[^\s\"'<>]+")
_DATA = re.compile("data:", re.IGNORECASE)
_DATA_MARK = re.compile(_BASE64, re.IGNORECASE)
_DATA_END = re.compile(r"[\w+/=-]*")
_DEEPEST = 20  # levels of nested values that a trace shows
_LARGEST_FILE = 256 * 2**20  # bytes; more than any image that can be sent, even if it is resized
_SHOWN = 60  # characters of a text or a URL that a repr shows
_RESULTS_IN_REPR = 3
_REPR_OF_RESULTS = 700  # characters, beyond which fewer results are shown
_ROWS = 100  # of the table in a notebook
_CELL = 160  # characters of a document in the table
_RESULT_KEYS = ("index", "relevance_score", "document")

_Images: TypeAlias = Literal["redact", "keep"]
"""How `to_dict` and `to_json` write image data: as a placeholder, or as base64 data URIs."""


@dataclass(frozen=True, slots=True, repr=False)
class RerankDocument:
    """A document with text, an image, named fields, or several of these.

    Args:
        text: the document's own text; its name in `rank_fields` is `"text"`.
        image: an http(s) URL, a `data:image/...;base64,` URI, the bytes of a PNG, JPEG, WebP
            or GIF, or a `PIL.Image.Image`. Use `from_file` for a local file, and `from_base64` for
            base64 text.
        fields: further named values to rank by, such as a title. `text` and `image` replace
            fields of the same name.
        retrieval_score: the score of the first stage, for `Local(retrieval_weight=...)`; it is
            never sent over the network.

    Raises:
        UnsupportedDocumentError: nothing was passed, or a value has the wrong type.
    """

    text: str | None = None
    image: str | bytes | Any = None
    fields: Mapping[str, Any] | None = None
    retrieval_score: float | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None and self.fields is None:
            raise UnsupportedDocumentError("a RerankDocument needs text, image or fields")
        # not `str | None`, which would be created anew for each document
        if self.text is not None and not isinstance(self.text, str):
            raise UnsupportedDocumentError(f"text must be a str, not {type(self.text).__name__}")
        if self.fields is not None and not isinstance(self.fields, Mapping):
            raise UnsupportedDocumentError(
                f"fields must be a mapping of names to values, not {type(self.fields).__name__}"
            )
        score: Any = self.retrieval_score
        if score is None:
            return
        if isinstance(score, Real) and hasattr(score, "item"):  # a scalar of NumPy
            score = score.item()
        if finite(score) is None:
            raise UnsupportedDocumentError(
                f"retrieval_score must be a finite number, not {self.retrieval_score!r:.40}"
            )

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        *,
        text: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> RerankDocument:
        """Create a document with the image in a local file, which is read immediately.

        Args:
            path: the path of the image file; at most 256 MiB.
            text: the document's own text.
            fields: further named values to rank by.

        Raises:
            UnsupportedDocumentError: the file does not exist, is not a regular file, is too large,
                or cannot be read.
        """
        try:
            return cls(text=text, image=_content(Path(path)), fields=fields)
        except (OSError, ValueError) as cause:  # ValueError: a NUL in the path
            raise UnsupportedDocumentError(
                f"cannot read the image file {str(path)!r}: {cause}"
            ) from cause

    @classmethod
    def from_base64(
        cls,
        encoded: str | bytes,
        *,
        text: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> RerankDocument:
        """Create a document with an image in base64, as vector stores keep it.

        Args:
            encoded: the base64 text of a PNG, JPEG, WebP or GIF, or of its data URI.
            text: the document's own text.
            fields: further named values to rank by.

        Raises:
            UnsupportedDocumentError: it is not base64, or not an image that an endpoint takes.
        """
        return cls(text=text, image=data_uri(encoded), fields=fields)

    def __repr__(self) -> str:
        parts = []
        if self.text is not None:
            parts.append(f"text={_shortened(self.text)!r}")
        if self.image is not None:
            parts.append(f"image={_outline(self.image)}")
        if self.fields is not None:
            parts.append(f"fields={_outline(self.fields)}")
        return f"RerankDocument({', '.join(parts)})"


_DOCUMENT = ("text", "image", "fields", "retrieval_score")
# names that other packages have for these arguments
_MEANT = {
    "content": "text",
    "document": "text",
    "image_url": "image",
    "meta": "fields",
    "metadata": "fields",
    "page_content": "text",
    "payload": "fields",
    "score": "retrieval_score",
    "title": "fields",
}


def _refuses_unknown(init: Any) -> Any:
    """Wrap `RerankDocument.__init__` to suggest an argument in place of an unknown one."""

    @wraps(init)
    def checked(
        self: RerankDocument,
        text: Any = None,
        image: Any = None,
        fields: Any = None,
        retrieval_score: Any = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            if name not in _MEANT:
                refuse_unknown("RerankDocument", [name], _DOCUMENT)
            ranked = ", by which it is ranked" if _MEANT[name] == "fields" else ""
            raise ConfigurationError(
                f"RerankDocument has no argument {name!r}; did you mean {_MEANT[name]!r}{ranked}? "
                f"it takes {', '.join(_DOCUMENT)}"
            )
        init(self, text, image, fields, retrieval_score)

    return checked


RerankDocument.__init__ = _refuses_unknown(RerankDocument.__init__)  # type: ignore[method-assign]

DocumentInput: TypeAlias = str | Mapping[str, Any] | RerankDocument
"""A document that a caller can pass: a text, a mapping of fields or a `RerankDocument`."""

QueryInput: TypeAlias = str | Mapping[str, Any] | RerankDocument
"""The types of a query that a caller can give; one with an image is a mapping or `RerankDocument`.

A mapping has `text`, `image` or both, and a `RerankDocument` no `fields`.
"""

DocumentT = TypeVar("DocumentT", bound=DocumentInput)
"""The type of the documents of one call, and of the documents in its response."""


class _JSON:
    """Adds `to_dict` and `to_json` to a dataclass."""

    __slots__ = ()

    def to_dict(self, *, images: Literal["redact", "keep"] = "redact") -> dict[str, Any]:
        """Convert to plain data that can be written as JSON.

        Args:
            images: "redact" replaces image data with a placeholder; "keep" writes it as base64
                data URIs. Image URLs are kept unchanged.

        Returns:
            A dict of the attributes. A `RerankDocument` becomes a dict of text, image and fields;
            infinity and NaN become None.

        Raises:
            InvalidRequestError: `images` has another value.
        """
        _check_images(images)
        return _attributes(self, images, 0)

    def to_json(
        self, *, images: Literal["redact", "keep"] = "redact", indent: int | None = None
    ) -> str:
        """Convert to JSON text, with the content of `to_dict`.

        Args:
            images: the same as in `to_dict`.
            indent: the number of spaces for each level; None writes one line.

        Raises:
            InvalidRequestError: `images` has another value.
        """
        data = self.to_dict(images=images)
        return json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False)


class RelevantSpan(NamedTuple):
    """A part of a document's text that is relevant to the query.

    The part is `result.sent_text[span.start : span.end]`.

    Attributes:
        start: the index of its first character (code point).
        end: the index after its last character.
        score: its relevance, on the scale of the model; None if the provider returns none.
    """

    start: int
    end: int
    score: float | None = None


class ResultDetails(NamedTuple):
    """What some providers return for a result besides its score.

    Attributes:
        spans: the relevant parts of the text that was sent, best first.
        sent_text: the text that the positions of the spans refer to; None without spans.
        extra: further keys of the result, unchanged.
    """

    spans: tuple[RelevantSpan, ...] = ()
    sent_text: str | None = None
    extra: Mapping[str, Any] = {}


_NO_DETAILS = ResultDetails()


class _Detailed:
    """Holds the details of a result outside of its dataclass fields, which become table columns."""

    __slots__ = ("_details",)  # unset for most results, which saves time

    @property
    def details(self) -> ResultDetails | None:
        """The `spans`, `sent_text` and `extra` of the result; None if the provider returns none."""
        found: ResultDetails | None = getattr(self, "_details", None)
        return found


@dataclass(frozen=True, slots=True, repr=False, init=False)
class RerankResult(_JSON, _Detailed, Generic[T_co]):
    """One ranked document.

    `result["index"]`, `result["relevance_score"]` and `result["document"]` work too.

    Attributes:
        index: the document's position in the list that the caller passed.
        relevance_score: the provider's score, changed only by `score_transform`. Score scales
            differ between models.
        document: the same object that the caller passed.
    """

    index: int
    relevance_score: float
    document: T_co

    __iter__: ClassVar[None] = None  # it has keys, and is not a sequence

    def __init__(
        self,
        index: int,
        relevance_score: float,
        document: T_co,
        details: ResultDetails | None = None,
    ) -> None:
        # through the slots: the `__init__` of a frozen dataclass takes three times as long
        _set_index(self, index)
        _set_score(self, relevance_score)
        _set_document(self, document)
        if details is not None:
            _set_details(self, details)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.index, self.relevance_score, self.document, self.details)

    @property
    def spans(self) -> tuple[RelevantSpan, ...]:
        """The relevant parts of the text that was sent, best first."""
        return (self.details or _NO_DETAILS).spans

    @property
    def sent_text(self) -> str | None:
        """The text that the positions of the spans refer to; None if the response has no spans."""
        return (self.details or _NO_DETAILS).sent_text

    @property
    def extra(self) -> Mapping[str, Any]:
        """Further keys that the provider returns for this result, unchanged.

        They may be missed if the first result of the response has none.
        """
        return (self.details or _NO_DETAILS).extra

    def to_dict(self, *, images: Literal["redact", "keep"] = "redact") -> dict[str, Any]:
        """Convert to plain data that can be written as JSON.

        Args:
            images: "redact" replaces image data with a placeholder; "keep" writes it as base64
                data URIs. Image URLs are kept unchanged.

        Returns:
            A dict of index, relevance_score and document, and of spans, sent_text and extra if
            the provider returns them.

        Raises:
            InvalidRequestError: `images` has another value.
        """
        _check_images(images)
        found: dict[str, Any] = _as_json(self, images)
        return found

    @overload
    def __getitem__(self, key: Literal["index"]) -> int: ...
    @overload
    def __getitem__(self, key: Literal["relevance_score"]) -> float: ...
    @overload
    def __getitem__(self, key: Literal["document"]) -> T_co: ...
    def __getitem__(self, key: str) -> Any:
        if key not in _RESULT_KEYS:
            keys = ", ".join(map(repr, _RESULT_KEYS))
            raise KeyError(f"a RerankResult has no key {key!r}; its keys are {keys}")
        return getattr(self, key)

    def __repr__(self) -> str:
        return (
            f"RerankResult(index={self.index}, relevance_score={self.relevance_score}, "
            f"document={_outline(self.document)})"
        )


_set_index, _set_score, _set_document = (
    vars(RerankResult)[name].__set__ for name in RerankResult.__slots__
)
_set_details = vars(_Detailed)["_details"].__set__


@dataclass(frozen=True, slots=True, repr=False)
class Usage(_JSON):
    """What a call cost, in the provider's own units; None for what the provider does not report.

    Attributes:
        search_units: the provider's billing unit: Cohere's search units, Pinecone's rerank units.
            Portkey also puts the tokens of Voyage and Jina here, so the meaning depends on the
            provider that served the call.
        total_tokens: the number of all tokens.
        prompt_tokens: the number of input tokens.
        completion_tokens: the number of output tokens.
        cost: the cost in the gateway's credits (OpenRouter: 1 credit is 1 US dollar).
        raw: the provider's whole usage object.
    """

    search_units: float | None = None
    total_tokens: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cost: float | None = None
    raw: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        said = (f"{name}={getattr(self, name)}" for name in self.counts())
        return f"Usage({', '.join(said)})"

    def counts(self) -> dict[str, float]:
        """Return the values that the provider reported, by name, without `raw`."""
        found = {name: getattr(self, name) for name in USAGE_COUNTS}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, repr=False)
class RerankResponse(_JSON, Generic[T_co]):
    """The ranked documents, best first, and what the provider reported about the call.

    Iteration, `len()`, `[i]` and slices apply to `results`. A notebook shows a table.
    `RerankResponse[str]` is the type of a response whose documents are strings.

    Attributes:
        results: the results, best first, at most `top_n`.
        model: the model that the provider reports, else the one that was requested.
        score_kind: what the scores are: "probability" (0 to 1), "logit", "cosine", "relative" (to
            the other documents), "unbounded" or "unknown".
        provider: the provider that served the call, as the gateway reports it, else `name` of the
            provider object.
        id: the provider's id of the response.
        request_id: the request ID, for provider support.
        usage: what the call cost.
        skipped: indexes of documents that were not sent: blank ones, and invalid ones that
            `on_invalid_document` skips.
        missing: indexes of documents in requests that failed, with `on_partial="keep"`.
        warnings: problems that did not fail the call, such as truncated texts.
        attempts: every request attempt, including skipped providers. More than one means retries,
            fallbacks, or a list that was split.
        retries: how many of these repeated a request that had failed.
        headers: the headers of the HTTP response, a mapping with lower-case names, without cookies
            and keys. For a split call, a list with the mapping of each request.
        raw: with `keep_raw=True` the parsed body of the response, without keys; else None. For a
            split call, a list with the body of each request, None for one that failed.
        cache_hits: how many documents have a score from the `cache`; these were not sent.
    """

    results: tuple[RerankResult[T_co], ...]
    model: str
    provider: str
    id: str | None = None
    request_id: str | None = None
    usage: Usage = field(default_factory=Usage)
    skipped: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    missing: tuple[int, ...] = ()
    retries: int = 0
    score_kind: ScoreKind = "unknown"
    # a list of mappings for a split call: with a union every reader would have to tell them apart
    headers: Any = field(default_factory=dict, compare=False)
    raw: Any = field(default=None, compare=False)  # JSON, in the provider's form
    cache_hits: int = 0

    def __post_init__(self) -> None:
        for name in ("results", "skipped", "warnings", "attempts", "missing"):
            value = getattr(self, name)
            if type(value) is not tuple:  # LangGraph checkpoints restore lists
                object.__setattr__(self, name, tuple(value))

    def __iter__(self) -> Iterator[RerankResult[T_co]]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, position: int) -> RerankResult[T_co]: ...
    @overload
    def __getitem__(self, position: slice) -> tuple[RerankResult[T_co], ...]: ...
    def __getitem__(
        self, position: int | slice
    ) -> RerankResult[T_co] | tuple[RerankResult[T_co], ...]:
        return self.results[position]

    def __repr__(self) -> str:
        shown = [repr(result) for result in self.results[:_RESULTS_IN_REPR]]
        while len(shown) > 1 and sum(map(len, shown)) > _REPR_OF_RESULTS:
            del shown[-1]
        if len(shown) < len(self.results):
            shown.append(f"... {len(self.results) - len(shown)} more")
        parts = [f"results=[{', '.join(shown)}]"]
        for name in ("model", "provider", "id", "request_id"):
            value = getattr(self, name)
            if value is not None:
                parts.append(f"{name}={_shortened(value)!r}")
        parts.append(f"usage={self.usage}")
        parts += [f"{name}=<{count}>" for name, count in self._remarks().items()]
        return f"RerankResponse({', '.join(parts)})"

    def _repr_html_(self) -> str:
        """Return the table that a notebook shows, without scripts or external resources."""
        from html import escape  # noqa: PLC0415  # slow, and for notebooks only

        facts = [
            f"{len(self)} result{'' if len(self) == 1 else 's'}",
            *(self.model, self.provider),
            *(f"{name} {value}" for name, value in self.usage.counts().items()),
            *(f"{name} {count}" for name, count in self._remarks().items()),
        ]
        not_ranked = (*self.skipped, *self.missing)
        lengths = _bar_lengths([result.relevance_score for result in self.results[:_ROWS]])
        rows = [
            _row(
                rank,
                result.index - sum(index < result.index for index in not_ranked) - rank,
                length,
                result,
                escape(_cell_text(result.document)),
            )
            for rank, (result, length) in enumerate(zip(self.results, lengths, strict=False))
        ]
        if len(self) > _ROWS:
            rows.append(f'<tr><td colspan="5">{len(self) - _ROWS} more</td></tr>')
        return _TABLE.format(caption=escape(" · ".join(facts)), rows="".join(rows))

    def _remarks(self) -> dict[str, int]:
        """Return the counts that differ from zero, such as skipped documents and warnings."""
        found = {name: len(getattr(self, name)) for name in ("skipped", "missing", "warnings")}
        found |= {"retries": self.retries, "cache_hits": self.cache_hits}
        return {name: count for name, count in found.items() if count}


def _refuse_change(self: object, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")


# the `__setattr__` that dataclass generates for slots raises TypeError for names that are not
# fields; RerankResult[str](...) sets such a name, and expects AttributeError
for _kind in (RerankResult, RerankResponse):
    _kind.__setattr__ = _kind.__delattr__ = _refuse_change  # type: ignore[method-assign]


def _content(file: Path) -> bytes:
    if file.exists() and not file.is_file():  # a pipe or a device may never end
        raise OSError("it is not a regular file")
    if file.stat().st_size > _LARGEST_FILE:
        raise OSError(f"it is larger than {_LARGEST_FILE:,} bytes")
    return file.read_bytes()


def as_list(documents: object) -> Sequence[Any]:
    """Read the documents once, into a tuple.

    Raises:
        InvalidRequestError: a single document was passed, or something that is not a list.
    """
    single = isinstance(documents, str | bytes | Mapping | RerankDocument)
    if single or not isinstance(documents, Iterable):
        raise InvalidRequestError(
            f"documents must be a list of documents, not one {type(documents).__name__}; "
            "put it into a list"
            if single
            else f"documents must be a list of documents, not {type(documents).__name__}"
        )
    if type(documents).__name__ == "DataFrame":  # iterating over it yields column names
        raise InvalidRequestError(
            "documents must be a list of documents, not a DataFrame; pass a column, or "
            "frame.to_dict('records') (pandas) or frame.to_dicts() (polars) and rank_fields"
        )
    return tuple(documents)


def join_surrogates(text: str) -> str:
    """Replace each surrogate pair by the character that it encodes."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def replace_surrogates(text: str) -> str:
    """Replace each lone surrogate by U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def without_image_data(value: Any, depth: int = 0) -> Any:
    """Replace each image in a value by a placeholder, for a message, a log or a trace."""
    if depth == _DEEPEST:  # the value may contain itself
        return f"<{type(value).__name__}>"
    match value:
        case str():
            return _WORD.sub(_word_without_data, value) if _BASE64 in value.lower() else value
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case _ if is_picture(value):
            return f"<image of {value.width} x {value.height} pixels>"
        case RerankDocument():
            return without_image_data(_parts(value), depth)
        case Mapping():
            return {key: without_image_data(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [without_image_data(item, depth + 1) for item in value]
        case _ if hasattr(value, "model_dump"):  # a pydantic model
            return without_image_data(value.model_dump(), depth + 1)
        case _:
            return value


def _word_without_data(match: re.Match[str]) -> str:
    """Replace the data URI in a word by a placeholder."""
    word = match[0]
    start = _DATA.search(word)
    mark = None
    if start is not None:
        for mark in _DATA_MARK.finditer(word, start.end()):  # noqa: B007  # the last one
            pass
    if start is None or mark is None:
        return word
    end = _DATA_END.match(word, mark.end())
    return f"{word[: start.start()]}<image data>{word[end.end() if end else mark.end() :]}"


def _check_images(images: object) -> None:
    if images not in ("redact", "keep"):
        raise InvalidRequestError(f"images must be 'redact' or 'keep', not {images!r}")


def _attributes(value: Any, images: _Images, depth: int) -> dict[str, Any]:
    """Convert the attributes of a dataclass to JSON values."""
    return {one.name: _as_json(getattr(value, one.name), images, depth) for one in fields(value)}


def _as_json(value: Any, images: _Images, depth: int = 0) -> Any:
    """Convert a value to JSON values."""
    if depth == _DEEPEST:  # the value may contain itself
        return f"<{type(value).__name__}>"
    match value:
        case None | bool() | int() | float() | str() | bytes() | bytearray() | memoryview():
            return _scalar_as_json(value, images)
        case RerankDocument():
            return _as_json(_parts(value), images, depth)
        case Attempt() | RelevantSpan():
            return _as_json(value._asdict(), images, depth)
        case Mapping():
            return {
                _scalar_as_json(str(key), images): _as_json(item, images, depth + 1)
                for key, item in value.items()
            }
        case _ if hasattr(value, "tolist"):  # of numpy, pandas or torch
            return _as_json(value.tolist(), images, depth + 1)
        case Collection():
            return [_as_json(item, images, depth + 1) for item in value]
        case _ if hasattr(value, "model_dump"):  # a pydantic model
            return _as_json(value.model_dump(), images, depth + 1)
        case RerankResult():
            own = {name: getattr(value, name) for name in _RESULT_KEYS}
            more = (value.details or _NO_DETAILS)._asdict()
            given = {name: item for name, item in more.items() if item}
            return _as_json({**own, **given}, images, depth)
        case _ if is_dataclass(value) and not isinstance(value, type):
            return _attributes(value, images, depth + 1)
        case _:
            return _scalar_as_json(value, images)


def _scalar_as_json(value: Any, images: _Images) -> Any:
    redacted = images == "redact"
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case str():
            text = without_image_data(value) if redacted else value
            return replace_surrogates(text)  # a lone one cannot be written as UTF-8
        case bytes() | bytearray() | memoryview():
            return without_image_data(value) if redacted else bytes_to_data_uri(value)
        case _ if is_picture(value):
            return without_image_data(value) if redacted else picture_to_data_uri(value)
        case _:
            from pydantic_core import to_jsonable_python  # noqa: PLC0415  # slow, and rare

            # dates, UUIDs, decimals, paths, enums
            return to_jsonable_python(
                value, inf_nan_mode="null", fallback=lambda other: f"<{type(other).__name__}>"
            )


def _parts(document: RerankDocument) -> dict[str, Any]:
    return {"text": document.text, "image": document.image, "fields": document.fields}


_TABLE = """\
<table class="mathjax_ignore tex2jax_ignore" style="border-collapse: collapse; color: inherit">
<caption style="caption-side: top; text-align: left; color: inherit; opacity: 0.75; \
padding: 0.2em 0.6em">{caption}</caption>
<thead><tr>\
<th style="text-align: right">rank</th>\
<th style="text-align: left">moved</th>\
<th style="text-align: left" colspan="2">score</th>\
<th style="text-align: left">document</th>\
</tr></thead>
<tbody>{rows}</tbody>
</table>"""


def _row(rank: int, moved: int, length: float, result: RerankResult, text: str) -> str:
    arrow, colour = ("▲", "#2e9e5b") if moved > 0 else ("▼", "#d9534f")
    movement = f'<span style="color: {colour}">{arrow} {moved:+}</span>' if moved else "= 0"
    return (
        f'<tr><td style="text-align: right">{rank + 1}</td>'
        f'<td style="text-align: left; white-space: nowrap" title="index {result.index}">'
        f"{movement}</td>"
        '<td style="text-align: left; min-width: 84px"><div style="width: 80px; height: 0.7em; '
        'border-radius: 2px; background: rgba(128, 128, 128, 0.25)"><div style="width: '
        f'{length:.0%}; height: 100%; border-radius: 2px; background: #4a90d9"></div></div></td>'
        '<td style="text-align: right; font-variant-numeric: tabular-nums">'
        f"{result.relevance_score:.4g}</td>"
        f'<td style="text-align: left; white-space: normal; max-width: 40em" dir="auto">{text}</td>'
        "</tr>"
    )


def _bar_lengths(scores: Sequence[float]) -> list[float]:
    """Return the length of each bar, from 0 (the score 0, or the lowest negative one) to 1."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    low = min(low, 0.0)
    span = max(high, 0.0) - low
    return [score / span - low / span if span else 0.0 for score in scores]


def _cell_text(document: object) -> str:
    """Return a document's text on one line, shortened, with `[image]` in place of an image."""
    match document:
        case str():
            text = document
        case RerankDocument():
            text = " ".join(
                [
                    *([document.text] if document.text is not None else []),
                    *([_cell_text(document.fields)] if document.fields else []),
                    *(["[image]"] if document.image is not None else []),
                ]
            )
        case Mapping():
            values = {**document, "image": "[image]"} if "image" in document else document
            text = " · ".join(f"{key}: {without_image_data(item)}" for key, item in values.items())
        case _:
            found = getattr(document, "page_content", None)  # of LangChain
            text = found if isinstance(found, str) else f"<{type(document).__name__}>"
    text = without_image_data(text)[: 10 * _CELL]
    return _shortened(" ".join(text.split()), _CELL)


def _outline(value: object) -> str:
    """Return a repr without image data, without the query of a URL, and without long texts."""
    match value:
        case bytes():
            return f"<{len(value)} bytes>"
        case str() if value[:5].lower() == "data:":
            return f"<data URI of {len(value)} characters>"
        case str() if value.startswith(("http://", "https://")):
            return repr(_shortened(value.partition("?")[0]))
        case str():
            return repr(_shortened(value))
        case Mapping():
            return f"<mapping of {_shortened(' '.join(', '.join(map(str, value)).split()))}>"
        case RerankDocument():
            return repr(value)
        case _:
            return f"<{type(value).__name__}>"


def _shortened(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
