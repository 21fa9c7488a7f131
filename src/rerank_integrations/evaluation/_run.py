"""A model's run over the queries of a dataset."""

from __future__ import annotations

import hashlib
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

_UNREADABLE = re.compile("[^A-Za-z0-9.]+")
_HOPELESS = 5  # calls that fail before one succeeds, after which the run ends


@dataclass
class Budget:
    """US dollars for several runs, one after another."""

    max_cost: float | None
    spent: float | None = None

    def left(self) -> float | None:
        """What the next run may cost.

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
        """The error of a run that ends before all is asked."""
        return BudgetExceededError(
            f"the budget is used up: ${self.spent or 0.0:.4g} of max_cost={self.max_cost}; one "
            "more call could exceed it. Raise it, and pass checkpoint_dir= to go on where a run "
            "stopped",
            current_cost=self.spent,
            max_cost=self.max_cost,
        )

    def add(self, cost: float | None) -> None:
        """Note what a run has cost."""
        if cost is not None:
            self.spent = (self.spent or 0.0) + cost


@dataclass
class Run:
    """What came of a model's run.

    Attributes:
        rankings: by query, all candidates, best first.
        scores: by query, the score of each candidate that has one.
        kind: what the scores are.
        seconds: of each call that was made.
        requests: how many were sent for these.
        costs: of each response without scores from a cache, None where it is unknown.
        tokens: the same.
        search_units: the same.
        failures: by query, the error.
        stored: how many responses came from the checkpoint.
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
        """Note a response to a query, whose candidates these are."""
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
    """Whether a call runs in this process and not over the network."""
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
        RerankError: the error of the first call, if none succeeds.
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
    """The rows of a run, made when they are needed; their number is known for a progress bar."""

    def __init__(self, dataset: Dataset, queries: Sequence[str], depth: int) -> None:
        self._dataset, self._queries, self._depth = dataset, queries, depth

    def __len__(self) -> int:
        return len(self._queries)

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for query in self._queries:
            documents = self._dataset.inputs(query, self._depth)
            yield {"id": query, "query": self._dataset.queries[query], "documents": documents}


def _file(folder: Path, label: str, depth: int) -> Path:
    """The checkpoint of a model; another number of candidates is another run."""
    readable = _UNREADABLE.sub("-", label).strip("-")[:60]
    digest = hashlib.sha256(f"{label} {depth}".encode()).hexdigest()[:8]
    return folder / f"{readable}-{depth}-{digest}.sqlite"


def clients_of(
    models: Sequence[str | RerankClient] | Mapping[str, str | RerankClient],
    settings: Mapping[str, Any],
) -> dict[str, tuple[RerankClient, bool]]:
    """By label the client of each model, and whether it was made here and so is closed here.

    Raises:
        ConfigurationError: none, or two of one name.
    """
    if isinstance(models, str | RerankClient):
        models = [models]
    named = list(models.items() if isinstance(models, Mapping) else ((None, m) for m in models))
    found: dict[str, tuple[RerankClient, bool]] = {}
    for label, model in named:
        if isinstance(model, RerankClient):
            name, client = f"{model.provider.name}:{model.model}", (model, False)
        else:
            name, client = model, (RerankClient(model, **settings), True)
        if (label or name) in found:
            raise ConfigurationError(
                f"models has {label or name} twice; pass a mapping of names to models to tell "
                "them apart"
            )
        found[label or name] = client
    if not found:
        raise ConfigurationError("models is empty; pass one at least, such as 'local:hybrid'")
    return found
