"""The client against the vendors' own OpenAPI files, which Prism serves and checks."""

from __future__ import annotations

import functools
import inspect
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest

from calls import Calls
from cases import F, cases
from rerank_integrations import (
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    NotFoundError,
    OpenRouter,
    OverloadedError,
    PaymentRequiredError,
    Portkey,
    Provider,
    ProviderPreferences,
    ProviderTimeoutError,
    RateLimitError,
    RerankClient,
    RerankDocument,
    ServerError,
    ServiceUnavailableError,
    StatusError,
    Together,
)

SHARED = Path(os.environ.get("RERANK_SHARED") or Path(__file__).parents[2] / "shared")
PATIENCE = 180  # seconds; the first start installs Prism
Make: TypeAlias = Callable[..., Provider]


def spec_of(gateway: str) -> Path:
    """The vendor's OpenAPI file."""
    return SHARED / "specs" / f"{gateway}-rerank.yaml"


def missing() -> str:
    """Why the vendors' files cannot be served here; empty if they can."""
    for path in (SHARED / "tools" / "prism", *map(spec_of, ("openrouter", "together", "portkey"))):
        if not path.exists():
            return f"{path.name} is not there; set RERANK_SHARED to the folder that has it"
    absent = [tool for tool in ("bash", "node", "npm") if shutil.which(tool) is None]
    return f"{', '.join(absent)} not installed" if absent else ""


pytestmark = [
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.parametrize("call", ["sync", "asyncio"], indirect=True),
]


@contextmanager
def served(gateway: str) -> Iterator[str]:
    """The address where Prism serves a vendor's file, until the end."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(
        [SHARED / "tools" / "prism", spec_of(gateway), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "Prism is listening" in line:
                ready.set()
        ready.set()  # it has ended

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        ready.wait(PATIENCE)
        if not any("Prism is listening" in line for line in said):
            pytest.fail("Prism did not start: " + "".join(said[-10:]))
        yield f"http://127.0.0.1:{port}/rerank"
    finally:
        process.terminate()
        process.wait(20)
        listener.join(20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture(scope="session")
def prism() -> Iterator[Callable[[str], str]]:
    """Gives the address where a gateway's file is served; starts Prism when first asked."""
    with ExitStack() as stack:
        yield cache(lambda gateway: stack.enter_context(served(gateway)))


def openrouter(url: str, **more: Any) -> Provider:
    """OpenRouter as its file describes it."""
    return OpenRouter(api_key="the-key", base_url=url, **more)


def together(url: str, **more: Any) -> Provider:
    """Together as its file describes it."""
    return Together(api_key="the-key", base_url=url, **more)


def portkey(url: str, **more: Any) -> Provider:
    """Portkey as its file describes it; by default with a virtual key."""
    way = more if {"provider", "config", "virtual_key"} & more.keys() else {"virtual_key": "v"}
    return Portkey(api_key="the-key", base_url=url, **(way | more))


MAKES: dict[str, Make] = {"openrouter": openrouter, "together": together, "portkey": portkey}


def for_gateways(**every: Any) -> Callable[[F], F]:
    """A rule for each case of each gateway, whose Prism one worker starts."""

    def decorate(rule: F) -> F:
        tests: dict[str, Any] = {
            gateway: cases(("gateway", "case"), [(gateway, case) for case in found])(rule)
            for gateway, found in every.items()
        }

        @functools.wraps(rule)
        def test(of: str, **given: Any) -> None:
            tests[of](**given)

        own = [*inspect.signature(tests[next(iter(every))]).parameters.values()]
        of = inspect.Parameter("of", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        marked: Any = test
        del marked.__wrapped__
        marked.__signature__ = inspect.Signature([of, *own])
        gateways = [
            pytest.param(name, marks=pytest.mark.xdist_group(name), id=name) for name in every
        ]
        return cast("F", pytest.mark.parametrize("of", gateways)(marked))

    return decorate


# Together's example ranks documents 0 and 2
TEXTS = ["The llama is a camelid.", "The panda is a bear.", "The guanaco is a camelid."]
OBJECTS = [{"title": title, "text": f"about {title}"} for title in ("llama", "panda", "guanaco")]
DOCUMENTS: dict[str, list[Any]] = {
    "texts": TEXTS,
    "one field": [{"text": text} for text in TEXTS],
    "objects": OBJECTS,
    "documents": [RerankDocument(text=text, fields={"title": "t"}) for text in TEXTS],
    "fields alone": [RerankDocument(fields={"title": text, "year": 2026}) for text in TEXTS],
    "mixed": [TEXTS[0], OBJECTS[1], RerankDocument(text=TEXTS[2])],
    "with blanks": ["", TEXTS[0], {"text": " "}, OBJECTS[1], RerankDocument(text=TEXTS[2])],
    "other values": [{"tags": ["a", "b"], "meta": {"n": 1}, "ok": True, "x": 1.5}] * 3,
    "other languages": ["日本語の文書", 'quotes " and \\ back', "emoji 🦙 and\nlines"],
}
PNG = b"\x89PNG\r\n\x1a\n0"
IMAGES: dict[str, list[Any]] = {
    "URL": [RerankDocument(image="https://example.com/cat.png")],
    "bytes": [RerankDocument(image=PNG)],
    "data URI": [{"image": "data:image/png;base64,iVBORw0KGgow"}],
    "with text": [{"text": "cat", "image": "https://example.com/cat.png"}],
    "with fields": [RerankDocument(text="cat", image=PNG, fields={"title": "t"})],
    "mixed": ["cat", {"title": "t", "text": "x"}, RerankDocument(image=PNG)],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "top_n": {"top_n": 2},
    "top_n above the number": {"top_n": 99},
    "rank_fields": {"rank_fields": ["title", "text", "tags"]},
    "fields that are missing": {"rank_fields": ["nope", "text", "a.b", "title", "tags"]},
}
LLAMA_RANK = "Salesforce/Llama-Rank-V1"
ARN = "arn:aws:bedrock:us-west-2::foundation-model/cohere.rerank-v3-5:0"
MODELS = {
    "openrouter": ["cohere/rerank-v3.5"],
    "together": [LLAMA_RANK, "mixedbread-ai/mxbai-rerank-large-v2"],
    "portkey": ["rerank-v3.5", "bge-reranker-v2-m3", ARN],
}


def rank(call: Calls, client: RerankClient, documents: list[Any], **options: Any) -> None:
    """Rank, and check that the results are the caller's own objects."""
    with client:
        response = call(client, "What animals can I find near Peru?", documents, **options)
    assert all(result.document is documents[result.index] for result in response)
    assert [attempt.error for attempt in response.attempts] == [None]


@cases("options", OPTIONS.values(), ids=OPTIONS)
@cases("documents", DOCUMENTS.values(), ids=DOCUMENTS)
@for_gateways(**MODELS)
def test_every_document_is_accepted(
    call: Calls,
    prism: Callable[[str], str],
    *,
    gateway: str,
    case: str,
    documents: list[Any],
    options: dict[str, Any],
) -> None:
    """Documents of every kind, with and without options, go out as the vendor's file allows."""
    client = RerankClient(case, provider=MAKES[gateway](prism(gateway)), max_retries=0)
    rank(call, client, documents, **options)


@cases("documents", IMAGES.values(), ids=IMAGES)
@cases("options", OPTIONS.values(), ids=OPTIONS)
def test_every_image_is_accepted(
    call: Calls, prism: Callable[[str], str], documents: list[Any], options: dict[str, Any]
) -> None:
    """Images of every kind go out as OpenRouter's file allows."""
    provider = openrouter(prism("openrouter"))
    client = RerankClient("nvidia/llama-nemotron-rerank-vl-1b-v2", provider=provider)
    rank(call, client, documents, max_retries=0, **options)


PREFERENCES: dict[str, Any] = {
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
}  # `options` is younger than the file, which allows no further keys
TRACE = {
    "trace_id": "t-1",
    "trace_name": "search",
    "span_name": "rerank",
    "generation_name": "g",
    "parent_span_id": "s-1",
    "environment": "test",
}
SPANS = {"trace_id": "t-1", "span_id": "s-1", "parent_span_id": "s-0", "span_name": "rerank"}
COHERE = {"provider": "cohere", "authorization": "upstream-key"}
ARGUMENTS: dict[str, list[dict[str, Any]]] = {
    "openrouter": [
        {},
        {"http_referer": "https://example.com", "title": "My app"},
        {"categories": "cli-agent,cloud-agent"},
        {"categories": ["cli-agent"]},
        {"session_id": "s" * 256, "user": "user-1"},
        {"trace": TRACE},
        *({"provider_preferences": {name: value}} for name, value in PREFERENCES.items()),
        {"provider_preferences": PREFERENCES},
        {"provider_preferences": ProviderPreferences(**PREFERENCES)},
        {"provider_preferences": {"sort": {"by": "latency", "partition": "none"}}},
        {"provider_preferences": dict.fromkeys(PREFERENCES)},
    ],
    "together": [{}, {"return_documents": True}, {"return_documents": False}],
    "portkey": [
        {"virtual_key": "virtual"},
        COHERE,
        {"config": "pc-cohere-123"},
        {"config": {"provider": "cohere", "api_key": "k", "retry": {"attempts": 2}}},
        {**COHERE, "custom_host": "https://models.example.com/v1"},
        {"virtual_key": "virtual", "config": "pc-cohere-123"},
        SPANS,
        {"metadata": {"_user": "u-1", "place": "Köln"}},
        {"return_documents": True},
        {"return_documents": False},
        {"max_tokens_per_doc": 512, "priority": 1},
        {"priority": 0.5, "truncation": True},
        {"parameters": {"truncate": "END"}, "truncation": False},
    ],
}


@cases("documents", [TEXTS, OBJECTS], ids=["texts", "objects"])
@for_gateways(**ARGUMENTS)
def test_every_argument_is_accepted(
    call: Calls,
    prism: Callable[[str], str],
    *,
    gateway: str,
    case: dict[str, Any],
    documents: list[Any],
) -> None:
    """Every argument of a provider goes out as the vendor's file allows."""
    client = RerankClient("m", provider=MAKES[gateway](prism(gateway), **case), max_retries=0)
    rank(call, client, documents, top_n=2)


@cases("native", [None, True, False])
@cases("documents", DOCUMENTS.values(), ids=DOCUMENTS)
@for_gateways(together=["m", LLAMA_RANK], portkey=["m", "bge-reranker-v2-m3"])
def test_fields_are_accepted_natively_and_as_text(
    call: Calls,
    prism: Callable[[str], str],
    *,
    gateway: str,
    case: str,
    native: bool | None,
    documents: list[Any],
) -> None:
    """Fields go out as the vendor's file allows, whether the endpoint ranks them or not."""
    provider = MAKES[gateway](prism(gateway), native_rank_fields=native)
    rank(call, RerankClient(case, provider=provider, max_retries=0), documents)


@for_gateways(
    openrouter=[
        {"provider": {"sort": "nope"}},
        {"provider": {"nope": 1}},
        {"provider": {"zdr": "yes"}},
    ],
    together=[{"nope": 1}, {"return_documents": "yes"}],
    portkey=[{"max_tokens_per_doc": 0}, {"truncation": "yes"}],
)
def test_a_wrong_request_is_refused(
    call: Calls, prism: Callable[[str], str], gateway: str, case: dict[str, Any]
) -> None:
    """A request that the vendor's file forbids is a BadRequestError, so these tests can fail."""
    provider = MAKES[gateway](prism(gateway))
    client = RerankClient("m", provider=provider, max_retries=0, extra_body=case)
    with client, pytest.raises(BadRequestError) as caught:
        call(client, "q", TEXTS)
    assert caught.value.status_code == (422 if gateway == "portkey" else 400)


STATUSES: dict[int, type[StatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    404: NotFoundError,
    429: RateLimitError,
    500: ServerError,
    502: BadGatewayError,
    503: ServiceUnavailableError,
    504: ProviderTimeoutError,
    524: ProviderTimeoutError,
    529: OverloadedError,
}


@for_gateways(
    openrouter=[400, 401, 402, 404, 429, 500, 502, 503, 524, 529],
    together=[400, 401, 404, 429, 503, 504],
)
def test_every_documented_error_has_its_class(
    call: Calls, prism: Callable[[str], str], gateway: str, case: int
) -> None:
    """Every error that a vendor documents is raised as its class, with the vendor's words."""
    provider = MAKES[gateway](prism(gateway))
    client = RerankClient("m", provider=provider, max_retries=0)
    with client, pytest.raises(StatusError) as caught:
        call(client, "q", TEXTS, extra_headers={"Prefer": f"code={case}"})
    error = caught.value
    assert type(error) is STATUSES[case]
    assert error.status_code == case
    assert error.provider == gateway
    assert error.message
    assert error.message in str(error)
    assert error.is_retryable is (case == 429 or case >= 500)


@for_gateways(openrouter=["Authorization"], together=["Authorization"], portkey=["x"])
def test_the_key_is_what_the_file_asks_for(
    call: Calls, prism: Callable[[str], str], gateway: str, case: str
) -> None:
    """Without the header that holds the key, the vendor's file refuses the request with 401."""
    provider = MAKES[gateway](prism(gateway))
    if isinstance(provider, Portkey):
        provider = Portkey(base_url=prism(gateway), virtual_key="v")
    extra = {"Authorization": ""} if case == "Authorization" else {}
    client = RerankClient("m", provider=provider, max_retries=0, extra_headers=extra)
    with client, pytest.raises(AuthenticationError):
        call(client, "q", TEXTS)
