"""Tests of answers: what is read of them, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cases import cases
from rerank_integrations._response import merge_responses, parse_response
from rerank_integrations.errors import Attempt, AuthenticationError, ResponseError, StatusError
from rerank_integrations.models import RerankDocument, RerankResponse, Usage
from rerank_integrations.providers.base import HTTPResponse, Provider
from support import (
    DATA_URI,
    KEY,
    PIXELS,
    call,
    http_response,
    local_variables,
    openrouter,
    part,
    portkey,
    ranking,
    together,
)

DOCUMENTS = ("a", "b", "c")
GOOD = ranking((0, 0.9))
_HUGE = pytest.param(10**400, id="huge")


def answered(body: object, status: int = 200, **given: Any) -> RerankResponse:
    """The response to a call with three documents."""
    return parse_response(part(*DOCUMENTS, **given), http_response(body, status))


def pairs(response: RerankResponse) -> list[tuple[int, float]]:
    """Index and score of each result."""
    return [(result.index, result.relevance_score) for result in response]


def refused(body: object, status: int = 200, **given: Any) -> str:
    """The message about an answer that cannot be trusted."""
    with pytest.raises(ResponseError) as caught:
        answered(body, status, **given)
    return str(caught.value)


def test_openrouter_example() -> None:
    """OpenRouter's documented answer is read whole."""
    body = {
        "id": "gen-rerank-1234567890-abc",
        "model": "cohere/rerank-v3.5",
        "provider": "Cohere",
        "results": [{"document": {"text": "a"}, "index": 0, "relevance_score": 0.98}],
        "usage": {"search_units": 1, "total_tokens": 150},
    }
    response = parse_response(
        part(*DOCUMENTS), http_response(body, headers={"x-generation-id": "g-1"})
    )
    assert pairs(response) == [(0, 0.98)]
    assert (response.id, response.request_id) == ("gen-rerank-1234567890-abc", "g-1")
    assert (response.model, response.provider) == ("cohere/rerank-v3.5", "Cohere")
    assert response.usage.counts() == {"search_units": 1, "total_tokens": 150}


def test_together_example() -> None:
    """Together's documented answer is read whole."""
    results = [
        {"index": 0, "relevance_score": 0.29980177813003117, "document": {"text": '{"title":""}'}},
        {"index": 2, "relevance_score": 0.2752447527354349, "document": {"text": "{}"}},
    ]
    usage = {"prompt_tokens": 1837, "completion_tokens": 0, "total_tokens": 1837}
    body = {
        "object": "rerank",
        "id": "9dfa1a09-5ebc-4a40-970f-586cb8f4ae47",
        "model": "salesforce/turboranker-0.8-3778-6328",
        "results": results,
        "usage": usage,
    }
    response = answered(body, provider=together())
    assert pairs(response) == [(0, 0.29980177813003117), (2, 0.2752447527354349)]
    assert (response.provider, response.model) == ("together", body["model"])
    assert response.usage.raw == usage


@cases(
    "body",
    [
        {"results": [{"index": 1, "relevance_score": 0.5}]},
        {"data": [{"index": 1, "relevance_score": 0.5}]},
        {"object": "list", "data": [{"index": 1, "score": 0.5, "document": "b"}]},
        {"results": [{"index": 1, "score": 0.5}]},
        [{"index": 1, "score": 0.5, "text": "b"}],
        {"results": [{"index": 1, "relevance_score": 0.5}], "error": None},
        {"results": [{"index": 1, "relevance_score": 0.5}], "hook_results": {"a": 1}},
    ],
)
def test_dialects(body: object) -> None:
    """Every neighbour's dialect of an answer is understood."""
    assert pairs(answered(body)) == [(1, 0.5)]


@cases("echo", [{}, {"document": None}, {"document": {}}, {"document": "x"}, {"document": ["x"]}])
def test_echo_is_passed_over(echo: dict[str, object]) -> None:
    """A result's document is the caller's, whatever the answer echoes."""
    result = answered({"results": [{"index": 2, "relevance_score": 0.5, **echo}]})[0]
    assert result.document == "c"


@cases("document", [{"text": "a"}, RerankDocument(text="a"), {"image": DATA_URI, "text": "a"}])
def test_document_is_the_callers_object(document: object) -> None:
    """A result's document is the very object that the caller passed."""
    response = parse_response(part("x", document), http_response(ranking((1, 0.5))))
    assert response[0].document is document


def test_blanks_shift_no_index() -> None:
    """An index of the answer counts the sent documents, one of a result the caller's."""
    prepared = call("", "a", " ", "b")
    response = merge_responses(
        prepared, [parse_response(prepared.chunks[0], http_response(ranking((1, 0.9), (0, 0.1))))]
    )
    assert [(result.index, result.document) for result in response] == [(3, "b"), (1, "a")]
    assert response.skipped == (0, 2)


def test_same_document_twice() -> None:
    """Equal documents are told apart by their index."""
    assert pairs(parse_response(part("a", "a"), http_response(ranking((1, 0.9), (0, 0.8))))) == [
        (1, 0.9),
        (0, 0.8),
    ]


@cases(
    ("given", "expected"),
    [
        ([(2, 0.9), (0, 0.5), (1, 0.1)], [2, 0, 1]),
        ([(2, 0.5), (1, 0.5), (0, 0.5)], [2, 1, 0]),
        ([(2, 1.0), (0, 1.0), (1, 0.3)], [2, 0, 1]),
        ([(0, 0.1), (1, 0.5), (2, 0.9)], [2, 1, 0]),
        ([(2, 0.1), (1, 0.9), (0, 0.1)], [1, 2, 0]),
        ([(1, -7.5), (0, -1.5), (2, -1.5)], [0, 2, 1]),
    ],
)
def test_order(given: list[tuple[int, float]], expected: list[int]) -> None:
    """The order of an answer that descends is kept, another is sorted with ties as they came."""
    assert [result.index for result in answered(ranking(*given))] == expected


@cases(("score", "expected"), [(1, 1.0), (0, 0.0), (-12.5, -12.5), (1e-9, 1e-9), (250.0, 250.0)])
def test_score(score: float, expected: float) -> None:
    """A score is the provider's number as a float, never rescaled."""
    found = answered(ranking((0, score)))[0].relevance_score
    assert (found, type(found)) == (expected, float)


@cases("top_n", [1, 2])
def test_more_results_than_asked_for(top_n: int) -> None:
    """An endpoint that ignores top_n is cut to the best."""
    body = ranking((0, 0.1), (1, 0.9), (2, 0.5))
    assert [result.index for result in answered(body, top_n=top_n)] == [1, 2][:top_n]


@cases("body", [{"results": []}, [], ranking((1, 0.5))])
def test_fewer_results_than_asked_for(body: object) -> None:
    """An answer may rank fewer documents than were sent, or none."""
    assert len(answered(body, top_n=3)) <= 1


@cases("index", [3, -1, 99, 1.0, True, False, "0", None, [0], {}])
def test_wrong_index(index: object) -> None:
    """An index that is no position of a sent document is refused."""
    body = {"results": [{"index": index, "relevance_score": 0.5}]}
    assert "3 were sent" in refused(body)


def test_index_of_an_unsent_document() -> None:
    """An index that counts the blank documents too is refused."""
    with pytest.raises(ResponseError, match="1 were sent"):
        parse_response(part("", "a"), http_response(ranking((1, 0.5))))


def test_no_index() -> None:
    """A result without an index is refused."""
    assert "3 were sent" in refused({"results": [{"relevance_score": 0.5}]})


def test_repeated_index() -> None:
    """An answer that ranks a document twice is refused."""
    assert "twice" in refused(ranking((0, 0.9), (1, 0.5), (0, 0.1)))


def test_repeated_index_beyond_top_n() -> None:
    """A document ranked twice is refused also where top_n would cut it."""
    assert "twice" in refused(ranking((0, 0.9), (0, 0.1)), top_n=1)


@cases("score", [math.nan, math.inf, -math.inf, None, "0.5", True, False, [0.5], {}, _HUGE])
def test_wrong_score(score: object) -> None:
    """A score that is no finite number is refused with its document's index."""
    assert "score of document 1" in refused({"results": [{"index": 1, "relevance_score": score}]})


def test_no_score() -> None:
    """A result without a score is refused."""
    assert "score of document 1" in refused({"results": [{"index": 1}]})


@cases("key", ["index", "relevance_score"])
def test_odd_value_shows_no_image(key: str) -> None:
    """The message about an odd index or score repeats no image data."""
    result = {"index": 0, "relevance_score": 0.5, key: DATA_URI}
    assert PIXELS not in refused({"results": [result]})


@cases("body", [{}, {"results": None}, {"results": {"0": 0.5}}, {"data": 5}])
def test_no_results(body: object) -> None:
    """An answer without a list of results is refused."""
    assert "no list of results" in refused(body)


@cases("item", [None, 0.5, "a", [0, 0.5]])
def test_result_is_an_object(item: object) -> None:
    """A result that is no object is refused."""
    assert "a result is not an object" in refused({"results": [item]})


@cases("body", ["words", 5, None, True])
def test_no_object(body: object) -> None:
    """An answer that is neither an object nor a list is refused."""
    assert "not an object" in refused(body)


@cases(
    "content", [b"<html></html>", b"data: [DONE]", b'{"results": [', b'{"a":"\xff"}', b"[" * 9999]
)
def test_not_json(content: bytes) -> None:
    """An answer that is not JSON is refused with the type that it claims."""
    with pytest.raises(ResponseError, match=r"not JSON \(text/html\)"):
        parse_response(part("a"), http_response(content, headers={"content-type": "text/html"}))


@cases("status", [200, 204])
def test_empty_body(status: int) -> None:
    """An answer without a body is refused as such."""
    assert "its body is empty" in refused(b"", status)


@cases(
    ("error", "words"),
    [
        ({"message": "Invalid response received from cohere: {}"}, "Invalid response"),
        ({"code": 502, "message": "Provider returned error"}, "Provider returned error"),
        ("overloaded", "overloaded"),
        ({"code": 1}, "no message"),
    ],
)
def test_error_inside_a_success(error: object, words: str) -> None:
    """An error inside a 200 is an error with its words, even beside results."""
    assert f"with an error inside: {words}" in refused({**GOOD, "error": error})


def test_error_inside_shows_no_secret() -> None:
    """The words of an error inside a 200 are cut like those of any other."""
    message = refused({"error": {"message": f"bad {KEY} and {DATA_URI}"}})
    assert message.endswith("bad *** and <image data>")


def test_untrusted_answer_is_final() -> None:
    """An answer that cannot be trusted names the provider and is not asked for again."""
    with pytest.raises(ResponseError, match="the response of openrouter") as caught:
        answered({})
    assert caught.value.is_retryable is False


@cases("status", [200, 201, 246, 299])
def test_success(status: int) -> None:
    """Every 2xx is a success."""
    assert pairs(answered(GOOD, status)) == [(0, 0.9)]


@cases("status", [199, 300, 304, 400, 500])
def test_no_success(status: int) -> None:
    """Any other status is an error, even with a good body."""
    with pytest.raises(StatusError) as caught:
        answered(GOOD, status)
    assert caught.value.status_code == status


@cases(
    ("results", "options", "warning"),
    [
        ([(0, 0.9)], {}, "openrouter returned 1 result for 3 documents"),
        ([], {}, "openrouter returned 0 results for 3 documents"),
        ([(0, 0.9)], {"top_n": 2}, "openrouter returned 1 result for 3 documents"),
        ([(0, 0.9), (1, 0.8)], {"top_n": 2}, None),
        ([(0, 0.9), (1, 0.8), (2, 0.1)], {"score_threshold": 0.5}, None),
    ],
)
def test_fewer_results_than_documents(
    results: list[Any], options: dict[str, Any], warning: str | None
) -> None:
    """A server that returns fewer results than were asked for is warned of."""
    chunk = part("a", "b", "c", **options)
    found = parse_response(chunk, http_response(ranking(*results))).warnings
    assert found == ((warning,) if warning else ())


def test_a_message_beside_no_results() -> None:
    """A 200 without results whose body has a message is an error with that message."""
    for body in ({"object": "error", "message": "boom"}, {"code": 1, "message": "boom"}):
        with pytest.raises(ResponseError, match="boom"):
            parse_response(part("a"), http_response({**body, "results": []}))


@cases(
    ("provider", "status", "warned"),
    [(portkey(), 246, True), (portkey(), 200, False), (openrouter(), 246, False)],
)
def test_guardrail_warning(provider: Provider, status: int, warned: bool) -> None:  # noqa: FBT001
    """A Portkey guardrail that failed and let the call through is a warning."""
    found = answered(GOOD, status, provider=provider).warnings
    assert any("guardrail" in each for each in found) is warned


@cases(
    ("more", "expected"),
    [
        ({}, Usage()),
        ({"usage": None}, Usage()),
        ({"usage": []}, Usage()),
        ({"usage": {}}, Usage()),
        ({"usage": {"search_units": 1}}, Usage(search_units=1)),
        ({"usage": {"search_units": 1.5, "cost": 0.001}}, Usage(search_units=1.5, cost=0.001)),
        ({"usage": {"total_tokens": 0}}, Usage(total_tokens=0)),
        (
            {"usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}},
            Usage(prompt_tokens=3, completion_tokens=1, total_tokens=4),
        ),
        ({"usage": {"total_tokens": "5", "cost": True, "search_units": None}}, Usage()),
        ({"usage": {"total_tokens": -5, "cost": -0.1, "search_units": 1}}, Usage(search_units=1)),
        ({"usage": {"total_tokens": 5, "cost": float("nan")}}, Usage(total_tokens=5)),
        ({"usage": {"cost": -1, "rerank_units": float("inf")}}, Usage()),
        ({"usage": {"rerank_units": 2}}, Usage(search_units=2)),
        ({"usage": {"input_tokens": 19}}, Usage(prompt_tokens=19)),
        ({"usage": {"prompt_tokens": None, "input_tokens": 19}}, Usage(prompt_tokens=19)),
        ({"usage": {"prompt_tokens": 18, "input_tokens": 19}}, Usage(prompt_tokens=18)),
        (
            {"meta": {"tokens": {"input_tokens": None}, "billed_units": {"input_tokens": 7}}},
            Usage(prompt_tokens=7),
        ),
        ({"meta": {"billed_units": {"input_tokens": 7}}}, Usage(prompt_tokens=7)),
        ({"total_tokens": 30, "total_bytes": 100}, Usage(total_tokens=30)),
        ({"tokens": {"input_tokens": 5}}, Usage(prompt_tokens=5)),
        (
            {"meta": {"tokens": {"input_tokens": 6}, "billed_units": None}},
            Usage(prompt_tokens=6),
        ),
        (
            {"input_tokens": 4, "inference_status": {"cost": 1e-6, "tokens_input": 4}},
            Usage(prompt_tokens=4, cost=1e-6),
        ),
        ({"meta": {"billed_units": {"search_units": 2}}}, Usage(search_units=2)),
        ({"usage": None, "meta": {"billed_units": {"search_units": 2}}}, Usage(search_units=2)),
        ({"usage": {"cost": 1}, "meta": {"billed_units": {"search_units": 2}}}, Usage(cost=1)),
        ({"meta": {"billed_units": None}}, Usage()),
        ({"meta": {"api_version": {}}}, Usage()),
        ({"meta": "x"}, Usage()),
    ],
)
def test_usage(more: dict[str, object], expected: Usage) -> None:
    """Each count of the usage is optional; only a finite number of at least 0 is counted."""
    assert answered({**GOOD, **more}).usage.counts() == expected.counts()


@cases("place", ["usage", "billed_units"])
def test_raw_usage(place: str) -> None:
    """The whole usage object is kept, with counts that have no name here."""
    raw = {"rerank_units": 2, "search_units": "1"}
    more = {"usage": raw} if place == "usage" else {"meta": {"billed_units": raw}}
    assert answered({**GOOD, **more}).usage.raw == raw


@cases(
    ("more", "expected"),
    [
        ({}, ("some/model", "openrouter", None)),
        ({"model": None, "provider": None, "id": None}, ("some/model", "openrouter", None)),
        ({"model": "", "provider": ""}, ("some/model", "openrouter", None)),
        ({"model": 5, "provider": {}, "id": 5}, ("some/model", "openrouter", None)),
        ({"model": "m", "provider": "Cohere", "id": "i"}, ("m", "Cohere", "i")),
    ],
)
def test_names(more: dict[str, object], expected: tuple[str, str, str | None]) -> None:
    """Model, provider and id are the answer's, else what is known here."""
    response = answered({**GOOD, **more})
    assert (response.model, response.provider, response.id) == expected


def test_attempts() -> None:
    """A response carries the requests that led to it."""
    attempts = (Attempt("openrouter", "m", "failed"), Attempt("openrouter", "m"))
    assert parse_response(part("a"), http_response(GOOD), attempts).attempts == attempts


def test_nothing_sent() -> None:
    """A call with nothing to send has an empty response that names model and skipped documents."""
    response = merge_responses(call(" ", ""), [])
    assert response == RerankResponse((), "some/model", "openrouter", skipped=(0, 1))


@cases(
    ("provider", "secret", "headers"),
    [
        (openrouter(), KEY, {}),
        (together(), KEY, {}),
        (portkey(), KEY, {}),
        (portkey(authorization="co-secret-1"), "co-secret-1", {}),
        (portkey(virtual_key="virtual-secret-1"), "virtual-secret-1", {}),
        (portkey(config={"api_key": "config-secret-1"}), "config-secret-1", {}),
        (openrouter(), "header-secret-1", {"X-Token": "header-secret-1"}),
        (openrouter(), "basic-secret-1", {"Authorization": "Basic basic-secret-1"}),
        (openrouter(), "bearer-secret-1", {"Authorization": "bearer bearer-secret-1"}),
    ],
)
def test_message_shows_no_secret(provider: Provider, secret: str, headers: dict[str, str]) -> None:
    """No key and no header value that an answer repeats is in the error."""
    prepared = part("a", provider=provider, extra_headers=headers)
    with pytest.raises(AuthenticationError) as caught:
        parse_response(prepared, http_response({"message": f"incorrect key: {secret}"}, 401))
    assert secret not in f"{caught.value} {caught.value.message}"


def test_own_agent_is_no_secret() -> None:
    """The common headers hold no secret, so an error may name their values."""
    with pytest.raises(StatusError, match="application/json is not acceptable"):
        answered({"message": "application/json is not acceptable"}, 406)


def test_error_status_stays_out_of_local_variables() -> None:
    """No image and no key of an error answer stands in a raising frame's local variables."""
    with pytest.raises(StatusError) as caught:
        answered({"message": f"{KEY} {DATA_URI}"}, 400)
    shown = local_variables(caught.value)
    assert (PIXELS in shown, KEY in shown) == (False, False)


def test_repr_of_a_response() -> None:
    """A response's repr shows its status and size only."""
    assert repr(HTTPResponse(200, {"a": "b"}, b"12345")) == "<HTTPResponse 200, 5 bytes>"
