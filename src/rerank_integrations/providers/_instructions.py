"""Instructions for models on servers that have no key for them: written into the texts."""

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
    """Whether this is the name of a Qwen3 reranker."""
    return "qwen3" in model.lower()


def is_voyage(model: str) -> bool:
    """Whether this is the name of a Voyage model that follows instructions: `rerank-2.5*`."""
    return "rerank-2.5" in model


def qwen3_template(instruction: str) -> Instructed:
    """The chat template of a Qwen3 reranker, for a server that does not apply it."""
    return Instructed(
        around_query=(f"{_PREFIX}<Instruct>: {instruction}\n<Query>: ", "\n"),
        around_document=("<Document>: ", _SUFFIX),
    )


def before_query(instruction: str) -> Instructed:
    """The instruction as the first line of the query, as Voyage recommends.

    https://docs.voyageai.com/docs/reranker
    """
    return Instructed(around_query=(f"{instruction}\n", ""))


def no_instruction(provider: str, model: str, others: str) -> ConfigurationError:
    """The error of a provider that takes an instruction only for other models."""
    return ConfigurationError(
        f"{provider} takes an instruction for {others} only, not for {model}; leave instruction= "
        "out, or put it into the query"
    )
