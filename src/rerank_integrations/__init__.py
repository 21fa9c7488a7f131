"""Rerank documents with OpenRouter, Together AI, Portkey or an engine in this process.

Every public name is loaded when it is first used, so that importing the package costs nothing.
The adapters live in `rerank_integrations.langchain` and `rerank_integrations.llama_index`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

__version__ = "0.1.0"

# a test holds that both lists name the same
if TYPE_CHECKING:
    from rerank_integrations._options import NOT_GIVEN as NOT_GIVEN, NotGiven as NotGiven
    from rerank_integrations.client import RerankClient as RerankClient
    from rerank_integrations.errors import (
        Attempt as Attempt,
        AuthenticationError as AuthenticationError,
        BadGatewayError as BadGatewayError,
        BadRequestError as BadRequestError,
        ConfigurationError as ConfigurationError,
        ImageError as ImageError,
        InvalidRequestError as InvalidRequestError,
        NotFoundError as NotFoundError,
        OverloadedError as OverloadedError,
        PayloadTooLargeError as PayloadTooLargeError,
        PaymentRequiredError as PaymentRequiredError,
        PermissionDeniedError as PermissionDeniedError,
        ProviderTimeoutError as ProviderTimeoutError,
        RateLimitError as RateLimitError,
        RerankError as RerankError,
        RerankTimeoutError as RerankTimeoutError,
        ResponseError as ResponseError,
        ServerError as ServerError,
        ServiceUnavailableError as ServiceUnavailableError,
        StatusError as StatusError,
        TransportError as TransportError,
        UnsupportedDocumentError as UnsupportedDocumentError,
    )
    from rerank_integrations.models import (
        DocumentInput as DocumentInput,
        RerankDocument as RerankDocument,
        RerankResponse as RerankResponse,
        RerankResult as RerankResult,
        Usage as Usage,
    )
    from rerank_integrations.providers.base import (
        Provider as Provider,
        RemoteProvider as RemoteProvider,
    )
    from rerank_integrations.providers.jina import Jina as Jina
    from rerank_integrations.providers.local import Local as Local
    from rerank_integrations.providers.openrouter import (
        OpenRouter as OpenRouter,
        ProviderPreferences as ProviderPreferences,
    )
    from rerank_integrations.providers.portkey import Portkey as Portkey
    from rerank_integrations.providers.together import Together as Together
    from rerank_integrations.providers.vllm import VLLM as VLLM


def lazy_attributes(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """The `__getattr__`, `__dir__` and `__all__` of a package (PEP 562).

    Args:
        package: its `__name__`.
        homes: for each of its modules the public names in it, separated by spaces.
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}
    public = sorted(home_of)

    def load(name: str) -> object:
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
        "client": "RerankClient",
        "errors": """
            Attempt AuthenticationError BadGatewayError BadRequestError ConfigurationError
            ImageError InvalidRequestError NotFoundError OverloadedError PayloadTooLargeError
            PaymentRequiredError PermissionDeniedError ProviderTimeoutError RateLimitError
            RerankError RerankTimeoutError ResponseError ServerError ServiceUnavailableError
            StatusError TransportError UnsupportedDocumentError
        """,
        "_options": "NOT_GIVEN NotGiven",
        "models": "DocumentInput RerankDocument RerankResponse RerankResult Usage",
        "providers.base": "Provider RemoteProvider",
        "providers.jina": "Jina",
        "providers.local": "Local",
        "providers.openrouter": "OpenRouter ProviderPreferences",
        "providers.portkey": "Portkey",
        "providers.together": "Together",
        "providers.vllm": "VLLM",
    },
)
