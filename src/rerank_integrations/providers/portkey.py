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
    """https://portkey.ai/docs/api-reference.

    Who serves the call is said in one of these ways: `virtual_key`; `provider="@slug"`, or a
    model `"@slug/model"`; `provider` and `authorization`; `config`. Each of these may be joined by
    `custom_host`.

    Args:
        api_key: the key; from `PORTKEY_API_KEY` when None. A gateway of your own needs none.
        base_url: another address, such as your own gateway's; `https://api.portkey.ai/v1` when
            None.
        virtual_key: the older way to name stored credentials.
        provider: a name such as `"cohere"`, or an `"@slug"` of the model catalog.
        authorization: the key of the host behind Portkey, sent as a bearer token.
        config: a saved config's id, or a config as a mapping; it may hold keys.
        custom_host: the base address of a host of your own behind Portkey, which speaks the dialect
            of the provider that is named in any of these ways.
        trace_id: groups calls in Portkey's logs.
        span_id: this call there.
        parent_span_id: the span above it.
        span_name: what the span is called.
        metadata: values of at most 128 characters; `_user` and the like have a meaning there.
            Numbers and booleans are sent as strings, as Portkey asks for: `"3"`, `"true"`.
        return_documents: ask for an echo (Voyage, Jina, Pinecone); results hold yours without it.
        max_tokens_per_doc: where Cohere cuts a document.
        priority: Cohere's priority hint.
        truncation: whether Voyage cuts what is too long.
        parameters: further parameters for Pinecone.
        native_rank_fields: whether the host ranks fields itself. None: Pinecone does, known by
            `provider`, by the slug, or by the model's name where neither says another host; for
            others the fields are written as text here. What Pinecone's models take at most holds
            in any case.

    Raises:
        ConfigurationError: no key, nothing that says who serves, or an argument out of range.
    """

    name: ClassVar[str] = "portkey"
    api_key_env: ClassVar[str | None] = "PORTKEY_API_KEY"
    default_base_url: ClassVar[str] = "https://api.portkey.ai/v1"
    models_path: ClassVar[str | None] = "/models"
    request_id_headers: ClassVar[tuple[str, ...]] = ("x-portkey-trace-id", "x-request-id")
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
        """Refuse a setup that says nobody who could serve the model."""
        if self.virtual_key or self.config or model.startswith("@"):
            return
        if self.custom_host and not self.provider:
            raise ConfigurationError(
                "custom_host needs provider=, whose dialect it speaks; virtual_key=, config= or a "
                "model '@slug/model' says it too"
            )
        if not self.provider:
            raise ConfigurationError(
                "Portkey must be told who serves: pass provider='@slug' of your model catalog, "
                "a model '@slug/model', virtual_key=, config=, or provider= with authorization="
            )
        with_key = self.provider.startswith("@") or self.provider in _OWN_CREDENTIALS
        if not (with_key or self.authorization or self.custom_host):
            raise ConfigurationError(
                f"provider={self.provider!r} needs authorization=, the key of that host; "
                "a slug of your model catalog begins with '@'"
            )

    def headers(self) -> dict[str, str]:
        """The keys, who serves, and how the call appears in Portkey's logs."""
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
        """The keys, those inside a config too."""
        return super().secrets() + _keys_in(_revealed(self.config))

    def body(self) -> dict[str, Any]:
        """What Portkey hands to the host that knows it."""
        return {
            "return_documents": self.return_documents,
            "max_tokens_per_doc": self.max_tokens_per_doc,
            "priority": self.priority,
            "truncation": self.truncation,
            "parameters": self.parameters,
        }

    def max_rank_fields(self, model: str) -> int | None:
        """As many as Pinecone's model takes; Pinecone alone gets `rank_fields` through Portkey."""
        limits = self._pinecone(model)
        native = limits is not None if self.native_rank_fields is None else self.native_rank_fields
        return (limits or OTHER_MODEL).rank_fields if native else 0

    def most_documents(self, model: str) -> int | None:
        """As many as Pinecone's model takes, or Vertex; for other hosts the common limit."""
        limits = self._pinecone(model) or OTHER_MODEL
        if self.provider == "vertex-ai":
            return _MOST_FOR_VERTEX
        return limits.documents or super().most_documents(model)

    def kind_of_scores(self, model: str) -> ScoreKind:
        """As the host gives them, where its name is known."""
        host = (model if model.startswith("@") else self.provider or "").partition("/")[0]
        known = any(name in host for name in _PROBABILITIES)
        return "probability" if known or self._pinecone(model) else self.score_kind

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Before the query, for the Voyage models that follow it; there is no key for others."""
        if is_voyage(model):
            return before_query(instruction)
        raise no_instruction(self.name, model, "Voyage 2.5")

    def _pinecone(self, model: str) -> Limits | None:
        """What a request may hold where Pinecone serves; None where it does not."""
        slug, _, rest = model.partition("/") if model.startswith("@") else ("", "", model)
        limits = MODELS.get(rest)
        provider = self.provider or "@"
        if "pinecone" in slug or "pinecone" in provider:
            return limits or OTHER_MODEL
        # a slug may have any name, but `provider="jina"` serves no model of Pinecone
        return limits if provider.startswith("@") else None

    def document(self, fields: Mapping[str, Any], text: str) -> Mapping[str, Any]:
        """An object whose `text` is a str: without one Portkey sends null to the host."""
        sent = {"text": text, **fields}
        return sent if isinstance(sent["text"], str) else {**sent, "text": text}

    def served_by(self, headers: Mapping[str, str]) -> str | None:
        """The host, as the gateway names it."""
        return headers.get("x-portkey-provider") or None

    def parse_error(self, failure: ErrorDetails) -> ErrorDetails:
        """Do not repeat what the gateway calls permanent, or has repeated itself; say whose key.

        A gateway exception wears status 500 but is a wrong setup; a retry count of -1 says that
        the gateway's own retries are used up. A host that refuses its own key is told from the
        gateway by the form of the message, or by the header that names who served.
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
        """Where the key of the host behind Portkey came from."""
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
        """Say that a guardrail failed although the response was passed on."""
        if response.status_code == _GUARDRAIL_FAILED:
            return ("a Portkey guardrail failed on this call but let it through",)
        return ()


def _revealed(value: object) -> str | None:
    return value.get_secret_value() if isinstance(value, SecretStr) else None


def _config_text(config: Any) -> SecretStr | None:
    """A config's id, or a config as JSON; both hidden, for a config may hold keys."""
    text = _json_of(shown(config))
    if text == "":
        raise ConfigurationError("config must be a config's id or a mapping of JSON values")
    return None if text is None else SecretStr(text)


def _json_of(config: Any) -> str | None:
    """The text of a config; "" for what is none: raised here, a traceback would keep it."""
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
    """The values in a JSON config whose names say that they are secret."""
    found: list[str] = []

    def note(pairs: list[tuple[str, Any]]) -> None:
        found.extend(v for k, v in pairs if isinstance(v, str) and _SECRET_NAME.search(k))

    try:
        json.loads(config or "", object_pairs_hook=note)
    except ValueError:  # a saved config's id
        return []
    return found


def _checked_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The metadata with strings as values, which is all that Portkey takes.

    Raises:
        ConfigurationError: a value that is no string, number or boolean, or is too long.
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
