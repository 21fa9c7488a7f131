"""The table of faults: what the server does, what the user gets, how many requests leave.

Every request of a call meets the fault, unless the name says "once": then only the first does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx

from faults.acts import (
    asks_to_wait,
    bombs,
    failing,
    floods,
    in_encoding,
    interrupts,
    packed,
    page,
    refuses_early,
    resets_after,
    resets_meanwhile,
    says,
    stalls_after,
    trickles,
)
from faults.case import (
    BODY,
    GOOD,
    HALF,
    HEAD,
    RANKED,
    RESPONSE,
    WARNED,
    WHOLE,
    case,
    good,
    group,
)
from loopback import Reply, head

BEST, SECOND, LAST = RANKED
PORTKEY: Any = {"gateways": ("portkey",)}
NOT_PORTKEY: Any = {"gateways": ("openrouter", "together")}
RESPONDS: Any = {"gets": RESPONSE, "sent": 1}
RESPONDS_LATER: Any = {"gets": RESPONSE, "sent": 2}

CHUNKED = {"Transfer-Encoding": "chunked"}
IN_TIME: Any = {"options": {"deadline": 0.1}}
IMPATIENT: Any = {"options": {"timeout": httpx.Timeout(5.0, read=0.05)}}
PERMANENT = {"x-portkey-gateway-exception": "true"}
USED_UP = {"x-portkey-retry-attempt-count": "-1"}
AFTER_1_S = {"Retry-After": "1"}
ELSEWHERE = {"Location": "http://127.0.0.1:9/v1/rerank"}
TOO_LARGE = "input is too large to process. increase the physical batch size"
AFTER_200_MS = {"retry-after-ms": "200"}


def ranking(*results: Any, **more: Any) -> Reply:
    """Answers 200 with results."""
    return Reply({"results": results, **more})


def ranking_as_written(index: str, score: str = "0.9") -> Reply:
    """Answers 200 with one result that Python might not write like this."""
    return Reply(f'{{"results": [{{"index": {index}, "relevance_score": {score}}}]}}'.encode())


CONNECTION = group(
    "Connection",
    "TransportError",
    3,
    case("connection refused", door="shut"),
    case("reset before the request", door="slammed"),
    case("reset during the request", resets_meanwhile, is_large=True),
    case("reset after the request", resets_after()),
    case("reset in the middle of the response body", resets_after(HALF)),
    case("closed without a response", says(b"")),
    case("closed without a response, once", says(b""), good, **RESPONDS_LATER),
    case("closed after half of the headers", says(HEAD[:30])),
    case("closed after half of the body", says(HALF)),
    case("closed after half of the body, once", says(HALF), good, **RESPONDS_LATER),
    case(
        "a pooled connection, closed while idle",
        says(WHOLE),
        good,
        on_pooled_connection=True,
        **RESPONDS,
    ),
    case(
        "a pooled connection, closed when the next request arrives",
        good,
        says(b""),
        good,
        on_pooled_connection=True,
        **RESPONDS_LATER,
    ),
    case("plain HTTP where TLS is expected", interrupts(head(400, {})), scheme="https"),
    case("a response that is not HTTP", says(b"220 mail.example ESMTP\r\n")),
    case("headers of 300 KB", says(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000)),
    case("an invalid chunk (chunked encoding)", says(head(200, CHUNKED) + b"what?\r\n")),
    case("more bytes than `Content-Length`", says(WHOLE + b"{}"), **RESPONDS),
    case("103 (early hints) before the response", says(head(103, {}) + WHOLE), **RESPONDS),
    case("101 (switching protocols)", says(head(101, {}))),
)

TIME = group(
    "Timeouts",
    "RerankTimeoutError",
    1,
    case("no response within `timeout`", stalls_after(), sent=3, **IMPATIENT),
    case(
        "half of the body, then nothing within `timeout`", stalls_after(HALF), sent=3, **IMPATIENT
    ),
    case("no response within `timeout`, once", stalls_after(), good, **RESPONDS_LATER, **IMPATIENT),
    case("no response before `deadline`", stalls_after(), **IN_TIME),
    case("half of the body, then nothing before `deadline`", stalls_after(HALF), **IN_TIME),
    case("headers byte by byte, past `deadline`", trickles(WHOLE), **IN_TIME),
    case("body byte by byte, past `deadline`", trickles(BODY, after=HEAD), **IN_TIME),
    case("headers and body in ten pieces, in time", trickles(WHOLE, pieces=10), **RESPONDS),
    case("body in five pieces, in time", trickles(BODY, after=HEAD, pieces=5), **RESPONDS),
)

STATUSES = group(
    "Error statuses",
    "ServerError",
    3,
    case("400", failing(400), gets="BadRequestError", sent=1),
    case("401", failing(401), gets="AuthenticationError", sent=1),
    case("402", failing(402), gets="PaymentRequiredError", sent=1),
    case("403", failing(403), gets="PermissionDeniedError", sent=1),
    case("404", failing(404), gets="NotFoundError", sent=1),
    case("408", failing(408), gets="ProviderTimeoutError"),
    case("413", failing(413), gets="PayloadTooLargeError", sent=1),
    case(
        "413 before the whole request is read, with a write timeout of 0.5 s",
        refuses_early(failing(413)),
        gets="PayloadTooLargeError",
        sent=1,
        is_large=True,
        options={"timeout": httpx.Timeout(5.0, write=0.5)},
    ),
    case("500", failing(500)),
    case("500, once", failing(500), good, **RESPONDS_LATER),
    case(
        "500 with `x-portkey-gateway-exception: true`", failing(500, PERMANENT), sent=1, **PORTKEY
    ),
    case("500 with `x-portkey-gateway-exception: true`", failing(500, PERMANENT), **NOT_PORTKEY),
    case("500 with `x-portkey-retry-attempt-count: -1`", failing(500, USED_UP), sent=1, **PORTKEY),
    case("502 with an HTML page", page(502), gets="BadGatewayError"),
    case("503", failing(503), gets="ServiceUnavailableError"),
    case("503, once", failing(503), good, **RESPONDS_LATER),
    case("504", failing(504), gets="ProviderTimeoutError"),
    case("524 with an HTML page", page(524), gets="ProviderTimeoutError"),
    case("529", failing(529), gets="OverloadedError"),
    case("529, once", failing(529), good, **RESPONDS_LATER),
    case("500 with a body of 100 MB", floods(500)),
    case("307 to another origin", failing(307, ELSEWHERE), gets="StatusError", sent=1),
    case(
        "500 whose message says that the input is too large", failing(500, says=TOO_LARGE), sent=1
    ),
)

WAITING = group(
    "429 and `Retry-After`",
    "RateLimitError",
    1,
    case("no `Retry-After`", failing(429), sent=3),
    case("no `Retry-After`, once", failing(429), good, **RESPONDS_LATER),
    case("`Retry-After: 1`", failing(429, AFTER_1_S), sent=3),
    case("`Retry-After: 1`, once", failing(429, AFTER_1_S), good, **RESPONDS_LATER),
    case("`retry-after-ms: 200`, once", failing(429, AFTER_200_MS), good, **RESPONDS_LATER),
    case(
        "a date 3 seconds ahead, once", asks_to_wait(timedelta(seconds=3)), good, **RESPONDS_LATER
    ),
    case("a date in the past, once", asks_to_wait(-timedelta(days=1)), good, **RESPONDS_LATER),
    case("a date one day ahead", asks_to_wait(timedelta(days=1))),
    case("`Retry-After: 3600`", failing(429, {"Retry-After": "3600"})),
    case(
        "`Retry-After: 9`, with `deadline=5`",
        failing(429, {"Retry-After": "9"}),
        options={"deadline": 5},
    ),
    case("`Retry-After: soon` (invalid)", failing(429, {"Retry-After": "soon"}), sent=3),
)

BODIES = group(
    "Response bodies",
    "ResponseError",
    1,
    case("200 with an empty body", Reply(b"")),
    case("204", says(head(204, {}))),
    case("200 with an HTML page", page(200)),
    case("200 with an error object", Reply({"error": {"message": "no luck", "code": 502}})),
    case(
        "200 with `code` and `message`, without results",
        Reply({"code": 20012, "message": "no", "data": None}),
    ),
    case("JSON with a byte order mark", Reply(b"\xef\xbb\xbf" + BODY), **RESPONDS),
    case("JSON in UTF-16", Reply(BODY.decode().encode("utf-16")), **RESPONDS),
    case("JSON with half of a surrogate pair", Reply(BODY[:-1] + b', "x": "\\ud83d"}'), **RESPONDS),
    case("200 with an error object and results", Reply({**GOOD, "error": {"message": "no luck"}})),
    case("truncated JSON", Reply(BODY[: len(BODY) // 2])),
    case("JSON nested 100,000 levels deep", Reply(b'{"a":' * 100_000)),
    case(
        "an event stream (SSE)", Reply(b"data: " + BODY, 200, {"Content-Type": "text/event-stream"})
    ),
    case(
        "JSON with `Content-Type: text/html`",
        Reply(GOOD, 200, {"Content-Type": "text/html"}),
        **RESPONDS,
    ),
    case("gzip", in_encoding("gzip", packed(BODY)), **RESPONDS),
    case("plain JSON with `Content-Encoding: gzip`", in_encoding("gzip", BODY)),
    case("truncated gzip", in_encoding("gzip", packed(BODY)[:-12])),
    case("a content encoding that was not requested", in_encoding("br", BODY)),
    case("100 MB", floods()),
    case("100 MB in chunks (chunked encoding)", floods(in_chunks=True)),
    case("100 MB, compressed to 100 KB", bombs),
    case(
        "100 MB after the end of the gzip data", floods(begin=packed(BODY)), options={"deadline": 3}
    ),
)

RESULTS = group(
    "Invalid results",
    "ResponseError",
    1,
    case("index -1", ranking_as_written("-1")),
    case("index 3 of 3 documents", ranking_as_written("3")),
    case("index 1.5", ranking_as_written("1.5")),
    case("index 1.0", ranking_as_written("1.0")),
    case('index "0"', ranking_as_written('"0"')),
    case("index true", ranking_as_written("true")),
    case("index null", ranking_as_written("null")),
    case("index of 5,000 digits", ranking_as_written("9" * 5000)),
    case("index missing", ranking({"relevance_score": 0.9})),
    case("the same index twice", ranking(BEST, SECOND, BEST)),
    case("score NaN", ranking_as_written("1", "NaN")),
    case("score Infinity", ranking_as_written("1", "Infinity")),
    case("score 1e999", ranking_as_written("1", "1e999")),
    case('score "0.9"', ranking_as_written("1", '"0.9"')),
    case("score null", ranking_as_written("1", "null")),
    case("score true", ranking_as_written("1", "true")),
    case("score missing", ranking({"index": 1})),
    case("`results` missing", Reply({"model": "m"})),
    case("`results` null", Reply({"results": None})),
    case("`results` an object", Reply({"results": BEST})),
    case("a null result", ranking(BEST, None)),
    case("more results than documents", ranking(*RANKED, {**LAST, "index": 3})),
    case(
        "the same index twice, after the first `top_n` results",
        ranking(*RANKED, BEST),
        options={"top_n": 1},
    ),
)

UNUSUAL = group(
    "Unusual responses that are accepted",
    RESPONSE,
    1,
    case("unsorted results", ranking(LAST, BEST, SECOND)),
    case("fewer results than documents", ranking(SECOND, BEST), gets=WARNED, ranked=(1, 0)),
    case("no results", ranking(), gets=WARNED, ranked=()),
    case("more results than `top_n`", ranking(*RANKED), options={"top_n": 2}, ranked=(1, 0)),
    case("unknown keys", ranking({**BEST, "x": [1]}, SECOND, LAST, x={"y": None}, warnings=["z"])),
    case(
        "returned documents that differ from those sent",
        ranking(*({**one, "document": "other"} for one in RANKED)),
    ),
    case(
        "`usage`, `model` and `id` of wrong types",
        ranking(*RANKED, usage=[], model=1, id={}, meta=0),
    ),
    case("a top-level array of results", Reply(RANKED)),
    case("`data` instead of `results`", Reply({"data": RANKED})),
    case("246 (a guardrail failed)", Reply(GOOD, 246), gets=WARNED, **PORTKEY),
    case("246", Reply(GOOD, 246), **NOT_PORTKEY),
)

CASES = (*CONNECTION, *TIME, *STATUSES, *WAITING, *BODIES, *RESULTS, *UNUSUAL)
