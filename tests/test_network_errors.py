"""What becomes of failures of the network: kind, retries, phase, traceback, and no key in any."""

from __future__ import annotations

import copy
import os
import re
import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from traceback import walk_tb
from types import SimpleNamespace
from typing import Any, TypeAlias

import httpx
import httpx2
import httpx_aiohttp
import pytest
import trustme
from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from calls import QUERY, TEXTS, Calls, SyncCalls, client_of
from cases import cases
from fakes import override
from loopback import Fault, Received, Server, echoes, framed, running, tls_context
from rerank_integrations import (
    ConfigurationError,
    RerankClient,
    RerankTimeoutError,
    TransportError,
)
from rerank_integrations.langchain import RerankCompressor
from rerank_integrations.llama_index import RerankPostprocessor

libraries = cases("library", [None, httpx, httpx2], ids=["default", "httpx", "httpx2"])
KEY = "the-key"
PACKAGE = "rerank_integrations."
TESTS = str(Path(__file__).parent)
LIBRARIES = {"httpx", "httpcore", "h11", "httpx2", "httpcore2", "httpx_aiohttp", "aiohttp", "anyio"}
AIOHTTP = SimpleNamespace(AsyncClient=httpx_aiohttp.HttpxAiohttpClient)


def links(error: BaseException) -> list[BaseException]:
    """An error and all that it came from."""
    found: dict[int, BaseException] = {}
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and id(link) not in found:
            found[id(link)] = link
            waiting += [link.__cause__, link.__context__, *getattr(link, "exceptions", ())]
    return list(found.values())


def modules(error: BaseException) -> list[str]:
    """The modules of an error's traceback, outermost first."""
    frames = walk_tb(error.__traceback__)
    return [str(frame.f_globals.get("__name__")) for frame, _ in frames]


def visible(error: BaseException) -> Iterator[str]:
    """All that an error tracker can store of an error, but for the variables of the tests."""
    for link in links(error):
        yield f"{link} {link!r} {link.args} {vars(link)}\n"
        for name in ("request", "response"):
            holder = getattr(link, f"_{name}", None) or vars(link).get(name)
            yield f"{name} {holder!r} {getattr(getattr(holder, 'headers', None), 'raw', None)}\n"
        for frame, _ in walk_tb(link.__traceback__):
            if not frame.f_code.co_filename.startswith(TESTS):
                for name, value in frame.f_locals.items():
                    yield f"{frame.f_code.co_qualname} {name} = {value!r}\n"


def users(call: Calls, library: Any, **options: Any) -> AbstractContextManager[dict[str, Any]]:
    """The argument with which a client uses an HTTP client of a library; None for the default."""

    @contextmanager
    def argument() -> Iterator[dict[str, Any]]:
        with call.http_client(library, **options) as theirs:
            yield {call.argument: theirs}

    return argument() if library else nullcontext({})


def failed(call: Calls, client: RerankClient, **options: Any) -> Any:
    """The error that a call ends with, which is one of the network."""
    with client:
        with pytest.raises(TransportError) as caught:
            call(client, **options)
        call.close(client)
    return caught.value


def untrusted_context() -> ssl.SSLContext:
    """A context for a server for which nobody vouches."""
    return tls_context(trustme.CA())


# kinds and retries


@libraries
def test_an_untrusted_certificate_is_permanent(
    call: Calls, pauses: Sequence[float], library: Any
) -> None:
    """A certificate that is not trusted is refused once, with a hint, by every HTTP client."""
    with running(echoes, context=untrusted_context()) as plain, users(call, library) as argument:
        error = failed(call, client_of(plain.url, **argument))
    assert "SSL_CERT_FILE" in str(error)
    assert not error.is_retryable
    assert len(error.attempts) == 1
    assert not pauses
    assert not plain.received


@libraries
@cases("retry_on_timeout", [True, False])
@pytest.mark.usefixtures("pauses")
def test_a_read_timeout_is_retried_unless_told_otherwise(
    call: Calls,
    server: Server,
    library: Any,
    retry_on_timeout: bool,  # noqa: FBT001
) -> None:
    """With retry_on_timeout=False a request that may still be worked on is sent once."""
    server.plays(Fault.STALL)
    timeout = httpx.Timeout(5, read=0.1)
    with users(call, library) as argument:
        client = client_of(server, timeout=timeout, retry_on_timeout=retry_on_timeout, **argument)
        error = failed(call, client)
    assert error.phase == "read"
    assert error.is_retryable is retry_on_timeout
    assert len(server.received) == len(error.attempts) == (3 if retry_on_timeout else 1)


def test_retry_on_timeout_is_for_reading_only(
    call: Calls, nobody: str, pauses: Sequence[float]
) -> None:
    """A connection that could not be made is tried again, whatever retry_on_timeout says."""
    error = failed(call, client_of(nobody, retry_on_timeout=False))
    assert error.is_retryable
    assert len(error.attempts) == 3


@pytest.fixture(name="deaf")
def deaf_fixture() -> Iterator[str]:
    """An address that takes connections, and never reads from nor writes to them."""
    with running(door="deaf") as server:
        yield f"127.0.0.1:{server.port}"


PHASES = {
    "connect": ("https", TEXTS),
    "write": ("http", ["x" * 16_000_000]),
    "read": ("http", TEXTS),
}


@cases("library", [None, httpx], ids=["default", "httpx"])
@cases("phase", PHASES)
def test_the_phase_of_a_timeout(call: Calls, deaf: str, library: Any, phase: str) -> None:
    """An error says which timeout passed; one of connecting or writing is always retryable."""
    scheme, documents = PHASES[phase]
    options: dict[str, Any] = {"timeout": httpx.Timeout(5, **{phase: 0.05}), "max_retries": 0}
    with users(call, library) as argument:
        client = client_of(f"{scheme}://{deaf}", retry_on_timeout=False, **argument, **options)
        error = failed(call, client, documents=documents)
    assert isinstance(error, RerankTimeoutError)
    assert error.phase == phase
    said = rf"Request to {scheme}://\S+ timed out after [\d.]+ s \(timeout=0.05, in the {phase} "
    assert re.match(said, str(error))
    assert error.is_retryable is (phase != "read")


@cases("phase", PHASES)
def test_the_phase_of_a_deadline(call: Calls, deaf: str, phase: str) -> None:
    """Whatever a call was doing when its deadline passed, the error says so."""
    scheme, documents = PHASES[phase]
    client = client_of(f"{scheme}://{deaf}", deadline=0.1, timeout=5)
    error = failed(call, client, documents=documents)
    assert isinstance(error, RerankTimeoutError)
    assert error.phase == "deadline"
    assert re.fullmatch(r"Request to \S+ timed out after [\d.]+ s \(deadline=0.1\)", str(error))


def head_in_drops() -> Iterator[bytes]:
    """A head that takes its time."""
    yield b"HTTP/1.1 200 OK\r\n"
    for _ in range(40):
        time.sleep(0.05)
        yield b"x-more: 1\r\n"


def body_in_drops() -> Iterator[bytes]:
    """A body that takes its time."""
    yield b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n"
    for _ in range(40):
        time.sleep(0.05)
        yield b" "


Drops: TypeAlias = Callable[[], Iterator[bytes]]
DRIPS = pytest.mark.parametrize("drops", [head_in_drops, body_in_drops])


def dripping(plain: Server, drops: Drops) -> None:
    """Let a server answer in drops for 2 seconds, and then go away; the first call is answered."""

    def respond(received: Received) -> Iterator[bytes]:
        if received.query == "first":
            yield framed(received.query)
            return
        yield from drops()
        raise ConnectionResetError

    plain.plays(respond)


@DRIPS
def test_a_deadline_holds_against_drops(call: Calls, plain: Server, drops: Drops) -> None:
    """A response that comes in drops, head or body, is awaited until the deadline, no longer."""
    dripping(plain, drops)
    error = failed(call, client_of(plain.url, max_retries=0, deadline=0.3))
    assert error.phase == "deadline"


@DRIPS
def test_a_deadline_holds_against_drops_over_tls(context: ssl.SSLContext, drops: Drops) -> None:
    """The same over TLS, without an event loop that could end a read."""
    with running(echoes, context=context) as plain:
        dripping(plain, drops)
        error = failed(SyncCalls(), client_of(plain.url, max_retries=0, deadline=0.3))
    assert error.phase == "deadline"


@DRIPS
@libraries
def test_a_deadline_holds_against_drops_on_a_kept_connection(
    plain: Server, drops: Drops, library: Any
) -> None:
    """The same on a connection that was made by an earlier call, which had no deadline."""
    call = SyncCalls()
    dripping(plain, drops)
    with users(call, library) as argument:
        client = client_of(plain.url, max_retries=0, **argument)
        assert call(client, "first", deadline=None).id == "first"
        error = failed(call, client, deadline=0.3)
    assert error.phase == "deadline"
    assert plain.connections == 1


# defects of the package, and exceptions of the user's


def raising(error: Exception) -> Callable[..., Any]:
    """A function of this package that raises an error."""
    names: dict[str, Any] = {"__name__": f"{PACKAGE}_simulated", "error": error}
    code = "def fails(*_, **__):\n    raise error"
    exec(compile(code, "_simulated.py", "exec"), names)  # noqa: S102
    found: Callable[..., Any] = names["fails"]
    return found


DEFECTIVE = {
    "connecting": ("begin_request", AttributeError("a defect")),
    "counting": ("count_bytes", KeyError("a defect")),
    "beginning": ("make_reader", TypeError("a defect")),
    "reading": ("read_body", TypeError("a defect")),
    "ending": ("end_body", KeyError("a defect")),
}


@pytest.fixture(name="break_")
def break_fixture(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Exception], None]:
    """Lets a function of the package raise."""

    def change(place: str, defect: Exception) -> None:
        override(monkeypatch, **{place: raising(defect)})

    return change


@pytest.mark.parametrize("moment", DEFECTIVE)
@cases(
    "options",
    [{}, {"fallbacks": ["local:bm25"]}, {"max_documents_per_request": 1, "on_partial": "keep"}],
    ids=["alone", "fallbacks", "parts"],
)
def test_a_defect_is_raised_as_it_is(
    call: Calls,
    server: Server,
    break_: Callable[[str, Exception], None],
    moment: str,
    options: dict[str, Any],
) -> None:
    """A defect of this package is no network error: not wrapped, not retried, not covered up."""
    place, defect = DEFECTIVE[moment]
    break_(place, defect)
    with client_of(server, **options) as client:
        with pytest.raises(type(defect)) as caught:
            call(client)
        call.close(client)
    assert caught.value is defect


@pytest.mark.parametrize("place", ["had_stale_bytes", "ended_exactly"])
@pytest.mark.usefixtures("pauses")
def test_a_defect_beside_a_network_error_is_raised_as_it_is(
    call: Calls, server: Server, break_: Callable[[str, Exception], None], place: str
) -> None:
    """A defect is raised as it is also where it is met while a network error is handled."""
    server.plays(Fault.DROP if place == "had_stale_bytes" else Fault.HALF)
    defect = TypeError("a defect")
    break_(place, defect)
    with client_of(server) as client:
        with pytest.raises(TypeError) as caught:
            call(client)
        call.close(client)
    assert caught.value is defect
    assert len(server.received) == 1


@pytest.fixture(name="adapters")
def adapters_fixture(
    server: Server, break_: Callable[[str, Exception], None]
) -> Iterator[tuple[RerankCompressor, RerankPostprocessor]]:
    """Adapters that pass over failures, of a client with a defect."""
    break_("read_body", DEFECT)
    with client_of(server, fallbacks=["local:bm25"]) as client:
        yield (
            RerankCompressor(client=client, on_error="passthrough"),
            RerankPostprocessor(client=client, on_error="passthrough"),
        )


Adapters: TypeAlias = tuple[RerankCompressor, RerankPostprocessor]
DEFECT = TypeError("a defect")
DOCUMENTS = [Document(page_content=text) for text in TEXTS]
NODES = [NodeWithScore(node=TextNode(text=text)) for text in TEXTS]


def test_adapters_raise_a_defect_as_it_is(adapters: Adapters) -> None:
    """No adapter takes a defect of this package for a failure that it may pass over."""
    compressor, postprocessor = adapters
    with pytest.raises(TypeError) as caught:
        compressor.compress_documents(DOCUMENTS, QUERY)
    assert caught.value is DEFECT
    with pytest.raises(TypeError) as caught:
        postprocessor.postprocess_nodes(NODES, QueryBundle(QUERY))
    assert caught.value is DEFECT


async def test_async_adapters_raise_a_defect_as_it_is(adapters: Adapters) -> None:
    """The same on an event loop."""
    compressor, postprocessor = adapters
    with pytest.raises(TypeError) as caught:
        await compressor.acompress_documents(DOCUMENTS, QUERY)
    assert caught.value is DEFECT
    with pytest.raises(TypeError) as caught:
        await postprocessor.apostprocess_nodes(NODES, QueryBundle(QUERY))
    assert caught.value is DEFECT


class UsersError(Exception):
    """Of a user's hook."""


def hooked(call: Calls, event: str, kind: type[Exception]) -> dict[str, Any]:
    """Options of an HTTP client whose hook raises."""

    def users_hook(_: Any) -> None:
        raise kind("of the user")

    async def users_async_hook(_: Any) -> None:
        raise kind("of the user")

    hook = users_hook if call.argument == "http_client" else users_async_hook
    return {"event_hooks": {event: [hook]}}


@cases("library", [httpx, httpx2], ids=["httpx", "httpx2"])
@cases("event", ["request", "response"])
@cases("kind", [UsersError, ValueError, httpx.ReadTimeout, ConnectionResetError])
def test_an_exception_of_a_hook(
    call: Calls, server: Server, library: Any, event: str, kind: type[Exception]
) -> None:
    """What a user's hook raises passes through, but for errors of HTTP clients and the system."""
    error: Any
    with users(call, library, **hooked(call, event, kind)) as argument:
        if kind in (UsersError, ValueError):
            client = client_of(server, fallbacks=["local:bm25"], **argument)
            with client, pytest.raises(kind) as caught:
                call(client)
            call.close(client)
            error = cause = caught.value
            assert len(server.received) == (event == "response")
        else:
            error = failed(call, client_of(server, max_retries=0, **argument))
            cause = error.__cause__
            assert isinstance(error, RerankTimeoutError) is (kind is httpx.ReadTimeout)
    assert isinstance(cause, kind)
    functions = [frame.f_code.co_name for frame, _ in walk_tb(cause.__traceback__)]
    assert functions[-1] in ("users_hook", "users_async_hook")
    assert [part for part in visible(error) if KEY in part] == []
    assert not {name.partition(".")[0] for name in modules(cause)} & LIBRARIES


@pytest.mark.usefixtures("pauses")
def test_what_the_caller_handles_is_no_reason_and_stays_as_it_is(call: Calls) -> None:
    """An exception that the caller handles meanwhile changes no diagnosis, and is not changed."""
    request = httpx.Request("GET", "http://example.org/other")
    handled: tuple[Exception, ...] = (
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        httpx.ReadTimeout("theirs", request=request),
        KeyError("tenant the-key"),
    )
    for theirs in handled:
        try:
            raise theirs  # noqa: TRY301
        except Exception as caught:  # noqa: BLE001
            before = (str(caught), caught.__traceback__, dict(vars(caught)))
            with pytest.raises(TransportError, match="ConnectError") as refused:
                call(client_of("http://127.0.0.1:1", max_retries=1))
            assert refused.value.is_retryable
            assert refused.value.retries == 1
            assert (str(caught), caught.__traceback__, dict(vars(caught))) == before
            assert caught in links(refused.value)


class ReadTimeout(Exception):  # noqa: N818  # the name of an error of httpx
    """Of a worker that ends a job, and not of an HTTP client."""


@cases("kind", [UsersError, ReadTimeout, TimeoutError])
@cases("options", [{}, {"fallbacks": ["local:bm25"]}, {"max_documents_per_request": 1}])
@cases("library", [None, httpx])
def test_an_exception_from_outside_passes_through(
    options: dict[str, Any], library: Any, kind: type[Exception]
) -> None:
    """What a signal handler raises while a response is awaited is raised as it is, at once.

    Where threads send the parts of a call, this is so for a signal that does not end the caller's
    wait, such as one that arrives just before it begins: here another thread takes it.
    """
    call = SyncCalls()
    main = threading.main_thread().ident or 0
    in_parts = "max_documents_per_request" in options
    send = partial(os.kill, os.getpid()) if in_parts else partial(signal.pthread_kill, main)
    once = iter([lambda: send(signal.SIGUSR1)])
    ended = threading.Event()
    was_at_once = []

    def ends_the_job(_: Any, __: Any) -> None:
        raise kind

    def interrupts(_: Received) -> bytes:
        next(once, lambda: None)()
        was_at_once.append(ended.wait(10))
        return b""

    before = signal.signal(signal.SIGUSR1, ends_the_job)
    try:
        with running(interrupts) as server, users(call, library) as argument:
            client = client_of(server, **options, **argument)
            if in_parts:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
            with client, pytest.raises(kind) as caught:
                call(client)
            ended.set()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        signal.signal(signal.SIGUSR1, before)
    assert all(was_at_once)
    assert [part for part in visible(caught.value) if KEY in part] == []


@cases(
    "raised",
    [
        httpx.ConnectError("the-key"),
        httpx2.ReadError("the-key"),
        OSError(5, "the-key", "the-key"),
        ssl.SSLError(1, "the-key"),
        TimeoutError("the-key"),
    ],
)
def test_errors_of_a_users_transport_are_ours(raised: Exception) -> None:
    """What a user's own transport raises of an HTTP client or the system is translated.

    No key is in it, nor in what it came from: its cause, and what was handled meanwhile.
    """
    call = SyncCalls()

    def fail() -> None:
        error = copy.copy(raised)
        error.__cause__ = RuntimeError(" " * 980 + "the-key")
        error.__context__ = KeyError("the-key, and more")
        error.__context__.__context__ = ValueError("before: the-key")
        raise error

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> Any:
            fail()

    with call.http_client(httpx, transport=Transport()) as theirs:
        client = client_of("https://host", max_retries=0, **{call.argument: theirs})
        error = failed(call, client)
    assert type(error.__cause__) is type(raised)
    assert isinstance(error, RerankTimeoutError) is isinstance(raised, TimeoutError)
    found = links(error)
    assert len(found) == 5
    assert [f"{one!r} {one} {one.args}" for one in found if KEY in f"{one!r}{one}{one.args}"] == []


def test_a_group_of_errors_holds_no_frames_of_a_library() -> None:
    """The errors in a group, of a transport that tries several ways, are treated as any cause."""

    class Transport(httpx.BaseTransport):
        def handle_request(self, request: httpx.Request) -> Any:
            try:
                httpx.get("http://127.0.0.1:1", headers={"x-key": KEY})
            except httpx.ConnectError as error:
                tries = ExceptionGroup("tries", [error])
            raise httpx.ConnectError("none succeeded") from tries

    call = SyncCalls()
    with call.http_client(httpx, transport=Transport()) as theirs:
        client = client_of("https://host", max_retries=0, **{call.argument: theirs})
        found = links(failed(call, client))
    assert any(isinstance(one, ExceptionGroup) for one in found)
    assert not {name.partition(".")[0] for one in found for name in modules(one)} & LIBRARIES


# no key

Scenario = Callable[[Calls, Any], AbstractContextManager[Any]]


@contextmanager
def refused(call: Calls, library: Any) -> Iterator[Any]:
    """Nobody listens."""
    with running(door="shut") as server, users(call, library) as argument:
        client = client_of(server, max_retries=0, **argument)
        yield failed(call, client)


def answering(response: Callable[[Received], Any], **options: Any) -> Scenario:
    """A server that does not do what it should."""

    @contextmanager
    def scenario(call: Calls, library: Any) -> Iterator[Any]:
        with running(echoes) as plain, users(call, library) as argument:
            plain.plays(response)
            yield failed(call, client_of(plain.url, max_retries=0, **argument), **options)

    return scenario


def dropped(received: Received) -> bytes:
    """The server goes."""
    raise ConnectionResetError


def half(received: Received) -> Iterator[bytes]:
    """The server goes in the middle of a body."""
    yield framed(received.query)[:-5]
    raise ConnectionResetError


@contextmanager
def stalled(call: Calls, library: Any) -> Iterator[Any]:
    """The server is silent."""
    timeout = httpx.Timeout(5, read=0.05)
    with running(door="deaf") as server, users(call, library) as argument:
        yield failed(call, client_of(server, max_retries=0, **argument), timeout=timeout)


@contextmanager
def unwritten(call: Calls, library: Any) -> Iterator[Any]:
    """The server does not take the request."""
    timeout = httpx.Timeout(5, write=0.05)
    with running(door="deaf") as server, users(call, library) as argument:
        deadline = 0.2 if library is AIOHTTP else None  # it has no timeout for writing
        client = client_of(server, max_retries=0, timeout=timeout, deadline=deadline, **argument)
        yield failed(call, client, documents=["x" * 16_000_000])


@contextmanager
def untrusted(call: Calls, library: Any) -> Iterator[Any]:
    """Nobody vouches for the server's certificate."""
    with running(echoes, context=untrusted_context()) as plain, users(call, library) as argument:
        yield failed(call, client_of(plain.url, max_retries=0, **argument))


SCENARIOS: dict[str, Scenario] = {
    "refused": refused,
    "dropped": answering(dropped),
    "half a body": answering(half),
    "status line": answering(lambda received: b"HTTP/9 authorization: Bearer the-key\r\n\r\n"),
    "header line": answering(lambda received: b"HTTP/1.1 200 OK\r\nBearer the-key\r\n\r\n"),
    "timeout": stalled,
    "failed write": unwritten,
    "TLS": untrusted,
}


@cases("scenario", SCENARIOS.values(), ids=SCENARIOS)
def test_no_error_shows_the_key(call: Calls, scenario: Scenario) -> None:
    """No key is in an error of the network, its causes, their attributes or local variables."""
    asked: list[Any] = [httpx, httpx2, None]
    if call.argument == "async_http_client":
        asked.append(AIOHTTP)
    for library in asked:
        with scenario(call, library) as error:
            assert [part for part in visible(error) if KEY in part] == [], library
            used = {name.partition(".")[0] for link in links(error) for name in modules(link)}
            assert not used & LIBRARIES
            assert "rerank_integrations.client" in modules(error)
            if error.__cause__ is None:  # an error of aiohttp is left out: it holds headers
                assert library is AIOHTTP
            else:
                assert [one for one in modules(error.__cause__) if one.startswith(PACKAGE)], library


# headers


@libraries
@cases(
    ("name", "value"),
    [
        ("Host", "rerank.example"),
        ("HOST", "a:1"),
        ("Accept-Encoding", "identity"),
        ("accept", "*/*"),
    ],
)
def test_a_header_replaces_ours(
    call: Calls, plain: Server, library: Any, name: str, value: str
) -> None:
    """A header of the user's that the package sets too arrives once, with the user's value."""
    with users(call, library) as argument:
        client = client_of(plain.url, max_retries=0, extra_headers={name: value}, **argument)
        call(client)
        call.close(client)
    lines = plain.received[0].head.lower().split(b"\r\n")
    found = [line for line in lines if line.startswith(name.lower().encode() + b":")]
    assert found == [f"{name}: {value}".lower().encode()]


REFUSED_HEADERS = {
    "Content-Length": "5",
    "transfer-encoding": "chunked",
    "Connection": "close",
    "Accept-Encoding": "gzip, br",
    "": "a",
    "a b": "a",
    "a:": "a",
    "a\r\nb": "a",
    "(a)": "a",
    "ä": "a",
    "a\x00": "a",
    "x-line": "a\r\nx-b: c",
    "x-null": "a\x00",
    "x-delete": "a\x7f",
    "x-letter": "ä",
    "x-before": " a",
    "x-after": "a\t",
}


@cases(("name", "value"), REFUSED_HEADERS.items())
def test_a_header_that_http_cannot_carry(
    call: Calls, server: Server, name: str, value: str
) -> None:
    """Framing headers, and names and values outside the grammar, are refused before sending."""
    with pytest.raises(ConfigurationError):
        client_of(server, extra_headers={name: value})
    with client_of(server) as client:
        with pytest.raises(ConfigurationError):
            call(client, extra_headers={name: value})
        call.close(client)
    assert not server.received


def test_a_header_with_all_that_is_allowed(call: Calls, server: Server) -> None:
    """Every character of the grammar may be in a name or a value."""
    name = "!#$%&'*+-.^_`|~09AZaz"
    value = "!" + "".join(map(chr, range(0x20, 0x7F))) + "\t~"
    with client_of(server, max_retries=0, extra_headers={name: value, "x-empty": ""}) as client:
        call(client)
        call.close(client)
    headers = server.received[0].headers
    assert headers[name.lower()] == value
    assert headers["x-empty"] == ""
