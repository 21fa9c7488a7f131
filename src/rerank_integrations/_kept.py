"""Connections that are free, kept for the next request: the one used last is used next."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

KEPT_SECONDS = 55.0  # servers close an idle connection after 60 s or more, most of them
MOST_KEPT = 256  # to one place


class Connection(Protocol):
    """What serves one request at a time."""

    is_reusable: bool

    def stands(self) -> bool:
        """Whether another request may be sent."""

    def close(self) -> None:
        """Close the connection."""


C = TypeVar("C", bound=Connection)


class Kept(Generic[C]):
    """The free connections to all places; any thread may take one."""

    def __init__(self) -> None:
        self._free: dict[object, list[C]] = {}
        self._closed = False

    def __len__(self) -> int:
        return sum(map(len, self._free.values()))

    def take(self, place: object) -> C | None:
        """The connection that was used last and still stands; it is the caller's now."""
        free = self._free.setdefault(place, [])
        while True:
            try:
                connection = free.pop()
            except IndexError:
                return None
            if connection.stands():
                return connection
            connection.close()

    def give_back(self, place: object, connection: C) -> None:
        """Keep a connection for the next request, or close it where it is of no more use."""
        if not connection.is_reusable or self._closed:
            connection.close()
            return
        free = self._free.setdefault(place, [])
        free.append(connection)
        if len(free) > MOST_KEPT:
            free.pop(0).close()

    def close(self) -> list[C]:
        """Close those that are free, and keep none from now on; those that were closed."""
        self._closed = True
        closed = []
        for free in self._free.values():
            while free:
                closed.append(free.pop())
                closed[-1].close()
        return closed
