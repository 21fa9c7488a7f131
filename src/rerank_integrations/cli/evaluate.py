"""`rerank evaluate`: measures whether reranking pays, on your own judged queries."""

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
    rate_option,
    sending_options,
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
    "evaluate",
    cls=Command,
    short_help="Measure the gain and the cost of reranking.",
    epilog=_EXAMPLES,
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
    help="The model to measure. Repeat the option to compare several models.",
)
@click.option(
    "--base-url",
    "base_urls",
    multiple=True,
    metavar="[MODEL=]URL",
    help="Base URL of the server, if it is not the default one.",
)
@allow_http_option
@click.option(
    "-k",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Cutoff of the metrics.",
)
@click.option(
    "--top-k",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Number of candidates of each query to rerank.",
)
@click.option("--split", metavar="NAME", help="Judgments to read: qrels/NAME.tsv.  [default: test]")
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Read judgments from a file of `rerank sample` instead of DIR/qrels.",
)
@click.option(
    "--max-queries", type=click.IntRange(1), metavar="N", help="Measure only the first N queries."
)
@click.option(
    "--max-cost",
    type=Amount(0, min_open=True),
    metavar="USD",
    help="Budget for all models together.",
)
@click.option(
    "--price-per-1000-searches",
    "per_1000_search_units",
    multiple=True,
    metavar="[MODEL=]USD",
    help="Price of 1,000 searches, if responses do not report the cost.",
)
@click.option(
    "--price-per-million-tokens",
    "per_million_tokens",
    multiple=True,
    metavar="[MODEL=]USD",
    help="Price of a million tokens, if responses do not report the cost.",
)
@click.option(
    "--checkpoint",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Store paid results in this directory; the same command resumes from them.",
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Number of concurrent calls; always 1 for a local: model.",
)
@rate_option
@sending_options
@click.option("--no-curve", is_flag=True, help="Skip the curve of how many candidates to rerank.")
@click.option("--html", type=_WRITTEN, metavar="FILE", help="Write the report as one HTML file.")
@click.option("--markdown", type=_WRITTEN, metavar="FILE", help="Write the tables as Markdown.")
@click.option("--json", type=_WRITTEN, metavar="FILE", help="Write all figures as JSON.")
@click.option(
    "--compare",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="OLD.json",
    help="Compare with an older --json file; exit code 1 if a model has become worse.",
)
@click.option(
    "--max-drop",
    type=Amount(0),
    metavar="X",
    help="With --compare: a drop of more than X also counts, significant or not.",
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
    k: int,
    top_k: int,
    split: str | None,
    labels: Path | None,
    max_queries: int | None,
    max_cost: float | None,
    per_1000_search_units: Sequence[str],
    per_million_tokens: Sequence[str],
    checkpoint: Path | None,
    max_concurrency: int,
    no_curve: bool,
    html: Path | None,
    markdown: Path | None,
    json: Path | None,
    compare: Path | None,
    max_drop: float | None,
    quiet: bool,
    **settings: Any,
) -> None:
    """Measure whether reranking pays on the judged queries of DIR, and with which model.

    DIR has the layout of BEIR: corpus.jsonl, queries.jsonl and qrels/test.tsv. An optional
    candidates.jsonl has the results of your retriever. Without it, a built-in BM25 retrieves 100
    candidates for each query.

    The verdict and the figures are printed. The report of --html also has plots, and the ranking of
    each query before and after.
    """
    for path in (html, markdown, json):
        if path is not None and not path.parent.is_dir():
            raise click.UsageError(f"the directory {path.parent} does not exist")
    if max_drop is not None and compare is None:
        raise click.UsageError("--max-drop needs --compare")

    from rerank_integrations.evaluation import Dataset, Evaluation, evaluate

    old = None if compare is None else Evaluation.from_json(compare)
    models = models or (chosen_model(None, None, quiet=quiet),)
    addresses = _by_model("--base-url", models, base_urls)
    prices = _prices(models, per_1000_search_units, per_million_tokens)
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
                    open_client(
                        name, base_url=addresses.get(name), allow_http=allow_http, **settings
                    )
                )
                for name in models
            },
            k=k,
            top_k=top_k,
            max_queries=max_queries,
            max_cost=max_cost,
            price=prices,
            checkpoint_dir=checkpoint,
            max_concurrency=max_concurrency,
            curve=not no_curve,
            progress=_show if is_shown else False,
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
        UsageError: several providers would get it.
    """
    from rerank_integrations._options import named

    kinds = {kind.name: kind for kind in (named(model, None)[1] for model in models)}
    told = [name for name, kind in kinds.items() if takes_key(kind) and not has_key(kind)]
    if os.environ.get(COMMON_KEY) and len(told) > 1:
        raise click.UsageError(
            f"{COMMON_KEY} is the key of one provider, but {' and '.join(told)} would get it; set "
            "their own variables"
        )


def _show(name: str, now: Progress) -> None:
    """Show the progress of a model in one line of a terminal."""
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
    for kind, option, values in (
        ("per_1000_search_units", "--price-per-1000-searches", searches),
        ("per_million_tokens", "--price-per-million-tokens", tokens),
    ):
        for model, amount in _by_model(option, models, values).items():
            try:
                given.setdefault(model, {})[kind] = float(amount)
            except ValueError:
                raise click.UsageError(
                    f"a price must be USD, or MODEL=USD for one of the models, not {amount!r}"
                ) from None
    return {name: Price(**own) for name, own in given.items()}


def _by_model(option: str, models: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    """For each model the value of an option that names it, else the value that names no model.

    Raises:
        UsageError: a value names a model that is not measured.
    """
    from rerank_integrations.providers._validation import nearest

    found: dict[str, str] = {}
    for value in values:
        name, equals, _ = value.partition("=")
        named = next((model for model in models if value.startswith(f"{model}=")), None)
        if named is not None:
            found[named] = value.removeprefix(f"{named}=")
        elif equals and "://" not in name:  # no address with a query
            raise click.UsageError(
                f"{option} names {name!r}, which is not one of --model; {nearest(name, models)}the "
                f"models are {', '.join(models)}"
            )
        else:
            found |= {model: value for model in models if model not in found}
    return found
