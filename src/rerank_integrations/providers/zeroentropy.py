"""ZeroEntropy: its own rerank API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class ZeroEntropy(RemoteProvider):
    """ZeroEntropy's rerank API.

    API documentation: https://docs.zeroentropy.dev/api-reference/models/rerank

    A request may have 5,000,000 bytes. Each document counts its text, the query and 150 bytes more.
    The client therefore sends at most 500 documents and 4,000,000 bytes in one request, which is
    enough for queries of up to 1,800 bytes.

    Args:
        api_key: the API key; from `ZEROENTROPY_API_KEY` when None.
        base_url: the base URL; from `ZEROENTROPY_BASE_URL`, else `https://api.zeroentropy.dev/v1`,
            when None.
        allow_http: as in `RemoteProvider`.
        latency: what happens above the rate limit of the fast tier: "fast" returns an error, "slow"
            waits, at a lower price. When None, ZeroEntropy waits without a notice.

    Raises:
        ConfigurationError: there is no key, or an argument is invalid.
    """

    name: ClassVar[str] = "zeroentropy"
    api_key_env: ClassVar[str | None] = "ZEROENTROPY_API_KEY"
    base_url_env: ClassVar[str | None] = "ZEROENTROPY_BASE_URL"
    default_base_url: ClassVar[str] = "https://api.zeroentropy.dev/v1"
    says_cost: ClassVar[bool] = False
    rerank_path: ClassVar[str] = "/models/rerank"
    max_documents: ClassVar[int | None] = 500
    max_body_bytes: ClassVar[int | None] = 4_000_000
    score_kind: ClassVar[ScoreKind] = "probability"

    latency: Literal["fast", "slow"] | None = None

    def body(self) -> dict[str, Any]:
        """The latency tier."""
        return {"latency": self.latency}
