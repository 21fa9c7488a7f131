"""A server on loopback that misbehaves as it is told: raw sockets, an act for each request."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any, Literal, TypeAlias

Door: TypeAlias = Literal["open", "shut", "slammed"]
"""Open; nobody listens; or every connection is reset as soon as it is made."""

_HEADERS_END = b"\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: on, for no time
_BUFFER = 2**16  # bytes that are taken in without being read, so that a large request is stopped


class Peer:
    """One connection, from the server's side."""

    def __init__(self, connection: socket.socket, over: threading.Event) -> None:
        self._socket = connection
        self._over = over
        self.is_open = True

    def waits(self) -> bool:
        """Whether something has come; False when the client has gone."""
        return bool(self._socket.recv(1, socket.MSG_PEEK))

    def hear(self) -> None:
        """Read a request to its end."""
        heard = b""
        while _HEADERS_END not in heard:
            heard += self._read()
        headers, _, body = heard.partition(_HEADERS_END)
        left = _length(headers) - len(body)
        while left > 0:
            left -= len(self._read())

    def say(self, content: bytes) -> None:
        """Send."""
        self._socket.sendall(content)

    def pause(self, seconds: float | None = None) -> None:
        """Be silent for a while, or until the end."""
        self._over.wait(seconds)
        if self._over.is_set():
            raise ConnectionAbortedError

    def close(self) -> None:
        """End the connection in order."""
        self.is_open = False
        self._socket.close()

    def reset(self) -> None:
        """Break the connection off."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()

    def _read(self) -> bytes:
        content = self._socket.recv(_BUFFER)
        if not content:
            raise ConnectionAbortedError
        return content


Act: TypeAlias = Callable[[Peer], None]
"""What is done when a request begins to come in."""


class Server(ThreadingTCPServer):
    """Plays an act for each request, the last for all that follow."""

    daemon_threads = False

    def __init__(self, script: Sequence[Act], door: Door) -> None:
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        self.server_bind()
        if door != "shut":
            self.server_activate()
        self.slams = door == "slammed"
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self.seen = 0
        self.played = threading.Event()
        self.over = threading.Event()
        self.failures: list[BaseException] = []
        self._script = list(script)
        self._accepted: list[socket.socket] = []
        self._lock = threading.Lock()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection and note it."""
        accepted, address = super().get_request()
        self._accepted.append(accepted)
        return accepted, address

    def stop(self) -> None:
        """End what is under way, and accept no more."""
        self.over.set()
        self.shutdown()
        for accepted in self._accepted:
            with suppress(OSError):
                accepted.shutdown(socket.SHUT_RDWR)

    def next_act(self) -> Act:
        """Count a request, and say what to do with it."""
        with self._lock:
            self.seen += 1
            return self._script.pop(0) if len(self._script) > 1 else self._script[0]

    def slam(self, peer: Peer) -> None:
        """Count a connection and reset it."""
        with self._lock:
            self.seen += 1
        peer.reset()


class _Handler(BaseRequestHandler):
    server: Server
    request: socket.socket

    def handle(self) -> None:
        peer = Peer(self.request, self.server.over)
        try:
            if self.server.slams:
                self.server.slam(peer)
            while peer.is_open and peer.waits():
                self.server.next_act()(peer)
                self.server.played.set()
        except ConnectionError:
            pass  # the client has gone, as it may
        except Exception as failure:  # noqa: BLE001  # raised where the server is stopped
            self.server.failures.append(failure)


@contextmanager
def serving(script: Sequence[Act], door: Door = "open") -> Iterator[Server]:
    """A server in a thread of its own, stopped at the end."""
    with Server(script, door) as server:
        if door == "shut":
            yield server
            return
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join()
    if server.failures:
        raise server.failures[0]


def _length(headers: bytes) -> int:
    for line in headers.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0
