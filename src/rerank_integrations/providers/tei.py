"""Text Embeddings Inference of Hugging Face, on your own server."""

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
    """A rerank model on your own Text Embeddings Inference server (Hugging Face).

    API documentation: https://huggingface.github.io/text-embeddings-inference

    The server has one model, so the name of the model is not sent. By default the server takes 32
    documents in one request; if it was started with another `--max-client-batch-size`, pass that
    number as `max_documents_per_request` to the client. For a Qwen3 model the client writes an
    instruction into the query and the documents.

    Args:
        api_key: the API key, if the server requires one; no environment variable is read.
        base_url: the base URL; `http://localhost:8080` when None.
        allow_http: as in `RemoteProvider`.
        truncate: whether the server truncates a text that is too long; False when None.
        raw_scores: True returns logits instead of probabilities.

    Raises:
        ConfigurationError: an argument is invalid.
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
        """Keys that only this server takes."""
        return {"truncate": self.truncate, "raw_scores": self.raw_scores}

    def kind_of_scores(self, model: str) -> ScoreKind:
        """Logits with `raw_scores`, else probabilities."""
        return "logit" if self.raw_scores else super().kind_of_scores(model)

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Write the template of a Qwen3 model into the query and the documents."""
        if is_qwen3(model):
            return qwen3_template(instruction)
        raise no_instruction(self.name, model, "Qwen3 rerankers")

    def models_page(self, payload: Any) -> ModelsPage | None:
        """The only model, read from `/info`."""
        info = self.model_info(mapping(payload))
        return None if info is None else ModelsPage([info._replace(raw=payload)])

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """Parse the body of `/info`."""
        return named_model(entry.get("model_id"), whole(entry.get("max_input_length")))
