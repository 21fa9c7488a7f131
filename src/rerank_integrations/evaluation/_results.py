"""What is known after an evaluation, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rerank_integrations.evaluation._studies import Threshold

Outcome: TypeAlias = Literal["pays", "not distinguishable", "worse", "nothing found", "too few"]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A measure of a model, and its difference to no reranking.

    Attributes:
        mean: over the queries.
        gain: the mean minus that of the first stage.
        ci_low: where the 95 % interval of the gain begins; None for a single query.
        ci_high: where it ends.
        p_value: of the paired randomisation test of the gain, as it is.
        p_adjusted: the same after Holm's correction for all comparisons of this measure.
        detectable: the least gain that would be found with 80 % chance; None without spread.
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
    """Seconds of the calls of a run, retries included and waits for slots of a rate limit not.

    Attributes:
        p50: what half of the calls did not exceed.
        p95: what 95 % of them did not exceed.
        p99: what 99 % of them did not exceed.
        calls: how many were measured: none that came from a checkpoint or a cache.
        at_once: how many calls were in flight at once.
    """

    p50: float
    p95: float
    p99: float
    calls: int
    at_once: int


@dataclass(frozen=True, kw_only=True)
class ModelResult:
    """What a model did.

    Attributes:
        name: what it is called.
        score_kind: what its scores are.
        in_process: whether it is an engine of this process, for which nobody charges.
        measures: by name; the first one decides.
        wins: the queries whose first measure is higher than without reranking.
        losses: those where it is lower.
        ties: those where it is the same.
        gap_closed: the gain as a part of what the best order of the candidates would gain; None
            where that gains nothing.
        cost_per_1000: US dollars for a thousand queries; None where it is unknown.
        requests_per_1000: requests for a thousand queries, retries included; None where all came
            from a checkpoint or a cache.
        tokens_per_1000: tokens for a thousand queries; None where not each response says them.
        search_units_per_1000: the same for search units.
        latency: None where all came from a checkpoint or a cache.
        failed: the queries whose call failed; they keep the order of the first stage.
        failure: the first error of these.
        stored: how many responses came from the checkpoint.
        curve: the first measure by how many candidates are reranked, 0 included.
        curve_note: why there is no curve.
        kept: recall by how many documents are passed on.
        threshold: what a `score_threshold` would do.
        threshold_note: why there is none.
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
        """The measure that decides, nDCG@k."""
        return next(iter(self.measures.values()))


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """The candidates as they were found, which is no reranking.

    Attributes:
        name: what found them.
        means: of each measure.
        per_query: of each measure, the value of each query.
        oracle: the first measure of the best possible order of the candidates.
        without_relevant: the queries that have no relevant candidate.
        kept: recall by how many documents are passed on.
    """

    name: str
    means: dict[str, float]
    per_query: dict[str, dict[str, float]]
    oracle: float
    without_relevant: tuple[str, ...]
    kept: dict[int, float]

    @property
    def lost(self) -> float:
        """How much no order of the candidates can reach."""
        return 1 - self.oracle


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two models compared, paired by query.

    Attributes:
        first, second: their names.
        difference: the mean of the second minus that of the first, in the measure that decides.
        ci_low, ci_high: its 95 % interval; None for a single query.
        p_value: of the paired randomisation test.
        p_adjusted: after Holm's correction for all comparisons.
        wins, losses, ties: the queries in which the second is higher, lower, the same.
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
        """Whether it compares these two."""
        return set(names) == {self.first, self.second}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The answer in a sentence or two.

    Attributes:
        outcome: "pays"; "not distinguishable" (no model from no reranking); "worse" (a model is,
            and none is better); "nothing found" (no candidate is relevant); "too few" (queries).
        text: the answer.
        recommended: the cheapest model that is not distinguishable from the best; None unless
            it pays.
        best: the model with the highest mean of those that are better than no reranking.
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
    """Wins, losses and ties by query."""
    signs = [(after[one] > before[one]) - (after[one] < before[one]) for one in before]
    return signs.count(1), signs.count(-1), signs.count(0)


def dollars(cost: float) -> str:
    """An amount of US dollars with two digits at least."""
    return f"${cost:,.2f}" if cost >= 0.1 or not cost else f"${cost:.2g}"


def joined(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([*([", ".join(names[:-1])] if names[1:] else []), *names[-1:]])
