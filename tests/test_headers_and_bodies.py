"""What a server says beside the results: headers, the body, warnings, the parts of an error."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from calls import QUERY, TEXTS, Calls, SyncCalls, client_of
from cases import cases
from loopback import Reply, Server, ranking
from rerank_integrations import ResponseError
from support import KEY, PIXELS, failed, http_response, openrouter, parsed, part

SAID = {
    "X-RateLimit-Remaining": "7",
    "X-Flag": "yes",
    "X-Mine": "(my-value)",
    "X-Echo": "Bearer the-key",
    "Set-Cookie": "session=abc",
}


def test_the_headers_of_a_response(call: Calls, server: Server) -> None:
    """`headers` has lower-case names, no cookies and no keys; `raw` is kept only if asked for.

    For a call of several requests both are lists, in the order of the requests.
    """
    server.plays(ranking(0.5, headers=SAID, note=["the-key", {"the-key": 1}]))
    mine = {"x-mine": "my-value", "accept": "application/json", "x-flag": "yes"}
    with client_of(server, extra_headers=mine) as client:
        plain, kept = call(client), call(client, keep_raw=True)
        call.close(client)
    assert isinstance(plain.headers, Mapping)
    assert plain.headers["x-ratelimit-remaining"] == "7"
    assert plain.headers["x-echo"] == "Bearer ***"
    assert (plain.headers["x-flag"], plain.headers["x-mine"]) == ("yes", "(***)")
    assert plain.headers["content-type"] == "application/json"
    assert "set-cookie" not in plain.headers
    assert plain.raw is None
    assert kept.raw["results"] == [{"index": 0, "relevance_score": 0.5}]
    assert kept.raw["note"] == ["***", {"***": 1}]

    def answers(received: Any) -> Reply:
        [text] = received.body["documents"]
        if text == TEXTS[1]:
            return Reply({"message": "no"}, 400, {"X-Text": text})
        return ranking(0.5, headers={"X-Text": text}, text=text)

    server.plays(answers)
    options: dict[str, Any] = {"max_documents_per_request": 1, "on_partial": "keep"}
    with client_of(server, max_retries=0, **options) as client:
        response, plain = call(client, keep_raw=True), call(client)
        call.close(client)
    assert isinstance(response.headers, list)
    assert [one["x-text"] for one in response.headers] == list(TEXTS)
    assert [one and one["text"] for one in response.raw] == [TEXTS[0], None, TEXTS[2]]
    assert plain.raw is None
    assert len(plain.headers) == 3
    restored = pickle.loads(pickle.dumps(response))  # noqa: S301
    assert (restored.headers, restored.raw) == (response.headers, response.raw)
    assert json.loads(response.to_json())["headers"] == response.headers


def test_nothing_sent_has_no_headers() -> None:
    """A call that sends nothing has no headers, and headers make no two responses differ."""
    with client_of("http://127.0.0.1:9") as client:
        nothing = client.rerank(QUERY, [""], keep_raw=True)
    assert (nothing.headers, nothing.raw) == ({}, None)
    body = {"results": [{"index": 0, "relevance_score": 0.5}]}
    chunk = part("a", keep_raw=True)
    one, other = (parsed(chunk, http_response(body, headers={"date": day})) for day in "12")
    assert one == other
    shown = f"{one!r} {one._repr_html_()}"
    assert "date" not in shown
    assert "raw" not in shown


META = {
    "billed_units": {"search_units": 2, "note": KEY},
    "tokens": {"input_tokens": 30, "output_tokens": 4},
    "warnings": ["the model is deprecated", f"key {KEY}", 5],
}


def test_what_cohere_says_in_meta() -> None:
    """`meta.warnings` become warnings, `meta.tokens` counts of usage beside the billed units."""
    results = [{"index": 0, "relevance_score": 0.5}]
    body = {"results": results, "usage": {}, "meta": META}
    response = parsed(part("a"), http_response(body))
    assert response.warnings == ("the model is deprecated", "key ***")
    usage = response.usage
    assert (usage.search_units, usage.prompt_tokens, usage.completion_tokens) == (2, 30, 4)
    units = {"search_units": 2, "note": "***"}
    assert usage.raw == {**units, "input_tokens": 30, "output_tokens": 4}


OPENROUTER = {
    "error": {
        "message": "flagged",
        "code": 403,
        "metadata": {
            "reasons": ["violence"],
            "previous_errors": [{"provider": "a", "status": 500}],
        },
    }
}
TOGETHER = {
    "id": "ok1",
    "error": {
        "message": "Unable to access the model",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_available",
    },
}


@cases(
    ("body", "error_type", "param"),
    [
        (OPENROUTER, None, None),
        (TOGETHER, "invalid_request_error", "model"),
        ({"error": "words", "error_type": "Validation"}, "Validation", None),  # TEI
        ({"object": "error", "message": "m", "type": "NotFoundError"}, "NotFoundError", None),
        ({"error": {"message": "m", "type": 5, "param": ["a"]}}, None, None),
        ({"hook_results": {"before_request_hooks": [{"verdict": False}]}}, None, None),  # Portkey
        ([1, None, True, 0.5], None, None),
        (b"<html>no", None, None),
        (b"", None, None),
    ],
)
def test_the_parts_of_an_error(body: Any, error_type: str | None, param: str | None) -> None:
    """An error has the body as it came, its headers, and its type and parameter by name."""
    error = failed(body, 400, {"x-limit": "3", "set-cookie": "a"})
    assert error.body == (body.decode() or None if isinstance(body, bytes) else body)
    assert error.headers == {"x-limit": "3"}
    assert (error.type, error.param) == (error_type, param)


def test_the_body_of_an_error_is_safe_and_bounded() -> None:
    """Keys and images are cut out of a body at any depth, and long values are shortened."""
    deep: Any = KEY
    for _ in range(150):
        deep = [deep]
    body = {
        KEY: {"echo": [f"data:image/png;base64,{PIXELS}", f"{'x' * 3990}{KEY}", deep]},
        "documents": ["y" * 3000] * 1000,
        "last": 1,
    }
    for content in (body, json.dumps(body).encode() + b" and more"):
        error = failed(content, secrets=(KEY,))
        written = json.dumps(error.body)
        assert KEY[:10] not in written
        assert PIXELS not in written
        assert len(written) < 25_000
    assert error.body.endswith("…")
    assert failed(b'{"a": 1%b}' % (b"0" * 4000)).body == {"a": "…"}
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert copied.body == error.body


@cases(
    ("body", "words"),
    [
        ({"object": "error", "message": "no such model", "code": 404}, "no such model"),  # vLLM
        ({"code": 20012, "message": "Model does not exist", "data": None}, "does not exist"),
        ({"error_code": 336221, "error_msg": "max number of documents is 64"}, "is 64"),
        ({"detail": [{"loc": ["body"], "msg": "bad"}]}, "body: bad"),
        ({"error": {"message": "out of luck"}, "results": []}, "out of luck"),
        ({"results": [{"index": 9, "relevance_score": 1}]}, "1 were sent"),
        (b"upstream gone", "not JSON"),
    ],
)
def test_an_error_in_a_success(body: Any, words: str) -> None:
    """A 2xx with an error inside shows its message, and keeps body and headers."""
    with pytest.raises(ResponseError, match=words) as caught:
        parsed(part("a"), http_response(body, headers={"x-id": f"r-{KEY}"}))
    assert caught.value.body == (body.decode() if isinstance(body, bytes) else body)
    assert caught.value.headers == {"x-id": "r-***"}


LONE = '{"results": [{"index": 0, "relevance_score": 0.5, "document": {"text": "a \\ud83d b"}}]}'


@cases("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@cases("text", [LONE, LONE.replace("\\ud83d", "é")])
def test_unusual_json_is_read(server: Server, encoding: str, text: str) -> None:
    """A lone surrogate or a byte order mark does not cost the result."""
    call = SyncCalls()
    server.plays(Reply(text.encode(encoding)))
    with client_of(server) as client:
        response = call(client, keep_raw=True)
        call.close(client)
    assert response[0].relevance_score == 0.5
    assert response.raw["results"][0]["document"]["text"] in ("a \ufffd b", "a é b")
    response.to_json().encode()


def test_unusual_json_of_an_error() -> None:
    """The same of errors; what is no JSON is shown as text, also with a byte order mark."""
    for encoding in ("utf-8-sig", "utf-16", "utf-32"):
        said = '{"message": "no \\ud83d"}'.encode(encoding)
        assert failed(said).message == "no \ufffd"
    assert failed("gone away".encode("utf-16")).message == "gone away"


def test_who_served_by_headers() -> None:
    """Where the body does not say who served the call, the provider may know it from headers."""

    class Gateway(type(openrouter())):  # type: ignore[misc]
        def served_by(self, headers: Mapping[str, str]) -> str | None:
            return headers.get("x-served-by")

    chunk = part("a", provider=Gateway(api_key=KEY))
    for body, expected in (({"results": []}, "cohere"), ({"results": [], "provider": "b"}, "b")):
        response = parsed(chunk, http_response(body, headers={"x-served-by": "cohere"}))
        assert response.provider == expected
    assert parsed(chunk, http_response({"results": []})).provider == "openrouter"
