"""Proxies and certificates that the environment sets: as httpx chooses them, through real ones."""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from calls import QUERY, Calls, client_of
from cases import cases
from fakes import override
from loopback import Server, echoes, running
from proxies import proxy
from rerank_integrations import ConfigurationError, TransportError
from support import chosen_proxy
from test_network_errors import visible

PASSWORD = "s3cr3t"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name)


def set_all(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    """Set variables of the environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


# which proxy

URLS = (
    "http://a.ai/v1",
    "https://a.ai/v1",
    "https://A.ai/v1",
    "https://sub.a.ai/v1",
    "https://nota.ai/v1",
    "https://a.ai:8080/v1",
    "http://localhost:8000/v1",
    "http://sub.localhost/v1",
    "http://127.0.0.1:8000/v1",
    "http://10.1.2.3/v1",
    "http://[::1]:8000/v1",
    "https://[fd00::1]/v1",
)
ALL = {"HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "p:2", "ALL_PROXY": "socks5://p:3"}
VARIABLES: list[dict[str, str]] = [
    {},
    {"HTTP_PROXY": "http://p:1"},
    {"https_proxy": "http://p:2"},
    {"all_proxy": "https://p:3"},
    ALL,
    {"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:9"},
    {"HTTP_PROXY": "http://p:1", "http_proxy": "", "ALL_PROXY": "http://p:3"},
    {"HTTPS_PROXY": "HTTP://p:2/"},
    {"HTTPS_PROXY": "http://[::1]:3128"},
    {"NO_PROXY": "a.ai"},
    {"ALL_PROXY": "http://p:3", "no_proxy": "sub.a.ai, localhost"},
    {"ALL_PROXY": "http://p:3", "NO_PROXY": "a.ai", "no_proxy": "10.1.2.3"},
]
NOT_PROXIED = (
    *("*", "x,*", ",", "ai", "a.ai", "A.ai", ".a.ai", "*.a.ai", "b.ai a.ai", "a.ai:8080", "a.ai."),
    *("https://a.ai", "http://a.ai", "all://a.ai", "https://", "https://*.a.ai", "https://*a.ai"),
    *("localhost", "localhost:8000", "127.0.0.1", "127.0.0.1:8000", "10.1.2.3/32", "::1"),
    *("fd00::1", "https://[fd00::1]"),
)
VARIABLES += [ALL | {"NO_PROXY": value} for value in NOT_PROXIED]


def chosen_by(client: httpx.Client, url: str) -> httpx.URL | None:
    """The proxy that a client of httpx takes for a URL, without path and credentials."""
    transport: Any = client._transport_for_url(httpx.URL(url))
    if transport is client._transport:
        return None
    proxy = transport._pool._proxy_url
    return httpx.URL(scheme=proxy.scheme.decode(), host=proxy.host.decode(), port=proxy.port)


def origin(url: str) -> httpx.URL:
    """A URL's scheme, host and port."""
    whole = httpx.URL(url)
    return httpx.URL(scheme=whole.scheme, host=whole.host, port=whole.port)


@cases("variables", VARIABLES, ids=str)
def test_the_proxy_is_the_one_that_httpx_takes(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]
) -> None:
    """For every URL the proxy, or none, is what a plain client of httpx chooses."""
    set_all(monkeypatch, variables)
    with httpx.Client(verify=False) as client:  # noqa: S501  # nothing is sent
        expected = {url: chosen_by(client, url) for url in URLS}
    found = {url: chosen_proxy(url) for url in URLS}
    assert {url: proxy and origin(proxy) for url, proxy in found.items()} == expected


@cases(
    ("entry", "direct"),
    [
        ("10.0.0.0/8", ["http://10.1.2.3/v1"]),
        ("127.0.0.1/8", ["http://127.0.0.1:8000/v1"]),
        ("fd00::/8", ["https://[fd00::1]/v1"]),
        ("[::1]", ["http://[::1]:8000/v1"]),
        ("[::1]:8000", ["http://[::1]:8000/v1"]),
        ("[::1]:9000", []),
        ("a.ai:port, 10.1.2.3", ["http://10.1.2.3/v1"]),
    ],
)
def test_no_proxy_beyond_httpx(
    monkeypatch: pytest.MonkeyPatch, entry: str, direct: Sequence[str]
) -> None:
    """Networks and bracketed addresses, which httpx ignores or refuses, need no proxy either."""
    set_all(monkeypatch, ALL | {"NO_PROXY": entry})
    assert [url for url in URLS if chosen_proxy(url) is None] == direct


# real proxies


class Route(NamedTuple):
    """A variable, the schemes of the proxy and of the server, and what the proxy is asked."""

    variable: str
    proxy: str
    target: str
    asked: bytes


ROUTES = [
    Route("HTTP_PROXY", "http", "http", b"POST http://127.0.0.1:"),
    Route("HTTPS_PROXY", "http", "https", b"CONNECT 127.0.0.1:"),
    Route("http_proxy", "https", "http", b"POST http://127.0.0.1:"),
    Route("https_proxy", "https", "https", b"CONNECT 127.0.0.1:"),
    Route("ALL_PROXY", "socks5", "http", b"SOCKS 127.0.0.1:"),
    Route("all_proxy", "socks5h", "https", b"SOCKS 127.0.0.1:"),
]


@cases("route", ROUTES, ids=lambda route: f"{route.target} by {route.proxy}")
def test_calls_go_through_the_proxy(
    call: Calls, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, route: Route
) -> None:
    """Every call goes through the proxy of the environment, and its connection is used again."""
    with (
        running(echoes, context=context if route.target == "https" else None) as plain,
        proxy(context if route.proxy == "https" else None) as between,
    ):
        monkeypatch.setenv(route.variable, f"{route.proxy}://127.0.0.1:{between.port}")
        with client_of(plain.url, max_retries=0) as client:
            for query in ("first", "second", "third"):
                assert call(client, query).id == query
            call.close(client)
    assert [first[: len(route.asked)] for first in between.heads] == [route.asked]
    assert [received.connection for received in plain.received] == [0, 0, 0]


@cases("target", ["http", "https"])
def test_the_password_of_a_proxy_is_for_the_proxy(
    call: Calls, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """User and password of a proxy's URL are sent to the proxy, and through a tunnel to nobody."""
    with (
        running(echoes, context=context if target == "https" else None) as plain,
        proxy() as between,
    ):
        monkeypatch.setenv(f"{target}_proxy", f"http://me:{PASSWORD}@127.0.0.1:{between.port}")
        with client_of(plain.url, max_retries=0) as client:
            call(client)
            call.close(client)
    basic = base64.b64encode(f"me:{PASSWORD}".encode())
    assert b"proxy-authorization: basic " + basic.lower() in between.heads[0].lower()
    if target == "https":
        assert b"proxy-authorization" not in plain.received[0].head.lower()
        assert b"the-key" not in between.heads[0]


# broken variables

BROKEN = {
    "scheme": ("socks://me:s3cr3t@127.0.0.1:1", "http://, https://, socks5://, socks5h://"),
    "port": ("http://me:s3cr3t@127.0.0.1:port", "http://host:port"),
    "port 0": ("http://me:s3cr3t@127.0.0.1:0", "http://host:port"),
    "no host": ("http://me:s3cr3t@", "http://host:port"),
    "bracket": ("http://me:s3cr3t@[::1", "http://host:port"),
    "no package": ("socks5://me:s3cr3t@127.0.0.1:1", r"pip install 'httpx[socks]'"),
}
broken = cases(("value", "fix"), BROKEN.values(), ids=BROKEN)


@pytest.fixture(name="no_socks")
def no_socks_fixture(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package for SOCKS is not installed."""
    override(monkeypatch, find_spec=lambda name: None)


@broken
@pytest.mark.usefixtures("no_socks", "pauses")
def test_a_broken_variable_is_named(
    call: Calls, plain: Server, monkeypatch: pytest.MonkeyPatch, value: str, fix: str
) -> None:
    """A proxy that cannot be used is a ConfigurationError with the variable and the fix."""
    for variable in ("all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(variable, value)
        with client_of(plain.url) as client:
            with pytest.raises(ConfigurationError) as caught:
                call(client)
            call.close(client)
        said = f"{caught.value} {caught.value!r} {vars(caught.value)}"
        assert variable in said
        assert fix in said
        assert PASSWORD not in said
        assert len(caught.value.attempts) <= 1
    assert not plain.received


@broken
@pytest.mark.usefixtures("no_socks")
def test_a_broken_variable_matters_where_it_is_chosen(
    call: Calls, plain: Server, monkeypatch: pytest.MonkeyPatch, value: str, fix: str
) -> None:
    """A broken proxy for another scheme, or for other hosts, fails no call."""
    monkeypatch.setenv("HTTPS_PROXY", value)
    with client_of(plain.url, max_retries=0) as client:
        assert call(client).id == QUERY
        call.close(client)
    monkeypatch.setenv("ALL_PROXY", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with client_of(plain.url, max_retries=0) as client:
        assert call(client).id == QUERY
        call.close(client)


def test_no_password_in_the_traceback_of_a_broken_variable(
    call: Calls, plain: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password in a proxy's URL is in no local variable either."""
    monkeypatch.setenv("HTTP_PROXY", f"socks://me:{PASSWORD}@127.0.0.1:1")
    with client_of(plain.url) as client:
        with pytest.raises(ConfigurationError) as caught:
            call(client)
        call.close(client)
    assert [part for part in visible(caught.value) if PASSWORD in part] == []


def test_a_proxy_that_is_away(
    call: Calls, plain: Server, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No password of a proxy is in the error of a call that the proxy did not pass on."""
    monkeypatch.setenv("HTTP_PROXY", nobody.replace("://", f"://me:{PASSWORD}@"))
    with client_of(plain.url, max_retries=0) as client:
        with pytest.raises(TransportError) as caught:
            call(client)
        call.close(client)
    assert caught.value.is_retryable
    assert [part for part in visible(caught.value) if PASSWORD in part] == []


# certificates


def no_file(folder: Path) -> Path:
    """A path where nothing is."""
    return folder / "missing"


def not_a_certificate(folder: Path) -> Path:
    """A file that holds something else."""
    (folder / "text.pem").write_text("no certificate")
    return folder / "text.pem"


def empty_file(folder: Path) -> Path:
    """An empty file."""
    (folder / "empty.pem").touch()
    return folder / "empty.pem"


def empty_folder(folder: Path) -> Path:
    """A folder without a file."""
    (folder / "empty").mkdir()
    return folder / "empty"


CERTIFICATES = {
    "no file": ("SSL_CERT_FILE", no_file),
    "no certificate": ("SSL_CERT_FILE", not_a_certificate),
    "empty": ("SSL_CERT_FILE", empty_file),
    "a folder for a file": ("SSL_CERT_FILE", empty_folder),
    "no folder": ("SSL_CERT_DIR", no_file),
    "a file for a folder": ("SSL_CERT_DIR", not_a_certificate),
    "empty folder": ("SSL_CERT_DIR", empty_folder),
}


@pytest.fixture(name="certificates", params=CERTIFICATES)
def certificates_fixture(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The variable that names certificates which are not there."""
    variable, make = CERTIFICATES[request.param]
    monkeypatch.setenv(variable, str(make(tmp_path)))
    return variable


def test_certificates_that_are_missing(
    call: Calls, pauses: Sequence[float], certificates: str
) -> None:
    """Certificates that do not exist or cannot be read are a ConfigurationError, for https."""
    with client_of("https://127.0.0.1:1") as client:
        with pytest.raises(ConfigurationError, match=certificates):
            call(client)
        call.close(client)
    assert not pauses


def test_certificates_are_not_needed_without_tls(
    call: Calls, plain: Server, certificates: str
) -> None:
    """A call over http needs no certificates."""
    with client_of(plain.url, max_retries=0) as client:
        assert call(client).id == QUERY
        call.close(client)


def test_no_password_beside_a_missing_certificate(
    call: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No password of a proxy is in an error about certificates."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{PASSWORD}@127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", str(no_file(tmp_path)))
    with client_of("https://127.0.0.1:1", max_retries=0) as client:
        with pytest.raises(ConfigurationError) as caught:
            call(client)
        call.close(client)
    assert [part for part in visible(caught.value) if PASSWORD in part] == []


@cases("url", ["https://a.example/v1", "http://a.example/v1"])
def test_a_port_of_no_proxy_may_be_the_schemes_own(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """An entry with the port of the scheme matches a URL that leaves it out."""
    port = 443 if url.startswith("https") else 80
    monkeypatch.setenv("all_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", f"a.example:{port}")
    assert chosen_proxy(url) is None
