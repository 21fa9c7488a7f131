"""Cohere: its rerank API, version 2, with calibrated scores and relevant spans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._model_list import ModelInfo, named_model, whole
from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class Cohere(RemoteProvider):
    """Cohere's rerank API, version 2.

    API documentation: https://docs.cohere.com/reference/rerank

    Version 2 of the API has no `rank_fields`, so the client writes fields as text.

    Args:
        api_key: the API key; from `CO_API_KEY`, else `COHERE_API_KEY`, when None.
        base_url: the base URL; from `CO_API_URL`, else `https://api.cohere.com/v2`, when None.
        allow_http: as in `RemoteProvider`.
        max_tokens_per_doc: the number of tokens after which Cohere truncates a document; 4096 when
            None.
        priority: the priority of the request, from 0 (highest) to 999.
        relevant_spans: True requests the relevant parts of each document (Rerank 5 and newer). A
            mapping such as `{"threshold": 0.2, "max_spans": 3}` also sets their limits. The parts
            are in `result.spans`.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
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
        """Keys that only Cohere takes."""
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
        """Parse an entry of https://docs.cohere.com/reference/list-models."""
        return named_model(entry.get("name"), whole(entry.get("context_length")))

    def next_models(self, payload: Mapping[str, Any]) -> Mapping[str, str] | None:
        """The query with `next_page_token`, if there is one."""
        token = payload.get("next_page_token")
        return {"page_token": token} if token and isinstance(token, str) else None
