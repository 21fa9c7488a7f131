"""Scaleway Generative APIs: Qwen3 rerankers in Europe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import Dialect, RemoteProvider


@dataclass(frozen=True, kw_only=True)
class Scaleway(RemoteProvider):
    """Qwen3 rerankers of Scaleway's Generative APIs, hosted in Europe.

    API documentation: https://www.scaleway.com/en/docs/generative-apis

    Scaleway rejects a request without `top_n`, so the client always sends it.

    Args:
        api_key: the API key; from `SCW_SECRET_KEY` when None.
        base_url: the base URL; `https://api.scaleway.ai/v1` when None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "scaleway"
    api_key_env: ClassVar[str | None] = "SCW_SECRET_KEY"
    default_base_url: ClassVar[str] = "https://api.scaleway.ai/v1"
    says_cost: ClassVar[bool] = False
    models_path: ClassVar[str | None] = "/models"
    dialect: ClassVar[Dialect] = Dialect(needs_top_n=True)
