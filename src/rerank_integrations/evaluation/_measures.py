"""Computes the measures of rankings with ir_measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from rerank_integrations.evaluation._libraries import library

Rankings: TypeAlias = Mapping[str, Sequence[str]]
"""The documents of each query, best first."""
PerQuery: TypeAlias = Mapping[str, float]
"""The value of a measure for each query."""


def names(k: int) -> tuple[str, ...]:
    """Return the names of the measures; the verdict is based on the first one."""
    return (f"nDCG@{k}", f"MRR@{k}", f"recall@{k}", "MAP", "success@1", f"judged@{k}")


def per_query(
    judgments: Mapping[str, Mapping[str, int]], rankings: Rankings, k: int
) -> dict[str, dict[str, float]]:
    """Return the value of each measure and query; 0 for a query without a ranking.

    Args:
        judgments: the judgments of the queries to evaluate.
        rankings: the rankings of these queries.
        k: the cutoff of the measures.
    """
    measures = library("ir_measures")
    wanted = (
        measures.nDCG @ k,
        measures.RR @ k,
        measures.R @ k,
        measures.AP,
        measures.Success @ 1,
        measures.Judged @ k,
    )
    shown = dict(zip(wanted, names(k), strict=True))
    found = {name: dict.fromkeys(judgments, 0.0) for name in names(k)}
    for value in _calculated(judgments, rankings, wanted):
        found[shown[value.measure]][value.query_id] = value.value
    return found


def ndcg(
    judgments: Mapping[str, Mapping[str, int]], rankings: Rankings, k: int
) -> dict[str, float]:
    """Return nDCG@k of each query."""
    measure = library("ir_measures").nDCG @ k
    values = _calculated(judgments, rankings, [measure])
    return dict.fromkeys(judgments, 0.0) | {one.query_id: one.value for one in values}


def _calculated(
    judgments: Mapping[str, Mapping[str, int]], rankings: Rankings, measures: Iterable[object]
) -> list[Any]:
    # trec_eval sorts by score, and equal scores by id: so each place has a score of its own
    run = {
        query: {document: -float(place) for place, document in enumerate(rankings[query])}
        for query in judgments
        if rankings.get(query)
    }
    if not run:
        return []
    grades = {query: dict(row) for query, row in judgments.items()}
    return list(library("ir_measures").iter_calc(list(measures), grades, run))


def best_possible(judgments: Mapping[str, Mapping[str, int]], rankings: Rankings) -> Rankings:
    """Return the candidates in the best possible order, which no reranker can exceed."""
    return {
        query: sorted(rankings.get(query, ()), key=lambda one: -row.get(one, 0))
        for query, row in judgments.items()
    }


def to_depth(before: Rankings, after: Rankings, depth: int) -> Rankings:
    """Return the rankings if only the first `depth` candidates were reranked.

    This is exact for a model that scores each document independently.
    """
    lists = {}
    for query, found in before.items():
        first = set(found[:depth])
        lists[query] = [one for one in after[query] if one in first] + list(found[depth:])
    return lists


def mean(values: PerQuery) -> float:
    """Return the mean over the queries."""
    return sum(values.values()) / len(values)


def recall(judgments: Mapping[str, Mapping[str, int]], rankings: Rankings, kept: int) -> float:
    """Return the mean recall: the share of a query's relevant documents among the first `kept`."""
    shares = []
    for query, row in judgments.items():
        relevant = {one for one, grade in row.items() if grade > 0}
        shares.append(len(relevant.intersection(rankings.get(query, ())[:kept])) / len(relevant))
    return sum(shares) / len(shares)
