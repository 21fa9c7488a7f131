"""The sections of a report, for HTML and Markdown, and the report as Markdown."""

from __future__ import annotations

from typing import NamedTuple

from rerank_integrations.evaluation._evaluation import (
    Evaluation,
    gains_table,
    interval,
    measures_table,
    p_text,
)
from rerank_integrations.evaluation._results import ModelResult
from rerank_integrations.evaluation._statistics import ALPHA


class Section(NamedTuple):
    """A section of a report: a title, a table with a header row, and notes below it."""

    title: str
    rows: list[list[str]]
    notes: list[str]


def sections_of(evaluation: Evaluation) -> list[Section]:
    """Return the sections of a report."""
    first, models = evaluation.first_stage, evaluation.models.values()
    several = len(evaluation.models) > 1
    tests = (
        f"Paired randomisation tests over {evaluation.queries} queries; p-values after Holm's "
        "correction for all comparisons of this report. Intervals by the bootstrap, not corrected."
    )
    notes = [tests]
    sizes = [
        f"{model.decides.detectable:.3f} ({model.name})"
        for model in models
        if model.decides.detectable is not None
    ]
    if sizes:
        notes.append(f"A gain that would be found with 80 % chance: {', '.join(sizes)}.")
    sections = [Section("Against no reranking", gains_table(evaluation), notes)]
    sections.append(Section("All measures", measures_table(evaluation), _judged(evaluation)))
    if several:
        sections.append(Section("Models against each other", _pairs(evaluation), []))
    notes = []
    if first.lost:
        notes.append(
            f"The best possible order of the candidates reaches {first.oracle:.3f}; the other "
            f"{first.lost:.3f} is lost in the first stage, and no reranker brings it back."
        )
    if first.without_relevant:
        count = len(first.without_relevant)
        notes.append(f"{count} of the queries have no relevant candidate at all.")
    sections.append(Section("What it takes", _takes(evaluation), [*_calls(evaluation), *notes]))
    sections.append(_thresholds(evaluation))
    return sections


def _judged(evaluation: Evaluation) -> list[str]:
    name = f"judged@{evaluation.k}"
    shares = [evaluation.first_stage.means[name]]
    shares += [model.measures[name].mean for model in evaluation.models.values()]
    meant = (
        f"{name} is the share of the first {evaluation.k} that somebody judged; what nobody judged "
        "counts as not relevant."
    )
    notes = [meant]
    if max(shares) - min(shares) > 0.1:
        notes.append(
            f"{name} differs by {max(shares) - min(shares):.2f}: whoever puts unjudged documents "
            "first looks worse than he may be."
        )
    return notes


def _pairs(evaluation: Evaluation) -> list[list[str]]:
    rows = [["", "difference", "95 % interval", "p (Holm)", "wins/ties/losses", ""]]
    rows += [
        [
            f"{one.second} minus {one.first}",
            f"{one.difference:+.3f}",
            interval(one.ci_low, one.ci_high),
            p_text(one.p_adjusted),
            f"{one.wins}/{one.ties}/{one.losses}",
            "" if one.p_adjusted < ALPHA else "not distinguishable",
        ]
        for one in evaluation.pairs
    ]
    return rows


def _takes(evaluation: Evaluation) -> list[list[str]]:
    rows = [["per 1,000 queries", "requests", "tokens", "search units", "calls measured", "failed"]]
    rows += [
        [
            model.name,
            _count(model.requests_per_1000),
            _count(model.tokens_per_1000),
            _count(model.search_units_per_1000),
            f"{model.latency.calls:,}, {model.latency.at_once} at once"
            if model.latency
            else "none",
            f"{len(model.failed):,}",
        ]
        for model in evaluation.models.values()
    ]
    return rows


def _calls(evaluation: Evaluation) -> list[str]:
    times = (
        "Times are of whole calls, retries included and waits for a rate limit not; what came from "
        "a checkpoint or a cache has none."
    )
    failures = (
        f"{model.name}: {len(model.failed)} calls failed, whose queries keep the order of the "
        f"first stage. The first error: {model.failure}"
        for model in evaluation.models.values()
        if model.failed
    )
    return [times, *failures]


def _count(number: float | None) -> str:
    return "unknown" if number is None else f"{number:,.0f}"


def _thresholds(evaluation: Evaluation) -> Section:
    heading = [
        "score_threshold",
        "value",
        "F1",
        "F1 without",
        "passed on",
        "recall",
        "nothing relevant",
    ]
    rows = [heading]
    how = (
        f"Chosen on one half of the queries for the F1 of what is passed on of the first "
        f"{evaluation.k}, and reported on the other half. The last column: of the queries without "
        "a relevant candidate, for how many nothing is passed on, as it should be."
    )
    notes = [how]
    for model in evaluation.models.values():
        found = model.threshold
        if found is None:
            notes.append(f"{model.name}: no threshold, since {model.threshold_note}.")
            continue
        rows.append(
            [
                model.name,
                "keep all" if found.value is None else f"{found.value:.4g}",
                f"{found.f1:.3f}",
                f"{found.f1_without:.3f}",
                f"{found.passed_on:.1f}",
                f"{found.recall:.3f}",
                f"{found.nothing_passed_on} of {found.nothing_relevant}",
            ]
        )
    return Section("A threshold on the score", rows if len(rows) > 1 else [], notes)


def about(evaluation: Evaluation) -> str:
    """Return one line that says what was measured."""
    size = f"{evaluation.queries:,} queries, {evaluation.documents:,} documents"
    asked = f"the first {evaluation.top_k} candidates of {evaluation.first_stage.name} are reranked"
    made = f"{evaluation.date}, rerank_integrations {evaluation.version}"
    return f"{evaluation.dataset}: {size}; {asked}. {made}."


def markdown_of(evaluation: Evaluation) -> str:
    """Return the report as Markdown."""
    parts = ["# Does reranking pay?", f"**{_escaped(str(evaluation.verdict))}**"]
    parts.append(_escaped(about(evaluation)))
    for section in sections_of(evaluation):
        parts.append(f"## {section.title}")
        if section.rows:
            parts.append(_table(section.rows))
        if section.notes:
            parts.append("\n".join(f"- {_escaped(note)}" for note in section.notes))
    curves = [model for model in evaluation.models.values() if model.curve]
    if curves:
        parts.append("## How many candidates to rerank")
        parts.append(_table(_curve_rows(evaluation, curves)))
    parts.append("## How many documents to pass on")
    parts.append(_table(_kept_rows(evaluation)))
    if evaluation.problems:
        parts.append("## Left out of the input, or corrected")
        parts.append("\n".join(f"- {_escaped(str(one))}" for one in evaluation.problems))
    return "\n\n".join(parts) + "\n"


def _curve_rows(evaluation: Evaluation, models: list[ModelResult]) -> list[list[str]]:
    depths = list(models[0].curve)
    rows = [[evaluation.decides, *map(str, depths)]]
    rows += [[model.name, *(f"{model.curve[one]:.3f}" for one in depths)] for model in models]
    return rows


def _kept_rows(evaluation: Evaluation) -> list[list[str]]:
    first = evaluation.first_stage.kept
    rows = [
        ["recall", *map(str, first)],
        ["no reranking", *(f"{one:.3f}" for one in first.values())],
    ]
    rows += [
        [model.name, *(f"{model.kept[one]:.3f}" for one in first)]
        for model in evaluation.models.values()
    ]
    return rows


def _table(rows: list[list[str]]) -> str:
    cells = [[_escaped(cell).replace("|", "\\|") for cell in row] for row in rows]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    lines.insert(1, f"|---|{'---:|' * (len(rows[0]) - 1)}")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Escape characters that Markdown would treat as HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
