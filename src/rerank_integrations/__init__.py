"""Rerank documents at gateways, at vendors, on servers of your own, or in this process.

Every public name is loaded when it is first used, so that importing the package costs nothing.
Type checkers and editors read them in `__init__.pyi`.
The adapters live in `rerank_integrations.langchain`, `rerank_integrations.llama_index` and
`rerank_integrations.haystack`.
"""

from __future__ import annotations

import sys

__version__ = "0.1.0"


def lazy_attributes(package, homes):  # noqa: ANN001, ANN201  # typed in __init__.pyi
    """The `__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    Args:
        package: its `__name__`.
        homes: for each of its modules the public names in it, separated by spaces.
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}
    public = sorted(home_of)

    def load(name):  # noqa: ANN001, ANN202
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415  # not before it is needed

        value = getattr(import_module(f"{package}.{home_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: public, public


__getattr__, __dir__, __all__ = lazy_attributes(
    __name__,
    {
        "batch": "RerankBatch",
        "client": "RerankClient",
        "errors": """
            Attempt AuthenticationError BadGatewayError BadRequestError BudgetExceededError
            CheckpointMismatchError ConfigurationError
            ImageError InvalidRequestError NotFoundError OverloadedError PayloadTooLargeError
            PaymentRequiredError PermissionDeniedError ProviderTimeoutError RateLimitError
            RerankError RerankTimeoutError ResponseError ScorerError ServerError
            ServiceUnavailableError StatusError TransportError UnsupportedDocumentError
        """,
        "_cache": "RerankCache",
        "_many": "AsyncManyResults ManyResults Price Progress RowResult",
        "_options": "NOT_GIVEN NotGiven Retry",
        "models": """
            DocumentInput QueryInput RelevantSpan RerankDocument RerankResponse RerankResult
            ResultDetails Usage
        """,
        "providers._model_list": "ModelInfo",
        "providers.base": "Dialect Provider RemoteProvider",
        "providers.azureai": "AzureAI",
        "providers.cohere": "Cohere",
        "providers.compatible": "Compatible",
        "providers.contextualai": "ContextualAI",
        "providers.dashscope": "DashScope",
        "providers.deepinfra": "DeepInfra",
        "providers.fireworks": "Fireworks",
        "providers.infinity": "Infinity",
        "providers.isaacus": "Isaacus",
        "providers.jina": "Jina",
        "providers.litellm": "LiteLLM",
        "providers.llamacpp": "LlamaCpp",
        "providers.local": "Local",
        "providers.localai": "LocalAI",
        "providers.mixedbread": "Mixedbread",
        "providers.novita": "Novita",
        "providers.nvidia": "NVIDIA",
        "providers.openrouter": "OpenRouter ProviderPreferences",
        "providers.pinecone": "Pinecone",
        "providers.portkey": "Portkey",
        "providers.scaleway": "Scaleway",
        "providers.sglang": "SGLang",
        "providers.siliconflow": "SiliconFlow",
        "providers.tei": "TEI",
        "providers.together": "Together",
        "providers.vercelgateway": "VercelGateway",
        "providers.vllm": "VLLM",
        "providers.voyage": "Voyage",
        "providers.xinference": "Xinference",
        "providers.zeroentropy": "ZeroEntropy",
    },
)
