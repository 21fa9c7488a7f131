"""Rerank documents with OpenRouter, Together AI, Portkey or an engine in this process.

Every public name is loaded when it is first used, so that importing the package costs nothing.
The adapters live in `rerank_integrations.langchain` and `rerank_integrations.llama_index`.
"""

from __future__ import annotations

from rerank_integrations._lazy import loaded_when_used

__version__ = "0.1.0"

TYPE_CHECKING = False  # as type checkers know it; `typing` takes ten times as long as all here
# a test holds that both lists name the same
if TYPE_CHECKING:
    from rerank_integrations.client import RerankClient as RerankClient
    from rerank_integrations.errors import (
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
        Attempt as Attempt,
        DocumentInput as DocumentInput,
        RerankDocument as RerankDocument,
        RerankResponse as RerankResponse,
        RerankResult as RerankResult,
        Usage as Usage,
    )
    from rerank_integrations.providers._preferences import (
        ProviderPreferences as ProviderPreferences,
    )
    from rerank_integrations.providers.base import (
        Provider as Provider,
        RemoteProvider as RemoteProvider,
    )
    from rerank_integrations.providers.jina import Jina as Jina
    from rerank_integrations.providers.local import Local as Local
    from rerank_integrations.providers.openrouter import OpenRouter as OpenRouter
    from rerank_integrations.providers.portkey import Portkey as Portkey
    from rerank_integrations.providers.together import Together as Together
    from rerank_integrations.providers.vllm import VLLM as VLLM

__getattr__, __dir__, __all__ = loaded_when_used(
    __name__,
    {
        "client": "RerankClient",
        "errors": """
            AuthenticationError BadGatewayError BadRequestError ConfigurationError ImageError
            InvalidRequestError NotFoundError OverloadedError PayloadTooLargeError
            PaymentRequiredError PermissionDeniedError ProviderTimeoutError RateLimitError
            RerankError RerankTimeoutError ResponseError ServerError ServiceUnavailableError
            StatusError TransportError UnsupportedDocumentError
        """,
        "models": "Attempt DocumentInput RerankDocument RerankResponse RerankResult Usage",
        "providers.base": "Provider RemoteProvider",
        "providers.jina": "Jina",
        "providers.local": "Local",
        "providers._preferences": "ProviderPreferences",
        "providers.openrouter": "OpenRouter",
        "providers.portkey": "Portkey",
        "providers.together": "Together",
        "providers.vllm": "VLLM",
    },
)
