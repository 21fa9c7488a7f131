"""Infinity: rerank models on your own server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3, no_instruction, qwen3_template
from rerank_integrations.providers._model_list import ModelInfo, openai_model
from rerank_integrations.providers.base import Instructed, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Infinity(RemoteProvider):
    """Rerank models on your own Infinity server.

    API documentation: https://michaelfeil.eu/infinity

    For a Qwen3 model the client writes an instruction into the query and the documents.

    Args:
        api_key: the API key, if the server requires one; from `INFINITY_API_KEY` when None.
        base_url: the base URL; `http://localhost:7997` when None. If the server was started with
            `--url-prefix /v1`, it is `http://localhost:7997/v1`.
        allow_http: as in `RemoteProvider`.
        raw_scores: True returns logits instead of probabilities.

    Raises:
        ConfigurationError: an argument is invalid.
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
        """Logits with `raw_scores`, else probabilities."""
        return "logit" if self.raw_scores else super().kind_of_scores(model)

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Write the template of a Qwen3 model into the query and the documents."""
        if is_qwen3(model):
            return qwen3_template(instruction)
        raise no_instruction(self.name, model, "Qwen3 rerankers")

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """Parse an entry; None for a model without the capability `rerank`."""
        tasks = entry.get("capabilities")
        is_other = isinstance(tasks, list) and "rerank" not in tasks
        return None if is_other else openai_model(entry)
