"""Vercel AI Gateway: Cohere's rerank API at Vercel's address."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._model_list import ModelInfo, openai_model
from rerank_integrations.providers.cohere import Cohere


@dataclass(frozen=True, kw_only=True)
class VercelGateway(Cohere):
    """Cohere's rerank API on the Vercel AI Gateway.

    API documentation: https://vercel.com/docs/ai-gateway

    A model name includes its vendor: `cohere/rerank-v3.5`.

    Args:
        api_key: the API key; from `AI_GATEWAY_API_KEY` when None.
        base_url: the base URL; `https://ai-gateway.vercel.sh/v2` when None.
        allow_http: as in `RemoteProvider`.
        max_tokens_per_doc: as in `Cohere`.
        priority: as in `Cohere`.
        relevant_spans: as in `Cohere`.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "vercelgateway"
    api_key_env: ClassVar[str | None] = "AI_GATEWAY_API_KEY"
    other_key_envs: ClassVar[tuple[str, ...]] = ()
    base_url_env: ClassVar[str | None] = None
    default_base_url: ClassVar[str] = "https://ai-gateway.vercel.sh/v2"
    models_query: ClassVar[Mapping[str, str]] = {}

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """Parse an entry; None if its type is not `reranking`."""
        return openai_model(entry) if entry.get("type") == "reranking" else None
