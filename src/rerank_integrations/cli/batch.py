"""`rerank batch`: ranks the documents of many rows, and can resume a run."""

from __future__ import annotations

import json
import sys
from contextvars import copy_context
from os.path import realpath  # `Path.resolve` fails for a link that leads to itself
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

import click

from rerank_integrations.cli._client import (
    chosen_model,
    open_client,
    quiet_option,
    ranking_options,
    rate_option,
)
from rerank_integrations.cli._command import (
    BUDGET,
    CREDENTIALS,
    FAILED,
    INTERRUPTED,
    USAGE,
    Amount,
    Command,
    again,
    plural,
    printable,
    report,
    spoken,
)

if TYPE_CHECKING:
    from rerank_integrations._many import ManyResults, RowResult

_STDIN, _DEVICE = Path("-"), Path("/dev/stdin")
_ENDINGS = (".jsonl", ".ndjson")
_EVERY = 5  # seconds between two lines of progress where there is no terminal
_MOST_ERRORS = 5  # that are shown
_MINUTE, _HOUR = 60, 3600


_EXAMPLES = """\b
Examples:
  rerank batch queries.jsonl ranked.jsonl --model cohere:rerank-v3.5
  rerank batch queries.jsonl ranked.jsonl --model cohere:rerank-v3.5 --resume
  rerank batch queries.jsonl ranked.jsonl --top-n 10 --max-cost 5 \\
    --model openrouter:cohere/rerank-v3.5
  rerank batch queries.jsonl ranked.jsonl --on-error reject --quiet
"""


@click.command(
    "batch", cls=Command, short_help="Rank the documents of many queries.", epilog=_EXAMPLES
)
@click.argument(
    "source",
    metavar="IN.jsonl",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
)
@click.argument("target", metavar="OUT.jsonl", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--resume", is_flag=True, help="Resume a run: rank only rows that are not in OUT.")
@click.option("--force", is_flag=True, help="Overwrite OUT.")
@click.option(
    "--on-error",
    type=click.Choice(["keep", "reject", "stop"]),
    default="keep",
    show_default=True,
    help="If a row fails: keep lists it in OUT.errors.jsonl and continues; reject also writes "
    "invalid rows of IN to a new IN.rejected.jsonl; stop ends the run.",
)
@click.option(
    "--max-cost",
    type=Amount(0, min_open=True),
    metavar="USD",
    help="Stop before this run costs more. Most models need a price for this, see below.",
)
@click.option(
    "--max-requests",
    type=click.IntRange(1),
    metavar="N",
    help="Stop before this run sends more requests, including retries.",
)
@click.option(
    "--price-per-1000-searches",
    "per_1000_search_units",
    type=Amount(0),
    metavar="USD",
    help="Price of 1,000 searches, if responses do not report the cost.",
)
@click.option(
    "--price-per-million-tokens",
    "per_million_tokens",
    type=Amount(0),
    metavar="USD",
    help="Price of a million tokens, if responses do not report the cost.",
)
@click.option(
    "--max-concurrency",
    type=click.IntRange(1),
    default=64,
    show_default=True,
    metavar="N",
    help="Number of concurrent calls.",
)
@rate_option
@click.option("--documents-per-minute", type=click.IntRange(1), metavar="N", help="Rate limit.")
@ranking_options
@quiet_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: Path,
    target: Path,
    *,
    resume: bool,
    force: bool,
    on_error: str,
    max_cost: float | None,
    max_requests: int | None,
    per_1000_search_units: float | None,
    per_million_tokens: float | None,
    max_concurrency: int,
    quiet: bool,
    model: str | None,
    base_url: str | None,
    **settings: Any,
) -> None:
    """Rank the documents of each row of IN.jsonl, and write the results to OUT.jsonl.

    A row of IN is {"id": ..., "query": ..., "documents": [...]}. Documents are strings or objects.
    A row without an id gets the number of its line. With - as IN, standard input is read.

    A row of OUT is {"id", "results": [{"index", "relevance_score"}], "model", "provider", "usage",
    "cost", ...}. With --fallback, the model may be the fallback. It has the index of each document
    in its row of IN, not the text. Rows are in the order in which they are finished.

    To resume a run that was stopped, run the same command with --resume. Rows that are in OUT are
    not paid for again. An existing OUT is not overwritten without --force.
    """
    from rerank_integrations._checkpoint import error_words, errors_file, remove_results
    from rerank_integrations._ledger import Price

    if resume and force:
        raise click.UsageError("--resume continues OUT, and --force overwrites it; choose one")
    is_piped = source == _STDIN
    rejected = None
    if on_error == "reject":
        beside = Path("stdin") if is_piped else source
        rejected = _new_file(beside.with_name(f"{beside.stem}.rejected.jsonl"), overwrite=force)
    errors = errors_file(target)
    _check_paths(source, target, errors, rejected, may_overwrite=resume or force)
    if is_piped:
        source = _DEVICE
        if not source.exists():
            raise click.UsageError("this system has no /dev/stdin; name a file as IN")
    elif source.is_file():  # a pipe can be read once
        _check_rows(source)
    price = None
    if per_1000_search_units is not None or per_million_tokens is not None:
        price = Price(
            per_1000_search_units=per_1000_search_units, per_million_tokens=per_million_tokens
        )
    model = chosen_model(model, base_url, quiet=quiet)
    with open_client(model, base_url=base_url, **settings) as client:
        if force:
            remove_results(target)
        words = copy_context()
        words.run(error_words.set, spoken)
        run = words.run(
            client.rerank_many,
            source,
            max_concurrency=max_concurrency,
            on_error="raise" if on_error == "stop" else "keep",
            max_cost=max_cost,
            max_requests=max_requests,
            price=price,
            checkpoint=target,
        )
        with _Report(run, source, rejected, quiet=quiet) as shown:
            code = _finish(ctx, run, shown)
        shown.summary(target, errors, failed=code != 0)
    if shown.rejects:
        corrected = again(ctx, ctx.params["source"], rejected)
        click.echo(f"to rank the rows of {rejected} once corrected: {corrected}", err=True)
    if code not in (0, USAGE) and not (code == FAILED and shown.has_rejected_all()):
        click.echo(f"to resume{shown.after(code, max_cost)}: {again(ctx)}", err=True)
    ctx.exit(code)


def _new_file(path: Path, *, overwrite: bool) -> Path:
    """The path, or one with a number if that file is not empty and must not be overwritten."""
    found, number = path, 1
    while not overwrite and found.exists() and found.stat().st_size:
        number += 1
        found = path.with_name(f"{path.stem}.{number}{path.suffix}")
    return found


def _check_rows(source: Path) -> None:
    """Refuse a file whose first line shows that it is not JSONL, such as CSV."""
    with source.open("rb") as lines:
        first = next((line.strip() for line in lines if not line.isspace()), b"{")
    if first.removeprefix(b"\xef\xbb\xbf")[:1] != b"{" or first == b"{":
        raise click.UsageError(
            f"{source} is not JSONL: each line of IN must be a whole object, such as "
            '{"id": "a", "query": "red", "documents": ["one", "two"]}'
        )


def _check_paths(
    source: Path, target: Path, errors: Path, rejected: Path | None, *, may_overwrite: bool
) -> None:
    """Refuse what would overwrite a file."""
    if target.suffix not in _ENDINGS:
        raise click.UsageError(f"OUT must end in {' or '.join(_ENDINGS)}, not {target.name!r}")
    if realpath(source) in (realpath(target), realpath(errors)):
        raise click.UsageError(f"the run would overwrite its input {source}; name another OUT")
    if rejected is not None and realpath(rejected) == realpath(target):
        raise click.UsageError(f"{rejected} is for rejected rows; name another OUT")
    if not (target.parent.exists() or target.parent.parent.exists()):
        raise click.UsageError(f"the directory {target.parent} does not exist")
    if not may_overwrite and target.exists() and target.stat().st_size:
        raise click.UsageError(
            f"{target} exists: --resume continues that run, --force overwrites the file"
        )


def _finish(ctx: click.Context, run: ManyResults, shown: _Report) -> int:
    """Run to the end; returns the exit code."""
    from rerank_integrations.errors import AuthenticationError, PaymentRequiredError

    try:
        for result in run:
            if isinstance(result.error, AuthenticationError | PaymentRequiredError):
                raise result.error  # noqa: TRY301  # no other row would succeed
            shown.add(result)
    except KeyboardInterrupt:
        shown.say("\nstopped")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # shown in full with --debug
        shown.close()
        shown.end = error
        return report(ctx, error)
    return FAILED if run.progress.failed else 0


class _Report:
    """The progress of a run on stderr: a bar on a terminal, else a line every few seconds.

    Attributes:
        rejects: how many rows were written to the file of rejected rows.
        end: the error that ended the run.
    """

    def __init__(
        self, run: ManyResults, source: Path, rejected: Path | None, *, quiet: bool
    ) -> None:
        self._run, self._source, self._rejected = run, source, rejected
        self._quiet = quiet
        self._total: int | None = None
        self._stored = self._told = self._wrong = self.rejects = 0
        self.end: Exception | None = None
        self._next_line = float(_EVERY)
        self._bar: Any = None
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        if not self._quiet:
            if self._source.is_file() and self._source != _DEVICE:  # a pipe can be read once
                self._total = _count(self._source)
            if sys.stderr.isatty():
                self._bar = _bar(self._total)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        self._run.close()

    def close(self) -> None:
        """Remove the bar, and close the file of rejected rows."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._file is not None:
            self._file.close()

    def say(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False)
        else:
            click.echo(text, err=True)

    def add(self, result: RowResult) -> None:
        """Count a result, and show how far the run is."""
        self._stored += result.is_stored
        if result.error is not None:
            self._failed(result)
        if self._bar is not None:
            now = self._run.progress
            task = self._bar.task_ids[0]
            self._bar.update(task, completed=now.done + now.failed, description=self._status())
        elif not self._quiet and self._run.progress.seconds >= self._next_line:
            self._next_line = self._run.progress.seconds + _EVERY
            click.echo(self._status(), err=True)

    def _failed(self, result: RowResult) -> None:
        from rerank_integrations.errors import InvalidRequestError

        assert result.error is not None  # noqa: S101  # for type checkers
        self._told += 1
        if self._told <= _MOST_ERRORS:
            self.say(f"failed: {spoken(result.error)}")
        elif self._told == _MOST_ERRORS + 1:
            self.say("failed: further rows, not shown here")
        if not isinstance(result.error, InvalidRequestError):
            return
        self._wrong += 1
        if self._rejected is not None:
            if self._file is None:
                self._file = self._rejected.open("w", encoding="utf-8")
            self._file.write(f"{_with_id(result)}\n")
            self.rejects += 1

    def has_rejected_all(self) -> bool:
        """Whether the only failures are rows that were rejected."""
        return self.end is None and 0 < self.rejects == self._run.progress.failed

    def after(self, code: int, max_cost: float | None) -> str:
        """The condition for the same command to succeed."""
        from rerank_integrations.errors import InvalidRequestError, PaymentRequiredError

        if code == CREDENTIALS:
            return " once the key is valid"
        if isinstance(self.end, PaymentRequiredError):
            return " once the account has credit"
        if code == BUDGET:
            option = "--max-requests" if max_cost is None else "--max-cost"
            return f" with the same budget again, or with a higher {option}"
        failed = self._run.progress.failed
        is_all = self.end is None and self._wrong == failed
        if code == FAILED and (is_all or isinstance(self.end, InvalidRequestError)):
            return f" once {'the input' if self._source == _DEVICE else self._source} is corrected"
        return ""

    def _status(self) -> str:
        now = self._run.progress
        finished = now.done + now.failed
        rate = (finished - self._stored) / max(now.seconds, 0.001)
        of_all = "" if self._total is None else f"/{self._total:,}"
        parts = [f"{finished:,}{of_all} rows", f"{rate:,.1f}/s"]
        if now.failed:
            parts.append(f"{now.failed:,} failed")
        if now.cost is not None:
            parts.append(f"${now.cost:.4f}")
        if self._total is not None and rate:
            parts.append(f"{_duration((self._total - finished) / rate)} left")
        return "  ".join(parts)

    def summary(self, target: Path, errors: Path, *, failed: bool) -> None:
        """Print the outcome of the run."""
        if self._quiet and not failed:
            return
        now = self._run.progress
        before = f" ({self._stored:,} from earlier runs)" if self._stored else ""
        # a response after Ctrl-C, or on a full disk, counts as done but is not in the file
        rows = _count(target) if failed else now.done
        _say_of(target, f"{plural(rows, 'row')}{before}")
        if now.failed:
            _say_of(errors, plural(now.failed, "failed row"))
        if self._rejected and self.rejects:
            _say_of(self._rejected, f"{plural(self.rejects, 'row')} to correct")
        cost = "" if now.cost is None else f", ${now.cost:.4f}"
        seconds = _duration(now.seconds)
        click.echo(f"{plural(now.requests, 'request')}{cost}, {seconds}", err=True)


def _with_id(result: RowResult) -> str:
    """A row as a line with its id, so that the corrected row keeps it."""
    row = result.row
    if isinstance(row, dict):
        own = {"id": result.id} if row.get("id") is None else {}
        return json.dumps({**row, **own})
    if isinstance(row, str) and row.startswith("{"):  # no JSON; an id that it has wins, as the last
        return f'{{"id": {json.dumps(result.id)}, {row[1:].lstrip()}'
    return json.dumps({"id": result.id, "line": row})


def _count(file: Path) -> int:
    """How many lines of a file are not blank."""
    with file.open("rb") as lines:
        return sum(not line.isspace() for line in lines)


def _say_of(file: Path, what: str) -> None:
    click.echo(f"{printable(str(file))}: {what}", err=True)


def _bar(total: int | None) -> Any:
    """A progress bar with a text behind it."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
    console = Console(stderr=True, highlight=False)
    bar = Progress(BarColumn(None), text, console=console, expand=True, transient=True)
    bar.add_task("", total=total)
    bar.start()
    return bar


def _duration(seconds: float) -> str:
    """A duration in readable units."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), _MINUTE)
    if seconds < _HOUR:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // _MINUTE} h {minutes % _MINUTE:02} min"
