"""Where a URL leads, what is trusted on the way, and how long it is waited for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    import ssl

Phases: TypeAlias = Mapping[str, float | None]
"""Seconds for connecting, for each writing, and for each reading."""

PHASES: Phases = {"connect": 5.0, "read": 30.0, "write": 30.0, "pool": 30.0}
_PORTS = {"http": 80, "https": 443}


class Address(NamedTuple):
    """A URL taken apart.

    Attributes:
        host: what to connect to.
        port: likewise.
        shown: the value of the `host` header.
        path: what the request line names.
        secure: whether over TLS.
    """

    host: str
    port: int
    shown: str
    path: str
    secure: bool

    @property
    def key(self) -> tuple[str, int, bool]:
        """Connections to the same place have the same."""
        return self.host, self.port, self.secure

    def ssl_context(self) -> ssl.SSLContext | None:
        """What is trusted; None without TLS."""
        return ssl_context() if self.secure else None


@lru_cache(maxsize=64)
def address_of(url: str) -> Address:
    """Where the URL leads."""
    parts = urlsplit(url)
    name = parts.hostname or ""
    host = name if name.isascii() else name.encode("idna").decode("ascii")
    shown = f"[{host}]" if ":" in host else host
    if parts.port is not None:
        shown += f":{parts.port}"
    return Address(
        host=host,
        port=parts.port or _PORTS[parts.scheme],
        shown=shown,
        path=quote(parts.path or "/", safe="/%:@!$&'()*+,;=~"),
        secure=parts.scheme == "https",
    )


@cache
def ssl_context() -> ssl.SSLContext:
    """One context for all connections: it takes longer to make than a connection."""
    import ssl  # noqa: PLC0415  # slow, and needed for TLS alone

    import certifi  # noqa: PLC0415

    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    if file or folder:
        return ssl.create_default_context(cafile=file, capath=folder)
    return ssl.create_default_context(cafile=certifi.where())
