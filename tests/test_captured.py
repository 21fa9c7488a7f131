"""Tests against requests that other packages sent, and the answers that they read.

The file of them is no part of this repository: it is found as the tools of `cassettes/prism.py`
are. Where it is absent these tests are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, NamedTuple

import pytest
from cassettes.prism import SHARED

from cases import cases
from loopback import Received, Reply, Server, running
from neighbours import ENDPOINTS, THE_KEY, VARIABLES, ranked
from rerank_integrations import (
    RerankError,
    RerankResponse,
    ResponseError,
    StatusError,
)
from rerank_integrations.errors import error_class

FILE = SHARED / "data" / "wire" / "captured.json"
pytestmark = pytest.mark.xdist_group("captured")  # the outcomes are made once
NAMES = {"vercel": "vercelgateway"}  # what the file calls some of our providers

# calls that no provider here is for, by server and path, and why
OTHER = {
    ("cohere", "/v1/rerank"): "version 1 of the API, which version 2 replaces",
    ("dashscope", "/api/v1/services/rerank/text-rerank/text-rerank"): (
        "DashScope's native endpoint; the provider uses the compatible one"
    ),
    ("vercelgateway", "/v3/ai/reranking-model"): (
        "Vercel's native endpoint; the provider uses the one in Cohere's form"
    ),
    ("bedrock", "/rerank"): "signed with AWS credentials, not with a key",
    ("nvidia", "/v1/retrieval/nvidia/llama-3.2-nv-rerankqa-1b-v2/reranking"): (
        "LiteLLM leaves the dot of a model in the path, where NVIDIA's own package writes _"
    ),
    (
        "fireworks",
        "/rerank",
    ): "an address without the vendor's prefix, which a host alone gets here",
}
# where the address of the captured call has another path than the default one
BASES = {("azureai", "/v1/rerank"): "/v1", ("vllm", "/rerank"): None}
ECHO = "an echo of the documents is not needed: results hold the caller's own"
FIELDS = "of a document with fields, only those that are ranked are sent"
# what differs on purpose: by server and key of the body, header or the path
DIFFERENT = {
    **{
        (server, "return_documents"): ECHO
        for server in (
            *("cohere", "azureai", "infinity", "together", "jina", "vllm", "fireworks", "voyage"),
            *("dashscope", "litellm", "pinecone", "siliconflow", "xinference"),
        )
    },
    ("mixedbread", "return_input"): ECHO,
    ("tei", "return_text"): ECHO,
    ("xinference", "return_len"): "the length of a document in tokens is no part of a response",
    ("xinference", "kwargs"): "an empty set of further arguments is not sent",
    ("xinference", "instruction"): "the server reads it in kwargs only",
    ("mixedbread", "input"): FIELDS,
    ("pinecone", "documents"): FIELDS,
    ("pinecone", "rank_fields"): "['text'] is what Pinecone takes where none are named",
    ("together", "rank_fields"): "for documents that are strings there is nothing to choose from",
    ("tei", "top_n"): "the endpoint has no such key; top_n is applied here",
    ("tei", "truncation_direction"): "'Right' is what the server does without it",
    ("nvidia", "passages"): "an empty text beside an image is wrong; it is left out",
    ("scaleway", "top_n"): "Scaleway refuses a request without it, so it is always sent",
    ("vllm", "path"): "the server has it with and without /v1",
    ("portkey", "x-portkey-strict-open-ai-compliance"): "for chat only",
    ("cohere", "x-client-name"): "names the package",
}


@cache
def calls() -> tuple[Mapping[str, Any], ...]:
    """The captured rerank calls that a provider here is for; none where the file is absent."""
    if not FILE.exists():
        return ()
    every = json.loads(FILE.read_text(encoding="utf-8"))["calls"]
    return tuple(one for one in every if one["request"]["method"] == "POST" and not other(one))


def name_of(call: Mapping[str, Any]) -> str:
    """The name of our provider."""
    server: str = call["server"]
    return NAMES.get(server, server)


def other(call: Mapping[str, Any]) -> str | None:
    """Why no provider here is for the call."""
    return OTHER.get((name_of(call), call["request"]["path"]))


def asked(call: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The provider's name, its arguments and those of the call that mean the captured call."""
    name = name_of(call)
    endpoint, body = ENDPOINTS[name], dict(call["request"]["body"])
    known = {one.name for one in fields(endpoint.provider)} - {"return_documents", "instruction"}
    query = body.pop(endpoint.query)
    query = query[0] if isinstance(query, list) else query
    query = query["text"] if isinstance(query, dict) else query
    own: dict[str, Any] = dict(endpoint.more) if name != "portkey" else {"provider": "@cohere"}
    options = {
        "model": body.pop("model", call["request"]["path"].partition("/inference/")[2] or "m"),
        "query": query,
        "documents": [
            next(iter(one.values())) if isinstance(one, dict) and len(one) == 1 else one
            for one in body.pop(endpoint.documents)
        ],
        "top_n": body.pop(endpoint.top or "top_k", None),
    }
    for key, value in body.items():
        if key in known and value is not None:
            own[key] = value
        elif key == "rank_fields" and endpoint.fields and value != ["text"]:
            options["rank_fields"] = value
        elif key in (endpoint.instruction or ()) and value != "{}":
            options["instruction"] = value
    if name == "contextualai" and "metadata" in body:
        options["extra_body"] = {"metadata": body["metadata"]}
    if name == "xinference" and "instruction" in options:
        options["instruction"] = json.loads(options["instruction"])["instruction"]
    spans = own.get("relevant_spans")
    if spans:
        own["relevant_spans"] = {key: value for key, value in spans.items() if key != "mode"}
    own["api_key"] = THE_KEY if call["request"]["auth"] else None
    return name, own, options


def pairs_in(body: Any) -> list[tuple[int, float]]:
    """Index and score of each result in an answer."""
    if isinstance(body, dict) and "scores" in body:
        return list(enumerate(body["scores"]))
    rows = body if isinstance(body, list) else None
    for name in ("results", "data", "rankings"):
        rows = rows or body.get(name)
    scores = ("relevance_score", "score", "logit")
    return [(one["index"], next(one[name] for name in scores if name in one)) for one in rows or ()]


class Outcome(NamedTuple):
    """What came of a captured call here: in which keys it differs, and how it ended."""

    differences: frozenset[tuple[str, str]]
    said: RerankResponse[Any] | RerankError


def outcome(call: Mapping[str, Any], server: Server) -> Outcome:
    """Make the call that means the captured one, and play its answer."""
    name, own, options = asked(call)
    server.plays(Reply(call["answer"]["body"], call["answer"]["status"]))
    base = BASES.get((name, call["request"]["path"])) or ""
    provider = ENDPOINTS[name].provider(base_url=f"{server.url}{base}", **own)
    given = [options.pop(key) for key in ("model", "query", "documents")]
    said: RerankResponse[Any] | RerankError
    try:
        said = ranked(server, provider, *given, **options)
    except RerankError as error:
        said = error
    keys = different(server.received[-1], call["request"])
    return Outcome(frozenset((name, key) for key in keys), said)


def different(sent: Received, captured: Mapping[str, Any]) -> set[str]:
    """In which keys of the body, in which headers, or whether in the path, two requests differ."""
    body, theirs = sent.body, captured["body"]  # null is absent
    keys = {key for key in {*body, *theirs} if body.get(key) != theirs.get(key)}
    headers = {**captured["headers"], **captured["auth"]}
    for one in ("accept", "user-agent", "content-type"):  # of the HTTP library
        headers.pop(one, None)
    for one in {*headers, "authorization"}:
        if sent.headers.get(one) != headers.get(one, "").replace("<key>", THE_KEY) and (
            one in headers or one in sent.headers
        ):
            keys.add(one)
    return keys | ({"path"} if sent.path != captured["path"] else set())


@pytest.fixture(name="outcomes", scope="module")
def outcomes_fixture() -> Iterator[Mapping[int, Outcome]]:
    """What came of each captured call, by its place in the file."""
    with pytest.MonkeyPatch.context() as patch, running() as server:
        for variable in VARIABLES:
            patch.delenv(variable, raising=False)
        yield {place: outcome(one, server) for place, one in enumerate(calls())}


def is_error_of(answer: Mapping[str, Any], error: object) -> None:
    """An error is that of the answer."""
    assert isinstance(error, StatusError)
    assert type(error) is error_class(answer["status"])
    assert error.status_code == answer["status"]
    words = re.findall(r'"(?:message|detail|msg)": "([^"]+)"', json.dumps(answer["body"]))
    assert not words or any(word in error.message for word in words)


def shown(place: int) -> str:
    """What a report calls a call."""
    return f"{place} {calls()[place]['sdk']}" if calls() else "absent"


def call_at(place: int) -> Mapping[str, Any]:
    """A captured call."""
    if not calls():
        pytest.skip(f"{FILE.name} is not there; set RERANK_SHARED to the folder that has it")
    return calls()[place]


def test_the_same_calls_send_the_same(outcomes: Mapping[int, Outcome]) -> None:
    """Path, body and key are those of the other packages, but for differences with a reason.

    Each reason is needed: what it is for is met.
    """
    call_at(0)
    every = json.loads(FILE.read_text(encoding="utf-8"))["calls"]
    ranks = [one for one in every if one["request"]["method"] == "POST"]
    assert {(name_of(one), one["request"]["path"]) for one in ranks if other(one)} == OTHER.keys()
    where: dict[tuple[str, str], str] = {}
    for place in (at for at, one in enumerate(calls()) if one["answer"]["status"] == 200):
        where |= dict.fromkeys(outcomes[place].differences, shown(place))
    assert {key: call for key, call in where.items() if key not in DIFFERENT} == {}
    assert DIFFERENT.keys() - where.keys() == set()


PLACES = range(len(calls()) or 1)  # one place where the file is absent


@cases("place", PLACES, ids=map(shown, PLACES))
def test_the_same_answer_is_read_alike(place: int, outcomes: Mapping[int, Outcome]) -> None:
    """Order, scores and usage are those that the answer has, and that the other package read.

    An error has the class of its status, and the words of the answer.
    """
    call, response = call_at(place), outcomes[place].said
    if call["answer"]["status"] != 200:
        is_error_of(call["answer"], response)
        return
    _, _, options = asked(call)
    body = call["answer"]["body"]
    if body is None:  # the recorder kept none
        return
    pairs = pairs_in(body)
    if max(index for index, _ in pairs) >= len(options["documents"]):  # an answer to another call
        assert isinstance(response, ResponseError)
        assert "it ranks document" in str(response)
        return
    assert isinstance(response, RerankResponse)
    found = [(one.index, one.relevance_score) for one in response]
    assert found == sorted(pairs, key=lambda pair: -pair[1])[: options["top_n"]]
    text = call.get("sdk_result", {}).get("returns", "")
    read = re.findall(r"index=(\d+), (?:relevance_)?score=(-?[\d.]+)[,)]", text)
    assert {(int(index), float(score)) for index, score in read} <= set(pairs)

    counts = response.usage.counts()
    usage = json.dumps((isinstance(body, dict) and body.get("usage")) or body)
    for names in (
        ("total_tokens",),
        ("prompt_tokens", "input_tokens"),
        ("search_units", "rerank_units"),
    ):
        said = re.search(rf'"(?:{"|".join(names)})": ([\d.]+)', usage)
        assert counts.get(names[0]) == (float(said[1]) if said else None)
