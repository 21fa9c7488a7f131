"""Proxies on loopback: HTTP, SOCKS5, and a Unix socket in front of a server."""

from __future__ import annotations

import selectors
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

_SOCKS_ACCEPTS = b"\x05\x00"
_SOCKS_CONNECTED = b"\x05\x00\x00\x01" + bytes(6)


class Proxy(socketserver.ThreadingTCPServer):
    """Passes bytes on between its clients and the servers that they name.

    Attributes:
        url: its address, with the scheme by which a client chooses how to speak to it.
        targets: the host and port that each connection asked for.
    """

    allow_reuse_address = True
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, scheme: str) -> None:
        super().__init__(("127.0.0.1", 0), _HttpHandler if scheme == "http" else _SocksHandler)
        self.url = f"{scheme}://127.0.0.1:{self.server_address[1]}"
        self.targets: list[str] = []


class _HttpHandler(socketserver.StreamRequestHandler):
    rbufsize = 0  # what follows the head is passed on, and must not be in a buffer
    server: Proxy

    def handle(self) -> None:
        method, target, version = self.rfile.readline().decode("ascii").split()
        head = b"".join(iter(self.rfile.readline, b"\r\n")) + b"\r\n"
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        self.server.targets.append(parts.netloc)
        with socket.create_connection((parts.hostname or "", parts.port or 80)) as upstream:
            if method == "CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                upstream.sendall(f"{method} {parts.path} {version}\r\n".encode() + head)
            _pass_on(self.connection, upstream)


class _SocksHandler(socketserver.StreamRequestHandler):
    rbufsize = 0
    server: Proxy

    def handle(self) -> None:
        _, methods = self.rfile.read(2)
        self.rfile.read(methods)
        self.wfile.write(_SOCKS_ACCEPTS)
        *_, kind = self.rfile.read(4)
        if kind == 1:
            host = socket.inet_ntoa(self.rfile.read(4))
        else:  # a name
            host = self.rfile.read(self.rfile.read(1)[0]).decode("ascii")
        port = int.from_bytes(self.rfile.read(2), "big")
        self.server.targets.append(f"{host}:{port}")
        with socket.create_connection((host, port)) as upstream:
            self.wfile.write(_SOCKS_CONNECTED)
            _pass_on(self.connection, upstream)


def _pass_on(client: socket.socket, upstream: socket.socket) -> None:
    """Pass bytes on, both ways, until one side ends."""
    other = {client: upstream, upstream: client}
    with selectors.DefaultSelector() as selector, suppress(ConnectionError):
        for side in other:
            selector.register(side, selectors.EVENT_READ)
        while True:
            for ready, _ in selector.select():
                one: Any = ready.fileobj
                data = one.recv(65536)
                if not data:
                    return
                other[one].sendall(data)


@contextmanager
def _serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def proxy(scheme: str) -> Iterator[Proxy]:
    """An `http` or `socks5` proxy in threads of its own, until its clients have gone."""
    server = Proxy(scheme)
    with _serving(server):
        yield server


@contextmanager
def unix_socket(path: Path, url: str) -> Iterator[None]:
    """A Unix socket in front of the server at a URL."""
    parts = urlsplit(url)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            address = (parts.hostname or "", parts.port or 80)
            with socket.create_connection(address) as upstream:
                _pass_on(self.request, upstream)

    server = socketserver.ThreadingUnixStreamServer(str(path), Handler)
    with _serving(server):
        yield
