"""What comes back: the bytes of an answer to a response or an error, several to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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

from rerank_integrations._failures import (
    message_in,
    request_id_of,
    status_error,
    without_secrets,
)
from rerank_integrations._hidden import Hidden
from rerank_integrations._wire import Call, Part
from rerank_integrations.errors import Attempt, RerankError, ResponseError
from rerank_integrations.models import (
    USAGE_COUNTS,
    RerankResponse,
    RerankResult,
    Usage,
)
from rerank_integrations.providers._validation import finite
from rerank_integrations.providers.base import Answer

_NOT_JSON: Any = object()
_RESULT = typed_dict_schema(
    {
        "index": typed_dict_field(int_schema(strict=True, ge=0)),
        "relevance_score": typed_dict_field(float_schema(strict=True, allow_inf_nan=False)),
    }
)
_BESIDES = ("model", "provider", "id", "request_id", "usage", "meta", "error")
# reads a usual answer, and skips what else is in it: an echo of the documents is never built
_USUAL = SchemaValidator(
    typed_dict_schema(
        {
            "results": typed_dict_field(list_schema(_RESULT)),
            **{name: typed_dict_field(any_schema(), required=False) for name in _BESIDES},
        }
    )
)


def read(part: Part, answer: Answer, attempts: tuple[Attempt, ...] = ()) -> RerankResponse:
    """The response that an answer holds; `attempts` are the requests that led to it.

    Raises:
        StatusError: an error status.
        ResponseError: a 2xx that cannot be trusted.
    """
    provider = part.options.provider
    if not 200 <= answer.status_code < 300:
        raise status_error(provider, answer, secrets_of(part))
    if answer.problem:
        raise _untrusted(part, answer.problem)
    payload = _usual(answer) or _unusual(part, answer)
    results = _ordered(_results(part, payload["results"]))
    said = [payload.get(name) for name in ("model", "provider", "id")]
    facts = [*said, request_id_of(provider, answer.headers, payload)]
    secrets = secrets_of(part)
    model, served_by, answer_id, request_id = (
        without_secrets(fact, secrets) if isinstance(fact, str) else None for fact in facts
    )
    return RerankResponse(
        results=tuple(results[: part.options.top_n]),
        model=model or part.options.model,
        provider=served_by or provider.name,
        id=answer_id,
        request_id=request_id,
        usage=_usage(payload),
        warnings=provider.warnings(answer),
        attempts=attempts,
        retries=max(0, len(attempts) - 1),
    )


def joined(call: Call, outcomes: Sequence[RerankResponse | RerankError]) -> RerankResponse:
    """One response of what came of a call's parts: the best of all, ties in the caller's order.

    Counts of usage are added up; ids are listed, with commas.

    Raises:
        RerankError: the first error, where no part was answered.
    """
    if len(outcomes) == 1 and not (call.skipped or call.warnings):
        [outcome] = outcomes
        if isinstance(outcome, RerankResponse):
            return outcome
    responses = [outcome for outcome in outcomes if isinstance(outcome, RerankResponse)]
    errors = [outcome for outcome in outcomes if isinstance(outcome, RerankError)]
    if errors and not responses:
        raise errors[0]
    missing = [
        index
        for part, outcome in zip(call.parts, outcomes, strict=False)
        if isinstance(outcome, RerankError)
        for index in part.sent
    ]
    results = [result for response in responses for result in response]
    if len(responses) > 1:
        results.sort(key=lambda result: -result.relevance_score)
    options = call.options
    said = responses[0] if responses else None
    return RerankResponse(
        results=tuple(results[: options.top_n]),
        model=said.model if said else options.model,
        provider=said.provider if said else options.provider.name,
        id=_listed(response.id for response in responses),
        request_id=_listed(response.request_id for response in responses),
        usage=_summed([response.usage for response in responses]),
        skipped=call.skipped,
        warnings=tuple(dict.fromkeys([*call.warnings, *_warnings(responses, errors)])),
        attempts=tuple(attempt for outcome in outcomes for attempt in outcome.attempts),
        missing=tuple(missing),
        retries=sum(outcome.retries for outcome in outcomes),
    )


def _warnings(responses: Sequence[RerankResponse], errors: Sequence[RerankError]) -> Iterator[str]:
    for response in responses:
        yield from response.warnings
    for error in errors:
        yield f"a request of several failed, and its documents are missing: {error}"


def secrets_of(part: Part) -> Hidden[list[str]]:
    """What a response might repeat: keys, and headers that the caller added, whole and in words."""
    return Hidden(
        [
            *part.options.provider.secrets(),
            *part.options.extra_headers.reveal().values(),
            *" ".join(part.options.extra_headers.reveal().values()).split(),
        ]
    )


def _untrusted(part: Part, why: str) -> ResponseError:
    words = without_secrets(why, secrets_of(part))
    return ResponseError(f"the answer of {part.options.provider.name} cannot be used: {words}")


def _usual(answer: Answer) -> Mapping[str, Any] | None:
    """The answer, if it is of the form that most have."""
    with suppress(ValidationError):
        payload: dict[str, Any] = _USUAL.validate_json(answer.content)
        return None if payload.get("error") else payload
    return None


def _unusual(part: Part, answer: Answer) -> Mapping[str, Any]:
    """The answer in the usual form, if there is any way to read it."""
    payload = _NOT_JSON
    with suppress(ValueError):
        payload = from_json(answer.content)
    if payload is _NOT_JSON:
        kind = answer.headers.get("content-type", "no content type")
        what = f"not JSON ({kind})" if answer.content else "empty"
        raise _untrusted(part, f"its body is {what}")
    if isinstance(payload, list):  # text-embeddings-inference and SGLang answer a bare list
        payload = {"results": payload}
    if not isinstance(payload, Mapping):
        raise _untrusted(part, "its body is not an object")
    if payload.get("error"):
        message = message_in(payload) or "no message"
        raise _untrusted(part, f"status {answer.status_code} with an error inside: {message}")
    found = payload.get("results", payload.get("data"))
    if not isinstance(found, list):
        raise _untrusted(part, "it has no list of results")
    return {**payload, "results": [_usual_item(part, item) for item in found]}


def _usual_item(part: Part, item: object) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise _untrusted(part, "a result is not an object")
    index = item.get("index")
    if type(index) is not int:
        raise _no_such(part, index)
    said = item.get("relevance_score", item.get("score"))
    score = finite(said)
    if score is None:
        raise _untrusted(part, f"the score of document {index} is no number: {said!r}")
    return {"index": index, "relevance_score": score}


def _no_such(part: Part, index: object) -> ResponseError:
    return _untrusted(part, f"it ranks document {index!r}, and {len(part.sent)} were sent")


def _results(part: Part, items: Sequence[Mapping[str, Any]]) -> list[RerankResult]:
    sent, documents, count = part.sent, part.documents, len(part.sent)
    results = []
    for item in items:
        index = item["index"]
        if not 0 <= index < count:
            raise _no_such(part, index)
        position = sent[index]
        results.append(RerankResult(position, item["relevance_score"], documents[position]))
    if len({item["index"] for item in items}) < len(items):
        raise _untrusted(part, "it ranks a document twice")
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


def _listed(ids: Iterable[str | None]) -> str | None:
    return ", ".join(text for text in ids if text) or None
