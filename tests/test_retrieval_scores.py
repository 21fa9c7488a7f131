"""The retriever's own score beside that of an engine in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from haystack import Document
from llama_index.core.schema import NodeWithScore, TextNode

from calls import Calls
from cases import cases
from rerank_integrations import Local, RerankClient, RerankDocument, ScorerError
from rerank_integrations.haystack import RerankRanker
from rerank_integrations.llama_index import RerankPostprocessor

TEXTS = ["a blue car", "a red bicycle", "a red van"]


@cases(
    ("weight", "scores", "order", "warning"),
    [
        (0, (9, 1, 1), [1, 2, 0], ""),
        (9, (9, 1, 1), [0, 1, 2], ""),
        (9, (1e308, -1e308, 0), [0, 2, 1], ""),
        (9, (5, 5, 5), [1, 2, 0], ""),
        (9, tuple(np.array([9, 1, 1], dtype=np.float32)), [0, 1, 2], ""),
        (9, (9, None, 1), [1, 2, 0], "document 1: no retrieval_score"),
        (9, (None, None, None), [1, 2, 0], "no document has a retrieval_score"),
    ],
)
def test_the_score_counts_by_its_weight(
    weight: float, scores: Sequence[float | None], order: list[int], warning: str
) -> None:
    """It is added by its weight where all documents have one; else a warning says who lacks it."""
    documents = [
        RerankDocument(text, retrieval_score=score)
        for text, score in zip(TEXTS, scores, strict=True)
    ]
    client = RerankClient("hybrid", provider=Local(retrieval_weight=weight))
    response = client.rerank("red bicycle", documents)
    assert [result.index for result in response] == order
    assert [warning in one for one in response.warnings] == [True] * bool(warning)


@cases(("weight", "first"), [(0, "a red bicycle"), (9, "a blue car")])
def test_adapters_bring_the_score(weight: float, first: str) -> None:
    """Nodes of LlamaIndex and documents of Haystack bring theirs, where it counts."""
    client = RerankClient("hybrid", provider=Local(retrieval_weight=weight))
    scored = list(zip(TEXTS, (0.9, 0.2, 0.1), strict=True))
    nodes = [NodeWithScore(node=TextNode(text=text), score=score) for text, score in scored]
    found = RerankPostprocessor(client=client).postprocess_nodes(nodes, query_str="red bicycle")
    assert found[0].node.get_content() == first
    documents = [Document(content=text, score=score) for text, score in scored]
    output = RerankRanker(client=client).run("red bicycle", documents)
    assert output["documents"][0].content == first


def test_a_threshold_needs_scores_that_can_be_compared() -> None:
    """It is refused for the hybrid on a client, a call and an adapter; a fallback warns."""
    attempts: list[Any] = [
        lambda: RerankClient("local:hybrid", score_threshold=0.5),
        lambda: RerankClient("local:hybrid").rerank("q", TEXTS, score_threshold=0.5),
        lambda: RerankPostprocessor("local:hybrid", score_threshold=0.5),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="no meaning for local:hybrid"):
            attempt()

    def failing(query: str, texts: Sequence[str]) -> list[float]:
        raise ZeroDivisionError

    first = Local(scorer=failing, score_kind="probability")
    client = RerankClient("m", provider=first, fallbacks=["local:hybrid"], score_threshold=0.5)
    response = client.rerank("red bicycle", TEXTS)
    assert len(response) == 3
    assert any("score_threshold" in one for one in response.warnings)


@cases(
    ("given", "why"),
    [
        (([1.0, 3.0], [2.0]), ""),
        (([[1.0], [3.0]], 2.0), ""),
        (([1.0, 3.0, 2.0], []), "3 scores for 2 texts"),
        (([1.0, 3.0], None), "returned NoneType"),
        (([1.0, 3.0], ["high"]), "score 2 .* is 'high'"),
        ((ZeroDivisionError("first"), [2.0]), "ZeroDivisionError: first"),
    ],
)
def test_batches(call: Calls, given: Sequence[Any], why: str) -> None:
    """A scorer gets `batch_size` texts at once, be it a function, async, or one of pairs.

    Each batch has its own scores, and after an error no more are asked.
    """
    sizes: list[int] = []

    def answer(texts: Sequence[Any]) -> Any:
        sizes.append(len(texts))
        found = given[len(sizes) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    def plain(query: str, texts: Sequence[str]) -> Any:
        return answer(texts)

    async def later(query: str, texts: Sequence[str]) -> Any:
        return answer(texts)

    class Pairs:
        def predict(self, pairs: list[tuple[str, str]]) -> Any:
            return answer(pairs)

    for scorer in (plain, later, Pairs()):
        sizes.clear()
        client = RerankClient("m", provider=Local(scorer=scorer, batch_size=2))
        if why:
            with pytest.raises(ScorerError, match=why):
                call(client, "q", TEXTS)
        else:
            assert [one.index for one in call(client, "q", TEXTS)] == [1, 2, 0]
        assert sizes == [2, 1][: 1 if "first" in why or "3 scores" in why else 2]
