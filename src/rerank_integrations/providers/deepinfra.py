"""DeepInfra: Qwen3 rerankers, one address for each model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from rerank_integrations.providers.base import Dialect, RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class DeepInfra(RemoteProvider):
    """Qwen3 rerankers on DeepInfra, with one address for each model.

    API documentation: https://deepinfra.com/Qwen/Qwen3-Reranker-8B/api

    A request repeats the query for each document, and the response lists the scores in the order of
    the documents.

    Args:
        api_key: the API key; from `DEEPINFRA_API_KEY`, else `DEEPINFRA_TOKEN`, when None.
        base_url: the base URL; `https://api.deepinfra.com/v1` when None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "deepinfra"
    api_key_env: ClassVar[str | None] = "DEEPINFRA_API_KEY"
    other_key_envs: ClassVar[tuple[str, ...]] = ("DEEPINFRA_TOKEN",)
    default_base_url: ClassVar[str] = "https://api.deepinfra.com/v1"
    rerank_path: ClassVar[str] = "/inference"
    instruction_key: ClassVar[str | None] = "instruction"
    dialect: ClassVar[Dialect] = Dialect(
        query="queries", query_as="repeated", model=None, top_n=None
    )
    score_kind: ClassVar[ScoreKind] = "probability"

    def address(self, model: str) -> str:
        """The address, which includes the model."""
        return self._address(f"/inference/{quote(model)}")

    def results(self, payload: Mapping[str, Any], count: int) -> list[Any] | None:
        """Number the scores, which have no index; None unless there is one for each document."""
        scores = payload.get("scores")
        if not isinstance(scores, list) or len(scores) != count:
            return None
        return [{"index": index, "score": score} for index, score in enumerate(scores)]
