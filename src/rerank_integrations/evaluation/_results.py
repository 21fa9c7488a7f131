"""The data classes of an evaluation's result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rerank_integrations.evaluation._studies import Threshold

Outcome: TypeAlias = Literal["pays", "not distinguishable", "worse", "nothing found", "too few"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A measure of a model, and its difference from no reranking.

    Attributes:
        mean: the mean over the queries.
        gain: the mean minus the mean of the first stage.
        ci_low: the lower end of the 95 % confidence interval of the gain; None for a single query.
        ci_high: the upper end of the interval.
        p_value: the p-value of the paired randomisation test of the gain, without correction.
        p_adjusted: the p-value after Holm's correction for all comparisons of this measure.
        detectable: the smallest gain that would be detected with a power of 80 %; None if the
            values do not vary.
        per_query: the value of each query.
    """

    mean: float
    gain: float
    ci_low: float | None
    ci_high: float | None
    p_value: float
    p_adjusted: float
    detectable: float | None
    per_query: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The latency of a run's calls in seconds, with retries but without waits for a rate limit.

    Attributes:
        p50: the median.
        p95: the 95th percentile.
        p99: the 99th percentile.
        calls: the number of measured calls, without those from a checkpoint or a cache.
        at_once: how many calls were in flight at once.
    """

    p50: float
    p95: float
    p99: float
    calls: int
    at_once: int


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """The result of a model.

    Attributes:
        name: the name of the model.
        score_kind: the kind of its scores, as in `RerankResponse.score_kind`.
        in_process: whether the model runs in this process, so that nobody charges for it.
        measures: the measures by name; the verdict is based on the first one.
        wins: the number of queries with a higher nDCG@k than without reranking.
        losses: the number of queries with a lower nDCG@k.
        ties: the number of queries with the same nDCG@k.
        gap_closed: the gain as a fraction of the gain of the best possible order of the candidates;
            None if that gains nothing.
        cost_per_1000: the cost of 1,000 queries in US dollars; None if it is unknown.
        requests_per_1000: the number of requests for 1,000 queries, with retries; None if all
            responses came from a checkpoint or a cache.
        tokens_per_1000: the number of tokens for 1,000 queries; None if a response does not report
            it.
        search_units_per_1000: the number of search units for 1,000 queries; None if a response
            does not report it.
        latency: the latency of the calls; None if all responses came from a checkpoint or a cache.
        failed: the queries whose call failed; they keep the order of the first stage.
        failure: the message of the first of these errors.
        stored: the number of responses from the checkpoint.
        curve: nDCG@k by the number of candidates that are reranked, including 0.
        curve_note: why there is no curve.
        kept: recall by the number of documents that are passed on.
        threshold: the effect of a `score_threshold`; None without one.
        threshold_note: why there is no threshold.
    """

    name: str
    score_kind: str
    in_process: bool
    measures: dict[str, Measured]
    wins: int
    losses: int
    ties: int
    gap_closed: float | None
    cost_per_1000: float | None
    requests_per_1000: float | None
    tokens_per_1000: float | None
    search_units_per_1000: float | None
    latency: Latency | None
    failed: tuple[str, ...]
    failure: str
    stored: int
    curve: dict[int, float]
    curve_note: str
    kept: dict[int, float]
    threshold: Threshold | None
    threshold_note: str

    @property
    def decides(self) -> Measured:
        """The measure that the verdict is based on: nDCG@k."""
        return next(iter(self.measures.values()))


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """The result of the first stage, without reranking.

    Attributes:
        name: the name of the first stage.
        means: the mean of each measure.
        per_query: the value of each query, by measure.
        oracle: nDCG@k of the best possible order of the candidates.
        without_relevant: the queries without a relevant candidate.
        kept: recall by the number of documents that are passed on.
    """

    name: str
    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    oracle: float
    without_relevant: tuple[str, ...]
    kept: dict[int, float]

    @property
    def lost(self) -> float:
        """The nDCG@k that no order of the candidates can reach."""
        return 1 - self.oracle


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A comparison of two models, paired by query.

    Attributes:
        first: the name of the first model.
        second: the name of the second model.
        difference: the mean nDCG@k of the second model minus that of the first.
        ci_low: the lower end of the 95 % confidence interval of the difference; None for a single
            query.
        ci_high: the upper end of the interval.
        p_value: the p-value of the paired randomisation test, without correction.
        p_adjusted: the p-value after Holm's correction for all comparisons.
        wins: the number of queries in which the second model is better.
        losses: the number of queries in which the second model is worse.
        ties: the number of queries in which both are equal.
    """

    first: str
    second: str
    difference: float
    ci_low: float | None
    ci_high: float | None
    p_value: float
    p_adjusted: float
    wins: int
    losses: int
    ties: int

    def has(self, *names: str) -> bool:
        """Return whether this is the comparison of the two named models.

        Args:
            names: the names of two models, in either order.
        """
        return set(names) == {self.first, self.second}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict of an evaluation.

    Attributes:
        outcome: "pays"; "not distinguishable" (no model differs significantly from no reranking);
            "worse" (a model is worse, and none is better); "nothing found" (no candidate is
            relevant); "too few" (queries).
        text: the verdict in a few sentences.
        recommended: the cheapest model that is not distinguishable from the best one; None unless
            reranking pays.
        best: the model with the highest mean, among those that are better than no reranking.
        worse: the models that are worse than no reranking.
    """

    outcome: Outcome
    text: str
    recommended: str | None = None
    best: str | None = None
    worse: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.text


def counts(after: dict[str, float], before: dict[str, float]) -> tuple[int, int, int]:
    """Return the numbers of wins, losses and ties over the queries."""
    signs = [(after[one] > before[one]) - (after[one] < before[one]) for one in before]
    return signs.count(1), signs.count(-1), signs.count(0)


def dollars(cost: float) -> str:
    """Return an amount of US dollars as text, with at least two digits."""
    return f"${cost:,.2f}" if cost >= 0.1 or not cost else f"${cost:.2g}"


def joined(names: Sequence[str]) -> str:
    """Join names for a sentence, with "and" before the last one."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])
