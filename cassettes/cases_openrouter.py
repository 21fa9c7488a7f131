"""The calls of OpenRouter: what its API page offers, and every error that it documents.

https://openrouter.ai/docs/api/api-reference/rerank/create-rerank
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cassettes.case import Case, Failed, Prism, Ranked, Script
from rerank_integrations import (
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    DocumentInput,
    ImageError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PaymentRequiredError,
    PermissionDeniedError,
    ProviderTimeoutError,
    RateLimitError,
    RerankDocument,
    RerankError,
    ResponseError,
    ServerError,
    ServiceUnavailableError,
    StatusError,
)
from rerank_integrations.providers.base import ScoreKind

MODEL = "cohere/rerank-v3.5"
SEEING = "nvidia/llama-nemotron-rerank-vl-1b-v2"
QUERY = "What is the capital of France?"
TEXTS = (
    "Paris is the capital of France.",
    "Berlin is the capital of Germany.",
    "Madrid is the capital of Spain.",
)
PAGES = (
    {"title": "France", "text": "Paris is the capital.", "year": 2026},
    {"title": "Germany", "text": "Berlin is the capital.", "year": 2025},
    {"title": "Spain", "text": "Madrid is the capital.", "year": 2024},
)
# one pixel
DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYPhf"
    "DwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
EXAMPLE = Ranked(
    order=(0,),
    scores=(0.98,),
    model=MODEL,
    provider="openrouter",
    usage={"search_units": 1, "total_tokens": 150},
    id="gen-rerank-1234567890-abc",
    request_id="gen-rerank-1234567890-abc",
)
PREFERENCES = {
    "allow_fallbacks": True,
    "require_parameters": False,
    "data_collection": "deny",
    "zdr": True,
    "enforce_distillable_text": False,
    "order": ["cohere"],
    "only": ["cohere", "nvidia"],
    "ignore": ["azure"],
    "quantizations": ["fp8", "unknown"],
    "sort": "price",
    "max_price": {"prompt": "0.5", "request": "1"},
    "preferred_max_latency": 2.5,
    "preferred_min_throughput": {"p50": 100, "p99": 10.5},
}
ERRORS = "https://openrouter.ai/docs/api/reference/errors-and-debugging"
SHAPE = f"the form of the body is that of {ERRORS}, its words and ids are made up."
SDK = f"the status is one of OpenRouter's Python SDK 1.3.84, not of its API page; {SHAPE}"


def feature(
    name: str,
    shows: str,
    *,
    documents: Sequence[DocumentInput] = TEXTS,
    kind: ScoreKind = "probability",
    **more: Any,
) -> Case:
    """A call that the example of the vendor's file answers."""
    wants = replace(EXAMPLE, score_kind=kind)
    return Case(**_common(name, shows, documents), wants=wants, is_live=True, **more)


def refused(
    name: str, kind: type[StatusError], message: str, *, is_retryable: bool = False, **more: Any
) -> Case:
    """A call that fails with an example of the vendor's file."""
    status = int(name.partition("-")[0])
    wants = Failed(
        kind=kind,
        message=message,
        status=status,
        code=str(status),
        is_retryable=is_retryable,
    )
    answers = Prism(status=status)
    shows = f"{status}, as the file has it."
    return Case(**_common(name, shows, TEXTS), wants=wants, answers=answers, **more)


def scripted(
    name: str,
    shows: str,
    kind: type[RerankError],
    error: dict[str, Any],
    *,
    headers: dict[str, str] | None = None,
    source: str = SHAPE,
    documents: Sequence[DocumentInput] = TEXTS,
    **wants: Any,
) -> Case:
    """A call that fails with an error object that is written here."""
    status = int(name.partition("-")[0])
    expected = {"status": status, "message": error["message"], "code": str(status), **wants}
    script = Script(status=status, body={"error": error}, source=source, headers=headers or {})
    return Case(
        **_common(name, shows, documents), wants=Failed(kind=kind, **expected), answers=script
    )


def _common(name: str, shows: str, documents: Sequence[DocumentInput]) -> dict[str, Any]:
    sees = any(isinstance(one, RerankDocument) and one.image for one in documents)
    return {
        "gateway": "openrouter",
        "name": name,
        "shows": shows,
        "model": SEEING if sees else MODEL,
        "query": QUERY,
        "documents": documents,
    }


FEATURES = (
    feature("strings", "Strings are ranked."),
    feature("top-n", "The best two are asked for.", options={"top_n": 2}),
    feature(
        "top-n-above-the-number",
        "More are asked for than there are: the number is sent.",
        options={"top_n": 99},
    ),
    feature(
        "objects-with-text-and-image",
        "Objects with an image, with text and an image, and with text alone.",
        kind="logit",
        documents=(
            RerankDocument(image=f"data:image/png;base64,{DOT}"),
            RerankDocument(text="A map of France.", image=b64decode(DOT)),
            RerankDocument(text="A map without a picture."),
        ),
    ),
    feature(
        "image-by-url",
        "The URL of an image goes on as it is.",
        kind="logit",
        documents=(
            RerankDocument(
                text="A flower.",
                image="https://upload.wikimedia.org/wikipedia/commons/thumb/8/8b/Phytogenic.png",
            ),
            *TEXTS[1:],
        ),
    ),
    feature(
        "mixed-kinds",
        "A string, a mapping and a document in one list.",
        documents=(TEXTS[0], PAGES[1], RerankDocument(text=TEXTS[2])),
    ),
    feature("mappings", "All fields of mappings are written as text.", documents=PAGES),
    feature(
        "rank-fields",
        "Two fields of mappings are written as text, in the order asked for.",
        documents=PAGES,
        options={"rank_fields": ["text", "title"]},
    ),
    feature(
        "fields-with-image",
        "An image with a text made of fields.",
        kind="logit",
        documents=(
            RerankDocument(text="A map.", image=b64decode(DOT), fields={"title": "France"}),
            *TEXTS[1:],
        ),
    ),
    feature(
        "other-languages",
        "Text of any language, with quotes and line breaks, goes out as it is.",
        documents=("日本語の文書", 'quotes " and \\ back', "emoji 🦙 and\nlines"),
    ),
    Case(
        **_common("blank-documents", "A blank document is not sent.", ("", *TEXTS)),
        wants=replace(EXAMPLE, order=(1,), skipped=(0,), score_kind="probability"),
        is_live=True,
    ),
    feature(
        "provider-preferences",
        "Every preference that the file has.",
        arguments={"provider_preferences": PREFERENCES},
    ),
    feature(
        "provider-preferences-sort",
        "Hosts sorted by latency, those of all models together.",
        arguments={"provider_preferences": {"sort": {"by": "latency", "partition": "none"}}},
    ),
    feature(
        "session-user-trace",
        "What groups calls on OpenRouter's pages; younger than the file, which lets it pass.",
        arguments={
            "session_id": "session-1",
            "user": "user-1",
            "trace": {"trace_id": "trace-1", "span_name": "rerank", "place": "a notebook"},
        },
    ),
    feature(
        "attribution-headers",
        "Which app asks.",
        arguments={
            "http_referer": "https://app.example",
            "title": "My app",
            "categories": ["cli-agent", "cloud-agent"],
        },
    ),
)

REFUSED = (
    refused(
        "400-bad-request",
        BadRequestError,
        "Invalid request parameters",
        options={"extra_body": {"provider": {"sort": "nothing"}}},
        is_live=True,
    ),
    refused(
        "401-unauthorized",
        AuthenticationError,
        "Missing Authentication header",
        takes_wrong_key=True,
        is_live=True,
    ),
    refused(
        "402-payment-required",
        PaymentRequiredError,
        "Insufficient credits. Add more using https://openrouter.ai/credits",
    ),
    refused("404-not-found", NotFoundError, "Resource not found"),
    refused("429-too-many-requests", RateLimitError, "Rate limit exceeded", is_retryable=True),
    refused("500-internal-server", ServerError, "Internal Server Error", is_retryable=True),
    refused("502-bad-gateway", BadGatewayError, "Provider returned error", is_retryable=True),
    refused(
        "503-service-unavailable",
        ServiceUnavailableError,
        "Service temporarily unavailable",
        is_retryable=True,
    ),
    refused(
        "524-edge-network-timeout",
        ProviderTimeoutError,
        "Request timed out. Please try again later.",
        is_retryable=True,
    ),
    refused(
        "529-provider-overloaded", OverloadedError, "Provider returned error", is_retryable=True
    ),
)

SCRIPTED = (
    scripted(
        "400-image-download-failed",
        "An image that OpenRouter could not fetch.",
        ImageError,
        {
            "code": 400,
            "message": "The image could not be downloaded",
            "metadata": {"error_type": "image_download_failed"},
        },
        documents=(RerankDocument(image="https://example.com/no-such-image.png"), *TEXTS[1:]),
        code="image_download_failed",
    ),
    scripted(
        "402-in-flight-budget",
        "The one 402 that passes by itself: the budget of calls in flight.",
        PaymentRequiredError,
        {
            "code": 402,
            "message": "In-flight spending budget reached",
            "metadata": {"limit_source": "openrouter_in_flight_budget"},
        },
        headers={"retry-after": "2"},
        is_retryable=True,
        retry_after=2.0,
    ),
    scripted(
        "403-moderation",
        "An input that moderation has flagged.",
        PermissionDeniedError,
        {
            "code": 403,
            "message": "The input was flagged",
            "metadata": {
                "reasons": ["violence"],
                "flagged_input": "What is the capital",
                "provider_name": "Cohere",
                "model_slug": MODEL,
            },
        },
    ),
    scripted(
        "404-no-endpoints",
        "A model without a host that may serve it: its availability says so.",
        NotFoundError,
        {
            "message": "No endpoints found",
            "availability": {
                "code": "no_endpoints",
                "retryable": False,
                "requested_models": [MODEL],
                "docs_url": ERRORS,
            },
        },
        code="no_endpoints",
    ),
    scripted(
        "408-request-timeout",
        "A request that took too long.",
        ProviderTimeoutError,
        {"code": 408, "message": "The request timed out"},
        is_retryable=True,
    ),
    scripted(
        "412-precondition-failed",
        "A precondition that does not hold.",
        StatusError,
        {
            "code": 412,
            "message": "Precondition failed",
            "metadata": {"error_type": "precondition_failed"},
        },
        code="precondition_failed",
    ),
    scripted(
        "413-payload-too-large",
        "A request that is too large.",
        PayloadTooLargeError,
        {
            "code": 413,
            "message": "Payload too large",
            "metadata": {"error_type": "payload_too_large"},
        },
        source=SDK,
        code="payload_too_large",
    ),
    scripted(
        "422-unprocessable",
        "A request that is well formed and makes no sense.",
        BadRequestError,
        {"code": 422, "message": "Unprocessable", "metadata": {"error_type": "unprocessable"}},
        code="unprocessable",
    ),
    scripted(
        "429-capacity-exhausted",
        "All hosts of a model are busy, and the answer says until when.",
        RateLimitError,
        {
            "message": "All providers are at capacity",
            "availability": {
                "code": "capacity_exhausted",
                "retryable": True,
                "retry_after": 12,
                "requested_models": [MODEL],
                "docs_url": ERRORS,
            },
        },
        code="capacity_exhausted",
        is_retryable=True,
        retry_after=12.0,
    ),
    scripted(
        "429-retry-after",
        "A rate limit with a time to wait in the header.",
        RateLimitError,
        {
            "code": 429,
            "message": "Rate limit exceeded: free-models-per-min",
            "metadata": {"error_type": "rate_limit_exceeded"},
        },
        headers={
            "retry-after": "30",
            "x-ratelimit-limit": "20",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": "1445412480000",
        },
        code="rate_limit_exceeded",
        is_retryable=True,
        retry_after=30.0,
    ),
    scripted(
        "504-timeout",
        "A host that took too long.",
        ProviderTimeoutError,
        {"code": 504, "message": "Timed out", "metadata": {"error_type": "timeout"}},
        code="timeout",
        is_retryable=True,
    ),
    scripted(
        "200-with-an-error-inside",
        "An error under status 200, as the page announces.",
        ResponseError,
        {"code": 502, "message": "Provider returned error"},
        status=None,
        message="the response of openrouter is invalid: status 200 with an error inside: "
        "Provider returned error",
        code=None,
    ),
)

CASES = (*FEATURES, *REFUSED, *SCRIPTED)
