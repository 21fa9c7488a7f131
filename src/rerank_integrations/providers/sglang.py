"""SGLang: rerank models on a machine of your own, those that see images included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3
from rerank_integrations.providers.base import Dialect, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class SGLang(RemoteProvider):
    """https://docs.sglang.io/supported_models/rerank_models.html.

    The server has one model, so its name is not sent. A document with an image goes as content
    parts, which older servers refuse. An instruction goes as `instruct`.

    Args:
        api_key: the key, if the server wants one.
        base_url: the server's address; `http://localhost:30000/v1` when None.
    """

    name: ClassVar[str] = "sglang"
    default_base_url: ClassVar[str] = "http://localhost:30000/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False
    instruction_key: ClassVar[str | None] = "instruct"
    dialect: ClassVar[Dialect] = Dialect(model=None)

    def body(self) -> dict[str, Any]:
        """No echo; without a word the server gives one."""
        return {"return_documents": False}

    def kind_of_scores(self, model: str) -> ScoreKind:
        """A Qwen3 model gives the probability of "yes"; for others it depends on the model."""
        return "probability" if is_qwen3(model) else super().kind_of_scores(model)

    def takes_images(self, model: str) -> bool:
        """The server says so where its model does not see."""
        del model
        return True

    def with_image(self, text: str, image: str) -> list[Mapping[str, Any]]:
        """Content parts, the image first."""
        parts: list[Mapping[str, Any]] = [{"type": "image_url", "image_url": {"url": image}}]
        return [*parts, {"type": "text", "text": text}] if text else parts
