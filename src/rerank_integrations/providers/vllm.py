"""vLLM: rerank models on a server of your own, those that see images included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3, qwen3_template
from rerank_integrations.providers.base import Instructed, RemoteProvider


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
        instruction: what the model is to look for; the client's `instruction=` wins over it.
        has_chat_template: whether the server was started with the model's chat template, which has
            the place for an instruction. False: for a Qwen3 model the instruction of the client is
            written around the query and the documents here.
    """

    name: ClassVar[str] = "vllm"
    api_key_env: ClassVar[str | None] = "VLLM_API_KEY"
    default_base_url: ClassVar[str] = "http://localhost:8000/v1"
    models_path: ClassVar[str | None] = "/models"

    other_key_envs: ClassVar[tuple[str, ...]] = ("HOSTED_VLLM_API_KEY",)
    needs_key: ClassVar[bool] = False
    instruction_key: ClassVar[str | None] = "instruction"

    truncate_prompt_tokens: int | None = None
    instruction: str | None = None
    has_chat_template: bool = True

    def body(self) -> dict[str, Any]:
        """What only vLLM takes."""
        return {
            "truncate_prompt_tokens": self.truncate_prompt_tokens,
            "instruction": self.instruction,
        }

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Under its key, or around the texts where the server has no template."""
        if not self.has_chat_template and is_qwen3(model):
            return qwen3_template(instruction)._replace(body={"instruction": None})
        return super().instructed(model, instruction)

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
