"""Any server with an API like Cohere's or Jina's, described by its keys and its path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from rerank_integrations._secrets import Secret
from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._validation import (
    framing_problem,
    header_problem,
    header_secrets,
    key_header,
    shown,
)
from rerank_integrations.providers.base import Dialect, Instructed, RemoteProvider

_PATH = re.compile(r"/[^?#\s\x00-\x1f\x7f]*")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Compatible(RemoteProvider):
    """A server that has no class of its own, or your own proxy.

    The results are read from `results`, `data` or `rankings`, or from a body that is a list; a
    score is read from `relevance_score`, `score` or `logit`.

    Args:
        api_key: the API key, if the server requires one; no environment variable is read.
        base_url: the base URL; required.
        allow_http: as in `RemoteProvider`.
        path: the path after the base URL; it begins with `/`.
        documents_key: the body key of the documents.
        document_as: how a text is sent: "text" as a string, "object" as `{"text": ...}`.
        top_n_key: the body key of `top_n`; None if the server has none: then the client applies it.
        return_documents_key: the body key that makes the server send the documents back. It is sent
            as false, for servers that do so by default; None sends nothing.
        instruction_key: the body key of `instruction`; None if the server has none.
        auth_header: the header of the key.
        auth_scheme: the scheme before the key in that header; "" for none.
        extra_headers: headers to add to every request; their values are hidden.
        extra_body: keys to add to every body.
        extra_query: parameters to add to the query string of every request, such as
            `{"api-version": "2024-05-01"}`; their values are hidden.

    Raises:
        ConfigurationError: there is no address, two arguments set the same body key, or an argument
            is invalid.
    """

    name: ClassVar[str] = "compatible"
    api_key_env: ClassVar[str | None] = None
    default_base_url: ClassVar[str] = ""
    has_default: ClassVar[bool] = False
    needs_key: ClassVar[bool] = False
    secret_arguments: ClassVar[frozenset[str]] = frozenset(
        {"api_key", "base_url", "extra_headers", "extra_query"}
    )

    base_url: str | None = field(default=None, kw_only=False)
    path: str = "/rerank"
    documents_key: str = "documents"
    document_as: Literal["text", "object"] = "text"
    top_n_key: str | None = "top_n"
    return_documents_key: str | None = None
    instruction_key: str | None = None  # type: ignore[misc]  # the class's own for all others
    auth_header: str = "Authorization"
    auth_scheme: str = "Bearer"
    extra_headers: Mapping[str, str] | None = field(default=None, repr=False)
    extra_body: Mapping[str, Any] | None = None
    extra_query: Mapping[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise ConfigurationError(
                "Compatible: path begins with '/' and has no '?', '#' or white space; a query goes "
                "into extra_query"
            )
        problem = framing_problem({self.auth_header: ""})
        if problem:
            raise ConfigurationError(f"Compatible: auth_header: {problem}")
        for name, check in (("extra_headers", _headers_problem), ("extra_query", _query_problem)):
            given = getattr(self, name)
            is_mapping = isinstance(shown(given), Mapping | None)
            problem = check(shown(given) or {}) if is_mapping else "must be a mapping of names"
            if problem:
                raise ConfigurationError(f"Compatible: {name}: {problem}")
            self._set(name, given if isinstance(given, Secret) else Secret(given))
        self._set(
            "dialect",
            Dialect(
                documents=self.documents_key, document_as=self.document_as, top_n=self.top_n_key
            ),
        )
        own = ("query", "model", "rank_fields", self.documents_key, self.top_n_key)
        more = (self.return_documents_key, self.instruction_key, *(self.extra_body or {}))
        keys = [key for key in (*own, *more) if key is not None]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None or "" in keys:
            raise ConfigurationError(
                f"Compatible: two arguments write the key {twice!r} of the body"
                if twice
                else "Compatible: a key of the body is empty; None leaves one out"
            )
        super().__post_init__()

    @property
    def url(self) -> str:
        """The base URL with `path`, and with `extra_query` as the query string."""
        return self._address(self.path, shown(self.extra_query))

    def _rerank_path(self) -> str:
        return self.path

    def models_address(self, query: Mapping[str, str]) -> str:
        """The address with `/models` in place of the last segment of `path`."""
        beside = self.path.rpartition("/")[0] + "/models"
        return self._address(beside, {**(shown(self.extra_query) or {}), **query})

    def headers(self) -> dict[str, str]:
        """The key in `auth_header`, and `extra_headers`."""
        own = key_header(self.api_key, self.auth_header, self.auth_scheme.strip())
        return own | dict(shown(self.extra_headers) or {})

    def secrets(self) -> list[str]:
        """The key, and the values of `extra_headers` and of the query string."""
        return super().secrets() + header_secrets(shown(self.extra_headers) or {})

    def body(self) -> dict[str, Any]:
        """`return_documents_key` as false, if it is set, and `extra_body`."""
        echo = {self.return_documents_key: False} if self.return_documents_key else {}
        return echo | dict(self.extra_body or {})

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Send the instruction as `instruction_key`."""
        if self.instruction_key is None:
            raise ConfigurationError(
                "Compatible was not told how the server takes an instruction; pass "
                f"provider=Compatible(..., instruction_key='instruction') (model {model})"
            )
        return super().instructed(model, instruction)


def _headers_problem(headers: Mapping[Any, Any]) -> str | None:
    return header_problem(headers) or framing_problem(headers)


def _query_problem(query: Mapping[Any, Any]) -> str | None:
    """Name the pair that is not text.

    Returns the message instead of raising it, because a traceback would show the values.
    """
    for name, value in query.items():
        if not isinstance(name, str) or not isinstance(value, str):
            return f"the value of {name!r} must be a str"
        if _SURROGATE.search(name + value):
            return f"{name!r} or its value holds half of a surrogate pair, which is no character"
    return None
