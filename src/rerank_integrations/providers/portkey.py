"""Portkey: one gateway to Cohere, Voyage, Jina, Pinecone, Bedrock, Azure AI and Vertex."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import SecretStr

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._instructions import before_query, is_voyage, no_instruction
from rerank_integrations.providers._validation import address_problem, key_header, shown
from rerank_integrations.providers.base import (
    ErrorDetails,
    HTTPResponse,
    Instructed,
    RemoteProvider,
    ScoreKind,
)
from rerank_integrations.providers.pinecone import MODELS, OTHER_MODEL, Limits
from rerank_integrations.providers.together import Together

_LONGEST_METADATA = 128
_GUARDRAIL_FAILED = 246
_SECRET_NAME = re.compile("key|token|secret|auth|password|credential", re.IGNORECASE)
_REFUSED = frozenset({401, 403})
_BAD_GATEWAY_KEY = "03"  # the gateway's own code
# how the gateway begins a message of the host
_FROM_HOST = re.compile(r"[a-z][a-z0-9-]{0,63} error: ")
# hosts that authorise with several headers of their own, which come in extra_headers
_OWN_CREDENTIALS = ("bedrock", "vertex-ai", "azure-ai")


_PROBABILITIES = ("cohere", "pinecone")  # hosts whose scores are from 0 to 1
_MOST_FOR_VERTEX = 200  # as Portkey's page about Vertex says


@dataclass(frozen=True, kw_only=True)
class Portkey(RemoteProvider):
    """Rerank models of several hosts behind the Portkey gateway.

    API documentation: https://portkey.ai/docs/api-reference

    Select the host in one of these ways: `virtual_key`; `provider="@slug"`, or a model
    `"@slug/model"`; `provider` and `authorization`; `config`. `custom_host` can be added to each of
    them.

    Args:
        api_key: the API key; from `PORTKEY_API_KEY` when None. Your own gateway needs none.
        base_url: the base URL, for example of your own gateway; `https://api.portkey.ai/v1` when
            None.
        allow_http: as in `RemoteProvider`.
        virtual_key: the ID of credentials stored at Portkey, the older alternative to a slug.
        provider: a host name such as `"cohere"`, or an `"@slug"` of the model catalog.
        authorization: the API key of the host behind Portkey, sent as a bearer token.
        config: the ID of a saved config, or a config as a mapping; it may contain keys.
        custom_host: the base URL of your own host behind Portkey. The host must use the API of the
            provider that is selected.
        trace_id: the ID that groups calls in Portkey's logs.
        span_id: the ID of this call in the trace.
        parent_span_id: the ID of the parent span.
        span_name: the name of the span.
        metadata: values of at most 128 characters; some keys, such as `_user`, have a meaning at
            Portkey. Numbers and booleans are sent as strings, as Portkey requires: `"3"`, `"true"`.
        return_documents: True makes Voyage, Jina and Pinecone send the documents back. It is not
            needed: results hold your own documents.
        max_tokens_per_doc: the number of tokens after which Cohere truncates a document.
        priority: the priority of the request at Cohere.
        truncation: whether Voyage truncates a text that is too long.
        parameters: further parameters for Pinecone.
        native_rank_fields: whether the host ranks fields itself. When None, only Pinecone does; for
            other hosts the client writes the fields as text. Pinecone is detected by `provider` or
            by the slug, or by the model if `provider` names no other host. The limits of Pinecone's
            models always apply.

    Raises:
        ConfigurationError: there is no key, no host is selected, or an argument is invalid.
    """

    name: ClassVar[str] = "portkey"
    api_key_env: ClassVar[str | None] = "PORTKEY_API_KEY"
    default_base_url: ClassVar[str] = "https://api.portkey.ai/v1"
    models_path: ClassVar[str | None] = "/models"
    request_id_headers: ClassVar[tuple[str, ...]] = ("x-portkey-trace-id", "x-request-id")
    fallback_codes: ClassVar[frozenset[str]] = Together.fallback_codes  # it may be behind it
    secret_arguments: ClassVar[frozenset[str]] = frozenset(
        {"api_key", "base_url", "virtual_key", "authorization", "config", "custom_host"}
    )

    virtual_key: SecretStr | str | None = field(default=None, repr=False)
    provider: str | None = None
    authorization: SecretStr | str | None = field(default=None, repr=False)
    config: str | Mapping[str, Any] | None = field(default=None, repr=False)
    custom_host: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    span_name: str | None = None
    metadata: Mapping[str, str | float] | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None
    priority: float | None = None
    truncation: bool | None = None
    parameters: Mapping[str, Any] | None = None
    native_rank_fields: bool | None = None

    def __post_init__(self) -> None:
        self._set_secret("virtual_key")
        self._set_secret("authorization")
        self._set("config", _config_text(self.config))
        if self.custom_host is not None:
            problem = address_problem(shown(self.custom_host))
            if problem:
                raise ConfigurationError(f"custom_host {problem}")
            self._set("custom_host", shown(self.custom_host))
        if self.max_tokens_per_doc is not None and self.max_tokens_per_doc < 1:
            raise ConfigurationError("max_tokens_per_doc must be at least 1")
        if self.metadata is not None:
            self._set("metadata", _checked_metadata(self.metadata))
        super().__post_init__()

    def _needs_key(self) -> bool:
        cloud = urlsplit(self.default_base_url).hostname
        return urlsplit(self.base_url or "").hostname == cloud

    def check(self, model: str) -> None:
        """Raise ConfigurationError if no host is selected."""
        if self.virtual_key or self.config or model.startswith("@"):
            return
        if self.custom_host and not self.provider:
            raise ConfigurationError(
                "custom_host needs provider=, the provider whose API it has; virtual_key=, config= "
                "or a model '@slug/model' also selects one"
            )
        if not self.provider:
            raise ConfigurationError(
                "Portkey needs a host: pass provider='@slug' of your model catalog, "
                "a model '@slug/model', virtual_key=, config=, or provider= with authorization="
            )
        with_key = self.provider.startswith("@") or self.provider in _OWN_CREDENTIALS
        if not (with_key or self.authorization or self.custom_host):
            raise ConfigurationError(
                f"provider={self.provider!r} needs authorization=, the key of that host; "
                "a slug of your model catalog begins with '@'"
            )

    def headers(self) -> dict[str, str]:
        """The keys, the host, and the IDs for Portkey's logs."""
        optional = {
            "x-portkey-api-key": _revealed(self.api_key),
            "x-portkey-virtual-key": _revealed(self.virtual_key),
            "x-portkey-provider": self.provider,
            "x-portkey-config": _revealed(self.config),
            "x-portkey-custom-host": self.custom_host,
            "x-portkey-trace-id": self.trace_id,
            "x-portkey-span-id": self.span_id,
            "x-portkey-parent-span-id": self.parent_span_id,
            "x-portkey-span-name": self.span_name,
            "x-portkey-metadata": json.dumps(dict(self.metadata)) if self.metadata else None,
        }
        given = {name: value for name, value in optional.items() if value is not None}
        return key_header(self.authorization) | given

    def secrets(self) -> list[str]:
        """The keys, including those inside a config."""
        return super().secrets() + _keys_in(_revealed(self.config))

    def body(self) -> dict[str, Any]:
        """The keys that Portkey passes on to hosts that take them."""
        return {
            "return_documents": self.return_documents,
            "max_tokens_per_doc": self.max_tokens_per_doc,
            "priority": self.priority,
            "truncation": self.truncation,
            "parameters": self.parameters,
        }

    def max_rank_fields(self, model: str) -> int | None:
        """The limit of Pinecone's model; 0 for other hosts, to which Portkey passes no fields."""
        limits = self._pinecone(model)
        native = limits is not None if self.native_rank_fields is None else self.native_rank_fields
        return (limits or OTHER_MODEL).rank_fields if native else 0

    def most_documents(self, model: str) -> int | None:
        """The limit of Pinecone's model or of Vertex; for other hosts `max_documents`."""
        limits = self._pinecone(model) or OTHER_MODEL
        if self.provider == "vertex-ai":
            return _MOST_FOR_VERTEX
        return limits.documents or super().most_documents(model)

    def kind_of_scores(self, model: str) -> ScoreKind:
        """Probabilities if the host is known to be Cohere or Pinecone, else unknown."""
        host = (model if model.startswith("@") else self.provider or "").partition("/")[0]
        known = any(name in host for name in _PROBABILITIES)
        return "probability" if known or self._pinecone(model) else self.score_kind

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Write the instruction before the query, for Voyage 2.5; Portkey has no key for it."""
        if is_voyage(model):
            return before_query(instruction)
        raise no_instruction(self.name, model, "Voyage 2.5")

    def _pinecone(self, model: str) -> Limits | None:
        """The limits of one request if Pinecone serves the call, else None."""
        slug, _, rest = model.partition("/") if model.startswith("@") else ("", "", model)
        limits = MODELS.get(rest)
        provider = self.provider or "@"
        if "pinecone" in slug or "pinecone" in provider:
            return limits or OTHER_MODEL
        # a slug may have any name, but `provider="jina"` serves no model of Pinecone
        return limits if provider.startswith("@") else None

    def document(self, fields: Mapping[str, Any], text: str) -> Mapping[str, Any]:
        """The fields with a `text` that is a str: without one Portkey sends null to the host."""
        sent = {"text": text, **fields}
        return sent if isinstance(sent["text"], str) else {**sent, "text": text}

    def served_by(self, headers: Mapping[str, str]) -> str | None:
        """The host, from the header `x-portkey-provider`."""
        return headers.get("x-portkey-provider") or None

    def parse_error(self, failure: ErrorDetails) -> ErrorDetails:
        """Mark permanent failures, and name the key that was rejected.

        A gateway exception has status 500, but means a wrong setup. A retry count of -1 means that
        the gateway has used up its own retries. If the host rejects its key, the message has the
        form of the host, or a header names the host.
        """
        permanent = failure.headers.get("x-portkey-gateway-exception") == "true"
        repeated = failure.headers.get("x-portkey-retry-attempt-count") == "-1"
        if permanent or repeated:
            failure = failure._replace(is_retryable=False)
        from_host = bool(failure.error and _FROM_HOST.match(failure.message))
        from_host = from_host or self.served_by(failure.headers) is not None
        if failure.status_code in _REFUSED and from_host and failure.code != _BAD_GATEWAY_KEY:
            return failure._replace(key_hint=self._host_key_hint())
        return failure

    def _host_key_hint(self) -> str:
        """Where the key of the host behind Portkey came from, for an error message."""
        if self.authorization:
            return "authorization=, the key of the host behind Portkey"
        if self.virtual_key:
            return "the key of the host that is stored at Portkey for virtual_key="
        if self.config:
            return "the key of the host in config=, or the one that it names"
        if self.provider in _OWN_CREDENTIALS:
            return f"the credentials of {self.provider} in extra_headers="
        return "the key of the host that is stored at Portkey for the slug"

    def warnings(self, response: HTTPResponse) -> tuple[str, ...]:
        """A warning if a guardrail failed but the response was passed on."""
        if response.status_code == _GUARDRAIL_FAILED:
            return ("a Portkey guardrail failed on this call but let it through",)
        return ()


def _revealed(value: object) -> str | None:
    return value.get_secret_value() if isinstance(value, SecretStr) else None


def _config_text(config: Any) -> SecretStr | None:
    """The ID of a config, or a config as JSON; hidden, because a config may contain keys."""
    text = _json_of(shown(config))
    if text == "":
        raise ConfigurationError("config must be a config's id or a mapping of JSON values")
    return None if text is None else SecretStr(text)


def _json_of(config: Any) -> str | None:
    """The text of a config; "" if it is invalid, because a traceback would show its keys."""
    if config is None:
        return None
    if isinstance(config, SecretStr):
        return config.get_secret_value().strip()
    if isinstance(config, str):
        return config.strip()
    try:
        return json.dumps(dict(config), separators=(",", ":"))
    except (TypeError, ValueError):
        return ""


def _keys_in(config: str | None) -> list[str]:
    """The values in a JSON config that have the name of a secret."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        found.extend(v for k, v in pairs if isinstance(v, str) and _SECRET_NAME.search(k))

    try:
        json.loads(config or "", object_pairs_hook=note)
    except ValueError:  # a saved config's id
        return []
    return found


def _checked_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The metadata with strings as values, as Portkey requires.

    Raises:
        ConfigurationError: a value is not a string, number or boolean, or is too long.
    """
    return {name: _metadata_text(name, value) for name, value in metadata.items()}


def _metadata_text(name: str, value: Any) -> str:
    if hasattr(value, "tolist"):  # a scalar of numpy
        value = value.tolist()
    text = value
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, Real) and math.isfinite(value):
        text = str(value)
    if not isinstance(text, str):
        kind = f"the number {value}" if isinstance(value, Real) else type(value).__name__
        raise ConfigurationError(
            f"metadata[{name!r}] must be a str, a finite number or a bool, not {kind}; leave it "
            "out, or pass it as a str"
        )
    if len(text) > _LONGEST_METADATA:
        raise ConfigurationError(
            f"metadata[{name!r}] has {len(text)} characters; Portkey takes {_LONGEST_METADATA}"
        )
    return text
