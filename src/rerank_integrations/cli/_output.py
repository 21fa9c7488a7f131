"""Writes results: a table on a terminal, JSON Lines in a pipe."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from rerank_integrations.cli._command import options, printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

# in JSON, which escapes only what is below the space: other control characters, line separators
# and marks that change the direction of what follows
_STEERS = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_LEAST = 12  # columns of a table's wide column, however narrow the terminal is


def _form(*names: str, help: str) -> Callable[[Any], Any]:  # noqa: A002
    """A flag that chooses a format; two formats exclude each other."""

    def choose(ctx: click.Context, param: click.Parameter, value: bool) -> None:  # noqa: FBT001
        before = ctx.params.setdefault("form", None)
        if value and before:
            raise click.UsageError(f"choose one of --{before} and --{param.name}")
        if value:
            ctx.params["form"] = param.name

    return click.option(*names, is_flag=True, expose_value=False, callback=choose, help=help)


format_options = options(
    _form("--table", help="Write a table, the default on a terminal."),
    _form("--json", help="Write one JSON document."),
    _form("--jsonl", "--nl", help="Write JSON Lines, the default in a pipe."),
)


def format_for(form: str | None) -> str:
    """The chosen format; by default a table on a terminal and JSON Lines in a pipe."""
    return form or ("table" if sys.stdout.isatty() else "jsonl")


def write_lines(rows: Iterable[Mapping[str, Any]]) -> None:
    """Write each row as a line of JSON."""
    sys.stdout.writelines(f"{_json(row)}\n" for row in rows)  # `echo` would flush each
    sys.stdout.flush()


def write_json(value: Any) -> None:
    """Write a JSON document."""
    click.echo(_json(value, indent=2))


def _json(value: Any, **more: Any) -> str:
    """JSON, with escapes for control characters and for what the output encoding lacks."""
    text = json.dumps(value, ensure_ascii=False, default=str, **more)
    text = _STEERS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, default=str, **more)
    return text


def new_table(*columns: str, right: Sequence[str] = (), wide: str = "", title: str = "") -> Table:
    """A table with these columns.

    Args:
        columns: the headings.
        right: the columns of numbers.
        wide: the column that gets the rest of the width; its text is cut at the end.
        title: the title above the table.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD,
        expand=bool(wide),
        pad_edge=False,
        title=cell(title) if title else None,
        title_justify="left",
        title_style="bold",
    )
    for name in columns:
        table.add_column(
            name,
            justify="right" if name in right else "left",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if name == wide else None,
            min_width=_LEAST if name == wide else None,
        )
    return table


def write_table(table: Table, *below: str) -> None:
    """Write a table, and lines below it."""
    from rich.console import Console

    class Writer(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # to end as all commands do; rich would end the process

    console = Writer(highlight=False, file=sys.stdout)
    console.print(table)
    for line in below:
        console.print(cell(line), style="dim")


def cell(text: object, style: str = "") -> Text:
    """Text on one line, without control characters."""
    from rich.text import Text

    return Text(printable(str(text)), style)
