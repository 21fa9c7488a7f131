"""From a call to the bodies of its requests: documents encoded, JSON, split by the limits."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import orjson
from pydantic_core import PydanticSerializationError, to_json

from rerank_integrations import __version__
from rerank_integrations._options import Options
from rerank_integrations._secrets import Secret
from rerank_integrations.errors import InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.fields import (
    IMAGE,
    TEXT,
    Parts,
    has_image,
    parts_of,
    rendered,
    texts_of,
)
from rerank_integrations.images import WireImage
from rerank_integrations.models import as_list
from rerank_integrations.providers.base import HTTPRequest

Piece: TypeAlias = bytes | WireImage
"""JSON, or an image whose tail becomes JSON when the request is sent."""

# the place of an image until the JSON is cut there; nobody can write it into a document
_IMAGE = f"image-{os.urandom(16).hex()}"
_IMAGE_JSON = _IMAGE.encode()
_IMAGE_QUOTED = b'"%b"' % _IMAGE_JSON
# characters; longer lists are encoded slice by slice, for the buffer of one would be held twice
_LARGE = 2 * 2**20
_SLICE = 256 * 1024
_SMALL = 64 * 1024  # bytes that are rather copied than sent alone
_COMMON_HEADERS = {
    # OpenRouter's specification also lists an event stream for this endpoint
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",  # what `_http_result` decodes
    "content-type": "application/json",
    "user-agent": f"rerank-integrations/{__version__}",
}


@dataclass(frozen=True, slots=True, repr=False)
class Chunk:
    """What goes into one request of a call.

    Attributes:
        options: what the call was made with.
        documents: all documents of the call, the caller's own objects.
        sent: for each document that is sent, its index in `documents`.
        body: what is sent, with images still to be encoded.
    """

    options: Options
    documents: Sequence[Any]
    sent: Sequence[int]
    body: Sequence[Piece]

    def request(self) -> HTTPRequest:
        """The request; base64 is made now, so that no part holds it while it waits."""
        content = tuple(join_pieces(self.body))
        provider = self.options.provider
        return HTTPRequest(provider.url, _headers(self.options), content, provider.handler)


@dataclass(frozen=True, slots=True, repr=False)
class RequestPlan:
    """One call, checked and encoded, as the requests to send.

    Attributes:
        options: what the call was made with.
        chunks: one for each request; none where there is nothing to send.
        skipped: the indexes of blank documents.
        warnings: what the caller should know of what is sent.
    """

    options: Options
    chunks: tuple[Chunk, ...] = ()
    skipped: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


def plan_request(options: Options, query: object, documents: object) -> RequestPlan:
    """Check a call and encode it.

    Raises:
        InvalidRequestError: an empty query, no list of documents, a document that cannot be sent.
    """
    given = as_list(documents)
    if not given:
        return RequestPlan(options)
    asked = _checked_query(query)
    ready = encode_documents(options, given)
    skipped: tuple[int, ...] = ()
    if len(ready.sent) < len(given):
        present = set(ready.sent)
        skipped = tuple(i for i in range(len(given)) if i not in present)
    if not ready.sent:
        return RequestPlan(options, (), skipped, ready.warnings)
    chunks = (
        Chunk(options, given, ready.sent[body.first : body.end], body.pieces)
        for body in _split_bodies(options, asked, ready)
    )
    return RequestPlan(options, tuple(chunks), skipped, ready.warnings)


def _headers(options: Options) -> Secret[dict[str, str]]:
    own = {name.lower(): value for name, value in options.provider.headers().items()}
    return Secret(_COMMON_HEADERS | own | options.extra_headers.get_secret_value())


def _checked_query(query: object) -> str:
    if not isinstance(query, str):
        raise InvalidRequestError(
            f"query must be a str, not {type(query).__name__}; "
            "no rerank endpoint here takes an image as the query"
        )
    if not query or query.isspace():
        raise InvalidRequestError("query is empty; pass the text to rank the documents by")
    return query


class ImageDocument(NamedTuple):
    """A document with an image, and its text, which may be empty."""

    text: str
    image: WireImage


class EncodedDocuments(NamedTuple):
    """What is sent.

    `wire` has a str, an object of fields or a `ImageDocument` for each document that is sent, and
    `sent` its index among the caller's. `rank_fields` is None where the endpoint ranks texts.
    """

    wire: Sequence[Any]
    sent: Sequence[int]
    rank_fields: Sequence[str] | None = None
    warnings: tuple[str, ...] = ()
    has_images: bool = False


def encode_documents(options: Options, documents: Sequence[Any]) -> EncodedDocuments:
    """Take the documents apart, and leave the blank ones out.

    Raises:
        InvalidRequestError: a document that cannot be sent.
    """
    rank_fields, kinds = options.rank_fields, set(map(type, documents))
    as_objects = options.provider.max_rank_fields(options.model) != 0
    if kinds == {str} and (rank_fields is None or (TEXT in rank_fields and not as_objects)):
        return _texts(documents)
    if kinds == {dict} and not as_objects and all(one.get(IMAGE) is None for one in documents):
        with suppress(InvalidRequestError):  # which is raised below, with the document's index
            return _texts([rendered(texts_of(one, rank_fields)) for one in documents])
    return _encode_one_by_one(options, documents)


def _texts(documents: Sequence[str]) -> EncodedDocuments:
    if "" not in documents and not any(map(str.isspace, documents)):
        return EncodedDocuments(documents, range(len(documents)))
    sent = [i for i, text in enumerate(documents) if text and not text.isspace()]
    return EncodedDocuments([documents[index] for index in sent], sent)


def _encode_one_by_one(options: Options, documents: Sequence[Any]) -> EncodedDocuments:
    limits = options.image_limits()
    sent: list[int] = []
    parts: list[Parts] = []
    blind: list[int] = []
    for index, document in enumerate(documents):
        try:
            if limits is None and has_image(document):
                _check_image_support(options, "takes text only")
                blind.append(index)
            part = parts_of(document, options.rank_fields, limits)
            if part.image and part.fields and not options.provider.takes_text_with_image:
                _check_image_support(options, "takes a text or an image, not the two together")
                blind.append(index)
                part = Parts(part.fields)
        except InvalidRequestError as error:
            error.args = (f"document {index}: {error}",)
            raise
        if part.fields or part.image:
            sent.append(index)
            parts.append(part)
    provider, rank_fields = options.provider, options.rank_fields
    warnings = _warnings(provider.name, blind)
    as_objects = provider.max_rank_fields(options.model) != 0 and (
        rank_fields is not None or any(type(documents[index]) is not str for index in sent)
    )
    if not as_objects:
        seen = any(part.image for part in parts)
        return EncodedDocuments([_text_of(part) for part in parts], sent, None, warnings, seen)
    names = rank_fields or tuple(dict.fromkeys(name for part in parts for name in part.fields))
    wire = [provider.document(part.fields, rendered(part.fields)) for part in parts]
    return EncodedDocuments(wire, sent, names, warnings)


def _check_image_support(options: Options, why: str) -> None:
    if options.on_image != "text":
        raise UnsupportedDocumentError(
            f"it has an image, and {options.provider.name} {why} (model {options.model}); choose "
            "one that does, or set on_image='text' to rank by the text alone"
        )


def _text_of(part: Parts) -> str | ImageDocument:
    text = rendered(part.fields)
    return text if part.image is None else ImageDocument(text, part.image)


def _warnings(provider: str, blind: Sequence[int]) -> tuple[str, ...]:
    if not blind:
        return ()
    indexes = ", ".join(map(str, blind))
    return (f"the images of documents {indexes} were left out: {provider} takes no such images",)


class _ChunkBody(NamedTuple):
    """The body that holds the documents from `first` up to `end`, which is not among them."""

    first: int
    end: int
    pieces: Sequence[Piece]


def _split_bodies(options: Options, query: str, ready: EncodedDocuments) -> list[_ChunkBody]:
    """As few bodies as the limits allow, with the documents in order.

    Raises:
        InvalidRequestError: text that is no text, or one document that no body can hold.
    """
    wire = ready.wire
    frame = _BodyTemplate(options, query, ready)
    if not options.provider.splits(options.model):
        return [_one_body(frame, wire, 0, len(wire))]
    most, largest = options.most_documents() or len(wire), options.max_request_bytes
    starts = range(0, len(wire), most)
    found = [_one_body(frame, wire, first, min(first + most, len(wire))) for first in starts]
    if largest is None or all(size_of(body.pieces) <= largest for body in found):
        return found
    return _by_size(frame, ready, most, largest)


def size_of(pieces: Sequence[Piece]) -> int:
    """The bytes of the pieces when they are sent."""
    return sum(p.size if isinstance(p, WireImage) else len(p) for p in pieces)


def join_pieces(pieces: Sequence[Piece]) -> Iterator[bytes]:
    """The pieces as bytes, small ones together, so that few are sent and no large one is copied."""
    small: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, bytes) and len(piece) < _SMALL:
            small.append(piece)
            continue
        if small:
            yield b"".join(small)
            small = []
        yield piece.encoded() if isinstance(piece, WireImage) else piece
    if small:
        yield b"".join(small)


class _BodyTemplate:
    """The body without its documents: the same for all requests of a call, except `top_n`."""

    def __init__(self, options: Options, query: str, ready: EncodedDocuments) -> None:
        self.has_images = ready.has_images
        self.length: Callable[[Any], int] = len if ready.rank_fields is None else _length
        self.with_image = options.provider.with_image
        self.bare_base64 = options.provider.takes_bare_base64
        self._before = {"model": options.model, "query": query}
        self._top_n = options.top_n
        body = {"rank_fields": ready.rank_fields, **options.provider.body()}
        self._after = {name: value for name, value in body.items() if value is not None}
        self._after |= options.extra_body or {}
        self._sizes: dict[int, int] = {}

    def around(self, documents: Sequence[Any], count: int) -> dict[str, Any]:
        """A whole body of these documents, for so many."""
        top_n = {} if self._top_n is None else {"top_n": min(self._top_n, count)}
        return {**self._before, "documents": documents, **top_n, **self._after}

    def size(self, count: int) -> int:
        """The bytes of a body for so many documents, without them."""
        top_n = 0 if self._top_n is None else min(self._top_n, count)
        if top_n not in self._sizes:
            self._sizes[top_n] = len(_encoded(self.around([], count)))
        return self._sizes[top_n]


def _one_body(frame: _BodyTemplate, wire: Sequence[Any], first: int, end: int) -> _ChunkBody:
    documents = wire if (first, end) == (0, len(wire)) else wire[first:end]
    count = end - first
    lengths = () if frame.has_images else tuple(accumulate(map(frame.length, documents)))
    if lengths and lengths[-1] <= _LARGE:
        return _ChunkBody(first, end, [_encoded(frame.around(documents, count))])
    before, _, after = _encoded(frame.around([_IMAGE], count)).partition(_IMAGE_QUOTED)
    pieces: list[Piece] = [before]
    if lengths:
        pieces += _slices(documents, lengths)
    for document in documents if frame.has_images else ():
        if len(pieces) > 1:
            pieces.append(b",")
        pieces += _document(frame, document)
    return _ChunkBody(first, end, [*pieces, after])


def _slices(documents: Sequence[Any], lengths: Sequence[int]) -> Iterator[bytes]:
    """The documents as JSON with commas between them, several in each piece.

    `lengths` are the characters up to each document, and with it.
    """
    first = held = 0
    while first < len(documents):
        end = max(first + 1, bisect_right(lengths, held + _SLICE, first))
        comma = b"," if first else b""
        is_long = lengths[end - 1] - held > _SLICE  # one document, for which orjson reserves
        encode = _exactly if is_long else _encoded  # eight times its length
        yield b"".join([comma, memoryview(encode(documents[first:end]))[1:-1]])
        first, held = end, lengths[end - 1]


def _by_size(
    frame: _BodyTemplate, ready: EncodedDocuments, most: int, largest: int
) -> list[_ChunkBody]:
    """Bodies of at most so many documents and bytes, each as full as it can be."""
    wire, found, first, used = ready.wire, [], 0, 0
    for index, document in enumerate(wire):
        size = size_of(_document(frame, document))
        alone = frame.size(1) + size
        if alone > largest:
            raise UnsupportedDocumentError(
                f"document {ready.sent[index]}: a request with it alone has {alone:,} bytes, and "
                f"max_request_bytes is {largest:,}; shorten it, or raise the limit"
            )
        count = index - first + 1
        if count > most or frame.size(count) + used + size + count - 1 > largest:
            found.append(_one_body(frame, wire, first, index))
            first, used = index, 0
        used += size
    return [*found, _one_body(frame, wire, first, len(wire))]


def _length(fields: Mapping[str, str]) -> int:
    return sum(map(len, fields.values()))


def _document(frame: _BodyTemplate, document: Any) -> list[Piece]:
    if type(document) is not ImageDocument:
        return [_encoded(document)]
    image = document.image.bare() if frame.bare_base64 else document.image
    head = _encoded(image.head)[1:-1]
    before, _, after = _encoded(frame.with_image(document.text, _IMAGE)).partition(_IMAGE_JSON)
    return [before + head, image, after] if image.tail else [before + head + after]


def _encoded(value: Mapping[str, Any] | Sequence[Any] | str) -> bytes:
    with suppress(TypeError):  # an int of more than 64 bits, which the other can write
        return orjson.dumps(value)
    return _exactly(value)


def _exactly(value: Mapping[str, Any] | Sequence[Any] | str) -> bytes:
    with suppress(PydanticSerializationError):  # its words hold the text
        return to_json(value)
    raise InvalidRequestError(
        "the query or a document holds half a surrogate pair, which is no character; "
        "clean it with text.encode('utf-8', 'replace').decode()"
    )
