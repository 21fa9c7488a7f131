"""The table of faults: what the server does, what the user gets, how many requests leave.

A fault lasts for as long as the client asks, unless its name says "once".
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
    ANSWER,
    BODY,
    GOOD,
    HALF,
    HEAD,
    RANKED,
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
ANSWERED: Any = {"gets": ANSWER, "sent": 1}
ANSWERED_LATER: Any = {"gets": ANSWER, "sent": 2}

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
    "The connection",
    "TransportError",
    3,
    case("refused", door="shut"),
    case("reset before the request", door="slammed"),
    case("reset during the request", resets_meanwhile, is_large=True),
    case("reset after the request", resets_after()),
    case("reset in the middle of the body", resets_after(HALF)),
    case("closed without an answer", says(b"")),
    case("closed without an answer, once", says(b""), good, **ANSWERED_LATER),
    case("half of the headers, then closed", says(HEAD[:30])),
    case("half of the body, then closed", says(HALF)),
    case("half of the body, then closed, once", says(HALF), good, **ANSWERED_LATER),
    case(
        "a kept connection, closed while nothing was asked",
        says(WHOLE),
        good,
        on_kept_connection=True,
        **ANSWERED,
    ),
    case(
        "a kept connection, closed as the next request comes",
        good,
        says(b""),
        good,
        on_kept_connection=True,
        **ANSWERED_LATER,
    ),
    case("plain HTTP where TLS is expected", interrupts(head(400, {})), scheme="https"),
    case("no HTTP", says(b"220 mail.example ESMTP\r\n")),
    case("headers without end", says(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 50_000)),
    case("a broken chunk", says(head(200, CHUNKED) + b"what?\r\n")),
    case("more bytes than announced", says(WHOLE + b"{}"), **ANSWERED),
    case("103 before the answer", says(head(103, {}) + WHOLE), **ANSWERED),
    case("101, another protocol", says(head(101, {}))),
)

TIME = group(
    "Time",
    "RerankTimeoutError",
    1,
    case("no answer, until `timeout`", stalls_after(), sent=3, **IMPATIENT),
    case("half of the body, until `timeout`", stalls_after(HALF), sent=3, **IMPATIENT),
    case("no answer, until `timeout`, once", stalls_after(), good, **ANSWERED_LATER, **IMPATIENT),
    case("no answer, until `deadline`", stalls_after(), **IN_TIME),
    case("half of the body, until `deadline`", stalls_after(HALF), **IN_TIME),
    case("headers byte by byte, until `deadline`", trickles(WHOLE), **IN_TIME),
    case("body byte by byte, until `deadline`", trickles(BODY, after=HEAD), **IN_TIME),
    case("headers and body in ten pieces, in time", trickles(WHOLE, pieces=10), **ANSWERED),
    case("body in five pieces, in time", trickles(BODY, after=HEAD, pieces=5), **ANSWERED),
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
        "413 before the request was read",
        refuses_early(failing(413)),
        gets="PayloadTooLargeError",
        sent=1,
        is_large=True,
        options={"timeout": httpx.Timeout(5.0, write=0.5)},
    ),
    case("500", failing(500)),
    case("500, once", failing(500), good, **ANSWERED_LATER),
    case("500, which Portkey calls permanent", failing(500, PERMANENT), sent=1, **PORTKEY),
    case("500, with Portkey's header", failing(500, PERMANENT), **NOT_PORTKEY),
    case("500, which Portkey has repeated itself", failing(500, USED_UP), sent=1, **PORTKEY),
    case("502, an HTML page", page(502), gets="BadGatewayError"),
    case("503", failing(503), gets="ServiceUnavailableError"),
    case("503, once", failing(503), good, **ANSWERED_LATER),
    case("504", failing(504), gets="ProviderTimeoutError"),
    case("524, an HTML page", page(524), gets="ProviderTimeoutError"),
    case("529", failing(529), gets="OverloadedError"),
    case("529, once", failing(529), good, **ANSWERED_LATER),
    case("100 MB with status 500", floods(500)),
    case("a redirect elsewhere", failing(307, ELSEWHERE), gets="StatusError", sent=1),
    case("500, the input is too large to process", failing(500, says=TOO_LARGE), sent=1),
)

WAITING = group(
    "429, and how long to wait",
    "RateLimitError",
    1,
    case("nothing said", failing(429), sent=3),
    case("nothing said, once", failing(429), good, **ANSWERED_LATER),
    case("1 second", failing(429, AFTER_1_S), sent=3),
    case("1 second, once", failing(429, AFTER_1_S), good, **ANSWERED_LATER),
    case("`retry-after-ms`, once", failing(429, AFTER_200_MS), good, **ANSWERED_LATER),
    case("a date, once", asks_to_wait(timedelta(seconds=3)), good, **ANSWERED_LATER),
    case("a date that has passed, once", asks_to_wait(-timedelta(days=1)), good, **ANSWERED_LATER),
    case("a date tomorrow", asks_to_wait(timedelta(days=1))),
    case("an hour", failing(429, {"Retry-After": "3600"})),
    case("longer than `deadline`", failing(429, {"Retry-After": "9"}), options={"deadline": 5}),
    case("no time at all", failing(429, {"Retry-After": "soon"}), sent=3),
)

BODIES = group(
    "Bodies",
    "ResponseError",
    1,
    case("empty 200", Reply(b"")),
    case("204", says(head(204, {}))),
    case("200 with an HTML page", page(200)),
    case("200 with an error inside", Reply({"error": {"message": "no luck", "code": 502}})),
    case("200 with a code and a message", Reply({"code": 20012, "message": "no", "data": None})),
    case("a byte order mark", Reply(b"\xef\xbb\xbf" + BODY), **ANSWERED),
    case("UTF-16", Reply(BODY.decode().encode("utf-16")), **ANSWERED),
    case("half of a surrogate pair", Reply(BODY[:-1] + b', "x": "\\ud83d"}'), **ANSWERED),
    case("200 with an error and results", Reply({**GOOD, "error": {"message": "no luck"}})),
    case("half of the JSON", Reply(BODY[: len(BODY) // 2])),
    case("nested 100,000 deep", Reply(b'{"a":' * 100_000)),
    case("an event stream", Reply(b"data: " + BODY, 200, {"Content-Type": "text/event-stream"})),
    case("called HTML, and JSON", Reply(GOOD, 200, {"Content-Type": "text/html"}), **ANSWERED),
    case("gzip", in_encoding("gzip", packed(BODY)), **ANSWERED),
    case("called gzip, and plain", in_encoding("gzip", BODY)),
    case("gzip that ends too early", in_encoding("gzip", packed(BODY)[:-12])),
    case("an encoding that was not asked for", in_encoding("br", BODY)),
    case("100 MB", floods()),
    case("100 MB in chunks", floods(in_chunks=True)),
    case("100 MB, packed in 100 KB", bombs),
    case("100 MB after the end of a gzip", floods(begin=packed(BODY)), options={"deadline": 3}),
)

RESULTS = group(
    "Results that cannot be trusted",
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
    case("no index", ranking({"relevance_score": 0.9})),
    case("an index repeated", ranking(BEST, SECOND, BEST)),
    case("score NaN", ranking_as_written("1", "NaN")),
    case("score Infinity", ranking_as_written("1", "Infinity")),
    case("score 1e999", ranking_as_written("1", "1e999")),
    case('score "0.9"', ranking_as_written("1", '"0.9"')),
    case("score null", ranking_as_written("1", "null")),
    case("score true", ranking_as_written("1", "true")),
    case("no score", ranking({"index": 1})),
    case("`results` missing", Reply({"model": "m"})),
    case("`results` null", Reply({"results": None})),
    case("`results` an object", Reply({"results": BEST})),
    case("a result that is null", ranking(BEST, None)),
    case("one result more than documents", ranking(*RANKED, {**LAST, "index": 3})),
    case("a wrong result after the first `top_n`", ranking(*RANKED, BEST), options={"top_n": 1}),
)

UNUSUAL = group(
    "Answers that are only unusual",
    ANSWER,
    1,
    case("unsorted results", ranking(LAST, BEST, SECOND)),
    case("too few results", ranking(SECOND, BEST), gets=WARNED, ranked=(1, 0)),
    case("no results", ranking(), gets=WARNED, ranked=()),
    case("more results than `top_n`", ranking(*RANKED), options={"top_n": 2}, ranked=(1, 0)),
    case("unknown keys", ranking({**BEST, "x": [1]}, SECOND, LAST, x={"y": None}, warnings=["z"])),
    case("an echo of other documents", ranking(*({**one, "document": "other"} for one in RANKED))),
    case("usage, model and id of other types", ranking(*RANKED, usage=[], model=1, id={}, meta=0)),
    case("a list without an object around it", Reply(RANKED)),
    case("`data` instead of `results`", Reply({"data": RANKED})),
    case("246, a guardrail failed", Reply(GOOD, 246), gets=WARNED, **PORTKEY),
    case("246", Reply(GOOD, 246), **NOT_PORTKEY),
)

CASES = (*CONNECTION, *TIME, *STATUSES, *WAITING, *BODIES, *RESULTS, *UNUSUAL)
