"""From a call to the bodies of its requests: documents encoded, JSON, split by the limits."""

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
"""JSON, or an image whose tail becomes JSON when the request is sent."""

# the place of an image until the JSON is cut there; nobody can write it into a document
_IMAGE = f"image-{os.urandom(16).hex()}"
_IMAGE_JSON = _IMAGE.encode()
_QUERY_IMAGE = f"query-{_IMAGE}"
_QUERY_IMAGE_JSON = _QUERY_IMAGE.encode()
_IMAGE_QUOTED = b'"%b"' % _IMAGE_JSON
# characters; longer lists are encoded slice by slice, for the buffer of one would be held twice
_LARGE = 2 * 2**20
_SLICE = 256 * 1024
_SMALL = 64 * 1024  # bytes that are rather copied than sent alone
_SKIP = "; on_invalid_document='skip' leaves such documents out"
_INDEXES = 10  # of documents, that a message lists
# headers that say who asks, or which of a gateway's upstreams is asked; x-portkey-trace-id does not
_IDENTIFYING = re.compile(
    "auth|(?<!port)(?<!idempotency-)key|token|secret|cookie|credential|password|provider|config|host"
    "|model|version|region|deployment|project|organi[sz]ation|tenant|target|upstream|backend"
    "|rout(?!er)|base-?url"  # x-openrouter-title says nothing of that
)
_FORM_OF_KEYS = 1  # of the cache; another one where the same score would get another key
_KEY_SIZE = 16  # bytes
_REASONS = 10  # why documents cannot be sent, that a call lists
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
        keys: with a cache the key of each document that is sent, or one for all of them.
    """

    options: Options
    documents: Sequence[Any]
    sent: Sequence[int]
    body: Sequence[Piece]
    keys: Sequence[bytes] = ()

    def request(self) -> HTTPRequest:
        """The request; base64 is made now, so that no part holds it while it waits."""
        content = tuple(join_pieces(self.body))
        options = self.options
        handler = options.provider.handler
        return HTTPRequest(options.address(), _headers(options), content, handler)

    def subject(self) -> str:
        """What the request is about, for the log."""
        return f"{self.options.model}: {len(self.sent)} documents"

    def sent_text(self, index: int) -> str:
        """The text that was sent for a document, which has an index in `documents`."""
        options = self.options
        text = rendered(ranked_values(fields_of(self.documents[index]), options.rank_fields))
        if options.max_document_chars is not None:
            text = shortened(text, options.max_document_chars)
        return replace_surrogates(text)


@dataclass(frozen=True, slots=True, repr=False)
class ListRequest:
    """What is asked for a page of the list of a provider's models.

    Attributes:
        options: what the call was made with.
        url: the address of the page.
        sent: no document.
    """

    options: Options
    url: str
    sent: Sequence[int] = ()

    def request(self) -> HTTPRequest:
        """The request, with the headers of a rerank call but the one for its body."""
        headers = Secret(
            {
                name: value
                for name, value in _headers(self.options).get_secret_value().items()
                if name != "content-type"
            }
        )
        return HTTPRequest(self.url, headers, (), method="GET")

    def subject(self) -> str:
        """What the request is about, for the log."""
        return "the list of models"


@dataclass(frozen=True, slots=True, repr=False)
class RequestPlan:
    """One call, checked and encoded, as the requests to send.

    Attributes:
        options: what the call was made with.
        chunks: one for each request; none where there is nothing to send.
        skipped: the indexes of blank documents.
        warnings: what the caller should know of what is sent.
        hits: the documents whose score is in the cache, with the provider's number.
        query: its text, with a word in place of an image.
        documents: all of the call, the caller's own objects.
    """

    options: Options
    chunks: tuple[Chunk, ...] = ()
    skipped: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    hits: tuple[RerankResult, ...] = ()
    query: str = ""
    documents: Sequence[Any] = ()


def plan_request(options: Options, query: object, documents: object) -> RequestPlan:
    """Check a call and encode it.

    Raises:
        InvalidRequestError: an empty query, no list of documents, a document that cannot be sent.
    """
    if isinstance(documents, str) and not isinstance(query, str):
        raise InvalidRequestError("the query comes first, then the documents")
    given = as_list(documents)
    if not given:
        return RequestPlan(options, query=query if isinstance(query, str) else "")
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
    told = asked if isinstance(asked, str) else shown_query(query)
    warnings = (*remarks, *ready.warnings)
    return RequestPlan(options, tuple(chunks), skipped, warnings, hits, told, given)


def _with_retrieval_scores(ready: EncodedDocuments, documents: Sequence[Any]) -> EncodedDocuments:
    """With the scores of the first stage, where all documents that are sent have one."""
    found = [getattr(documents[index], "retrieval_score", None) for index in ready.sent]
    scores = [float(score) for score in found if score is not None]
    if len(scores) == len(found):
        return ready._replace(retrieval_scores=scores)
    lacking = [index for index, score in zip(ready.sent, found, strict=True) if score is None]
    warning = f"{_listed(lacking)}: no retrieval_score, so those of the others were not counted"
    if not scores:
        warning = "no document has a retrieval_score, so retrieval_weight counts for nothing"
    return ready._replace(warnings=(*ready.warnings, warning))


def _blank_documents(
    documents: Sequence[Any], rank_fields: Sequence[str] | None
) -> tuple[int, ...]:
    """The documents that a call would leave out if all others could be sent."""
    wholes: dict[int, Mapping[str, Any]] = {}
    for index, document in enumerate(documents):
        with suppress(UnsupportedDocumentError):
            wholes[index] = fields_of(document)
    if rank_fields is not None and not any(has_any(w, rank_fields) for w in wholes.values()):
        rank_fields = None  # misspelt
    found = []
    for index, whole in wholes.items():
        with suppress(UnsupportedDocumentError):
            if image_of(documents[index], whole) is None and not ranked_values(whole, rank_fields):
                found.append(index)
    return tuple(found)


def _encoded_bodies(
    options: Options, query: str | ImageDocument, ready: EncodedDocuments
) -> tuple[EncodedDocuments, list[_ChunkBody]]:
    """The bodies, and the documents that are in them, with all characters that JSON can carry."""
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
            f"{' and '.join(where)}: halves of surrogate pairs, which no encoding can carry, were "
            "replaced by U+FFFD"
        )
        warnings = (*ready.warnings, warning) if where else ready.warnings
        names = ready.rank_fields and tuple(map(replace_surrogates, ready.rank_fields))
        ready = ready._replace(wire=wire, rank_fields=names, warnings=warnings)
    try:
        return _split_bodies(options, asked, ready)
    except _SurrogateError as error:
        raise InvalidRequestError(str(error)) from None


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """What is sent of a document or query, with all its texts changed."""
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
    """The headers that say who asks, or which of a gateway's upstreams is asked."""
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
    """The query, and what the caller should know of what is not sent of it."""
    if not isinstance(query, str):
        return _query_of_parts(options, query)
    if not query or query.isspace():
        raise InvalidRequestError("query is empty; pass the text to rank the documents by")
    return query, ()


def _query_of_parts(options: Options, query: object) -> tuple[str | ImageDocument, tuple[str, ...]]:
    """The same for a query that is given as a document is: its text, its image, or both."""
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
    except UnsupportedDocumentError as error:  # which is about a document, elsewhere
        raise InvalidRequestError(f"the query: {error}") from error.__cause__
    if text and options.on_image == "text":
        return text, (f"the image of the query was left out: {provider.name} {why}",)
    raise InvalidRequestError(
        f"the query has an image, and {provider.name} {why} (model {options.model}); vllm, sglang, "
        "jina with a jina-reranker-m model and Local(scorer=..., sees_images=True) take an image "
        "as the query" + ("; on_image='text' ranks by the query's text alone" if text else "")
    )


class ImageDocument(NamedTuple):
    """A document or query with an image, and its text, which may be empty."""

    text: str
    image: WireImage


class EncodedDocuments(NamedTuple):
    """What is sent.

    `wire` has a str, an object of fields or a `ImageDocument` for each document that is sent, and
    `sent` its index among the caller's. `rank_fields` is None where the endpoint ranks texts.
    With a cache, `hits` has the index and the score of each document that is not sent, and `keys`
    the key of each that is; of a listwise model there is one key for all.
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
        """Those at the positions in `kept`, with more warnings."""
        wire, sent = [self.wire[at] for at in kept], [self.sent[at] for at in kept]
        keys = [self.keys[at] for at in kept] if self.keys else ()
        return self._replace(wire=wire, sent=sent, keys=keys, warnings=(*self.warnings, *warnings))


def encode_documents(options: Options, documents: Sequence[Any]) -> EncodedDocuments:
    """Take the documents apart; leave out those that are blank, or invalid and to be skipped.

    Raises:
        UnsupportedDocumentError: a document that cannot be sent, or none that has a ranked field.
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
        with suppress(UnsupportedDocumentError):  # which has a document's index below
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
    """The documents of a call that can be sent, taken apart, and why others cannot."""

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
        self._unseen: list[int] = []  # whose image the provider does not take
        self._cut: list[int] = []
        self._lacking: dict[int, Mapping[str, Any]] = {}  # which have no ranked field
        self._by_image_alone: list[int] = []

    def add(self, index: int, document: object) -> None:
        """Take a document apart.

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
        """Refuse a call of which nothing is left although not all documents are blank.

        Raises:
            UnsupportedDocumentError: it says why.
        """
        if self._invalid and not self.sent:
            reason, indexes = next(iter(self._invalid.items()))
            raise invalid_document(indexes[0], f"{reason}; no other document can be sent either")

    def texts(self) -> list[str | ImageDocument]:
        """What is sent of each document as one text."""
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
        """What is sent of each document as fields."""
        most = self._options.max_document_chars
        if most is None:
            return self.values
        cut = [shortened_fields(values, most) for values in self.values]
        pairs = zip(self.sent, self.values, cut, strict=True)
        self._cut = [index for index, values, kept in pairs if kept != values]
        return list(cut)

    def warnings(self) -> tuple[str, ...]:
        """What the caller should know of what is not sent."""
        provider, most = self._options.provider.name, self._options.max_document_chars
        found = []
        for reason, indexes in _few_reasons(self._invalid):
            found.append(f"skipped {_listed(indexes)}: {reason}")
        for reason, indexes in _few_reasons(self._bad_images):
            found.append(f"the images of {_listed(indexes)} were left out: {reason}")
        if self._unseen:
            images = f"the images of {_listed(self._unseen)}"
            found.append(f"{images} were left out: {provider} takes no such images")
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
        """The image as it is sent; None where it is left out because the provider takes none.

        Raises:
            UnsupportedDocumentError: it cannot be sent.
        """
        options = self._options
        why = ""
        if self._limits is None:
            why = "takes text only"
        elif has_text and not options.provider.takes_text_with_image:
            why = "takes a text or an image, not the two together"
        if self._limits is not None and not why:
            return wire_image(image, self._limits)
        if options.on_image == "text" or (
            not options.on_image and self._mode == "text" and has_text
        ):
            self._unseen.append(index)
            return None
        kind = _FinalError if self._mode == "text" else UnsupportedDocumentError
        raise kind(
            f"an image is given, and {options.provider.name} {why} (model {options.model}); use a "
            "vision model, or set on_image='text' to rank by the text alone"
        )


def _few_reasons(found: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, Sequence[int]]]:
    """What is wrong with which documents; many reasons differ by a number only."""
    yield from list(found.items())[:_REASONS]
    rest = [index for indexes in list(found.values())[_REASONS:] for index in indexes]
    if rest:
        yield "for similar reasons, or for others", rest


class _FinalError(UnsupportedDocumentError):
    """An image that the caller wants refused: on_image="raise" was set."""


def invalid_document(index: int, reason: str) -> UnsupportedDocumentError:
    """The error of a document, which names its index."""
    error = UnsupportedDocumentError(f"document {index}: {reason}")
    error.index = index
    return error


def _listed(indexes: Sequence[int]) -> str:
    """Indexes as a message names them; not all of many."""
    shown = ", ".join(map(str, indexes[:_INDEXES]))
    more = f" and {len(indexes) - _INDEXES} more" if len(indexes) > _INDEXES else ""
    return f"document{'s' if len(indexes) > 1 else ''} {shown}{more}"


def _cut_warning(indexes: Sequence[int], most: int) -> str:
    return f"the texts of {_listed(indexes)} were cut to max_document_chars={most}"


class _ChunkBody(NamedTuple):
    """The body that holds the documents from `first` up to `end`, which is not among them."""

    first: int
    end: int
    pieces: Sequence[Piece]


def _split_bodies(
    options: Options, query: str | ImageDocument, ready: EncodedDocuments
) -> tuple[EncodedDocuments, list[_ChunkBody]]:
    """As few bodies as the limits allow, with the documents in order, and these documents.

    Raises:
        InvalidRequestError: text that is no text, or one document that no body can hold.
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
    """What the cache does not have, with its keys, and the scores that it has."""
    scope = frame.scope(options)
    keys = [_key_of(scope, frame, document) for document in ready.wire]
    if not options.provider.splits(options.model):
        keys = [_hashed(scope, keys)]
    scores, problem = cache.find(keys, len(ready.wire))
    hits = [(ready.sent[at], one) for at, one in enumerate(scores) if one is not None]
    warnings = ready.warnings if problem is None else (*ready.warnings, problem)
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
        self._query_image: WireImage | None = None
        if isinstance(query, ImageDocument):
            self._query, self._query_image = self.with_image(query, _QUERY_IMAGE)
        self._scope = provider.cache_scope(options.model) if options.cache is not None else None
        self.cache = options.cache if self._scope is not None else None
        # what is to be cached needs a score for each document
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
        """A hash of all that decides a score but the documents: the first part of each key."""
        provider = options.provider
        digest = blake2b(digest_size=2 * _KEY_SIZE)
        about = [_FORM_OF_KEYS, provider.name, self._scope, options.model]
        digest.update(  # in one expression: no frame holds a key in a variable
            repr(
                [
                    *about,
                    str(options.address()),
                    *identifying_headers(options),
                    *provider.secrets(),  # whatever the header is called that they are sent in
                ]
            ).encode("utf-8", "surrogatepass")
        )
        for piece in join_pieces(self.filled(_encoded(self.around([], 1)))):
            digest.update(piece)
        return digest.digest()

    def with_image(self, one: ImageDocument, place: str) -> tuple[Any, WireImage]:
        """A document or query as the provider takes it, with `place` where its image goes on."""
        image = one.image.bare() if self._provider.takes_bare_base64 else one.image
        return self._provider.with_image(one.text, image.head + place * bool(image.tail)), image

    def filled(self, body: bytes) -> list[Piece]:
        """JSON with the image of the query in its place."""
        image = self._query_image
        if image is None:
            return [body]
        first, *rest = body.split(_QUERY_IMAGE_JSON)
        return [first, *(piece for after in rest for piece in (image, after))]

    def around(self, documents: Sequence[Any], count: int) -> dict[str, Any]:
        """A whole body of these documents, with the `top_n` for their count."""
        dialect = self._dialect
        query = self._query
        if dialect.query_as == "repeated":
            query = [query] * count
        elif dialect.query_as == "object" and isinstance(query, str):
            query = {TEXT: query}
        body = {**self._before, dialect.query: query, dialect.documents: documents}
        if dialect.top_n and (self._top_n is not None or dialect.needs_top_n):
            body[dialect.top_n] = min(self._top_n or count, count)
        if self._scores is not None:  # all of them: a provider that takes them does not split
            body[RETRIEVAL_SCORES] = self._scores
        return {**body, **self._after}

    def size(self, count: int) -> int:
        """The bytes of a body for this many documents, without the documents."""
        top_n = 0 if self._top_n is None else min(self._top_n, count)
        if self._dialect.query_as == "repeated" and count > 1:  # a body of each count takes long
            return self.size(1) + (count - 1) * (size_of(self.filled(_encoded(self._query))) + 1)
        differs_by = count if self._dialect.needs_top_n else top_n
        if differs_by not in self._sizes:
            self._sizes[differs_by] = size_of(self.filled(_encoded(self.around([], count))))
        return self._sizes[differs_by]


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
    options: Options, frame: _BodyTemplate, ready: EncodedDocuments, most: int, largest: int
) -> tuple[EncodedDocuments, list[_ChunkBody]]:
    """Bodies within both limits, documents and bytes, each as full as it can be."""
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
    """The characters of a document's values, or the bytes of those that are no text."""
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
    with suppress(TypeError):  # an int of more than 64 bits, which the other can write
        return orjson.dumps(value)
    return _exactly(value)


def _exactly(value: Mapping[str, Any] | Sequence[Any] | str) -> bytes:
    with suppress(PydanticSerializationError):  # its words hold the text
        return to_json(value)
    raise _SurrogateError(
        "the request holds half a surrogate pair, which is no character; look into extra_body, "
        "the provider's arguments and rank_fields"
    )


class _SurrogateError(InvalidRequestError):
    """Half of a surrogate pair is in a text."""
