"""Infinity: rerank models on a machine of your own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3, no_instruction, qwen3_template
from rerank_integrations.providers._model_list import ModelInfo, openai_model
from rerank_integrations.providers.base import Instructed, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Infinity(RemoteProvider):
    """https://michaelfeil.eu/infinity.

    A server that was started with `--url-prefix` has it in its address: `http://localhost:7997/v1`.
    An instruction is for a Qwen3 model: it is written around the query and the documents.

    Args:
        api_key: the key, if the server wants one; from `INFINITY_API_KEY` when None.
        base_url: the server's address; `http://localhost:7997` when None.
        raw_scores: whether scores are logits, not probabilities.
    """

    name: ClassVar[str] = "infinity"
    api_key_env: ClassVar[str | None] = "INFINITY_API_KEY"
    default_base_url: ClassVar[str] = "http://localhost:7997"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False
    max_documents: ClassVar[int | None] = 2048
    score_kind: ClassVar[ScoreKind] = "probability"

    raw_scores: bool | None = None

    def body(self) -> dict[str, Any]:
        """Whether scores are logits."""
        return {"raw_scores": self.raw_scores}

    def kind_of_scores(self, model: str) -> ScoreKind:
        """As the caller asks."""
        return "logit" if self.raw_scores else super().kind_of_scores(model)

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Around query and documents, for a Qwen3 model."""
        if is_qwen3(model):
            return qwen3_template(instruction)
        raise no_instruction(self.name, model, "Qwen3 rerankers")

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """The server also lists models that do not rank, and says so."""
        tasks = entry.get("capabilities")
        is_other = isinstance(tasks, list) and "rerank" not in tasks
        return None if is_other else openai_model(entry)
