"""Rows of one provider: what its calls have in common, and where the form of its answers is from.

Every answer is a `Script`, whose source is said exactly, and whose values are made up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cassettes.case import Case, Failed, Ranked, Script
from rerank_integrations import RerankError
from rerank_integrations.providers.base import ScoreKind

QUERY = "What is the capital of France?"
TEXTS = (
    "Paris is the capital of France.",
    "Berlin is the capital of Germany.",
    "Madrid is the capital of Spain.",
)
PAGES = tuple({"title": text.partition(" ")[0], "text": text} for text in TEXTS)
INSTRUCTION = "Prefer cities in Europe."
BEST = {0: 0.91, 2: 0.12}
ALL = {0: 0.91, 2: 0.12, 1: 0.05}
LOGITS = {0: 4.125, 2: -3.25}
TOP_2 = {"top_n": 2}
INSTRUCTED = {"top_n": 2, "instruction": INSTRUCTION}
# as FastAPI has it
IN_BODY = {"loc": ["body", "query"], "msg": "Field required", "type": "missing"}


def listed(
    scores: Mapping[int, float] = BEST,
    key: str = "relevance_score",
    echo: Callable[[str], Mapping[str, Any]] = lambda _: {},
    **more: Any,
) -> list[dict[str, Any]]:
    """The list of results, as most answers have it."""
    return [
        {"index": index, key: score, **echo(TEXTS[index]), **more}
        for index, score in scores.items()
    ]


def as_object(text: str) -> dict[str, Any]:
    """The echo of a document as an object."""
    return {"document": {"text": text}}


@dataclass(frozen=True, kw_only=True)
class Vendor:
    """A provider whose calls are in the table.

    Attributes:
        name: that of the provider.
        model: the one to ask.
        address: where requests go.
        answer: where the form of its answers is from.
        error: where the form of its errors is from.
        kind: what its scores are.
        arguments: those of the provider for each call.
    """

    name: str
    model: str
    address: str
    answer: str
    error: str
    kind: ScoreKind = "unknown"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def ranked(
        self,
        name: str,
        shows: str,
        body: Any,
        *,
        scores: Mapping[int, float] = BEST,
        wants: Mapping[str, Any] | None = None,
        answer: str | None = None,
        **call: Any,
    ) -> Case:
        """A call that is answered; without options the best two are asked for."""
        expected = {
            "model": call.get("model", self.model),
            "score_kind": self.kind,
            **(wants or {}),
        }
        return Case(
            **self._call(name, shows, {"options": TOP_2, **call}),
            wants=Ranked(
                order=tuple(scores), scores=tuple(scores.values()), provider=self.name, **expected
            ),
            answers=Script(
                status=200, body=body, source=f"{answer or self.answer}; its values are made up."
            ),
        )

    def refused(
        self,
        name: str,
        shows: str,
        kind: type[RerankError],
        body: Any,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        error: str | None = None,
        wants: Mapping[str, Any] | None = None,
        **call: Any,
    ) -> Case:
        """A call that fails, with the status that its name begins with.

        `error` says where the body is from, its words included.
        """
        status = int(name.partition("-")[0])
        expected = {"status": status, **(wants or {})}
        return Case(
            **self._call(name, shows, call),
            wants=Failed(kind=kind, message=message, **expected),
            answers=Script(
                status=status,
                body=body,
                source=f"{error}." if error else f"{self.error}; its words are made up.",
                headers=headers or {},
            ),
        )

    def _call(self, name: str, shows: str, call: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "gateway": self.name,
            "name": name,
            "shows": shows,
            "model": self.model,
            "query": QUERY,
            "documents": TEXTS,
            "address": self.address,
            "arguments": self.arguments,
            **call,
        }
