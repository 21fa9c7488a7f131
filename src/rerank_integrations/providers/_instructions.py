"""Instructions to models on servers that have no key for them: written around the texts."""

from __future__ import annotations

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.providers.base import Instructed

# https://huggingface.co/Qwen/Qwen3-Reranker-0.6B: what the model was trained with
_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and "
    'the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "<|im_start|>user\n"
)
_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def is_qwen3(model: str) -> bool:
    """Whether the name is that of a Qwen3 reranker."""
    return "qwen3" in model.lower()


def is_voyage(model: str) -> bool:
    """Whether the name is that of a Voyage model that follows instructions: 2.5 and its kin."""
    return "rerank-2.5" in model


def qwen3_template(instruction: str) -> Instructed:
    """The template of a Qwen3 reranker, for a server that does not have it."""
    return Instructed(
        around_query=(f"{_PREFIX}<Instruct>: {instruction}\n<Query>: ", "\n"),
        around_document=("<Document>: ", _SUFFIX),
    )


def before_query(instruction: str) -> Instructed:
    """The instruction as the first line of the query, as Voyage asks for."""
    return Instructed(around_query=(f"{instruction}\n", ""))


def no_instruction(provider: str, model: str, others: str) -> ConfigurationError:
    """The refusal of a provider that takes an instruction for other models only."""
    return ConfigurationError(
        f"{provider} takes an instruction for {others} only, not for {model}; leave instruction= "
        "out, or put what you look for into the query"
    )
