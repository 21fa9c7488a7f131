"""llama.cpp: a GGUF rerank model on your own server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class LlamaCpp(RemoteProvider):
    """A GGUF rerank model on your own llama.cpp server.

    API documentation: https://github.com/ggml-org/llama.cpp/tree/master/tools/server

    Start the server with `--reranking`. Scores are logits.

    Args:
        api_key: the API key, if the server requires one; from `LLAMA_API_KEY` when None.
        base_url: the base URL; `http://localhost:8080/v1` when None.
        allow_http: as in `RemoteProvider`.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    name: ClassVar[str] = "llamacpp"
    api_key_env: ClassVar[str | None] = "LLAMA_API_KEY"
    default_base_url: ClassVar[str] = "http://localhost:8080/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False
    score_kind: ClassVar[ScoreKind] = "logit"
