"""The calls of Portkey: what its reference page offers, and the errors of its gateway.

https://portkey.ai/docs/api-reference: its OpenAPI file declares no error at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cassettes.case import Case, Failed, Prism, Ranked, Script
from rerank_integrations import (
    AuthenticationError,
    BadRequestError,
    DocumentInput,
    NotFoundError,
    ProviderTimeoutError,
    RateLimitError,
    ResponseError,
    ServerError,
    StatusError,
)
from rerank_integrations.providers.base import ScoreKind

MODEL = "rerank-v3.5"
PINECONE = "bge-reranker-v2-m3"  # ranks one field
PINECONE_COHERE = "cohere-rerank-3.5"  # ranks any number of fields
ARN = "arn:aws:bedrock:us-west-2::foundation-model/cohere.rerank-v3-5:0"
QUERY = "What is the capital of France?"
TEXTS = (
    "Paris is the capital of France.",
    "Berlin is the capital of Germany.",
    "Madrid is the capital of Spain.",
)
PAGES = tuple(
    {"title": title, "text": text}
    for title, text in zip(("France", "Germany", "Spain"), TEXTS, strict=True)
)
EXAMPLE = Ranked(
    order=(0,),
    scores=(0.98,),
    model=MODEL,
    provider="cohere",
    usage={"search_units": 0},
    id="rerank-abc123",
    request_id="rerank-abc123",
)
VIRTUAL = {"virtual_key": "virtual-key-of-nobody"}
COHERE = {"provider": "cohere", "authorization": "upstream-key-of-nobody"}
SLUG = Prism(
    adds={"x-portkey-virtual-key": "for-prism-alone"},
    note="The file does not know slugs of the model catalog, so a virtual key was added on the "
    "way to Prism.",
)
CODES = "https://portkey.ai/docs/api-reference/inference-api/error-codes"
GATEWAY = (
    "Portkey's OpenAPI file declares no error; the body has the form that Portkey's gateway "
    "gives it (github.com/Portkey-AI/gateway, branch 2.0.0)"
)
FROM_GATEWAY = f"{GATEWAY}."
LISTED = f"the status is in {CODES}, which prints no body. {GATEWAY}"


def feature(
    name: str,
    shows: str,
    *,
    model: str = MODEL,
    documents: Sequence[DocumentInput] = TEXTS,
    kind: ScoreKind = "unknown",
    **more: Any,
) -> Case:
    """A call that the example of the vendor's file answers."""
    arguments = more.pop("arguments", VIRTUAL)
    answers = SLUG if "@" in f"{model} {arguments.get('provider')}" else Prism()
    return Case(
        **{
            **_common(name, shows, model, documents),
            "arguments": arguments,
            "answers": answers,
            "wants": replace(EXAMPLE, score_kind=kind),
            "is_live": answers is SLUG,
            **more,
        }
    )


def scripted(
    name: str,
    shows: str,
    kind: type[StatusError],
    body: dict[str, Any] | str,
    *,
    source: str = FROM_GATEWAY,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> Case:
    """A call that fails with a body that is written here."""
    status = int(name.partition("-")[0])
    script = Script(status=status, body=body, source=source, headers=headers or {})
    ours = {"arguments", "takes_wrong_key", "is_live", "model"} & more.keys()
    case = {"arguments": {"provider": "@cohere"}, **{one: more.pop(one) for one in ours}}
    return Case(
        **{**_common(name, shows, MODEL, TEXTS), **case},
        wants=Failed(kind=kind, status=status, **more),
        answers=script,
    )


def upstream(message: str) -> dict[str, Any]:
    """An error of the host, as the gateway passes it on."""
    error = {"message": f"cohere error: {message}", "type": None, "param": None, "code": None}
    return {"error": error, "provider": "cohere"}


def _common(
    name: str, shows: str, model: str, documents: Sequence[DocumentInput]
) -> dict[str, Any]:
    return {
        "gateway": "portkey",
        "name": name,
        "shows": shows,
        "model": model,
        "query": QUERY,
        "documents": documents,
    }


FEATURES = (
    feature("virtual-key", "Who serves is said by a virtual key."),
    feature("top-n", "The best two are asked for.", options={"top_n": 2}),
    feature(
        "upstream-key",
        "Who serves is said by its name and its own key.",
        kind="probability",
        arguments=COHERE,
    ),
    feature(
        "custom-host",
        "Who serves is a host of one's own.",
        kind="probability",
        arguments={**COHERE, "custom_host": "https://models.example.com/v1"},
    ),
    feature(
        "custom-host-by-virtual-key",
        "The dialect of a host of one's own is said by a virtual key.",
        arguments={**VIRTUAL, "custom_host": "https://models.example.com/v1"},
    ),
    feature("config-id", "A saved config says who serves.", arguments={"config": "pc-cohere-123"}),
    feature(
        "config-object",
        "A config goes along, with retries by the gateway.",
        arguments={
            "config": {
                "provider": "cohere",
                "api_key": "config-key-of-nobody",
                "retry": {"attempts": 2},
            }
        },
    ),
    feature(
        "catalog-provider",
        "Who serves is a slug of the model catalog.",
        kind="probability",
        arguments={"provider": "@cohere"},
    ),
    feature(
        "catalog-model",
        "The slug stands before the model.",
        kind="probability",
        model="@cohere/rerank-v3.5",
        arguments={},
    ),
    feature("bedrock-arn", "The model is an ARN, colons and all.", model=ARN),
    feature("objects", "Fields are written as text for a host that ranks none.", documents=PAGES),
    feature(
        "rank-fields-for-pinecone",
        "Pinecone ranks fields itself: objects go out, and the fields are named.",
        kind="probability",
        model=PINECONE_COHERE,
        documents=PAGES,
        options={"rank_fields": ["text", "title"]},
    ),
    feature(
        "one-rank-field-for-pinecone",
        "A model of Pinecone that ranks one field gets that field.",
        kind="probability",
        model=PINECONE,
        documents=PAGES,
        options={"rank_fields": ["text"]},
    ),
    feature(
        "too-many-rank-fields-for-pinecone",
        "A model of Pinecone that ranks one field gets several written as one text.",
        kind="probability",
        model=PINECONE,
        documents=PAGES,
        options={"rank_fields": ["text", "title"]},
    ),
    feature(
        "rank-fields-for-others",
        "Other hosts drop rank_fields, so the fields are written as text.",
        documents=PAGES,
        options={"rank_fields": ["text", "title"]},
    ),
    feature(
        "tracing",
        "How the call appears in Portkey's logs.",
        arguments={
            **VIRTUAL,
            "trace_id": "trace-1",
            "span_id": "span-1",
            "parent_span_id": "span-0",
            "span_name": "rerank",
            "metadata": {"_user": "user-1", "place": "Köln", "turn": 3, "is_test": True},
        },
    ),
    feature(
        "return-documents",
        "An echo is asked for.",
        arguments={**VIRTUAL, "return_documents": True},
    ),
    feature(
        "no-documents",
        "No echo is asked for.",
        arguments={**VIRTUAL, "return_documents": False},
    ),
    feature(
        "cohere-parameters",
        "Where Cohere cuts a document, and how urgent the call is.",
        arguments={**VIRTUAL, "max_tokens_per_doc": 512, "priority": 0.5},
    ),
    feature(
        "voyage-truncation",
        "Voyage cuts what is too long.",
        arguments={**VIRTUAL, "truncation": True},
    ),
    feature(
        "pinecone-parameters",
        "Pinecone's own parameters.",
        kind="probability",
        model=PINECONE,
        arguments={**VIRTUAL, "parameters": {"truncate": "END"}},
    ),
    feature(
        "246-guardrail-failed",
        "A guardrail failed and let the call through: an answer with a warning.",
        arguments={"provider": "@cohere"},
        answers=Script(
            status=246,
            body={
                "object": "list",
                "id": "rerank-abc123",
                "results": [{"index": 0, "relevance_score": 1}],
                "model": MODEL,
                "usage": {"search_units": 1},
                "provider": "cohere",
                "hook_results": {"before_request_hooks": [], "after_request_hooks": []},
            },
            headers={"x-portkey-trace-id": "trace-of-portkey"},
            source=f"the status is in {CODES}, which prints no body; this one is made of the "
            "examples in Portkey's OpenAPI file and of empty `hook_results`. No guardrail has run.",
        ),
        wants=Ranked(
            order=(0,),
            scores=(1.0,),
            model=MODEL,
            provider="cohere",
            usage={"search_units": 1},
            id="rerank-abc123",
            request_id="trace-of-portkey",
            warnings=("a Portkey guardrail failed on this call but let it through",),
            score_kind="probability",
        ),
        is_live=False,
    ),
)

SCRIPTED = (
    scripted(
        "400-invalid-config",
        "A config that the gateway does not know.",
        BadRequestError,
        {"status": "failure", "message": "Invalid config id passed"},
        arguments={"config": "pc-nobody-1"},
        message="Invalid config id passed",
    ),
    scripted(
        "401-unauthorized",
        "A key that Portkey does not know.",
        AuthenticationError,
        {
            "status": "failure",
            "message": "Invalid API Key",
            "error": {"message": "Invalid API Key. Error Code: 03", "code": "03"},
        },
        source=f"{GATEWAY}; the words are made up.",
        takes_wrong_key=True,
        is_live=True,
        message="Invalid API Key. Error Code: 03",
        code="03",
    ),
    scripted(
        "401-from-the-host",
        "A key that the host does not know.",
        AuthenticationError,
        upstream("invalid api token"),
        source=f"{GATEWAY}; the words of the host are made up.",
        arguments=COHERE,
        headers={"x-portkey-provider": "cohere"},
        message="cohere error: invalid api token",
    ),
    scripted(
        "404-not-found",
        "An address without the endpoint, such as an older gateway.",
        NotFoundError,
        {"message": "Not Found", "ok": False},
        message="Not Found",
    ),
    scripted(
        "408-request-timeout",
        "The time that a config gives has passed.",
        ProviderTimeoutError,
        {
            "error": {
                "message": "Request exceeded the timeout sent in the request: 300ms",
                "type": "timeout_error",
                "param": None,
                "code": None,
            }
        },
        source=f"{LISTED}.",
        message="Request exceeded the timeout sent in the request: 300ms",
        code="timeout_error",
        is_retryable=True,
    ),
    scripted(
        "412-budget-exhausted",
        "A budget of Portkey's is used up.",
        StatusError,
        {"status": "failure", "message": "Budget exhausted"},
        source=f"the status is in {CODES}, which prints no body; the form is that of the "
        "gateway's other failures, and the words are made up.",
        message="Budget exhausted",
    ),
    scripted(
        "429-from-the-host",
        "The host's rate limit, passed on with its time to wait.",
        RateLimitError,
        upstream("trial key is limited to 10 calls a minute"),
        source=f"{LISTED}; the words of the host are made up.",
        headers={
            "retry-after": "6",
            "x-portkey-provider": "cohere",
            "x-portkey-trace-id": "trace-of-portkey",
        },
        message="cohere error: trial key is limited to 10 calls a minute",
        is_retryable=True,
        retry_after=6.0,
        request_id="trace-of-portkey",
    ),
    scripted(
        "429-retried-by-the-gateway",
        "The gateway has used up its own retries, so the client adds none.",
        RateLimitError,
        upstream("slow down"),
        source=f"{GATEWAY}; the words of the host are made up.",
        headers={"x-portkey-retry-attempt-count": "-1"},
        message="cohere error: slow down",
    ),
    scripted(
        "446-guardrail-denied",
        "A guardrail refused the call.",
        StatusError,
        {
            "error": {
                "message": "The guardrail checks defined in the config failed.",
                "type": "hooks_failed",
                "param": None,
                "code": None,
            },
            "hook_results": {"before_request_hooks": [], "after_request_hooks": []},
        },
        source=f"{LISTED}. No guardrail has run.",
        message="The guardrail checks defined in the config failed.",
        code="hooks_failed",
    ),
    scripted(
        "500-not-supported",
        "A host that does not rerank: status 500, but permanent.",
        ServerError,
        {"status": "failure", "message": "rerank is not supported by together-ai"},
        headers={"x-portkey-gateway-exception": "true"},
        arguments={"provider": "together-ai", "authorization": "upstream-key-of-nobody"},
        message="rerank is not supported by together-ai",
    ),
    scripted(
        "500-host-unreachable",
        "The gateway could not reach the host.",
        ServerError,
        upstream("Unknown error"),
        message="cohere error: Unknown error",
        is_retryable=True,
    ),
    scripted(
        "500-as-text",
        "A gateway of one's own that could not reach the host answers in plain text.",
        ServerError,
        "Message: fetch failed Cause: connect ECONNREFUSED",
        source="Portkey's OpenAPI file declares no error; the text has the form that Portkey's "
        "published gateway 1.15.2 gives it.",
        headers={"content-type": "text/plain;charset=UTF-8"},
        message="Message: fetch failed Cause: connect ECONNREFUSED",
        is_retryable=True,
    ),
    Case(
        **_common("200-with-an-error-inside", "The host's answer had no results.", MODEL, TEXTS),
        arguments={"provider": "@cohere"},
        answers=Script(
            status=200,
            body={
                "error": {"message": "Invalid response received from cohere: {}"},
                "provider": "cohere",
            },
            source=FROM_GATEWAY,
        ),
        wants=Failed(
            kind=ResponseError,
            message="the response of portkey is invalid: status 200 with an error inside: "
            "Invalid response received from cohere: {}",
        ),
    ),
)

CASES = (*FEATURES, *SCRIPTED)
