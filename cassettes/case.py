"""A row of the table of cassettes: a call, who answers it, and what must come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerank_integrations import (
    DocumentInput,
    QueryInput,
    RemoteProvider,
    RerankClient,
    RerankError,
    RerankResponse,
)
from rerank_integrations.providers import known_names, provider_class
from rerank_integrations.providers.base import ScoreKind

HERE = Path(__file__).parent
KEY = "key-of-nobody"

GATEWAYS: Mapping[str, type[RemoteProvider]] = {
    kind.name: kind
    for kind in map(provider_class, known_names())
    if issubclass(kind, RemoteProvider)
}
KEY_VARIABLES = {name: kind.api_key_env for name, kind in GATEWAYS.items() if kind.api_key_env}


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """What a response must say.

    `spans` are the relevant parts of documents as texts, each with its score, and `extra` what else
    is said of a result, both by the index of the document.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...]
    model: str
    provider: str
    usage: Mapping[str, float] = field(default_factory=dict)
    id: str | None = None
    request_id: str | None = None
    skipped: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()
    score_kind: ScoreKind = "unknown"
    spans: Mapping[int, Mapping[str, float | None]] = field(default_factory=dict)
    extra: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


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
    """A call of one provider.

    Attributes:
        gateway: the name of the provider.
        name: that of the cassette.
        shows: the feature or the error, in a sentence.
        model, query, documents, options: of the call.
        arguments: those of the provider, besides the key.
        address: where the request goes; the provider's default address and path when None.
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
    query: QueryInput
    documents: Sequence[DocumentInput]
    wants: Ranked | Failed
    options: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    address: str | None = None
    answers: Prism | Script = field(default_factory=Prism)
    is_live: bool = False
    takes_wrong_key: bool = False

    @property
    def path(self) -> Path:
        """Where the cassette is kept."""
        return HERE / self.gateway / f"{self.name}.yaml"

    @property
    def default_url(self) -> str:
        """The address that the request must go to."""
        kind = GATEWAYS[self.gateway]
        return self.address or f"{kind.default_base_url}{kind.rerank_path}"

    def __str__(self) -> str:
        return f"{self.gateway}/{self.name}"

    def provider(self, key: str = KEY) -> RemoteProvider:
        """The provider, with its default address unless the arguments have another."""
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
            score_kind=result.score_kind,
            spans={
                one.index: {(one.sent_text or "")[s.start : s.end]: s.score for s in one.spans}
                for one in result
                if one.spans
            },
            extra={one.index: one.extra for one in result if one.extra},
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
