"""NVIDIA NIM: hosted or on a machine of your own, with models that see images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from rerank_integrations.providers.base import Dialect, Provider, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class NVIDIA(RemoteProvider):
    """https://docs.nvidia.com/nim/nemo-retriever/text-reranking.

    Scores are logits. An image goes as base64, never as a URL, and to a model with `vl` in its name
    only.

    Args:
        api_key: the key; from `NVIDIA_API_KEY` when None. A NIM of your own needs none.
        base_url: the address of a NIM of your own, such as `http://localhost:8000/v1`; NVIDIA's
            hosted models, `https://ai.api.nvidia.com/v1`, when None.
        truncate: "END" cuts what is too long, "NONE" refuses it.
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
        """NVIDIA's own address has the model in it, with `_` for `.`."""
        if not self._is_hosted():
            return self.url
        return self._address(f"/retrieval/{quote(model.replace('.', '_'))}/reranking")

    def models_address(self, query: Mapping[str, str]) -> str:
        """A NIM of your own lists its model; NVIDIA's own address lists none."""
        if self._is_hosted():
            return Provider.models_address(self, query)
        return super().models_address(query)

    def body(self) -> dict[str, Any]:
        """Whether to cut."""
        return {"truncate": self.truncate}

    def takes_images(self, model: str) -> bool:
        """Whether the model's name says so."""
        return "-vl-" in model.lower()
