"""Paired significance tests and confidence intervals over queries."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rerank_integrations.evaluation._libraries import library

ALPHA = 0.05
_POWER = 0.8
_DRAWS = 9999
_SEED = 0
_LEAST = 2  # queries for an interval


class Difference(NamedTuple):
    """The mean difference between two rankings of the same queries.

    Attributes:
        mean: the mean of the differences.
        low: the lower end of the 95 % confidence interval; None for a single query.
        high: the upper end of the interval.
        p_value: the p-value of the two-sided paired randomisation test.
        detectable: the smallest difference that would be detected with a power of 80 %, for this
            standard deviation, number of queries and number of comparisons; None if the differences
            do not vary.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float
    detectable: float | None


def difference(
    after: Mapping[str, float], before: Mapping[str, float], comparisons: int = 1
) -> Difference:
    """Return the difference of `after` minus `before`, paired by query.

    Args:
        after: the values by query.
        before: the values of the same queries.
        comparisons: the number of comparisons made together, for the detectable difference.
    """
    differences = [after[query] - before[query] for query in before]
    count = len(differences)
    mean = math.fsum(differences) / count
    if count < _LEAST:  # either sign is as likely
        return Difference(mean, None, None, 1.0, None)
    if not any(differences):
        return Difference(0.0, 0.0, 0.0, 1.0, None)
    stats, np = library("scipy.stats"), library("numpy")
    drawn = {"n_resamples": _DRAWS, "rng": _SEED, "vectorized": True}
    test = stats.permutation_test(
        (np.array(differences),), np.mean, permutation_type="samples", batch=1000, **drawn
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # equal differences have no spread, and that is fine
        interval = stats.bootstrap(
            (np.array(differences),), np.mean, method="percentile", **drawn
        ).confidence_interval
    spread = float(np.std(differences, ddof=1))
    quantile = stats.norm.ppf
    reach = quantile(1 - ALPHA / (2 * comparisons)) + quantile(_POWER)
    return Difference(
        mean,
        float(interval.low),
        float(interval.high),
        float(test.pvalue),
        float(reach) * spread / math.sqrt(count) or None,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values with Holm's correction (1979), in the same order."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least this share of the values does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
