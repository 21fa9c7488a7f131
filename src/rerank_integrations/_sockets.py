"""Connections for threads: each serves one request at a time, and the last used is used next.

So no connection is opened while another is free.
"""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Any

from rerank_integrations._address import PHASES, Address, Phases, address_of
from rerank_integrations._http1 import Reader, pieces_of
from rerank_integrations._kept import KEPT_SECONDS, Kept
from rerank_integrations._wire import Request
from rerank_integrations.providers.base import Answer

_READ = 64 * 1024  # bytes


class Sockets:
    """Connections for all threads."""

    def __init__(self) -> None:
        self.kept: Kept[_Connection] = Kept()

    def send(self, request: Request, phases: Phases | None, ends: float | None) -> Answer:
        """Post the request, and read the whole answer before `ends`, on the monotonic clock."""
        address = address_of(request.url)
        connection = self.kept.take(address.key)
        if connection is None:
            connection = _Connection(address, phases or PHASES, ends)
        try:
            return connection.exchange(request, address, phases or PHASES, ends)
        finally:
            self.kept.give_back(address.key, connection)

    def close(self) -> None:
        """Close the connections that are free; the others close after their answer."""
        self.kept.close()


class _Connection:
    """A connection on which every step ends in time: a server may trickle its answer."""

    def __init__(self, address: Address, phases: Phases, ends: float | None) -> None:
        self._socket = _connected(address, phases["connect"], ends)
        self._reader = Reader()
        self._used = time.monotonic()
        self.is_reusable = False

    def exchange(
        self, request: Request, address: Address, phases: Phases, ends: float | None
    ) -> Answer:
        """Send, and read the whole answer."""
        self.is_reusable = False
        reader = self._reader
        reader.begin(request)
        with contextlib.suppress(ConnectionError):  # it may have answered before all was sent
            self._write(request, address, phases["write"], ends)
        while reader.answer is None:
            self._socket.settimeout(_left(phases["read"], ends))
            reader.feed(self._socket.recv(_READ))
        self.is_reusable = reader.keeps_alive
        self._used = time.monotonic()
        return reader.answer

    def stands(self) -> bool:
        """Whether it is young, and the server has not closed it."""
        return time.monotonic() - self._used <= KEPT_SECONDS and not has_news(self._socket)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
        self._reader.close()

    def _write(
        self, request: Request, address: Address, seconds: float | None, ends: float | None
    ) -> None:
        for piece in pieces_of(request, address):
            self._socket.settimeout(_left(seconds, ends))
            self._socket.sendall(piece)


def _connected(address: Address, seconds: float | None, ends: float | None) -> socket.socket:
    plain = _reached(address, seconds, ends)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = address.ssl_context()
        if context is None:
            return plain
        plain.settimeout(_left(seconds, ends))
        return context.wrap_socket(plain, server_hostname=address.host)
    except BaseException:
        plain.close()
        raise


def _reached(address: Address, seconds: float | None, ends: float | None) -> socket.socket:
    """A connection to the first of the host's addresses that takes one; all of them in time."""
    failures: list[OSError] = []
    places = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    for family, kind, protocol, _, place in places:
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(_left(seconds, ends))
            plain.connect(place)
        except OSError as failure:
            plain.close()
            failures.append(failure)
        except BaseException:
            plain.close()
            raise
        else:
            return plain
    raise failures[0]


def _left(seconds: float | None, ends: float | None) -> float | None:
    """The shorter of `seconds` and what is left.

    Raises:
        TimeoutError: nothing is left.
    """
    if ends is None:
        return seconds
    left = ends - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline passed")
    return left if seconds is None else min(left, seconds)


def has_news(connection: Any) -> bool:
    """Whether there is something to read, the end of the connection included."""
    if not hasattr(select, "poll"):  # Windows, where any number of a socket will do
        return bool(select.select([connection], [], [], 0)[0])
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
