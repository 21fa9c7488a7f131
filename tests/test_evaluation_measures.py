"""The arithmetic of an evaluation: measures, tests, corrections, thresholds."""

from __future__ import annotations

import itertools
import math
import random
import tracemalloc

import pytest

from cases import cases
from rerank_integrations.evaluation._first_stage import bm25_candidates
from rerank_integrations.evaluation._measures import (
    best_possible,
    names,
    ndcg,
    per_query,
    recall,
    to_depth,
)
from rerank_integrations.evaluation._statistics import difference, holm, percentile
from rerank_integrations.evaluation._studies import curve_of, depths_of, threshold_of
from rerank_integrations.evaluation._verdict import front_of

HALF = 1 / math.log2(3)  # what the second place is worth


def test_measures_are_those_of_the_textbook() -> None:
    """Gains count as they are, by the logarithm of the place, against the best order."""
    judged = {"1": {"a": 2, "b": 1, "c": 0}, "2": {"a": 1}}
    found = per_query(judged, {"1": ["b", "a", "x"], "2": ["c", "x", "a"]}, 2)

    assert tuple(found) == names(2)
    assert found["nDCG@2"] == {
        "1": pytest.approx((1 + 2 * HALF) / (2 + HALF)),
        "2": 0,  # the third place is beyond 2
    }
    assert found["MRR@2"] == {"1": 1, "2": 0}
    assert found["recall@2"] == {"1": 1, "2": 0}
    assert found["MAP"] == {"1": 1, "2": pytest.approx(1 / 3)}  # it has no cut-off
    assert found["success@1"] == {"1": 1, "2": 0}
    assert found["judged@2"] == {"1": 1, "2": 0}


def test_measures_follow_the_order_and_not_the_names() -> None:
    """The first of a ranking is the first, however many there are and whatever they are called."""
    for order in (["a", "z"], ["z", "a"]):
        assert per_query({"1": {"a": 1}}, {"1": order}, 10)["MRR@10"]["1"] == 1 / (
            1 + order.index("a")
        )
    long = [f"d{number:05}" for number in range(3000)]
    assert per_query({"1": {long[-1]: 1}}, {"1": long}, 10)["MAP"]["1"] == pytest.approx(1 / 3000)


@cases("rankings", [{"1": ["a"]}, {"1": ["a"], "2": []}])
def test_a_query_that_found_nothing_counts_as_nothing(rankings: dict[str, list[str]]) -> None:
    """It is 0 and not left out, or who finds less would look better."""
    judged = {"1": {"a": 1}, "2": {"b": 1}}
    assert ndcg(judged, rankings, 10) == {"1": 1, "2": 0}
    assert ndcg(judged, {}, 10) == {"1": 0, "2": 0}


def test_the_best_order_and_shorter_lists() -> None:
    """The oracle sorts candidates by grade; a depth reranks only the first of them."""
    assert best_possible({"1": {"b": 1, "c": 2}}, {"1": ["a", "b", "c"]}) == {"1": ["c", "b", "a"]}
    before, after = {"1": ["a", "b", "c"]}, {"1": ["c", "b", "a"]}
    seen = [to_depth(before, after, depth)["1"] for depth in range(4)]
    assert seen == [["a", "b", "c"], ["a", "b", "c"], ["b", "a", "c"], ["c", "b", "a"]]
    assert curve_of({"1": {"c": 1}}, before, after, [2, 3], 10) == {0: 0.5, 2: 0.5, 3: 1.0}
    assert recall({"1": {"a": 1, "z": 1}}, before, 1) == 0.5
    assert depths_of(7) == [5, 7]
    assert depths_of(50) == [5, 10, 20, 50]


@cases(
    ("given", "expected"),
    [
        ([], []),
        ([0.03], [0.03]),
        # Holm's own procedure by hand: times 4, 3, 2, 1, and never falling
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.0001, 0.0001], [0.0002, 0.0002]),
        ([0.6, 0.9, 0.7], [1.0, 1.0, 1.0]),
        # the worked example of R's p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
        ([0.01, 0.02, 0.03, 0.04, 0.05], [0.05, 0.08, 0.09, 0.09, 0.09]),
    ],
)
def test_holm(given: list[float], expected: list[float]) -> None:
    """P-values are adjusted as in worked examples, in the order in which they came."""
    assert holm(given) == pytest.approx(expected)


def test_the_permutation_test_is_the_exact_one_for_few_queries() -> None:
    """It counts the signs of differences whose mean is as far from 0; equal rankings have p = 1."""
    draw = random.Random(1)  # noqa: S311
    for count in (3, 5, 9):
        after = {str(n): draw.choice([0.1, 0.5, 0.7, 1.0]) for n in range(count)}
        before = {str(n): draw.choice([0.0, 0.3, 0.5]) for n in range(count)}
        found = [after[one] - before[one] for one in before]
        sums = [
            abs(sum(sign * one for sign, one in zip(signs, found, strict=True)))
            for signs in itertools.product((1, -1), repeat=count)
        ]
        as_far = sum(one >= abs(sum(found)) - 1e-12 for one in sums)
        assert difference(after, before).p_value == pytest.approx(as_far / len(sums))
    same = difference({"1": 0.5, "2": 0.1}, {"1": 0.5, "2": 0.1})
    assert same == (0.0, 0.0, 0.0, 1.0, None)


def test_the_interval_is_that_of_the_mean() -> None:
    """It holds the mean, narrows with more queries, is the same each time; one query has none."""

    def of(count: int) -> tuple[float, float]:
        found = difference(
            {str(n): n % 2 for n in range(count)}, dict.fromkeys(map(str, range(count)), 0.0)
        )
        assert found.low is not None
        assert found.high is not None
        return found.low, found.high

    low, high = of(16)
    assert low < 0.5 < high
    assert of(16) == (low, high)
    assert of(400)[1] - of(400)[0] < (high - low) / 3
    assert difference({"1": 0.5}, {"1": 0.25})[:3] == (0.25, None, None)
    assert difference({"1": 0.5, "2": 0.5}, {"1": 0.25, "2": 0.25})[:3] == (0.25, 0.25, 0.25)


def test_the_detectable_size_shrinks_with_queries_and_grows_with_comparisons() -> None:
    """It is 2.8 standard errors for one comparison, and more where several are corrected for."""

    def of(count: int, comparisons: int = 1) -> float:
        after = {str(n): 0.2 * (n % 2) for n in range(count)}
        found = difference(after, dict.fromkeys(after, 0.0), comparisons).detectable
        assert found is not None
        return found

    error = 0.1 * math.sqrt(100 / 99) / math.sqrt(100)
    assert of(100) == pytest.approx(2.8016 * error, rel=1e-3)
    assert of(100) < of(30) < of(30, 5)


def test_a_threshold_is_chosen_on_one_half_and_reported_on_the_other() -> None:
    """Queries with nothing relevant count where nothing is passed on; too few have no threshold."""
    judged, rankings, scores = {}, {}, {}
    for number in range(60):
        query = f"q{number}"
        own = [f"{query}-{place}" for place in range(4)]
        rankings[query] = own
        judged[query] = {own[0]: 1} if number % 3 else {own[0]: 0}
        scores[query] = dict.fromkeys(own, 0.2) | ({own[0]: 0.8} if number % 3 else {})
    found = threshold_of(judged, rankings, scores, 10)

    assert found is not None
    assert found.value == 0.8
    assert (found.chosen_on, found.queries) == (30, 30)
    assert (found.f1, found.recall) == (1.0, 1.0)
    assert found.f1_without == pytest.approx(0.4 * (30 - found.nothing_relevant) / 30)
    assert found.nothing_relevant == found.nothing_passed_on > 0
    few = dict(list(judged.items())[:19])
    assert threshold_of(few, rankings, scores, 10) is None


def test_percentiles_and_the_front() -> None:
    """A percentile is one of the values; the front has what nothing beats in cost and value."""
    assert [percentile([3, 1, 2, 4], share) for share in (0.25, 0.5, 0.95, 1)] == [1, 2, 4, 4]
    costs = {"free": 0.0, "cheap": 0.1, "bad": 0.2, "good": 0.3, "same": 0.4}
    values = {"free": 0.5, "cheap": 0.6, "bad": 0.4, "good": 0.7, "same": 0.7}
    assert front_of(costs, values) == ["free", "cheap", "good"]


def test_the_first_stage_keeps_no_words_that_no_query_has() -> None:
    """The words of a large corpus need gigabytes, and those of the queries are enough."""
    texts = {f"d{n}": " ".join(f"w{n}x{at}" for at in range(200)) + " red" for n in range(60)}
    tracemalloc.start()
    try:
        found = bm25_candidates({"1": "red w7x7", "2": "none"}, texts, 2)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (list(found["1"]), found["2"]) == (["d7", "d0"], {})
    assert peak < 300_000
