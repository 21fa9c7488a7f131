"""SiliconFlow: BGE, BCE and Qwen3 rerankers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3, no_instruction
from rerank_integrations.providers.base import Instructed, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class SiliconFlow(RemoteProvider):
    """https://docs.siliconflow.cn/en/api-reference/rerank/create-rerank.

    An instruction is for Qwen3 models only.

    Args:
        api_key: the key; from `SILICONFLOW_API_KEY` when None.
        base_url: another address, such as `https://api.siliconflow.com/v1`;
            `https://api.siliconflow.cn/v1` when None.
        max_chunks_per_doc: into how many chunks a document is cut at most (BGE and BCE).
        overlap_tokens: how many tokens two chunks share, at most 80 (BGE and BCE).
    """

    name: ClassVar[str] = "siliconflow"
    api_key_env: ClassVar[str | None] = "SILICONFLOW_API_KEY"
    default_base_url: ClassVar[str] = "https://api.siliconflow.cn/v1"
    says_cost: ClassVar[bool] = False
    models_path: ClassVar[str | None] = "/models"
    models_query: ClassVar[Mapping[str, str]] = {"sub_type": "reranker"}
    instruction_key: ClassVar[str | None] = "instruction"
    score_kind: ClassVar[ScoreKind] = "probability"

    max_chunks_per_doc: int | None = None
    overlap_tokens: int | None = None

    def body(self) -> dict[str, Any]:
        """How documents are cut."""
        return {
            "max_chunks_per_doc": self.max_chunks_per_doc,
            "overlap_tokens": self.overlap_tokens,
        }

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Under its key, for a Qwen3 model."""
        if is_qwen3(model):
            return super().instructed(model, instruction)
        raise no_instruction(self.name, model, "Qwen3 rerankers")
