"""Scaleway Generative APIs: Qwen3 rerankers in Europe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import Dialect, RemoteProvider


@dataclass(frozen=True, kw_only=True)
class Scaleway(RemoteProvider):
    """https://www.scaleway.com/en/docs/generative-apis.

    Scaleway refuses a request without `top_n`, so it is always sent.

    Args:
        api_key: the key; from `SCW_SECRET_KEY` when None.
        base_url: another address; `https://api.scaleway.ai/v1` when None.
    """

    name: ClassVar[str] = "scaleway"
    api_key_env: ClassVar[str | None] = "SCW_SECRET_KEY"
    default_base_url: ClassVar[str] = "https://api.scaleway.ai/v1"
    says_cost: ClassVar[bool] = False
    models_path: ClassVar[str | None] = "/models"
    dialect: ClassVar[Dialect] = Dialect(needs_top_n=True)
