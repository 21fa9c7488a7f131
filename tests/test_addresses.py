"""Where requests go: a query in the base URL, and redirects."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import httpx2
import pytest

from calls import Calls, SyncCalls, client_of
from cases import cases
from loopback import Fault, Received, Reply, Server, ranking
from rerank_integrations import (
    ConfigurationError,
    NotFoundError,
    OpenRouter,
    RerankError,
    StatusError,
    Together,
    TransportError,
)
from rerank_integrations.langchain import RerankCompressor
from support import failed, openrouter

VERSION = "2024-05-01"
QUERY = f"?api-version={VERSION}&sig=a%2Bb"


@cases("path", ["/v1", "/v1/", "/v1/rerank", "/v1/rerank/"])
def test_a_query_follows_the_path(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The query of a base URL is kept, and comes after the path /rerank."""
    monkeypatch.setenv("TOGETHER_BASE_URL", f"https://host{QUERY}")
    assert Together(api_key="k").url == f"https://host/v1/rerank{QUERY}"
    provider = openrouter(base_url=f"https://host{path}{QUERY}")
    assert provider.url == f"https://host/v1/rerank{QUERY}"
    assert openrouter(base_url=f"https://host{QUERY}").url == f"https://host/api/v1/rerank{QUERY}"


@cases("library", [None, httpx, httpx2])
@cases("params", [None, {"more": "1"}])
def test_a_query_is_sent(server: Server, library: Any, params: Any) -> None:
    """The query goes with every request, beside the params of a user's HTTP client."""
    call = SyncCalls()
    url = f"{server.url}/v1{QUERY}"
    if library is None:
        with client_of(url) as client:
            call(client)
            call.close(client)
        assert server.received[0].path == f"/v1/rerank{QUERY}"
        return
    with call.http_client(library, params=params) as theirs:
        call(client_of(url, **{call.argument: theirs}))
    sent = server.received[0].path
    assert sent.startswith(f"/v1/rerank{QUERY}" if params is None else "/v1/rerank?")
    for pair in (f"api-version={VERSION}", "sig=a%2Bb", "more=1" if params else ""):
        assert pair in sent


def test_a_query_is_shown_nowhere(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The values of a query are in no repr, message or log: they may be keys."""
    caplog.set_level(logging.DEBUG, "rerank_integrations")
    url = f"{server.url}/v1?api-version=v9&sig=secret-1"
    shown = []
    with client_of(url, max_retries=1) as client:
        compressor = RerankCompressor(model="openrouter:m", api_key="k", base_url=url)
        shown += [repr(client), repr(client.provider), repr(compressor), str(compressor)]
        assert compressor.base_url == url
        server.plays(Reply({"message": f"no {url}"}, 404, {"X-Url": url}), Fault.DROP)
        for kind in (NotFoundError, TransportError):
            with pytest.raises(kind) as caught:
                client.rerank("q", ["a"])
            shown += [str(caught.value), repr(vars(caught.value)), repr(caught.value.__cause__)]
        assert "/v1/rerank?***" in shown[-2] + shown[-3]
    text = "\n".join([*shown, caplog.text])
    assert "secret-1" not in text
    assert "=v9" not in "\n".join([*shown[:4], caplog.text])


@cases(
    "address",
    [
        "https://host/v1?a=b#c",
        "https://host/v1?a=b c",
        "https://host/v1?a=\u00e9",
        "https://user:secret-1@host/v1?a=b",
        "https://host:99999/v1",
        "https://host:port/v1",
        "https://[::1/v1?a=b",
    ],
)
def test_an_address_that_cannot_be_used(address: str) -> None:
    """Any other address is a ConfigurationError that does not repeat it."""
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        OpenRouter(api_key="k", base_url=address)
    assert "secret-1" not in str(caught.value)
    assert "a=b" not in str(caught.value)


@cases("status", [307, 308])
@cases("library", [None, httpx, httpx2])
def test_a_redirect_within_the_origin_is_followed(
    call: Calls, server: Server, library: Any, status: int
) -> None:
    """A 307 or 308 to the same origin is followed with method, body and headers, in one attempt."""
    location = "/moved/rerank?a=1#part" if status == 307 else f"{server.url}/moved/rerank?a=1"

    def moves(received: Received) -> Reply:
        if received.path == "/moved/rerank?a=1":
            return ranking(0.5)
        return Reply({"moved": True}, status, {"Location": location})

    server.plays(moves)
    options: dict[str, Any] = {"extra_headers": {"x-mine": "1"}}
    if library is None:
        with client_of(server, **options) as client:
            response = call(client)
            call.close(client)
    else:
        with call.http_client(library) as theirs:
            response = call(client_of(server, **{call.argument: theirs}, **options))
    assert response[0].relevance_score == 0.5
    assert (len(response.attempts), response.retries) == (1, 0)
    first, second = server.received
    assert second.content == first.content
    assert second.headers == first.headers
    assert second.connection == first.connection


def test_a_redirect_is_followed_once(server: Server, pauses: list[float]) -> None:
    """A second redirect is an error; a failure after the first is retried from the beginning."""
    call = SyncCalls()
    away = Reply(status=307, headers={"Location": "/b"})
    for script, kind, sent in (
        ([away, Reply(status=307, headers={"Location": "/c?key=secret-1"})], StatusError, 2),
        ([Reply(status=308, headers={"Location": "/v1/rerank"})], StatusError, 1),
        ([Reply(status=307, headers={"Location": "http://[a"})], StatusError, 1),
        ([away, Reply(status=503), away, Reply(status=503)], RerankError, 4),
        ([away, Fault.STALL], RerankError, 2),
    ):
        server.reset()
        pauses.clear()
        server.plays(*script)
        deadline = 0.2 if script[-1] is Fault.STALL else 60
        with client_of(f"{server.url}/v1", max_retries=1, deadline=deadline) as client:
            with pytest.raises(kind) as caught:
                call(client)
            call.close(client)
        assert len(server.received) == sent
        assert len(caught.value.attempts) == len(pauses) + 1 == (2 if sent == 4 else 1)
        assert "secret-1" not in str(caught.value)


@cases(
    ("location", "target"),
    [
        ("https://elsewhere.example/v2/rerank?key=secret-1", "https://elsewhere.example/v2/rerank"),
        ("https://user:secret-1@other.example:8443/a", "https://other.example:8443/a"),
        ("http://api.together.ai/v1/rerank", "http://api.together.ai/v1/rerank"),
        ("https://api.together.ai:444/v1/rerank", "https://api.together.ai:444/v1/rerank"),
        ("/v1/rerank", "https://api.together.ai/v1/rerank"),
        ("//host.example/a", "https://host.example/a"),
        ("https://[::1/", ""),
        ("https://host:port/", ""),
        ("", ""),
    ],
)
@cases("status", [301, 302, 303, 307, 308])
def test_where_a_redirect_points(status: int, location: str, target: str) -> None:
    """A redirect that is not followed is an error that says where it points, without secrets."""
    error = failed(b"", status, {"location": location} if location else {})
    assert "set base_url to the final address" in str(error)
    assert target in str(error)
    assert "secret-1" not in str(error)
    assert not error.is_retryable
