"""The bodies of a call's requests: JSON in pieces, cut where a limit asks for it."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import orjson
from pydantic_core import PydanticSerializationError, to_json

from rerank_integrations._documents import Pictured, Ready
from rerank_integrations._options import Options
from rerank_integrations.errors import InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.images import WireImage

Piece: TypeAlias = bytes | WireImage
"""JSON, or an image whose tail becomes JSON when the request is sent."""

# stands for an image until the JSON is cut there; nobody can write it into a document
_IMAGE = f"image-{os.urandom(16).hex()}"
_IMAGE_JSON = _IMAGE.encode()
_IMAGE_QUOTED = b'"%b"' % _IMAGE_JSON
# characters; longer lists are encoded slice by slice, for the buffer of one would be held twice
_LARGE = 2 * 2**20
_SLICE = 256 * 1024
_SMALL = 64 * 1024  # bytes that are rather copied than sent alone


class Body(NamedTuple):
    """The body that holds the documents from `first` up to `end`, which is not among them."""

    first: int
    end: int
    pieces: Sequence[Piece]


def bodies(options: Options, query: str, ready: Ready) -> list[Body]:
    """As few bodies as the limits allow, with the documents in order.

    Raises:
        InvalidRequestError: text that is no text, or one document that no body can hold.
    """
    wire = ready.wire
    frame = _Frame(options, query, ready)
    if not options.provider.splits(options.model):
        return [_whole(frame, wire, 0, len(wire))]
    most, largest = options.most_documents() or len(wire), options.max_request_bytes
    starts = range(0, len(wire), most)
    found = [_whole(frame, wire, first, min(first + most, len(wire))) for first in starts]
    if largest is None or all(size_of(body.pieces) <= largest for body in found):
        return found
    return _by_size(frame, ready, most, largest)


def size_of(pieces: Sequence[Piece]) -> int:
    """The bytes that the pieces have on the wire."""
    return sum(p.size if isinstance(p, WireImage) else len(p) for p in pieces)


def joined(pieces: Sequence[Piece]) -> Iterator[bytes]:
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


class _Frame:
    """What stands around the documents: the same for all bodies of a call, but for `top_n`."""

    def __init__(self, options: Options, query: str, ready: Ready) -> None:
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


def _whole(frame: _Frame, wire: Sequence[Any], first: int, end: int) -> Body:
    documents = wire if (first, end) == (0, len(wire)) else wire[first:end]
    count = end - first
    lengths = () if frame.has_images else tuple(accumulate(map(frame.length, documents)))
    if lengths and lengths[-1] <= _LARGE:
        return Body(first, end, [_encoded(frame.around(documents, count))])
    before, _, after = _encoded(frame.around([_IMAGE], count)).partition(_IMAGE_QUOTED)
    pieces: list[Piece] = [before]
    if lengths:
        pieces += _slices(documents, lengths)
    for document in documents if frame.has_images else ():
        if len(pieces) > 1:
            pieces.append(b",")
        pieces += _document(frame, document)
    return Body(first, end, [*pieces, after])


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


def _by_size(frame: _Frame, ready: Ready, most: int, largest: int) -> list[Body]:
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
            found.append(_whole(frame, wire, first, index))
            first, used = index, 0
        used += size
    return [*found, _whole(frame, wire, first, len(wire))]


def _length(fields: Mapping[str, str]) -> int:
    return sum(map(len, fields.values()))


def _document(frame: _Frame, document: Any) -> list[Piece]:
    if type(document) is not Pictured:
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
