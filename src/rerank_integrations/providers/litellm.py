"""LiteLLM proxy: models of several vendors behind your own server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.base import ErrorDetails, Instructed, RemoteProvider
from rerank_integrations.providers.together import Together


@dataclass(frozen=True, kw_only=True)
class LiteLLM(RemoteProvider):
    """Models of several vendors behind your own LiteLLM proxy.

    API documentation: https://docs.litellm.ai/docs/rerank

    The model is a name from the configuration of the proxy.

    Args:
        api_key: the API key, if the proxy requires one; from `LITELLM_PROXY_API_KEY` when None.
        base_url: the base URL; from `LITELLM_PROXY_API_BASE`, else `http://localhost:4000/v1`, when
            None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    name: ClassVar[str] = "litellm"
    api_key_env: ClassVar[str | None] = "LITELLM_PROXY_API_KEY"
    base_url_env: ClassVar[str | None] = "LITELLM_PROXY_API_BASE"
    default_base_url: ClassVar[str] = "http://localhost:4000/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False
    fallback_codes: ClassVar[frozenset[str]] = Together.fallback_codes  # it may be behind it

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Raise an error, because the proxy ignores an instruction for most vendors."""
        del instruction
        raise ConfigurationError(
            "LiteLLM passes an instruction to vLLM and DeepInfra only, and ignores it for other "
            f"vendors; if {model} is on one of these, pass extra_body={{'instruction': ...}}"
        )

    def parse_error(self, failure: ErrorDetails) -> ErrorDetails:
        """Name the key that was rejected: that of the proxy or that of the vendor behind it.

        A proxy without a database returns 400 "No connected db." for an unknown key. If the vendor
        rejects its key, the message begins with `litellm.AuthenticationError:`.
        """
        if failure.error.get("type") == "no_db_connection":
            return failure._replace(key_hint=self.key_hint)
        if failure.message.startswith("litellm.AuthenticationError:"):
            return failure._replace(key_hint="the vendor's key in the proxy's configuration")
        return failure
