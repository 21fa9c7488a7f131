"""What the lexical engines are worth on judged collections, against the order they are given."""

from __future__ import annotations

import functools
import html
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from cases import cases
from rerank_integrations.evaluation import Dataset
from rerank_integrations.evaluation._dataset import text_of
from rerank_integrations.evaluation._measures import mean, ndcg
from rerank_integrations.providers import _lexical

Lists: TypeAlias = dict[str, list[str]]
FAQ = Path(__file__).parents[2] / "notebooks" / "data" / "python-faq"
SHARED = Path(os.environ.get("RERANK_SHARED") or Path(__file__).parents[3] / "shared")
CRANFIELD = SHARED / "data" / "cranfield"
DEBIAN = Path("/usr/share/doc/debian/FAQ")
ENGINES = {"bm25": _lexical.bm25_scores, "hybrid": _lexical.hybrid_scores}
DEPTHS = (None, 2, 5, 10)
TITLE = re.compile(r'<h2 class="title">(.*?)</h2>', re.DOTALL)


def reranked(
    found: Sequence[str], words: _lexical.Words, engine: str, depth: int | None
) -> list[str]:
    """The candidates with the first of them in the engine's order."""
    scores = ENGINES[engine](words._replace(texts=words.texts[:depth]))
    order = sorted(range(len(scores)), key=lambda at: -scores[at])
    return [found[at] for at in order] + list(found[len(order) :])


def quality(collection: Dataset, lists: Lists) -> float:
    """The mean nDCG@10."""
    return mean(ndcg({query: collection.judgments[query] for query in lists}, lists, 10))


@cases(
    ("folder", "goals"),
    [(FAQ, {"bm25": 0.72, "hybrid": 0.72}), (CRANFIELD, {"hybrid": 0.50})],
    ids=["Python FAQ", "Cranfield"],
)
def test_quality(folder: Path, goals: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """nDCG@10 reaches its goal, and on the first 2, 5 and 10 is not below the first stage."""
    if not folder.is_dir():
        pytest.skip(f"{folder.name} is not there; set RERANK_SHARED to the folder that has data/")
    collection = Dataset.read(folder, depth=50)
    texts = {name: text_of(one) for name, one in collection.documents.items()}
    step = 2 if folder == CRANFIELD else 1  # which takes long
    before = {query: list(collection.candidates[query]) for query in [*collection.queries][::step]}
    # a document stands in many lists; each is taken apart once
    monkeypatch.setattr(_lexical, "split_words", functools.cache(_lexical.split_words))
    after: dict[tuple[str, int | None], Lists] = {
        (engine, depth): {} for engine in goals for depth in DEPTHS
    }
    for query, found in before.items():
        words = _lexical.words_of(collection.queries[query], [texts[one] for one in found])
        for (engine, depth), lists in after.items():
            lists[query] = reranked(found, words, engine, depth)

    first = quality(collection, before)
    for (engine, depth), lists in after.items():
        least = goals[engine] if depth is None else first - 1e-9  # sums differ by rounding
        assert quality(collection, lists) >= least, (engine, depth, first)


def plain(markup: str) -> str:
    """The text of a piece of HTML."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


@cases(
    ("language", "folder", "goal"),
    [("de", "de", 0.55), ("fr", "fr", 0.58), ("ja", "ja", 0.54), ("zh-cn", "zh-cn", 0.62)],
)
def test_quality_in_other_languages(
    language: str, folder: str, goal: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hybrid finds the sections of Debian's FAQ by their titles, in the language of each."""
    pages = sorted((DEBIAN / folder).glob(f"*.{language}.html"))
    if not pages:
        pytest.skip(f"Debian's package debian-faq-{language} is not installed")
    monkeypatch.setattr(_lexical, "split_words", functools.cache(_lexical.split_words))
    titles, texts = [], []
    for page in pages:
        _, *parts = TITLE.split(page.read_text(encoding="utf-8"))
        titles += [plain(one).lstrip("0123456789. ") for one in parts[::2]]
        texts += [plain(one) for one in parts[1::2]]
    gains = []
    for number, title in enumerate(titles):
        scores = _lexical.hybrid_scores(_lexical.words_of(title, texts))
        place = sorted(range(len(texts)), key=lambda at: -scores[at]).index(number)
        gains.append(1 / math.log2(place + 2) if place < 10 else 0.0)
    assert sum(gains) / len(gains) >= goal, sum(gains) / len(gains)
