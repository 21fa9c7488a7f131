"""The client over real sockets: what it sends, how it repeats, and what it makes of bad answers."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import httpx
import pytest

from calls import KEYS, QUERY, TEXTS, Calls, client_of
from cases import cases
from fakes import override
from loopback import Act, Fault, Reply, Server, Step, ranking, running
from rerank_integrations import (
    AuthenticationError,
    BadGatewayError,
    BadRequestError,
    ConfigurationError,
    NotFoundError,
    OpenRouter,
    RateLimitError,
    RerankClient,
    RerankError,
    RerankTimeoutError,
    ResponseError,
    ServiceUnavailableError,
    StatusError,
    Together,
    TransportError,
)

GATEWAYS = tuple(KEYS)
PASSING: tuple[Step, ...] = (
    Reply(status=408),
    Reply(status=429),
    Reply(status=500),
    Reply(status=502),
    Reply(status=503),
    Reply(status=504),
    Reply(status=529),
    Fault.DROP,
    Fault.HALF,
)


@cases(
    ("gateway", "path", "own_headers"),
    [
        ("openrouter", "/api/v1/rerank", {"authorization": "Bearer the-key"}),
        ("together", "/v1/rerank", {"authorization": "Bearer the-key"}),
        (
            "portkey",
            "/v1/rerank",
            {"x-portkey-api-key": "the-key", "x-portkey-provider": "@host"},
        ),
    ],
)
def test_a_request_is_what_the_gateway_documents(
    call: Calls, server: Server, gateway: str, path: str, own_headers: dict[str, str]
) -> None:
    """One POST leaves for a call, with the gateway's path, key and the common body."""
    with client_of(server, gateway) as client:
        call(client, top_n=2)
    (received,) = server.received
    common = {"accept": "application/json", "content-type": "application/json"}
    assert received.path == path
    assert received.headers.items() >= (common | own_headers).items()
    assert received.headers["user-agent"].startswith("rerank-integrations/")
    assert received.body == {"model": "m", "query": QUERY, "documents": list(TEXTS), "top_n": 2}


def test_a_response_holds_what_was_answered(call: Calls, server: Server) -> None:
    """The response carries the answer's scores and facts, and the caller's own objects."""
    documents = ["", {"title": "apple"}, {"text": "pear"}]
    server.plays(
        ranking(
            0.25,
            1,
            model="m-2026",
            provider="Cohere",
            id="gen-1",
            usage={"search_units": 1, "total_tokens": 150, "cost": 0.001, "extra": True},
            headers={"X-Generation-Id": "request-1"},
        )
    )
    with client_of(server) as client:
        response = call(client, "q", documents)
    assert [(r.index, r.relevance_score) for r in response] == [(2, 1.0), (1, 0.25)]
    assert all(result.document is documents[result.index] for result in response)
    assert (response.model, response.provider) == ("m-2026", "Cohere")
    assert (response.id, response.request_id) == ("gen-1", "request-1")
    assert response.usage.counts() == {"search_units": 1, "total_tokens": 150, "cost": 0.001}
    assert response.usage.raw["extra"] is True
    assert response.skipped == (0,)
    assert [attempt.error for attempt in response.attempts] == [None]


def test_an_option_of_a_call_wins(call: Calls, server: Server) -> None:
    """What is passed to a call holds for that call alone, instead of the client's."""
    documents = [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    with client_of(server, top_n=1, rank_fields=["a"]) as client:
        call(client, "q", documents, model="other", top_n=2, rank_fields=["b"])
        call(client, "q", documents)
    assert [received.body for received in server.received] == [
        {"model": "other", "query": "q", "documents": ["2", "4"], "top_n": 2},
        {"model": "m", "query": "q", "documents": ["1", "3"], "top_n": 1},
    ]


def test_extra_headers_and_body_keys_add_up(call: Calls, server: Server) -> None:
    """Extra headers and body keys of a call join the client's, and win over the same name."""
    extras: dict[str, Any] = {"extra_headers": {"X-A": "1", "X-B": "1"}, "extra_body": {"a": 1}}
    with client_of(server, **extras) as client:
        call(client, extra_headers={"X-B": "2", "X-C": "2"}, extra_body={"b": [2]})
        call(client)
    both, own = server.received
    assert [both.headers.get(f"x-{name}") for name in "abc"] == ["1", "2", "2"]
    assert [own.headers.get(f"x-{name}") for name in "abc"] == ["1", "1", None]
    assert both.body.items() >= {"a": 1, "b": [2]}.items()
    assert own.body["a"] == 1
    assert "b" not in own.body


def test_extra_headers_and_body_keys_are_for_one_provider(call: Calls, server: Server) -> None:
    """What is set for one provider is sent to no other one, by no way to change the provider."""
    extras: dict[str, Any] = {"extra_headers": {"x-key": "1"}, "extra_body": {"a": 1}}
    with client_of(server, **extras) as client:
        other = Together(api_key="k", base_url=server.url)
        call(client.with_options(provider=other, model="n"))
        call(client.with_options(provider=other, model="n", extra_headers={"x-own": "2"}))
        call(client.with_options(model="n"))
    first, own, same = server.received
    assert ("x-key" in first.headers, "a" in first.body) == (False, False)
    assert ("x-key" in own.headers, own.headers["x-own"]) == (False, "2")
    assert (same.headers["x-key"], same.body["a"]) == ("1", 1)


def test_calls_share_one_connection(call: Calls, server: Server) -> None:
    """Calls one after another, those of `with_options` copies included, use one connection."""
    with client_of(server) as client:
        for each in (client, client, client.with_options(top_n=1), client.with_options(model="n")):
            call(each)
    assert len(server.received) == 4
    assert server.connections == 1


def test_an_error_answer_leaves_the_connection_usable(call: Calls, server: Server) -> None:
    """An error answer is read to its end, so that the next call can use its connection."""
    server.plays(Reply({"error": {"message": "no"}}, 400), ranking(1.0))
    with client_of(server) as client:
        with pytest.raises(BadRequestError):
            call(client)
        call(client)
    assert server.connections == 1


@cases("first", PASSING, ids=str)
def test_a_passing_failure_is_repeated(
    call: Calls, server: Server, pauses: Sequence[float], first: Step
) -> None:
    """After a failure that may pass the request is sent again, and the response says so."""
    server.plays(first, ranking(0.5))
    with client_of(server) as client:
        response = call(client)
    failed, succeeded = response.attempts
    assert failed.error
    assert (failed.provider, failed.model, succeeded.error) == ("openrouter", "m", None)
    assert server.received[0].body == server.received[1].body
    assert len(pauses) == 1


@cases(
    ("status", "kind"),
    [(400, BadRequestError), (401, AuthenticationError), (404, NotFoundError), (418, StatusError)],
)
def test_a_lasting_failure_is_not_repeated(
    call: Calls, server: Server, pauses: Sequence[float], status: int, kind: type[StatusError]
) -> None:
    """A failure that will not pass is raised at once."""
    server.plays(Reply({"error": {"message": "no", "code": status}}, status))
    with client_of(server) as client, pytest.raises(kind) as caught:
        call(client)
    assert (caught.value.status_code, caught.value.message) == (status, "no")
    assert len(caught.value.attempts) == len(server.received) == 1
    assert not pauses


@cases("max_retries", [0, 1, 3])
@cases("step", [Reply(status=503), Fault.DROP], ids=str)
def test_retries_are_bounded(
    call: Calls, server: Server, pauses: Sequence[float], step: Step, max_retries: int
) -> None:
    """A call sends its request at most `max_retries` times again, and its error lists each."""
    server.plays(step)
    with client_of(server, max_retries=5) as client, pytest.raises(RerankError) as caught:
        call(client, max_retries=max_retries)
    assert len(server.received) == len(caught.value.attempts) == max_retries + 1
    assert len(pauses) == max_retries


@cases(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "12.5"}, 12.5),
        ({"retry-after-ms": "9500"}, 9.5),
        ({"retry-after-ms": "9500", "Retry-After": "20"}, 9.5),
    ],
)
@cases("status", [429, 503])
def test_a_pause_is_as_long_as_asked(
    call: Calls,
    server: Server,
    pauses: Sequence[float],
    *,
    status: int,
    headers: dict[str, str],
    seconds: float,
) -> None:
    """Where the server says how long to wait, the client waits that long, or a tenth longer."""
    server.plays(Reply(status=status, headers=headers), ranking(1.0))
    with client_of(server) as client:
        call(client)
    assert len(pauses) == 1
    assert seconds <= pauses[0] <= 1.1 * seconds


@cases(("asked", "deadline"), [("31", 30.0), ("61", None), ("86400", 1e6)])
def test_no_pause_is_longer_than_the_call_may_take(
    call: Calls, server: Server, pauses: Sequence[float], asked: str, deadline: float | None
) -> None:
    """A wait that the deadline or patience does not allow is an error at once, not a sleep."""
    server.plays(Reply(status=429, headers={"Retry-After": asked}))
    with client_of(server, deadline=deadline) as client, pytest.raises(RateLimitError) as caught:
        call(client)
    assert caught.value.retry_after == float(asked)
    assert caught.value.is_retryable
    assert len(server.received) == 1
    assert not pauses


def test_a_pause_without_advice_is_short_and_grows(
    call: Calls, server: Server, pauses: Sequence[float]
) -> None:
    """Without advice the client pauses within bounds that double from half a second to eight."""
    server.plays(Reply(status=503))
    with client_of(server, deadline=None) as client, pytest.raises(ServiceUnavailableError):
        call(client, max_retries=6)
    bounds = [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    assert all(bound / 2 <= pause <= bound for pause, bound in zip(pauses, bounds, strict=True))


@cases("step", [Fault.STALL, Fault.TRICKLE], ids=str)
def test_a_deadline_ends_a_call(call: Calls, server: Server, step: Step) -> None:
    """The deadline holds for a server that is silent and for one that never comes to an end."""
    server.plays(ranking(1.0), step)
    with client_of(server) as client:
        call(client)
        with pytest.raises(RerankTimeoutError, match="deadline") as caught:
            call(client, deadline=0.05)
    assert isinstance(caught.value, TimeoutError)
    assert len(caught.value.attempts) == 1


@cases("timeout", [0.05, httpx.Timeout(5.0, read=0.05)], ids=["number", "phases"])
def test_a_timeout_ends_a_request_and_not_the_call(
    call: Calls, server: Server, pauses: Sequence[float], timeout: Any
) -> None:
    """A request that takes longer than `timeout` is sent again."""
    server.plays(Fault.STALL, ranking(1.0))
    with client_of(server, max_retries=20) as client:
        first, *_, last = call(client, timeout=timeout).attempts
    assert "RerankTimeoutError" in (first.error or "")
    assert last.error is None
    assert pauses


def test_a_timeout_of_the_last_attempt_is_typed(call: Calls, server: Server) -> None:
    """A timeout without retries is a RerankTimeoutError with its cause."""
    server.plays(Fault.STALL)
    client = client_of(server, timeout=httpx.Timeout(5.0, read=0.03), max_retries=0)
    with client, pytest.raises(RerankTimeoutError) as caught:
        call(client)
    assert isinstance(caught.value.__cause__, httpx.ReadTimeout)


def test_a_refused_connection_is_typed(call: Calls, nobody: str, pauses: Sequence[float]) -> None:
    """A refused connection is tried again, then a TransportError with its cause."""
    with client_of(nobody) as client, pytest.raises(TransportError, match=nobody) as caught:
        call(client)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert not isinstance(caught.value, RerankTimeoutError)
    assert len(caught.value.attempts) == 3
    assert len(pauses) == 2


@cases("fault", [Fault.DROP, Fault.HALF], ids=str)
def test_a_broken_answer_is_typed(call: Calls, server: Server, fault: Act) -> None:
    """A connection that ends before the answer does is a TransportError with its cause."""
    server.plays(fault)
    with client_of(server, max_retries=0) as client, pytest.raises(TransportError) as caught:
        call(client)
    assert isinstance(caught.value.__cause__, httpx.RemoteProtocolError)
    assert caught.value.is_retryable


def test_a_page_of_a_proxy_is_typed(call: Calls, server: Server) -> None:
    """An HTML page with an error status is the error of its status, told in the page's title."""
    page = b"<html><head><title>502 Bad Gateway</title></head><body><p>nginx</p></body></html>"
    server.plays(Reply(page, 502, {"Content-Type": "text/html"}))
    with client_of(server, max_retries=0) as client, pytest.raises(BadGatewayError) as caught:
        call(client)
    assert "502 Bad Gateway" in str(caught.value)
    assert "<" not in str(caught.value)


@cases(
    ("reply", "words"),
    [
        (Reply(b"<html></html>", headers={"Content-Type": "text/html"}), "not JSON"),
        (Reply(b'{"results": ['), "not JSON"),
        (Reply(b""), "empty"),
        (Reply({"error": {"message": "out of luck"}}), "out of luck"),
        (Reply({"model": "m"}), "no list of results"),
        (Reply({"results": [{"index": 3, "relevance_score": 1}]}), "3 were sent"),
        (Reply({"results": [{"index": 0, "relevance_score": None}]}), "score"),
        (Reply({"results": [{"index": 0, "relevance_score": 1}] * 2}), "twice"),
    ],
)
def test_a_success_that_is_none_is_typed(
    call: Calls, server: Server, reply: Reply, words: str
) -> None:
    """A 2xx answer that cannot be trusted is a ResponseError that says why."""
    server.plays(reply)
    with client_of(server) as client, pytest.raises(ResponseError, match=words):
        call(client)
    assert len(server.received) == 1


@cases("packed", [False, True], ids=["plain", "gzip"])
def test_an_endless_answer_is_not_read(
    call: Calls, server: Server, monkeypatch: pytest.MonkeyPatch, *, packed: bool
) -> None:
    """An answer above the limit, unpacked, is a ResponseError."""
    override(monkeypatch, largest_body=10_000)
    body = b" " * 20_000
    headers = {"Content-Encoding": "gzip"} if packed else {}
    server.plays(Reply(gzip.compress(body) if packed else body, headers=headers))
    with client_of(server) as client, pytest.raises(ResponseError, match="larger"):
        call(client)


def test_a_packed_answer_is_unpacked(call: Calls, server: Server) -> None:
    """An answer in gzip is read as any other."""
    content = ranking(0.5).content
    server.plays(Reply(gzip.compress(content), headers={"Content-Encoding": "gzip"}))
    with client_of(server) as client:
        assert call(client)[0].relevance_score == 0.5


def test_an_answer_that_lies_about_its_packing_is_typed(call: Calls, server: Server) -> None:
    """A response that says gzip and is none is a ResponseError that says so."""
    server.plays(Reply(b"plain text", headers={"Content-Encoding": "gzip"}))
    with client_of(server) as client, pytest.raises(ResponseError, match="decoded"):
        call(client)


@cases("status", [301, 302, 303, 307, 308])
@cases("gateway", GATEWAYS)
def test_a_redirect_is_not_followed(call: Calls, server: Server, gateway: str, status: int) -> None:
    """A redirect is an error that names the cure, and its target never sees the key."""
    with running() as elsewhere:
        server.plays(Reply(status=status, headers={"Location": f"{elsewhere.url}/v1/rerank"}))
        with client_of(server, gateway) as client, pytest.raises(StatusError, match="base_url"):
            call(client)
        assert not elsewhere.received
    assert len(server.received) == 1


@cases(("gateway", "variable"), KEYS.items())
def test_a_refused_key_names_its_variable(
    call: Calls, server: Server, gateway: str, variable: str
) -> None:
    """The error for a wrong key names the environment variable to look at."""
    server.plays(Reply({"error": {"message": "No auth credentials found", "code": 401}}, 401))
    with client_of(server, gateway) as client, pytest.raises(AuthenticationError) as caught:
        call(client)
    assert variable in str(caught.value)
    assert "No auth credentials found" in str(caught.value)


@cases(("query", "documents"), [("q", []), ("", []), ("q", ["", " "])])
def test_nothing_to_rank_sends_nothing(
    call: Calls, server: Server, query: str, documents: list[str]
) -> None:
    """Without a document that has text the response is empty and nothing is sent."""
    with client_of(server) as client:
        response = call(client, query, documents)
    assert len(response) == len(response.attempts) == 0
    assert response.skipped == tuple(range(len(documents)))
    assert not server.received
    assert server.connections == 0


@cases("used", [False, True], ids=["unused", "used"])
def test_a_closed_client_says_so(call: Calls, server: Server, *, used: bool) -> None:
    """A call after `close` or `aclose` is a ConfigurationError, in `with_options` copies too."""
    client = client_of(server)
    copy = client.with_options(top_n=1)
    if used:
        call(client)
    call.close(client)
    call.close(client)
    for each in (client, copy):
        with pytest.raises(ConfigurationError, match="closed"):
            call(each)
    assert len(server.received) == used


def test_a_with_block_closes_its_client(server: Server) -> None:
    """`with` gives the client itself and closes it at the end, also when the block fails."""
    client = client_of(server)
    with suppress(KeyError), client as entered:
        assert entered is client
        client.rerank(QUERY, TEXTS)
        raise KeyError
    with pytest.raises(ConfigurationError, match="closed"):
        client.rerank(QUERY, TEXTS)


async def test_an_async_with_block_closes_its_client(server: Server) -> None:
    """`async with` gives the client itself and closes it at the end, for sync calls too."""
    async with client_of(server) as client:
        await client.arerank(QUERY, TEXTS)
        client.rerank(QUERY, TEXTS)
    with pytest.raises(ConfigurationError, match="closed"):
        await client.arerank(QUERY, TEXTS)
    with pytest.raises(ConfigurationError, match="closed"):
        client.rerank(QUERY, TEXTS)


async def test_a_cancelled_call_is_cancelled(server: Server) -> None:
    """Cancelling a call ends it with CancelledError, and the client goes on working."""
    server.plays(Fault.STALL, ranking(1.0))
    async with client_of(server) as client:
        task = asyncio.create_task(client.arerank(QUERY, TEXTS))
        await asyncio.to_thread(server.asked.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await client.arerank(QUERY, TEXTS)) == 1


@pytest.fixture(params=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> Any:
    """An HTTP library that a user may bring a client of."""
    return pytest.importorskip(request.param)


def test_a_users_client_is_used_as_it_is(call: Calls, server: Server, library: Any) -> None:
    """A user's HTTP client sends the requests, with its own headers, and is never closed."""
    with call.http_client(library, headers={"X-Mine": "1"}) as theirs:
        client = client_of(server, **{call.argument: theirs})
        call(client)
        call(client.with_options(top_n=1))
        call.close(client)
        assert not theirs.is_closed
    assert [received.headers["x-mine"] for received in server.received] == ["1", "1"]
    assert server.received[0].headers["authorization"] == "Bearer the-key"
    assert server.connections == 1


def test_a_users_client_has_its_own_timeout(call: Calls, server: Server, library: Any) -> None:
    """A user's HTTP client keeps its timeout where none is passed."""
    server.plays(Fault.STALL)
    with call.http_client(library, timeout=0.03) as theirs:
        client = client_of(server, max_retries=0, **{call.argument: theirs})
        with pytest.raises(RerankTimeoutError):
            call(client)


@cases(
    ("step", "kind", "cause"),
    [
        (None, TransportError, "ConnectError"),
        (Fault.DROP, TransportError, "RemoteProtocolError"),
        (Fault.HALF, TransportError, "RemoteProtocolError"),
        (Fault.STALL, RerankTimeoutError, "ReadTimeout"),
    ],
)
def test_errors_of_a_users_client_are_ours(
    call: Calls,
    server: Server,
    nobody: str,
    library: Any,
    *,
    step: Step | None,
    kind: type[RerankError],
    cause: str,
) -> None:
    """Every error of a user's HTTP client is translated and kept as the cause."""
    if step is not None:
        server.plays(step)
    timeout = httpx.Timeout(5.0, read=0.03 if step is Fault.STALL else 5.0)
    with call.http_client(library) as theirs:
        options = {"max_retries": 0, "timeout": timeout, call.argument: theirs}
        with pytest.raises(RerankError) as caught:
            call(client_of(nobody if step is None else server, **options))
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, getattr(library, cause))
    assert caught.value.is_retryable


def test_a_users_closed_client_is_a_typed_error(call: Calls, server: Server, library: Any) -> None:
    """A user's HTTP client that is closed gives a TransportError that is not repeated."""
    with call.http_client(library) as theirs:
        pass
    with pytest.raises(TransportError, match="closed") as caught:
        call(client_of(server, **{call.argument: theirs}))
    assert not caught.value.is_retryable
    assert not server.received


def test_a_closed_client_does_not_use_a_users_client(
    call: Calls, server: Server, library: Any
) -> None:
    """A call after `close` is an error, whoever brought the HTTP client."""
    with call.http_client(library) as theirs:
        client = client_of(server, **{call.argument: theirs})
        call.close(client)
        with pytest.raises(ConfigurationError, match="closed"):
            call(client)


def test_a_users_client_never_follows_a_redirect(call: Calls, server: Server, library: Any) -> None:
    """A user's HTTP client that follows redirects does not carry the key elsewhere."""
    with running() as elsewhere, call.http_client(library, follow_redirects=True) as theirs:
        server.plays(Reply(status=307, headers={"Location": f"{elsewhere.url}/v1/rerank"}))
        with pytest.raises(StatusError, match="base_url"):
            call(client_of(server, "portkey", **{call.argument: theirs}))
        assert not elsewhere.received


def test_local_refuses_a_users_client(call: Calls, library: Any) -> None:
    """An engine that sends nothing refuses an HTTP client."""
    with (
        call.http_client(library) as theirs,
        pytest.raises(ConfigurationError, match=f"{call.argument} cannot be used with local"),
    ):
        RerankClient("local:bm25", **{call.argument: theirs})


@cases("argument", ["http_client", "async_http_client"])
async def test_a_users_client_of_the_other_kind_is_refused(library: Any, argument: str) -> None:
    """A sync client where an async one belongs, or the other way, is refused by name."""
    provider = OpenRouter(api_key="the-key")
    with library.Client() as blocking:
        async with library.AsyncClient() as asynchronous:
            wrong = asynchronous if argument == "http_client" else blocking
            with pytest.raises(ConfigurationError, match=f"^{argument} must be an httpx"):
                RerankClient("m", provider=provider, **{argument: wrong})


@cases("argument", ["http_client", "async_http_client"])
@cases("wrong", [object(), "http://host", {}, 0])
def test_what_is_no_http_client_is_refused(argument: str, wrong: Any) -> None:
    """Anything but an HTTP client, or a callable that makes one, is refused by name."""
    with pytest.raises(ConfigurationError, match=f"^{argument} must be an httpx"):
        RerankClient("m", provider=OpenRouter(api_key="the-key"), **{argument: wrong})


def test_every_address_of_a_host_is_tried_in_time(
    server: Server, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first address of a host refuses, the next one is asked; none when time is up."""
    refused, taken = (int(url.rpartition(":")[2]) for url in (nobody, server.url))
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", p)) for p in (refused, taken)
    ]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with client_of(server, max_retries=0) as client:
        assert len(client.rerank(QUERY, TEXTS)) == len(TEXTS)
        with pytest.raises(RerankTimeoutError):
            client.rerank(QUERY, TEXTS, deadline=1e-9)
    del found[1]
    with client_of(server, max_retries=0) as client, pytest.raises(TransportError) as caught:
        client.rerank(QUERY, TEXTS)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
