"""Fireworks AI: Qwen3 rerankers that follow an instruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Fireworks(RemoteProvider):
    """https://docs.fireworks.ai/api-reference/rerank-documents.

    An instruction goes as `task`.

    Args:
        api_key: the key; from `FIREWORKS_API_KEY` when None.
        base_url: another address; `https://api.fireworks.ai/inference/v1` when None.
    """

    name: ClassVar[str] = "fireworks"
    api_key_env: ClassVar[str | None] = "FIREWORKS_API_KEY"
    default_base_url: ClassVar[str] = "https://api.fireworks.ai/inference/v1"
    says_cost: ClassVar[bool] = False
    instruction_key: ClassVar[str | None] = "task"
    score_kind: ClassVar[ScoreKind] = "probability"

    def body(self) -> dict[str, Any]:
        """No echo; without a word Fireworks gives one."""
        return {"return_documents": False}
