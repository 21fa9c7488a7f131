"""From the bytes of HTTP responses to one RerankResponse, or to an error."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any

from pydantic_core import SchemaValidator, ValidationError, from_json
from pydantic_core.core_schema import (
    any_schema,
    float_schema,
    int_schema,
    list_schema,
    typed_dict_field,
    typed_dict_schema,
)

from rerank_integrations._request import Chunk, RequestPlan
from rerank_integrations._secrets import Secret
from rerank_integrations.errors import (
    Attempt,
    AuthenticationError,
    ImageError,
    RerankError,
    ResponseError,
    StatusError,
    error_class,
)
from rerank_integrations.models import (
    USAGE_COUNTS,
    RerankResponse,
    RerankResult,
    Usage,
    without_image_data,
)
from rerank_integrations.providers._validation import finite, seconds_in
from rerank_integrations.providers.base import ErrorDetails, HTTPResponse, Provider

_NOT_JSON: Any = object()
_RESULT = typed_dict_schema(
    {
        "index": typed_dict_field(int_schema(strict=True, ge=0)),
        "relevance_score": typed_dict_field(float_schema(strict=True, allow_inf_nan=False)),
    }
)
_BESIDES = ("model", "provider", "id", "request_id", "usage", "meta", "error")
# reads a usual response, and skips what else is in it: an echo of the documents is never built
_USUAL = SchemaValidator(
    typed_dict_schema(
        {
            "results": typed_dict_field(list_schema(_RESULT)),
            **{name: typed_dict_field(any_schema(), required=False) for name in _BESIDES},
        }
    )
)
_RETRYABLE = frozenset({408, 409, 429, 500, 502, 503, 504, 524, 529})
_LONGEST = 500  # characters of the server's message that an error repeats
_SHORTEST_SECRET = 6  # a shorter header value is too common a word to cut out
_TITLE = re.compile(r"<title[^>]*>(.*?)</title>", re.IGNORECASE | re.DOTALL)


def parse_response(
    chunk: Chunk, response: HTTPResponse, attempts: tuple[Attempt, ...] = ()
) -> RerankResponse:
    """The RerankResponse in an HTTP response; `attempts` are the requests that led to it.

    Raises:
        StatusError: an error status.
        ResponseError: a 2xx that cannot be trusted.
    """
    provider = chunk.options.provider
    if not 200 <= response.status_code < 300:
        raise status_error(provider, response, secrets_of(chunk))
    if response.problem:
        raise _invalid(chunk, response.problem)
    payload = _parse_fast(response) or _parse_lenient(chunk, response)
    results = _ordered(_results(chunk, payload["results"]))
    threshold = chunk.options.score_threshold
    if threshold is not None:
        results = [result for result in results if result.relevance_score >= threshold]
    said = [payload.get(name) for name in ("model", "provider", "id")]
    facts = [*said, request_id_of(provider, response.headers, payload)]
    secrets = secrets_of(chunk)
    model, served_by, answer_id, request_id = (
        redact(fact, secrets) if isinstance(fact, str) else None for fact in facts
    )
    return RerankResponse(
        results=tuple(results[: chunk.options.top_n]),
        model=model or chunk.options.model,
        provider=served_by or provider.name,
        id=answer_id,
        request_id=request_id,
        usage=_usage(payload),
        warnings=provider.warnings(response),
        attempts=attempts,
        retries=max(0, len(attempts) - 1),
    )


def merge_responses(
    plan: RequestPlan, outcomes: Sequence[RerankResponse | RerankError]
) -> RerankResponse:
    """One response of what came of a call's parts: the best of all, ties in the caller's order.

    Counts of usage are added up; ids are joined with commas.

    Raises:
        RerankError: the first error, if no chunk succeeded.
    """
    if len(outcomes) == 1 and not (plan.skipped or plan.warnings):
        [outcome] = outcomes
        if isinstance(outcome, RerankResponse):
            return outcome
    responses = [outcome for outcome in outcomes if isinstance(outcome, RerankResponse)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, RerankError)]
    if errors and not responses:
        raise errors[0]
    missing = [
        index
        for chunk, outcome in zip(plan.chunks, outcomes, strict=False)
        if isinstance(outcome, RerankError)
        for index in chunk.sent
    ]
    results = [result for response in responses for result in response]
    if len(responses) > 1:
        results.sort(key=lambda result: -result.relevance_score)
    options = plan.options
    said = responses[0] if responses else None
    return RerankResponse(
        results=tuple(results[: options.top_n]),
        model=said.model if said else options.model,
        provider=said.provider if said else options.provider.name,
        id=_join_values(response.id for response in responses),
        request_id=_join_values(response.request_id for response in responses),
        usage=_summed([response.usage for response in responses]),
        skipped=plan.skipped,
        warnings=tuple(dict.fromkeys([*plan.warnings, *_warnings(responses, errors)])),
        attempts=tuple(attempt for outcome in outcomes for attempt in outcome.attempts),
        missing=tuple(missing),
        retries=sum(outcome.retries for outcome in outcomes),
    )


def _warnings(responses: Sequence[RerankResponse], errors: Sequence[RerankError]) -> Iterator[str]:
    for response in responses:
        yield from response.warnings
    for error in errors:
        yield f"a request of several failed, and its documents are missing: {error}"


def secrets_of(chunk: Chunk) -> Secret[list[str]]:
    """What a response might repeat: keys, and headers that the caller added, whole and in words."""
    return Secret(
        [
            *chunk.options.provider.secrets(),
            *chunk.options.extra_headers.get_secret_value().values(),
            *" ".join(chunk.options.extra_headers.get_secret_value().values()).split(),
        ]
    )


def _invalid(chunk: Chunk, why: str) -> ResponseError:
    words = redact(why, secrets_of(chunk))
    return ResponseError(f"the response of {chunk.options.provider.name} cannot be used: {words}")


def _parse_fast(response: HTTPResponse) -> Mapping[str, Any] | None:
    """The response, if it is of the form that most have."""
    with suppress(ValidationError):
        payload: dict[str, Any] = _USUAL.validate_json(response.content)
        return None if payload.get("error") else payload
    return None


def _parse_lenient(chunk: Chunk, response: HTTPResponse) -> Mapping[str, Any]:
    """The response in the usual form, if there is any way to read it."""
    payload = _NOT_JSON
    with suppress(ValueError):
        payload = from_json(response.content)
    if payload is _NOT_JSON:
        kind = response.headers.get("content-type", "no content type")
        what = f"not JSON ({kind})" if response.content else "empty"
        raise _invalid(chunk, f"its body is {what}")
    if isinstance(payload, list):  # text-embeddings-inference and SGLang return a bare list
        payload = {"results": payload}
    if not isinstance(payload, Mapping):
        raise _invalid(chunk, "its body is not an object")
    if payload.get("error"):
        message = error_message(payload) or "no message"
        raise _invalid(chunk, f"status {response.status_code} with an error inside: {message}")
    found = payload.get("results", payload.get("data"))
    if not isinstance(found, list):
        raise _invalid(chunk, "it has no list of results")
    return {**payload, "results": [_lenient_item(chunk, item) for item in found]}


def _lenient_item(chunk: Chunk, item: object) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise _invalid(chunk, "a result is not an object")
    index = item.get("index")
    if type(index) is not int:
        raise _unknown_index(chunk, index)
    said = item.get("relevance_score", item.get("score"))
    score = finite(said)
    if score is None:
        raise _invalid(chunk, f"the score of document {index} is no number: {said!r}")
    return {"index": index, "relevance_score": score}


def _unknown_index(chunk: Chunk, index: object) -> ResponseError:
    return _invalid(chunk, f"it ranks document {index!r}, and {len(chunk.sent)} were sent")


def _results(chunk: Chunk, items: Sequence[Mapping[str, Any]]) -> list[RerankResult]:
    sent, documents, count = chunk.sent, chunk.documents, len(chunk.sent)
    results = []
    for item in items:
        index = item["index"]
        if not 0 <= index < count:
            raise _unknown_index(chunk, index)
        position = sent[index]
        results.append(RerankResult(position, item["relevance_score"], documents[position]))
    if len({item["index"] for item in items}) < len(items):
        raise _invalid(chunk, "it ranks a document twice")
    return results


def _ordered(results: list[RerankResult]) -> list[RerankResult]:
    """The server's order where it descends; else by score, ties as they came."""
    scores = [result.relevance_score for result in results]
    if scores == sorted(scores, reverse=True):
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


def _summed(usages: Sequence[Usage]) -> Usage:
    if len(usages) == 1:
        return usages[0]
    counts: dict[str, float] = {}
    for usage in usages:
        for name, value in usage.counts().items():
            counts[name] = counts.get(name, 0) + value
    raws = [usage.raw for usage in usages if usage.raw]
    return Usage(**counts, raw={"requests": raws} if raws else {})


def _join_values(ids: Iterable[str | None]) -> str | None:
    return ", ".join(text for text in ids if text) or None


def status_error(
    provider: Provider, response: HTTPResponse, secrets: Secret[list[str]]
) -> StatusError:
    """The exception for a response with an error status.

    Args:
        provider: adds what only it knows.
        response: the status, headers and body.
        secrets: texts that must not appear in the message.
    """
    payload = json_object(response.content)
    error = payload.get("error")
    failure = provider.parse_error(
        ErrorDetails(
            status_code=response.status_code,
            headers=response.headers,
            error=error if isinstance(error, Mapping) else {},
            message=error_message(payload) or _plain_text(response),
            code=_code(payload),
            retry_after=_retry_after(response.headers, time.time()),
            is_retryable=_retryable(response.status_code),
        )
    )
    kind = error_class(failure.status_code)
    if failure.code in provider.image_codes:
        kind = ImageError
    message = redact(failure.message, secrets)
    request_id, code = (
        fact and redact(fact, secrets)
        for fact in (request_id_of(provider, response.headers, payload), failure.code)
    )
    text = f"{provider.name} answered {failure.status_code}: {message}"
    if 300 <= failure.status_code < 400:
        text += "; redirects are not followed: set base_url to the final address"
    if failure.code:
        text += f" ({failure.code})"
    if failure.status_code in (404, 405) and kind is not ImageError:  # often a wrong base_url
        text += f"; the request went to {provider.url}"
    if failure.key_hint or issubclass(kind, AuthenticationError):
        text += f"; check {failure.key_hint or provider.key_hint}"
    if request_id:
        text += f" [request {request_id}]"
    return kind(
        redact(text, secrets),
        status_code=failure.status_code,
        provider=provider.name,
        message=message,
        code=code,
        request_id=request_id,
        retry_after=failure.retry_after,
        is_retryable=failure.is_retryable,
    )


def error_message(payload: Mapping[str, Any]) -> str:
    """The words of an error body: in any of the shapes that gateways and servers use."""
    error = payload.get("error")
    if isinstance(error, str):
        return error
    for holder in (error, payload):
        if isinstance(holder, Mapping):
            for key in ("message", "detail", "title"):
                if holder.get(key):
                    return _flat(holder[key])
    return ""


def request_id_of(
    provider: Provider, headers: Mapping[str, str], payload: Mapping[str, Any]
) -> str | None:
    """The id to quote to support: from the provider's own headers, else the body's id."""
    for name in provider.request_id_headers:
        if headers.get(name):
            return headers[name]
    found = payload.get("id")
    return found if isinstance(found, str) else None


def json_object(content: bytes | bytearray) -> Mapping[str, Any]:
    """The body as an object; `{}` where it is none."""
    try:
        payload = from_json(content)
    except ValueError:
        return {}
    return payload if isinstance(payload, Mapping) else {}


def redact(text: str, secrets: Secret[list[str]]) -> str:
    """The text, shortened, without image data and without any of `secrets`."""
    text = without_image_data(text)
    for secret in secrets.get_secret_value():
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def redact_error(error: BaseException, secrets: Secret[list[str]]) -> None:
    """Take secrets out of an error and of what caused it: both may quote what came."""
    link: BaseException | None = error
    seen: set[int] = set()  # a user's code may raise an error from itself
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if any(s in str(link) for s in secrets.get_secret_value() if len(s) >= _SHORTEST_SECRET):
            link.args = (redact(str(link), secrets),)
        link = link.__cause__ or link.__context__


def _retryable(status_code: int) -> bool:
    return status_code in _RETRYABLE or 520 <= status_code <= 523  # the last: Cloudflare's edge


def _flat(value: object) -> str:
    """A message as text; FastAPI's list of problems as `place: message`, without their input."""
    if not isinstance(value, list):
        return str(value)
    lines = []
    for item in value:
        if isinstance(item, Mapping):
            place = item.get("loc")
            where = ".".join(map(str, place)) if isinstance(place, list) else ""
            lines.append(f"{where}: {item.get('msg')}" if where else str(item.get("msg")))
        else:
            lines.append(str(item))
    return "; ".join(lines)


def _code(payload: Mapping[str, Any]) -> str | None:
    error = payload.get("error")
    if not isinstance(error, Mapping):
        return None
    for key in ("code", "type"):
        if error.get(key) is not None and isinstance(error[key], str | int):
            return str(error[key])
    return None


def _plain_text(response: HTTPResponse) -> str:
    """The body's text; of an HTML page its title."""
    if response.problem:
        return response.problem
    text = response.content[: 8 * _LONGEST].decode("utf-8", "replace").strip()
    if text.startswith("<"):
        title = _TITLE.search(text)
        return f"an HTML page, {title[1].strip()!r}" if title else "an HTML page"
    return text or "no message"


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After` in seconds or as a date."""
    for name, factor in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        seconds = seconds_in(headers.get(name))
        if seconds is not None:
            return seconds * factor
    from email.utils import parsedate_to_datetime  # noqa: PLC0415  # slow, and rare

    try:
        date = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None
