"""A first stage for collections without candidates: plain BM25 over all documents."""

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
    """For each query the best documents that share a word with it, best first, with their scores.

    Equal scores keep the order of the corpus.
    """
    words = {name: split_words(text) for name, text in texts.items()}
    mean = sum(map(len, words.values())) / len(words) or 1.0
    holders: defaultdict[str, list[tuple[int, float]]] = defaultdict(list)
    for place, found in enumerate(words.values()):
        norm = _K1 * (1 - _B + _B * len(found) / mean)
        for word, times in Counter(found).items():
            holders[word].append((place, times / (times + norm)))
    names = list(texts)
    lists = {}
    for query, text in queries.items():
        scores: defaultdict[int, float] = defaultdict(float)
        for word in split_words(text):
            count = len(holders.get(word, ()))
            idf = math.log(1 + (len(names) - count + 0.5) / (count + 0.5))
            for place, weight in holders.get(word, ()):
                scores[place] += idf * weight
        best = sorted(scores, key=lambda place: (-scores[place], place))
        lists[query] = {names[place]: scores[place] for place in best[:depth]}
    return lists
