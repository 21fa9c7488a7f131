"""The group of all commands: loads each when it is needed, and turns errors into exit codes."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from rerank_integrations import __version__
from rerank_integrations.cli._command import (
    ARGUMENTS,
    INTERRUPTED,
    PIPE_CLOSED,
    WIDTH,
    report,
    visible,
)

# for each name a module here with a `command`; its top imports click at most, so that help is fast
COMMANDS = ("run", "batch", "evaluate", "sample", "models", "demo", "doctor")

_EPILOG = """\b
Examples:
  rerank demo
  rerank run "a red bicycle" notes.txt
  rerank run "refund policy" faq.csv --model cohere:rerank-v3.5
  rerank batch queries.jsonl ranked.jsonl --top-n 10

\b
Exit codes: 0 success, 1 failure (of rows, the call or a file), 2 wrong usage,
            3 budget used up, 4 no key or an invalid key, 130 Ctrl-C.
"""


if "_RERANK_COMPLETE" in os.environ:
    from click.shell_completion import (
        BashComplete,
        FishComplete,
        ZshComplete,
        add_completion_class,
    )

    class _Bash(BashComplete):
        """Completes `cohere:` without a space after it, since the model follows."""

        source_template = BashComplete.source_template.replace(
            "COMPREPLY+=($value)",
            "COMPREPLY+=($value)\n                [[ $value == *: ]] && compopt -o nospace",
        )

    class _Zsh(ZshComplete):
        """The same."""

        source_template = ZshComplete.source_template.replace(
            "        compadd -U -V unsorted -a completions",
            """        local -a open=(${(M)completions:#*:})
        completions=(${completions:#*:})
        if (( $#open )); then
            compadd -U -V unsorted -S '' -a open
        fi
        if (( $#completions )); then
            compadd -U -V unsorted -a completions
        fi""",
        )

    class _Fish(FishComplete):
        """A description may have commas; after a colon fish itself adds no space."""

        source_template = FishComplete.source_template.replace(
            'string split ","', 'string split --max 1 ","'
        )

    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)


class App(click.Group):
    """The commands by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of the help."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command, imported at this call."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"rerank_integrations.cli.{cmd_name}").command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments, for the command that resumes a run."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an exception becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except click.ClickException as error:
            # it may name a file, whose name has any characters
            error.message = visible(error.message, keep="\n")  # type: ignore[misc]
            raise
        except (click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:  # the reader of our output has gone, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(PIPE_CLOSED)
        except KeyboardInterrupt:
            click.echo("\nstopped", err=True)
            ctx.exit(INTERRUPTED)
        except Exception as error:  # noqa: BLE001  # shown in full with --debug
            ctx.exit(report(ctx, error))


@click.group(
    cls=App,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDTH},
    epilog=_EPILOG,
)
@click.version_option(__version__, "-V", "--version", prog_name="rerank")
def app() -> None:
    """Rank documents by their relevance to a query."""
