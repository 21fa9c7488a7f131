"""An IPython extension that answers the requests of a notebook from its cassette.

`run.py` loads it, so no cell has to. The client sends its requests with httpx, and httpx is
answered from the cassette before anything is connected.
"""

from __future__ import annotations

import atexit
import os
from contextlib import ExitStack
from pathlib import Path

from cassettes.replay import UnplayedError, replaying


def load_ipython_extension(_: object) -> None:
    """Play the cassette until the kernel ends."""
    held = ExitStack()
    held.enter_context(replaying(os.environ["NOTEBOOK_CASSETTE"]))
    atexit.register(_close, held)


def _close(held: ExitStack) -> None:
    """Tell `run.py` of calls that were recorded and not made."""
    said = ""
    try:
        held.close()
    except UnplayedError as error:
        said = str(error)
    Path(os.environ["NOTEBOOK_SAID"]).write_text(said, encoding="utf-8")
