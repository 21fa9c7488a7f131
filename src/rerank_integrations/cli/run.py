"""`rerank run`: ranks the documents of files, or of standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from rerank_integrations.cli._client import (
    chosen_model,
    open_client,
    quiet_option,
    ranking_options,
)
from rerank_integrations.cli._command import Command, in_options, printable
from rerank_integrations.cli._documents import KINDS, Item, image_of, read_documents
from rerank_integrations.cli._output import (
    cell,
    format_for,
    format_options,
    new_table,
    write_json,
    write_lines,
    write_table,
)

if TYPE_CHECKING:
    from rerank_integrations.client import RerankClient
    from rerank_integrations.models import QueryInput, RerankResponse

_MOST_SKIPPED = 5  # that are named
_WIDEST = 30  # characters of a file's name and a line, of which the end says most


_EXAMPLES = """\b
Examples:
  rerank run "a red bicycle" notes.txt
  rerank run "refund" faq.csv --fields question,answer --top-n 3
  git log --oneline | rerank run "fixes a memory leak" --top-n 5
  rerank run "how to install" docs/*.md --whole-files
  rerank run "a cat" pets.jsonl --image-field photo --model nvidia:MODEL
  rerank run "" photos/*.png --query-image cat.png --model vllm:MODEL
  rerank run "a red bicycle" notes.txt --jsonl | jq -r .document
"""


@click.command(
    "run",
    cls=Command,
    short_help="Rank the documents of files, or of standard input.",
    epilog=_EXAMPLES,
)
@click.argument("query")
@click.argument(
    "files",
    nargs=-1,
    type=click.Path(exists=True, dir_okay=False, allow_dash=True),
)
@click.option(
    "--from",
    "kind",
    type=click.Choice(KINDS),
    help="Format of FILES.  [default: by file extension]",
)
@click.option("--whole-files", is_flag=True, help="Rank whole files instead of their lines.")
@click.option(
    "--query-image",
    metavar="FILE",
    help="Image to rank by: a file or a URL. QUERY is then an optional text, or ''.",
)
@click.option(
    "--image-field", metavar="NAME", help="Field with the path or URL of a document's image."
)
@ranking_options
@format_options
@quiet_option
def command(
    query: str,
    files: Sequence[str],
    *,
    kind: str | None,
    whole_files: bool,
    query_image: str | None,
    image_field: str | None,
    form: str | None,
    quiet: bool,
    model: str | None,
    base_url: str | None,
    **settings: Any,
) -> None:
    """Rank the documents in FILES by their relevance to QUERY, best first.

    A document is a line of a text file, a row of a CSV or TSV file below its header, a line of a
    JSONL file, an element of the array in a JSON file, or an image file. Without FILES, or with -,
    standard input is read. It is text, unless --from names another format.

    The output is a table on a terminal, and JSON Lines in a pipe.
    """
    if not query.strip() and query_image is None:
        raise click.UsageError("QUERY is empty")
    if not files and sys.stdin.isatty():
        raise click.UsageError(
            "pass FILES, such as rerank run QUERY notes.txt, or pipe documents in"
        )
    items = read_documents(
        files or ["-"], kind=kind, whole_files=whole_files, image_field=image_field
    )
    if not items:
        where = ", ".join(name for name in files if name != "-") or "standard input"
        raise click.ClickException(f"no documents in {where}")
    objects = [item.given for item in items if isinstance(item.given, dict)]
    if image_field and not any(image_field in given for given in objects):
        raise click.UsageError(f"no document has the field {image_field!r} of --image-field")
    model = chosen_model(model, base_url, quiet=quiet)
    with open_client(model, base_url=base_url, **settings) as client:
        response = _ranked(client, _query_of(query, query_image), items)
    for warning in () if quiet else response.warnings:
        click.echo(f"warning: {printable(in_options(warning))}", err=True)
    if response.skipped and not quiet:
        sources = [items[index].source for index in response.skipped]
        more = f" and {len(sources) - _MOST_SKIPPED:,} more" if len(sources) > _MOST_SKIPPED else ""
        said = f"skipped: {', '.join(sources[:_MOST_SKIPPED])}{more}"
        click.echo(printable(said), err=True)
    _write(response, items, format_for(form), settings["rank_fields"])


def _query_of(text: str, image: str | None) -> QueryInput:
    return text if image is None else {"text": text, "image": image_of(image)}


def _ranked(client: RerankClient, query: QueryInput, items: Sequence[Item]) -> RerankResponse:
    """The response; an error about a document names its file and line."""
    from rerank_integrations.errors import UnsupportedDocumentError

    try:
        return client.rerank(query, [item.document for item in items])
    except UnsupportedDocumentError as error:
        if error.index is not None:
            error.add_note(items[error.index].source)
        raise


def _write(
    response: RerankResponse, items: Sequence[Item], form: str, rank_fields: Sequence[str]
) -> None:
    ranked = [(one, items[one.index]) for one in response]
    rows = [
        {
            "index": one.index,
            "relevance_score": one.relevance_score,
            "document": item.given,
            "source": item.source,
        }
        for one, item in ranked
    ]
    if form == "jsonl":
        write_lines(rows)
    elif form == "json":
        said = {
            "model": response.model,
            "provider": response.provider,
            "score_kind": response.score_kind,
            "usage": response.usage.counts(),
            "warnings": response.warnings,
        }
        write_json({"results": rows, **said})
    else:
        table = new_table("#", "score", "document", "source", right=("#", "score"), wide="document")
        for place, (one, item) in enumerate(ranked, 1):
            score = f"{one.relevance_score:.4f}"
            table.add_row(
                str(place),
                score,
                cell(_shown(item.given, rank_fields)),
                cell(item.source[-_WIDEST:]),
            )
        used = ", ".join(f"{name} {value:g}" for name, value in response.usage.counts().items())
        by = f"ranked by {response.model} ({response.provider}), {response.score_kind} scores"
        below = f"{len(ranked)} of {len(items)} documents, {by}"
        write_table(table, f"{below}, {used}" if used else below)


def _shown(given: Any, rank_fields: Sequence[str]) -> str:
    """A document as text: the fields of an object by name, rank fields first."""
    from rerank_integrations.fields import ranked_values

    if isinstance(given, str):
        return given
    first = ranked_values(given, rank_fields)
    return ", ".join(
        f"{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in {**first, **given}.items()
        if value is not None
    )
