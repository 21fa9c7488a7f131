"""Tests of one rule each for every provider, against the endpoint that its vendor documents."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cases import cases
from loopback import Reply, Server
from neighbours import ENDPOINTS, INSTRUCTION, THE_KEY, Endpoint, ranked as ranked_by
from rerank_integrations import (
    NVIDIA,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    DashScope,
    DeepInfra,
    Portkey,
    RateLimitError,
    RerankClient,
    RerankDocument,
    RerankResponse,
    StatusError,
    Voyage,
)
from rerank_integrations.providers import known_names

QUERY = "a red bicycle"
TEXTS = ["apple pie", "a red bicycle", "a blue car"]
SCORES = {"apple pie": 0.125, "a red bicycle": 0.875, "a blue car": 0.5}
REMOTE = sorted(set(known_names()) - {"local"})
every = cases("name", REMOTE)  # a new provider needs a row in `ENDPOINTS`


def ranked(
    server: Server, endpoint: Endpoint, documents: Any = tuple(TEXTS), **options: Any
) -> RerankResponse[Any]:
    """What the endpoint's provider makes of a call to the server."""
    model = options.pop("model", "m")
    return ranked_by(server, endpoint.made(base_url=server.url), model, QUERY, documents, **options)


@every
def test_what_is_sent_and_what_is_read(name: str, server: Server) -> None:
    """Body, path and headers are the vendor's; results are the caller's objects, best first."""
    endpoint = ENDPOINTS[name]
    server.plays(endpoint.answers(SCORES))
    documents = list(map("".join, TEXTS))  # strings of the caller's own
    response = ranked(server, endpoint, documents)

    [sent, _] = server.received
    assert sent.head.startswith(b"POST ")
    assert sent.path == endpoint.path
    assert sent.body == endpoint.body(QUERY, TEXTS)
    assert sent.headers["content-type"] == "application/json"
    assert sent.headers["accept"] == "application/json"
    found = {key: sent.headers.get(key) for key in (*endpoint.headers, endpoint.header[0])}
    assert found == {**endpoint.headers, endpoint.header[0]: endpoint.header[1]}
    assert [(one.index, one.relevance_score) for one in response] == [
        (1, 0.875),
        (2, 0.5),
        (0, 0.125),
    ]
    assert all(one.document is documents[one.index] for one in response)
    assert response.usage.counts() == endpoint.usage[1]
    assert not response.warnings


@every
@cases("given", [{"top_n": 2}, {"top_n": 9}, {"score_threshold": 0.5}])
def test_fewer_results(name: str, given: dict[str, Any], server: Server) -> None:
    """No more than `top_n` come back, also where the endpoint has no key for it.

    Nor does what is below `score_threshold`, of which nothing is sent.
    """
    endpoint = ENDPOINTS[name]
    server.plays(endpoint.answers(SCORES))
    response = ranked(server, endpoint, **given)

    top = given.get("top_n")
    assert server.received[0].body == endpoint.body(QUERY, TEXTS, top and min(top, 3))
    assert [one.index for one in response] == ([1, 2, 0] if top == 9 else [1, 2])


@every
def test_blank_documents(name: str, server: Server) -> None:
    """A blank document is never sent, and an index still is that of the caller's list."""
    endpoint = ENDPOINTS[name]
    server.plays(endpoint.answers(SCORES))
    documents = ["", "apple pie", " \n", {"text": ""}, "a red bicycle"]
    response = ranked(server, endpoint, documents, rank_fields=None)

    sent = server.received[0].body[endpoint.documents]
    assert [one["text"] if isinstance(one, dict) else one for one in sent] == [
        "apple pie",
        "a red bicycle",
    ]
    assert [one.index for one in response] == [4, 1]
    assert all(one.document is documents[one.index] for one in response)
    assert response.skipped == (0, 2, 3)


@every
@cases(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (429, RateLimitError),
    ],
)
def test_errors(name: str, status: int, kind: type[Any], server: Server) -> None:
    """An error in the vendor's own shape has its class and its message, and no key."""
    endpoint = ENDPOINTS[name]
    text = json.dumps(endpoint.error).replace("{}", f"no such thing, {THE_KEY}")
    server.plays(Reply(json.loads(text), status))
    with pytest.raises(kind) as caught:
        ranked(server, endpoint)

    assert type(caught.value) is kind
    assert "no such thing" in caught.value.message
    assert "{" not in caught.value.message  # words, not the repr of an object
    assert THE_KEY not in str(caught.value)
    assert caught.value.provider == name
    assert caught.value.is_retryable == (status == 429)
    if status == 401:
        variable = f" or the environment variable {endpoint.keys[0]}" if endpoint.keys else ""
        said = str(caught.value).removesuffix(" [request r]")
        assert said.endswith(f"; check api_key={variable}")


@cases(
    ("status", "message", "more", "hint"),
    [
        (
            400,
            "No connected db.",
            {"type": "no_db_connection"},
            "check api_key= or the environment",
        ),
        (401, "litellm.AuthenticationError: CohereException - {}", {}, "check the vendor's key in"),
        (401, "Authentication Error, Invalid proxy token", {}, "check api_key= or the environment"),
    ],
)
def test_whose_key_litellm_means(
    status: int, message: str, more: dict[str, str], hint: str, server: Server
) -> None:
    """A refusal says whether the proxy's key or the vendor's behind it is wrong."""
    server.plays(Reply({"error": {"message": message, "code": str(status), **more}}, status))
    with pytest.raises(StatusError, match=hint):
        ranked(server, ENDPOINTS["litellm"])


@every
def test_rank_fields(name: str, server: Server) -> None:
    """Fields go as they are where the endpoint ranks them, and else as one text."""
    endpoint = ENDPOINTS[name]
    documents = [
        {"title": "Pie", "text": "apple pie", "id": 1},
        RerankDocument(text="a red bicycle", fields={"title": "Bicycle"}),
    ]
    texts = ["title: Pie\ntext: apple pie", "title: Bicycle\ntext: a red bicycle"]
    scores = {"apple pie": 0.125, "a red bicycle": 0.875, texts[0]: 0.125, texts[1]: 0.875}
    server.plays(endpoint.answers(scores))
    fields = ["title", "text"]
    wire = [
        {"title": "Pie", "text": "apple pie"},
        {"title": "Bicycle", "text": "a red bicycle"},
    ]
    for model, sent, more in (
        (endpoint.renders, texts, {}),
        (endpoint.fields, wire, {"rank_fields": fields}),
    ):
        if model is None:
            continue
        response = ranked(server, endpoint, documents, rank_fields=fields, model=model)
        named = {"model": model} if endpoint.names_model else {}
        assert server.received[-1].body == {**endpoint.body(QUERY, sent), **named, **more}
        assert [one.index for one in response] == [1, 0]
        assert all(one.document is documents[one.index] for one in response)


@every
def test_instruction(name: str, server: Server) -> None:
    """An instruction goes in the vendor's way; where there is none it is refused, with a reason."""
    endpoint = ENDPOINTS[name]
    provider = endpoint.made(base_url=server.url)
    if endpoint.instruction is None or endpoint.instructed != "m":  # for some models only
        with RerankClient("m", provider=provider) as client:
            with pytest.raises(ConfigurationError, match="instruction") as caught:
                client.rerank(QUERY, TEXTS, instruction=INSTRUCTION)
            with pytest.raises(ConfigurationError) as again:
                asyncio.run(client.arerank(QUERY, TEXTS, instruction=INSTRUCTION))
        assert str(caught.value) == str(again.value)
        assert " m" in str(caught.value)  # the model
        assert not server.received
    if endpoint.instruction is not None:
        server.plays(endpoint.answers(SCORES))
        model = endpoint.instructed
        response = ranked(server, endpoint, instruction=INSTRUCTION, model=model)
        named = {"model": model} if endpoint.names_model else {}
        assert server.received[0].body == {
            **endpoint.body(QUERY, TEXTS),
            **named,
            **endpoint.instruction,
        }
        assert [one.index for one in response] == [1, 2, 0]


@every
def test_keys(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key comes from the argument, else from the vendor's variables, in their order."""
    endpoint = ENDPOINTS[name]
    kind, more = endpoint.provider, dict(endpoint.more)
    if endpoint.address is None:
        more["base_url"] = "https://own.example"
    if endpoint.needs:
        with pytest.raises(ConfigurationError) as caught:
            kind(**more)
        assert str(caught.value) == (
            f"{endpoint.kind} has no key: set the environment variable {endpoint.keys[0]} "
            f"or pass api_key=..., or provider={endpoint.kind}(api_key=...) with the model alone"
        )
    else:
        without = kind(**more).headers()
        assert not {header.lower() for header in without} & {"authorization", endpoint.header[0]}
    header, written = endpoint.header
    for place, variable in enumerate(reversed(endpoint.keys)):  # the first wins
        key = f"key-{place}"
        monkeypatch.setenv(variable, f" {key}\n")
        sent = {one.lower(): value for one, value in kind(**more).headers().items()}
        assert sent[header] == written.replace(THE_KEY, key)
    sent = {one.lower(): v for one, v in kind(api_key=THE_KEY, **more).headers().items()}
    assert sent[header] == written


@every
def test_addresses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host alone gets the vendor's path, one with a path keeps it; http:// is for loopback."""
    endpoint = ENDPOINTS[name]
    tail = endpoint.path.removeprefix("/providers/cohere/v2").removeprefix("/compatible-api/v1")
    for prefix in ("/inference/v1", "/openai/v1", "/api/v1", "/v1", "/v2"):
        tail = tail.removeprefix(prefix)
    if endpoint.address is None:
        with pytest.raises(ConfigurationError, match="has no default address: pass base_url="):
            endpoint.made()
    else:
        assert endpoint.made().address("m") == endpoint.address
    expected = {
        "https://own.example": f"https://own.example{endpoint.path}",
        "https://own.example/": f"https://own.example{endpoint.path}",
        "https://own.example/a/b": f"https://own.example/a/b{tail}",
        "https://own.example/a/b/": f"https://own.example/a/b{tail}",
        "https://own.example/a?v=1": f"https://own.example/a{tail}?v=1",
        "http://127.0.0.1:1/a": f"http://127.0.0.1:1/a{tail}",
        "http://localhost:1": f"http://localhost:1{endpoint.path}",
    }
    if name != "deepinfra":  # the model stands at the end of its address
        expected[f"https://own.example/a{tail}"] = f"https://own.example/a{tail}"
    for given, address in expected.items():
        assert endpoint.made(base_url=given).address("m") == address
        if endpoint.base:
            monkeypatch.setenv(endpoint.base, given)
            assert endpoint.made().address("m") == address
            assert (
                endpoint.made(base_url="https://b.example/x")
                .address("m")
                .startswith("https://b.example/x")
            )
            monkeypatch.delenv(endpoint.base)
    with pytest.raises(ConfigurationError, match="unencrypted; use https://"):
        endpoint.made(base_url="http://own.example/a")
    open_one = endpoint.made(base_url="http://own.example/a", allow_http=True)
    assert open_one.address("m") == f"http://own.example/a{tail}"


def test_addresses_that_depend_on_more(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Some keys, workspaces and models choose the address; Voyage's key may be in a file."""
    file = tmp_path / "key"
    file.write_text("al-0123456789\n", encoding="utf-8")
    monkeypatch.setenv("VOYAGE_API_KEY_PATH", str(file))
    assert Voyage().url == "https://ai.mongodb.com/v1/rerank"
    assert Voyage().headers()["Authorization"] == "Bearer al-0123456789"
    assert Voyage(base_url="https://own.example").url == "https://own.example/v1/rerank"
    monkeypatch.setenv("VOYAGE_API_KEY_PATH", str(tmp_path / "absent"))
    with pytest.raises(ConfigurationError, match="VOYAGE_API_KEY_PATH names cannot be read"):
        Voyage()

    assert DashScope(api_key=THE_KEY, workspace="ws").url == (
        "https://ws.ap-southeast-1.maas.aliyuncs.com/compatible-api/v1/reranks"
    )
    monkeypatch.setenv("DASHSCOPE_WORKSPACE_ID", "other")
    assert DashScope(api_key=THE_KEY).url.startswith("https://other.ap-southeast-1.maas.")

    hosted = NVIDIA(api_key=THE_KEY)
    assert hosted.address("nvidia/llama-3.2-nv-rerankqa-1b-v2") == (
        "https://ai.api.nvidia.com/v1/retrieval/nvidia/llama-3_2-nv-rerankqa-1b-v2/reranking"
    )
    own = NVIDIA(base_url="http://localhost:8000")  # needs no key
    assert own.address("nvidia/llama-3.2") == "http://localhost:8000/v1/ranking"
    assert "Authorization" not in own.headers()
    assert (
        DeepInfra(api_key=THE_KEY)
        .address("Qwen/Qwen3-Reranker-8B")
        .endswith("/v1/inference/Qwen/Qwen3-Reranker-8B")
    )
    assert Portkey(base_url="http://localhost:8787", provider="@a").headers() == {
        "x-portkey-provider": "@a"
    }
