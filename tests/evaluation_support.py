"""Small datasets, and models that score as a test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rerank_integrations import Local, RerankClient
from rerank_integrations.evaluation import Dataset
from rerank_integrations.providers.base import ScoreKind

FILES = {
    "corpus.jsonl": (
        '{"_id": "a", "title": "T", "text": "red car"}\n\n{"_id": "b", "text": "sea"}\n'
    ),
    "queries.jsonl": '{"_id": "1", "text": "red"}\n{"_id": "2", "text": "blue sea"}\n',
    "qrels/test.tsv": "query-id\tcorpus-id\tscore\n1\ta\t2\n1\tb\t0\n2\tb\t1\n",
}


def folder(path: Path, **changed: str | None) -> Path:
    """A dataset on disk, with other contents for some files, and without those of None."""
    for name, content in {**FILES, **changed}.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            file.write_text(content, encoding="utf-8")
    return path


def dataset(count: int = 25, *, size: int = 5, relevant_at: int = 3, **more: Any) -> Dataset:
    """As many queries, each with candidates of its own, of which one is relevant.

    The text of a candidate is `"<query> <place>"`; the relevant one says `"good"` after that.
    """
    queries = {f"q{number}": f"question {number}" for number in range(count)}
    documents, candidates, judgments = {}, {}, {}
    for query in queries:
        candidates[query] = [f"{query}-{place}" for place in range(1, size + 1)]
        judgments[query] = {f"{query}-{relevant_at}": 1}
        for place, name in enumerate(candidates[query], 1):
            documents[name] = f"{query} {place}" + (" good" if place == relevant_at else "")
    given = {"documents": documents, "queries": queries, "judgments": judgments}
    return Dataset(**{**given, "candidates": candidates, "name": "small", **more})


def model(
    score: Callable[[str], float], name: str = "mine", kind: ScoreKind = "probability"
) -> RerankClient:
    """A client whose score of a text is that of a function."""

    def scores(_: str, texts: Sequence[str]) -> list[float]:
        return [score(text) for text in texts]

    return RerankClient(name, provider=Local(scorer=scores, score_kind=kind))


def right(text: str) -> float:
    """Puts the relevant one first; the others keep their order."""
    return 0.9 if text.endswith("good") else 0.1


def wrong(text: str) -> float:
    """Puts the relevant one last."""
    return 0.1 if text.endswith("good") else 0.9


def level(_: str) -> float:
    """Leaves all as it was."""
    return 0.5
