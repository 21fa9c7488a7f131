"""Xinference: rerank models on a machine of your own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._model_list import ModelInfo, openai_model
from rerank_integrations.providers.base import Instructed, RemoteProvider


@dataclass(frozen=True, kw_only=True)
class Xinference(RemoteProvider):
    """https://inference.readthedocs.io/en/latest/models/model_abilities/rerank.html.

    An instruction goes inside `kwargs`, a JSON text, where alone the server looks for it.

    Args:
        api_key: the key, if the server wants one.
        base_url: the server's address; `http://localhost:9997/v1` when None.
        max_chunks_per_doc: into how many chunks a document is cut at most.
    """

    name: ClassVar[str] = "xinference"
    default_base_url: ClassVar[str] = "http://localhost:9997/v1"
    models_path: ClassVar[str | None] = "/models"
    needs_key: ClassVar[bool] = False

    max_chunks_per_doc: int | None = None

    def body(self) -> dict[str, Any]:
        """How documents are cut."""
        return {"max_chunks_per_doc": self.max_chunks_per_doc}

    def instructed(self, model: str, instruction: str) -> Instructed:
        """As a JSON text."""
        del model
        return Instructed({"kwargs": json.dumps({"instruction": instruction})})

    def model_info(self, entry: Mapping[str, Any]) -> ModelInfo | None:
        """The server also lists models of other types, and says so."""
        return openai_model(entry) if entry.get("model_type", "rerank") == "rerank" else None
