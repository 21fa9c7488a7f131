"""`rerank evaluate`: says whether reranking pays, on judged queries of your own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rerank_integrations.cli._client import (
    COMMON_KEY,
    allow_http_option,
    chosen_model,
    complete_provider,
    has_key,
    open_client,
    quiet_option,
    takes_key,
)
from rerank_integrations.cli._command import FAILED, Amount, Command, printable

if TYPE_CHECKING:
    from rerank_integrations._ledger import Price, Progress

_CLEAR = "\r\x1b[K"  # the line of a terminal
_WRITTEN = click.Path(dir_okay=False, path_type=Path)
_EXAMPLES = """\b
Examples:
  rerank evaluate my-data --model cohere:rerank-v3.5 --html report.html
  rerank evaluate my-data -m local:hybrid -m cohere:rerank-v3.5 --max-cost 2 \\
    --price-per-1000-searches 2
  rerank evaluate my-data --labels labels.csv --max-queries 50
  rerank evaluate my-data --json new.json --compare old.json --max-drop 0.02
"""


@click.command(
    "evaluate", cls=Command, short_help="Measure what reranking gains and costs.", epilog=_EXAMPLES
)
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    envvar="RERANK_MODEL",
    show_envvar=True,
    metavar="PROVIDER:MODEL",
    shell_complete=complete_provider(":"),
    help="Several are compared with each other too.",
)
@click.option(
    "--base-url",
    "base_urls",
    multiple=True,
    metavar="[MODEL=]URL",
    help="The address of the server, where it is not the default one.",
)
@allow_http_option
@click.option(
    "-k", type=click.IntRange(1), default=10, show_default=True, help="Places that count."
)
@click.option(
    "--top-k",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Candidates of a query that are reranked.",
)
@click.option("--split", metavar="NAME", help="Judgments to read.  [default: test]")
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Judgments that were filled in, in place of DIR/qrels; see `rerank sample`.",
)
@click.option("--max-queries", type=click.IntRange(1), metavar="N", help="Measure the first only.")
@click.option(
    "--max-cost",
    type=Amount(0, min_open=True),
    metavar="USD",
    help="Spend no more, on all models together.",
)
@click.option(
    "--price-per-1000-searches",
    "per_1000_search_units",
    multiple=True,
    metavar="[MODEL=]USD",
    help="Price of 1,000 searches, where responses do not say the cost.",
)
@click.option(
    "--price-per-million-tokens",
    "per_million_tokens",
    multiple=True,
    metavar="[MODEL=]USD",
    help="Price of a million tokens, where responses do not say the cost.",
)
@click.option(
    "--checkpoint",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keep there what was paid for; the same command goes on from it.",
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Calls in flight at once; one for an engine of this process.",
)
@click.option("--no-curve", is_flag=True, help="Leave out how many candidates are worth it.")
@click.option("--html", type=_WRITTEN, metavar="FILE", help="Write the report, as one file.")
@click.option("--markdown", type=_WRITTEN, metavar="FILE", help="Write the tables.")
@click.option("--json", type=_WRITTEN, metavar="FILE", help="Write all figures.")
@click.option(
    "--compare",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="OLD.json",
    help="End with exit code 1 if a model has become worse.",
)
@click.option(
    "--max-drop",
    type=Amount(0),
    metavar="X",
    help="For --compare: a greater drop counts too, significant or not.",
)
@quiet_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    folder: Path,
    *,
    models: Sequence[str],
    base_urls: Sequence[str],
    allow_http: bool,
    split: str | None,
    labels: Path | None,
    per_1000_search_units: Sequence[str],
    per_million_tokens: Sequence[str],
    checkpoint: Path | None,
    no_curve: bool,
    html: Path | None,
    markdown: Path | None,
    json: Path | None,
    compare: Path | None,
    max_drop: float | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Say whether reranking pays on the judged queries of DIR, and with which model.

    DIR is in the layout of BEIR: corpus.jsonl, queries.jsonl, qrels/test.tsv, and perhaps
    candidates.jsonl with what your retriever found; without it a built-in BM25 finds 100.

    The verdict and the figures are printed. --html has plots, and each query before and after.
    """
    for path in (html, markdown, json):
        if path is not None and not path.parent.is_dir():
            raise click.UsageError(f"there is no folder {path.parent}")
    if max_drop is not None and compare is None:
        raise click.UsageError("--max-drop needs --compare")

    from rerank_integrations.evaluation import Dataset, Evaluation, evaluate

    old = None if compare is None else Evaluation.from_json(compare)
    models = models or (chosen_model(None, None, quiet=quiet),)
    addresses = _by_model(models, base_urls)
    prices = _prices(models, per_1000_search_units, per_million_tokens)
    top_k: int = settings["top_k"]
    data = Dataset.read(folder, split=split, labels=labels, depth=max(100, top_k))
    for problem in () if quiet else data.problems:
        click.echo(printable(f"{folder}: {problem}"), err=True)
    _check_common_key(models)
    is_shown = not quiet and sys.stderr.isatty()
    with ExitStack() as opened:
        if is_shown:
            opened.callback(click.echo, _CLEAR, nl=False, err=True)
        found = evaluate(
            data,
            {
                name: opened.enter_context(
                    open_client(name, base_url=addresses.get(name), allow_http=allow_http)
                )
                for name in models
            },
            price=prices,
            checkpoint_dir=checkpoint,
            curve=not no_curve,
            progress=_show if is_shown else False,
            **settings,
        )
    for path, write in (
        (html, found.to_html),
        (markdown, found.to_markdown),
        (json, found.to_json),
    ):
        if path is not None:
            write(path)
    click.echo(found)
    if old is not None:
        comparison = found.compare(old, max_drop=max_drop)
        click.echo(f"\n{comparison}")
        ctx.exit(FAILED if comparison.exit_code else 0)


def _check_common_key(models: Sequence[str]) -> None:
    """Refuse to send one key to several providers.

    Raises:
        UsageError: several would get it.
    """
    from rerank_integrations._options import named

    kinds = {kind.name: kind for kind in (named(model, None)[1] for model in models)}
    told = [name for name, kind in kinds.items() if takes_key(kind) and not has_key(kind)]
    if os.environ.get(COMMON_KEY) and len(told) > 1:
        raise click.UsageError(
            f"{COMMON_KEY} is the key of one provider, and {' and '.join(told)} would get it; set "
            "their own variables"
        )


def _show(name: str, now: Progress) -> None:
    """Show in one line of a terminal how far a model is."""
    cost = "" if now.cost is None else f", ${now.cost:.4f}"
    failed = f", {now.failed:,} failed" if now.failed else ""
    text = f"{name}: {now.done + now.failed:,} queries{failed}{cost}"
    click.echo(f"{_CLEAR}{text}", nl=False, err=True)


def _prices(
    models: Sequence[str], searches: Sequence[str], tokens: Sequence[str]
) -> dict[str, Price]:
    """The price of each model that has one.

    Raises:
        UsageError: it is not a number.
    """
    from rerank_integrations._ledger import Price

    given: dict[str, dict[str, float]] = {}
    for kind, values in (("per_1000_search_units", searches), ("per_million_tokens", tokens)):
        for model, amount in _by_model(models, values).items():
            try:
                given.setdefault(model, {})[kind] = float(amount)
            except ValueError:
                raise click.UsageError(
                    f"a price is USD, or MODEL=USD for one of the models, not {amount!r}"
                ) from None
    return {name: Price(**own) for name, own in given.items()}


def _by_model(models: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    """For each model the value that names it, else the one that names none."""
    found: dict[str, str] = {}
    for value in values:
        name, _, own = value.partition("=")
        found |= {name: own} if name in models else {m: value for m in models if m not in found}
    return found
