"""The calls of Together: what its reference page offers, and every error that it documents.

https://docs.together.ai/reference/rerank-1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cassettes.case import Case, Failed, Prism, Ranked, Script
from rerank_integrations import (
    AuthenticationError,
    BadRequestError,
    DocumentInput,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    ProviderTimeoutError,
    RateLimitError,
    ServerError,
    ServiceUnavailableError,
    StatusError,
)

LLAMA_RANK = "Salesforce/Llama-Rank-V1"
OTHER = "mixedbread-ai/mxbai-rerank-large-v2"
QUERY = "What animals can I find near Peru?"
TEXTS = (
    "The llama is a domesticated South American camelid.",
    "The giant panda is a bear species endemic to China.",
    "The guanaco is a camelid native to South America, closely related to the vicuña.",
    "The wild Bactrian camel is an endangered species of camel.",
)
PAGES = tuple(
    {"title": title, "text": text}
    for title, text in zip(("Llama", "Panda", "Guanaco", "Wild Bactrian camel"), TEXTS, strict=True)
)
EXAMPLE = Ranked(
    order=(0, 2),
    scores=(0.29980177813003117, 0.2752447527354349),
    model="salesforce/turboranker-0.8-3778-6328",
    provider="together",
    usage={"total_tokens": 1837, "prompt_tokens": 1837, "completion_tokens": 0},
    id="9dfa1a09-5ebc-4a40-970f-586cb8f4ae47",
    request_id="9dfa1a09-5ebc-4a40-970f-586cb8f4ae47",
)
PLACEHOLDER = "The file has no example of this body, so every text in it is Prism's `string`."
CODES = "https://docs.together.ai/docs/error-codes"
LIMITS = "https://docs.together.ai/docs/rate-limits"
FORM = "the form of the body is that of Together's OpenAPI file, its words are made up."
DEDICATED = "Unable to access non-serverless model mixedbread-ai/mxbai-rerank-large-v2"
CURE = (
    "Together serves this model on a dedicated endpoint only: start one and pass its name as the "
    "model (https://docs.together.ai/docs/inference/embeddings/rerank)"
)


def feature(
    name: str,
    shows: str,
    *,
    model: str = LLAMA_RANK,
    documents: Sequence[DocumentInput] = TEXTS,
    **more: Any,
) -> Case:
    """A call that the example of the vendor's file answers."""
    return Case(**_common(name, shows, model, documents), wants=EXAMPLE, is_live=True, **more)


def refused(name: str, kind: type[StatusError], *, is_retryable: bool = False, **more: Any) -> Case:
    """A call that fails with a body of placeholders."""
    status = int(name.partition("-")[0])
    wants = Failed(
        kind=kind, message="string", status=status, code="string", is_retryable=is_retryable
    )
    answers = Prism(status=status, note=PLACEHOLDER)
    shows = f"{status}, as the file has it."
    return Case(**_common(name, shows, OTHER, TEXTS), wants=wants, answers=answers, **more)


def scripted(
    name: str,
    shows: str,
    kind: type[StatusError],
    body: dict[str, Any],
    *,
    source: str,
    headers: dict[str, str] | None = None,
    is_live: bool = False,
    **wants: Any,
) -> Case:
    """A call that fails with a body that is written here."""
    status, error = int(name.partition("-")[0]), body["error"]
    expected = {"message": error["message"], "code": error["code"] or error["type"], **wants}
    return Case(
        **_common(name, shows, OTHER, TEXTS),
        wants=Failed(kind=kind, status=status, **expected),
        answers=Script(status=status, body=body, source=source, headers=headers or {}),
        is_live=is_live,
    )


def error(message: str, kind: str, code: str | None = None) -> dict[str, Any]:
    """A body in the form of the vendor's file."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _common(
    name: str, shows: str, model: str, documents: Sequence[DocumentInput]
) -> dict[str, Any]:
    return {
        "gateway": "together",
        "name": name,
        "shows": shows,
        "model": model,
        "query": QUERY,
        "documents": documents,
    }


FEATURES = (
    feature("strings", "Strings are ranked."),
    feature("top-n", "The best two are asked for.", options={"top_n": 2}),
    feature(
        "objects-with-rank-fields",
        "Objects go out as they are, and two fields are named: the example of the page.",
        documents=PAGES,
        options={"rank_fields": ["title", "text"], "top_n": 2},
        arguments={"return_documents": True},
    ),
    feature(
        "objects-with-all-fields",
        "Without rank_fields all fields are named.",
        documents=PAGES,
    ),
    feature(
        "objects-for-another-model",
        "For a model that takes strings alone, fields are written as text.",
        model=OTHER,
        documents=PAGES,
        options={"rank_fields": ["title", "text"]},
    ),
    feature(
        "objects-mixed-with-strings",
        "The endpoint takes no mixed list, so a string goes out as an object too.",
        documents=(TEXTS[0], *PAGES[1:]),
    ),
    feature("return-documents", "An echo is asked for.", arguments={"return_documents": True}),
    feature("no-documents", "No echo is asked for.", arguments={"return_documents": False}),
)

REFUSED = (
    refused(
        "400-bad-request",
        BadRequestError,
        options={"extra_body": {"return_documents": "yes"}},
        is_live=True,
    ),
    refused("401-unauthorized", AuthenticationError, takes_wrong_key=True, is_live=True),
    refused("404-not-found", NotFoundError),
    refused("429-rate-limit", RateLimitError, is_retryable=True),
    refused("503-overloaded", ServiceUnavailableError, is_retryable=True),
    refused("504-timeout", ProviderTimeoutError, is_retryable=True),
)

SCRIPTED = (
    scripted(
        "400-model-not-available",
        "A model that needs a dedicated endpoint: the usual first error.",
        BadRequestError,
        {"id": "okk-1", **error(DEDICATED, "invalid_request_error", "model_not_available")},
        source="the body has the form, the code and the first words of one that a user has "
        "published (https://github.com/HeyPuter/puter/issues/3168); the model and the id are ours.",
        message=f"{DEDICATED}. {CURE}",
        request_id="okk-1",
        is_live=True,
    ),
    scripted(
        "402-payment-required",
        "The monthly limit is reached.",
        PaymentRequiredError,
        error("Monthly spending limit reached", "payment_required"),
        source=f"the status is in {CODES}, which prints no body; {FORM}",
    ),
    scripted(
        "403-too-long",
        "Together answers 403 for an input beyond the model's context.",
        PermissionDeniedError,
        error("Input is longer than the context", "invalid_request_error"),
        source=f"the status is in {CODES}, which prints no body; {FORM}",
    ),
    scripted(
        "429-dynamic-limit",
        "A rate limit with the headers that say when to come back.",
        RateLimitError,
        {
            **error("You have reached the rate limit", "dynamic_request_limited"),
            "error_type": "dynamic_request_limited",
        },
        source=f"the headers and the type are those of {LIMITS}; {FORM}",
        headers={
            "x-ratelimit-limit": "60",
            "x-ratelimit-remaining": "0",
            "x-ratelimit-reset": "7",
            "x-tokenlimit-limit": "100000",
            "x-tokenlimit-remaining": "99000",
        },
        is_retryable=True,
        retry_after=7.0,
    ),
    scripted(
        "500-server-error",
        "A failure at Together.",
        ServerError,
        error("Internal server error", "server_error"),
        source=f"the status is in {CODES}, which prints no body; {FORM}",
        is_retryable=True,
    ),
)

CASES = (*FEATURES, *REFUSED, *SCRIPTED)
