"""The result of an evaluation, as text, Markdown, JSON or HTML, and comparisons of two results."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from rerank_integrations.errors import ConfigurationError
from rerank_integrations.evaluation._dataset import Problem
from rerank_integrations.evaluation._results import FirstStage, ModelResult, Pair, Verdict, dollars
from rerank_integrations.evaluation._statistics import ALPHA, difference, holm

FORMAT = 1


class Change(NamedTuple):
    """The change of one model between two evaluations.

    Attributes:
        model: the name of the model.
        old: the mean nDCG@k in the old evaluation, over the queries that both have.
        new: the mean nDCG@k in the new evaluation, over the same queries.
        ci_low: the lower end of the 95 % confidence interval of the difference; None for a single
            query.
        ci_high: the upper end of the interval.
        p_adjusted: the p-value of the paired randomisation test, after Holm's correction for all
            models.
        is_regression: whether the model has become worse: significantly, or by more than
            `max_drop`.
    """

    model: str
    old: float
    new: float
    ci_low: float | None
    ci_high: float | None
    p_adjusted: float
    is_regression: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A comparison of two evaluations, model by model.

    Attributes:
        measure: the name of the compared measure.
        queries: the number of queries that both have.
        changes: the changes of the first stage and of each model that both have.
        missing: the models that only the old evaluation has.
        added: the models that only the new evaluation has.
        differences: other differences, such as another dataset.
    """

    measure: str
    queries: int
    changes: tuple[Change, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    differences: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        """The changes that are regressions."""
        return tuple(change for change in self.changes if change.is_regression)

    @property
    def exit_code(self) -> int:
        """1 if there is a regression, else 0."""
        return int(bool(self.regressions))

    def __str__(self) -> str:
        rows = [["", "old", "new", "change", "95 % interval", "p (Holm)", ""]]
        rows += [
            [
                one.model,
                f"{one.old:.3f}",
                f"{one.new:.3f}",
                f"{one.new - one.old:+.3f}",
                interval(one.ci_low, one.ci_high),
                p_text(one.p_adjusted),
                "worse" if one.is_regression else "",
            ]
            for one in self.changes
        ]
        lines = [f"{self.measure} on the {self.queries} queries of both", "", aligned(rows)]
        lines += [f"{name} is only in the old evaluation" for name in self.missing]
        lines += [f"{name} is only in the new evaluation" for name in self.added]
        lines += self.differences
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        dataset: the name of the dataset.
        date: the day of the run, in UTC.
        version: the version of this package.
        k: the cutoff of the measures.
        top_k: the number of candidates of a query that were reranked.
        documents: the number of documents in the dataset.
        queries: the number of evaluated queries: those with a relevant document.
        without_relevant_judgment: the number of other queries that were run, only for the
            threshold.
        first_stage: the result without reranking.
        models: the results of the models, by name.
        pairs: the comparisons of the models with each other.
        verdict: the verdict.
        problems: what was left out of the input or corrected.
        spent: the cost of this run in US dollars; None if it is unknown.
        format: the version of the JSON format.
        detail: texts and rankings for `to_html`; not in the JSON.
    """

    dataset: str
    date: str
    version: str
    k: int
    top_k: int
    documents: int
    queries: int
    without_relevant_judgment: int
    first_stage: FirstStage
    models: dict[str, ModelResult]
    pairs: tuple[Pair, ...]
    verdict: Verdict
    problems: tuple[Problem, ...] = ()
    spent: float | None = None
    format: int = FORMAT
    detail: Any = field(default=None, repr=False, compare=False)

    @property
    def decides(self) -> str:
        """The name of the measure that the verdict is based on: nDCG@k."""
        return f"nDCG@{self.k}"

    def table(self) -> str:
        """Return the figures of each model and without reranking, as aligned text."""
        rows = gains_table(self)
        parts = [[row[:6] for row in rows], [[row[0], *row[6:]] for row in rows[:-1]]]
        return "\n\n".join(map(aligned, [*parts, measures_table(self)]))

    def __str__(self) -> str:
        return f"{self.verdict}\n\n{self.table()}"

    def to_markdown(self, path: str | PathLike[str] | None = None) -> str:
        """Return the report as Markdown, and write it to a file.

        Args:
            path: the file; None writes none.
        """
        from rerank_integrations.evaluation._markdown import markdown_of  # noqa: PLC0415

        text = markdown_of(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", errors="replace")
        return text

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """Return the report as one HTML page that needs no network, and write it to a file.

        The page has the truncated texts of documents and queries.

        Args:
            path: the file; None writes none.

        Raises:
            ConfigurationError: the evaluation comes from `from_json`, which has no texts.
        """
        from rerank_integrations.evaluation._report import html_of  # noqa: PLC0415

        text = html_of(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", errors="replace")
        return text

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """Return all figures as JSON, including those of each query, and write them to a file.

        The JSON has no texts of documents and queries.

        Args:
            path: the file; None writes none.
        """
        figures = _adapter().dump_python(self, mode="json", exclude={"detail"})
        text = f"{json.dumps(figures, indent=1)}\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", errors="replace")
        return text

    @classmethod
    def from_json(cls, source: str | PathLike[str]) -> Evaluation:
        """Read an evaluation from a file that `to_json` wrote.

        Args:
            source: the file.

        Raises:
            ConfigurationError: the file cannot be read, or has another format.
        """
        try:
            figures = json.loads(Path(source).read_bytes(), parse_constant=_refused)
            found: Evaluation = _adapter().validate_python(figures)
            _check(found)
        except OSError as cause:
            raise ConfigurationError(f"cannot read {fspath(source)!r}: {cause.strerror}") from cause
        except ValueError as cause:  # pydantic's own, too
            said = cause.errors()[0]["msg"] if isinstance(cause, ValidationError) else cause
            raise ConfigurationError(
                f"{fspath(source)!r} was not written by to_json of this version ({said})"
            ) from cause
        return found

    def compare(
        self, old: Evaluation | str | PathLike[str], *, max_drop: float | None = None
    ) -> Comparison:
        """Compare this evaluation with an older one, on the queries that both have.

        Args:
            old: an evaluation, or a file that `to_json` wrote.
            max_drop: the largest drop of the mean that is allowed; a larger one is a regression
                even if it is not significant. None counts only significant drops.

        Raises:
            ConfigurationError: the two have different values of `k`, or no query or no model in
                common.
        """
        if not isinstance(old, Evaluation):
            old = Evaluation.from_json(old)
        name = self.decides
        if old.decides != name:
            raise ConfigurationError(
                f"{name} cannot be compared with {old.decides}; evaluate both with the same k="
            )
        mine, theirs = _values(self), _values(old)
        shared = [one for one in mine[""] if one in theirs[""]]
        if not shared:
            raise ConfigurationError("the two evaluations have no query in common")
        both = [label for label in mine if label in theirs]
        if both == [""]:  # nothing could become worse, and a check in CI would pass for ever
            raise ConfigurationError(
                f"the two evaluations have no model in common: {', '.join(old.models)} and "
                f"{', '.join(self.models)}; give the models the same names in both"
            )
        pairs = [
            tuple({query: side[label][query] for query in shared} for side in (mine, theirs))
            for label in both
        ]
        found = [difference(new, before) for new, before in pairs]
        adjusted = holm([one.p_value for one in found])
        changes = []
        for label, (new, before), one, p_adjusted in zip(both, pairs, found, adjusted, strict=True):
            dropped = max_drop is not None and -one.mean > max_drop
            changes.append(
                Change(
                    label or f"no reranking ({self.first_stage.name})",
                    sum(before.values()) / len(shared),
                    sum(new.values()) / len(shared),
                    one.low,
                    one.high,
                    p_adjusted,
                    dropped or (one.mean < 0 and p_adjusted < ALPHA),
                )
            )
        return Comparison(
            measure=name,
            queries=len(shared),
            changes=tuple(changes),
            missing=tuple(label for label in theirs if label not in mine),
            added=tuple(label for label in mine if label not in theirs),
            differences=tuple(
                f"{what} differs: {before!r} before, {now!r} now"
                for what, before, now in (
                    ("the dataset", old.dataset, self.dataset),
                    ("the first stage", old.first_stage.name, self.first_stage.name),
                    ("top_k", old.top_k, self.top_k),
                )
                if before != now
            ),
        )


def _values(evaluation: Evaluation) -> dict[str, Mapping[str, float]]:
    """Return the values by model and query; "" is the first stage."""
    first: dict[str, Mapping[str, float]] = {
        "": evaluation.first_stage.per_query[evaluation.decides]
    }
    return first | {name: one.decides.per_query for name, one in evaluation.models.items()}


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is in it")


def _check(found: Evaluation) -> None:
    """Check that an evaluation is complete, as `compare` needs it.

    Raises:
        ValueError: it has another format version, or a model lacks a measure or a query.
    """
    if found.format != FORMAT:
        raise ValueError(f"its format is {found.format}")
    first = found.first_stage.per_query
    for model in found.models.values():
        own = {name: one.per_query.keys() for name, one in model.measures.items()}
        if own != {name: values.keys() for name, values in first.items()} or not own:
            raise ValueError(f"{model.name} has other measures or queries than the first stage")


@functools.cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(Evaluation)


def gains_table(evaluation: Evaluation) -> list[list[str]]:
    """Return the table of nDCG@k: rows for no reranking, each model, and the best order."""
    first, name = evaluation.first_stage, evaluation.decides
    heading = ["", name, "gain", "95 % interval", "p (Holm)", "wins/ties/losses", "of the gap"]
    heading += ["p50 ms", "p95 ms", "p99 ms", "$ per 1,000"]
    none = [""] * (len(heading) - 2)
    rows = [heading, ["no reranking", f"{first.means[name]:.3f}", *none]]
    for model in evaluation.models.values():
        own = model.decides
        rows.append(
            [
                model.name,
                f"{own.mean:.3f}",
                f"{own.gain:+.3f}",
                interval(own.ci_low, own.ci_high),
                p_text(own.p_adjusted),
                f"{model.wins}/{model.ties}/{model.losses}",
                "" if model.gap_closed is None else f"{model.gap_closed:.0%}",
                *latency_texts(model),
                cost_text(model),
            ]
        )
    return [*rows, ["best possible order", f"{first.oracle:.3f}", *none]]


def measures_table(evaluation: Evaluation) -> list[list[str]]:
    """Return the table with the means of all measures."""
    means = evaluation.first_stage.means
    rows = [["", *means], ["no reranking", *(f"{value:.3f}" for value in means.values())]]
    rows += [
        [model.name, *(f"{one.mean:.3f}" for one in model.measures.values())]
        for model in evaluation.models.values()
    ]
    return rows


def latency_texts(model: ModelResult) -> list[str]:
    """Return p50, p95 and p99 in milliseconds; empty texts if nothing was measured."""
    found = model.latency
    if found is None:
        return [""] * 3
    return [f"{1000 * seconds:,.0f}" for seconds in (found.p50, found.p95, found.p99)]


def cost_text(model: ModelResult) -> str:
    """Return the cost of 1,000 queries as text."""
    if model.cost_per_1000 is None:
        return "unknown"
    return "none" if model.in_process and not model.cost_per_1000 else dollars(model.cost_per_1000)


def interval(low: float | None, high: float | None) -> str:
    """Return an interval of differences as text."""
    return "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"


def p_text(p_value: float) -> str:
    """Return a p-value as text."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def aligned(rows: list[list[str]]) -> str:
    """Return rows as text, with the first column left-aligned and the others right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
