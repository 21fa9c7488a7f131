"""The command line `rerank`."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, and end the process with its exit code."""
    if not (find_spec("click") and find_spec("rich")):
        sys.exit("the command line needs the extra 'cli': pip install 'rerank-integrations[cli]'")
    try:
        from rerank_integrations.cli._app import app

        app.main(prog_name="rerank")
    except KeyboardInterrupt:  # before a command runs
        sys.exit(130)
