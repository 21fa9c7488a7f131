"""Xinference: rerank models on your own server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._model_list import ModelInfo, openai_model
from rerank_integrations.providers.base import Instructed, RemoteProvider


@dataclass(frozen=True, kw_only=True)
class Xinference(RemoteProvider):
    """Rerank models on your own Xinference server.

    API documentation: https://inference.readthedocs.io/en/latest/models/model_abilities/rerank.html

    An instruction is sent inside the JSON text `kwargs`, the only place where the server reads it.

    Args:
        api_key: the API key, if the server requires one; no environment variable is read.
        base_url: the base URL; `http://localhost:9997/v1` when None.
        allow_http: as in `RemoteProvider`.
        max_chunks_per_doc: the maximum number of chunks of a document.

    Raises:
        ConfigurationError: an argument is invalid.
    """

    name: ClassVar[str] = "xinference"
    default_base_url: ClassVar[str] = "http://localhost:9997/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False

    max_chunks_per_doc: int | None = None

    def body(self) -> dict[str, Any]:
        """How documents are split into chunks."""
        return {"max_chunks_per_doc": self.max_chunks_per_doc}

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Send the instruction inside the JSON text `kwargs`."""
        del model
        return Instructed({"kwargs": json.dumps({"instruction": instruction})})

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """Parse an entry; None if its model type is not `rerank`."""
        return openai_model(entry) if entry.get("model_type", "rerank") == "rerank" else None
