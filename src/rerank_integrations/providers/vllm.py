"""vLLM: rerank models on a server of your own, those that see images included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers.base import RemoteProvider


@dataclass(frozen=True, kw_only=True)
class VLLM(RemoteProvider):
    """https://docs.vllm.ai/en/latest/serving/openai_compatible_server/, its rerank API.

    A document with an image goes as content parts, the image first, as in a chat message; servers
    that take a list of strings only return 400.

    Args:
        api_key: the key that the server was started with; from `VLLM_API_KEY` when None, and
            none at all where neither is set.
        base_url: the server's address; `http://localhost:8000/v1` when None.
        truncate_prompt_tokens: cut each pair of query and document to this number of tokens.
        instruction: what the model is to look for, where its template has a place for it.
    """

    name: ClassVar[str] = "vllm"
    api_key_env: ClassVar[str] = "VLLM_API_KEY"
    default_base_url: ClassVar[str] = "http://localhost:8000/v1"

    truncate_prompt_tokens: int | None = None
    instruction: str | None = None

    def _needs_key(self) -> bool:
        return False

    def body(self) -> dict[str, Any]:
        """What only vLLM takes."""
        return {
            "truncate_prompt_tokens": self.truncate_prompt_tokens,
            "instruction": self.instruction,
        }

    def takes_images(self, model: str) -> bool:
        """The server says so where its model does not see."""
        del model
        return True

    def with_image(self, text: str, image: str) -> Mapping[str, Any]:
        """Content parts."""
        parts: list[Mapping[str, Any]] = [{"type": "image_url", "image_url": {"url": image}}]
        if text:
            parts.append({"type": "text", "text": text})
        return {"content": parts}
