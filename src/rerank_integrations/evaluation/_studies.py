"""Studies of a run's scores: how many documents to rerank and to keep, and a score threshold."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rerank_integrations.evaluation._measures import Rankings, mean, ndcg, to_depth

DEPTHS = (5, 10, 20, 50, 100, 200, 500, 1000)
KEPT = (1, 2, 3, 5, 10, 20, 30, 50)
_LEAST = 20  # queries for a threshold
_SEED = 0
_STEPS = 200  # thresholds that are tried


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A `score_threshold` chosen on one half of the queries, and its effect on the other half.

    All attributes except `value` and `chosen_on` are measured on the other half. The results among
    the first k with at least this score are passed on.

    Attributes:
        value: the threshold; None if keeping all results was best.
        chosen_on: the number of queries on which it was chosen.
        queries: the number of queries on which it was tested.
        f1: the mean F1 score of the documents that are passed on; 1 for a query without relevant
            candidates if no document is passed on.
        f1_without: the mean F1 score without a threshold.
        passed_on: the mean number of documents that are passed on.
        recall: the mean share of the relevant candidates that are passed on.
        nothing_relevant: the number of queries without a relevant candidate.
        nothing_passed_on: the number of these for which no document is passed on, as is right.
    """

    value: float | None
    chosen_on: int
    queries: int
    f1: float
    f1_without: float
    passed_on: float
    recall: float
    nothing_relevant: int
    nothing_passed_on: int


def depths_of(most: int) -> list[int]:
    """Return the numbers of candidates to try."""
    return [depth for depth in DEPTHS if depth < most] + [most]


def curve_of(
    judgments: Mapping[str, Mapping[str, int]],
    before: Rankings,
    after: Rankings,
    depths: Sequence[int],
    k: int,
) -> dict[int, float]:
    """Return the mean nDCG@k by the number of candidates that are reranked."""
    return {
        depth: mean(ndcg(judgments, to_depth(before, after, depth), k)) for depth in (0, *depths)
    }


def threshold_of(
    judgments: Mapping[str, Mapping[str, int]],
    rankings: Rankings,
    scores: Mapping[str, Mapping[str, float]],
    k: int,
) -> Threshold | None:
    """Choose a threshold on one half of the queries, and test it; None for too few queries."""
    queries = sorted(query for query in judgments if scores.get(query))
    if len(queries) < _LEAST:
        return None
    random.Random(_SEED).shuffle(queries)  # noqa: S311  # the same halves each time
    half = len(queries) // 2
    choosing, other = queries[:half], queries[half:]

    def relevant(query: str) -> set[str]:
        return {one for one in rankings[query] if judgments[query].get(one, 0) > 0}

    def passed_on(query: str, least: float | None) -> list[str]:
        own = scores[query]
        first = [one for one in rankings[query][:k] if one in own]
        return first if least is None else [one for one in first if own[one] >= least]

    def f1(chosen: Sequence[str], least: float | None) -> float:
        return sum(_f1(passed_on(one, least), relevant(one)) for one in chosen) / len(chosen)

    # the scores of the first k are where what is passed on changes
    found = sorted({scores[one][name] for one in choosing for name in passed_on(one, None)})
    step = max(1, len(found) // _STEPS)
    tried: list[float | None] = [None, *found[::step]]
    value = max(tried, key=lambda least: f1(choosing, least))  # the first of equals
    kept = {one: passed_on(one, value) for one in other}
    wanted = {one: relevant(one) for one in other}
    shares = [
        len(wanted[one].intersection(kept[one])) / len(wanted[one]) for one in other if wanted[one]
    ]
    empty = [one for one in other if not wanted[one]]
    return Threshold(
        value=value,
        chosen_on=len(choosing),
        queries=len(other),
        f1=f1(other, value),
        f1_without=f1(other, None),
        passed_on=sum(map(len, kept.values())) / len(other),
        recall=sum(shares) / len(shares) if shares else 0.0,
        nothing_relevant=len(empty),
        nothing_passed_on=sum(not kept[one] for one in empty),
    )


def _f1(kept: Sequence[str], relevant: set[str]) -> float:
    """Return the F1 score; 1 if nothing is relevant and nothing is kept."""
    if not relevant or not kept:
        return float(not relevant and not kept)
    return 2 * len(relevant.intersection(kept)) / (len(relevant) + len(kept))
