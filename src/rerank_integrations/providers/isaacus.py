"""Isaacus: rerankers for legal texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers.base import Dialect, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Isaacus(RemoteProvider):
    """Isaacus's rerankers for legal texts.

    API documentation: https://docs.isaacus.com/api-reference/rerankings

    Args:
        api_key: the API key; from `ISAACUS_API_KEY` when None.
        base_url: the base URL; from `ISAACUS_BASE_URL`, else `https://api.isaacus.com/v1`, when
            None.
        allow_http: as in `RemoteProvider`.
        is_iql: whether the query is in the Isaacus Query Language.
        scoring_method: how the scores of chunks are combined: "auto", "chunk_max", "chunk_avg" or
            "chunk_min".
        chunking_options: how a long text is split into chunks, such as `{"size": 512,
            "overlap_ratio": 0.1}`.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "isaacus"
    api_key_env: ClassVar[str | None] = "ISAACUS_API_KEY"
    base_url_env: ClassVar[str | None] = "ISAACUS_BASE_URL"
    default_base_url: ClassVar[str] = "https://api.isaacus.com/v1"
    says_cost: ClassVar[bool] = False
    rerank_path: ClassVar[str] = "/rerankings"
    dialect: ClassVar[Dialect] = Dialect(documents="texts")
    score_kind: ClassVar[ScoreKind] = "probability"

    is_iql: bool | None = None
    scoring_method: str | None = None
    chunking_options: Mapping[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """How texts are split into chunks and scored."""
        return {
            "is_iql": self.is_iql,
            "scoring_method": self.scoring_method,
            "chunking_options": self.chunking_options,
        }
