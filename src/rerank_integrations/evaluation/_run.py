"""Runs a model over the queries of a dataset."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rerank_integrations._ledger import Price, Progress
from rerank_integrations.client import RerankClient
from rerank_integrations.errors import BudgetExceededError, ConfigurationError, RerankError
from rerank_integrations.evaluation._dataset import Dataset
from rerank_integrations.models import RerankResponse

# what is passed on to the clients that are created here; a run has a `max_concurrency` of its own
SETTINGS = inspect.signature(RerankClient).parameters.keys() - {"model", "max_concurrency"}
_UNREADABLE = re.compile("[^A-Za-z0-9.]+")
_HOPELESS = 5  # calls that fail before one succeeds, after which the run ends


@dataclass
class Budget:
    """A budget in US dollars for several runs, one after another."""

    max_cost: float | None
    spent: float | None = None

    def left(self) -> float | None:
        """Return what the next run may cost; None for no limit.

        Raises:
            BudgetExceededError: nothing is left.
        """
        if self.max_cost is None:
            return None
        left = self.max_cost - (self.spent or 0.0)
        if left <= 0:
            raise self.used_up()
        return left

    def used_up(self) -> BudgetExceededError:
        """Return the error for a run that ends before all its calls are made."""
        return BudgetExceededError(
            f"the budget is used up: ${self.spent or 0.0:.4g} of max_cost={self.max_cost}; one "
            "more call could exceed it. Raise it, and pass checkpoint_dir= to go on where a run "
            "stopped",
            current_cost=self.spent,
            max_cost=self.max_cost,
        )

    def add(self, cost: float | None) -> None:
        """Add the cost of a run."""
        if cost is not None:
            self.spent = (self.spent or 0.0) + cost


@dataclass
class Run:
    """The result of a model's run.

    Attributes:
        rankings: all candidates by query, best first.
        scores: the score of each candidate that has one, by query.
        kind: the kind of the scores.
        seconds: the duration of each call that was made.
        requests: the number of requests for these calls.
        costs: the cost of each response without scores from a cache; None if it is unknown.
        tokens: the number of tokens of each of these responses.
        search_units: the number of search units of each of these responses.
        failures: the errors by query.
        stored: the number of responses from the checkpoint.
        at_once: how many calls were in flight at once.
    """

    rankings: dict[str, list[str]] = field(default_factory=dict)
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    kind: str = "unknown"
    seconds: list[float] = field(default_factory=list)
    requests: int = 0
    costs: list[float | None] = field(default_factory=list)
    tokens: list[float | None] = field(default_factory=list)
    search_units: list[float | None] = field(default_factory=list)
    failures: dict[str, RerankError] = field(default_factory=dict)
    stored: int = 0
    at_once: int = 1

    def add(
        self, found: Sequence[str], query: str, response: RerankResponse, price: Price | None
    ) -> None:
        """Add the response to a query with the candidates `found`."""
        self.scores[query] = {found[one.index]: one.relevance_score for one in response}
        # what the response leaves out follows as it was
        self.rankings[query] = list(dict.fromkeys([*self.scores[query], *found]))
        self.kind = response.score_kind
        if response.cache_hits:
            return  # what the call would have cost is not known
        usage = response.usage
        cost = usage.cost if usage.cost is not None or price is None else price.of(usage)
        self.costs.append(cost)
        self.tokens.append(
            usage.prompt_tokens if usage.total_tokens is None else usage.total_tokens
        )
        self.search_units.append(usage.search_units)


def is_in_process(client: RerankClient) -> bool:
    """Return whether calls run in this process, and not over the network."""
    return client.provider.handler is not None


def run_model(
    label: str,
    client: RerankClient,
    dataset: Dataset,
    queries: Sequence[str],
    depth: int,
    *,
    budget: Budget,
    price: Price | None = None,
    checkpoint_dir: Path | None = None,
    max_concurrency: int = 8,
    progress: bool | Callable[[str, Progress], Any] = False,
) -> Run:
    """Rerank the first candidates of each query.

    Raises:
        BudgetExceededError: the next call could exceed the budget.
        RerankError: the error of the first call, if no call succeeds.
    """
    local = is_in_process(client)
    found = {query: list(dataset.candidates[query][:depth]) for query in queries}
    run = Run(rankings=dict(found), at_once=1 if local else max_concurrency)
    asked = [query for query in queries if found[query]]
    rows = _Rows(dataset, asked, depth)
    results = client.rerank_many(
        rows,
        # calls in this process would only wait for each other, and their times say nothing
        max_concurrency=run.at_once,
        on_error="keep",
        on_partial="raise",  # else a part of the list is measured
        top_n=None,
        score_threshold=None,
        max_cost=None if local else budget.left(),
        price=price,
        checkpoint=None if checkpoint_dir is None else _file(checkpoint_dir, label, depth),
        progress=partial(progress, label) if callable(progress) else progress,
    )
    over: BudgetExceededError | None = None
    try:
        with results:
            for result in results:
                query = str(result.id)
                if result.response is None:
                    assert result.error is not None  # noqa: S101  # one of both is there
                    run.failures[query] = result.error
                    if len(run.failures) >= _HOPELESS and not run.scores:
                        break
                    continue
                run.add(found[query], query, result.response, price)
                sent = sum(
                    not (one.error or "").startswith("not asked")
                    for one in result.response.attempts
                )
                run.stored += result.is_stored
                if result.seconds is not None and sent and not result.response.cache_hits:
                    run.seconds.append(result.seconds)
                    run.requests += sent
    except BudgetExceededError as cause:  # its max_cost is what the models before have left
        over = cause
    finally:
        budget.add(results.cost)
    if over is not None:
        raise budget.used_up() from over
    if run.failures and not run.scores:
        error = next(iter(run.failures.values()))
        error.add_note(f"no call of {label} succeeded")
        raise error
    return run


class _Rows:
    """The rows of a run, created when they are needed, with a length for the progress bar."""

    def __init__(self, dataset: Dataset, queries: Sequence[str], depth: int) -> None:
        self._dataset, self._queries, self._depth = dataset, queries, depth

    def __len__(self) -> int:
        return len(self._queries)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for query in self._queries:
            documents = self._dataset.inputs(query, self._depth)
            yield {"id": query, "query": self._dataset.queries[query], "documents": documents}


def _file(folder: Path, label: str, depth: int) -> Path:
    """Return the checkpoint file of a model and a number of candidates."""
    readable = _UNREADABLE.sub("-", label).strip("-")[:60]
    digest = hashlib.sha256(f"{label} {depth}".encode()).hexdigest()[:8]
    return folder / f"{readable}-{depth}-{digest}.sqlite"


def clients_of(
    models: Sequence[str | RerankClient] | Mapping[str, str | RerankClient],
    settings: Mapping[str, Any],
) -> dict[str, tuple[RerankClient, bool]]:
    """Return the client of each model by label, and whether it was created here.

    They have no fallbacks: another model's ranking would be measured as theirs.

    Raises:
        ConfigurationError: there is no model, or two have the same name.
    """
    if isinstance(models, str | RerankClient):
        models = [models]
    named = list(models.items() if isinstance(models, Mapping) else ((None, m) for m in models))
    found: dict[str, tuple[RerankClient, bool]] = {}
    for label, model in named:
        if isinstance(model, RerankClient):
            name, client = f"{model.provider.name}:{model.model}", (model._alone(), False)  # noqa: SLF001
        else:
            name, client = model, (RerankClient(model, **{**settings, "fallbacks": ()}), True)
        if (label or name) in found:
            raise ConfigurationError(
                f"models has {label or name} twice; pass a mapping of names to models to tell "
                "them apart"
            )
        found[label or name] = client
    if not found:
        raise ConfigurationError("models is empty; pass one at least, such as 'local:hybrid'")
    return found
