"""vLLM: rerank models on your own server, vision models included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from rerank_integrations.providers._instructions import is_qwen3, qwen3_template
from rerank_integrations.providers.base import Instructed, RemoteProvider


@dataclass(frozen=True, kw_only=True)
class VLLM(RemoteProvider):
    """A rerank model on your own vLLM server.

    API documentation: https://docs.vllm.ai/en/latest/serving/openai_compatible_server/

    A document or query with an image is sent as content parts, the image first, as in a chat
    message. A server that takes only strings returns 400 or 422 for it.

    Args:
        api_key: the API key that the server was started with; from `VLLM_API_KEY`, else
            `HOSTED_VLLM_API_KEY`, when None. If none is set, no key is sent.
        base_url: the base URL; `http://localhost:8000/v1` when None.
        allow_http: as in `RemoteProvider`.
        truncate_prompt_tokens: the maximum number of tokens of a query and a document together;
            longer pairs are truncated.
        instruction: what the model should look for; the client's `instruction=` overrides it.
        has_chat_template: whether the server was started with the chat template of the model, which
            has a place for the instruction. If False, and for a Qwen3 model, the client writes its
            `instruction=` into the query and the documents.

    Raises:
        ConfigurationError: an argument is invalid.
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
        """Keys that only vLLM takes."""
        return {
            "truncate_prompt_tokens": self.truncate_prompt_tokens,
            "instruction": self.instruction,
        }

    def instructed(self, model: str, instruction: str) -> Instructed:
        """Send the instruction as `instruction`.

        For a Qwen3 model on a server without a chat template, write the template here instead.
        """
        if not self.has_chat_template and is_qwen3(model):
            return qwen3_template(instruction)._replace(body={"instruction": None})
        return super().instructed(model, instruction)

    def takes_images(self, model: str) -> bool:
        """True: the server returns an error for a text-only model."""
        del model
        return True

    def takes_image_query(self, model: str) -> bool:
        """True: the server returns an error for a text-only model."""
        del model
        return True

    def with_image(self, text: str, image: str) -> Mapping[str, Any]:
        """Content parts, the image first."""
        parts: list[Mapping[str, Any]] = [{"type": "image_url", "image_url": {"url": image}}]
        if text:
            parts.append({"type": "text", "text": text})
        return {"content": parts}
