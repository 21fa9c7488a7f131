"""LocalAI: rerank models on a machine of your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import RemoteProvider


@dataclass(frozen=True, kw_only=True)
class LocalAI(RemoteProvider):
    """https://localai.io/features/reranker.

    Results are put into order here, and `top_n` is applied here too: some versions do neither.

    Args:
        api_key: the key, if the server wants one.
        base_url: the server's address; `http://localhost:8080/v1` when None.
    """

    name: ClassVar[str] = "localai"
    default_base_url: ClassVar[str] = "http://localhost:8080/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False
