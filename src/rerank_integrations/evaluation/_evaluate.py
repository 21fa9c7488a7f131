"""Measure models on a dataset: run them, compare them, and say what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from rerank_integrations import __version__
from rerank_integrations._ledger import Price, Progress
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import ConfigurationError, InvalidRequestError
from rerank_integrations.evaluation import _measures as measures, _studies as studies
from rerank_integrations.evaluation._dataset import DEPTH, Dataset, Judgments
from rerank_integrations.evaluation._evaluation import Evaluation
from rerank_integrations.evaluation._libraries import library
from rerank_integrations.evaluation._results import (
    FirstStage,
    Latency,
    Measured,
    ModelResult,
    Pair,
    counts,
)
from rerank_integrations.evaluation._run import Budget, Run, clients_of, is_in_process, run_model
from rerank_integrations.evaluation._statistics import difference, holm, percentile
from rerank_integrations.evaluation._verdict import verdict_of
from rerank_integrations.providers.base import Provider


def evaluate(
    dataset: Dataset | str | PathLike[str],
    models: Sequence[str | RerankClient] | Mapping[str, str | RerankClient],
    *,
    k: int = 10,
    top_k: int = DEPTH,
    max_queries: int | None = None,
    max_cost: float | None = None,
    price: Price | Mapping[str, Price] | None = None,
    checkpoint_dir: str | PathLike[str] | None = None,
    max_concurrency: int = 8,
    curve: bool = True,
    progress: bool | Callable[[str, Progress], Any] = False,
    **settings: Any,
) -> Evaluation:
    """Rerank the candidates of judged queries with each model, and compare with no reranking.

    Args:
        dataset: a `Dataset`, or the folder of one in the layout of BEIR.
        models: names such as `"local:hybrid"`, or clients; a mapping gives them other names.
        k: how many places of a ranking count.
        top_k: how many candidates of a query are reranked.
        max_queries: measure only this many queries, the first ones, to try it at less cost.
        max_cost: US dollars for all models together; engines of this process cost nothing.
        price: a `Price` where responses do not say the cost, for all models or by name.
        checkpoint_dir: a folder that keeps what was paid for, a file for each model. A second run
            with the same folder asks only for the rest.
        max_concurrency: how many calls are in flight at once; an engine of this process has one.
        curve: whether to find out how many candidates are worth reranking. It needs no further
            calls for models that score each document by itself; an engine of this process whose
            scores depend on the list is run again for each length; for other such models there is
            no curve.
        progress: True shows a bar for each model, with tqdm; a function is told the model's name
            and its `Progress`.
        settings: of the clients that are made for names, such as `rank_fields`.

    Returns:
        An `Evaluation`, with the verdict.

    Raises:
        BudgetExceededError: the next call could exceed `max_cost`.
        ConfigurationError: nothing is judged, an argument is out of range, or the extra is missing.
        RerankError: the first error of a model none of whose calls succeeds.
    """
    wanted = 1 if max_queries is None else max_queries
    for name, value in (("k", k), ("top_k", top_k), ("max_queries", wanted)):
        if type(value) is not int or value < 1:
            raise InvalidRequestError(f"{name} must be an int of at least 1, not {value!r}")
    for module in ("ir_measures", "scipy.stats"):
        library(module)  # before anything is paid
    if not isinstance(dataset, Dataset):
        dataset = Dataset.read(dataset, depth=max(DEPTH, top_k))
    dataset = dataset.checked()
    asked = [query for query in dataset.queries if query in dataset.judgments][:max_queries]
    usable: Judgments = {
        query: dataset.judgments[query]
        for query in asked
        if max(dataset.judgments[query].values(), default=0) > 0
    }
    if not usable:
        raise ConfigurationError(
            f"no query of {dataset.name} has a document that is judged relevant, so there is "
            "nothing to measure; `sample` draws queries to label"
            + "".join(f"\n- {problem}" for problem in dataset.problems)
        )
    before = {query: list(dataset.candidates[query][:top_k]) for query in asked}
    clients = clients_of(models, settings)
    budget = Budget(max_cost)
    folder = None if checkpoint_dir is None else Path(checkpoint_dir)
    runs: dict[str, Run] = {}
    curves: dict[str, dict[int, float]] = {}
    lengths = studies.depths_of(max(map(len, before.values())))
    try:
        for label, (client, _) in clients.items():
            runs[label] = run_model(
                label,
                client,
                dataset,
                asked,
                top_k,
                budget=budget,
                price=price.get(label) if isinstance(price, Mapping) else price,
                checkpoint_dir=folder,
                max_concurrency=max_concurrency,
                progress=progress,
            )
            curves[label] = {}
            if not curve:
                continue
            if _scores_one_by_one(client.provider, client.model):
                after = runs[label].rankings
                curves[label] = studies.curve_of(usable, before, after, lengths, k)
            elif is_in_process(client):
                curves[label] = _asked_again(
                    client,
                    runs[label],
                    dataset=dataset,
                    usable=usable,
                    before=before,
                    lengths=lengths,
                    k=k,
                )
    finally:
        for client, is_own in clients.values():
            if is_own:
                client.close()

    first = _first_stage(dataset.first_stage, usable, before, k)
    values = {name: measures.per_query(usable, run.rankings, k) for name, run in runs.items()}
    pairs, measured = _compared(first, values, k)
    judged = {query: dataset.judgments[query] for query in asked}
    results = {
        label: _result(
            label,
            clients[label][0],
            runs[label],
            k=k,
            first=first,
            measured=measured[label],
            usable=usable,
            judged=judged,
            curve=curves[label],
            wants_curve=curve,
        )
        for label in runs
    }
    return Evaluation(
        dataset=dataset.name,
        date=datetime.now(UTC).date().isoformat(),
        version=__version__,
        k=k,
        top_k=top_k,
        documents=len(dataset.documents),
        queries=len(usable),
        without_relevant_judgment=len(asked) - len(usable),
        first_stage=first,
        models=results,
        pairs=tuple(pairs),
        verdict=verdict_of(k, len(usable), first, list(results.values()), pairs),
        problems=dataset.problems,
        spent=budget.spent,
        detail=(dataset, before, {name: run.rankings for name, run in runs.items()}),
    )


def _scores_one_by_one(provider: Provider, model: str) -> bool:
    """Whether a shorter list has the same scores, as far as the provider says."""
    return provider.splits(model) and not provider.takes_retrieval_scores


def _asked_again(
    client: RerankClient,
    run: Run,
    *,
    dataset: Dataset,
    usable: Judgments,
    before: Mapping[str, Sequence[str]],
    lengths: Sequence[int],
    k: int,
) -> dict[int, float]:
    """The curve of an engine that compares the documents of a list with each other."""
    found = {0: measures.mean(measures.ndcg(usable, before, k))}
    for depth in lengths[:-1]:
        again = run_model("", client, dataset, list(usable), depth, budget=Budget(None))
        ranked = {query: [*again.rankings[query], *before[query][depth:]] for query in usable}
        found[depth] = measures.mean(measures.ndcg(usable, ranked, k))
    found[lengths[-1]] = measures.mean(measures.ndcg(usable, run.rankings, k))
    return found


def _first_stage(
    name: str, usable: Judgments, before: Mapping[str, Sequence[str]], k: int
) -> FirstStage:
    per_query = measures.per_query(usable, before, k)
    best = measures.best_possible(usable, before)
    return FirstStage(
        name=name,
        means={one: measures.mean(values) for one, values in per_query.items()},
        per_query=per_query,
        oracle=measures.mean(measures.ndcg(usable, best, k)),
        without_relevant=tuple(
            query
            for query, row in usable.items()
            if not any(row.get(document, 0) > 0 for document in before[query])
        ),
        kept=_kept(usable, before),
    )


def _kept(usable: Judgments, rankings: measures.Rankings) -> dict[int, float]:
    most = max(len(rankings[query]) for query in usable)
    return {n: measures.recall(usable, rankings, n) for n in studies.KEPT if n <= max(most, 1)}


def _compared(
    first: FirstStage, values: Mapping[str, dict[str, dict[str, float]]], k: int
) -> tuple[list[Pair], dict[str, dict[str, Measured]]]:
    """Each model against each other, and each in each measure against no reranking."""
    labels = list(values)
    decides = f"nDCG@{k}"
    together = [(a, b) for place, a in enumerate(labels) for b in labels[place + 1 :]]
    number = len(labels) + len(together)
    between = [difference(values[b][decides], values[a][decides], number) for a, b in together]
    found: dict[str, dict[str, Measured]] = {label: {} for label in labels}
    pairs: list[Pair] = []
    for name in measures.names(k):
        own = [difference(values[a][name], first.per_query[name], number) for a in labels]
        # all comparisons that are printed are one family; between models there is one measure
        every = [one.p_value for one in (*own, *(between if name == decides else ()))]
        adjusted = holm(every)
        for label, one, p_adjusted in zip(labels, own, adjusted, strict=False):
            found[label][name] = Measured(
                mean=measures.mean(values[label][name]),
                gain=one.mean,
                ci_low=one.low,
                ci_high=one.high,
                p_value=one.p_value,
                p_adjusted=p_adjusted,
                detectable=one.detectable,
                per_query=values[label][name],
            )
        if name == decides:
            for (a, b), one, p_adjusted in zip(
                together, between, adjusted[len(labels) :], strict=True
            ):
                wins, losses, ties = counts(values[b][name], values[a][name])
                pairs.append(
                    Pair(
                        first=a,
                        second=b,
                        difference=one.mean,
                        ci_low=one.low,
                        ci_high=one.high,
                        p_value=one.p_value,
                        p_adjusted=p_adjusted,
                        wins=wins,
                        losses=losses,
                        ties=ties,
                    )
                )
    return pairs, found


def _result(
    label: str,
    client: RerankClient,
    run: Run,
    *,
    k: int,
    first: FirstStage,
    measured: dict[str, Measured],
    usable: Judgments,
    judged: Judgments,
    curve: dict[int, float],
    wants_curve: bool,
) -> ModelResult:
    decides = f"nDCG@{k}"
    wins, losses, ties = counts(measured[decides].per_query, first.per_query[decides])
    room = first.oracle - first.means[decides]
    local = is_in_process(client)
    built_in = local and getattr(client.provider, "scorer", None) is None
    threshold, note = _threshold(client, run, judged, k)
    no_curve = (
        "its scores depend on the whole list, so a shorter one would be another call"
        if wants_curve
        else "it was not asked for"
    )
    return ModelResult(
        name=label,
        score_kind=run.kind,
        in_process=local,
        measures=measured,
        wins=wins,
        losses=losses,
        ties=ties,
        gap_closed=measured[decides].gain / room if room > 0 else None,
        cost_per_1000=0.0 if built_in else _per_1000(run.costs),
        requests_per_1000=1000 * run.requests / len(run.seconds) if run.seconds else None,
        tokens_per_1000=_per_1000(run.tokens),
        search_units_per_1000=_per_1000(run.search_units),
        latency=_latency(run),
        failed=tuple(run.failures),
        failure=next((str(error) for error in run.failures.values()), ""),
        stored=run.stored,
        curve=curve,
        curve_note="" if curve else no_curve,
        kept=_kept(usable, run.rankings),
        threshold=threshold,
        threshold_note=note,
    )


def _per_1000(said: Sequence[float | None]) -> float | None:
    """What a thousand queries take; None where not each response says it."""
    known = [one for one in said if one is not None]
    return 1000 * sum(known) / len(known) if known and len(known) == len(said) else None


def _latency(run: Run) -> Latency | None:
    if not run.seconds:
        return None
    p50, p95, p99 = (percentile(run.seconds, share) for share in (0.5, 0.95, 0.99))
    return Latency(p50=p50, p95=p95, p99=p99, calls=len(run.seconds), at_once=run.at_once)


def _threshold(
    client: RerankClient, run: Run, judged: Judgments, k: int
) -> tuple[studies.Threshold | None, str]:
    if client.provider.kind_of_scores(client.model) == "relative" or run.kind == "relative":
        return None, "its scores are relative to the other documents of a list"
    found = studies.threshold_of(judged, run.rankings, run.scores, k)
    return found, "" if found else "there are too few queries"
