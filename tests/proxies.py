"""Proxies on loopback: HTTP and SOCKS5, with and without TLS, and a Unix socket before a server."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SOCKS_ACCEPTS = b"\x05\x00"
_SOCKS_CONNECTED = b"\x05\x00\x00\x01" + bytes(6)


class Proxy(socketserver.ThreadingTCPServer):
    """Passes bytes on between its clients and the servers that they name, over HTTP or SOCKS5.

    Attributes:
        port: where it listens.
        targets: the host and port that each connection asked for.
        heads: what each connection sent before that.
    """

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context = context
        self.port: int = self.server_address[1]
        self.targets: list[str] = []
        self.heads: list[bytes] = []
        self.sockets: list[socket.socket] = []

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread, where this is a proxy with TLS."""
        if self.context is not None:
            request = self.context.wrap_socket(request, server_side=True)
        with request:
            super().finish_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """One side has gone, as it may."""

    def stop(self) -> None:
        """End all connections and wait for their threads."""
        self.shutdown()
        for opened in self.sockets:
            _shut(opened)
        self.server_close()


class _Handler(socketserver.StreamRequestHandler):
    rbufsize = 0  # what follows the head is passed on, and must not be in a buffer
    server: Proxy

    def handle(self) -> None:
        first = self.rfile.read(1)
        if first == b"\x05":
            self._socks()
        elif first:
            self._http(first + self.rfile.readline())

    def _http(self, line: bytes) -> None:
        head = b"".join(iter(self.rfile.readline, b"\r\n")) + b"\r\n"
        method, target, version = line.decode("ascii").split()
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        self._note(parts.netloc, line + head)
        address = (parts.hostname or "", parts.port or 80)
        if method == "CONNECT":
            self._pass_on(address, b"", b"HTTP/1.1 200 Connected\r\n\r\n")
        else:
            self._pass_on(address, f"{method} {parts.path} {version}\r\n".encode() + head, b"")

    def _socks(self) -> None:
        (methods,) = self.rfile.read(1)
        self.rfile.read(methods)
        self.wfile.write(_SOCKS_ACCEPTS)
        *_, kind = self.rfile.read(4)
        if kind == 1:
            host = socket.inet_ntoa(self.rfile.read(4))
        else:  # a name
            host = self.rfile.read(self.rfile.read(1)[0]).decode("ascii")
        port = int.from_bytes(self.rfile.read(2), "big")
        self._note(f"{host}:{port}", f"SOCKS {host}:{port}".encode())
        self._pass_on((host, port), b"", _SOCKS_CONNECTED)

    def _note(self, target: str, head: bytes) -> None:
        self.server.targets.append(target)
        self.server.heads.append(head)

    def _pass_on(self, address: tuple[str, int], forward: bytes, back: bytes) -> None:
        with socket.create_connection(address) as target:
            self.server.sockets += [self.request, target]
            target.sendall(forward)
            self.wfile.write(back)
            _pass_both_ways(self.request, target)


def _pass_both_ways(client: socket.socket, target: socket.socket) -> None:
    """Pass on what comes from either side, until one ends."""
    upwards = threading.Thread(target=_copy, args=(client, target))
    upwards.start()
    _copy(target, client)
    upwards.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(2**16):
            target.sendall(data)
    _shut(source)
    _shut(target)


def _shut(opened: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)


@contextmanager
def proxy(context: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """A proxy in threads of its own, stopped at the end."""
    server = Proxy(context)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


@contextmanager
def unix_socket(path: Path, url: str) -> Iterator[None]:
    """A Unix socket in front of the server at a URL."""
    parts = urlsplit(url)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            address = (parts.hostname or "", parts.port or 80)
            with socket.create_connection(address) as target:
                _pass_both_ways(self.request, target)

    server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
