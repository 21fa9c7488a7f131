"""Together AI: rerank models on dedicated endpoints, some of which rank fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._model_list import (
    ModelInfo,
    dollars,
    mapping,
    named_model,
    whole,
)
from rerank_integrations.providers._validation import seconds_in
from rerank_integrations.providers.base import ErrorDetails, RemoteProvider

_NEEDS_ENDPOINT = "model_not_available"  # the code of the error
_DEDICATED = (
    "Together serves this model on a dedicated endpoint only: start one and pass its name as the "
    "model (https://docs.together.ai/docs/inference/embeddings/rerank)"
)


@dataclass(frozen=True, kw_only=True)
class Together(RemoteProvider):
    """Rerank models on dedicated endpoints of Together AI.

    API documentation: https://docs.together.ai/docs/inference/embeddings/rerank

    Documents are sent as strings. For a model that ranks fields they are all sent as objects,
    always with `rank_fields`, because Together's specification and its guide name different
    defaults.

    Args:
        api_key: the API key; from `TOGETHER_API_KEY` when None.
        base_url: the base URL, with or without `/v1`; from `TOGETHER_BASE_URL`, else
            `https://api.together.ai/v1`, when None.
        allow_http: as in `RemoteProvider`.
        return_documents: True makes Together send the documents back. It is not needed: results
            hold your own documents.
        native_rank_fields: whether the model takes objects and `rank_fields`. When None, only the
            Llama-Rank family does; for other models the client writes the fields as text.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "together"
    api_key_env: ClassVar[str | None] = "TOGETHER_API_KEY"
    base_url_env: ClassVar[str | None] = "TOGETHER_BASE_URL"
    default_base_url: ClassVar[str] = "https://api.together.ai/v1"
    says_cost: ClassVar[bool] = False
    fallback_codes: ClassVar[frozenset[str]] = frozenset({_NEEDS_ENDPOINT})
    models_path: ClassVar[str | None] = "/v2/supported-models"

    return_documents: bool | None = None
    native_rank_fields: bool | None = None

    def body(self) -> dict[str, Any]:
        """Whether the response has the documents; Together's schema allows no other key."""
        return {"return_documents": self.return_documents}

    def max_rank_fields(self, model: str) -> int | None:
        """None (any number) with `native_rank_fields` or for the Llama-Rank family, else 0."""
        native = self.native_rank_fields
        if native is None:
            native = "llama-rank" in model.lower()
        return None if native else 0

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """Parse an entry of the catalog; None if the model does not rank.

        The price is for the serverless offer.
        """
        tasks = entry.get("capabilities")
        if not isinstance(tasks, list) or "CAPABILITY_RERANKING" not in tasks:
            return None
        return named_model(
            entry.get("name"),
            whole(entry.get("contextLength")),
            modalities=entry.get("inputModalities"),
            prices={"million_tokens": dollars(mapping(entry.get("pricing")).get("input"))},
        )

    def next_models(self, payload: Mapping[str, Any]) -> Mapping[str, str] | None:
        """The query with `next_cursor`, if there is one."""
        cursor = payload.get("next_cursor")
        return {"after": cursor} if cursor and isinstance(cursor, str) else None

    def parse_error(self, failure: ErrorDetails) -> ErrorDetails:
        """Say that a model needs a dedicated endpoint, and read the reset of the rate limit.

        At Together, `x-ratelimit-reset` is a duration in seconds
        (https://docs.together.ai/docs/rate-limits).
        """
        if failure.code == _NEEDS_ENDPOINT:
            return failure._replace(message=f"{failure.message}. {_DEDICATED}")
        if failure.status_code == 429 and failure.retry_after is None:
            return failure._replace(
                retry_after=seconds_in(failure.headers.get("x-ratelimit-reset"))
            )
        return failure
