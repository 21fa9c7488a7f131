"""The sections that the HTML and the Markdown report share, and the report as Markdown."""

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
    """A heading, a table whose first row has the column titles, and notes below it."""

    title: str
    rows: list[list[str]]
    notes: list[str]


def sections_of(evaluation: Evaluation) -> list[Section]:
    """Return the sections of a report."""
    first, models = evaluation.first_stage, evaluation.models.values()
    several = len(evaluation.models) > 1
    tests = (
        f"The p-values are from paired randomisation tests over {evaluation.queries} queries, with "
        "Holm's correction for all comparisons of this report. The intervals are bootstrap "
        "intervals, without a correction."
    )
    notes = [tests]
    sizes = [
        f"{model.decides.detectable:.3f} ({model.name})"
        for model in models
        if model.decides.detectable is not None
    ]
    if sizes:
        notes.append(
            f"Smallest gain that is detected with a probability of 80 %: {', '.join(sizes)}."
        )
    sections = [Section("Compared with no reranking", gains_table(evaluation), notes)]
    sections.append(Section("All measures", measures_table(evaluation), _judged(evaluation)))
    if several:
        sections.append(Section("Models compared with each other", _pairs(evaluation), []))
    notes = []
    if first.lost:
        notes.append(
            f"The best possible order of the candidates reaches {first.oracle:.3f}. The remaining "
            f"{first.lost:.3f} is lost in the first stage, and no reranker can recover it."
        )
    if first.without_relevant:
        notes.append(f"Queries without a relevant candidate: {len(first.without_relevant)}.")
    sections.append(
        Section("Requests, tokens and calls", _takes(evaluation), [*_calls(evaluation), *notes])
    )
    sections.append(_thresholds(evaluation))
    return sections


def _judged(evaluation: Evaluation) -> list[str]:
    name = f"judged@{evaluation.k}"
    shares = [evaluation.first_stage.means[name]]
    shares += [model.measures[name].mean for model in evaluation.models.values()]
    meant = (
        f"{name} is the share of the first {evaluation.k} documents that have a judgment. "
        "Documents without one count as not relevant."
    )
    notes = [meant]
    if max(shares) - min(shares) > 0.1:
        notes.append(
            f"{name} differs by {max(shares) - min(shares):.2f}. A ranking with many unjudged "
            "documents at the top may be better than its figures."
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
            f"{model.latency.calls:,}, {model.latency.at_once} in flight"
            if model.latency
            else "none",
            f"{len(model.failed):,}",
        ]
        for model in evaluation.models.values()
    ]
    return rows


def _calls(evaluation: Evaluation) -> list[str]:
    times = (
        "Latencies are of whole calls, including retries, but without waits for a rate limit. "
        "Results from a checkpoint or a cache have no latency."
    )
    failures = (
        f"Failed calls of {model.name}: {len(model.failed)}. Their queries keep the order of the "
        f"first stage. First error: {model.failure}"
        for model in evaluation.models.values()
        if model.failed
    )
    return [times, *failures]


def _count(number: float | None) -> str:
    return "unknown" if number is None else f"{number:,.0f}"


def _thresholds(evaluation: Evaluation) -> Section:
    heading = [
        "",
        "score_threshold",
        "F1",
        "F1 without threshold",
        "documents kept",
        "recall",
        "correctly empty",
    ]
    rows = [heading]
    how = (
        f"The threshold is chosen on one half of the queries, to maximise the F1 of the documents "
        f"that it keeps of the first {evaluation.k}. The figures are from the other half. The last "
        "column counts the queries without a relevant candidate for which no document is kept, "
        "which is correct."
    )
    notes = [how]
    for model in evaluation.models.values():
        found = model.threshold
        if found is None:
            notes.append(f"{model.name} has no threshold: {model.threshold_note}.")
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
    return Section("Score threshold", rows if len(rows) > 1 else [], notes)


def about(evaluation: Evaluation) -> str:
    """Summarise in one line what was measured."""
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
    parts.append("## How many documents to keep")
    parts.append(_table(_kept_rows(evaluation)))
    if evaluation.problems:
        parts.append("## Problems in the dataset")
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
    """Escape what Markdown would read as HTML."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
