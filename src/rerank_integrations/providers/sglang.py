"""SGLang: a rerank model on your own server, vision models included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3
from rerank_integrations.providers.base import Dialect, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class SGLang(RemoteProvider):
    """A rerank model on your own SGLang server.

    API documentation: https://docs.sglang.io/supported_models/rerank_models.html

    The server has one model, so the name of the model is not sent. A document or query with an
    image is sent as content parts, which older servers reject. An instruction is sent as
    `instruct`.

    Args:
        api_key: the API key, if the server requires one; no environment variable is read.
        base_url: the base URL; `http://localhost:30000/v1` when None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    name: ClassVar[str] = "sglang"
    default_base_url: ClassVar[str] = "http://localhost:30000/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False
    instruction_key: ClassVar[str | None] = "instruct"
    dialect: ClassVar[Dialect] = Dialect(model=None)

    def body(self) -> dict[str, Any]:
        """Turn off the documents in the response, which the server sends by default."""
        return {"return_documents": False}

    def kind_of_scores(self, model: str) -> ScoreKind:
        """Probabilities for a Qwen3 model (of the answer "yes"), else unknown."""
        return "probability" if is_qwen3(model) else super().kind_of_scores(model)

    def takes_images(self, model: str) -> bool:
        """True: the server returns an error for a text-only model."""
        del model
        return True

    def takes_image_query(self, model: str) -> bool:
        """True: the server returns an error for a text-only model."""
        del model
        return True

    def with_image(self, text: str, image: str) -> list[Mapping[str, Any]]:
        """Content parts, the image first."""
        parts: list[Mapping[str, Any]] = [{"type": "image_url", "image_url": {"url": image}}]
        return [*parts, {"type": "text", "text": text}] if text else parts
