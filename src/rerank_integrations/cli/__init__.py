"""The command line `rerank`."""

from __future__ import annotations

import io
import os
import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    if not (find_spec("click") and find_spec("rich")):
        sys.exit("the command line needs the extra 'cli': pip install 'rerank-integrations[cli]'")
    try:
        _open_streams()
        from rerank_integrations.cli._app import app

        app.main(prog_name="rerank")
    except KeyboardInterrupt:  # before a command runs
        sys.exit(130)
    except OSError as error:  # the help cannot be written
        sys.exit(f"Error: output: {error.strerror}")


def _open_streams() -> None:
    """Give the process the streams that the shell has closed; a table is written anywhere."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115  # for the process
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
