"""A row of the table of cassettes: a call, who answers it, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_integrations import (
    DocumentInput,
    OpenRouter,
    Portkey,
    RemoteProvider,
    RerankClient,
    RerankError,
    RerankResponse,
    Together,
)

HERE = Path(__file__).parent
KEY = "key-of-nobody"

GATEWAYS: Mapping[str, type[RemoteProvider]] = {
    "openrouter": OpenRouter,
    "together": Together,
    "portkey": Portkey,
}
KEY_VARIABLES = {name: str(kind.api_key_env) for name, kind in GATEWAYS.items()}


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """What a response must say."""

    order: tuple[int, ...]
    scores: tuple[float, ...]
    model: str
    provider: str
    usage: Mapping[str, float] = field(default_factory=dict)
    id: str | None = None
    request_id: str | None = None
    skipped: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Failed:
    """What an error must say; `status` is None for an answer that cannot be trusted."""

    kind: type[RerankError]
    message: str
    status: int | None = None
    code: str | None = None
    is_retryable: bool = False
    retry_after: float | None = None
    request_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Prism:
    """Prism answers, with the example that the vendor's OpenAPI file has for a status.

    `adds` are headers that the file asks for and the service does not; they are added on the way
    to Prism alone, and `note` says why.
    """

    status: int = 200
    adds: Mapping[str, str] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Script:
    """The answer stands here, because the vendor's OpenAPI file has none.

    `source` says where its form comes from, in a sentence for the head of the cassette.
    """

    status: int
    body: Any
    source: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call of one gateway.

    Attributes:
        gateway: the name of the provider.
        name: that of the cassette.
        shows: the feature or the error, in a sentence.
        model, query, documents, options: of the call.
        arguments: those of the provider, besides the key.
        answers: who answers where there is no key.
        is_live: whether the live service gives this to everybody with a key, and for next to
            nothing.
        takes_wrong_key: whether the call is made with a key that nobody has, live too.
        wants: what must come out.
    """

    gateway: str
    name: str
    shows: str
    model: str
    query: str
    documents: Sequence[DocumentInput]
    wants: Ranked | Failed
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    answers: Prism | Script = field(default_factory=Prism)
    is_live: bool = False
    takes_wrong_key: bool = False

    @property
    def path(self) -> Path:
        """Where the cassette is kept."""
        return HERE / self.gateway / f"{self.name}.yaml"

    @property
    def default_url(self) -> str:
        """The vendor's own address."""
        return f"{GATEWAYS[self.gateway].default_base_url}/rerank"

    def __str__(self) -> str:
        return f"{self.gateway}/{self.name}"

    def provider(self, key: str = KEY) -> RemoteProvider:
        """The provider, with its default address."""
        return GATEWAYS[self.gateway](
            **{"api_key": KEY if self.takes_wrong_key else key, **self.arguments}
        )

    def client(self, key: str = KEY, **http: Any) -> RerankClient:
        """A client that sends a request once; `http` are its HTTP clients, if not the default."""
        return RerankClient(self.model, provider=self.provider(key), max_retries=0, **http)


def outcome(result: RerankResponse | RerankError) -> Ranked | Failed:
    """What came out of a call, as the table says it."""
    if isinstance(result, RerankResponse):
        return Ranked(
            order=tuple(one.index for one in result),
            scores=tuple(one.relevance_score for one in result),
            model=result.model,
            provider=result.provider,
            usage=result.usage.counts(),
            id=result.id,
            request_id=result.request_id,
            skipped=result.skipped,
            # the vendors' examples have fewer results than documents, which is warned of
            warnings=tuple(one for one in result.warnings if " returned " not in one),
        )
    return Failed(
        kind=type(result),
        message=getattr(result, "message", str(result)),
        status=getattr(result, "status_code", None),
        code=getattr(result, "code", None),
        is_retryable=result.is_retryable,
        retry_after=getattr(result, "retry_after", None),
        request_id=getattr(result, "request_id", None),
    )
