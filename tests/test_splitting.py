"""Tests of calls that take several requests: where they are cut, and how they become one again.

A document's score here is what its text says, wherever it is sent.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given, settings, strategies as st

from calls import Calls, client_of
from cases import cases
from loopback import Received, Reply, Server
from rerank_integrations import (
    NOT_GIVEN,
    BadRequestError,
    ConfigurationError,
    DeepInfra,
    Jina,
    Local,
    OpenRouter,
    RerankClient,
    RerankDocument,
    UnsupportedDocumentError,
)
from rerank_integrations._request import (
    RequestPlan,
    _split_bodies,
    encode_documents,
    join_pieces,
    size_of,
)
from rerank_integrations.providers.base import Provider
from rerank_integrations.providers.vllm import VLLM
from support import (
    DATA_URI,
    PNG,
    bodies_of,
    call as prepared,
    content_of,
    http_response,
    merged,
    options,
    parsed,
)

LISTWISE = "jina/jina-reranker-v3"
MIXED = ["a", {"text": "b", "image": PNG}, {"image": DATA_URI}, "dd", {"image": b"\xff\xd8\xff"}]


def scores(received: Received) -> Reply:
    """Gives each document the score that it is, and ranks them as a provider does."""
    body = received.body
    results = [
        {"index": index, "relevance_score": float(text)}
        for index, text in enumerate(body["documents"])
    ]
    results.sort(key=lambda result: -result["relevance_score"])
    return Reply({"results": results[: body.get("top_n")]})


def sizes(call: RequestPlan) -> list[int]:
    """The bytes of each body."""
    return [part.request().size for part in call.chunks]


def counts(call: RequestPlan) -> list[int]:
    """The number of documents of each body."""
    return [len(part.sent) for part in call.chunks]


def size_for(documents: Sequence[object], **given: Any) -> int:
    """The bytes of one body with the documents."""
    [size] = sizes(prepared(*documents, max_request_bytes=None, **given))
    return size


def parts_received(server: Server) -> list[list[Any]]:
    """The documents of each request that came, in the order of the caller's list."""
    return sorted((one.body["documents"] for one in server.received), key=lambda d: -float(d[0]))


@cases("documents", [["a", "bb", "ccc"], ["é\n" * 9, '"'], MIXED])
def test_exact_limit(documents: list[object]) -> None:
    """A body of exactly max_request_bytes is one request, and a limit of one byte less splits."""
    whole = size_for(documents)
    assert sizes(prepared(*documents, max_request_bytes=whole)) == [whole]
    split = sizes(prepared(*documents, max_request_bytes=whole - 1))
    assert len(split) > 1
    assert max(split) < whole


@cases("largest", range(90, 400, 17))
@cases("top_n", [None, 1, 12])
def test_no_body_is_larger(largest: int, top_n: int | None) -> None:
    """No body passes max_request_bytes, whatever top_n adds, and the documents keep their order."""
    documents = [letter * size for letter, size in zip("abcdefghij", range(1, 11), strict=True)]
    call = prepared(*documents, max_request_bytes=largest, top_n=top_n)
    assert max(sizes(call)) <= largest
    assert [text for body in bodies_of(call) for text in body["documents"]] == documents
    assert [index for part in call.chunks for index in part.sent] == list(range(10))


@cases("fits", [["aaaa", "bbbb"], ["a" * 9, "é", '"'], [{"image": PNG}, "aa"], ["a" * 50]])
def test_full_bodies(fits: list[object]) -> None:
    """A body among several may have exactly max_request_bytes, too."""
    call = prepared(*fits, *fits, max_request_bytes=size_for(fits))
    assert counts(call) == [len(fits), len(fits)]


def test_full_bodies_with_top_n() -> None:
    """A body is full by its own top_n, which may have fewer digits than that of the whole list.

    The same holds for a query that is repeated for each document.
    """
    largest = size_for(["a"] * 6, top_n=12)
    assert counts(prepared(*["a"] * 12, max_request_bytes=largest, top_n=12)) == [6, 6]
    repeated: dict[str, Any] = {"provider": DeepInfra(api_key="k")}
    largest = size_for(["a"] * 6, **repeated)
    assert counts(prepared(*["a"] * 13, max_request_bytes=largest, **repeated)) == [6, 6, 1]


def test_full_bodies_with_both_limits() -> None:
    """There are as few requests as both limits allow: what one cuts off joins what follows."""
    largest = size_for(["aaaa"] * 3) + 1  # one byte to spare, for the exact limit has its own test
    given: dict[str, Any] = {"max_request_bytes": largest, "max_documents_per_request": 4}
    assert counts(prepared(*["aaaa"] * 8, **given)) == [3, 3, 2]


@cases("others", [[], ["a"], ["a", "b", "c"]])
@cases("large", ["x" * 99, {"image": PNG, "text": "x" * 60}])
def test_one_document_fills_a_body(others: list[object], large: object) -> None:
    """A document that fills a body exactly is sent, alone or after others."""
    call = prepared(*others, large, max_request_bytes=size_for([large]))
    assert list(call.chunks[-1].sent) == [len(others)]


@cases("others", [[], ["1"], ["1", "2", "3"], ["1", " ", "3"]])
@cases("large", ["9" * 99, {"image": PNG, "text": "9" * 60}])
def test_one_document_too_large(
    call: Calls, server: Server, others: list[object], large: object
) -> None:
    """A document that no body can hold is refused with its index, and nothing at all is sent."""
    with (
        client_of(server, max_request_bytes=120) as client,
        pytest.raises(UnsupportedDocumentError, match=rf"^document {len(others)}: .*is 120;"),
    ):
        call(client, documents=[*others, large])
    assert server.received == []


def test_refusal_names_a_size_above_the_limit() -> None:
    """The refusal of a document names a size that is indeed more than the limit."""
    with pytest.raises(UnsupportedDocumentError) as caught:
        prepared("a" * 40, "b", max_request_bytes=80)
    assert max(map(int, re.findall(r"\d+", str(caught.value)))) > 80


def test_query_too_large() -> None:
    """Where the query alone passes the limit the call is refused."""
    with pytest.raises(UnsupportedDocumentError, match="shorten the query"):
        prepared("a", max_request_bytes=10)


def test_no_limit_by_default_on_small_lists() -> None:
    """A small list is one request by default."""
    assert counts(prepared(*["a"] * 1000)) == [1000]


def test_default_limit_of_bytes() -> None:
    """By default a body has at most 32 MiB."""
    document = "a" * (2**20)
    call = prepared(*[document] * 33)
    assert max(sizes(call)) <= 32 * 2**20
    assert counts(call) == [31, 2]
    assert counts(prepared(*[document] * 33, max_request_bytes=None)) == [33]


@cases(
    ("given", "expected"),
    [
        ({}, [1000, 1000, 1]),
        ({"max_documents_per_request": NOT_GIVEN}, [1000, 1000, 1]),
        ({"max_documents_per_request": None}, [2001]),
        ({"max_documents_per_request": 2001}, [2001]),
        ({"max_documents_per_request": 2000}, [2000, 1]),
        ({"max_documents_per_request": 900}, [900, 900, 201]),
    ],
)
def test_limit_of_documents(given: dict[str, Any], expected: list[int]) -> None:
    """A request has at most so many documents: 1000 by default, and no limit with None."""
    assert counts(prepared(*["a"] * 2001, **given)) == expected


def test_blank_documents_do_not_count() -> None:
    """What is not sent does not fill a request."""
    call = prepared("a", " ", "b", "", "c", max_documents_per_request=2)
    assert [list(part.sent) for part in call.chunks] == [[0, 2], [4]]


@cases("value", [0, -1, 1.5, "2", True, b"1"])
@cases("name", ["max_documents_per_request", "max_request_bytes", "max_concurrency"])
def test_wrong_limit(name: str, value: Any) -> None:
    """A limit that is no positive int is a ConfigurationError that names it."""
    with pytest.raises(ConfigurationError, match=f"^{name} must be"):
        options(None, **{name: value})


@cases(
    ("provider", "model"),
    [
        (OpenRouter(api_key="k"), LISTWISE),
        (Jina(api_key="k"), "jina-reranker-v3"),
        (Local(scorer=lambda _, texts: [1.0] * len(texts)), "mine"),
    ],
)
@cases("limit", ["max_documents_per_request", "max_request_bytes"])
def test_never_split(provider: Provider, model: str, limit: str) -> None:
    """What scores a document by the whole list gets the whole list, whatever the limits."""
    documents = ["a" * 40] * 1200
    call = prepared(*documents, provider=provider, model=model, **{limit: 150})
    assert not provider.splits(model)
    assert counts(call) == [1200]


@cases(("top_n", "expected"), [(1, [1, 1, 1]), (2, [2, 2, 1]), (3, [2, 2, 1]), (9, [2, 2, 1])])
def test_top_n_of_each_part(top_n: int, expected: list[int]) -> None:
    """Each request asks for top_n, or for all of its documents where it has fewer."""
    call = prepared(*"abcde", top_n=top_n, max_documents_per_request=2)
    assert [body["top_n"] for body in bodies_of(call)] == expected


def test_parts_are_alike() -> None:
    """The requests of a call differ in their documents only."""
    given: dict[str, Any] = {"extra_body": {"a": 1}, "extra_headers": {"x-a": "b"}}
    call = prepared(*"abc", max_documents_per_request=1, **given)
    requests = [part.request() for part in call.chunks]
    rests = [{k: v for k, v in body.items() if k != "documents"} for body in bodies_of(call)]
    assert rests == [rests[0]] * 3
    assert all(r.headers == requests[0].headers and r.url == requests[0].url for r in requests)


@cases("top_n", [None, 1, 2, 3, 99])
@cases("limit", [{"max_documents_per_request": 2}, {"max_request_bytes": 75}])
def test_merged_ranking(
    call: Calls, server: Server, top_n: int | None, limit: dict[str, Any]
) -> None:
    """The best of the whole list comes back, with the caller's indexes and very documents."""
    server.plays(scores)
    documents = ["0.1", {"text": "0.9"}, " ", RerankDocument(text="0.5"), "0.7", "", "0.3"]
    with client_of(server, **limit) as client:
        response = call(client, documents=documents, top_n=top_n)
    assert len(server.received) > 1
    expected = [(1, 0.9), (4, 0.7), (3, 0.5), (6, 0.3), (0, 0.1)][:top_n]
    assert [(result.index, result.relevance_score) for result in response] == expected
    assert all(result.document is documents[result.index] for result in response)
    assert (response.skipped, response.missing) == ((2, 5), ())


def test_same_as_unsplit(call: Calls, server: Server) -> None:
    """However a list is cut, the ranking is that of the uncut list."""
    server.plays(scores)
    documents = [f"0.{(37 * i) % 89:02}" for i in range(60)]
    with client_of(server) as client:
        whole = call(client, documents=documents, top_n=20)
        for most in (1, 7, 59, 60):
            part = call(client, documents=documents, top_n=20, max_documents_per_request=most)
            assert part.results == whole.results


def test_ties_keep_the_callers_order(call: Calls, server: Server) -> None:
    """Documents of the same score come in the caller's order, also out of several requests."""
    server.plays(scores)
    documents = ["0.5", "0.9", "0.5", "0.9", "0.5", "0.9", "0.5"]
    with client_of(server, max_documents_per_request=2) as client:
        response = call(client, documents=documents)
    assert [result.index for result in response] == [1, 3, 5, 0, 2, 4, 6]


def test_ties_do_not_depend_on_the_order_of_answers(call: Calls, server: Server) -> None:
    """Which request is answered first does not change the order of ties."""
    later_came = threading.Event()

    def last_first(received: Received) -> Reply:
        if received.body["documents"] == ["0.50"]:
            later_came.wait(30)
        else:
            later_came.set()
        return scores(received)

    server.plays(last_first)
    with client_of(server, max_documents_per_request=1, max_concurrency=2) as client:
        response = call(client, documents=["0.50", "0.5"])
    assert [result.index for result in response] == [0, 1]


def test_usage_is_summed(call: Calls, server: Server) -> None:
    """The counts of usage of all requests are added up, and each raw usage is kept."""
    costs = {"1": {"total_tokens": 3, "cost": 0.5}, "2": {"total_tokens": 4, "search_units": 1}}

    def step(received: Received) -> Reply:
        answered: dict[str, Any] = scores(received).body
        [document] = received.body["documents"]
        return Reply({**answered, "usage": costs.get(document)})

    server.plays(step)
    with client_of(server, max_documents_per_request=1) as client:
        usage = call(client, documents=["1", "2", "3"]).usage
    assert usage.counts() == {"total_tokens": 7, "cost": 0.5, "search_units": 1}
    assert usage.raw == {"requests": [costs["1"], costs["2"]]}


def test_ids_are_listed(call: Calls, server: Server) -> None:
    """The ids of all requests are listed in the caller's order, both kinds of them."""

    def step(received: Received) -> Reply:
        answered: dict[str, Any] = scores(received).body
        [document] = received.body["documents"]
        said = {"id": f"id-{document}"} if document != "2" else {}
        return Reply({**answered, **said}, headers={"x-generation-id": f"gen-{document}"})

    server.plays(step)
    with client_of(server, max_documents_per_request=1) as client:
        response = call(client, documents=["1", "2", "3"])
    assert (response.id, response.request_id) == ("id-1, id-3", "gen-1, gen-2, gen-3")
    assert [attempt.error for attempt in response.attempts] == [None] * 3


def test_warnings_once(call: Calls, server: Server) -> None:
    """A warning that every request brings is given once, after those about the documents."""

    def step(received: Received) -> Reply:
        return Reply(scores(received).body, 246)

    server.plays(step)
    given: dict[str, Any] = {"max_documents_per_request": 1, "on_image": "text"}
    with client_of(server, "portkey", **given) as client:
        response = call(client, documents=["1", {"text": "2", "image": PNG}, "3"])
    assert len(server.received) == 3
    first, second = response.warnings
    assert "document 1 " in first
    assert "guardrail" in second


@cases("failing", ["1", "2", "3"])
def test_a_failing_part_fails_the_call(call: Calls, server: Server, failing: str) -> None:
    """One request that fails fails the call with its own error."""

    def step(received: Received) -> Reply:
        bad = Reply({"error": {"message": f"not {failing}"}}, 400)
        return bad if failing in received.body["documents"] else scores(received)

    server.plays(step)
    with (
        client_of(server, max_documents_per_request=1) as client,
        pytest.raises(BadRequestError, match=f"not {failing}") as caught,
    ):
        call(client, documents=["1", "2", "3"])
    kinds = [(attempt.error or "").partition(":")[0] for attempt in caught.value.attempts]
    assert kinds.count("BadRequestError") == 1
    assert set(kinds) <= {"BadRequestError", "", "cancelled"}


def test_nothing_is_begun_after_a_failure(call: Calls, server: Server) -> None:
    """After a request has failed those that wait are not sent."""
    over = threading.Event()

    def step(received: Received) -> Reply:
        if received.body["documents"] != ["1"]:
            over.wait(30)  # the next request may be on its way before the failure is seen
        return Reply({"error": {"message": "no"}}, 400)

    server.plays(step)
    with client_of(server, max_documents_per_request=1, max_concurrency=1) as client:
        with pytest.raises(BadRequestError):
            call(client, documents=["1", *"23456789"])
        over.set()
    assert len(server.received) <= 2


class Counting:
    """A step that lets requests go in groups, and counts those that are in flight."""

    def __init__(self, group: int) -> None:
        self._barrier = threading.Barrier(group)
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0

    def __call__(self, received: Received) -> Reply:
        """Wait until the group is complete, and answer."""
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._barrier.wait(30)
        with self._lock:
            self._now -= 1
        return scores(received)


@cases("at_once", [1, 2, 4])
def test_requests_in_flight(call: Calls, server: Server, at_once: int) -> None:
    """Exactly max_concurrency requests are on their way at once, and each connection is reused."""
    counting = Counting(at_once)
    server.plays(counting)
    with client_of(server, max_documents_per_request=1, max_concurrency=at_once) as client:
        response = call(client, documents=[str(number) for number in range(12)])
    assert [result.index for result in response] == list(range(11, -1, -1))
    assert counting.most == at_once
    assert server.connections <= at_once


def test_default_concurrency(call: Calls, server: Server) -> None:
    """By default four requests are on their way at once."""
    counting = Counting(4)
    server.plays(counting)
    with client_of(server, max_documents_per_request=1) as client:
        call(client, documents=["1"] * 8)
    assert (counting.most, len(server.received)) == (4, 8)


@cases("theirs", [False, True])
def test_exact_bytes_on_the_socket(call: Calls, server: Server, *, theirs: bool) -> None:
    """Each request has its exact length, is not chunked, and is the JSON that was prepared."""
    server.plays(lambda received: Reply({"results": []}))
    given: dict[str, Any] = {"max_documents_per_request": 2, "max_concurrency": 1}
    with call.http_client(httpx) as http_client:
        if theirs:
            given[call.argument] = http_client
        with client_of(server, **given) as client:
            call(client, "a query", MIXED, model="some/model")
    expected = [
        content_of(part.request()) for part in prepared(*MIXED, max_documents_per_request=2).chunks
    ]
    assert [one.content for one in server.received] == expected
    for one in server.received:
        assert one.headers["content-length"] == str(len(one.content))
        assert "transfer-encoding" not in one.headers
        assert json.loads(one.content)["query"] == "a query"


def test_length_in_bytes(call: Calls, server: Server) -> None:
    """The length counts bytes, not characters."""
    server.plays(lambda received: Reply({"results": []}))
    with client_of(server) as client:
        call(client, "é€", ["😀" * 40, {"text": "ü", "image": PNG}])
    [one] = server.received
    assert one.headers["content-length"] == str(len(one.content))
    assert one.body["documents"][0] == "😀" * 40


IMAGES = st.binary(max_size=40).map(lambda rest: b"\x89PNG\r\n\x1a\n" + rest)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
PICTURED: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {"image": IMAGES | st.just(DATA_URI), "text": TEXTS}
)
DOCUMENTS: st.SearchStrategy[list[Any]] = st.lists(TEXTS | PICTURED, min_size=1, max_size=12)
PROVIDERS = st.sampled_from([OpenRouter(api_key="k"), VLLM()])
JINA = (Jina(api_key="k"), "jina-reranker-m0")
SEEING = PROVIDERS.map(lambda provider: (provider, "m")) | st.just(JINA)
COUNTS = st.none() | st.integers(1, 13)


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, SEEING, st.integers(60, 700), COUNTS, COUNTS)
def test_parts_make_the_whole(
    documents: list[Any],
    seeing: tuple[Provider, str],
    largest: int,
    most: int | None,
    top_n: int | None,
) -> None:
    """The bodies hold the documents of the uncut body in order, and none passes a limit."""
    provider, model = seeing
    given: dict[str, Any] = {"provider": provider, "model": model, "top_n": top_n}
    given |= {"on_image": "text", "max_documents_per_request": None}
    uncut = prepared(*documents, **given)
    given |= {"max_request_bytes": largest, "max_documents_per_request": most}
    try:
        call = prepared(*documents, **given)
    except UnsupportedDocumentError:
        return
    contents = [content_of(part.request()) for part in call.chunks]
    whole = bodies_of(uncut)
    found = [document for content in contents for document in json.loads(content)["documents"]]
    assert found == [document for body in whole for document in body["documents"]]
    assert [i for part in call.chunks for i in part.sent] == [
        i for p in uncut.chunks for i in p.sent
    ]
    assert all(len(content) <= largest for content in contents)
    assert all(1 <= count <= (most or 12) for count in counts(call))
    for content, count in zip(contents, counts(call), strict=True):
        assert json.loads(content).get("top_n") == (None if top_n is None else min(top_n, count))


@settings(max_examples=100, deadline=None)
@given(DOCUMENTS, SEEING, COUNTS)
def test_size_of_pieces(
    documents: list[Any], seeing: tuple[Provider, str], most: int | None
) -> None:
    """The size of a body's pieces is that of the joined bytes, which are one JSON object."""
    provider, model = seeing
    chosen = options(provider, model=model, on_image="text", max_documents_per_request=most)
    ready = encode_documents(chosen, documents)
    if not ready.sent:
        return
    for body in _split_bodies(chosen, "a query", ready)[1]:
        content = b"".join(join_pieces(body.pieces))
        assert size_of(body.pieces) == len(content)
        assert len(json.loads(content)["documents"]) == body.end - body.first


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(70, 140), COUNTS)
def test_as_few_as_possible(lengths: list[int], largest: int, most: int | None) -> None:
    """There are no more bodies than it takes to fill each with all that the limits allow."""
    documents = ["a" * length for length in lengths]
    expected: list[list[str]] = [[]]
    for document in documents:
        longer = [*expected[-1], document]
        if len(longer) > (most or 12) or size_for(longer) > largest:
            expected.append([])
        expected[-1].append(document)
    try:
        call = prepared(*documents, max_request_bytes=largest, max_documents_per_request=most)
    except UnsupportedDocumentError:
        assert any(size_for([document]) > largest for document in documents)
        return
    assert len(call.chunks) == len([group for group in expected if group])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "3", " "]), max_size=12), st.integers(1, 5), COUNTS)
def test_merge_of_anything(documents: list[str], most: int, top_n: int | None) -> None:
    """However documents tie and are cut, the merge is the stable ranking of all of them."""
    call = prepared(*documents, max_documents_per_request=most, top_n=top_n)
    outcomes = []
    for part in call.chunks:
        request = part.request()
        reply = scores(Received("", {}, content_of(request)))
        outcomes.append(parsed(part, http_response(reply.content)))
    response = merged(call, outcomes)
    sent = [index for index, text in enumerate(documents) if text.strip()]
    expected = sorted(sent, key=lambda index: -float(documents[index]))[:top_n]
    assert [result.index for result in response] == expected
    assert response.skipped == tuple(i for i in range(len(documents)) if i not in sent)


def test_client_of_one_answer(call: Calls, server: Server) -> None:
    """A list that fits stays one request, with the provider's id and usage as they came."""
    usage = {"total_tokens": 3, "other": {"a": 1}}
    server.plays(lambda received: Reply({**scores(received).body, "usage": usage, "id": "id-1"}))
    with client_of(server, max_documents_per_request=3) as client:
        response = call(client, documents=["1", "2", "3"])
    assert (len(server.received), response.id, response.usage.raw) == (1, "id-1", usage)


STEPS: list[Callable[[RerankClient], RerankClient]] = [
    lambda client: client,
    lambda client: client.with_options(max_documents_per_request=2, max_request_bytes=None),
]


@cases("step", STEPS)
def test_limits_of_a_call_win(
    call: Calls, server: Server, step: Callable[[RerankClient], RerankClient]
) -> None:
    """The limits of one call replace those of its client."""
    server.plays(scores)
    with client_of(server, max_documents_per_request=1) as client:
        call(step(client), documents=["4", "3", "2", "1"], max_documents_per_request=3)
    assert parts_received(server) == [["4", "3", "2"], ["1"]]
