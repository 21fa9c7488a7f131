"""What a run of many calls has spent and done: its price, its budget, its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from rerank_integrations.errors import BudgetExceededError, ConfigurationError, RerankError
from rerank_integrations.models import RerankResponse, Usage
from rerank_integrations.providers._validation import finite

_ROUNDING = 1 + 1e-9  # a sum of equal costs may be a little more than their product


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a provider charges, in US dollars, if its responses do not report the cost.

    Args:
        per_1000_search_units: the price of 1,000 search units.
        per_million_tokens: the price of a million tokens.

    Raises:
        ConfigurationError: neither is passed, or one is below 0.
    """

    per_1000_search_units: float | None = None
    per_million_tokens: float | None = None

    def __post_init__(self) -> None:
        given = [p for p in (self.per_1000_search_units, self.per_million_tokens) if p is not None]
        if not given or any((finite(p) or 0.0) < 0 or finite(p) is None for p in given):
            raise ConfigurationError(
                "Price: give per_1000_search_units= or per_million_tokens=, in US dollars"
            )

    def of(self, usage: Usage) -> float | None:
        """Return the cost of a call in US dollars.

        Args:
            usage: the usage of the call.

        Returns:
            The cost; None if the usage does not have the counts that the price needs.
        """
        if self.per_1000_search_units is not None and usage.search_units is not None:
            return usage.search_units / 1000 * self.per_1000_search_units
        tokens = usage.prompt_tokens if usage.total_tokens is None else usage.total_tokens
        if self.per_million_tokens is not None and tokens is not None:
            return tokens / 1_000_000 * self.per_million_tokens
        return None


class Progress(NamedTuple):
    """The progress of a run.

    Attributes:
        done: the number of rows with a response, including those from the checkpoint.
        failed: the number of rows with an error.
        requests: the number of requests sent, including retries.
        cost: the cost so far in US dollars; None if it is unknown.
        seconds: seconds since the run began.
    """

    done: int
    failed: int
    requests: int
    cost: float | None
    seconds: float


@dataclass
class Ledger:
    """What a run has spent, and whether one more call fits; for one thread, or under a lock.

    The cost of a call is known from its response only, so the largest cost seen is reserved for
    each call in flight, and there is one call at a time until the first cost is known. The same
    holds for the requests of a call, which are more than one where a list is split or a request is
    sent again.

    Raises:
        ConfigurationError: a limit or a price out of range.
    """

    max_cost: float | None = None
    max_requests: int | None = None
    price: Price | None = None
    requests: int = 0
    cost: float | None = None
    done: int = 0
    failed: int = 0
    in_flight: int = 0
    _counts: dict[str, float] = field(default_factory=dict)
    _largest_cost: float | None = None
    _without_cost: int = 0  # responses that do not say it, though others did
    _most_requests: int | None = None
    _began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        most, cost = self.max_requests, self.max_cost
        if most is not None and (type(most) is not int or most < 1):
            raise ConfigurationError(f"max_requests must be an int of at least 1, not {most!r}")
        if cost is not None and (finite(cost) or 0.0) <= 0:
            raise ConfigurationError(f"max_cost must be US dollars above 0, or None, not {cost!r}")
        if not isinstance(self.price, Price | None):
            raise ConfigurationError("price must be a Price(...) or None")

    def fits(self) -> bool:
        """Whether one more call fits into the budget, beside those in flight."""
        fits = True
        if self.max_requests is not None:
            fits = self.requests + self._reserved(self._most_requests, 1) <= self.max_requests
        if fits and self.max_cost is not None:
            cost = (self.cost or 0.0) + self._reserved(self._largest_cost, 0.0)
            cost += self._without_cost * (self._largest_cost or 0.0)
            fits = cost <= self.max_cost * _ROUNDING
        return fits

    def used_up(self) -> BudgetExceededError:
        """The error where a call does not fit, and none is in flight that could leave some over."""
        spent = f"${self.cost or 0.0:.4g} of max_cost={self.max_cost}"
        sent = f"{self.requests} of max_requests={self.max_requests}"
        used = [spent] if self.max_cost is not None else []
        used += [sent] if self.max_requests is not None else []
        return BudgetExceededError(
            f"the budget is used up: {' and '.join(used)}; one more call could exceed it. "
            "Raise it, and pass checkpoint= to go on where a run stopped",
            current_cost=self.cost,
            max_cost=self.max_cost,
            requests=self.requests,
            max_requests=self.max_requests,
        )

    def _reserved(self, largest: float | None, least: float) -> float:
        """Return what the calls in flight and one more may need; the first call runs alone."""
        if largest is None:
            return float("inf") if self.in_flight else least
        return (self.in_flight + 1) * largest

    def count_row(self, *, failed: bool) -> None:
        """Note that a row has a response, or an error."""
        self.failed += failed
        self.done += not failed

    def end(self, result: RerankResponse | RerankError) -> None:
        """Note what was spent on a call that was in flight.

        Raises:
            ConfigurationError: there is a `max_cost`, and no way to know the cost.
        """
        self.in_flight -= 1
        sent = sum(not (one.error or "").startswith("not asked") for one in result.attempts)
        self.requests += sent
        if sent:  # else it says nothing about the next call
            self._most_requests = max(self._most_requests or 1, sent)
        if isinstance(result, RerankError):
            return
        for name, number in result.usage.counts().items():
            self._counts[name] = self._counts.get(name, 0) + number
        cost = self.cost_of(result)
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost
            self._largest_cost = max(self._largest_cost or 0.0, cost)
        elif self.max_cost is None or not sent:
            return
        elif self._largest_cost is not None:  # of a fallback, perhaps
            self._without_cost += 1
        else:
            raise ConfigurationError(
                f"max_cost needs to know the cost, and responses of {result.provider} do not say "
                f"it; {_priced(result.usage)}"
            )

    def cost_of(self, response: RerankResponse) -> float | None:
        """Return the cost of a call: as the response reports it, else from the price."""
        said = response.usage.cost
        return self.price.of(response.usage) if said is None and self.price is not None else said

    @property
    def usage(self) -> Usage:
        """What the provider counted so far."""
        counts: dict[str, Any] = dict(self._counts)
        return Usage(**counts)

    def progress(self) -> Progress:
        """Return the progress of the run."""
        seconds = time.monotonic() - self._began
        return Progress(self.done, self.failed, self.requests, self.cost, seconds)


def _priced(usage: Usage) -> str:
    """Return a hint which price fits the counts in a response."""
    counts = usage.counts()
    fits = {
        "per_1000_search_units": usage.search_units is not None,
        "per_million_tokens": usage.total_tokens is not None or usage.prompt_tokens is not None,
    }
    prices = " or ".join(f"price=Price({name}=...)" for name, does in fits.items() if does)
    return (
        f"they count {', '.join(counts) or 'nothing'}: "
        f"{f'pass {prices}' if prices else 'no price fits that, so use max_requests'}"
    )


class Bar:
    """A bar of tqdm that shows the progress.

    Raises:
        ConfigurationError: tqdm is not installed.
    """

    def __init__(self, total: int | None) -> None:
        try:
            from tqdm.auto import tqdm  # type: ignore[import-untyped]  # noqa: PLC0415  # optional, and slow to load
        except ImportError as cause:
            raise ConfigurationError("progress=True needs tqdm: pip install tqdm") from cause
        self._bar = tqdm(total=total, unit=" rows")

    def __call__(self, now: Progress) -> None:
        cost = "" if now.cost is None else f", ${now.cost:.4f}"
        shown = f"failed {now.failed}, requests {now.requests}{cost}"
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update(now.done + now.failed - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()


def reporter(progress: Any, rows: Any) -> Callable[[Progress], Any] | None:
    """Return what is called with the progress: the caller's function, or a progress bar.

    Raises:
        ConfigurationError: `progress` has another type, or tqdm is not installed.
    """
    if progress is False or progress is None:
        return None
    if progress is True:
        return Bar(len(rows) if isinstance(rows, Sized) and not isinstance(rows, str) else None)
    if callable(progress):
        report: Callable[[Progress], Any] = progress
        return report
    raise ConfigurationError("progress must be True, False or a function of a Progress")
