"""Random documents, answers and headers: an error is ours, and an answer never a wrong document."""

from __future__ import annotations

import asyncio
import copy
import json
import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from faults.acts import says
from loopback import Server, running
from rerank_integrations import (
    Local,
    OpenRouter,
    RerankClient,
    RerankDocument,
    RerankError,
    RerankResponse,
    ResponseError,
    StatusError,
)
from support import (
    bodies_of,
    call,
    failed,
    http_response,
    parsed,
    part,
    portkey,
    ranking,
    together,
)

HUGE = "a number of 5000 digits"  # longer than Python likes to write
DOCUMENTS = ["a", "bb", "ccc", "dddd"]
quick = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))

characters = st.characters(exclude_categories=[]) | st.sampled_from(
    "\0\ud800\udfff\u202e\u0645\ufeff"
)
texts = st.text(characters, max_size=30) | st.sampled_from(
    ["", " ", "x" * 70_000, "\u202eabc", "[1]"]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=20)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
fields = st.dictionaries(texts | st.sampled_from(["text", "image", "title"]), values, max_size=4)
documents = st.lists(
    texts | fields | st.builds(RerankDocument, text=texts, fields=st.none() | fields) | scalars,
    max_size=6,
)
names = st.none() | st.lists(st.sampled_from(["text", "title", "a.b"]), min_size=1, max_size=3)


def nested() -> dict[str, Any]:
    """A mapping that holds itself."""
    value: dict[str, Any] = {}
    value["title"] = value
    return value


@quick
@given(query=texts, documents=documents, rank_fields=names, most=st.integers(1, 3))
@example(query="q", documents=["half a pair \ud800"], rank_fields=None, most=1)
@example(query="\udfff", documents=["a"], rank_fields=None, most=1)
@example(query="q", documents=[{"title": 10**5000}], rank_fields=["title"], most=1)
@example(query="q", documents=[nested()], rank_fields=["title"], most=1)
@example(query="q", documents=[{"title": {1, 2}, 3: object()}], rank_fields=None, most=1)
def test_documents_of_any_kind(
    query: str, documents: list[Any], rank_fields: Any, most: int
) -> None:
    """Documents are refused, or each is sent once in its place as JSON that can be read again."""
    options: dict[str, Any] = {"rank_fields": rank_fields, "max_documents_per_request": most}
    for provider in (together(), together(native_rank_fields=True)):
        try:
            prepared = call(*documents, provider=provider, **options)
        except RerankError:
            continue
        sent = [index for each in prepared.chunks for index in each.sent]
        assert sorted([*sent, *prepared.skipped]) == list(range(len(documents)))
        bodies = bodies_of(prepared)
        on_wire = [document for body in bodies for document in body["documents"]]
        assert len(on_wire) == len(sent)
        if provider.native_rank_fields is None and rank_fields is None:
            plain = [(i, t) for i, t in zip(sent, on_wire, strict=True) if _is_text(documents[i])]
            clean = [(documents[i].encode("utf-16", "surrogatepass"), text) for i, text in plain]
            assert all(text == given.decode("utf-16", "replace") for given, text in clean)


def _is_text(document: object) -> bool:
    return isinstance(document, str)


@quick
@given(documents=documents)
def test_documents_come_back(documents: list[Any]) -> None:
    """What comes out are the objects that went in, each with its own index and score."""
    scorer = Local(scorer=lambda query, given: [float(len(text)) for text in given])
    try:
        response = RerankClient("m", provider=scorer).rerank("q", documents)
    except RerankError:
        return
    assert all(result.document is documents[result.index] for result in response)
    check(response, documents, None)


def check(response: RerankResponse, documents: list[Any], top_n: int | None) -> None:
    """See that a response is in order, whatever it was read from."""
    indexes = [result.index for result in response]
    assert len(set(indexes)) == len(indexes) <= (top_n or len(documents))
    assert all(result.document is documents[result.index] for result in response)
    scores = [result.relevance_score for result in response]
    assert all(math.isfinite(score) for score in scores)
    assert all(high >= low for high, low in pairwise(scores))
    assert repr(response)


def outcome(content: bytes, top_n: int | None = None) -> RerankResponse | RerankError:
    """The response that an answer holds, or our error."""
    try:
        response = parsed(part(*DOCUMENTS, top_n=top_n), http_response(content))
    except RerankError as error:
        assert len(str(error)) < 2000
        return error
    check(response, DOCUMENTS, top_n)
    return response


numbers = st.integers() | st.floats() | st.sampled_from([HUGE, -0.0, 1e308, True])
keys = st.sampled_from(
    [
        "results",
        "data",
        "index",
        "relevance_score",
        "score",
        "error",
        "usage",
        "meta",
        "model",
        "id",
    ]
) | st.text(max_size=5)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5),
    max_leaves=20,
)


def encoded(value: object) -> bytes:
    """JSON of a value, with a number in it that Python would not write."""
    return json.dumps(value).replace(f'"{HUGE}"', "1" + "0" * 5000).encode()


@quick
@given(
    content=st.binary(max_size=200) | json_values.map(encoded), top_n=st.none() | st.integers(1, 9)
)
@example(content=b"[" * 100_000, top_n=None)
@example(content=b'{"results": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", top_n=None)
@example(content=b'\xef\xbb\xbf{"results": []}', top_n=None)
@example(content=b'{"results": [{"index": 0, "relevance_score": "\\ud800"}]}', top_n=None)
@example(content=encoded({"results": [{"index": HUGE, "relevance_score": 1}]}), top_n=None)
@example(content=encoded({"results": [{"index": 0, "relevance_score": HUGE}]}), top_n=None)
@example(content=encoded({"results": [], "usage": {"cost": HUGE, "total_tokens": HUGE}}), top_n=1)
@example(content=encoded({"error": HUGE}), top_n=None)
@example(content=encoded({"error": {"message": HUGE, "code": HUGE}}), top_n=None)
def test_answers_of_any_kind(content: bytes, top_n: int | None) -> None:
    """Any bytes are a response in order, or an error of ours."""
    outcome(content, top_n)


GOOD = {
    **ranking((2, 0.9), (0, 0.5), (3, 0.2), (1, 0.1)),
    "model": "m",
    "id": "id",
    "usage": {"search_units": 1, "total_tokens": 10},
}
places = st.sampled_from([(), ("results",), ("usage",), ("model",), ("id",)]) | st.tuples(
    st.just("results"), st.integers(0, 3), st.sampled_from(["index", "relevance_score"])
)


@quick
@given(where=places, value=json_values, top_n=st.none() | st.integers(1, 9))
@example(where=("results", 0, "index"), value=True, top_n=None)
@example(where=("results", 0, "index"), value=1.0, top_n=None)
@example(where=("results", 0, "index"), value="2", top_n=None)
@example(where=("results", 0, "index"), value=-1, top_n=None)
@example(where=("results", 0, "relevance_score"), value="0.9", top_n=None)
@example(where=("results", 0, "relevance_score"), value=True, top_n=None)
def test_good_answers_gone_wrong(where: tuple[Any, ...], value: Any, top_n: int | None) -> None:
    """A good answer with one value changed gives each document its own score, or an error."""
    changed: Any = copy.deepcopy(GOOD)
    if where:
        *path, last = where
        place = changed
        for step in path:
            place = place[step]
        place[last] = value
    response = outcome(encoded(changed if where else value), top_n)
    if isinstance(response, RerankResponse) and where and where[0] != "results":
        assert [(r.index, r.relevance_score) for r in response] == [
            (item["index"], item["relevance_score"]) for item in GOOD["results"]
        ][:top_n]
    if isinstance(response, RerankResponse) and where[-1:] in (("index",), ("relevance_score",)):
        said = {item["index"]: item["relevance_score"] for item in changed["results"]}
        assert all(said[result.index] == result.relevance_score for result in response)


header_names = st.sampled_from(
    ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-request-id", "content-type", "cf-ray"]
)
headers = st.dictionaries(
    header_names,
    st.text(st.characters(max_codepoint=255), max_size=30)
    | st.integers().map(str)
    | st.floats().map(str),
)


@quick
@given(status=st.integers(300, 999), headers=headers, body=json_values)
@example(status=429, headers={"retry-after": "9" * 5000}, body={})
@example(status=429, headers={"retry-after": "Fri, 31 Dec 9999 23:59:59 -1200"}, body={})
@example(status=429, headers={"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"}, body={})
@example(status=503, headers={"retry-after": "-1"}, body={})
@example(status=503, headers={"retry-after": "nan"}, body={})
@example(status=503, headers={"retry-after-ms": "inf"}, body={})
def test_error_answers_of_any_kind(status: int, headers: dict[str, str], body: Any) -> None:
    """Any error answer is one exception, and asks for no time or for some that can be waited."""
    for provider in (together(), portkey(), OpenRouter(api_key="k")):
        error = failed(encoded(body), status, headers, provider)
        assert isinstance(error, StatusError)
        assert len(str(error)) < 3000
        asked = error.retry_after
        assert asked is None or (math.isfinite(asked) and asked >= 0)


@pytest.fixture(name="server", scope="module")
def server_fixture() -> Iterator[Server]:
    """A server that answers what it is told."""
    with running() as server:
        yield server


lines = st.sampled_from(
    [b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 429", b"HTTP/1.1 100 Continue", b"HTTP/9 x"]
)
more = st.sampled_from(
    [
        b"Content-Length: 5",
        b"Content-Length: -1",
        b"Content-Length: 99999999999999999999",
        b"Content-Length: 2\r\nContent-Length: 3",
        b"Transfer-Encoding: chunked",
        b"Content-Encoding: gzip",
        b"Content-Encoding: br",
        b"Retry-After: \xff",
        b"X-Request-Id: \xe9\xff",
        b"Connection: close",
        b"Content-Type: text/event-stream",
        b": nameless",
        b"Folded: a\r\n b",
        b"X: " + b"x" * 200_000,
    ]
)
bodies = (
    st.binary(max_size=40)
    | st.just(json.dumps(GOOD).encode())
    | st.just(b'5\r\n{"a":\r\n0\r\n\r\n')
)


@settings(quick, max_examples=40)
@given(line=lines, headers=st.lists(more, max_size=3), body=bodies, junk=st.binary(max_size=8))
@example(line=b"", headers=[], body=b"", junk=b"")
@example(line=b"HTTP/1.1 200 OK", headers=[], body=json.dumps(GOOD).encode(), junk=b"")
@example(line=b"HTTP/1.1 200 OK", headers=[b"Content-Length: 2"], body=b"{}", junk=b"HTTP/1.1 200")
def test_bytes_of_any_kind(
    server: Server, line: bytes, headers: list[bytes], body: bytes, junk: bytes
) -> None:
    """Whatever bytes a server writes, a call ends with a response in order or an error of ours."""
    server.plays(says(b"\r\n".join([line, *headers, b"", body]) + junk))
    provider = OpenRouter(api_key="the-key", base_url=server.url)
    with RerankClient("m", provider=provider, deadline=10.0, max_retries=0) as client:
        for way in (client.rerank, lambda *given: asyncio.run(client.arerank(*given))):
            try:
                response = way("q", DOCUMENTS)
            except RerankError as error:
                assert not isinstance(error, TimeoutError)
                continue
            check(response, DOCUMENTS, None)
            assert b"200" in line


def test_a_good_answer_is_not_refused() -> None:
    """The answer that the others are made of is read as it stands."""
    response = outcome(encoded(GOOD))
    assert isinstance(response, RerankResponse)
    assert [result.document for result in response] == ["ccc", "a", "dddd", "bb"]
    assert isinstance(outcome(encoded([GOOD, GOOD])), ResponseError)
