"""Shared by all commands: `--debug`, exit codes, and error messages that name options."""

from __future__ import annotations

import errno
import math
import re
import shlex
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

FAILED, USAGE, BUDGET, CREDENTIALS = 1, 2, 3, 4
INTERRUPTED = 130  # 128 and the number of the signal, as shells have it
PIPE_CLOSED = 141
WIDTH = 100  # of help, in a wide terminal
_DEBUG = "rerank_integrations.debug"
ARGUMENTS = "rerank_integrations.arguments"
_TYPES = {"str": "a string", "list": "an array", "dict": "an object", "NoneType": "null"}


def _of_json(found: re.Match[str]) -> str:
    """The name of a type in JSON."""
    return _TYPES.get(found[1], "true or false" if found[1] == "bool" else "a number")


def _of_fields(found: re.Match[str]) -> str:
    """A list of fields, in the form of the option."""
    return "--fields " + found[1].replace("', '", ",")


# messages of the library name its settings; these are the names of the options
_SPOKEN: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"price=Price\(per_1000_search_units=\.\.\.\)"), "--price-per-1000-searches"),
    (re.compile(r"price=Price\(per_million_tokens=\.\.\.\)"), "--price-per-million-tokens"),
    (re.compile(r"\b(on_image|on_invalid_document)='(\w+)'"), r"\1 \2"),
    (re.compile(r", or pass provider=($|Local\(.*$)"), ""),
    (
        re.compile(r"Compatible was not told .* instruction; pass provider=Compatible\(.*?\)"),
        "the command line cannot set how a compatible: server receives an instruction",
    ),
    (re.compile(", such as local:bm25 without retrieval_weight"), ", such as local:bm25"),
    (re.compile(r"\b(was|is) None(?=[.,;])"), r"\1 not given"),
    (re.compile(r"\brank_fields=\['(.*?)'\]"), _of_fields),
    (re.compile("the checkpoint '"), "'"),
    (re.compile(r"\b(?:a|(not one)) str\b"), lambda found: f"{found[1] or 'a'} string"),
    (re.compile(r"\ban int\b"), "a whole number"),
    (re.compile(r"\bnot one dict\b"), "not one object"),
    (re.compile(r"(?<=\bnot )(str|int|float|bool|list|dict|NoneType)\b"), _of_json),
    (re.compile("keys go into api_key= or extra_headers="), "keys go into environment variables"),
    (re.compile("pass checkpoint="), "pass --resume"),
    (re.compile("pass checkpoint_dir="), "pass --checkpoint"),
    (re.compile("pass split="), "pass --split"),
    (re.compile("`sample` draws"), "`rerank sample` draws"),
    (re.compile("or the settings of that run"), "the settings of that run, or --force"),
    (re.compile(r"provider=\w+\(base_url=\.\.\., allow_http=True\)"), "--allow-http"),
    (re.compile(r"pass base_url='[^']*'"), "pass --base-url"),
    (re.compile(r"\brank_fields\b"), "--fields"),
    (re.compile(r"\bscore_threshold\b"), "--threshold"),
]
_JOINERS = "\u200c\u200d"  # inside of emoji, and of words in Persian and Indian scripts
_SETTINGS = re.compile(
    r"\b(base_url|documents_per_minute|extra_body|instruction|max_cost|max_document_chars|"
    r"max_requests|on_image|on_invalid_document|requests_per_minute|score_transform|top_n)\b"
    r"(=(?=[\s,;.]))?"
)


# in help, for the names of options; those of no other heading are under "Options"
_HEADINGS = {
    "Model": (
        *("model", "models", "base_url", "base_urls", "allow_http", "fallbacks"),
        *("instruction", "extra_body"),
    ),
    "Ranking": (
        *("top_n", "rank_fields", "score_threshold", "score_transform"),
        *("on_image", "on_invalid_document", "max_document_chars"),
    ),
    "Cost and speed": (
        *("max_cost", "max_requests", "per_1000_search_units", "per_million_tokens"),
        *("max_concurrency", "requests_per_minute", "documents_per_minute", "cache"),
        *("timeout", "max_retries"),
    ),
    "Output": ("table", "json", "jsonl", "html", "markdown", "quiet"),
}


class Command(click.Command):
    """A command with `--debug`, and its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, grouped by heading."""
        headings = {name: heading for heading, names in _HEADINGS.items() for name in names}
        groups: dict[str, list[tuple[str, str]]] = {"Options": [], **{one: [] for one in _HEADINGS}}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                groups[headings.get(param.name or "", "Options")].append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.params.append(
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_debug,
                help="Log every request, and show tracebacks of errors.",
            )
        )


class Amount(click.FloatRange):
    """A finite number of dollars or seconds, checked before any file is changed."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class CredentialsError(click.ClickException):
    """There is no key, or it is invalid."""

    exit_code = CREDENTIALS


def _debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001
    ctx.meta[_DEBUG] = value
    if value:
        import logging

        class Handler(logging.StreamHandler[Any]):
            def format(self, record: logging.LogRecord) -> str:
                return visible(super().format(record), keep="\n")

        log, handler = logging.getLogger("rerank_integrations"), Handler()
        log.addHandler(handler)
        log.setLevel(logging.DEBUG)
        ctx.call_on_close(lambda: log.removeHandler(handler))


def options(*all_of_them: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Several options as one decorator, in the order of the help."""

    def decorate(function: Any) -> Any:
        for option in reversed(all_of_them):
            function = option(function)
        return function

    return decorate


def report(ctx: click.Context, error: Exception) -> int:
    """Print an error, with `--debug` also its traceback; returns the exit code."""
    if ctx.meta.get(_DEBUG):
        trace = "".join(traceback.format_exception(error))
        click.echo(visible(trace, keep="\n"), err=True, nl=False)
    click.echo(f"Error: {spoken(error)}", err=True)
    return exit_code(error)


def spoken(error: Exception) -> str:
    """The message of an error, with options instead of settings."""
    from rerank_integrations.errors import BudgetExceededError, RerankError

    if isinstance(error, OSError) and error.strerror:
        return printable(f"{error.filename or 'output'}: {error.strerror}")
    if isinstance(error, MemoryError):
        return "not enough memory"
    if not isinstance(error, RerankError):
        return f"{type(error).__name__}: {error} (this is a bug; --debug shows the traceback)"
    text = str(error).replace("check api_key= or the", "check the")
    if isinstance(error, ValueError | BudgetExceededError):  # not what a server said
        text = in_options(text)
    notes = (f"({note})" for note in getattr(error, "__notes__", ()))
    return printable(" ".join([text, *notes]))


def in_options(text: str) -> str:
    """A message of the library, with options instead of settings and JSON's names of types."""
    for pattern, option in _SPOKEN:
        text = pattern.sub(option, text)
    return _SETTINGS.sub(lambda name: "--" + name[1].replace("_", "-"), text)


def printable(text: str) -> str:
    """Text on one line, without control characters."""
    return visible(" ".join(text.split()))


def visible(text: str, *, keep: str = "") -> str:
    """Text without control characters, except those to keep."""
    keep += _JOINERS
    return "".join(one if one.isprintable() or one in keep else "\ufffd" for one in text)


def plural(number: int, what: str) -> str:
    """A number of things."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def again(ctx: click.Context, source: Path | None = None, other: Path | None = None) -> str:
    """The command line that resumes this run; secrets in a URL are hidden.

    `other` replaces the input `source`.
    """
    from rerank_integrations.providers._validation import shown_address

    given = [
        shown_address(one) if "://" in one else one
        for one in ctx.meta[ARGUMENTS]
        if one != "--force"
    ]
    if other:
        place = next(place for place, one in enumerate(given) if Path(one) == source)
        given[place] = str(other)
    words = ["rerank", *given, *([] if "--resume" in given else ["--resume"])]
    return visible(shlex.join(words), keep="\n\t")


def exit_code(error: Exception) -> int:
    """The exit code for an error."""
    from rerank_integrations import errors

    match error:
        case errors.BudgetExceededError() | errors.PaymentRequiredError():
            return BUDGET
        case errors.AuthenticationError() | errors.PermissionDeniedError():
            return CREDENTIALS
        case _ if getattr(error.__cause__, "errno", None) == errno.ENOSPC:
            return FAILED
        case errors.ConfigurationError() | errors.CheckpointMismatchError():
            return USAGE
        case _:
            return FAILED
