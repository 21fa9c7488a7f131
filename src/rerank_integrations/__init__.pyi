from collections.abc import Callable, Mapping

from rerank_integrations._options import (
    NOT_GIVEN as NOT_GIVEN,
    NotGiven as NotGiven,
    Retry as Retry,
)
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
    ScorerError as ScorerError,
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

__version__: str
__all__: list[str]  # noqa: PYI035  # a test holds it equal to the names above

def __dir__() -> list[str]: ...
def lazy_attributes(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]: ...
