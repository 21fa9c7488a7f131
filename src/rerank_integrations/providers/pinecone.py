"""Pinecone: hosted rerank models, which rank fields on the server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from rerank_integrations.providers._model_list import ModelInfo, named_model, whole
from rerank_integrations.providers.base import Dialect, RemoteProvider, ScoreKind


class Limits(NamedTuple):
    """The limits of one request; None for no limit."""

    rank_fields: int | None
    documents: int | None


# https://docs.pinecone.io/guides/search/rerank-results
MODELS = {
    "bge-reranker-v2-m3": Limits(1, 100),
    "pinecone-rerank-v0": Limits(1, 100),
    "cohere-rerank-3.5": Limits(None, 200),
    "cohere-rerank-4-fast": Limits(None, 250),
}
OTHER_MODEL = Limits(None, None)


@dataclass(frozen=True, kw_only=True)
class Pinecone(RemoteProvider):
    """Rerank models hosted by Pinecone, which rank fields on the server.

    API documentation: https://docs.pinecone.io/reference/api/latest/inference/rerank

    The number of fields, and of documents in one request, depend on the model.

    Args:
        api_key: the API key; from `PINECONE_API_KEY` when None.
        base_url: the base URL; from `PINECONE_CONTROLLER_HOST`, else `https://api.pinecone.io`,
            when None.
        allow_http: as in `RemoteProvider`.
        parameters: further parameters of the model, such as `{"truncate": "END"}`.
        api_version: the version of Pinecone's API.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "pinecone"
    api_key_env: ClassVar[str | None] = "PINECONE_API_KEY"
    base_url_env: ClassVar[str | None] = "PINECONE_CONTROLLER_HOST"
    default_base_url: ClassVar[str] = "https://api.pinecone.io"
    says_cost: ClassVar[bool] = False
    models_path: ClassVar[str | None] = "/models"
    models_query: ClassVar[Mapping[str, str]] = {"type": "rerank"}
    dialect: ClassVar[Dialect] = Dialect(document_as="object")
    key_header: ClassVar[tuple[str, str]] = ("Api-Key", "")
    score_kind: ClassVar[ScoreKind] = "probability"

    parameters: Mapping[str, Any] | None = None
    api_version: str = "2026-07"

    def headers(self) -> dict[str, str]:
        """The key, and the version of the API."""
        return super().headers() | {"X-Pinecone-Api-Version": self.api_version}

    def body(self) -> dict[str, Any]:
        """Turn off the documents in the response, which Pinecone sends by default."""
        return {"return_documents": False, "parameters": self.parameters}

    def max_rank_fields(self, model: str) -> int | None:
        """As many as the model takes."""
        return MODELS.get(model, OTHER_MODEL).rank_fields

    def most_documents(self, model: str) -> int | None:
        """As many as the model takes."""
        return MODELS.get(model, OTHER_MODEL).documents or self.max_documents

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """Parse an entry of https://docs.pinecone.io/reference/api/latest/inference/list_models."""
        return named_model(entry.get("model"), whole(entry.get("max_sequence_length")))
