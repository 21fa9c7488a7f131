"""Novita AI: BGE and Qwen3 rerankers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import RemoteProvider


@dataclass(frozen=True, kw_only=True)
class Novita(RemoteProvider):
    """BGE and Qwen3 rerankers on Novita AI.

    API documentation: https://novita.ai/docs/api-reference/model-apis-llm-create-rerank

    Args:
        api_key: the API key; from `NOVITA_API_KEY` when None.
        base_url: the base URL; `https://api.novita.ai/openai/v1` when None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "novita"
    api_key_env: ClassVar[str | None] = "NOVITA_API_KEY"
    default_base_url: ClassVar[str] = "https://api.novita.ai/openai/v1"
    says_cost: ClassVar[bool] = False
