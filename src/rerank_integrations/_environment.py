"""What the environment says about proxies and certificates, read as httpx reads it.

Proxies: https://www.python-httpx.org/environment_variables/
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies

from rerank_integrations.errors import ConfigurationError

_PORTS = {"http": 80, "https": 443}
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_for(url: str, proxies: Mapping[str, str] | None = None) -> str | None:
    """The URL of the proxy that the environment sets for a URL; None for a direct connection.

    NO_PROXY follows the rules of httpx: `a.ai` matches the host and its subdomains, `.a.ai` the
    subdomains, `https://a.ai` one scheme, `a.ai:8080` one port, `*` everything. Beyond httpx,
    networks (`10.0.0.0/8`, `fd00::/8`) and `[::1]` match too.

    Raises:
        ConfigurationError: the variable that applies holds no usable proxy URL.
    """
    found = getproxies() if proxies is None else proxies
    parts = urlsplit(url)
    entries = [entry.strip().lower() for entry in found.get("no", "").split(",")]
    host, port = (parts.hostname or "").lower(), parts.port or _PORTS[parts.scheme]
    if any(_matches(entry, parts.scheme, host, port) for entry in entries if entry):
        return None
    scheme = parts.scheme if found.get(parts.scheme) else "all"
    proxy = found.get(scheme)
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    problem = _proxy_problem(proxy)
    if problem:
        raise ConfigurationError(f"{_variable(scheme)} {problem}")
    return proxy


def _proxy_problem(proxy: str) -> str | None:
    """What is wrong with the URL of a proxy; it may hold a password, so it is not repeated."""
    try:
        parts = urlsplit(proxy)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        return "holds no URL of a proxy; write it as http://host:port, or unset the variable"
    if parts.scheme not in _PROXY_SCHEMES:
        return (
            f"names a proxy with the unknown scheme {parts.scheme}://; use "
            f"{', '.join(f'{scheme}://' for scheme in _PROXY_SCHEMES)}, or unset the variable"
        )
    if parts.scheme.startswith("socks") and find_spec("socksio") is None:
        return "names a SOCKS proxy, which needs a package: pip install 'httpx[socks]'"
    return None


def _matches(entry: str, scheme: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY names this origin."""
    if entry == "*":
        return True
    address = _address(host)
    try:
        network = ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        return address is not None and address in network
    wanted_scheme, separator, rest = entry.rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
        wanted, wanted_port = parts.hostname or "", parts.port
    except ValueError:  # a port that is no number
        return False
    if wanted_scheme not in ("", "all", scheme) or wanted_port not in (None, port):
        return False
    if separator or wanted == "localhost" or _address(wanted):
        return wanted in ("", host)
    if wanted.startswith("."):
        return host.endswith(wanted)
    return host == wanted or host.endswith(f".{wanted}")


def _address(host: str) -> object:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _variable(scheme: str) -> str:
    """The environment variable that is set, in the case in which it is written."""
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "the proxy of the system")


def ssl_context() -> ssl.SSLContext:
    """The trusted certificates: those of SSL_CERT_FILE and SSL_CERT_DIR, else certifi's.

    Raises:
        ConfigurationError: a variable names what does not exist or holds no certificate.
    """
    return _ssl_context(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


@lru_cache(maxsize=8)
def _ssl_context(file: str | None, folder: str | None) -> ssl.SSLContext:
    """One context for all connections: making it takes longer than a call."""
    for name, path, exists in (
        ("SSL_CERT_FILE", file, os.path.isfile),
        ("SSL_CERT_DIR", folder, os.path.isdir),
    ):
        if path and not exists(path):
            raise ConfigurationError(
                f"{name} names {path!r}, which does not exist; correct or unset the variable"
            )
    if not file and not folder:
        import certifi  # noqa: PLC0415  # not needed where the variables are set

        return ssl.create_default_context(cafile=certifi.where())
    try:
        return ssl.create_default_context(cafile=file or None, capath=folder or None)
    except (ssl.SSLError, OSError) as cause:
        raise ConfigurationError(
            f"SSL_CERT_FILE names {file!r}, from which no certificate can be read: {cause}; "
            "correct or unset the variable"
        ) from cause
