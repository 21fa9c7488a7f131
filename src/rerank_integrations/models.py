"""What goes in and what comes out: documents, results, the response and its usage."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import FrozenInstanceError, dataclass, field, fields, is_dataclass
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

from rerank_integrations.errors import Attempt, InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.images import bytes_to_data_uri, data_uri, is_picture, picture_to_data_uri
from rerank_integrations.providers._validation import finite
from rerank_integrations.providers.base import ScoreKind

if TYPE_CHECKING:  # a default, which typing has from Python 3.13 on; type checkers bring their own
    from typing_extensions import TypeVar

    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)

USAGE_COUNTS = ("search_units", "total_tokens", "prompt_tokens", "completion_tokens", "cost")
_BASE64 = ";base64,"
# a data URI, found in steps that each read a text once: one pattern for all of it would read the
# rest of the text again from every "data:"
_WORD = re.compile(r"[^\s\"'<>]+")
_DATA = re.compile("data:", re.IGNORECASE)
_DATA_MARK = re.compile(_BASE64, re.IGNORECASE)
_DATA_END = re.compile(r"[\w+/=-]*")
_DEEPEST = 20  # levels of nested values that a trace shows
_LARGEST_FILE = 256 * 2**20  # bytes; more than any image that can be sent, also made smaller
_SHOWN = 60  # characters of a text or a URL that a repr shows
_RESULTS_IN_REPR = 3
_REPR_OF_RESULTS = 700  # characters, beyond which fewer results are shown
_ROWS = 100  # of the table in a notebook
_CELL = 160  # characters of a document in the table
_RESULT_KEYS = ("index", "relevance_score", "document")

Images: TypeAlias = Literal["redact", "keep"]
"""What becomes of images in `to_dict` and `to_json`: a placeholder, or base64 data URIs."""


@dataclass(frozen=True, slots=True, repr=False)
class RerankDocument:
    """A document of text, an image, further fields, or several of these.

    Args:
        text: the document's own text; in `rank_fields` it is called `"text"`.
        image: an http(s) URL, a `data:image/...;base64,` URI, or the bytes of a PNG, JPEG, WebP
            or GIF; or a `PIL.Image.Image`. A local file only through `from_file`, base64 text
            through `from_base64`.
        fields: further named values to rank by, such as a title. `text` and `image` win over
            fields of the same name.
        retrieval_score: the score of the first stage, for `Local(retrieval_weight=...)`; it is
            never sent over the network.

    Raises:
        UnsupportedDocumentError: nothing was given, or something of the wrong type.
    """

    text: str | None = None
    image: str | bytes | Any = None
    fields: Mapping[str, Any] | None = None
    retrieval_score: float | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None and self.fields is None:
            raise UnsupportedDocumentError("a RerankDocument needs text, image or fields")
        if not isinstance(self.text, str | None):
            raise UnsupportedDocumentError(f"text is a str, not {type(self.text).__name__}")
        if not isinstance(self.fields, Mapping | None):
            raise UnsupportedDocumentError(
                f"fields is a mapping of names to values, not {type(self.fields).__name__}"
            )
        score: Any = self.retrieval_score
        if isinstance(score, Real) and hasattr(score, "item"):  # a scalar of NumPy
            score = score.item()
        if score is not None and finite(score) is None:
            raise UnsupportedDocumentError(
                f"retrieval_score is a finite number, not {self.retrieval_score!r:.40}"
            )

    @classmethod
    def from_file(
        cls,
        path: str | PathLike[str],
        *,
        text: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> RerankDocument:
        """A document with the image in a local file, which is read now.

        Raises:
            UnsupportedDocumentError: no such file, no plain file, or not readable.
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
        """A document with an image that is base64 text, as vector stores hold it.

        Raises:
            UnsupportedDocumentError: not base64, or not an image that an endpoint takes.
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


DocumentInput: TypeAlias = str | Mapping[str, Any] | RerankDocument
"""The types of a document that a caller can give."""

QueryInput: TypeAlias = str | Mapping[str, Any] | RerankDocument
"""The types of a query that a caller can give; one with an image is a mapping or `RerankDocument`.

A mapping has `text`, `image` or both, and a `RerankDocument` no `fields`.
"""

DocumentT = TypeVar("DocumentT", bound=DocumentInput)
"""The type of the documents of one call, and so of those in its response."""


class _JSON:
    """`to_dict` and `to_json` of a dataclass."""

    __slots__ = ()

    def to_dict(self, *, images: Images = "redact") -> dict[str, Any]:
        """The same as plain data, which JSON can hold.

        Args:
            images: "redact" puts a placeholder for image data; "keep" writes it as base64 data
                URIs. URLs of images stay as they are.

        Returns:
            A dict of the attributes. A `RerankDocument` becomes a dict of text, image and fields;
            a number that JSON cannot hold becomes None.
        """
        _check_images(images)
        return _attributes(self, images, 0)

    def to_json(self, *, images: Images = "redact", indent: int | None = None) -> str:
        """What `to_dict` returns, as JSON text.

        Args:
            images: the same as in `to_dict`.
            indent: spaces for each level; None for one line.
        """
        data = self.to_dict(images=images)
        return json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False)


class RelevantSpan(NamedTuple):
    """A part of a document's text that is relevant to the query.

    `text[span.start : span.end]` is the part, where `text` is `result.sent_text`.

    Attributes:
        start: the index of its first character (code point).
        end: the index after its last character.
        score: how relevant it is, on the scale of the model.
    """

    start: int
    end: int
    score: float | None = None


class ResultDetails(NamedTuple):
    """What a few providers say of a result besides its score; see `RerankResult`."""

    spans: tuple[RelevantSpan, ...] = ()
    sent_text: str | None = None
    extra: Mapping[str, Any] = {}


_NO_DETAILS = ResultDetails()


class _Detailed:
    """Holds the details of a result, which are no column of a table of results."""

    __slots__ = ("_details",)  # empty for most: to fill it would cost time

    @property
    def details(self) -> ResultDetails | None:
        """`spans`, `sent_text` and `extra`, where the provider gives any of them."""
        found: ResultDetails | None = getattr(self, "_details", None)
        return found


@dataclass(frozen=True, slots=True, repr=False, init=False)
class RerankResult(_JSON, _Detailed, Generic[T_co]):
    """One ranked document.

    `result["index"]`, `result["relevance_score"]` and `result["document"]` work too.

    Attributes:
        index: its position in the list that the caller passed.
        relevance_score: the provider's number; only `score_transform` changes it. Its scale
            differs per model.
        document: the very object that the caller passed.
    """

    index: int
    relevance_score: float
    document: T_co

    __iter__: ClassVar[None] = None  # it has keys, and is no sequence

    def __init__(
        self,
        index: int,
        relevance_score: float,
        document: T_co,
        details: ResultDetails | None = None,
    ) -> None:
        # by the slots themselves: the usual way of a frozen dataclass takes three times as long
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
        """The text that the positions of the spans count in; None where the answer has no spans."""
        return (self.details or _NO_DETAILS).sent_text

    @property
    def extra(self) -> Mapping[str, Any]:
        """What else the provider says of this result, as it comes.

        It is looked for where the first result of the response has something of the kind.
        """
        return (self.details or _NO_DETAILS).extra

    def to_dict(self, *, images: Images = "redact") -> dict[str, Any]:
        """The same as plain data, which JSON can hold.

        Args:
            images: "redact" puts a placeholder for image data; "keep" writes it as base64 data
                URIs. URLs of images stay as they are.

        Returns:
            A dict of index, relevance_score and document, and of spans, sent_text and extra where
            the provider gives them.
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
            raise KeyError(f"a RerankResult has {', '.join(map(repr, _RESULT_KEYS))}, not {key!r}")
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
    """What a call cost, in the provider's own units; each is None where it does not say.

    Attributes:
        search_units: the provider's billing unit: Cohere's search units, Pinecone's rerank units.
            Portkey also puts the tokens of Voyage and Jina here, so its meaning depends on who
            served the call.
        total_tokens, prompt_tokens, completion_tokens: counts of tokens.
        cost: in the gateway's credits (OpenRouter: 1 credit is 1 US dollar).
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
        """What the provider said, by name, without `raw`."""
        found = {name: getattr(self, name) for name in USAGE_COUNTS}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True, repr=False)
class RerankResponse(_JSON, Generic[T_co]):
    """The ranked documents, best first, and what the provider said about the call.

    Iterating, `len()`, `[i]` and slices go over `results`. A notebook shows it as a table.
    `RerankResponse[str]` is the type of a response to documents that are strings.

    Attributes:
        results: best first, at most `top_n`.
        model: the model that the provider says it used, else the one asked for.
        score_kind: what the scores are: "probability" (0 to 1), "logit", "cosine", "relative" (to
            the other documents), "unbounded" or "unknown".
        provider: who served the call, as the gateway names it, else the name of our provider.
        id: the provider's id of the response.
        request_id: the id to quote to the provider's support.
        usage: what the call cost.
        skipped: indexes of documents that were not sent: blank ones, and invalid ones that were
            to be skipped.
        missing: indexes of documents in requests that failed, with `on_partial="keep"`.
        warnings: what the caller should know although the call succeeded.
        attempts: every request that was sent, and who was passed over; more than one means
            retries, fallbacks, or a list that was split.
        retries: how many of these repeated a request that had failed.
        headers: the headers of the HTTP response, a mapping with lower-case names, without cookies
            and keys. For a call that was split, a list with the mapping of each request.
        raw: the parsed body of the response, without keys, with `keep_raw=True`; else None. For a
            call that was split, a list with the body of each request, None for one that failed.
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
    # of one request or of several: a union would have to be narrowed at each use
    headers: Any = field(default_factory=dict, compare=False)
    raw: Any = field(default=None, compare=False)
    cache_hits: int = 0

    def __post_init__(self) -> None:
        for name in ("results", "skipped", "warnings", "attempts", "missing"):
            value = getattr(self, name)
            if type(value) is not tuple:  # a checkpoint of LangGraph restores lists
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
        """The table that a notebook shows; it loads nothing and runs nothing."""
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
        """How many documents, warnings and the like there are to know of, without zeros."""
        found = {name: len(getattr(self, name)) for name in ("skipped", "missing", "warnings")}
        found |= {"retries": self.retries, "cache_hits": self.cache_hits}
        return {name: count for name, count in found.items() if count}


def _refuse_change(self: object, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change {name!r} of a {type(self).__name__}")


# what dataclass makes for a class with slots raises TypeError for names that are no fields; one
# of these is set, and may be refused, by RerankResult[str](...)
for _kind in (RerankResult, RerankResponse):
    _kind.__setattr__ = _kind.__delattr__ = _refuse_change  # type: ignore[method-assign]


def _content(file: Path) -> bytes:
    if file.exists() and not file.is_file():  # a pipe or a device may never end
        raise OSError("it is not a plain file")
    if file.stat().st_size > _LARGEST_FILE:
        raise OSError(f"it is larger than {_LARGEST_FILE:,} bytes")
    return file.read_bytes()


def as_list(documents: object) -> Sequence[Any]:
    """The documents, read once.

    Raises:
        InvalidRequestError: one document, or what is no list at all.
    """
    single = isinstance(documents, str | bytes | Mapping | RerankDocument)
    if single or not isinstance(documents, Iterable):
        raise InvalidRequestError(
            f"documents must be a list of documents, not one {type(documents).__name__}; "
            "put it into a list"
            if single
            else f"documents must be a list of documents, not {type(documents).__name__}"
        )
    if type(documents).__name__ == "DataFrame":  # its iteration gives the names of its columns
        raise InvalidRequestError(
            "documents must be a list of documents, not a DataFrame; pass a column, or "
            "frame.to_dict('records') (pandas) or frame.to_dicts() (polars) and rank_fields"
        )
    return tuple(documents)


def join_surrogates(text: str) -> str:
    """The text with a character for each surrogate pair."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def replace_surrogates(text: str) -> str:
    """The text with U+FFFD for each half of a surrogate pair that has no other half."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def without_image_data(value: Any, depth: int = 0) -> Any:
    """The value with a placeholder for each image in it, for a message, a log or a trace."""
    if depth == _DEEPEST:  # it may hold itself
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
    """A word of a text, with a placeholder for the data URI in it."""
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


def _attributes(value: Any, images: Images, depth: int) -> dict[str, Any]:
    """The attributes of a dataclass as JSON can hold them."""
    return {one.name: _as_json(getattr(value, one.name), images, depth) for one in fields(value)}


def _as_json(value: Any, images: Images, depth: int = 0) -> Any:
    """The value as JSON can hold it."""
    if depth == _DEEPEST:  # it may hold itself
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


def _scalar_as_json(value: Any, images: Images) -> Any:
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
    """The score of each as a part of the longest bar; the shortest bar is 0 or a score below."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    low = min(low, 0.0)
    span = max(high, 0.0) - low
    return [score / span - low / span if span else 0.0 for score in scores]


def _cell_text(document: object) -> str:
    """A document's text on one line, shortened, with a word in place of an image."""
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
    """A repr that shows no image data, no signature of a URL, and no long text."""
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
