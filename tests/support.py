"""What tests of requests and responses share: providers, options, calls, and what they give."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from traceback import walk_tb
from typing import Any

from rerank_integrations import RerankError, RerankResponse
from rerank_integrations._adapter import Adapter
from rerank_integrations._options import Options
from rerank_integrations._request import Chunk, RequestPlan, plan_request
from rerank_integrations._response import merge_responses, parse_response, status_error
from rerank_integrations._secrets import Secret
from rerank_integrations._sender import proxy_for
from rerank_integrations.errors import StatusError
from rerank_integrations.providers.base import HTTPRequest, HTTPResponse, Provider
from rerank_integrations.providers.openrouter import OpenRouter
from rerank_integrations.providers.portkey import Portkey
from rerank_integrations.providers.together import Together

KEY = "sk-test-0123456789"
PNG = b"\x89PNG\r\n\x1a\n rest"
PIXELS = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
DATA_URI = f"data:image/png;base64,{PIXELS}"
OVERLOADED = {"error": {"message": "busy", "type": "overloaded", "param": None, "code": None}}


def openrouter(**arguments: Any) -> OpenRouter:
    """An OpenRouter with a key."""
    return OpenRouter(**{"api_key": KEY, **arguments})


def together(**arguments: Any) -> Together:
    """A Together with a key."""
    return Together(**{"api_key": KEY, **arguments})


def portkey(**arguments: Any) -> Portkey:
    """A Portkey with a key and a host."""
    return Portkey(**{"api_key": KEY, "provider": "@cohere-prod", **arguments})


def options(provider: Provider | None = None, **given: Any) -> Options:
    """Options for a provider; OpenRouter and some model where it does not matter."""
    if "extra_headers" in given:
        given["extra_headers"] = Secret(given["extra_headers"])
    return Options(provider=provider or openrouter(), **{"model": "some/model", **given})


def settings() -> list[dataclasses.Field[Any]]:
    """The settings of a client, with their defaults."""
    names = ("provider", "model")
    return [option for option in dataclasses.fields(Options) if option.name not in names]


def adapter_classes() -> list[type[Any]]:
    """The adapters that were imported; one that begins with "_" is a part of another."""
    return [kind for kind in Adapter.__subclasses__() if not kind.__name__.startswith("_")]


def planned(given: Options, query: object, documents: object) -> RequestPlan:
    """A prepared call."""
    return plan_request(given, query, documents)


def call(*documents: object, provider: Provider | None = None, **given: Any) -> RequestPlan:
    """A prepared call that ranks the documents."""
    return planned(options(provider, **given), "a query", documents)


def part(*documents: object, provider: Provider | None = None, **given: Any) -> Chunk:
    """The only part of a prepared call."""
    [only] = call(*documents, provider=provider, **given).chunks
    return only


def request_of(prepared: RequestPlan) -> HTTPRequest:
    """The request of a call that has one, and no other."""
    [part] = prepared.chunks
    return part.request()


def content_of(request: HTTPRequest) -> bytes:
    """The bytes of a request's body."""
    return b"".join(request.content)


def body_of(prepared: RequestPlan) -> dict[str, Any]:
    """The decoded body of a call's request."""
    body: dict[str, Any] = json.loads(content_of(request_of(prepared)))
    return body


def bodies_of(prepared: RequestPlan) -> list[dict[str, Any]]:
    """The decoded bodies of all requests of a call."""
    return [json.loads(content_of(part.request())) for part in prepared.chunks]


def http_response(
    body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    """A response with a body that is bytes, or else is written as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HTTPResponse(status, headers or {}, content)


def parsed(chunk: Chunk, response: HTTPResponse) -> RerankResponse:
    """What a response to a part of a call says."""
    return parse_response(chunk, response)


def merged(plan: RequestPlan, outcomes: Sequence[RerankResponse | RerankError]) -> RerankResponse:
    """The response of a call, of what its parts gave."""
    return merge_responses(plan, outcomes)


def failed(
    body: object,
    status: int = 400,
    headers: Mapping[str, str] | None = None,
    provider: Provider | None = None,
    secrets: tuple[str, ...] = (),
    **more: Any,
) -> StatusError:
    """The error for a response, of Together where it does not matter."""
    response = http_response(body, status, headers)
    return status_error(provider or together(), response, Secret([*secrets]), **more)


def ranking(*pairs: tuple[int, float]) -> dict[str, Any]:
    """The body of a response that ranks indexes with scores."""
    results = [{"index": index, "relevance_score": score} for index, score in pairs]
    return {"results": results}


def hidden(content: object) -> Any:
    """Keys or headers, in the box that hides them."""
    return Secret(content)


def is_hidden(content: object) -> bool:
    """Whether something is in that box."""
    return isinstance(content, Secret)


def chosen_proxy(url: str) -> str | None:
    """The proxy through which the default client sends to a URL."""
    found = proxy_for(url)
    return None if found is None else found.get_secret_value()


def local_variables(error: BaseException) -> str:
    """The local variables of the package's frames that raised the error, as a tracker sees them."""
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    own = [f for f in frames if f.f_globals["__name__"].startswith("rerank_integrations")]
    return "\n".join(repr(frame.f_locals) for frame in own)
