"""Cohere: its own endpoint, with calibrated scores and relevant spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._model_list import ModelInfo, named_model, whole
from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Cohere(RemoteProvider):
    """https://docs.cohere.com/reference/rerank.

    Documents are texts: version 2 of the API has no `rank_fields`, so fields are written as text
    here.

    Args:
        api_key: the key; from `CO_API_KEY`, else `COHERE_API_KEY`, when None.
        base_url: another address; from `CO_API_URL`, else `https://api.cohere.com/v2` when None.
        max_tokens_per_doc: where Cohere cuts a document; 4096 when None.
        priority: from 0 (first) to 999.
        relevant_spans: True asks for the relevant parts of each document (Rerank 5 and newer), a
            mapping such as `{"threshold": 0.2, "max_spans": 3}` sets their bounds too. They come as
            `result.spans`.
    """

    name: ClassVar[str] = "cohere"
    api_key_env: ClassVar[str | None] = "CO_API_KEY"
    other_key_envs: ClassVar[tuple[str, ...]] = ("COHERE_API_KEY",)
    base_url_env: ClassVar[str | None] = "CO_API_URL"
    default_base_url: ClassVar[str] = "https://api.cohere.com/v2"
    says_cost: ClassVar[bool] = False
    models_path: ClassVar[str | None] = "/v1/models"
    models_query: ClassVar[Mapping[str, str]] = {"endpoint": "rerank"}
    score_kind: ClassVar[ScoreKind] = "probability"

    max_tokens_per_doc: int | None = None
    priority: int | None = None
    relevant_spans: bool | Mapping[str, Any] | None = None

    def body(self) -> dict[str, Any]:
        """What only Cohere takes."""
        spans = self.relevant_spans
        if spans is not None:
            bounds = {} if isinstance(spans, bool) else dict(spans)
            spans = {"mode": "disabled" if spans is False else "enabled", **bounds}
        return {
            "max_tokens_per_doc": self.max_tokens_per_doc,
            "priority": self.priority,
            "relevant_spans": spans,
        }

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """In the form of https://docs.cohere.com/reference/list-models."""
        return named_model(entry.get("name"), whole(entry.get("context_length")))

    def next_models(self, payload: Mapping[str, Any]) -> Mapping[str, str] | None:
        """By a token."""
        token = payload.get("next_page_token")
        return {"page_token": token} if token and isinstance(token, str) else None
