"""Evaluates models on a dataset: runs them, compares them, and reaches a verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from rerank_integrations import __version__
from rerank_integrations._cache import CacheSetting
from rerank_integrations._ledger import Price, Progress
from rerank_integrations._options import (
    NOT_GIVEN,
    AsyncHTTPClient,
    HTTPClient,
    NotGiven,
    OnImage,
    OnInvalidDocument,
    OnPartial,
    Retry,
    ScoreTransform,
    Timeout,
    checked_arguments,
    given,
)
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
from rerank_integrations.evaluation._run import (
    SETTINGS,
    Budget,
    Run,
    clients_of,
    is_in_process,
    run_model,
)
from rerank_integrations.evaluation._statistics import difference, holm, percentile
from rerank_integrations.evaluation._verdict import verdict_of
from rerank_integrations.images import ImageUrls
from rerank_integrations.providers._validation import nearest
from rerank_integrations.providers.base import Provider


@checked_arguments
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
    provider: Provider | NotGiven | None = NOT_GIVEN,
    api_key: str | SecretStr | NotGiven | None = NOT_GIVEN,
    base_url: str | NotGiven | None = NOT_GIVEN,
    http_client: HTTPClient | Callable[[], HTTPClient] | NotGiven | None = NOT_GIVEN,
    async_http_client: AsyncHTTPClient
    | Callable[[], AsyncHTTPClient]
    | NotGiven
    | None = NOT_GIVEN,
    fallbacks: Sequence[str | RerankClient] | NotGiven = NOT_GIVEN,
    top_n: int | NotGiven | None = NOT_GIVEN,
    rank_fields: Sequence[str] | NotGiven | None = NOT_GIVEN,
    instruction: str | NotGiven | None = NOT_GIVEN,
    score_transform: ScoreTransform | NotGiven | None = NOT_GIVEN,
    score_threshold: float | NotGiven | None = NOT_GIVEN,
    timeout: Timeout | NotGiven = NOT_GIVEN,
    deadline: float | NotGiven | None = NOT_GIVEN,
    max_retries: int | NotGiven = NOT_GIVEN,
    retry_on_timeout: bool | NotGiven = NOT_GIVEN,
    retry: Retry | NotGiven | None = NOT_GIVEN,
    extra_headers: Mapping[str, str] | NotGiven | None = NOT_GIVEN,
    extra_body: Mapping[str, Any] | NotGiven | None = NOT_GIVEN,
    on_image: OnImage | NotGiven = NOT_GIVEN,
    on_invalid_document: OnInvalidDocument | NotGiven = NOT_GIVEN,
    max_document_chars: int | NotGiven | None = NOT_GIVEN,
    max_image_bytes: int | NotGiven | None = NOT_GIVEN,
    max_image_pixels: int | NotGiven | None = NOT_GIVEN,
    image_urls: ImageUrls | NotGiven = NOT_GIVEN,
    max_documents_per_request: int | NotGiven | None = NOT_GIVEN,
    max_request_bytes: int | NotGiven | None = NOT_GIVEN,
    on_partial: OnPartial | NotGiven = NOT_GIVEN,
    requests_per_minute: int | NotGiven | None = NOT_GIVEN,
    documents_per_minute: int | NotGiven | None = NOT_GIVEN,
    keep_raw: bool | NotGiven = NOT_GIVEN,
    trace_content: bool | NotGiven = NOT_GIVEN,
    cache: CacheSetting | NotGiven | None = NOT_GIVEN,
) -> Evaluation:
    """Rerank the candidates of judged queries with each model, and compare with no reranking.

    Args:
        dataset: a `Dataset`, or a folder in the layout of BEIR.
        models: names such as `"local:hybrid"`, or clients. A mapping gives them other names in the
            result. The fallbacks of a client are not used, so that only the model is evaluated.
        k: the cutoff of the measures, such as 10 for nDCG@10.
        top_k: the number of candidates of a query that are reranked.
        max_queries: evaluate only the first queries, at most this many; None evaluates all.
        max_cost: the budget in US dollars for all models together. Local models cost nothing.
        price: a `Price` if responses do not report the cost: one for all models, or a mapping by
            name.
        checkpoint_dir: a folder that stores finished calls, in one file for each model. A second
            run with the same folder sends only the other calls.
        max_concurrency: how many calls are in flight at once; calls of local models run one at a
            time.
        curve: whether to measure how many candidates are worth reranking. For models that score
            each document independently this needs no further calls. A local model whose scores
            depend on the list is run again for each length. For other such models there is no
            curve.
        progress: True shows a progress bar of tqdm for each model; a function is called with the
            model's name and a `Progress`.

    The other arguments are the settings of the clients that are created for model names.

    Returns:
        The result, with a verdict.

    Raises:
        BudgetExceededError: the next call could exceed `max_cost`.
        InvalidRequestError: `k`, `top_k` or `max_queries` is below 1.
        ConfigurationError: no query has a relevant document, an argument is invalid, or the extra
            `evaluation` is not installed.
        RerankError: the first error of a model, if none of its calls succeeds.
    """
    settings = {name: value for name, value in given(locals()).items() if name in SETTINGS}
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
            "nothing to measure; `sample` draws queries to label, and a document that answers the "
            "query needs a grade of 1 or more"
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
        prices = _prices(price, {label: client for label, (client, _) in clients.items()}, max_cost)
        for label, (client, _) in clients.items():
            runs[label] = run_model(
                label,
                client,
                dataset,
                asked,
                top_k,
                budget=budget,
                price=prices[label],
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


def _prices(
    price: Price | Mapping[str, Price] | None,
    clients: Mapping[str, RerankClient],
    max_cost: float | None,
) -> dict[str, Price | None]:
    """Return the price of each model.

    Raises:
        ConfigurationError: a price is for an unknown model or is not a `Price`, or a price that
            `max_cost` needs is missing.
    """
    by_name = price if isinstance(price, Mapping) else dict.fromkeys(clients, price)
    for name, one in by_name.items():
        if name not in clients:
            raise ConfigurationError(
                f"price has {name!r}, which is no model of this evaluation; "
                f"{nearest(str(name), clients)}they are {', '.join(clients)}"
            )
        if not isinstance(one, Price | None):
            raise ConfigurationError(f"price of {name} must be a Price(...), not {one!r}")
    for label, client in clients.items():
        if max_cost is not None and not is_in_process(client):
            client._check_cost(by_name.get(label))  # noqa: SLF001  # of this package
    return {label: by_name.get(label) for label in clients}


def _scores_one_by_one(provider: Provider, model: str) -> bool:
    """Return whether the model scores each document independently, according to the provider."""
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
    """Return the curve of a local model whose scores depend on the list."""
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
    """Compare the models with each other, and each of them with no reranking in each measure."""
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
        "no curve, since its scores depend on the whole list: each point would need another call"
        if wants_curve
        else "no curve, since it was turned off"
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
    """Return the amount for 1,000 queries; None if some response does not report it."""
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
