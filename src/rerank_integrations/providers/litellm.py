"""LiteLLM proxy: many vendors behind a server of your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.base import ErrorDetails, Instructed, RemoteProvider


@dataclass(frozen=True, kw_only=True)
class LiteLLM(RemoteProvider):
    """https://docs.litellm.ai/docs/rerank.

    The model is a name of the proxy's own configuration.

    Args:
        api_key: the key, if the server wants one; from `LITELLM_PROXY_API_KEY` when None.
        base_url: the server's address; from `LITELLM_PROXY_API_BASE`, else
            `http://localhost:4000/v1` when None.
    """

    name: ClassVar[str] = "litellm"
    api_key_env: ClassVar[str | None] = "LITELLM_PROXY_API_KEY"
    base_url_env: ClassVar[str | None] = "LITELLM_PROXY_API_BASE"
    default_base_url: ClassVar[str] = "http://localhost:4000/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Refused: for most vendors the proxy drops it without a word."""
        del instruction
        raise ConfigurationError(
            "LiteLLM hands an instruction to vLLM and DeepInfra only, and drops it without a word "
            f"for others; where {model} is one of these, pass extra_body={{'instruction': ...}}"
        )

    def parse_error(self, failure: ErrorDetails) -> ErrorDetails:
        """Say whose key was refused.

        A proxy without a database answers an unknown key with 400 "No connected db."; a key that
        the vendor behind it refuses is told by how the message begins.
        """
        if failure.error.get("type") == "no_db_connection":
            return failure._replace(key_hint=self.key_hint)
        if failure.message.startswith("litellm.AuthenticationError:"):
            return failure._replace(key_hint="the vendor's key in the proxy's configuration")
        return failure
