"""Connections over TLS, to a server on loopback whose certificate is made for the test."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
import trustme

from calls import QUERY, TEXTS, Calls, client_of
from fakes import forget_certificates
from loopback import Act, Peer, running, tls_context
from rerank_integrations import TransportError


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
    forget_certificates()
    yield
    forget_certificates()


@pytest.mark.parametrize(
    "documents",
    [TEXTS, ["x" * 900_000, "y" * 900_000, QUERY]],
    ids=["small", "megabytes"],
)
def test_a_trusted_server_is_asked(
    call: Calls, authority: trustme.CA, documents: Sequence[str]
) -> None:
    """A call over TLS is a call: bodies of any size, and one connection for several calls."""
    with (
        running(context=tls_context(authority, "localhost"), host="localhost") as server,
        client_of(server) as client,
    ):
        for _ in range(3):
            [best, *_] = call(client, documents=documents)
            assert best.document == QUERY
        call.close(client)
    assert [one.body["documents"] for one in server.received] == [list(documents)] * 3
    assert server.connections == 1


def test_a_server_of_another_name_is_not_asked(call: Calls, authority: trustme.CA) -> None:
    """A certificate for another host is refused before anything is sent."""
    with running(context=tls_context(authority, "elsewhere.example"), host="localhost") as server:
        client = client_of(server, max_retries=0)
        with pytest.raises(TransportError, match="SSL_CERT_FILE") as caught:
            call(client)
        call.close(client)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert not server.received


def test_a_server_that_nobody_vouches_for_is_not_asked(call: Calls) -> None:
    """A certificate of an unknown authority is refused before anything is sent."""
    with running(context=tls_context(trustme.CA(), "localhost"), host="localhost") as server:
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
    with running(context=tls_context(authority, "elsewhere.example"), host="localhost") as server:
        client = client_of(server)
        with pytest.raises(TransportError) as caught:
            call(client)
        call.close(client)
    assert len(caught.value.attempts) == 1
    assert not pauses


def test_no_tls_where_it_is_expected(call: Calls) -> None:
    """A server that speaks no TLS is a TransportError that says how to do without."""

    def refuse(peer: Peer) -> None:
        peer.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        peer.close()

    with (
        running(Act(refuse, before_reading=True)) as server,
        client_of(server.url.replace("http:", "https:"), max_retries=0) as client,
        pytest.raises(TransportError, match="use http:// with allow_http=True"),
    ):
        call(client)
