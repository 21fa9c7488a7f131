"""Rerank documents with OpenRouter, Together AI, Portkey or an engine in this process.

Every public name is loaded when it is first used, so that importing the package costs nothing.
The adapters live in `rerank_integrations.langchain` and `rerank_integrations.llama_index`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from rerank_integrations.client import RerankClient
    from rerank_integrations.errors import (
        AuthenticationError,
        BadGatewayError,
        BadRequestError,
        ConfigurationError,
        ImageError,
        InvalidRequestError,
        NotFoundError,
        OverloadedError,
        PayloadTooLargeError,
        PaymentRequiredError,
        PermissionDeniedError,
        ProviderTimeoutError,
        RateLimitError,
        RerankError,
        RerankTimeoutError,
        ResponseError,
        ServerError,
        ServiceUnavailableError,
        StatusError,
        TransportError,
        UnsupportedDocumentError,
    )
    from rerank_integrations.models import (
        Attempt,
        DocumentInput,
        RerankDocument,
        RerankResponse,
        RerankResult,
        Usage,
    )
    from rerank_integrations.providers.base import Provider, RemoteProvider
    from rerank_integrations.providers.local import Local
    from rerank_integrations.providers.openrouter import OpenRouter, ProviderPreferences
    from rerank_integrations.providers.portkey import Portkey
    from rerank_integrations.providers.together import Together

_HOMES = {
    "client": ("RerankClient",),
    "errors": (
        "AuthenticationError",
        "BadGatewayError",
        "BadRequestError",
        "ConfigurationError",
        "ImageError",
        "InvalidRequestError",
        "NotFoundError",
        "OverloadedError",
        "PayloadTooLargeError",
        "PaymentRequiredError",
        "PermissionDeniedError",
        "ProviderTimeoutError",
        "RateLimitError",
        "RerankError",
        "RerankTimeoutError",
        "ResponseError",
        "ServerError",
        "ServiceUnavailableError",
        "StatusError",
        "TransportError",
        "UnsupportedDocumentError",
    ),
    "models": (
        "Attempt",
        "DocumentInput",
        "RerankDocument",
        "RerankResponse",
        "RerankResult",
        "Usage",
    ),
    "providers.base": ("Provider", "RemoteProvider"),
    "providers.local": ("Local",),
    "providers.openrouter": ("OpenRouter", "ProviderPreferences"),
    "providers.portkey": ("Portkey",),
    "providers.together": ("Together",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Attempt",
    "AuthenticationError",
    "BadGatewayError",
    "BadRequestError",
    "ConfigurationError",
    "DocumentInput",
    "ImageError",
    "InvalidRequestError",
    "Local",
    "NotFoundError",
    "OpenRouter",
    "OverloadedError",
    "PayloadTooLargeError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "Portkey",
    "Provider",
    "ProviderPreferences",
    "ProviderTimeoutError",
    "RateLimitError",
    "RemoteProvider",
    "RerankClient",
    "RerankDocument",
    "RerankError",
    "RerankResponse",
    "RerankResult",
    "RerankTimeoutError",
    "ResponseError",
    "ServerError",
    "ServiceUnavailableError",
    "StatusError",
    "Together",
    "TransportError",
    "UnsupportedDocumentError",
    "Usage",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
