"""A first stage for datasets without candidates: BM25 over all documents."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping

from rerank_integrations.providers._lexical import split_words

# as full-text search has it by default: no stop words, no stems
_K1, _B = 1.2, 0.75


def bm25_candidates(
    queries: Mapping[str, str], texts: Mapping[str, str], depth: int
) -> dict[str, dict[str, float]]:
    """Return for each query the documents with the highest scores, best first, with the scores.

    Documents without a word of the query are left out. Equal scores keep the order of the corpus.
    """
    asked = {query: split_words(text) for query, text in queries.items()}
    # no other words are kept: those of a large corpus need gigabytes
    holders: dict[str, list[tuple[int, int]]] = {w: [] for words in asked.values() for w in words}
    lengths = []
    for place, text in enumerate(texts.values()):
        words = split_words(text)
        lengths.append(len(words))
        for word, times in Counter(filter(holders.__contains__, words)).items():
            holders[word].append((place, times))
    mean = sum(lengths) / len(lengths) or 1.0
    norms = [_K1 * (1 - _B + _B * length / mean) for length in lengths]
    names = list(texts)
    lists = {}
    for query, words in asked.items():
        scores: defaultdict[int, float] = defaultdict(float)
        for word in words:
            count = len(holders[word])
            idf = math.log(1 + (len(names) - count + 0.5) / (count + 0.5))
            for place, times in holders[word]:
                scores[place] += idf * (times / (times + norms[place]))
        best = sorted(scores, key=lambda place: (-scores[place], place))
        lists[query] = {names[place]: scores[place] for place in best[:depth]}
    return lists
