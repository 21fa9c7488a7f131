"""Mixedbread: its own rerank API, which ranks fields on the server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers.base import Dialect, RemoteProvider


@dataclass(frozen=True, kw_only=True)
class Mixedbread(RemoteProvider):
    """Mixedbread's rerank API, which ranks fields on the server.

    API documentation: https://www.mixedbread.com/api-reference/endpoints/reranking

    Args:
        api_key: the API key; from `MXBAI_API_KEY` when None.
        base_url: the base URL; from `MIXEDBREAD_BASE_URL`, else `https://api.mixedbread.com/v1`,
            when None.
        allow_http: as in `RemoteProvider`.
        rewrite_query: whether Mixedbread rewrites the query for the model.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "mixedbread"
    api_key_env: ClassVar[str | None] = "MXBAI_API_KEY"
    base_url_env: ClassVar[str | None] = "MIXEDBREAD_BASE_URL"
    default_base_url: ClassVar[str] = "https://api.mixedbread.com/v1"
    says_cost: ClassVar[bool] = False
    rerank_path: ClassVar[str] = "/reranking"
    dialect: ClassVar[Dialect] = Dialect(documents="input", top_n="top_k")

    rewrite_query: bool | None = None

    def body(self) -> dict[str, Any]:
        """Whether Mixedbread rewrites the query."""
        return {"rewrite_query": self.rewrite_query}

    def max_rank_fields(self, model: str) -> int | None:
        """None: any number of fields."""
        del model
        return None
