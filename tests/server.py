"""A scripted HTTP server on loopback, and the fixtures of tests that go over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, TypeAlias

import pytest

from rerank_integrations import OpenRouter, Portkey, RerankClient, RerankResponse, Together

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
if sys.platform != "win32":
    import uvloop

    LOOPS["uvloop"] = uvloop.new_event_loop
QUERY = "a red bicycle"
TEXTS = ("apple pie", "a red bicycle", "a blue car")
KEYS = {
    "openrouter": "OPENROUTER_API_KEY",
    "together": "TOGETHER_API_KEY",
    "portkey": "PORTKEY_API_KEY",
}


@dataclass(frozen=True, repr=False)
class Received:
    """A request as it came in; header names are in lower case."""

    path: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def body(self) -> Any:
        """The JSON that was sent."""
        return json.loads(self.content)


@dataclass(frozen=True)
class Reply:
    """An answer; a body that is neither bytes nor None is sent as JSON."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class Fault(Enum):
    """What a server does instead of answering."""

    DROP = auto()  # closes the connection
    HALF = auto()  # sends half of a body, then closes the connection
    STALL = auto()  # is silent until the test ends
    TRICKLE = auto()  # sends a byte of the body now and then until the test ends


Step: TypeAlias = Reply | Fault | Callable[[Received], Reply]


def ranking(
    *scores: float, status: int = 200, headers: Mapping[str, str] | None = None, **more: Any
) -> Reply:
    """An answer that gives each document, in order, one of the scores."""
    results = [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]
    return Reply({"results": results, **more}, status, headers or {})


def ranks_all(received: Received) -> Reply:
    """Ranks every document: best the one that equals the query, then in order."""
    body = received.body
    order = sorted(enumerate(body["documents"]), key=lambda pair: pair[1] != body["query"])
    results = [
        {"index": index, "relevance_score": 1.0 - place / 1000}
        for place, (index, _) in enumerate(order)
    ]
    return Reply({"results": results[: body.get("top_n")], "model": body.get("model")})


class Server(ThreadingTCPServer):
    """Takes a step of its script for each request, the last step for all that follow."""

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.received: list[Received] = []
        self.asked = threading.Event()
        self.released = threading.Event()
        self.failures: list[str] = []
        self._script: list[Step] = [ranks_all]
        self._sockets: list[socket.socket] = []
        self._counted = 0  # of these, before the last reset
        self._taking = threading.Lock()

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return len(self._sockets) - self._counted

    def reset(self) -> None:
        """Forget all requests and the script, and let go of whoever still waits."""
        self.released.set()
        self.released = threading.Event()
        self.asked.clear()
        self.received.clear()
        self._script = [ranks_all]
        self._counted = len(self._sockets)

    def plays(self, *steps: Step) -> None:
        """Set the script."""
        self._script = list(steps)

    def take(self, received: Received) -> Step:
        """Note a request and say what to do with it."""
        with self._taking:
            self.received.append(received)
            self.asked.set()
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and count it."""
        accepted, address = super().get_request()
        self._sockets.append(accepted)
        return accepted, address

    def handle_error(self, request: object, client_address: object) -> None:
        """Note a failure, unless the client only went away."""
        failure = sys.exception()
        if not isinstance(failure, ConnectionError):
            self.failures.append(repr(failure))

    def stop(self) -> None:
        """End all connections and wait for their threads."""
        self.released.set()
        self.shutdown()
        for accepted in self._sockets:
            with suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: Server

    def do_POST(self) -> None:
        size = self.headers["content-length"]
        if size is None:  # the client went away between two headers
            self.close_connection = True
            return
        content = self.rfile.read(int(size))
        headers = {name.lower(): value for name, value in self.headers.items()}
        received = Received(self.path, headers, content)
        step = self.server.take(received)
        match step:
            case Reply():
                self._answer(step)
            case Fault.DROP:
                self.close_connection = True
            case Fault.HALF:
                self._begin(Reply(headers={"Content-Length": "1000"}))
                self.wfile.write(b'{"results": [')
                self.close_connection = True
            case Fault.STALL:
                self.server.released.wait(30)
                self.close_connection = True
            case Fault.TRICKLE:
                self._begin(Reply(headers={"Content-Length": "1000"}))
                for _ in range(1000):
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    if self.server.released.wait(0.01):
                        break
                self.close_connection = True
            case _:
                self._answer(step(received))

    def do_GET(self) -> None:
        self.do_POST()

    def _answer(self, reply: Reply) -> None:
        content = reply.content
        self._begin(
            Reply(
                content, reply.status, {"Content-Length": f"{len(content)}"} | dict(reply.headers)
            )
        )
        self.wfile.write(content)

    def _begin(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in ({"Content-Type": "application/json"} | dict(reply.headers)).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@contextmanager
def running() -> Iterator[Server]:
    """A server in a thread of its own, stopped at the end."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
    assert not server.failures, server.failures


def client_of(server: Server | str, gateway: str = "openrouter", **options: Any) -> RerankClient:
    """A client of a gateway that is played by the server."""
    url = server if isinstance(server, str) else server.url
    if gateway == "openrouter":
        return RerankClient("m", provider=OpenRouter(api_key="the-key", base_url=url), **options)
    if gateway == "together":
        return RerankClient("m", provider=Together(api_key="the-key", base_url=url), **options)
    portkey = Portkey(api_key="the-key", base_url=url, provider="@host")
    return RerankClient("m", provider=portkey, **options)


class SyncCalls:
    """Calls a client without an event loop."""

    argument = "http_client"

    def __call__(
        self, client: RerankClient, query: Any = QUERY, documents: Any = TEXTS, **options: Any
    ) -> RerankResponse:
        """Rank, in this thread."""
        return client.rerank(query, documents, **options)

    def close(self, client: RerankClient) -> None:
        """Close a client."""
        client.close()

    @contextmanager
    def http_client(self, library: Any, **options: Any) -> Iterator[Any]:
        """A user's HTTP client, closed at the end."""
        with library.Client(**options) as theirs:
            yield theirs


class AsyncCalls:
    """Calls a client on one event loop."""

    argument = "async_http_client"

    def __init__(self, runner: asyncio.Runner) -> None:
        self._runner = runner

    def __call__(
        self, client: RerankClient, query: Any = QUERY, documents: Any = TEXTS, **options: Any
    ) -> RerankResponse:
        """Rank, on the loop."""
        return self._runner.run(client.arerank(query, documents, **options))

    def close(self, client: RerankClient) -> None:
        """Close a client."""
        self._runner.run(client.aclose())

    @contextmanager
    def http_client(self, library: Any, **options: Any) -> Iterator[Any]:
        """A user's HTTP client, closed at the end."""
        theirs = library.AsyncClient(**options)
        try:
            yield theirs
        finally:
            self._runner.run(theirs.aclose())


Calls: TypeAlias = SyncCalls | AsyncCalls


@pytest.fixture(name="server")
def server_fixture() -> Iterator[Server]:
    """A server with an empty script, which ranks whatever is asked."""
    with running() as server:
        yield server


@pytest.fixture(name="call", params=["sync", *LOOPS])
def call_fixture(request: pytest.FixtureRequest) -> Iterator[Calls]:
    """Calls a client without an event loop, and on each kind of event loop."""
    if request.param == "sync":
        yield SyncCalls()
        return
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield AsyncCalls(runner)


@pytest.fixture(name="nobody")
def nobody_fixture() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(name="pauses")
def pauses_fixture(monkeypatch: pytest.MonkeyPatch) -> Sequence[float]:
    """The seconds that a client would have slept, which it does not."""
    slept: list[float] = []

    async def asleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("rerank_integrations._engine.time.sleep", slept.append)
    monkeypatch.setattr("rerank_integrations._engine.asyncio.sleep", asleep)
    return slept
