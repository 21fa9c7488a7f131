"""Rerank documents with a gateway, a vendor's API, a server of your own, or a local model.

Every public name is imported when it is first used, so `import rerank_integrations` is fast.
Type checkers and editors read the names from `__init__.pyi`.
The adapters are in `rerank_integrations.langchain`, `rerank_integrations.llama_index` and
`rerank_integrations.haystack`.
"""

from __future__ import annotations

import sys

__version__ = "0.1.0"


def lazy_attributes(package, modules):  # noqa: ANN001, ANN201  # typed in __init__.pyi
    """Return `__getattr__`, `__dir__` and `__all__` for a package with lazy imports (PEP 562).

    Args:
        package: the `__name__` of the package.
        modules: maps the name of each module to its public names, separated by spaces.
    """
    module_of = {name: module for module, names in modules.items() for name in names.split()}
    public = sorted(module_of)

    def load(name):  # noqa: ANN001, ANN202
        if name not in module_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415  # not before it is needed

        value = getattr(import_module(f"{package}.{module_of[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: public, public


__getattr__, __dir__, __all__ = lazy_attributes(
    __name__,
    {
        "batch": "OnBatchError RerankBatch",
        "client": "RerankClient",
        "errors": """
            Attempt AuthenticationError BadGatewayError BadRequestError BudgetExceededError
            CheckpointMismatchError ConfigurationError
            ImageError InvalidRequestError NotFoundError OverloadedError PayloadTooLargeError
            PaymentRequiredError PermissionDeniedError ProviderTimeoutError RateLimitError
            RerankError RerankTimeoutError ResponseError ScorerError ServerError
            ServiceUnavailableError StatusError TransportError UnsupportedDocumentError
        """,
        "images": "ImageUrls",
        "_adapter": "OnError",
        "_cache": "CacheSetting RerankCache",
        "_ledger": "Price Progress",
        "_many": "AsyncManyResults ManyResults OnRowError RowResult",
        "_options": """
            NOT_GIVEN AsyncHTTPClient HTTPClient NotGiven OnImage OnInvalidDocument OnPartial
            PhasedTimeout Retry ScoreTransform Timeout
        """,
        "_shared_limit": "RateLimitStore SharedLimit",
        "models": """
            DocumentInput QueryInput RelevantSpan RerankDocument RerankResponse RerankResult
            ResultDetails Usage
        """,
        "providers._model_list": "ModelInfo ModelsPage",
        "providers.base": """
            Dialect ErrorDetails Handler HTTPResponse Instructed Provider RemoteProvider ScoreKind
        """,
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
        "providers.local": "Local Predictor Scorer Scores",
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
