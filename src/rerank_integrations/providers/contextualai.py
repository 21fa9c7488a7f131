"""Contextual AI: rerankers that follow an instruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class ContextualAI(RemoteProvider):
    """Contextual AI's rerankers, which follow an instruction.

    API documentation: https://docs.contextual.ai/api-reference/rerank/rerank

    Args:
        api_key: the API key; from `CONTEXTUAL_API_KEY` when None.
        base_url: the base URL; from `CONTEXTUAL_AI_BASE_URL`, else `https://api.contextual.ai/v1`,
            when None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "contextualai"
    api_key_env: ClassVar[str | None] = "CONTEXTUAL_API_KEY"
    base_url_env: ClassVar[str | None] = "CONTEXTUAL_AI_BASE_URL"
    default_base_url: ClassVar[str] = "https://api.contextual.ai/v1"
    says_cost: ClassVar[bool] = False
    instruction_key: ClassVar[str | None] = "instruction"
    score_kind: ClassVar[ScoreKind] = "probability"
