"""Connections over TLS, to a server on loopback whose certificate is made for the test."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from rerank_integrations import TransportError
from rerank_integrations._sender import _ssl_context
from server import (  # noqa: F401
    QUERY,
    TEXTS,
    Calls,
    Server,
    call_fixture,
    client_of,
    pauses_fixture,
)


class Secure(Server):
    """The scripted server, behind TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__()
        self._context = context
        self.url = self.url.replace("http://127.0.0.1", "https://localhost")

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread, then answer."""
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not trust us goes away, as it should."""


@contextmanager
def secure(authority: trustme.CA, name: str) -> Iterator[Secure]:
    """A server with a certificate for a name, stopped at the end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    server = Secure(context)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()


@pytest.fixture(scope="module", name="authority")
def authority_fixture() -> trustme.CA:
    """Who signs."""
    return trustme.CA()


@pytest.fixture(autouse=True)
def trusted(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The environment names the authority, as it does behind a company's proxy."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    _ssl_context.cache_clear()
    yield
    _ssl_context.cache_clear()


@pytest.mark.parametrize(
    "documents",
    [TEXTS, ["x" * 900_000, "y" * 900_000, QUERY]],
    ids=["small", "megabytes"],
)
def test_a_trusted_server_is_asked(
    call: Calls, authority: trustme.CA, documents: Sequence[str]
) -> None:
    """A call over TLS is a call: bodies of any size, and one connection for several calls."""
    with secure(authority, "localhost") as server, client_of(server) as client:
        for _ in range(3):
            [best, *_] = call(client, documents=documents)
            assert best.document == QUERY
        call.close(client)
    assert [one.body["documents"] for one in server.received] == [list(documents)] * 3
    assert server.connections == 1


def test_a_server_of_another_name_is_not_asked(call: Calls, authority: trustme.CA) -> None:
    """A certificate for another host is refused before anything is sent."""
    with secure(authority, "elsewhere.example") as server:
        client = client_of(server, max_retries=0)
        with pytest.raises(TransportError, match="SSL_CERT_FILE") as caught:
            call(client)
        call.close(client)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert not server.received


def test_a_server_that_nobody_vouches_for_is_not_asked(call: Calls) -> None:
    """A certificate of an unknown authority is refused before anything is sent."""
    with secure(trustme.CA(), "localhost") as server:
        client = client_of(server, max_retries=0)
        with pytest.raises(TransportError, match="SSL_CERT_FILE") as caught:
            call(client)
        call.close(client)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert not server.received


def test_a_wrong_certificate_is_not_tried_again(
    call: Calls, authority: trustme.CA, pauses: Sequence[float]
) -> None:
    """A certificate that is refused now is refused in a second too: no retry."""
    with secure(authority, "elsewhere.example") as server:
        client = client_of(server)
        with pytest.raises(TransportError) as caught:
            call(client)
        call.close(client)
    assert len(caught.value.attempts) == 1
    assert not pauses
