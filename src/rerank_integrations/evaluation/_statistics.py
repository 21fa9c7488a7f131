"""How sure a difference is: paired tests and intervals over queries."""

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
    """A mean difference between two rankings of the same queries.

    Attributes:
        mean: of the differences.
        low: where the 95 % interval begins; None for a single query.
        high: where it ends.
        p_value: of the paired randomisation test, two-sided.
        detectable: the least difference that would be found with 80 % chance, with this spread and
            this number of queries and comparisons; None without spread.
    """

    mean: float
    low: float | None
    high: float | None
    p_value: float
    detectable: float | None


def difference(
    after: Mapping[str, float], before: Mapping[str, float], comparisons: int = 1
) -> Difference:
    """After minus before, paired by query.

    Args:
        after: values by query.
        before: the same queries.
        comparisons: how many are made together, for the detectable size.
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
    """P-values adjusted for their number (Holm, 1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def percentile(values: Sequence[float], share: float) -> float:
    """The least value that so large a share of the values does not exceed."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]
