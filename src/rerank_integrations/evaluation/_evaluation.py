"""The result of an evaluation: text, Markdown, JSON, HTML, and a comparison with another."""

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
    """A model in two evaluations.

    Attributes:
        model: its name.
        old, new: the mean of the measure that decides, over the queries of both.
        ci_low, ci_high: the 95 % interval of the difference; None for a single query.
        p_adjusted: of the paired randomisation test, after Holm's correction for all models.
        is_regression: whether it has become worse: the difference is significant, or greater than
            was allowed.
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
    """Two evaluations, model by model.

    Attributes:
        measure: what is compared.
        queries: how many both have.
        changes: of each model that both have, and of the first stage.
        missing: the models that only the old one has.
        added: the models that only the new one has.
        differences: what else is not the same, such as the dataset.
    """

    measure: str
    queries: int
    changes: tuple[Change, ...]
    missing: tuple[str, ...]
    added: tuple[str, ...]
    differences: tuple[str, ...] = ()

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Those that have become worse."""
        return tuple(change for change in self.changes if change.is_regression)

    @property
    def exit_code(self) -> int:
        """1 if anything has become worse, else 0."""
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
    """What reranking was worth on a dataset.

    Attributes:
        dataset: its name.
        date: the day of the run, in UTC.
        version: of this package.
        k: how many places count.
        top_k: how many candidates of a query were reranked.
        documents: how many the dataset has.
        queries: how many were measured: those with a document that is judged relevant.
        without_relevant_judgment: how many others were run, for the threshold alone.
        first_stage: no reranking.
        models: by name.
        pairs: each model against each other.
        verdict: the answer.
        problems: what was left out of the input or corrected.
        spent: US dollars of this run; None where no response said it.
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
        """The name of the measure that decides."""
        return f"nDCG@{self.k}"

    def table(self) -> str:
        """The figures of no reranking and of each model, as aligned text."""
        rows = gains_table(self)
        parts = [[row[:6] for row in rows], [[row[0], *row[6:]] for row in rows[:-1]]]
        return "\n\n".join(map(aligned, [*parts, measures_table(self)]))

    def __str__(self) -> str:
        return f"{self.verdict}\n\n{self.table()}"

    def to_markdown(self, path: str | PathLike[str] | None = None) -> str:
        """The report as Markdown, written to a file if one is given."""
        from rerank_integrations.evaluation._markdown import markdown_of  # noqa: PLC0415

        text = markdown_of(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", errors="replace")
        return text

    def to_html(self, path: str | PathLike[str] | None = None) -> str:
        """The report as one HTML file that needs no network, written if a path is given.

        It has the texts of documents and queries, shortened. Not possible after `from_json`.
        """
        from rerank_integrations.evaluation._report import html_of  # noqa: PLC0415

        text = html_of(self)
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", errors="replace")
        return text

    def to_json(self, path: str | PathLike[str] | None = None) -> str:
        """All figures, those of each query included, but no texts; written if a path is given."""
        figures = _adapter().dump_python(self, mode="json", exclude={"detail"})
        text = f"{json.dumps(figures, indent=1)}\n"
        if path is not None:
            Path(path).write_text(text, encoding="utf-8", errors="replace")
        return text

    @classmethod
    def from_json(cls, source: str | PathLike[str]) -> Evaluation:
        """What `to_json` wrote: a file.

        Raises:
            ConfigurationError: it cannot be read.
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
        """This evaluation against an older one, on the queries of both.

        Args:
            old: an evaluation, or a file that `to_json` wrote.
            max_drop: the greatest drop of the mean that is allowed; a greater one is a regression
                too, significant or not. None takes only significant ones.

        Raises:
            ConfigurationError: they have another k, or no query or no model in common.
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
    """By model the values by query; "" is the first stage."""
    first: dict[str, Mapping[str, float]] = {
        "": evaluation.first_stage.per_query[evaluation.decides]
    }
    return first | {name: one.decides.per_query for name, one in evaluation.models.items()}


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is in it")


def _check(found: Evaluation) -> None:
    """Whether `compare` can rely on it.

    Raises:
        ValueError: it has another format, or a model lacks a measure or a query.
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
    """The measure that decides: a row for no reranking, each model, and the best order."""
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
    """The means of all measures."""
    means = evaluation.first_stage.means
    rows = [["", *means], ["no reranking", *(f"{value:.3f}" for value in means.values())]]
    rows += [
        [model.name, *(f"{one.mean:.3f}" for one in model.measures.values())]
        for model in evaluation.models.values()
    ]
    return rows


def latency_texts(model: ModelResult) -> list[str]:
    """P50, p95 and p99 in milliseconds; empty where nothing was measured."""
    found = model.latency
    if found is None:
        return [""] * 3
    return [f"{1000 * seconds:,.0f}" for seconds in (found.p50, found.p95, found.p99)]


def cost_text(model: ModelResult) -> str:
    """The cost of a thousand queries."""
    if model.cost_per_1000 is None:
        return "unknown"
    return "none" if model.in_process and not model.cost_per_1000 else dollars(model.cost_per_1000)


def interval(low: float | None, high: float | None) -> str:
    """An interval of differences."""
    return "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"


def p_text(p_value: float) -> str:
    """A p-value."""
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def aligned(rows: list[list[str]]) -> str:
    """Rows as text, the first column to the left and the rest to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
