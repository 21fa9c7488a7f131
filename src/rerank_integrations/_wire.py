"""What goes on the wire: a call, checked and encoded, as one request or several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rerank_integrations import __version__
from rerank_integrations._body import Piece, bodies, joined
from rerank_integrations._documents import on_the_wire
from rerank_integrations._hidden import Hidden
from rerank_integrations._options import Options
from rerank_integrations.errors import InvalidRequestError
from rerank_integrations.models import listed
from rerank_integrations.providers.base import Answer

_COMMON_HEADERS = {
    # OpenRouter's specification also lists an event stream for this endpoint
    "accept": "application/json",
    "accept-encoding": "gzip, deflate",  # what `_body_reader` decodes
    "content-type": "application/json",
    "user-agent": f"rerank-integrations/{__version__}",
}


class Request(NamedTuple):
    """A POST, ready to be sent; the pieces of its body follow one another."""

    url: str
    headers: Hidden[dict[str, str]]
    content: Hidden[Sequence[bytes]]
    handler: Callable[[bytes], Answer] | None = None  # instead of the network

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.content.reveal()))


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """What goes into one request of a call.

    Attributes:
        options: what the call was made with.
        documents: all documents of the call, the caller's own objects.
        sent: for each document on the wire, its index in `documents`.
        body: what is sent, with images still to be encoded.
    """

    options: Options
    documents: Sequence[Any]
    sent: Sequence[int]
    body: Hidden[Sequence[Piece]]

    def request(self) -> Request:
        """The request; base64 is made now, so that no part holds it while it waits."""
        content = Hidden(tuple(joined(self.body.reveal())))
        provider = self.options.provider
        return Request(provider.url, _headers(self.options), content, provider.handler)


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """One call, checked and encoded.

    Attributes:
        options: what the call was made with.
        parts: one for each request; none where there is nothing to send.
        skipped: the indexes of blank documents.
        warnings: what the caller should know of what is sent.
    """

    options: Options
    parts: tuple[Part, ...] = ()
    skipped: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


def prepare(options: Options, query: object, documents: object) -> Call:
    """Check a call and encode it.

    Raises:
        InvalidRequestError: an empty query, no list of documents, a document that cannot be sent.
    """
    given = listed(documents)
    if not given:
        return Call(options)
    asked = _checked_query(query)
    ready = on_the_wire(options, given)
    skipped: tuple[int, ...] = ()
    if len(ready.sent) < len(given):
        present = set(ready.sent)
        skipped = tuple(i for i in range(len(given)) if i not in present)
    if not ready.sent:
        return Call(options, (), skipped, ready.warnings)
    parts = (
        Part(options, given, ready.sent[body.first : body.end], Hidden(body.pieces))
        for body in bodies(options, asked, ready)
    )
    return Call(options, tuple(parts), skipped, ready.warnings)


def _headers(options: Options) -> Hidden[dict[str, str]]:
    own = {name.lower(): value for name, value in options.provider.headers().items()}
    return Hidden(_COMMON_HEADERS | own | options.extra_headers.reveal())


def _checked_query(query: object) -> str:
    if not isinstance(query, str):
        raise InvalidRequestError(
            f"query must be a str, not {type(query).__name__}; "
            "no rerank endpoint here takes an image as the query"
        )
    if not query or query.isspace():
        raise InvalidRequestError("query is empty; pass the text to rank the documents by")
    return query
