"""Voyage AI: its own rerank API, also on MongoDB Atlas."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import SecretStr

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers._instructions import before_query, is_voyage, no_instruction
from rerank_integrations.providers._validation import secret
from rerank_integrations.providers.base import Dialect, Instructed, RemoteProvider

_OF_FILE = "VOYAGE_API_KEY_PATH"  # names a file with the key


@dataclass(frozen=True, kw_only=True)
class Voyage(RemoteProvider):
    """Voyage AI's rerank API, also on MongoDB Atlas.

    API documentation: https://docs.voyageai.com/reference/reranker-api

    For `rerank-2.5` and `rerank-2.5-lite` an instruction is written before the query. A key that
    begins with `al-` is a key of MongoDB Atlas, and its requests are sent to Atlas.

    Args:
        api_key: the API key; when None, from `VOYAGE_API_KEY`, else from the file that
            `VOYAGE_API_KEY_PATH` names.
        base_url: the base URL; `https://api.voyageai.com/v1` when None, or
            `https://ai.mongodb.com/v1` with a key of MongoDB Atlas.
        allow_http: as in `RemoteProvider`.
        truncation: whether Voyage truncates a text that is too long; True when None.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "voyage"
    api_key_env: ClassVar[str | None] = "VOYAGE_API_KEY"
    other_key_envs: ClassVar[tuple[str, ...]] = (_OF_FILE,)
    default_base_url: ClassVar[str] = "https://api.voyageai.com/v1"
    says_cost: ClassVar[bool] = False
    dialect: ClassVar[Dialect] = Dialect(top_n="top_k")

    truncation: bool | None = None

    def _key_in(self, name: str) -> SecretStr | None:
        """The key that a variable holds, or the file that it names."""
        path = os.environ.get(name)
        if name != _OF_FILE or not path:
            return super()._key_in(name)
        try:
            return secret(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as cause:
            raise ConfigurationError(
                f"the file that {name} names cannot be read: {cause}"
            ) from None

    def _default_address(self) -> str:
        key = self.api_key
        is_atlas = isinstance(key, SecretStr) and key.get_secret_value().startswith("al-")
        return "https://ai.mongodb.com/v1" if is_atlas else self.default_base_url

    def body(self) -> dict[str, Any]:
        """Whether a text that is too long is truncated."""
        return {"truncation": self.truncation}

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Write the instruction before the query, for Voyage 2.5."""
        if is_voyage(model):
            return before_query(instruction)
        raise no_instruction(self.name, model, "Voyage 2.5")
