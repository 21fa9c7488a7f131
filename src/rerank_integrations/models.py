"""What goes in and what comes out: documents, results, the response and its usage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from rerank_integrations.errors import Attempt, InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.images import data_uri, is_picture

USAGE_COUNTS = ("search_units", "total_tokens", "prompt_tokens", "completion_tokens", "cost")
_BASE64 = ";base64,"
_DATA_URI = re.compile(r"data:[^\s\"'<>]*;base64,[\w+/=-]*", re.IGNORECASE)
_DEEPEST = 20  # levels of nested values that a trace shows
_LARGEST_FILE = 256 * 2**20  # bytes; more than any image that can be sent, also made smaller
_SHOWN = 60  # characters of a text or a URL that a repr shows


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

    Raises:
        UnsupportedDocumentError: nothing was given, or something of the wrong type.
    """

    text: str | None = None
    image: str | bytes | Any = None
    fields: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.text is None and self.image is None and self.fields is None:
            raise UnsupportedDocumentError("a RerankDocument needs text, image or fields")
        if not isinstance(self.text, str | None):
            raise UnsupportedDocumentError(f"text is a str, not {type(self.text).__name__}")
        if not isinstance(self.fields, Mapping | None):
            raise UnsupportedDocumentError(
                f"fields is a mapping of names to values, not {type(self.fields).__name__}"
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
"""What a caller may pass as a document."""


@dataclass(frozen=True, slots=True, repr=False, init=False)
class RerankResult:
    """One ranked document.

    Attributes:
        index: its position in the list that the caller passed.
        relevance_score: the provider's number, never rescaled; its scale differs per model.
        document: the very object that the caller passed.
    """

    index: int
    relevance_score: float
    document: Any

    def __init__(self, index: int, relevance_score: float, document: Any) -> None:
        # by the slots themselves: the usual way of a frozen dataclass takes three times as long
        _set_index(self, index)
        _set_score(self, relevance_score)
        _set_document(self, document)

    def __repr__(self) -> str:
        return (
            f"RerankResult(index={self.index}, relevance_score={self.relevance_score}, "
            f"document={_outline(self.document)})"
        )


_set_index, _set_score, _set_document = (
    vars(RerankResult)[name].__set__ for name in RerankResult.__slots__
)


@dataclass(frozen=True, slots=True, repr=False)
class Usage:
    """What a call cost, in the provider's own units; each is None where it does not say.

    Attributes:
        search_units: Cohere's billing unit. Portkey also puts the tokens of Voyage and Jina and
            the rerank units of Pinecone here, so its meaning depends on who served the call.
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


@dataclass(frozen=True, slots=True)
class RerankResponse:
    """The ranked documents, best first, and what the provider said about the call.

    Iterating, `len()` and `[i]` go over `results`.

    Attributes:
        results: best first, at most `top_n`.
        model: the model that the provider says it used, else the one asked for.
        provider: who served the call, as the gateway names it, else the name of our provider.
        id: the provider's id of the answer.
        request_id: the id to quote to the provider's support.
        usage: what the call cost.
        skipped: indexes of blank documents, which were not sent.
        missing: indexes of documents in requests that failed, with `on_partial="keep"`.
        warnings: what the caller should know although the call succeeded.
        attempts: every request that was sent, and who was passed over; more than one means
            retries, fallbacks, or a list that was split.
        retries: how many of these repeated a request that had failed.
    """

    results: tuple[RerankResult, ...]
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

    def __iter__(self) -> Iterator[RerankResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, position: int) -> RerankResult:
        return self.results[position]


def _content(file: Path) -> bytes:
    if file.exists() and not file.is_file():  # a pipe or a device may never end
        raise OSError("it is not a plain file")
    if file.stat().st_size > _LARGEST_FILE:
        raise OSError(f"it is larger than {_LARGEST_FILE:,} bytes")
    return file.read_bytes()


def listed(documents: object) -> Sequence[Any]:
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
    return tuple(documents)


def without_image_data(value: Any, depth: int = 0) -> Any:
    """The value with a placeholder for each image in it, for a message, a log or a trace."""
    if depth == _DEEPEST:  # it may hold itself
        return f"<{type(value).__name__}>"
    match value:
        case str():
            return _DATA_URI.sub("<image data>", value) if _BASE64 in value.lower() else value
        case bytes() | bytearray() | memoryview():
            return f"<{len(value)} bytes>"
        case _ if is_picture(value):
            return f"<image of {value.width} x {value.height} pixels>"
        case Mapping():
            return {key: without_image_data(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [without_image_data(item, depth + 1) for item in value]
        case _ if hasattr(value, "model_dump"):  # a pydantic model
            return without_image_data(value.model_dump(), depth + 1)
        case _:
            return value


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
            return f"<mapping of {', '.join(map(str, value))}>"
        case RerankDocument():
            return repr(value)
        case _:
            return f"<{type(value).__name__}>"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
