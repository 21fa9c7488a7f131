"""SiliconFlow: BGE, BCE and Qwen3 rerankers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3, no_instruction
from rerank_integrations.providers.base import Instructed, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class SiliconFlow(RemoteProvider):
    """BGE, BCE and Qwen3 rerankers on SiliconFlow.

    API documentation: https://docs.siliconflow.cn/en/api-reference/rerank/create-rerank

    Only Qwen3 models take an instruction.

    Args:
        api_key: the API key; from `SILICONFLOW_API_KEY` when None.
        base_url: the base URL, such as `https://api.siliconflow.com/v1`;
            `https://api.siliconflow.cn/v1` when None.
        allow_http: as in `RemoteProvider`.
        max_chunks_per_doc: the maximum number of chunks of a document (BGE and BCE).
        overlap_tokens: the number of tokens that two adjacent chunks share, at most 80 (BGE and
            BCE).

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
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
        """How documents are split into chunks."""
        return {
            "max_chunks_per_doc": self.max_chunks_per_doc,
            "overlap_tokens": self.overlap_tokens,
        }

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Send the instruction as `instruction`, for a Qwen3 model."""
        if is_qwen3(model):
            return super().instructed(model, instruction)
        raise no_instruction(self.name, model, "Qwen3 rerankers")
