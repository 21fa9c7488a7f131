"""A row of the table of faults, and the response of a gateway without a fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from loopback import Door, Reply, Step

GATEWAYS = ("openrouter", "together", "portkey")
QUERY = "a red bicycle"
DOCUMENTS = ("apple pie", "a red bicycle", "a blue car")
SCORES = (0.5, 0.9, 0.1)
BEST_FIRST = (1, 0, 2)

RESPONSE = "response"
WARNED = "response with a warning"

RANKED = [{"index": index, "relevance_score": SCORES[index]} for index in BEST_FIRST]
GOOD = {"results": RANKED}
WHOLE = Reply(GOOD).whole
BODY = WHOLE.partition(b"\r\n\r\n")[2]
HEAD = WHOLE.removesuffix(BODY)
HALF = WHOLE[: len(HEAD) + len(BODY) // 2]
good = Reply(GOOD)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A fault and its outcome.

    Attributes:
        kind: the group in the table.
        name: the fault in words.
        script: what the server does with each request; the last entry is for all that follow.
        gets: a response, or the type of the error.
        ranked: the indexes of the response, best first.
        sent: how many requests are sent.
        options: the client's settings that differ from the defaults.
        gateways: the gateways that have this outcome.
        door: whether the server accepts connections.
        scheme: the scheme of the client's URL.
        on_pooled_connection: whether an earlier call leaves a connection in the pool.
        is_large: whether the request has several megabytes.
    """

    kind: str
    name: str
    script: tuple[Step, ...]
    gets: str
    ranked: tuple[int, ...] = BEST_FIRST
    sent: int
    options: Mapping[str, Any] = field(default_factory=dict)
    gateways: tuple[str, ...] = GATEWAYS
    door: Door = "open"
    scheme: str = "http"
    on_pooled_connection: bool = False
    is_large: bool = False

    @property
    def wanted(self) -> tuple[str, tuple[int, ...], int]:
        """The outcome, the ranking, and how many requests are sent."""
        return self.gets, self.ranked if self.has_response else (), self.sent

    @property
    def has_response(self) -> bool:
        """Whether the call returns a response."""
        return self.gets in (RESPONSE, WARNED)


def case(name: str, *script: Step, **more: Any) -> dict[str, Any]:
    """A row of a group."""
    return {"name": name, "script": script, **more}


def group(kind: str, gets: str, sent: int, *cases: dict[str, Any]) -> list[Case]:
    """Rows of one kind, with the values that most of them share."""
    return [Case(**{"kind": kind, "gets": gets, "sent": sent, **one}) for one in cases]
