"""Encodes a call as JSON request bodies, split according to the limits."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import orjson
from pydantic_core import PydanticSerializationError, to_json

from rerank_integrations import __version__
from rerank_integrations._cache import RerankCache
from rerank_integrations._options import Options
from rerank_integrations._secrets import Secret
from rerank_integrations.errors import InvalidRequestError, UnsupportedDocumentError
from rerank_integrations.fields import (
    IMAGE,
    TEXT,
    absent_fields,
    fields_of,
    has_any,
    image_of,
    is_blank,
    ranked_values,
    rendered,
    shortened,
    shortened_fields,
    shown_query,
)
from rerank_integrations.images import WireImage, wire_image
from rerank_integrations.models import (
    RerankDocument,
    RerankResult,
    as_list,
    join_surrogates,
    replace_surrogates,
)
from rerank_integrations.providers.base import RETRIEVAL_SCORES, HTTPRequest

Piece: TypeAlias = bytes | WireImage
"""JSON, or an image whose tail is encoded when the request is sent."""

# a placeholder for an image in the JSON, which is split there; random, so no document contains it
_IMAGE = f"image-{os.urandom(16).hex()}"
_IMAGE_JSON = _IMAGE.encode()
_QUERY_IMAGE = f"query-{_IMAGE}"
_QUERY_IMAGE_JSON = _QUERY_IMAGE.encode()
_IMAGE_QUOTED = b'"%b"' % _IMAGE_JSON
# characters; longer lists are encoded in slices, because a single buffer would be held twice
_LARGE = 2 * 2**20
_SLICE = 256 * 1024
_SMALL = 64 * 1024  # bytes; smaller pieces are joined, since sending each alone costs more
_SKIP = "; on_invalid_document='skip' leaves out such documents"
_INDEXES = 10  # the number of document indexes that a message lists
# headers that identify the caller or the upstream of a gateway; x-portkey-trace-id does not
_IDENTIFYING = re.compile(
    "auth|(?<!port)(?<!idempotency-)key|token|secret|cookie|credential|password|provider|config|host"
    "|model|version|region|deployment|project|organi[sz]ation|tenant|target|upstream|backend"
    "|rout(?!er)|base-?url"  # not x-openrouter-title
)
_FORM_OF_KEYS = 2  # version of the cache keys; to be raised if the key of the same score changes
_KEY_SIZE = 16  # bytes
_REASONS = 10  # the number of reasons that the warnings of a call list
_COMMON_HEADERS = {
    # OpenRouter's specification also lists an event stream as the response of this endpoint
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",  # what `_http_result` decodes
    "content-type": "application/json",
    "user-agent": f"rerank-integrations/{__version__}",
}


@dataclass(frozen=True, slots=True, repr=False)
class Chunk:
    """One request of a call.

    Attributes:
        options: the options of the call.
        documents: all documents of the call, the caller's own objects.
        sent: the index in `documents` of each document in this request.
        body: the body, whose images are not encoded yet.
        keys: with a cache, the key of each document in this request, or one key for the list.
    """

    options: Options
    documents: Sequence[Any]
    sent: Sequence[int]
    body: Sequence[Piece]
    keys: Sequence[bytes] = ()

    def request(self) -> HTTPRequest:
        """Return the request; base64 is encoded only now, so that no waiting request holds it."""
        content = tuple(join_pieces(self.body))
        options = self.options
        handler = options.provider.handler
        return HTTPRequest(options.address(), _headers(options), content, handler)

    def subject(self) -> str:
        """Return a description of the request for the log."""
        return f"{self.options.model}: {len(self.sent)} documents"

    def sent_text(self, index: int) -> str:
        """Return the text that is sent for the document with an index in `documents`."""
        options = self.options
        text = rendered(ranked_values(fields_of(self.documents[index]), options.rank_fields))
        if options.max_document_chars is not None:
            text = shortened(text, options.max_document_chars)
        return replace_surrogates(text)


@dataclass(frozen=True, slots=True, repr=False)
class ListRequest:
    """A request for a page of a provider's list of models.

    Attributes:
        options: the options of the call.
        url: the URL of the page.
        sent: always empty, for no documents.
    """

    options: Options
    url: str
    sent: Sequence[int] = ()

    def request(self) -> HTTPRequest:
        """Return the request, with the headers of a rerank call except `content-type`."""
        headers = Secret(
            {
                name: value
                for name, value in _headers(self.options).get_secret_value().items()
                if name != "content-type"
            }
        )
        return HTTPRequest(self.url, headers, (), method="GET")

    def subject(self) -> str:
        """Return a description of the request for the log."""
        return "the list of models"


@dataclass(frozen=True, slots=True, repr=False)
class RequestPlan:
    """A validated and encoded call: the requests to send.

    Attributes:
        options: the options of the call.
        chunks: one for each request; empty if there is nothing to send.
        skipped: the indexes of documents that are not sent: blank or invalid ones.
        warnings: warnings about what is sent, for the response.
        hits: the documents whose score is in the cache, with the provider's score.
        query: the text of the query, with a word in place of an image.
        documents: all documents of the call, the caller's own objects.
    """

    options: Options
    chunks: tuple[Chunk, ...] = ()
    skipped: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    hits: tuple[RerankResult, ...] = ()
    query: str = ""
    documents: Sequence[Any] = ()


def plan_request(options: Options, query: object, documents: object) -> RequestPlan:
    """Validate and encode a call.

    Raises:
        InvalidRequestError: the query is empty, `documents` is not a list, or a document cannot be
            sent.
    """
    if isinstance(documents, str) and not isinstance(query, str):
        raise InvalidRequestError("pass the query first, then the documents")
    given = as_list(documents)
    if not given:
        return RequestPlan(options, query=shown_query(query))
    asked, remarks = _checked_query(options, query)
    try:
        ready = encode_documents(options, given)
        if options.provider.takes_retrieval_scores:
            ready = _with_retrieval_scores(ready, given)
        ready, bodies = _encoded_bodies(options, asked, ready)
    except UnsupportedDocumentError as error:
        error.skipped = _blank_documents(given, options.rank_fields)
        raise
    skipped: tuple[int, ...] = ()
    if len(ready.sent) + len(ready.hits) < len(given):
        present = {*ready.sent, *(index for index, _ in ready.hits)}
        skipped = tuple(i for i in range(len(given)) if i not in present)
    chunks = (
        Chunk(
            options,
            given,
            ready.sent[body.first : body.end],
            body.pieces,
            ready.keys[body.first : body.end],
        )
        for body in bodies
    )
    hits = tuple([RerankResult(index, score, given[index]) for index, score in ready.hits])
    warnings = ready.warnings if not remarks else (*remarks, *ready.warnings)
    told = shown_query(query) if isinstance(asked, ImageDocument) else asked
    return RequestPlan(options, tuple(chunks), skipped, warnings, hits, told, given)


def _with_retrieval_scores(ready: EncodedDocuments, documents: Sequence[Any]) -> EncodedDocuments:
    """Add the scores of the first stage, if all documents that are sent have one."""
    found = [getattr(documents[index], "retrieval_score", None) for index in ready.sent]
    scores = [float(score) for score in found if score is not None]
    if len(scores) == len(found):
        return ready._replace(retrieval_scores=scores)
    lacking = [index for index, score in zip(ready.sent, found, strict=True) if score is None]
    warning = f"{_listed(lacking)}: no retrieval_score, so retrieval_weight was not applied"
    if not scores:
        warning = "no document has a retrieval_score, so retrieval_weight was not applied"
    return ready._replace(warnings=(*ready.warnings, warning))


def _blank_documents(
    documents: Sequence[Any], rank_fields: Sequence[str] | None
) -> tuple[int, ...]:
    """Return the indexes of blank documents, which are left out even if a call fails."""
    wholes: dict[int, Mapping[str, Any]] = {}
    for index, document in enumerate(documents):
        with suppress(UnsupportedDocumentError):
            wholes[index] = fields_of(document)
    if rank_fields is not None and not any(has_any(w, rank_fields) for w in wholes.values()):
        rank_fields = None  # probably misspelt
    found = []
    for index, whole in wholes.items():
        with suppress(UnsupportedDocumentError):
            if image_of(documents[index], whole) is None and not ranked_values(whole, rank_fields):
                found.append(index)
    return tuple(found)


def _encoded_bodies(
    options: Options, query: str | ImageDocument, ready: EncodedDocuments
) -> tuple[EncodedDocuments, list[_ChunkBody]]:
    """Return the bodies and the documents in them; lone surrogates are replaced by U+FFFD."""
    if not ready.sent:
        return ready, []
    instructed = options.instructed()
    if instructed is not None:
        query = _changed(query, lambda text: text.join(instructed.around_query))
        if any(instructed.around_document):
            before, after = instructed.around_document
            wire = [_changed(one, lambda text: f"{before}{text}{after}") for one in ready.wire]
            ready = ready._replace(wire=wire)
    try:
        return _split_bodies(options, query, ready)
    except _SurrogateError:
        joined = [_changed(one, join_surrogates) for one in ready.wire]
        wire = [_changed(one, replace_surrogates) for one in joined]
        pairs = zip(ready.sent, joined, wire, strict=True)
        changed = [index for index, before, after in pairs if before != after]
        asked = _changed(query, replace_surrogates)
        where = [
            *(["the query"] if asked != _changed(query, join_surrogates) else []),
            *([_listed(changed)] if changed else []),
        ]
        warning = (
            f"{' and '.join(where)}: lone surrogates, which cannot be encoded, were replaced by "
            "U+FFFD"
        )
        warnings = (*ready.warnings, warning) if where else ready.warnings
        names = ready.rank_fields and tuple(map(replace_surrogates, ready.rank_fields))
        ready = ready._replace(wire=wire, rank_fields=names, warnings=warnings)
    try:
        return _split_bodies(options, asked, ready)
    except _SurrogateError as error:
        raise InvalidRequestError(str(error)) from None


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """Apply a function to all texts of what is sent of a document or query."""
    match value:
        case str():
            return change(value)
        case ImageDocument():
            return value._replace(text=change(value.text))
        case list():
            return [_changed(item, change) for item in value]
        case Mapping():
            return {change(k): _changed(v, change) for k, v in value.items()}
        case _:
            return value


def identifying_headers(options: Options) -> Iterator[tuple[str, str]]:
    """Yield the headers that identify the caller, or the upstream of a gateway."""
    for headers in (Secret(options.provider.headers()), options.extra_headers):
        for name, value in sorted(headers.get_secret_value().items()):
            if _identifies(name):
                yield name.lower(), value


@lru_cache(256)
def _identifies(header: str) -> bool:
    return bool(_IDENTIFYING.search(header.lower()))


def _headers(options: Options) -> Secret[dict[str, str]]:
    own = {name.lower(): value for name, value in options.provider.headers().items()}
    return Secret(_COMMON_HEADERS | own | options.extra_headers.get_secret_value())


def _checked_query(options: Options, query: object) -> tuple[str | ImageDocument, tuple[str, ...]]:
    """Return the query as it is sent, and the warnings about it.

    Raises:
        InvalidRequestError: it is empty, or it cannot be sent.
    """
    if not isinstance(query, str):
        return _query_of_parts(options, query)
    if not query or query.isspace():
        raise InvalidRequestError("query is empty; pass the text to rank the documents by")
    return query, ()


def _query_of_parts(options: Options, query: object) -> tuple[str | ImageDocument, tuple[str, ...]]:
    """Do the same for a query that is passed like a document: a text, an image or both."""
    if not isinstance(query, Mapping | RerankDocument):
        raise InvalidRequestError(
            "query must be a str, or a mapping or RerankDocument with an image, "
            f"not {type(query).__name__}"
        )
    try:
        whole = fields_of(query)
        others = [str(k) for k, v in whole.items() if k not in (TEXT, IMAGE) and v is not None]
        if others:
            raise InvalidRequestError(
                f"a query has a text and an image, and no other fields; this one has "
                f"{', '.join(others):.200}"
            )
        text = rendered(ranked_values(whole, (TEXT,)))
        image = image_of(query, whole)
        if image is None:
            return _checked_query(options, text)
        provider, why = options.provider, ""
        if not provider.takes_image_query(options.model):
            why = "takes a query of text only"
        elif text and not provider.takes_text_with_image:
            why = "takes a text or an image as the query, not the two together"
        if not why:
            return ImageDocument(text, wire_image(image, options.image_limits())), ()
    except UnsupportedDocumentError as error:  # that type is for documents only
        raise InvalidRequestError(f"the query: {error}") from error.__cause__
    if text and options.on_image == "text":
        return text, (f"the image of the query was left out: {provider.name} {why}",)
    raise InvalidRequestError(
        f"the query has an image, and {provider.name} {why} (model {options.model}); vllm, sglang, "
        "jina with a jina-reranker-m model and Local(scorer=..., sees_images=True) take an image "
        "as the query" + ("; on_image='text' ranks by the query's text alone" if text else "")
    )


class ImageDocument(NamedTuple):
    """A document or query with an image and a text, which may be empty."""

    text: str
    image: WireImage


class EncodedDocuments(NamedTuple):
    """The documents of a call, encoded.

    Attributes:
        wire: for each document that is sent, a str, an object of fields or an `ImageDocument`.
        sent: for each of these, its index in the caller's list.
        rank_fields: the fields that the endpoint ranks; None if it ranks texts.
        warnings: warnings about what is sent, for the response.
        has_images: whether a document has an image.
        retrieval_scores: the scores of the first stage; None if they are not used.
        hits: with a cache, index and score of each document that is not sent.
        keys: with a cache, the key of each document that is sent; one key for the whole list if
            the model is listwise.
    """

    wire: Sequence[Any]
    sent: Sequence[int]
    rank_fields: Sequence[str] | None = None
    warnings: tuple[str, ...] = ()
    has_images: bool = False
    retrieval_scores: Sequence[float] | None = None
    hits: Sequence[tuple[int, float]] = ()
    keys: Sequence[bytes] = ()

    def only(self, kept: Sequence[int], *warnings: str) -> EncodedDocuments:
        """Return only the documents at the positions in `kept`, with more warnings."""
        wire, sent = [self.wire[at] for at in kept], [self.sent[at] for at in kept]
        keys = [self.keys[at] for at in kept] if self.keys else ()
        return self._replace(wire=wire, sent=sent, keys=keys, warnings=(*self.warnings, *warnings))


def encode_documents(options: Options, documents: Sequence[Any]) -> EncodedDocuments:
    """Encode the documents, without blank ones and invalid ones that are to be skipped.

    Raises:
        UnsupportedDocumentError: a document cannot be sent, or no document has a ranked field.
    """
    rank_fields, kinds = options.rank_fields, set(map(type, documents))
    if rank_fields is not None and not (kinds == {str} and TEXT in rank_fields):
        absent = absent_fields(rank_fields, documents)
        if absent:
            ready = _encoded_documents(options, documents, kinds)
            return ready._replace(warnings=(absent, *ready.warnings))
    return _encoded_documents(options, documents, kinds)


def _encoded_documents(
    options: Options, documents: Sequence[Any], kinds: AbstractSet[type]
) -> EncodedDocuments:
    rank_fields = options.rank_fields
    most = options.provider.max_rank_fields(options.model)
    if most and rank_fields is not None and len(rank_fields) > most:
        most = 0
    if kinds == {str} and (rank_fields is None or (TEXT in rank_fields and most == 0)):
        return _texts(options, documents)
    if kinds == {dict} and most == 0 and all(one.get(IMAGE) is None for one in documents):
        with suppress(UnsupportedDocumentError):  # raised below, with the document's index
            texts = [rendered(ranked_values(one, rank_fields)) for one in documents]
            if rank_fields is None or all(texts):
                return _texts(options, texts)
    return _encode_one_by_one(options, documents, most)


def _texts(options: Options, texts: Sequence[str]) -> EncodedDocuments:
    sent: Sequence[int] = range(len(texts))
    if "" in texts or any(map(str.isspace, texts)):
        sent = [i for i, text in enumerate(texts) if text and not text.isspace()]
        texts = [texts[index] for index in sent]
    most = options.max_document_chars
    if most is None or max(map(len, texts), default=0) <= most:
        return EncodedDocuments(texts, sent)
    long = [index for index, text in zip(sent, texts, strict=True) if len(text) > most]
    texts = [shortened(text, most) for text in texts]
    return EncodedDocuments(texts, sent, warnings=(_cut_warning(long, most),))


def _encode_one_by_one(
    options: Options, documents: Sequence[Any], most_fields: int | None
) -> EncodedDocuments:
    rank_fields, provider = options.rank_fields, options.provider
    found = _Findings(options)
    for index, document in enumerate(documents):
        found.add(index, document)
    found.check()
    names = rank_fields or tuple(dict.fromkeys(name for one in found.values for name in one))
    any_fields = rank_fields is not None or any(
        type(documents[index]) is not str for index in found.sent
    )
    if any_fields and (most_fields is None or 0 < len(names) <= most_fields):
        objects = [provider.document(one, rendered(one)) for one in found.cut_fields()]
        return EncodedDocuments(objects, found.sent, names, found.warnings())
    return EncodedDocuments(
        found.texts(), found.sent, None, found.warnings(), has_images=any(found.images)
    )


class _Findings:
    """The contents of the documents that can be sent, and why others cannot."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._mode = options.on_invalid_document or "raise"
        sees = options.provider.takes_images(options.model)
        self._limits = options.image_limits() if sees else None
        self.sent: list[int] = []
        self.values: list[Mapping[str, Any]] = []
        self.images: list[WireImage | None] = []
        self._invalid: dict[str, list[int]] = {}  # by the reason
        self._bad_images: dict[str, list[int]] = {}
        self._unseen: list[int] = []  # the provider does not take their image
        self._cut: list[int] = []
        self._lacking: dict[int, Mapping[str, Any]] = {}  # they have no ranked field
        self._by_image_alone: list[int] = []

    def add(self, index: int, document: object) -> None:
        """Read the fields and the image of a document.

        Raises:
            UnsupportedDocumentError: it cannot be sent, and is not to be skipped.
        """
        rank_fields = self._options.rank_fields
        try:
            whole = fields_of(document)
            values = ranked_values(whole, rank_fields)
        except UnsupportedDocumentError as error:
            self._refuse(index, error)
            return
        image, held = None, image_of(document, whole)
        if held is not None:
            try:
                image = self._image(index, held, has_text=bool(values))
            except UnsupportedDocumentError as error:
                if self._mode != "text" or not values or isinstance(error, _FinalError):
                    self._refuse(index, error)
                    return
                self._bad_images.setdefault(str(error), []).append(index)
        if rank_fields is not None and not has_any(whole, rank_fields):
            if image is None and not is_blank(whole):
                self._lacking[index] = whole
            elif image is not None and any(name != IMAGE for name in whole):
                self._by_image_alone.append(index)
        if values or image is not None:
            self.sent.append(index)
            self.values.append(values)
            self.images.append(image)

    def check(self) -> None:
        """Refuse a call if no document is left to send, and not all of them are blank.

        Raises:
            UnsupportedDocumentError: the message has the reason.
        """
        if self._invalid and not self.sent:
            reason, indexes = next(iter(self._invalid.items()))
            raise invalid_document(indexes[0], f"{reason}; no other document can be sent either")

    def texts(self) -> list[str | ImageDocument]:
        """Return what is sent of each document, as one text with or without an image."""
        most = self._options.max_document_chars
        texts = list(map(rendered, self.values))
        if most is not None:
            self._cut = [i for i, text in zip(self.sent, texts, strict=True) if len(text) > most]
            texts = [shortened(text, most) for text in texts]
        return [
            text if image is None else ImageDocument(text, image)
            for text, image in zip(texts, self.images, strict=True)
        ]

    def cut_fields(self) -> list[Mapping[str, Any]]:
        """Return what is sent of each document, as fields."""
        most = self._options.max_document_chars
        if most is None:
            return self.values
        cut = [shortened_fields(values, most) for values in self.values]
        pairs = zip(self.sent, self.values, cut, strict=True)
        self._cut = [index for index, values, kept in pairs if kept != values]
        return list(cut)

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about what is not sent."""
        provider, most = self._options.provider.name, self._options.max_document_chars
        found = []
        for reason, indexes in _few_reasons(self._invalid):
            found.append(f"skipped {_listed(indexes)}: {reason}")
        for reason, indexes in _few_reasons(self._bad_images):
            found.append(f"the images of {_listed(indexes)} were left out: {reason}")
        if self._unseen:
            images = f"the images of {_listed(self._unseen)}"
            found.append(f"{images} were left out: {provider} does not take them")
        if self._lacking:
            fields = ", ".join(self._options.rank_fields or ())
            found.append(f"skipped {_listed(list(self._lacking))}: no field {fields}")
        if self._by_image_alone:
            fields = ", ".join(self._options.rank_fields or ())
            found.append(f"{_listed(self._by_image_alone)}: no field {fields}, ranked by the image")
        if self._cut and most is not None:
            found.append(_cut_warning(self._cut, most))
        return tuple(found)

    def _refuse(self, index: int, error: UnsupportedDocumentError) -> None:
        if self._mode == "raise" or isinstance(error, _FinalError):
            skip = "" if isinstance(error, _FinalError) else _SKIP
            raise invalid_document(index, f"{error}{skip}") from error.__cause__
        self._invalid.setdefault(str(error), []).append(index)

    def _image(self, index: int, image: object, *, has_text: bool) -> WireImage | None:
        """Return the image as it is sent; None if it is left out for this provider.

        Raises:
            UnsupportedDocumentError: it cannot be sent.
        """
        options = self._options
        why = ""
        if self._limits is None:
            why = "takes text only"
        elif has_text and not options.provider.takes_text_with_image:
            why = "takes a text or an image in one document, not both"
        if self._limits is not None and not why:
            return wire_image(image, self._limits)
        if options.on_image == "text" or (
            not options.on_image and self._mode == "text" and has_text
        ):
            self._unseen.append(index)
            return None
        is_final = self._mode == "text" and options.on_image == "raise"
        kind = _FinalError if is_final else UnsupportedDocumentError
        fix = "" if self._limits is not None else "use a vision model, or "
        raise kind(
            f"an image is given, and {options.provider.name} {why} (model {options.model}); "
            f"{fix}set on_image='text' to rank by the text alone"
        )


def _few_reasons(found: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, Sequence[int]]]:
    """Yield reasons with their documents, at most `_REASONS`; many differ only in a number."""
    yield from list(found.items())[:_REASONS]
    rest = [index for indexes in list(found.values())[_REASONS:] for index in indexes]
    if rest:
        yield "for similar or other reasons", rest


class _FinalError(UnsupportedDocumentError):
    """An image that on_image="raise" refuses, where on_invalid_document="text" would skip it."""


def invalid_document(index: int, reason: str) -> UnsupportedDocumentError:
    """Return the error of a document, with its index."""
    error = UnsupportedDocumentError(f"document {index}: {reason}")
    error.index = index
    return error


def _listed(indexes: Sequence[int]) -> str:
    """Return the words for documents in a message, with at most `_INDEXES` of their indexes."""
    shown = ", ".join(map(str, indexes[:_INDEXES]))
    more = f" and {len(indexes) - _INDEXES} more" if len(indexes) > _INDEXES else ""
    return f"document{'s' if len(indexes) > 1 else ''} {shown}{more}"


def _cut_warning(indexes: Sequence[int], most: int) -> str:
    return f"the texts of {_listed(indexes)} were cut to max_document_chars={most}"


class _ChunkBody(NamedTuple):
    """The body with the documents from `first` up to, but not including, `end`."""

    first: int
    end: int
    pieces: Sequence[Piece]


def _split_bodies(
    options: Options, query: str | ImageDocument, ready: EncodedDocuments
) -> tuple[EncodedDocuments, list[_ChunkBody]]:
    """Return as few bodies as the limits allow, and the documents in them, in order.

    Raises:
        InvalidRequestError: a text cannot be encoded, or a document is too large for any request.
    """
    wire = ready.wire
    if options.provider.dialect.document_as == "object" and ready.rank_fields is None:
        wire = [{TEXT: one} if isinstance(one, str) else one for one in wire]
        ready = ready._replace(wire=wire)
    frame = _BodyTemplate(options, query, ready)
    if frame.cache is not None:
        ready = _looked_up(frame.cache, options, frame, ready)
        if not ready.wire:
            return ready, []
    wire = ready.wire
    if not options.provider.splits(options.model):
        return ready, [_one_body(frame, wire, 0, len(wire))]
    most, largest = options.most_documents() or len(wire), options.largest_body()
    starts = range(0, len(wire), most)
    found = [_one_body(frame, wire, first, min(first + most, len(wire))) for first in starts]
    if largest is None or all(size_of(body.pieces) <= largest for body in found):
        return ready, found
    return _by_size(options, frame, ready, most, largest)


def _looked_up(
    cache: RerankCache, options: Options, frame: _BodyTemplate, ready: EncodedDocuments
) -> EncodedDocuments:
    """Return the documents that are not in the cache, with keys, and the scores that are."""
    scope = frame.scope(options)
    keys = [_key_of(scope, frame, document) for document in ready.wire]
    if not options.provider.splits(options.model):
        keys = [_hashed(scope, keys)]
    scores, problem = cache.find(keys, len(ready.wire))
    hits = [(ready.sent[at], one) for at, one in enumerate(scores) if one is not None]
    warnings = ready.warnings if problem is None else (*ready.warnings, problem)
    if len(hits) == len(scores):
        return ready._replace(wire=(), sent=(), hits=hits, warnings=warnings)
    ready = ready._replace(keys=keys, hits=hits, warnings=warnings)
    return ready.only([at for at, one in enumerate(scores) if one is None]) if hits else ready


def _key_of(scope: bytes, frame: _BodyTemplate, document: Any) -> bytes:
    if type(document) is not ImageDocument:
        return _hashed(scope, [_encoded(document)])
    return _hashed(scope, join_pieces(_document(frame, document)))


def _hashed(scope: bytes, pieces: Iterable[bytes]) -> bytes:
    digest = blake2b(key=scope, digest_size=_KEY_SIZE)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def size_of(pieces: Sequence[Piece]) -> int:
    """Return the size of the pieces in bytes, as they are sent."""
    return sum(p.size if isinstance(p, WireImage) else len(p) for p in pieces)


def join_pieces(pieces: Sequence[Piece]) -> Iterator[bytes]:
    """Yield the pieces as bytes; small ones are joined, and large ones are not copied."""
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
    """The body without documents; it is the same for all requests of a call, except `top_n`."""

    _query_image: WireImage | None = None

    def __init__(
        self, options: Options, query: str | ImageDocument, ready: EncodedDocuments
    ) -> None:
        provider, dialect = options.provider, options.provider.dialect
        self.has_images = ready.has_images
        is_text = dialect.document_as == "text" and ready.rank_fields is None
        self.length: Callable[[Any], int] = len if is_text else _length
        self._provider, self._dialect = provider, dialect
        self._before = {dialect.model: options.model} if dialect.model else {}
        self._query: Any = query
        if isinstance(query, ImageDocument):
            self._query, self._query_image = self.with_image(query, _QUERY_IMAGE)
        self._scope = provider.cache_scope(options.model) if options.cache is not None else None
        self.cache = options.cache if self._scope is not None else None
        # a cache needs a score for each document
        self._top_n = options.top_n if dialect.top_n and self.cache is None else None
        instructed = options.instructed()
        body = {
            dialect.rank_fields: ready.rank_fields,
            **provider.body(),
            **(instructed.body if instructed else {}),
        }
        self._after = {name: value for name, value in body.items() if value is not None}
        self._after |= options.extra_body or {}
        self._scores = ready.retrieval_scores
        self._sizes: dict[int, int] = {}

    def scope(self, options: Options) -> bytes:
        """Return a hash of all that decides a score except the documents, the key of the hashes."""
        digest = blake2b(key=options.identity(_hashed_identity), digest_size=2 * _KEY_SIZE)
        for piece in self.filled(_encoded([self._scope, self.around([], 1)])):
            digest.update(piece if isinstance(piece, bytes) else piece.encoded())
        return digest.digest()

    def with_image(self, one: ImageDocument, place: str) -> tuple[Any, WireImage]:
        """Return the request form with `place` at the end of the image's head, and the image."""
        image = one.image.bare() if self._provider.takes_bare_base64 else one.image
        return self._provider.with_image(one.text, image.head + place * bool(image.tail)), image

    def filled(self, body: bytes) -> list[Piece]:
        """Return encoded JSON with the image of the query in place of its placeholder."""
        image = self._query_image
        if image is None:
            return [body]
        first, *rest = body.split(_QUERY_IMAGE_JSON)
        return [first, *(piece for after in rest for piece in (image, after))]

    def around(self, documents: Sequence[Any], count: int) -> dict[str, Any]:
        """Return a whole body with these documents, and `top_n` for this count of documents."""
        dialect = self._dialect
        query = self._query
        if dialect.query_as != "text":
            if dialect.query_as == "repeated":
                query = [query] * count
            elif isinstance(query, str):
                query = {TEXT: query}
        body = {**self._before, dialect.query: query, dialect.documents: documents}
        if dialect.top_n and (self._top_n is not None or dialect.needs_top_n):
            body[dialect.top_n] = min(self._top_n or count, count)
        if self._scores is not None:  # of all documents: a provider that takes them does not split
            body[RETRIEVAL_SCORES] = self._scores
        return {**body, **self._after}

    def size(self, count: int) -> int:
        """Return the size in bytes of a body for this many documents, without the documents."""
        top_n = 0 if self._top_n is None else min(self._top_n, count)
        if self._dialect.query_as == "repeated" and count > 1:  # encoding each count takes long
            return self.size(1) + (count - 1) * (size_of(self.filled(_encoded(self._query))) + 1)
        differs_by = count if self._dialect.needs_top_n else top_n
        if differs_by not in self._sizes:
            self._sizes[differs_by] = size_of(self.filled(_encoded(self.around([], count))))
        return self._sizes[differs_by]


def _hashed_identity(options: Options) -> bytes:
    """A hash of who asks, whom, for which model."""
    provider = options.provider
    return blake2b(  # in one expression: no frame holds a key in a variable
        repr(
            [
                *(_FORM_OF_KEYS, provider.name, options.model, str(options.address())),
                *identifying_headers(options),
                *provider.secrets(),  # whatever the header is called that they are sent in
            ]
        ).encode("utf-8", "surrogatepass"),
        digest_size=2 * _KEY_SIZE,
    ).digest()


def _one_body(frame: _BodyTemplate, wire: Sequence[Any], first: int, end: int) -> _ChunkBody:
    documents = wire if (first, end) == (0, len(wire)) else wire[first:end]
    count = end - first
    lengths = () if frame.has_images else tuple(accumulate(map(frame.length, documents)))
    if lengths and lengths[-1] <= _LARGE:
        return _ChunkBody(first, end, frame.filled(_encoded(frame.around(documents, count))))
    before, _, after = _encoded(frame.around([_IMAGE], count)).partition(_IMAGE_QUOTED)
    pieces = frame.filled(before)
    if lengths:
        pieces += _slices(documents, lengths)
    for place, document in enumerate(documents if frame.has_images else ()):
        if place:
            pieces.append(b",")
        pieces += _document(frame, document)
    return _ChunkBody(first, end, [*pieces, *frame.filled(after)])


def _slices(documents: Sequence[Any], lengths: Sequence[int]) -> Iterator[bytes]:
    """Yield the documents as JSON, separated by commas, several in each piece.

    `lengths` are the cumulative numbers of characters, up to and including each document.
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
    options: Options, frame: _BodyTemplate, ready: EncodedDocuments, most: int, largest: int
) -> tuple[EncodedDocuments, list[_ChunkBody]]:
    """Return bodies within both limits, documents and bytes, each as full as possible.

    Raises:
        UnsupportedDocumentError: the body without documents, or a document, is too large.
    """
    sizes = [size_of(_document(frame, document)) for document in ready.wire]
    alone = frame.size(1)
    if alone > largest:
        raise UnsupportedDocumentError(
            f"a request without documents has {alone:,} bytes, and max_request_bytes is "
            f"{largest:,}; shorten the query or extra_body, or raise the limit"
        )
    fitting = [at for at, size in enumerate(sizes) if alone + size <= largest]
    if len(fitting) < len(sizes):
        too_large = [at for at, size in enumerate(sizes) if alone + size > largest]
        first = too_large[0]
        reason = (
            f"a request with it alone has {alone + sizes[first]:,} bytes, and max_request_bytes "
            f"is {largest:,}; shorten it, set max_document_chars, or raise the limit"
        )
        others = fitting or ready.hits
        if not others or (options.on_invalid_document or "raise") == "raise":
            raise invalid_document(ready.sent[first], reason + (_SKIP if others else ""))
        indexes = _listed([ready.sent[at] for at in too_large])
        ready = ready.only(fitting, f"skipped {indexes}: {reason}")
        if not fitting:
            return ready, []
        sizes = [sizes[at] for at in fitting]
    wire, found, first, used = ready.wire, [], 0, 0
    for index, size in enumerate(sizes):
        count = index - first + 1
        if count > most or frame.size(count) + used + size + count - 1 > largest:
            found.append(_one_body(frame, wire, first, index))
            first, used = index, 0
        used += size
    return ready, [*found, _one_body(frame, wire, first, len(wire))]


def _length(fields: Mapping[str, Any] | str) -> int:
    """Return the number of characters of a document's values, or of bytes for other values."""
    if isinstance(fields, str):
        return len(fields)
    return sum(len(one if type(one) is str else _encoded(one)) for one in fields.values())


def _document(frame: _BodyTemplate, document: Any) -> list[Piece]:
    if type(document) is not ImageDocument:
        return [_encoded(document)]
    value, image = frame.with_image(document, _IMAGE)
    before, _, after = _encoded(value).partition(_IMAGE_JSON)
    return [before, image, after] if image.tail else [before]


def _encoded(value: Mapping[str, Any] | Sequence[Any] | str) -> bytes:
    with suppress(TypeError):  # an int of more than 64 bits, which only pydantic can encode
        return orjson.dumps(value)
    return _exactly(value)


def _exactly(value: Mapping[str, Any] | Sequence[Any] | str) -> bytes:
    with suppress(PydanticSerializationError):  # not chained: its message quotes the text
        return to_json(value)
    raise _SurrogateError(
        "the request has a lone surrogate, which cannot be encoded; check extra_body, the "
        "provider's arguments and rank_fields"
    )


class _SurrogateError(InvalidRequestError):
    """A text has a lone surrogate."""
