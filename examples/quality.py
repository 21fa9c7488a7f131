"""What reranking gains on judged questions: Python's FAQ, which is shipped with the notebooks."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import NamedTuple

import bm25s
import numpy as np
from ir_measures import nDCG

from rerank_integrations import RerankClient

sys.path.append(str(Path(__file__).resolve().parents[1] / "notebooks"))
from judged import Collection, Rankings, interval, ranking, read, values

COLLECTION = Path(__file__).resolve().parents[1] / "notebooks" / "data" / "python-faq"
CANDIDATES = 50


class Gain(NamedTuple):
    """nDCG@10 before and after reranking, as means over questions.

    Attributes:
        questions: how many.
        before: of the first stage.
        after: of its candidates in the reranker's order.
        low: where the gain begins, with 95 % confidence (paired bootstrap over questions).
        high: where it ends.
    """

    questions: int
    before: float
    after: float
    low: float
    high: float


def retrieved(collection: Collection) -> Rankings:
    """The candidates of each question: plain BM25, no stop words, no stems."""
    names = list(collection.corpus)
    index = bm25s.BM25(k1=1.2)
    index.index([_words(text) for text in _texts(collection).values()], show_progress=False)
    found = {}
    for name, question in collection.queries.items():
        scores = index.get_scores(_words(question))
        best = np.argsort(-scores, kind="stable")[:CANDIDATES]
        found[name] = [names[place] for place in best if scores[place] > 0]
    return found


def gain_of(model: str) -> Gain:
    """Rerank the candidates of every question, and compare."""
    collection = read(COLLECTION)
    texts = _texts(collection)
    before, after = retrieved(collection), {}
    with RerankClient(model) as client:
        for name, question in collection.queries.items():
            response = client.rerank(question, [texts[one] for one in before[name]])
            after[name] = ranking(before[name], response)
    measure = nDCG @ 10
    old, new = (
        np.array(list(values(collection.judgments, found, [measure])[measure].values()))
        for found in (before, after)
    )
    return Gain(len(old), float(old.mean()), float(new.mean()), *interval(new - old))


def _texts(collection: Collection) -> dict[str, str]:
    return {name: f"{row['title']}\n{row['text']}" for name, row in collection.corpus.items()}


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())
