"""A row of the table of faults, and the answer that a good gateway would give."""

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

ANSWER = "answer"
WARNED = "answer with a warning"

RANKED = [{"index": index, "relevance_score": SCORES[index]} for index in BEST_FIRST]
GOOD = {"results": RANKED}
WHOLE = Reply(GOOD).whole
BODY = WHOLE.partition(b"\r\n\r\n")[2]
HEAD = WHOLE.removesuffix(BODY)
HALF = WHOLE[: len(HEAD) + len(BODY) // 2]
good = Reply(GOOD)


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """A fault and what becomes of it.

    Attributes:
        kind: the group in the table.
        name: the fault in words.
        script: what the server does with one request after another, the last for all that follow.
        gets: an answer, or the type of the error.
        ranked: the indexes of the answer's documents, best first.
        sent: how many requests leave.
        options: what the client is set to, besides its defaults.
        gateways: those that the row is about.
        door: whether connections are made at all.
        scheme: that of the address that the client is given.
        on_kept_connection: whether a call before it, no part of the case, leaves a connection.
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
    on_kept_connection: bool = False
    is_large: bool = False

    @property
    def wanted(self) -> tuple[str, tuple[int, ...], int]:
        """What a user gets, the ranking, and how many requests leave."""
        return self.gets, self.ranked if self.is_answered else (), self.sent

    @property
    def is_answered(self) -> bool:
        """Whether the user gets an answer."""
        return self.gets in (ANSWER, WARNED)


def case(name: str, *script: Step, **more: Any) -> dict[str, Any]:
    """A row of a group."""
    return {"name": name, "script": script, **more}


def group(kind: str, gets: str, sent: int, *cases: dict[str, Any]) -> list[Case]:
    """Rows of one kind, with what most of them have in common."""
    return [Case(**{"kind": kind, "gets": gets, "sent": sent, **one}) for one in cases]
