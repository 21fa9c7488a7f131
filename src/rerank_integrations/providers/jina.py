"""Jina AI: its own rerank API, with vision models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Jina(RemoteProvider):
    """Jina AI's rerank API.

    API documentation: https://jina.ai/reranker/

    A document or query is a text or an image, not both. Only `jina-reranker-m*` models take images,
    as a URL or as base64 without a prefix.

    Args:
        api_key: the API key; from `JINA_API_KEY` when None.
        base_url: the base URL; `https://api.jina.ai/v1` when None.
        allow_http: as in `RemoteProvider`.
        return_documents: True makes Jina send the documents back. It is not needed: results hold
            your own documents.
        sees_images: whether the model takes images; when None, only `jina-reranker-m*` models do.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
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
        """Whether the response has the documents, which Jina sends by default."""
        return {"return_documents": self.return_documents}

    def kind_of_scores(self, model: str) -> ScoreKind:
        """Cosines for version 3, else probabilities."""
        return "cosine" if "-v3" in model else super().kind_of_scores(model)

    def takes_images(self, model: str) -> bool:
        """Whether the model takes images: `sees_images`, else by the name of the model."""
        return "jina-reranker-m" in model if self.sees_images is None else self.sees_images

    def takes_image_query(self, model: str) -> bool:
        """The same as `takes_images`."""
        return self.takes_images(model)

    def with_image(self, text: str, image: str) -> Mapping[str, Any]:
        """The image without the text: a document or query of Jina is one or the other."""
        del text
        return {"image": image}
