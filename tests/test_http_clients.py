"""HTTP clients of the user's: instances, used as they are, and callables that make one."""

from __future__ import annotations

import asyncio
import copy
import gc
import gzip
import pickle
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import httpx2
import pytest
import trustme
from httpx_aiohttp import HttpxAiohttpClient
from hypercorn.asyncio import serve
from hypercorn.config import Config
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope

from calls import LOOPS, QUERY, TEXTS, AsyncCalls, Calls, client_of
from cases import cases
from fakes import chain
from loopback import Received, Reply, Server, ranking, ranks_all, running, tls_context
from proxies import proxy, unix_socket
from rerank_integrations import (
    AuthenticationError,
    ConfigurationError,
    OpenRouter,
    RateLimitError,
    RerankClient,
    ServiceUnavailableError,
    StatusError,
    TransportError,
)

THREADS = 8
AT_ONCE = 100
LARGE = ["x" * 400_000, "y" * 400_000, "z" * 400_000, QUERY]  # a body of 1.2 MB

libraries = pytest.mark.parametrize("library", [httpx, httpx2])


def client_class(call: Calls, library: Any = httpx) -> Any:
    """The class of HTTP clients that a kind of calls needs."""
    return library.Client if call.argument == "http_client" else library.AsyncClient


def given(call: Calls, http_client: Any) -> dict[str, Any]:
    """The argument by which a kind of calls is given an HTTP client or a callable."""
    return {call.argument: http_client}


def transport_class(call: Calls) -> Any:
    """The class of httpx transports that a kind of calls needs."""
    return httpx.HTTPTransport if call.argument == "http_client" else httpx.AsyncHTTPTransport


def hook(call: Calls, steps: Callable[[Any], object]) -> Any:
    """An event hook that a kind of calls can use."""
    if call.argument == "http_client":
        return steps

    async def asynchronous(message: Any) -> None:
        steps(message)

    return asynchronous


class Factory:
    """Makes HTTP clients, and remembers them."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.made: list[Any] = []

    def __call__(self) -> Any:
        """Make one."""
        self.made.append(self.make())
        return self.made[-1]


# how often a callable is called, and who closes what it made


def test_all_threads_share_one_client(server: Server) -> None:
    """A callable of `http_client` is called once, however many threads call at first."""
    factory = Factory(httpx.Client)
    together = threading.Barrier(THREADS)
    with client_of(server, http_client=factory) as client, ThreadPoolExecutor(THREADS) as pool:

        def first_call(_: int) -> int:
            together.wait(10)
            return len(client.rerank(QUERY, TEXTS))

        assert list(pool.map(first_call, range(THREADS))) == [len(TEXTS)] * THREADS
        client.with_options(top_n=1).rerank(QUERY, TEXTS)
    assert len(factory.made) == 1


def test_each_loop_has_its_own_client(server: Server) -> None:
    """A callable of `async_http_client` is called once for each event loop."""
    factory = Factory(httpx.AsyncClient)
    client = client_of(server, async_http_client=factory)

    async def calls() -> None:
        await asyncio.gather(*(client.arerank(QUERY, TEXTS) for _ in range(THREADS)))

    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one):
            runner.run(calls())
        assert len(factory.made) == 2


@libraries
def test_a_made_client_is_closed_with_its_maker(call: Calls, server: Server, library: Any) -> None:
    """What a callable made is open until `close` or `aclose`, and closed after it."""
    factory = Factory(client_class(call, library))
    client = client_of(server, **given(call, factory))
    call(client)
    assert not factory.made[0].is_closed
    call.close(client)
    assert factory.made[0].is_closed


def test_a_made_client_is_closed_with_its_loop(server: Server) -> None:
    """What a callable made for an event loop is closed when the loop ends."""
    factory = Factory(httpx.AsyncClient)
    client = client_of(server, async_http_client=factory)
    for _ in range(2):
        asyncio.run(client.arerank(QUERY, TEXTS))
    assert [made.is_closed for made in factory.made] == [True, True]


def test_a_made_client_of_a_dropped_one_is_closed(server: Server) -> None:
    """What a callable made for a RerankClient that nobody holds any more is closed."""
    sync, asynchronous = Factory(httpx.Client), Factory(httpx.AsyncClient)

    async def dropped() -> None:
        client = client_of(server, http_client=sync, async_http_client=asynchronous)
        await asyncio.to_thread(client.rerank, QUERY, TEXTS)
        await client.arerank(QUERY, TEXTS)
        del client
        gc.collect()
        while not asynchronous.made[0].is_closed:  # noqa: ASYNC110
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(dropped(), 10))
    assert sync.made[0].is_closed


def test_a_given_client_stays_open() -> None:
    """A client that was given is open after the loop, and after its RerankClient is gone."""
    answers = httpx.MockTransport(lambda _: httpx.Response(200, content=ranking(0.5, 1).content))
    theirs = httpx.AsyncClient(transport=answers)

    async def dropped() -> None:
        await client_of("http://localhost", async_http_client=theirs).arerank(QUERY, ["a", "b"])
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(dropped())
    assert not theirs.is_closed
    with httpx.Client(transport=answers) as blocking:
        client_of("http://localhost", http_client=blocking).rerank(QUERY, ["a", "b"])
        gc.collect()
        assert not blocking.is_closed


@cases("loop", LOOPS)
def test_a_users_own_request_is_sent_as_ever(loop: str) -> None:
    """A request of the user's, on a connection that served a call, is not held back."""

    async def run() -> None:
        head_came = asyncio.Event()

        async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answer = b'{"results": [{"index": 0, "relevance_score": 0.5}]}'
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer) + answer)
            await reader.readuntil(b"\r\n\r\n")
            head_came.set()
            await reader.readuntil(b"0\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()

        async def body() -> AsyncIterator[bytes]:
            await asyncio.wait_for(head_came.wait(), 10)
            yield b"x"

        async with await asyncio.start_server(play, "127.0.0.1") as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            async with httpx.AsyncClient() as theirs:
                client = client_of(url, async_http_client=theirs)
                await client.arerank("query", ["text"])
                assert (await theirs.post(url, content=body())).status_code == 204

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(run())


@libraries
def test_a_class_is_a_callable(call: Calls, server: Server, library: Any) -> None:
    """The class of a client, such as `httpx.Client`, is a callable that makes one."""
    with client_of(server, **given(call, client_class(call, library))) as client:
        for _ in range(2):
            assert call(client)[0].document == QUERY
        call.close(client)
    user_agents = {received.headers["user-agent"] for received in server.received}
    assert len(user_agents) == 1
    assert server.connections == 1


tagged: Mapping[str, Any] = {
    "http_client": partial(httpx.Client, headers={"X-Mine": "1"}),
    "async_http_client": partial(httpx.AsyncClient, headers={"X-Mine": "1"}),
}


def pickled(client: RerankClient) -> Any:
    """The client after a pickle round trip."""
    return pickle.loads(pickle.dumps(client))  # noqa: S301


@cases("copied", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_keeps_a_callable(
    call: Calls, server: Server, copied: Callable[[RerankClient], RerankClient]
) -> None:
    """A copy or pickle of a used client makes an HTTP client of its own by the same callable."""
    with client_of(server, **tagged) as client:
        call(client)
        with copied(client) as other:
            call(other)
            call.close(other)
        call.close(client)
    assert [received.headers.get("x-mine") for received in server.received] == ["1", "1"]
    assert server.connections == 2


# what is refused


def other_argument(call: Calls) -> str:
    """The argument that a kind of calls does not use."""
    [other] = {"http_client", "async_http_client"} - {call.argument}
    return other


@cases("made", [object, lambda: None, dict, lambda: httpx.Client])
def test_a_callable_that_makes_no_client(call: Calls, server: Server, made: Any) -> None:
    """A callable that makes no HTTP client is a ConfigurationError that names the argument."""
    client = client_of(server, **given(call, made))
    with pytest.raises(ConfigurationError, match=rf"callable of {call.argument}="):
        call(client)
    assert not server.received


def test_a_callable_that_makes_the_other_kind(call: Calls, server: Server) -> None:
    """A callable that makes a sync client for async calls, or the reverse, is refused by name."""
    other = httpx.AsyncClient if call.argument == "http_client" else httpx.Client
    wanted = client_class(call).__name__
    with pytest.raises(ConfigurationError, match=rf"{call.argument} must .*httpx\.{wanted}\b"):
        client_of(server, **given(call, other))
    client = client_of(server, **given(call, partial(other)))
    with pytest.raises(ConfigurationError, match=rf"{call.argument}= .*httpx\.{wanted}\b"):
        call(client)
    assert not server.received


@cases("raised", [OSError("no such file"), TypeError("bad"), KeyError("proxy")])
def test_a_callable_that_raises(call: Calls, server: Server, raised: Exception) -> None:
    """What a callable raises is the cause of a ConfigurationError that names the argument."""

    def fails() -> Any:
        raise raised

    client = client_of(server, **given(call, fails))
    with pytest.raises(ConfigurationError, match=rf"callable of {call.argument}=") as caught:
        call(client)
    assert caught.value.__cause__ is raised
    assert not server.received


def test_only_the_client_of_the_other_kind(call: Calls, server: Server) -> None:
    """A client for sync calls alone refuses async ones, and the reverse, and says what to pass."""
    other = other_argument(call)
    client = client_of(server, **{other: tagged[other]})
    with pytest.raises(ConfigurationError, match=rf"\bpass {call.argument}= too"):
        call(client)
    assert not server.received


# what a client brings along


@libraries
def test_what_a_client_has_is_applied(call: Calls, server: Server, library: Any) -> None:
    """Headers, cookies, parameters and event hooks of a user's client apply to each request."""
    server.plays(lambda asked: Reply(ranks_all(asked).body, headers={"Set-Cookie": "seen=yes"}))
    events: list[str] = []
    hooks = {
        "request": [hook(call, lambda request: events.append(request.method))],
        "response": [hook(call, lambda response: events.append(str(response.status_code)))],
    }
    theirs = client_class(call, library)(
        headers={"X-Mine": "1"},
        cookies={"session": "s"},
        params={"tenant": "t"},
        event_hooks=hooks,
    )
    client = client_of(server, **given(call, lambda: theirs))
    call(client)
    call(client)
    call.close(client)
    assert events == ["POST", "200"] * 2
    assert {one.headers["x-mine"] for one in server.received} == {"1"}
    assert {one.path.partition("?")[2] for one in server.received} == {"tenant=t"}
    first, then = (sorted(one.headers["cookie"].split("; ")) for one in server.received)
    assert (first, then) == (["session=s"], ["seen=yes", "session=s"])
    assert {one.headers["authorization"] for one in server.received} == {"Bearer the-key"}


def test_fallbacks_by_name_use_the_same_client(call: Calls, server: Server, second: Server) -> None:
    """A fallback that is given by name sends through the HTTP client of its RerankClient."""
    server.plays(Reply(status=503))
    factory = Factory(partial(client_class(call), headers={"X-Mine": "1"}))
    with chain(server, "together:n", **given(call, factory)) as client:
        call(client)
        call.close(client)
    [then] = second.received
    assert then.headers["x-mine"] == "1"
    assert len(factory.made) == 1


@pytest.mark.parametrize(
    ("status", "kind", "attempts"),
    [(503, ServiceUnavailableError, 2), (429, RateLimitError, 2), (401, AuthenticationError, 1)],
)
@libraries
def test_a_hook_that_raises_for_status(
    call: Calls,
    server: Server,
    library: Any,
    pauses: Sequence[float],
    *,
    status: int,
    kind: type[StatusError],
    attempts: int,
) -> None:
    """With a hook that calls `raise_for_status` a status is the same error, as often tried."""
    server.plays(Reply(status=status, headers={"Retry-After": "7", "X-Request-Id": "r-1"}))
    hooks = {"response": [hook(call, lambda response: response.raise_for_status())]}
    factory = partial(client_class(call, library), event_hooks=hooks)
    client = client_of(server, max_retries=1, **given(call, factory))
    with pytest.raises(kind) as caught:
        call(client)
    call.close(client)
    assert (caught.value.status_code, caught.value.retry_after) == (status, 7.0)
    assert caught.value.is_retryable is (attempts == 2)
    assert len(server.received) == len(caught.value.attempts) == attempts
    assert list(pauses) == [7.0] * (attempts - 1)


def reading_hook(call: Calls, *, raises: bool) -> Mapping[str, Any]:
    """An event hook that reads the body of each response, and may raise for its status."""

    def read(response: httpx.Response) -> None:
        response.read()
        if raises:
            response.raise_for_status()

    async def aread(response: httpx.Response) -> None:
        await response.aread()
        if raises:
            response.raise_for_status()

    return {"response": [read if call.argument == "http_client" else aread]}


@cases("coding", ["", "gzip"])
@cases("raises", [False, True])
def test_a_hook_that_reads(call: Calls, server: Server, coding: str, *, raises: bool) -> None:
    """Where a hook has read the body, the answer and the provider's message are the same."""
    refusal = b'{"error": {"message": "no such account"}}'
    for status, content in ((200, ranking(0.5, 1.0, 0.25).content), (401, refusal)):
        encoded = gzip.compress(content) if coding else content
        server.plays(Reply(encoded, status, {"Content-Encoding": coding} if coding else {}))
        factory = partial(client_class(call), event_hooks=reading_hook(call, raises=raises))
        client = client_of(server, **given(call, factory))
        if status == 200:
            assert call(client)[0].document == QUERY
        else:
            with pytest.raises(AuthenticationError, match="no such account"):
                call(client)
        call.close(client)


def asks_for_digest(received: Received) -> Reply:
    """Refuses a request without digest credentials."""
    if received.headers["authorization"].startswith("Digest "):
        return ranks_all(received)
    challenge = 'Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256'
    return Reply(status=401, headers={"WWW-Authenticate": challenge})


def sent_twice(call: Calls, server: Server, make: Callable[[], Any]) -> None:
    """See that a large body is refused and sent again, in whole, by a client that is made."""
    server.plays(asks_for_digest)
    with client_of(server, **given(call, make)) as client:
        response = call(client, documents=LARGE)
        call.close(client)
    assert response[0].document == QUERY
    refused, answered = server.received
    assert refused.content == answered.content
    assert refused.body["documents"] == LARGE


@libraries
def test_digest_authentication_of_a_large_body(call: Calls, server: Server, library: Any) -> None:
    """A large body is sent again where the user's client answers a challenge."""
    auth = library.DigestAuth("user", "password")
    sent_twice(call, server, partial(client_class(call, library), auth=auth))


# other libraries, protocols and routes


def test_digest_authentication_over_aiohttp(server: Server) -> None:
    """The same holds where httpx sends through aiohttp."""
    make = partial(HttpxAiohttpClient, auth=httpx.DigestAuth("user", "password"))
    with asyncio.Runner() as runner:
        sent_twice(AsyncCalls(runner), server, make)


async def test_a_hundred_at_once_over_aiohttp(server: Server) -> None:
    """`httpx_aiohttp.HttpxAiohttpClient` is a callable that serves a hundred calls at once."""
    factory = Factory(HttpxAiohttpClient)
    async with client_of(server, async_http_client=factory) as client:
        queries = [f"query {number}" for number in range(AT_ONCE)]
        tasks = [client.arerank(query, [*TEXTS, query]) for query in queries]
        responses = await asyncio.gather(*tasks)
    assert [response[0].document for response in responses] == queries
    assert len(factory.made) == 1
    assert factory.made[0].is_closed


class Http2Server:
    """Speaks HTTP/2 over TLS, in a thread with an event loop of its own.

    Attributes:
        versions: the version of HTTP of each request.
        clients: the address that each request came from.
    """

    def __init__(self, authority: trustme.CA, folder: Path) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{listening.getsockname()[1]}"
        self.versions: list[str] = []
        self.clients: list[object] = []
        certificate = authority.issue_cert("localhost")
        self._config = Config()
        self._config.bind = [f"fd://{listening.detach()}"]
        self._config.certfile = str(folder / "certificate.pem")
        self._config.keyfile = str(folder / "key.pem")
        self._config.errorlog = None
        certificate.cert_chain_pems[0].write_to_path(self._config.certfile)
        certificate.private_key_pem.write_to_path(self._config.keyfile)
        self._started = threading.Event()
        self._stop: Callable[[], object] = bool
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Serve while the block lasts."""
        self._thread.start()
        assert self._started.wait(10)
        try:
            yield
        finally:
            self._stop()
            self._thread.join(10)
        assert not self._thread.is_alive()

    async def _serve(self) -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        self._stop = partial(loop.call_soon_threadsafe, stopped.set)
        await serve(self._answer, self._config, shutdown_trigger=stopped.wait)

    async def _answer(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            self._started.set()
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        assert scope["type"] == "http"
        self.versions.append(scope["http_version"])
        self.clients.append(scope["client"])
        content, has_more = b"", True
        while has_more:
            message: Any = await receive()
            content += message["body"]
            has_more = message["more_body"]
        body = ranks_all(Received(scope["path"], {}, content)).content
        start: Any = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": body, "more_body": False})


@pytest.fixture(scope="module", name="authority")
def authority_fixture() -> trustme.CA:
    """Who signs the certificates of servers and clients."""
    return trustme.CA()


@pytest.fixture(name="trust")
def trust_fixture(authority: trustme.CA) -> ssl.SSLContext:
    """What a client passes as `verify=` to trust the servers here."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(name="http2_server")
def http2_server_fixture(authority: trustme.CA, tmp_path: Path) -> Iterator[Http2Server]:
    """A server that speaks HTTP/2."""
    server = Http2Server(authority, tmp_path)
    with server.running():
        yield server


@libraries
def test_http2(call: Calls, http2_server: Http2Server, trust: ssl.SSLContext, library: Any) -> None:
    """A client with `http2=True` speaks HTTP/2 to a server that does, with large bodies too."""
    make = partial(client_class(call, library), http2=True, verify=trust)
    with client_of(http2_server.url, **given(call, make)) as client:
        for documents in (TEXTS, LARGE):
            assert call(client, documents=documents)[0].document == QUERY
        call.close(client)
    assert http2_server.versions == ["2", "2"]


async def test_many_calls_over_one_http2_connection(
    http2_server: Http2Server, trust: ssl.SSLContext
) -> None:
    """Calls at the same time share one connection of HTTP/2, and each gets its own answer."""
    make = partial(httpx.AsyncClient, http2=True, verify=trust)
    async with client_of(http2_server.url, async_http_client=make) as client:
        queries = [f"query {number}" for number in range(20)]
        tasks = [client.arerank(query, [*TEXTS, query]) for query in queries]
        responses = await asyncio.gather(*tasks)
    assert [response[0].document for response in responses] == queries
    assert http2_server.versions == ["2"] * 20
    assert len(set(http2_server.clients)) == 1


@cases("scheme", ["http", "socks5"])
def test_a_proxy(call: Calls, server: Server, scheme: str) -> None:
    """A client with `proxy=` sends through a proxy of HTTP or SOCKS."""
    with proxy() as passing:
        make = partial(client_class(call), proxy=f"{scheme}://127.0.0.1:{passing.port}")
        with client_of(server, **given(call, make)) as client:
            for _ in range(2):
                assert call(client)[0].document == QUERY
            call.close(client)
    assert passing.targets == [server.url.removeprefix("http://")]
    assert len(server.received) == 2


@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_tunnel(call: Calls, authority: trustme.CA, trust: ssl.SSLContext, scheme: str) -> None:
    """A client with `proxy=` and `verify=` speaks TLS to the server behind the proxy."""
    with (
        running(context=tls_context(authority, "localhost"), host="localhost") as server,
        proxy() as passing,
    ):
        make = partial(
            client_class(call), proxy=f"{scheme}://127.0.0.1:{passing.port}", verify=trust
        )
        with client_of(server, **given(call, make)) as client:
            assert call(client)[0].document == QUERY
            call.close(client)
    assert passing.targets == [server.url.removeprefix("https://")]


@contextmanager
def demanding(authority: trustme.CA) -> Iterator[Server]:
    """A server over TLS that serves only clients with a certificate of the authority."""
    context = tls_context(authority, "localhost")
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with running(context=context, host="localhost") as server:
        yield server


@libraries
def test_a_client_certificate(
    call: Calls, authority: trustme.CA, trust: ssl.SSLContext, library: Any
) -> None:
    """A client whose `verify=` has a certificate is served where one is required."""
    authority.issue_cert("client.example").configure_cert(trust)
    with demanding(authority) as server:
        make = partial(client_class(call, library), verify=trust)
        with client_of(server, **given(call, make)) as client:
            assert call(client)[0].document == QUERY
            call.close(client)
    assert len(server.received) == 1


def test_a_missing_client_certificate(
    call: Calls, authority: trustme.CA, trust: ssl.SSLContext
) -> None:
    """A client without the certificate that is required gets a TransportError."""
    with demanding(authority) as server:
        make = partial(client_class(call), verify=trust)
        with client_of(server, max_retries=0, **given(call, make)) as client:
            with pytest.raises(TransportError):
                call(client)
            call.close(client)
    assert not server.received


Route: TypeAlias = Callable[[Any], Mapping[str, Any]]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="has no Unix sockets")
@pytest.mark.parametrize(
    "route",
    [lambda to: {"transport": to}, lambda to: {"mounts": {"all://localhost": to}}],
    ids=["transport", "mounts"],
)
def test_a_unix_socket(call: Calls, server: Server, tmp_path: Path, route: Route) -> None:
    """A client whose transport or mount goes to a Unix socket is answered there."""
    path = tmp_path / "socket"

    def make() -> Any:
        return client_class(call)(**route(transport_class(call)(uds=str(path))))

    with unix_socket(path, server.url):
        client = client_of("http://localhost", **given(call, make))
        assert call(client)[0].document == QUERY
        call.close(client)
    assert server.received[0].headers["host"] == "localhost"


def test_each_origin_gets_its_own_host(server: Server, second: Server, call: Calls) -> None:
    """Requests with the same headers to two servers name each server in their Host header."""
    with client_of(server) as client:
        call(client)
        provider = OpenRouter(api_key="the-key", base_url=second.url)
        call(client.with_options(provider=provider))
    hosts = [one.received[0].headers["host"] for one in (server, second)]
    assert hosts == [one.url.removeprefix("http://") for one in (server, second)]
