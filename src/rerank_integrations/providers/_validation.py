"""Checks of keys, addresses, header values and argument names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from ipaddress import ip_address
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from pydantic import SecretStr

from rerank_integrations._secrets import Secret
from rerank_integrations.errors import ConfigurationError

# https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2 and #section-5.5
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FIELD_VALUE = re.compile(r"[\t\x20-\x7e]*")
# these describe the connection and the body, which the HTTP client does
_FRAMING = frozenset(
    {
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "expect"),
        *("content-length", "content-encoding", "transfer-encoding"),
    }
)
_SHORTEST_WORD = 6  # of a header value of several words, such as "Bearer" and a key
# headers that say what the client takes; their values are words of most responses
_NO_SECRETS = frozenset({"accept", "accept-encoding", "accept-language", "user-agent"})
_QUERY = re.compile(r"[\x21-\x7e]*")  # what a request line can carry
_SHORTEST_SUFFIX = 3  # letters of an argument that a longer name may end with
_CODINGS = frozenset({"gzip", "deflate", "identity"})


def shown(value: Any) -> Any:
    """The value of a Secret argument; any other value unchanged."""
    return shown(value.get_secret_value()) if isinstance(value, Secret) else value


def secret(value: Any) -> SecretStr | None:
    """A str or SecretStr as a SecretStr without surrounding spaces; None for an empty one.

    Raises:
        ConfigurationError: the value has another type.
    """
    value = shown(value)
    if value is not None and not isinstance(value, str | SecretStr):
        kind = type(value).__name__
        del value  # this frame must not hold a key when it raises
        raise ConfigurationError(f"a key is a str or a SecretStr, not {kind}")
    text = value.get_secret_value() if isinstance(value, SecretStr) else value or ""
    return SecretStr(text.strip()) if text.strip() else None


def key_header(key: Any, name: str = "Authorization", scheme: str = "Bearer") -> dict[str, str]:
    """The header of the key, with its scheme; no header without a key."""
    found = secret(key)
    return {name: f"{scheme} {found.get_secret_value()}".strip()} if found else {}


def type_problem(owner: type, given: Mapping[str, Any]) -> str | None:
    """The message about an argument of the wrong type; None if all are right."""
    hints = type_hints(owner)
    for name, value in given.items():
        union = isinstance(hints[name], UnionType) or get_origin(hints[name]) is Union
        wanted = get_args(hints[name]) if union else (hints[name],)
        kinds = [get_origin(kind) or kind for kind in wanted]
        # what may be a function is checked by the class itself, whose message says which function
        if Any in kinds or Callable in kinds or isinstance(value, Secret):
            continue
        if Literal in kinds:
            words = [
                word for kind in wanted if get_origin(kind) is Literal for word in get_args(kind)
            ]
            if value in words or (value is None and NoneType in kinds):
                continue
            return f"{name} must be {' or '.join(map(repr, words))}, not {value!r}"
        also = (int,) if float in kinds else ()
        is_flag = isinstance(value, bool) and bool not in kinds  # a bool is an int in Python
        if is_flag or not isinstance(value, (*kinds, *also)):
            names = " or ".join("None" if k is NoneType else k.__name__ for k in kinds)
            return f"{name} must be {names}, not {type(value).__name__}"
    return None


@cache
def type_hints(owner: type) -> Mapping[str, Any]:
    """The types of a class's attributes; cached, because it takes long to read them."""
    return get_type_hints(owner)


def header_problem(headers: Mapping[Any, Any]) -> str | None:
    """The message about the first invalid header, without its value; None if all are valid.

    The message is returned, not raised, because a traceback would show the values.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not isinstance(value, str):
            return f"header {name!r} needs a str, not {type(value).__name__}"
        if not (name + value).isascii():
            return f"header {name!r} has a character outside ASCII; replace it"
        if "\n" in name + value or "\r" in name + value:
            return f"header {name!r} has a line break; remove it"
        if not _TOKEN.fullmatch(name):
            return f"header {name!r} is no header name; use letters, digits and hyphens"
        if not _FIELD_VALUE.fullmatch(value):
            return f"header {name!r} has a control character; remove it"
        if value != value.strip():
            return f"header {name!r} begins or ends with white space; remove it"
    return None


def framing_problem(headers: Mapping[str, str]) -> str | None:
    """The message about a user's header that conflicts with the request; None if there is none."""
    for name, value in headers.items():
        if name.lower() in _FRAMING:
            return f"header {name!r} is set by the HTTP client; leave it out of extra_headers"
        if name.lower() == "accept-encoding":
            codings = {part.partition(";")[0].strip().lower() for part in value.split(",")}
            if not codings <= _CODINGS:
                return f"header {name!r} may name gzip, deflate and identity only"
    return None


def header_secrets(headers: Mapping[str, str]) -> list[str]:
    """The values of a user's headers to redact, whole and word by word."""
    return [
        secret
        for name, value in headers.items()
        if name.lower() not in _NO_SECRETS
        for secret in (value, *(word for word in value.split() if len(word) >= _SHORTEST_WORD))
    ]


class Address(str):
    """A URL whose repr hides a password and the values of the query string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(shown_address(self))


def shown_address(address: str) -> str:
    """The URL without what may be secret: user, password, query string and fragment."""
    head, slashes, rest = address.partition("//")
    for mark in "?#":
        before, found, _ = rest.partition(mark)
        rest = f"{before}?***" if found else rest
    authority, slash, path = rest.partition("/")
    _, at, host = authority.rpartition("@")
    return f"{head}{slashes}{'***@' if at else ''}{host}{slash}{path}"


def address_problem(value: object, *, query: bool = False) -> str | None:
    """The message about an invalid URL, without the URL, which may have a password; else None."""
    try:
        parts = urlsplit(str(value))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket left open
        usable = False
    if not usable:
        return "must be an address with http:// or https:// and a host, such as https://host/v1"
    if parts.username or parts.password or parts.fragment or (parts.query and not query):
        unwanted = "user, password or fragment" if query else "user, password, query or fragment"
        return f"must have no {unwanted}; keys go into api_key= or extra_headers="
    if not _QUERY.fullmatch(parts.query):
        return "has a query with characters that must be percent-encoded"
    return None


def is_open_http(address: str) -> bool:
    """Whether the URL is `http://` and of another machine."""
    parts = urlsplit(address)
    host = (parts.hostname or "").rstrip(".")
    if parts.scheme == "https" or host == "localhost" or host.endswith(".localhost"):
        return False
    with suppress(ValueError):
        return not ip_address(host.partition("%")[0]).is_loopback
    return True


def normalised_base_url(given: str, default: str, ending: str = "/rerank") -> str:
    """The URL without a trailing `/` or `ending`; without a path, with that of the default."""
    parts = urlsplit(given)
    path = parts.path.rstrip("/").removesuffix(ending).rstrip("/")
    if parts.path in ("", "/"):
        path = urlsplit(default).path
    address = f"{parts.scheme}://{parts.netloc}{path}"
    return Address(f"{address}?{parts.query}") if parts.query else address


def json_problem(value: object) -> str | None:
    """The message about a value that is not valid JSON; None if it is valid."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):  # an object of its own kind; NaN, infinity or a circle
        return "holds a value that JSON cannot carry"
    except RecursionError:
        return "is nested too deeply for JSON"
    return None


def finite(value: object) -> float | None:
    """The value as a finite float; None if it is not a number, or is a bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int beyond all floats
        return None
    return number if math.isfinite(number) else None


def sigmoid(logit: float) -> float:
    """The probability of a logit, computed without overflow."""
    smaller = math.exp(-abs(logit))
    return (1.0 if logit >= 0 else smaller) / (1.0 + smaller)


def seconds_in(text: str | None) -> float | None:
    """The seconds in a header; None if it is not a number of at least 0."""
    try:
        seconds = finite(float(text or "")) if "_" not in (text or "") else None
    except ValueError:
        return None
    return seconds if seconds is not None and seconds >= 0 else None


def refuse_unknown(owner: str, given: Iterable[str], known: Sequence[str], more: str = "") -> None:
    """Raise ConfigurationError for the first name in `given` that is not in `known`."""
    for name in given:
        if name not in known:
            raise ConfigurationError(
                f"{owner} has no argument {name!r}; {nearest(name, known)}it takes "
                f"{', '.join(known)}{more}"
            )


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint with the most similar known name; "" if none is similar."""
    names = list(known)
    # one of them may have a prefix: x_open_router_title and cohere_api_key in a vendor's SDK
    pairs = [(one, *sorted((name, one), key=len)) for one in names]
    meant = [one for one, a, b in pairs if b.endswith(a) and len(a) > _SHORTEST_SUFFIX]
    meant = meant or get_close_matches(name, names, n=1)
    return f"did you mean {meant[0]!r}? " if meant else ""
