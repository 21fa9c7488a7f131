"""llama.cpp: a GGUF rerank model on a machine of your own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class LlamaCpp(RemoteProvider):
    """https://github.com/ggml-org/llama.cpp/tree/master/tools/server.

    Scores are logits. The server must have been started with `--reranking`.

    Args:
        api_key: the key, if the server wants one; from `LLAMA_API_KEY` when None.
        base_url: the server's address; `http://localhost:8080/v1` when None.
    """

    name: ClassVar[str] = "llamacpp"
    api_key_env: ClassVar[str | None] = "LLAMA_API_KEY"
    default_base_url: ClassVar[str] = "http://localhost:8080/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False
    score_kind: ClassVar[ScoreKind] = "logit"
