"""`rerank sample`: selects random queries to label, as a CSV file for a spreadsheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from rerank_integrations.cli._client import complete_provider, quiet_option
from rerank_integrations.cli._command import Command, plural

_EXAMPLES = """\b
Examples:
  rerank sample my-data labels.csv
  rerank sample my-data labels.csv --queries 30 --depth 5 --model local:hybrid
  rerank evaluate my-data --labels labels.csv --model local:hybrid
"""


@click.command(
    "sample", cls=Command, short_help="Select random queries to label.", epilog=_EXAMPLES
)
@click.argument(
    "folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.argument("target", metavar="OUT.csv", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "-n",
    "--queries",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="Number of queries.",
)
@click.option(
    "--depth",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Number of documents of each ranking.",
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="PROVIDER:MODEL",
    shell_complete=complete_provider(":"),
    help="Also include the top documents of this model, so that they are judged.",
)
@click.option(
    "--seed",
    type=int,
    default=0,
    show_default=True,
    help="Random seed.",
)
@click.option("--force", is_flag=True, help="Overwrite OUT, including the grades in it.")
@quiet_option
def command(
    folder: Path,
    target: Path,
    *,
    queries: int,
    depth: int,
    models: Sequence[str],
    seed: int,
    force: bool,
    quiet: bool,
) -> None:
    """Select random queries of DIR with their top candidates, to label in a spreadsheet.

    Fill in the column `grade` with whole numbers, 0 for not relevant. Leave it empty for documents
    that you do not judge. `rerank evaluate DIR --labels OUT.csv` reads the file.
    """
    from rerank_integrations.evaluation import sample

    if target.exists() and not force:
        raise click.UsageError(f"{target} exists and may have grades; --force overwrites it")
    count = sample(folder, queries, target, depth=depth, models=models, seed=seed, overwrite=force)
    if not quiet:
        click.echo(f"{target}: {plural(count, 'document')} to label", err=True)
