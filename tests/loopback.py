"""The servers on loopback of all tests: they do, request by request, what a test says.

`Server` has threads of its own; `LoopServer` lives on the test's event loop and knows at any time
how many connections are open. What either does with a request is a step: a `Reply`, a function of
the request that gives one or raw bytes, or (in threads) an `Act`, which may do anything with the
connection.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import trustme

TIME = 20.0  # seconds until a test that waits in vain fails
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
_SMALL_BUFFER = 2**16  # bytes that are taken in without being read

Door: TypeAlias = Literal["open", "shut", "deaf", "slammed"]
"""Open; nobody listens; connections are made and never served; or each is reset at once."""


@dataclass(frozen=True, repr=False)
class Received:
    """A request as it came in; header names are in lower case.

    Attributes:
        head: the bytes before the body.
        connection: the number of the connection, from 0.
    """

    path: str
    headers: Mapping[str, str]
    content: bytes
    head: bytes = b""
    connection: int = 0

    @property
    def method(self) -> str:
        """The method."""
        return self.head.partition(b" ")[0].decode()

    @property
    def body(self) -> Any:
        """The JSON that was sent."""
        return json.loads(self.content)

    @property
    def query(self) -> str:
        """The query that was sent."""
        query: str = self.body["query"]
        return query


@dataclass(frozen=True)
class Reply:
    """A response; a body that is neither bytes nor None is sent as JSON."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The bytes of the body."""
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    @property
    def whole(self) -> bytes:
        """The bytes of head and body."""
        content = self.content
        usual = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return head(self.status, usual | dict(self.headers)) + content


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """The bytes of a response up to its body."""
    with suppress(ValueError):
        status = HTTPStatus(status)
    phrase = status.phrase if isinstance(status, HTTPStatus) else "Unknown"
    lines = [f"HTTP/1.1 {int(status)} {phrase}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


Responds: TypeAlias = Callable[[Received], "Reply | bytes | Iterable[bytes]"]
"""A response to a request: a reply, or bytes in one piece or several, sent as they are."""


@dataclass(frozen=True)
class Act:
    """What a server does with a connection after it has read a request.

    Attributes:
        play: does it.
        name: what a test calls it.
        before_reading: whether it is done when the first byte has come, and none was read.
    """

    play: Callable[[Peer], None]
    name: str = "an act"
    before_reading: bool = False

    def __str__(self) -> str:
        return self.name


class Peer:
    """One connection, from the server's side."""

    def __init__(self, server: Server, connection: socket.socket, number: int) -> None:
        self._server = server
        self._socket = connection
        self._file = connection.makefile("rb")
        self._number = number
        self._released = server.released
        self.is_open = True

    def waits(self) -> bool:
        """Wait for a request; False when the client has gone."""
        # tests patch `socket.recv`
        if isinstance(self._socket, ssl.SSLSocket):
            begun = len(self._file.peek(1))
        else:
            begun = self._socket.recv_into(bytearray(1), 1, socket.MSG_PEEK)
        self._released = self._server.released
        return begun > 0

    def read(self) -> Received:
        """Read a request to its end."""
        lines = [self._file.readline()]
        while lines[-1] not in (b"\r\n", b""):
            lines.append(self._file.readline())
        if lines[-1] == b"":
            raise ConnectionAbortedError  # the client went away
        received = parsed(b"".join(lines), self._number)
        size = int(received.headers.get("content-length", 0))
        content = self._file.read(size)
        if len(content) < size or not (size or received.method == "GET"):
            raise ConnectionAbortedError
        return replace(received, content=content)

    def skip(self, size: int) -> None:
        """Read so many bytes of a request, or a little more."""
        while size > 0:
            size -= len(self._file.read1(2**16)) or size

    def say(self, content: bytes) -> None:
        """Send."""
        self._socket.sendall(content)

    def end_writing(self) -> None:
        """Say that no more will be sent."""
        self._socket.shutdown(socket.SHUT_WR)

    def pause(self, seconds: float | None = None) -> None:
        """Be silent for a while, or until the server releases all who wait."""
        if self._released.wait(seconds):
            raise ConnectionAbortedError

    def close(self) -> None:
        """End the connection in order."""
        self.is_open = False
        self._file.close()
        self._socket.close()

    def reset(self) -> None:
        """Break the connection off."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()


def parsed(lines: bytes, connection: int = 0) -> Received:
    """A request without its body."""
    first, *rest = lines.decode("latin-1").rstrip("\r\n").split("\r\n")
    fields = (line.partition(":") for line in rest)
    headers = {name.lower(): value.strip() for name, _, value in fields}
    return Received(first.split(" ")[1], headers, b"", lines, connection)


def _drop(peer: Peer) -> None:
    peer.close()


def _half(peer: Peer) -> None:
    peer.say(head(200, {"Content-Length": "1000"}) + b'{"results": [')
    peer.close()


def _stall(peer: Peer) -> None:
    peer.pause()


def _trickle(peer: Peer) -> None:
    peer.say(head(200, {"Content-Length": "1000"}))
    for _ in range(1000):
        peer.say(b" ")
        peer.pause(0.01)


class Fault:
    """What a server does instead of responding."""

    DROP = Act(_drop, "Fault.DROP")  # closes the connection
    HALF = Act(_half, "Fault.HALF")  # sends half of a body, then closes the connection
    STALL = Act(_stall, "Fault.STALL")  # is silent until the test ends
    TRICKLE = Act(_trickle, "Fault.TRICKLE")  # sends a byte of the body now and then


Step: TypeAlias = Reply | Act | Responds


def ranking(
    *scores: float, status: int = 200, headers: Mapping[str, str] | None = None, **more: Any
) -> Reply:
    """A response that gives each document, in order, one of the scores."""
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


def framed(query: str, padding: int = 0) -> bytes:
    """A response for three documents whose id is the query, with a content-length."""
    body = _named(query, padding)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def chunked(query: str) -> bytes:
    """The same in chunks."""
    body = _named(query)
    start = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return b"%b%x\r\n%b\r\n0\r\n\r\n" % (start, len(body), body)


def echoes(received: Received) -> bytes:
    """Responds with the query as the id."""
    return framed(received.query)


def _named(query: str, padding: int = 0) -> bytes:
    results = [{"index": index, "relevance_score": 0.5} for index in range(3)]
    return json.dumps({"id": query, "results": results, "more": "x" * padding}).encode()


class Server(ThreadingTCPServer):
    """Does a step of its script for each request, the last step for all that follow.

    Attributes:
        url: its address.
        received: the requests, in order.
        begun: how many requests began to come in, or were not let in.
        asked: set once a request has come.
        done: set once a step was done.
        released: ends the steps that wait; set at the latest when the server stops.
        closed: the connections that have ended.
        sockets: the connections in order, those over TLS after the handshake.
        failures: of steps.
    """

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 1024

    def __init__(
        self,
        *script: Step,
        context: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        door: Door = "open",
        small_buffer: bool = False,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        if small_buffer:  # so that a large request is stopped
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BUFFER)
        self.server_bind()
        if door != "shut":
            self.server_activate()
        self.context = context
        self.door = door
        self.port: int = self.server_address[1]
        self.url = f"{'https' if context else 'http'}://{host}:{self.port}"
        self.received: list[Received] = []
        self.begun = 0
        self.asked = threading.Event()
        self.done = threading.Event()
        self.released = threading.Event()
        self.closed: list[int] = []
        self.sockets: list[socket.socket] = []
        self.failures: list[str] = []
        self._usual = script or (ranks_all,)
        self._script = list(self._usual)
        self._accepted = 0
        self._accepted_before = 0  # the last reset
        self._first = 0  # connection since then
        self._is_stopping = False
        self._changed = threading.Condition()

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return self._accepted - self._accepted_before

    def reset(self) -> None:
        """Forget all requests and the script, and let go of whoever still waits."""
        self.released.set()
        with self._changed:
            self.released = threading.Event()
            self.asked.clear()
            self.done.clear()
            self.received.clear()
            self.closed.clear()
            self.begun = 0
            self._script = list(self._usual)
            self._accepted_before = self._accepted
            self._first = len(self.sockets)

    def plays(self, *steps: Step) -> None:
        """Set the script."""
        self._script = list(steps)

    def until_closed(self, connections: int) -> None:
        """Wait until so many connections have ended."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.closed) >= connections, 10)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and count it."""
        accepted, address = super().get_request()
        self._accepted += 1
        return accepted, address

    def begin(self, opened: socket.socket) -> int:
        """Note a connection; its number."""
        with self._changed:
            if self._is_stopping:
                raise ConnectionAbortedError
            self.sockets.append(opened)
            return len(self.sockets) - 1

    def end(self, number: int) -> None:
        """Note that a connection has ended."""
        with self._changed:
            if number >= self._first:
                self.closed.append(number - self._first)
            self._changed.notify_all()

    def serve(self, peer: Peer) -> None:
        """Do what the script says to one request, or at the door."""
        with self._changed:
            self.begun += 1
            first = self._script[0]
        if self.door == "slammed":
            peer.reset()
        elif isinstance(first, Act) and first.before_reading:
            self._next()
            first.play(peer)
        else:
            received = peer.read()
            received = replace(received, connection=received.connection - self._first)
            with self._changed:
                self.received.append(received)
                step = self._next()
            self.asked.set()
            _do(step, received, peer)
        self.done.set()

    def _next(self) -> Step:
        return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def handle_error(self, request: object, client_address: object) -> None:
        """Note a failure of a step."""
        self.failures.append(repr(sys.exception()))

    def stop(self) -> None:
        """End all connections and wait for their threads."""
        self.released.set()
        self.shutdown()
        with self._changed:
            self._is_stopping = True
            opened = list(self.sockets)
        for one in opened:
            with suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)
        self.server_close()


def _do(step: Step, received: Received, peer: Peer) -> None:
    """What becomes of a request that was read."""
    if isinstance(step, Act):
        step.play(peer)
        return
    said = step if isinstance(step, Reply) else step(received)
    if not isinstance(said, Reply):
        for piece in [said] if isinstance(said, bytes) else said:
            peer.say(piece)
        return
    peer.say(said.whole)
    named = {name.lower(): value for name, value in said.headers.items()}
    if "close" in (named.get("connection", ""), received.headers.get("connection", "").lower()):
        peer.close()


class _Handler(BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        opened: socket.socket = self.request
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # no piece waits for another
        with suppress(OSError):  # the client went away, as it may
            if self.server.context is not None:
                opened = self.server.context.wrap_socket(opened, server_side=True)
            with opened:
                number = self.server.begin(opened)
                try:
                    self._serve(Peer(self.server, opened, number))
                finally:
                    self.server.end(number)

    def _serve(self, peer: Peer) -> None:
        try:
            if self.server.door == "slammed":
                self.server.serve(peer)
            while peer.is_open and peer.waits():
                self.server.serve(peer)
        finally:
            peer.close()


@contextmanager
def running(*script: Step, **options: Any) -> Iterator[Server]:
    """A server in a thread of its own, stopped at the end; takes the arguments of `Server`."""
    server = Server(*script, **options)
    if server.door in ("shut", "deaf"):
        try:
            yield server
        finally:
            server.server_close()
        return
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
    assert not server.failures, server.failures


def tls_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    """A context for a server, with a certificate for a name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


class LoopServer:
    """A server on the running event loop; a hanging one is silent until the client goes.

    Attributes:
        url: its address.
        respond: makes the response to a request.
        hangs: "before" it sends anything, "inside" of a response, or "" for never.
        closes_after: the query after whose response it closes the connection.
        asked: how many requests came.
        opened: how many connections were made.
        open: how many of them are open.
    """

    def __init__(self, respond: Responds, hangs: str, closes_after: str | None) -> None:
        self.url = ""
        self.respond = respond
        self.hangs = hangs
        self.closes_after = closes_after
        self.asked = 0
        self.opened = 0
        self.open = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Condition()

    async def until_asked(self, times: int) -> None:
        """Wait for so many requests."""
        await self._until(lambda: self.asked >= times)

    async def until_open(self, count: int) -> None:
        """Wait until so many connections are open, and no more."""
        await self._until(lambda: self.open == count)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection in a task."""
        self.tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIME), self._changed:
            await self._changed.wait_for(holds)

    async def _notes(self, **changes: int) -> None:
        async with self._changed:
            for name, change in changes.items():
                setattr(self, name, getattr(self, name) + change)
            self._changed.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._notes(opened=1, open=1)
        try:
            while True:
                received = parsed(await reader.readuntil(b"\r\n\r\n"))
                content = await reader.readexactly(int(received.headers["content-length"]))
                received = replace(received, content=content)
                await self._notes(asked=1)
                if self.hangs == "before":
                    break
                said: Any = self.respond(received)
                whole = said.whole if isinstance(said, Reply) else said
                writer.write(whole[:-5] if self.hangs else whole)
                if self.closes_after is not None and received.query == self.closes_after:
                    await asyncio.sleep(0.001)  # uvloop writes after the present step
                    return
                await writer.drain()
                if self.hangs:
                    break
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.transport.abort()
            await self._notes(open=-1)


@asynccontextmanager
async def looping(
    respond: Responds = ranks_all,
    *,
    hangs: str = "",
    closes_after: str | None = None,
    context: ssl.SSLContext | None = None,
) -> AsyncIterator[LoopServer]:
    """Such a server; its block ends when the client has closed all connections."""
    played = LoopServer(respond, hangs, closes_after)
    server = await asyncio.start_server(played.accept, "127.0.0.1", 0, backlog=512, ssl=context)
    port = server.sockets[0].getsockname()[1]
    played.url = f"{'https' if context else 'http'}://127.0.0.1:{port}"
    try:
        yield played
        await played.until_open(0)
    finally:
        server.close()
        for task in played.tasks:
            task.cancel()
        await asyncio.gather(*played.tasks, return_exceptions=True)
