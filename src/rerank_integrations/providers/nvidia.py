"""NVIDIA NIM: hosted or on your own server, with vision models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from rerank_integrations.providers.base import Dialect, Provider, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class NVIDIA(RemoteProvider):
    """NVIDIA's rerank models, hosted by NVIDIA or on your own NIM.

    API documentation: https://docs.nvidia.com/nim/nemo-retriever/text-reranking

    Scores are logits. Models with `-vl-` in their name take images, as base64 and never as a URL.

    Args:
        api_key: the API key; from `NVIDIA_API_KEY` when None. Your own NIM needs none.
        base_url: the base URL of your own NIM, such as `http://localhost:8000/v1`; when None,
            NVIDIA's hosted models at `https://ai.api.nvidia.com/v1`.
        allow_http: as in `RemoteProvider`.
        truncate: "END" truncates a text that is too long; "NONE" makes it an error.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "nvidia"
    api_key_env: ClassVar[str | None] = "NVIDIA_API_KEY"
    default_base_url: ClassVar[str] = "https://ai.api.nvidia.com/v1"
    says_cost: ClassVar[bool] = False
    rerank_path: ClassVar[str] = "/ranking"
    models_path: ClassVar[str | None] = "/models"
    max_documents: ClassVar[int | None] = 512
    takes_image_urls: ClassVar[bool] = False
    dialect: ClassVar[Dialect] = Dialect(
        documents="passages", document_as="object", query_as="object", top_n=None
    )
    score_kind: ClassVar[ScoreKind] = "logit"

    truncate: Literal["NONE", "END"] | None = None

    def _is_hosted(self) -> bool:
        return self.base_url == self.default_base_url

    def _needs_key(self) -> bool:
        return self._is_hosted()

    def address(self, model: str) -> str:
        """The address; for a hosted model it includes the model, with `_` in place of `.`."""
        if not self._is_hosted():
            return self.url
        return self._address(f"/retrieval/{quote(model.replace('.', '_'))}/reranking")

    def models_address(self, query: Mapping[str, str]) -> str:
        """The address of the list on your own NIM; there is none for hosted models."""
        if self._is_hosted():
            return Provider.models_address(self, query)
        return super().models_address(query)

    def body(self) -> dict[str, Any]:
        """Whether a text that is too long is truncated."""
        return {"truncate": self.truncate}

    def takes_images(self, model: str) -> bool:
        """Whether the name of the model contains `-vl-`."""
        return "-vl-" in model.lower()
