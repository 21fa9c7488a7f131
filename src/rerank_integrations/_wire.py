"""What goes on the wire and what comes back: a call to bytes, bytes to a response or an error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, from_json, to_json

from rerank_integrations import __version__
from rerank_integrations._failures import (
    message_in,
    request_id_of,
    status_error,
    without_secrets,
)
from rerank_integrations._hidden import Hidden
from rerank_integrations._options import Options
from rerank_integrations.errors import (
    InvalidRequestError,
    ResponseError,
    UnsupportedDocumentError,
)
from rerank_integrations.fields import IMAGE, TEXT, Parts, parts_of, rendered
from rerank_integrations.models import (
    USAGE_COUNTS,
    Attempt,
    RerankResponse,
    RerankResult,
    Usage,
    listed,
)
from rerank_integrations.providers._numbers import finite
from rerank_integrations.providers.base import Answer

_COMMON_HEADERS = {
    # OpenRouter's specification also lists an event stream for this endpoint
    "accept": "application/json",
    "content-type": "application/json",
    "user-agent": f"rerank-integrations/{__version__}",
}
_NOT_JSON: Any = object()


class Request(NamedTuple):
    """A POST, ready to be sent."""

    url: str
    headers: Hidden[dict[str, str]]
    content: Hidden[bytes]


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """One call, checked and encoded.

    Attributes:
        options: what the call was made with.
        documents: the caller's own objects.
        sent: for each document on the wire, its index in `documents`.
        skipped: the indexes of blank documents.
        request: None where there is nothing to send.
    """

    options: Options
    documents: Sequence[Any]
    sent: Sequence[int]
    skipped: tuple[int, ...]
    request: Request | None


def prepare(options: Options, query: object, documents: object) -> Call:
    """Check a call and encode it.

    Raises:
        InvalidRequestError: an empty query, no list of documents, a document that cannot be sent.
    """
    given = listed(documents)
    if not given:
        return Call(options, given, (), (), None)
    _check_query(query)
    sent, wire, rank_fields = _on_the_wire(options, given)
    present = set(sent)
    skipped = tuple(i for i in range(len(given)) if i not in present)
    if not wire:
        return Call(options, given, (), skipped, None)
    provider = options.provider
    body = {
        "model": options.model,
        "query": query,
        "documents": wire,
        "top_n": options.top_n and min(options.top_n, len(wire)),
        "rank_fields": rank_fields,
        **provider.body(),
    }
    body = {name: value for name, value in body.items() if value is not None}
    body |= options.extra_body or {}
    request = Request(provider.url, _headers(options), Hidden(_encoded(body)))
    return Call(options, given, sent, skipped, request)


def read(call: Call, answer: Answer, attempts: tuple[Attempt, ...] = ()) -> RerankResponse:
    """The response that an answer holds; `attempts` are the requests that led to it.

    Raises:
        StatusError: an error status.
        ResponseError: a 2xx that cannot be trusted.
    """
    provider = call.options.provider
    if not 200 <= answer.status_code < 300:
        raise status_error(provider, answer, _secrets(call))
    payload = _payload(call, answer)
    found = payload.get("results", payload.get("data"))
    if not isinstance(found, list):
        raise _untrusted(call, "it has no list of results")
    results = _ordered([_result(call, item) for item in found])
    if len({result.index for result in results}) < len(results):
        raise _untrusted(call, "it ranks a document twice")
    named = payload.get("model"), payload.get("provider"), payload.get("id")
    model, served_by, answer_id = (text if isinstance(text, str) else None for text in named)
    return RerankResponse(
        results=tuple(results[: call.options.top_n]),
        model=model or call.options.model,
        provider=served_by or provider.name,
        id=answer_id,
        request_id=request_id_of(provider, answer.headers, payload),
        usage=_usage(payload),
        skipped=call.skipped,
        warnings=provider.warnings(answer),
        attempts=attempts,
    )


def nothing_sent(call: Call) -> RerankResponse:
    """The response of a call without a document to send."""
    options = call.options
    return RerankResponse((), options.model, options.provider.name, skipped=call.skipped)


def _headers(options: Options) -> Hidden[dict[str, str]]:
    own = {name.lower(): value for name, value in options.provider.headers().items()}
    return Hidden(_COMMON_HEADERS | own | options.extra_headers.reveal())


def _check_query(query: object) -> None:
    if not isinstance(query, str):
        raise InvalidRequestError(
            f"query must be a str, not {type(query).__name__}; "
            "no rerank endpoint here takes an image as the query"
        )
    if not query or query.isspace():
        raise InvalidRequestError("query is empty; pass the text to rank the documents by")


def _on_the_wire(
    options: Options, documents: Sequence[Any]
) -> tuple[Sequence[int], Sequence[Any], Sequence[str] | None]:
    """The indexes of the documents that are sent, what is sent for each, and `rank_fields`."""
    rank_fields = options.rank_fields
    sent: list[int] = []
    parts: list[Parts] = []
    plain = rank_fields is None or TEXT in rank_fields
    for index, document in enumerate(documents):
        if plain and type(document) is str:
            part = Parts({TEXT: document} if document and not document.isspace() else {})
        else:
            part = _parts(options, index, document)
        if part.fields or part.image:
            sent.append(index)
            parts.append(part)
    provider = options.provider
    as_objects = provider.ranks_fields(options.model) and (
        rank_fields is not None or any(type(documents[index]) is not str for index in sent)
    )
    if not as_objects:
        return sent, [_as_text(part) for part in parts], None
    names = rank_fields or tuple(dict.fromkeys(name for part in parts for name in part.fields))
    wire = [provider.document(part.fields, rendered(part.fields)) for part in parts]
    return sent, wire, names


def _parts(options: Options, index: int, document: object) -> Parts:
    try:
        part = parts_of(document, options.rank_fields)
        if part.image and not options.provider.takes_images:
            raise UnsupportedDocumentError(
                f"it has an image, and {options.provider.name} takes text only; "
                "leave the image out, or choose a provider that takes images"
            )
    except InvalidRequestError as error:
        error.args = (f"document {index}: {error}",)
        raise
    return part


def _as_text(part: Parts) -> str | dict[str, str]:
    text = rendered(part.fields)
    if part.image is None:
        return text
    return {TEXT: text, IMAGE: part.image} if text else {IMAGE: part.image}


def _encoded(body: Mapping[str, Any]) -> bytes:
    with suppress(PydanticSerializationError):  # its words hold the text
        return to_json(body)
    raise InvalidRequestError(
        "the query or a document holds half a surrogate pair, which is no character; "
        "clean it with text.encode('utf-8', 'replace').decode()"
    )


def _secrets(call: Call) -> list[str]:
    """What an answer might repeat: keys, and headers that the caller added, whole and in words."""
    added = call.options.extra_headers.reveal().values()
    return [*call.options.provider.secrets(), *added, *" ".join(added).split()]


def _untrusted(call: Call, why: str) -> ResponseError:
    words = without_secrets(why, _secrets(call))
    return ResponseError(f"the answer of {call.options.provider.name} cannot be used: {words}")


def _payload(call: Call, answer: Answer) -> Mapping[str, Any]:
    payload = _NOT_JSON
    with suppress(ValueError):
        payload = from_json(answer.content)
    if payload is _NOT_JSON:
        kind = answer.headers.get("content-type", "no content type")
        what = f"not JSON ({kind})" if answer.content else "empty"
        raise _untrusted(call, f"its body is {what}")
    if isinstance(payload, list):  # text-embeddings-inference and SGLang answer a bare list
        return {"results": payload}
    if not isinstance(payload, Mapping):
        raise _untrusted(call, "its body is not an object")
    if payload.get("error"):
        message = message_in(payload) or "no message"
        raise _untrusted(call, f"status {answer.status_code} with an error inside: {message}")
    return payload


def _result(call: Call, item: object) -> RerankResult:
    if not isinstance(item, dict):
        raise _untrusted(call, "a result is not an object")
    index = item.get("index")
    if type(index) is not int or not 0 <= index < len(call.sent):
        raise _untrusted(call, f"it ranks document {index!r}, and {len(call.sent)} were sent")
    said = item.get("relevance_score", item.get("score"))
    score = finite(said)
    if score is None:
        raise _untrusted(call, f"the score of document {index} is no number: {said!r}")
    position = call.sent[index]
    return RerankResult(position, score, call.documents[position])


def _ordered(results: list[RerankResult]) -> list[RerankResult]:
    """The server's order where it descends; else by score, ties as they came."""
    scores = [result.relevance_score for result in results]
    if all(map(float.__ge__, scores, scores[1:])):
        return results
    return sorted(results, key=lambda result: -result.relevance_score)


def _usage(payload: Mapping[str, Any]) -> Usage:
    """From `usage`, or where Cohere's own dialect has it."""
    raw = payload.get("usage")
    if raw is None and isinstance(payload.get("meta"), dict):
        raw = payload["meta"].get("billed_units")
    if not isinstance(raw, dict):
        return Usage()
    counts = {name: raw[name] for name in USAGE_COUNTS if finite(raw.get(name)) is not None}
    return Usage(**counts, raw=raw)
