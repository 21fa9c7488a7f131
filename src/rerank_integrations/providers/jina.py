"""Jina AI: its own rerank endpoint, with models that see images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Jina(RemoteProvider):
    """https://jina.ai/reranker/.

    A document is a text or an image, not the two together. Images go as a URL or as bare base64,
    and to `jina-reranker-m0` and its kin only.

    Args:
        api_key: the key; from `JINA_API_KEY` when None.
        base_url: another address; `https://api.jina.ai/v1` when None.
        return_documents: ask for an echo of the documents; results hold yours without it.
        sees_images: whether the model takes images. None: those named `jina-reranker-m...` do.
    """

    name: ClassVar[str] = "jina"
    api_key_env: ClassVar[str | None] = "JINA_API_KEY"
    default_base_url: ClassVar[str] = "https://api.jina.ai/v1"
    says_cost: ClassVar[bool] = False
    takes_text_with_image: ClassVar[bool] = False
    takes_bare_base64: ClassVar[bool] = True
    score_kind: ClassVar[ScoreKind] = "probability"

    return_documents: bool = False
    sees_images: bool | None = None

    def body(self) -> dict[str, Any]:
        """Whether to echo; without a word Jina does."""
        return {"return_documents": self.return_documents}

    def kind_of_scores(self, model: str) -> ScoreKind:
        """Version 3 gives cosines."""
        return "cosine" if "-v3" in model else super().kind_of_scores(model)

    def takes_images(self, model: str) -> bool:
        """Whether the model is multimodal, or as the caller says."""
        return "jina-reranker-m" in model if self.sees_images is None else self.sees_images

    def with_image(self, text: str, image: str) -> Mapping[str, Any]:
        """The image alone."""
        del text
        return {"image": image}
