"""ZeroEntropy: its own endpoint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from rerank_integrations.providers.base import RemoteProvider, ScoreKind


@dataclass(frozen=True, kw_only=True)
class ZeroEntropy(RemoteProvider):
    """https://docs.zeroentropy.dev/api-reference/models/rerank.

    A request may have 5,000,000 bytes, and each document counts 150 bytes and the query besides its
    own text. So at most 500 documents and 4,000,000 bytes go in one request, which leaves room for
    queries of up to 1,800 bytes.

    Args:
        api_key: the key; from `ZEROENTROPY_API_KEY` when None.
        base_url: another address; from `ZEROENTROPY_BASE_URL`, else
            `https://api.zeroentropy.dev/v1` when None.
        latency: "fast" fails where the fast rate is used up; "slow" waits, at a lower price. When
            None, ZeroEntropy waits in silence.
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
        """How long it may take."""
        return {"latency": self.latency}
