"""Converts HTTP responses to one RerankResponse, or to an error."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from pydantic_core import CoreSchema, SchemaValidator, ValidationError
from pydantic_core.core_schema import (
    any_schema,
    float_schema,
    int_schema,
    list_schema,
    none_schema,
    str_schema,
    tuple_schema,
    typed_dict_field,
    typed_dict_schema,
    union_schema,
)

from rerank_integrations._http_result import error_chain
from rerank_integrations._options import Options
from rerank_integrations._request import Chunk, ListRequest, RequestPlan
from rerank_integrations._response_body import (
    FIXES,
    code_of,
    error_message,
    holds_word,
    json_object,
    plain_text,
    read_json,
    text_of,
    what_is_too_large,
)
from rerank_integrations._secrets import Secret
from rerank_integrations.errors import (
    Attempt,
    AuthenticationError,
    ConfigurationError,
    ImageError,
    RerankError,
    ResponseError,
    StatusError,
    error_class,
)
from rerank_integrations.models import (
    USAGE_COUNTS,
    RelevantSpan,
    RerankResponse,
    RerankResult,
    ResultDetails,
    Usage,
    without_image_data,
)
from rerank_integrations.providers._model_list import ModelInfo
from rerank_integrations.providers._validation import (
    finite,
    header_secrets,
    seconds_in,
    shown_address,
    sigmoid,
)
from rerank_integrations.providers.base import (
    ErrorDetails,
    HTTPResponse,
    Provider,
    ScoreKind,
)

_INDEX_AND_SCORE = {
    "index": typed_dict_field(int_schema(strict=True, ge=0)),
    "relevance_score": typed_dict_field(float_schema(strict=True, allow_inf_nan=False)),
}
# the copy of a document in a result; an object is not built in memory
_ECHO = union_schema(
    [typed_dict_schema({}, extra_behavior="ignore"), str_schema(strict=True), none_schema()]
)
_ECHOES = ("document", "text", "input")
_DETAILED_RESULT = typed_dict_schema(
    {**_INDEX_AND_SCORE, **{name: typed_dict_field(_ECHO, required=False) for name in _ECHOES}},
    extra_behavior="allow",
)
_SCORES = ("relevance_score", "score", "logit")
_LISTS = ("results", "data", "rankings")
_SPANS = "relevant_spans"  # of Cohere; absent where a document has none
_WITHOUT_DETAILS = frozenset({"index", "object", *_SCORES, *_ECHOES})
_OF_A_RESULT = _WITHOUT_DETAILS | {_SPANS}
_RESULT = typed_dict_schema(
    {**_INDEX_AND_SCORE, _SPANS: typed_dict_field(any_schema(), required=False)}
)
_OUR_NAMES = {
    "input_tokens": "prompt_tokens",  # Cohere, Isaacus, DeepInfra, SiliconFlow
    "tokens_input": "prompt_tokens",  # DeepInfra
    "output_tokens": "completion_tokens",
    "rerank_units": "search_units",  # Pinecone
}
_TOP_LEVEL_USAGE = ("total_tokens", "total_bytes", "input_tokens")  # ZeroEntropy, DeepInfra
_MOST_WARNINGS = 20
_BESIDES = (
    *("model", "provider", "id", "request_id", "usage", "meta", "error"),
    *("tokens", "total_tokens", "total_bytes", "input_tokens", "inference_status"),  # usage too
)


def _reader(results: CoreSchema) -> SchemaValidator:
    besides = {name: typed_dict_field(any_schema(), required=False) for name in _BESIDES}
    return SchemaValidator(typed_dict_schema({"results": typed_dict_field(results), **besides}))


# reads a response in the common format and skips other keys, so that copies of the documents are
# not built in memory. All keys of the first result are kept, to see whether results have further
# keys; of the others only the spans are kept, which the first may lack
_FAST = _reader(tuple_schema([_DETAILED_RESULT, _RESULT], variadic_item_index=1))
_DETAILED = _reader(list_schema(_DETAILED_RESULT))
_RETRYABLE = frozenset({408, 409, 429, 500, 502, 503, 504, 524, 529})
_LONGEST = 500  # characters of the server's message that an error repeats
_SHORTEST_SECRET = 4  # a shorter header value occurs in ordinary text, so it is not redacted
_COOKIES = ("set-cookie", "set-cookie2")
# bounds for `error.body`, because errors are pickled and stored
_BODY_SIZE = 20_000  # characters
_BODY_DIGITS = 400  # of an integer
_BODY_TEXT = 4000  # characters of one text in it
_DEEPEST = 100  # levels of nested values in a body


def parse_response(
    chunk: Chunk, response: HTTPResponse, attempts: tuple[Attempt, ...] = ()
) -> RerankResponse:
    """Parse an HTTP response; `attempts` are the requests that were sent for it.

    Raises:
        StatusError: the server returned an error status.
        ResponseError: a 2xx response is invalid.
    """
    provider = chunk.options.provider
    secrets = secrets_of(chunk)
    if not 200 <= response.status_code < 300:
        has_images = not all(isinstance(piece, bytes) for piece in chunk.body)
        raise status_error(
            provider,
            response,
            secrets,
            len(chunk.sent),
            has_images=has_images,
            address=chunk.options.address(),
        )
    try:
        if response.problem:
            raise _invalid(chunk, response.problem)
        payload = _parse_fast(response) or _parse_lenient(chunk, response)
        results = _ordered(_results(chunk, payload, secrets))
    except ResponseError as error:
        error.headers = _safe_headers(response.headers, secrets)
        error.body = _body(response, secrets)
        raise
    warnings = (
        *provider.warnings(response),
        *_meta_warnings(payload, secrets),
        *_transform_warnings(chunk.options),
    )
    problem = _keep(chunk, payload["results"]) if chunk.keys else None
    if problem:
        warnings = (*warnings, problem)
    asked_for = min(chunk.options.top_n or len(chunk.sent), len(chunk.sent))
    if len(results) < asked_for:
        found = f"{len(results)} result{'' if len(results) == 1 else 's'}"
        few = f"{provider.name} returned {found} for {len(chunk.sent)} documents"
        warnings = (*warnings, few)
    results = _above_threshold(chunk.options, results)
    said = [payload.get(name) for name in ("model", "provider", "id")]
    facts = [*said, request_id_of(provider, response.headers, payload)]
    model, served_by, answer_id, request_id = (
        redact(fact, secrets) if isinstance(fact, str) else None for fact in facts
    )
    return RerankResponse(
        results=tuple(results[: chunk.options.top_n]),
        model=model or chunk.options.model,
        provider=served_by or _served_by(provider, response, secrets) or provider.name,
        id=answer_id,
        request_id=request_id,
        usage=_usage(payload, secrets),
        warnings=warnings,
        attempts=attempts,
        retries=max(0, len(attempts) - 1),
        score_kind=_score_kind(chunk.options),
        headers=_safe_headers(response.headers, secrets),
        raw=without_secrets(read_json(response.content), secrets)
        if chunk.options.keep_raw
        else None,
    )


def _keep(chunk: Chunk, items: Sequence[Mapping[str, Any]]) -> str | None:
    """Store the scores in the cache, if each document has one; return a warning or None.

    The cache cannot store spans, so scores that come with spans are not stored.
    """
    cache, is_whole = chunk.options.cache, len(items) == len(chunk.sent)
    if cache is None or not is_whole or any(_SPANS in item for item in items):
        return None
    ordered = sorted(items, key=lambda item: item["index"])
    return cache.keep(chunk.keys, [float(item["relevance_score"]) for item in ordered])


def _above_threshold(options: Options, results: list[RerankResult]) -> list[RerankResult]:
    least = options.score_threshold
    return results if least is None else [one for one in results if one.relevance_score >= least]


class ListPage(NamedTuple):
    """A page of a provider's list of models, and the query of the next page."""

    models: Sequence[ModelInfo]
    next_query: Mapping[str, str] | None
    request_id: str | None


def parse_list(
    page: ListRequest, response: HTTPResponse, attempts: tuple[Attempt, ...] = ()
) -> ListPage:
    """Parse a page of a provider's list of models.

    Raises:
        StatusError: the server returned an error status.
        ResponseError: a 2xx response is not a list of models.
    """
    del attempts
    provider, secrets = page.options.provider, secrets_of(page)
    if not 200 <= response.status_code < 300:
        missing = "; this server has no list of models"
        raise status_error(provider, response, secrets, address=page.url, missing=missing)
    try:
        if response.problem:
            raise _invalid(page, response.problem)
        payload = _json_of(page, response)
        found = provider.models_page(payload)
        if found is None:
            message = error_message(payload) if isinstance(payload, Mapping) else ""
            inside = f"status {response.status_code} with an error inside: {message}"
            raise _invalid(page, inside if message else "it has no list of models")
    except ResponseError as error:
        error.headers = _safe_headers(response.headers, secrets)
        error.body = _body(response, secrets)
        raise
    models = [
        info._replace(id=_hidden(info.id, secrets), raw=without_secrets(info.raw, secrets))
        for info in found.models
    ]
    request_id = request_id_of(provider, response.headers, {})
    return ListPage(models, found.next_query, request_id and redact(request_id, secrets))


def _served_by(
    provider: Provider, response: HTTPResponse, secrets: Secret[list[str]]
) -> str | None:
    said = provider.served_by(response.headers)
    return said and redact(said, secrets)


def merge_responses(
    plan: RequestPlan, outcomes: Sequence[RerankResponse | RerankError]
) -> RerankResponse:
    """Merge the responses of a call's requests: best first, ties in the caller's order.

    Usage counts are added up; ids are joined with commas.

    Raises:
        RerankError: the first error, if no request succeeded.
    """
    if len(outcomes) == 1 and not (plan.skipped or plan.warnings or plan.hits):
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
    options = plan.options
    results = [result for response in responses for result in response]
    results += _above_threshold(options, [_transformed_hit(options, hit) for hit in plan.hits])
    if plan.hits:
        results.sort(key=lambda result: (-result.relevance_score, result.index))
    elif len(responses) > 1:
        results.sort(key=lambda result: -result.relevance_score)
    said = responses[0] if responses else None
    of_scores = _transform_warnings(options) if plan.hits else []
    warnings = [*plan.warnings, *of_scores, *_warnings(responses, errors)]
    return RerankResponse(
        results=tuple(results[: options.top_n]),
        model=said.model if said else options.model,
        provider=said.provider if said else options.provider.name,
        id=_join_values(response.id for response in responses),
        request_id=_join_values(response.request_id for response in responses),
        usage=_summed([response.usage for response in responses]),
        skipped=plan.skipped,
        warnings=tuple(dict.fromkeys(warnings)),
        attempts=tuple(attempt for outcome in outcomes for attempt in outcome.attempts),
        missing=tuple(missing),
        retries=sum(outcome.retries for outcome in outcomes),
        score_kind=_score_kind(options),
        headers=_one_or_all([getattr(outcome, "headers", {}) for outcome in outcomes], {}),
        raw=_one_or_all([getattr(outcome, "raw", None) for outcome in outcomes], None)
        if options.keep_raw
        else None,
        cache_hits=len(plan.hits),
    )


def _transformed_hit(options: Options, hit: RerankResult) -> RerankResult:
    return RerankResult(hit.index, _transformed(options, hit.relevance_score), hit.document)


def _one_or_all(values: list[Any], default: Any) -> Any:
    """Return the value of a single request; the list of values of several."""
    return values if len(values) > 1 else next(iter(values), default)


def _warnings(responses: Sequence[RerankResponse], errors: Sequence[RerankError]) -> Iterator[str]:
    for response in responses:
        yield from response.warnings
    for error in errors:
        yield f"one of several requests failed, so its documents are missing: {error}"


def secrets_of(chunk: Chunk | ListRequest) -> Secret[list[str]]:
    """Return the texts to redact: keys, and the caller's header values, whole and word by word.

    The longest come first; otherwise redacting a part of another text would leave its rest.
    """
    return Secret(
        sorted(
            {
                *chunk.options.provider.secrets(),
                *header_secrets(chunk.options.extra_headers.get_secret_value()),
            },
            key=len,
            reverse=True,
        )
    )


def _invalid(chunk: Chunk | ListRequest, why: str) -> ResponseError:
    words = redact(why, secrets_of(chunk))
    return ResponseError(f"the response of {chunk.options.provider.name} is invalid: {words}")


def _parse_fast(response: HTTPResponse) -> Mapping[str, Any] | None:
    """Parse a response in the common format; None if it has another one."""
    with suppress(ValidationError):
        payload: dict[str, Any] = _FAST.validate_json(response.content)
        first, *others = payload["results"]
        has_spans = max(map(len, others), default=0) > len(_INDEX_AND_SCORE)
        if has_spans or not first.keys() <= _WITHOUT_DETAILS:
            payload = _DETAILED.validate_json(response.content)
            payload["has_details"] = True
        # an error message may be next to an empty list of results
        return None if payload.get("error") else payload
    return None


def _parse_lenient(chunk: Chunk, response: HTTPResponse) -> Mapping[str, Any]:
    """Parse a response in any known format, and convert it to the common one.

    Raises:
        ResponseError: it cannot be parsed, or is an error message.
    """
    payload = _json_of(chunk, response)
    if isinstance(payload, list):  # text-embeddings-inference and SGLang return a bare list
        payload = {"results": payload}
    if not isinstance(payload, Mapping):
        raise _invalid(chunk, "its body is not an object")
    if payload.get("error"):
        message = error_message(payload) or "no message"
        raise _invalid(chunk, f"status {response.status_code} with an error inside: {message}")
    found = chunk.options.provider.results(payload, len(chunk.sent))
    if found is None:
        found = next((payload[name] for name in _LISTS if name in payload), None)
    if not found or not isinstance(found, list):
        # vLLM has an object "error" with a message here, SiliconFlow a code with a message
        message = error_message(payload)
        if message:
            raise _invalid(chunk, f"status {response.status_code} with an error inside: {message}")
    if not isinstance(found, list):
        raise _invalid(chunk, "it has no list of results")
    items = [_lenient_item(chunk, item) for item in found]
    has_details = any(_SPANS in item or not item.keys() <= _OF_A_RESULT for item in items)
    return {**payload, "results": items, "has_details": has_details}


def _json_of(chunk: Chunk | ListRequest, response: HTTPResponse) -> Any:
    """Parse the body of a response.

    Raises:
        ResponseError: it is not JSON.
    """
    with suppress(ValueError):
        return read_json(response.content)
    kind = response.headers.get("content-type", "no content type")
    what = f"not JSON ({kind})" if response.content else "empty"
    raise _invalid(chunk, f"its body is {what}")


def _lenient_item(chunk: Chunk, item: object) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise _invalid(chunk, "a result is not an object")
    index = item.get("index")
    if type(index) is not int:
        raise _unknown_index(chunk, index)
    said = next((item[name] for name in _SCORES if name in item), None)
    score = finite(said)
    if score is None:
        raise _invalid(chunk, f"the score of document {index} is not a number: {said!r}")
    return {**item, "index": index, "relevance_score": score}


def _unknown_index(chunk: Chunk, index: object) -> ResponseError:
    return _invalid(chunk, f"it ranks document {index!r}, and {len(chunk.sent)} were sent")


def _results(
    chunk: Chunk, payload: Mapping[str, Any], secrets: Secret[list[str]]
) -> list[RerankResult]:
    sent, documents, count = chunk.sent, chunk.documents, len(chunk.sent)
    items = payload["results"]
    results = []
    for item in items:
        index = item["index"]
        if not 0 <= index < count:
            raise _unknown_index(chunk, index)
        position = sent[index]
        results.append(RerankResult(position, item["relevance_score"], documents[position]))
    if len({item["index"] for item in items}) < len(items):
        raise _invalid(chunk, "it ranks a document twice")
    if chunk.options.score_transform is None and not payload.get("has_details"):
        return results
    has_spans = any(_SPANS in item for item in items)
    return [
        RerankResult(
            one.index,
            _transformed(chunk.options, one.relevance_score),
            one.document,
            _details(chunk, item, one.index, secrets, has_spans=has_spans),
        )
        for one, item in zip(results, items, strict=True)
    ]


def _details(
    chunk: Chunk,
    item: Mapping[str, Any],
    position: int,
    secrets: Secret[list[str]],
    *,
    has_spans: bool,
) -> ResultDetails | None:
    """Read what a result has besides its score; spans: https://docs.cohere.com/reference/rerank."""
    found = item.get(_SPANS)
    spans = [
        RelevantSpan(one["start"], one["end"], finite(one.get("score")))
        for one in (found if isinstance(found, list) else ())
        if isinstance(one, Mapping) and type(one.get("start")) is type(one.get("end")) is int
    ]
    extra = {
        _hidden(name, secrets): without_secrets(value, secrets)
        for name, value in item.items()
        if name not in _OF_A_RESULT and value is not None
    }
    if not has_spans:
        return ResultDetails(extra=extra) if extra else None
    return ResultDetails(tuple(spans), chunk.sent_text(position), extra)


def _transformed(options: Options, score: float) -> float:
    """Apply `score_transform` to a score.

    Raises:
        ConfigurationError: the caller's function failed, or did not return a finite number.
    """
    transform = options.score_transform
    if transform is None:
        return score
    if not callable(transform):  # "sigmoid"
        return sigmoid(score)
    try:
        made = float(transform(score))
    except Exception as cause:
        raise ConfigurationError(
            f"score_transform raised an error for the score {score!r}: {type(cause).__name__}: "
            f"{cause}"
        ) from cause
    if not math.isfinite(made):
        raise ConfigurationError(
            f"score_transform returned {made!r} for the score {score!r}; it must return a finite "
            "number"
        )
    return made


def _score_kind(options: Options) -> ScoreKind:
    """Return the kind of the scores after `score_transform`."""
    kind = options.provider.kind_of_scores(options.model)
    if options.score_transform is None:
        return kind
    return "probability" if (options.score_transform, kind) == ("sigmoid", "logit") else "unknown"


def _transform_warnings(options: Options) -> list[str]:
    kind = options.provider.kind_of_scores(options.model)
    if options.score_transform != "sigmoid" or kind in ("logit", "unknown"):
        return []
    returns = f"{options.provider.name} returns scores of kind {kind!r} for {options.model}"
    return [f"score_transform='sigmoid' is for logits, but {returns}"]


def _ordered(results: list[RerankResult]) -> list[RerankResult]:
    """Return the results in the server's order if scores descend, else sorted by score."""
    scores = [result.relevance_score for result in results]
    if scores == sorted(scores, reverse=True):
        return results
    return sorted(results, key=lambda result: -result.relevance_score)


def _usage(payload: Mapping[str, Any], secrets: Secret[list[str]]) -> Usage:
    """Read the usage from the key `usage`, or from the other places where some servers put it."""
    raw: Any = payload.get("usage")
    said = raw
    if not raw:
        meta = _mapping(payload.get("meta"))  # Cohere's own dialect
        places = [
            *(_mapping(meta.get(name)) for name in ("tokens", "billed_units")),
            *(_mapping(payload.get(name)) for name in ("tokens", "inference_status")),
            {name: payload[name] for name in _TOP_LEVEL_USAGE if name in payload},
        ]
        raw = {name: value for place in places for name, value in place.items()}
        # the count of tokens takes precedence over the count of billed tokens
        said = {
            name: value
            for place in reversed(places)
            for name, value in place.items()
            if value is not None
        }
    if not isinstance(raw, dict):
        return Usage()
    named = {_OUR_NAMES[name]: said[name] for name in _OUR_NAMES if name in said}
    counts = {
        name: value
        for name in USAGE_COUNTS
        for value in (named.get(name), said.get(name))  # our own name takes precedence
        if (number := finite(value)) is not None and number >= 0
    }
    return Usage(**counts, raw=without_secrets(raw, secrets))


def _meta_warnings(payload: Mapping[str, Any], secrets: Secret[list[str]]) -> list[str]:
    """Return the warnings in a response of Cohere's own format."""
    found = _mapping(payload.get("meta")).get("warnings")
    if not isinstance(found, list):
        return []
    return [redact(one, secrets) for one in found[:_MOST_WARNINGS] if isinstance(one, str)]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


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
    provider: Provider,
    response: HTTPResponse,
    secrets: Secret[list[str]],
    documents: int = 1,
    *,
    has_images: bool = False,
    address: str | None = None,
    missing: str = "",
) -> StatusError:
    """Return the exception for a response with an error status.

    Args:
        provider: adds what is specific to it.
        response: the status, headers and body.
        secrets: texts that must not appear in the message.
        documents: the number of documents in the request.
        has_images: whether one of them is an image.
        address: the URL of the request; None for the provider's own.
        missing: what to add to the message of a 404 or 405.
    """
    address = address or provider.url
    payload = json_object(response.content)
    error = payload.get("error")
    holder = error if isinstance(error, Mapping) else payload
    failure = provider.parse_error(
        ErrorDetails(
            status_code=response.status_code,
            headers=response.headers,
            error=error if isinstance(error, Mapping) else {},
            message=error_message(payload) or plain_text(response),
            code=code_of(payload),
            retry_after=_retry_after(response.headers, time.time()),
            is_retryable=_retryable(response.status_code),
        )
    )
    kind = error_class(failure.status_code)
    if failure.code in provider.image_codes:
        kind = ImageError
    message = redact(failure.message, secrets)
    request_id, code, error_type, param = (
        redact(fact, secrets) if isinstance(fact, str) and fact else None
        for fact in (
            request_id_of(provider, response.headers, payload),
            failure.code,
            holder.get("type") or holder.get("error_type"),
            holder.get("param"),
        )
    )
    text = f"{provider.name} answered {failure.status_code}: {message}"
    if 300 <= failure.status_code < 400:
        text += _redirect_hint(address, response.headers)
    if code and code != str(failure.status_code) and not holds_word(message, code):
        text += f" ({code})"
    if failure.status_code in (404, 405) and kind is not ImageError:  # often a wrong base_url
        text = f"{text.rstrip('.')}; the request went to {shown_address(address)}{missing}"
    setting = what_is_too_large(failure) if kind is not ImageError else None
    if setting is not None:
        failure = failure._replace(is_retryable=False)
        if documents == 1 and setting != "query":
            setting = "max_image_pixels" if has_images else "max_document_chars"
        text += f"; {FIXES[setting].format(documents)}"
    if failure.key_hint or issubclass(kind, AuthenticationError):
        text += f"; check {failure.key_hint or provider.key_hint}"
    if failure.retry_after:
        text += f"; Retry-After: {failure.retry_after:.4g} s"
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
        type=error_type,
        param=param,
        body=_body(response, secrets),
        headers=_safe_headers(response.headers, secrets),
    )


def _redirect_hint(url: str, headers: Mapping[str, str]) -> str:
    """Return a hint with the target of a redirect, without its query, which may hold a secret."""
    hint = "; redirects to another origin are not followed: set base_url to the final address"
    try:
        target = urlsplit(urljoin(url, headers["location"]))
        host = target.hostname if target.port is None else f"{target.hostname}:{target.port}"
    except (KeyError, ValueError):  # no location, or an invalid one
        return hint
    return f"{hint}, {target.scheme}://{host}{target.path}"


def request_id_of(
    provider: Provider, headers: Mapping[str, str], payload: Mapping[str, Any]
) -> str | None:
    """Return the request ID, for provider support: from a header, else from the body."""
    for name in provider.request_id_headers:
        if headers.get(name):
            return headers[name]
    for name in ("request_id", "id"):  # the first: DashScope, DeepInfra
        found = payload.get(name)
        if found and isinstance(found, str):
            return found
    return None


def redact(text: str, secrets: Secret[list[str]]) -> str:
    """Truncate a text, and remove image data and all `secrets` from it."""
    return _cut(_hidden(without_image_data(text), secrets), _LONGEST)


def _hidden(text: str, secrets: Secret[list[str]]) -> str:
    """Replace all `secrets` in a text; call it before truncation, or part of a key may remain."""
    for secret in secrets.get_secret_value():
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return text


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def redact_error(error: RerankError, secrets: Secret[list[str]]) -> None:
    """Remove secrets from an error and its causes, each of which may quote a response."""
    for link in error_chain(error, sys.exception()):
        said = str(link)
        cleaned = _hidden(said, secrets)
        if link is error:
            cleaned = _cut(cleaned, 2 * _LONGEST)
        if cleaned == said:
            continue
        link.args = (cleaned,)
        if isinstance(link, OSError) and str(link) != cleaned:  # its str() shows these attributes
            link.strerror, link.filename, link.filename2 = cleaned, None, None


def _safe_headers(headers: Mapping[str, str], secrets: Secret[list[str]]) -> dict[str, str]:
    """Return the headers of a response without cookies and without any of `secrets`."""
    kept = {name: value for name, value in headers.items() if name not in _COOKIES}
    written = "\n".join([*kept, *kept.values()])
    if _hidden(written, secrets) == written:
        return kept
    return {_hidden(name, secrets): _hidden(value, secrets) for name, value in kept.items()}


def without_secrets(value: Any, secrets: Secret[list[str]], depth: int = 0) -> Any:
    """Remove all `secrets` from a JSON value."""
    match value:
        case str():
            return _hidden(value, secrets)
        case dict() | list() if depth == _DEEPEST:
            return "…"
        case dict():
            return {
                _hidden(key, secrets): without_secrets(item, secrets, depth + 1)
                for key, item in value.items()
            }
        case list():
            return [without_secrets(item, secrets, depth + 1) for item in value]
        case _:
            return value


def _body(response: HTTPResponse, secrets: Secret[list[str]]) -> Any:
    """Return the body for an error: parsed or text, redacted and of limited size."""
    if not response.content:
        return None
    try:
        value = read_json(response.content)
    except ValueError:
        value = text_of(response.content)
    return _bounded(value, secrets, [_BODY_SIZE])


def _bounded(value: Any, secrets: Secret[list[str]], left: list[int], depth: int = 0) -> Any:
    """Truncate long texts in a value, and drop what exceeds the number of characters left."""
    if isinstance(value, dict | list) and depth == _DEEPEST:
        return "…"
    if isinstance(value, dict):
        kept = {}
        for name, item in value.items():
            key = _bounded(name, secrets, left, depth + 1)
            if left[0] <= 0:
                break
            kept[key] = _bounded(item, secrets, left, depth + 1)
        return kept
    if isinstance(value, list):
        items = []
        for item in value:
            items.append(_bounded(item, secrets, left, depth + 1))
            if left[0] <= 0:
                break
        return items
    if isinstance(value, str):
        text = _hidden(without_image_data(value), secrets)
        value = _cut(text, max(1, min(_BODY_TEXT, left[0])))
    elif isinstance(value, int) and abs(value) >= 10**_BODY_DIGITS:
        value = "…"
    left[0] -= len(value) + 1 if isinstance(value, str) else 8
    return value


def _retryable(status_code: int) -> bool:
    return status_code in _RETRYABLE or 520 <= status_code <= 523  # 520 to 523 are Cloudflare's


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds to wait, from `retry-after-ms` or `Retry-After` (seconds or a date)."""
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
