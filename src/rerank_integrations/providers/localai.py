"""LocalAI: rerank models on your own server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import RemoteProvider


@dataclass(frozen=True, kw_only=True)
class LocalAI(RemoteProvider):
    """Rerank models on your own LocalAI server.

    API documentation: https://localai.io/features/reranker

    The client sorts the results and applies `top_n`, because some versions of the server do
    neither.

    Args:
        api_key: the API key, if the server requires one; no environment variable is read.
        base_url: the base URL; `http://localhost:8080/v1` when None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    name: ClassVar[str] = "localai"
    default_base_url: ClassVar[str] = "http://localhost:8080/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False
