"""The verdict: the conclusion that the figures support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rerank_integrations.evaluation._results import (
    FirstStage,
    ModelResult,
    Pair,
    Verdict,
    dollars,
    joined,
)
from rerank_integrations.evaluation._statistics import ALPHA

LEAST = 20  # usable queries
_JUDGED = 0.1  # a difference in judged documents that is worth a warning
_NEAR = 0.02  # distance to the best possible order


def verdict_of(
    k: int, queries: int, first: FirstStage, models: Sequence[ModelResult], pairs: Sequence[Pair]
) -> Verdict:
    """The verdict.

    Args:
        k: the cutoff of the measure.
        queries: the number of measured queries.
        first: the result without reranking.
        models: the results of all models.
        pairs: each model compared with each other.
    """
    found = _found(k, queries, first, models, pairs)
    failures = [
        f"Failed calls of {m.name}: {len(m.failed)}. Their queries keep the order of the first "
        "stage."
        for m in models
        if m.failed
    ]
    return replace(found, text=" ".join([found.text, *failures]))


def _found(
    k: int, queries: int, first: FirstStage, models: Sequence[ModelResult], pairs: Sequence[Pair]
) -> Verdict:
    detectable = max((m.decides.detectable or 0.0 for m in models), default=0.0)
    size = f"a difference of {detectable:.3f} or more would be detected with a probability of 80 %"
    if queries < LEAST:
        known = f" With this number, {size}." if detectable else ""
        text = f"Too few queries to tell (usable: {queries}, needed: {LEAST}).{known}"
        return Verdict(outcome="too few", text=text)
    if not first.oracle:
        return Verdict(
            outcome="nothing found",
            text="The first stage found no relevant document for any query, so no reranking can "
            "help. Check the first stage, and the ids in the judgments.",
        )
    better = [m for m in models if _differs(m) and m.decides.gain > 0]
    worse = [m for m in models if _differs(m) and m.decides.gain < 0]
    told = [
        f"{m.name} makes the ranking worse, by {-m.decides.gain:.3f} nDCG@{k}{_interval(m, -1)}."
        for m in worse
    ]
    names = tuple(m.name for m in worse)
    if not better:
        other = [m.name for m in models if m not in worse]
        if other:
            which = "No model" if len(other) == len(models) else joined(other)
            verb = "is" if len(other) == 1 or which == "No model" else "are"
            no = "" if which == "No model" else "not "
            told.insert(
                0,
                f"{which} {verb} {no}distinguishable from no reranking on {queries} queries"
                + (f"; {size}." if detectable else "."),
            )
        return Verdict(
            outcome="worse" if worse else "not distinguishable", text=" ".join(told), worse=names
        )
    best = max(better, key=lambda m: m.decides.mean)
    level = [m for m in better if m is best or _level(pairs, best, m)]
    priced = [m for m in level if m.cost_per_1000 is not None]
    chosen = min(priced, key=_order) if priced else best
    text = (
        f"{chosen.name} gains {chosen.decides.gain:.3f} nDCG@{k}{_interval(chosen)} over no "
        f"reranking, {_price(chosen)}"
    )
    clause = _clause(k, first, chosen, best, [m for m in models if _level(pairs, chosen, m)])
    told.insert(0, f"{text}{clause and f'; {clause}'}.")
    return Verdict(
        outcome="pays",
        text=" ".join(told),
        recommended=chosen.name,
        best=best.name,
        worse=names,
    )


def _differs(model: ModelResult) -> bool:
    return model.decides.p_adjusted < ALPHA


def _level(pairs: Sequence[Pair], one: ModelResult, other: ModelResult) -> bool:
    """Return whether two models are not distinguishable."""
    return any(pair.has(one.name, other.name) and pair.p_adjusted >= ALPHA for pair in pairs)


def _order(model: ModelResult) -> tuple[float, float]:
    return model.cost_per_1000 or 0.0, -model.decides.mean


def _interval(model: ModelResult, sign: int = 1) -> str:
    found = model.decides
    if found.ci_low is None or found.ci_high is None:
        return ""
    low, high = sorted((sign * found.ci_low, sign * found.ci_high))
    return f" (95 % interval {low:.3f} to {high:.3f})"


def _price(model: ModelResult) -> str:
    if model.cost_per_1000 is None:
        return "at an unknown price"
    if model.in_process:
        return "at no charge, since it runs in this process"
    return f"for {dollars(model.cost_per_1000)} per 1,000 queries"


def _clause(
    k: int,
    first: FirstStage,
    chosen: ModelResult,
    best: ModelResult,
    level: Sequence[ModelResult],
) -> str:
    """The most important addition to the verdict; empty if there is none.

    `level` are the models that are not distinguishable from the chosen one.
    """
    own = chosen.cost_per_1000
    dearer = [m for m in level if _is_dearer(m.cost_per_1000, own)]
    if dearer:
        other = best if best in dearer else max(dearer, key=lambda m: m.cost_per_1000 or 0.0)
        return f"{other.name} {_price_of(other, own)} and is not distinguishable from it"
    judged, before = (chosen.measures[f"judged@{k}"].mean, first.means[f"judged@{k}"])
    if abs(judged - before) > _JUDGED:
        return (
            f"but {judged:.0%} of its first {k} documents are judged, and {before:.0%} without "
            "reranking, so label more documents before you rely on this"
        )
    if first.oracle - chosen.decides.mean <= _NEAR:
        return (
            "this is close to the best possible order of the candidates, so improve the first "
            "stage next"
        )
    return ""


def _is_dearer(cost: float | None, own: float | None) -> bool:
    """Whether a model costs more, or may cost more since its price is unknown."""
    return own is not None and (cost is None or cost > own)


def _price_of(model: ModelResult, own: float | None) -> str:
    cost = model.cost_per_1000
    if cost is None:
        return "has an unknown price"
    if own:
        return f"costs {cost / own:.1f} times as much"
    return f"costs {dollars(cost)} per 1,000 queries"


def costs_of(models: Mapping[str, ModelResult]) -> dict[str, float]:
    """Return the costs of the models whose cost is known."""
    known = {name: one.cost_per_1000 for name, one in models.items()}
    return {name: cost for name, cost in known.items() if cost is not None}


def front_of(costs: Mapping[str, float], values: Mapping[str, float]) -> list[str]:
    """The Pareto front: names that no other name beats in both cost and value, cheapest first."""
    front: list[str] = []
    for name in sorted(costs, key=lambda one: (costs[one], -values[one])):
        if not front or values[name] > values[front[-1]]:
            front.append(name)
    return front
