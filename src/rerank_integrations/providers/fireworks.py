"""Fireworks AI: Qwen3 rerankers that follow an instruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Fireworks(RemoteProvider):
    """Qwen3 rerankers on Fireworks AI, which follow an instruction.

    API documentation: https://docs.fireworks.ai/api-reference/rerank-documents

    An instruction is sent as `task`.

    Args:
        api_key: the API key; from `FIREWORKS_API_KEY` when None.
        base_url: the base URL; `https://api.fireworks.ai/inference/v1` when None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "fireworks"
    api_key_env: ClassVar[str | None] = "FIREWORKS_API_KEY"
    default_base_url: ClassVar[str] = "https://api.fireworks.ai/inference/v1"
    says_cost: ClassVar[bool] = False
    instruction_key: ClassVar[str | None] = "task"
    score_kind: ClassVar[ScoreKind] = "probability"

    def body(self) -> dict[str, Any]:
        """Turn off the documents in the response, which Fireworks sends by default."""
        return {"return_documents": False}
