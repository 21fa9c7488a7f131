"""A server on loopback that answers every request with the bytes that it was given."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer


class Raw(ThreadingTCPServer):
    """Writes `answer` after each request, then closes the connection."""

    allow_reuse_address = True
    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answer = b""

    def handle_error(self, request: object, client_address: object) -> None:
        """The client went away in the middle of an answer, as it should."""


class _Handler(StreamRequestHandler):
    server: Raw

    def handle(self) -> None:
        size = 0
        while (line := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                size = int(value)
        self.rfile.read(size)
        self.wfile.write(self.server.answer)


@contextmanager
def raw() -> Iterator[Raw]:
    """Such a server in a thread of its own, stopped at the end."""
    with Raw() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
