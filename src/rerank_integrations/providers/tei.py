"""Text Embeddings Inference of Hugging Face, on a machine of your own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3, no_instruction, qwen3_template
from rerank_integrations.providers._model_list import (
    ModelInfo,
    ModelsPage,
    mapping,
    named_model,
    whole,
)
from rerank_integrations.providers.base import Dialect, Instructed, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class TEI(RemoteProvider):
    """https://huggingface.github.io/text-embeddings-inference.

    The server has one model, so its name is not sent. A server takes 32 documents in one request
    unless it was started with `--max-client-batch-size`; pass that as `max_documents_per_request`.
    An instruction is for a Qwen3 model: it is written around the query and the documents.

    Args:
        api_key: the key, if the server wants one.
        base_url: the server's address; `http://localhost:8080` when None.
        truncate: whether the server cuts what is too long; False when None.
        raw_scores: whether scores are logits, not probabilities.
    """

    name: ClassVar[str] = "tei"
    default_base_url: ClassVar[str] = "http://localhost:8080"
    models_path: ClassVar[str | None] = "/info"
    needs_key: ClassVar[bool] = False
    max_documents: ClassVar[int | None] = 32
    dialect: ClassVar[Dialect] = Dialect(documents="texts", model=None, top_n=None)
    score_kind: ClassVar[ScoreKind] = "probability"

    truncate: bool | None = None
    raw_scores: bool | None = None

    def body(self) -> dict[str, Any]:
        """What only this server takes."""
        return {"truncate": self.truncate, "raw_scores": self.raw_scores}

    def kind_of_scores(self, model: str) -> ScoreKind:
        """As the caller asks."""
        return "logit" if self.raw_scores else super().kind_of_scores(model)

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Around query and documents, for a Qwen3 model."""
        if is_qwen3(model):
            return qwen3_template(instruction)
        raise no_instruction(self.name, model, "Qwen3 rerankers")

    def models_page(self, payload: Any) -> ModelsPage | None:
        """The only model, of which `/info` tells."""
        info = self.model_info(mapping(payload))
        return None if info is None else ModelsPage([info._replace(raw=payload)])

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """By its own names."""
        return named_model(entry.get("model_id"), whole(entry.get("max_input_length")))
