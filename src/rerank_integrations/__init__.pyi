from collections.abc import Callable, Mapping

from rerank_integrations._adapter import OnError as OnError
from rerank_integrations._cache import (
    CacheSetting as CacheSetting,
    RerankCache as RerankCache,
)
from rerank_integrations._ledger import Price as Price, Progress as Progress
from rerank_integrations._many import (
    AsyncManyResults as AsyncManyResults,
    ManyResults as ManyResults,
    OnRowError as OnRowError,
    RowResult as RowResult,
)
from rerank_integrations._options import (
    NOT_GIVEN as NOT_GIVEN,
    AsyncHTTPClient as AsyncHTTPClient,
    HTTPClient as HTTPClient,
    NotGiven as NotGiven,
    OnImage as OnImage,
    OnInvalidDocument as OnInvalidDocument,
    OnPartial as OnPartial,
    PhasedTimeout as PhasedTimeout,
    Retry as Retry,
    ScoreTransform as ScoreTransform,
    Timeout as Timeout,
)
from rerank_integrations._shared_limit import (
    RateLimitStore as RateLimitStore,
    SharedLimit as SharedLimit,
)
from rerank_integrations.batch import (
    OnBatchError as OnBatchError,
    RerankBatch as RerankBatch,
)
from rerank_integrations.client import RerankClient as RerankClient
from rerank_integrations.errors import (
    Attempt as Attempt,
    AuthenticationError as AuthenticationError,
    BadGatewayError as BadGatewayError,
    BadRequestError as BadRequestError,
    BudgetExceededError as BudgetExceededError,
    CheckpointMismatchError as CheckpointMismatchError,
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
from rerank_integrations.images import ImageUrls as ImageUrls
from rerank_integrations.models import (
    DocumentInput as DocumentInput,
    QueryInput as QueryInput,
    RelevantSpan as RelevantSpan,
    RerankDocument as RerankDocument,
    RerankResponse as RerankResponse,
    RerankResult as RerankResult,
    ResultDetails as ResultDetails,
    Usage as Usage,
)
from rerank_integrations.providers._model_list import (
    ModelInfo as ModelInfo,
    ModelsPage as ModelsPage,
)
from rerank_integrations.providers.azureai import AzureAI as AzureAI
from rerank_integrations.providers.base import (
    Dialect as Dialect,
    ErrorDetails as ErrorDetails,
    Handler as Handler,
    HTTPResponse as HTTPResponse,
    Instructed as Instructed,
    Provider as Provider,
    RemoteProvider as RemoteProvider,
    ScoreKind as ScoreKind,
)
from rerank_integrations.providers.cohere import Cohere as Cohere
from rerank_integrations.providers.compatible import Compatible as Compatible
from rerank_integrations.providers.contextualai import ContextualAI as ContextualAI
from rerank_integrations.providers.dashscope import DashScope as DashScope
from rerank_integrations.providers.deepinfra import DeepInfra as DeepInfra
from rerank_integrations.providers.fireworks import Fireworks as Fireworks
from rerank_integrations.providers.infinity import Infinity as Infinity
from rerank_integrations.providers.isaacus import Isaacus as Isaacus
from rerank_integrations.providers.jina import Jina as Jina
from rerank_integrations.providers.litellm import LiteLLM as LiteLLM
from rerank_integrations.providers.llamacpp import LlamaCpp as LlamaCpp
from rerank_integrations.providers.local import (
    Local as Local,
    Predictor as Predictor,
    Scorer as Scorer,
    Scores as Scores,
)
from rerank_integrations.providers.localai import LocalAI as LocalAI
from rerank_integrations.providers.mixedbread import Mixedbread as Mixedbread
from rerank_integrations.providers.novita import Novita as Novita
from rerank_integrations.providers.nvidia import NVIDIA as NVIDIA
from rerank_integrations.providers.openrouter import (
    OpenRouter as OpenRouter,
    ProviderPreferences as ProviderPreferences,
)
from rerank_integrations.providers.pinecone import Pinecone as Pinecone
from rerank_integrations.providers.portkey import Portkey as Portkey
from rerank_integrations.providers.scaleway import Scaleway as Scaleway
from rerank_integrations.providers.sglang import SGLang as SGLang
from rerank_integrations.providers.siliconflow import SiliconFlow as SiliconFlow
from rerank_integrations.providers.tei import TEI as TEI
from rerank_integrations.providers.together import Together as Together
from rerank_integrations.providers.vercelgateway import VercelGateway as VercelGateway
from rerank_integrations.providers.vllm import VLLM as VLLM
from rerank_integrations.providers.voyage import Voyage as Voyage
from rerank_integrations.providers.xinference import Xinference as Xinference
from rerank_integrations.providers.zeroentropy import ZeroEntropy as ZeroEntropy

__version__: str
__all__: list[str]  # noqa: PYI035  # a test holds it equal to the names above

def __dir__() -> list[str]: ...
def lazy_attributes(
    package: str, modules: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]: ...
