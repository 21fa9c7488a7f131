"""Servers that a few words describe: keys, paths, headers and the form of documents."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from calls import Calls
from cases import cases
from loopback import Reply, Server
from rerank_integrations import Compatible, ConfigurationError, RerankClient
from support import local_variables

RANKED = {"rankings": [{"index": 1, "logit": 2.5}, {"index": 0, "score": -1}]}
PAIRS = [(1, 2.5), (0, -1.0)]


@cases(
    ("arguments", "expected"),
    [
        ({}, {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2}),
        (
            {"documents_key": "texts", "top_n_key": "top_k", "return_documents_key": "echo"},
            {"model": "m", "query": "q", "texts": ["a", "b"], "top_k": 2, "echo": False},
        ),
        (
            {"document_as": "object", "top_n_key": None, "extra_body": {"truncate": "END"}},
            {
                "model": "m",
                "query": "q",
                "documents": [{"text": "a"}, {"text": "b"}],
                "truncate": "END",
            },
        ),
        (
            {"instruction_key": "task"},
            {"model": "m", "query": "q", "documents": ["a", "b"], "top_n": 2, "task": "find"},
        ),
    ],
)
def test_the_body_is_as_it_is_described(
    call: Calls, server: Server, arguments: Mapping[str, Any], expected: Mapping[str, Any]
) -> None:
    """Each argument changes the body as it says, and `top_n` holds without a key for it."""
    server.plays(Reply(RANKED))
    instruction = "find" if "instruction_key" in arguments else None
    provider = Compatible(base_url=server.url, **arguments)
    with RerankClient("m", provider=provider, instruction=instruction) as client:
        response = call(client, "q", ["a", "b"], top_n=2)
        assert call(client, "q", ["a", "b"], top_n=1)[0].index == 1
    assert server.received[0].body == expected
    assert [(one.index, one.relevance_score) for one in response] == PAIRS


def test_key_headers_and_query(server: Server) -> None:
    """Path, query, key header and further headers go out; their values appear nowhere else.

    Nor does a word of a header's value, such as the key behind a scheme.
    """
    provider = Compatible(
        base_url=f"{server.url}/base/",
        api_key="the-secret-key",
        path="/v3/sort",
        auth_header="X-Key",
        auth_scheme="",
        extra_headers={"X-Tenant": "Token tenant-secret"},
        extra_query={"code": "query secret"},
    )
    server.plays(Reply({"message": "bad the-secret-key tenant-secret query secret"}, 401))
    assert "secret" not in repr(provider)
    assert pickle.loads(pickle.dumps(provider)) == provider  # noqa: S301
    other = dataclasses.replace(provider, auth_scheme="Token ")
    assert other.headers() == {**provider.headers(), "X-Key": "Token the-secret-key"}
    with RerankClient("m", provider=provider) as client, pytest.raises(Exception) as caught:  # noqa: PT011
        client.rerank("q", ["a"])
    [received] = server.received
    assert received.path == "/base/v3/sort?code=query+secret"
    assert received.headers["x-key"] == "the-secret-key"
    assert received.headers["x-tenant"] == "Token tenant-secret"
    assert "authorization" not in received.headers
    assert "secret" not in f"{caught.value!r} {caught.value}"
    assert "secret" not in local_variables(caught.value)


@cases(
    ("base_url", "path", "asked"),
    [
        ("", "/rerank", "/rerank"),
        ("/", "/rerank", "/rerank"),
        ("/v1", "/rerank", "/v1/rerank"),
        ("/v1/rerank", "/rerank", "/v1/rerank"),
        ("/v1/sort/", "/sort", "/v1/sort"),
        ("?v=1", "/sort", "/sort?v=1"),
    ],
)
def test_address(server: Server, base_url: str, path: str, asked: str) -> None:
    """The path is added once, whether or not the address has it."""
    provider = Compatible(base_url=f"{server.url}{base_url}", path=path)
    with RerankClient("m", provider=provider) as client:
        client.rerank("q", ["a"])
    assert server.received[0].path == asked


def test_by_name(server: Server) -> None:
    """`compatible:model` with an address needs no object and no key; the address may come first."""
    assert Compatible(server.url) == Compatible(base_url=server.url)
    assert Compatible(server.url, path="/sort").url == f"{server.url}/sort"
    with RerankClient("compatible:my-model", base_url=server.url) as client:
        client.rerank("q", ["a"])
    assert server.received[0].body["model"] == "my-model"
    assert "authorization" not in server.received[0].headers


@cases(
    ("arguments", "reason"),
    [
        ({}, "Compatible has no default address: pass base_url='https://...'"),
        ({"path": "rerank"}, "path begins with '/'"),
        ({"path": "/rerank?v=1"}, "a query goes into extra_query"),
        ({"path": "/rerank\n"}, "has no '?', '#' or white space"),
        ({"auth_header": "Content-Length", "api_key": "k"}, "auth_header: header 'Content-Length'"),
        ({"extra_headers": {"Transfer-Encoding": "chunked"}}, "is set by the HTTP client"),
        ({"extra_headers": {"Accept-Encoding": "br"}}, "may name gzip, deflate and identity"),
        ({"extra_query": {1: "a"}}, "extra_query: the value of 1 must be a str"),
        ({"extra_query": {"a": "\ud800"}}, "'a' or its value holds half of a surrogate pair"),
        ({"document_as": "dict"}, "document_as must be 'text' or 'object', not 'dict'"),
        ({"documents_key": "query"}, "two arguments write the key 'query'"),
        ({"extra_body": {"top_n": 1}}, "two arguments write the key 'top_n'"),
        ({"documents_key": ""}, "a key of the body is empty"),
        ({"extra_query": "a=b"}, "extra_query: must be a mapping"),
        ({"extra_query": {"a": 1}}, "extra_query: the value of 'a' must be a str"),
        ({"extra_headers": {"X": "a\nb"}}, "extra_headers: header 'X' has a line break"),
        ({"auth_header": "X Key", "api_key": "k"}, "header 'X Key' is no header name"),
        ({"doc_key": "texts"}, "has no argument 'doc_key'"),
        ({"top_n_key": 3}, "top_n_key must be str or None, not int"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], reason: str) -> None:
    """What is wrong is said when the object is made."""
    address: dict[str, Any] = {"base_url": "http://localhost:1"} if arguments else {}
    with pytest.raises(ConfigurationError) as caught:
        Compatible(**address, **arguments)
    assert reason in str(caught.value)


def test_an_instruction_needs_its_key() -> None:
    """An instruction for a server that was not said to take one is refused with the fix."""
    with pytest.raises(ConfigurationError, match="instruction_key='instruction'"):
        RerankClient("compatible:m", base_url="http://localhost:1", instruction="find")
