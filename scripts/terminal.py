"""Draws the pictures of docs/command-line.md: what a real terminal shows, as SVG.

make terminal
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from loopback import Received, Reply, ranks_all, running

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "img"
# Ctrl-C ends the command, and not the shell; certificates are those that most readers have
_SETUP = """trap : INT
unset COLUMNS LINES SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
"""
_COMMAND = f'rerank() {{ {shlex.quote(sys.executable)} -m rerank_integrations "$@"; }}\n'
_POLL = 0.02  # seconds
_LONGEST = 60.0  # seconds until a screen that never comes is an error
# the picture would load fonts from another server
_FONTS = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_ATTEMPTS = 3000


class Terminal:
    """A terminal in which a shell runs."""

    def __init__(self, tmux: list[str]) -> None:
        self._tmux = tmux

    def shown(self) -> str:
        """What it shows, with escape sequences, without empty lines at the end."""
        command = [*self._tmux, "capture-pane", "-e", "-p"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.rstrip()

    def press(self, key: str) -> None:
        """Press a key, as tmux names it."""
        subprocess.run([*self._tmux, "send-keys", key], check=True)

    def until(self, holds: Callable[[str], object]) -> str:
        """What it shows as soon as that fulfils a condition."""
        ends = time.monotonic() + _LONGEST
        while not holds(shown := self.shown()):
            if time.monotonic() > ends:
                raise TimeoutError(shown)
            time.sleep(_POLL)
        return shown


@contextmanager
def terminal(
    script: str, *, width: int, folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """A terminal in which a shell script runs, in a folder; `rerank` is a command there."""
    with TemporaryDirectory() as temporary:
        tmux = ["tmux", "-S", f"{temporary}/socket", "-f", "/dev/null"]
        given = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **(environment or {})}
        options = [word for name in given for word in ("-e", f"{name}={given[name]}")]
        size = ["-x", str(width), "-y", "60", "-c", str(folder)]
        shell = shlex.join(["sh", "-c", f"{_SETUP}{_COMMAND}{script}\ncat"])
        start = [*tmux, "new-session", "-d", *size, *options, shell]
        subprocess.run(start, check=True, env={"TERM": "xterm-256color", **os.environ})
        try:
            yield Terminal(tmux)
        finally:
            subprocess.run([*tmux, "kill-server"], check=False)


def drawn(shown: str, width: int, name: str) -> None:
    """Write a picture of what a terminal shows."""
    console = Console(record=True, width=width, file=Path(os.devnull).open("w"))  # noqa: SIM115
    console.print(Text.from_ansi(shown.replace(sys.prefix, "~/project/.venv")))
    svg = console.export_svg(title="", theme=MONOKAI, unique_id=name)
    PICTURES.mkdir(exist_ok=True)
    (PICTURES / f"{name}.svg").write_text(_FONTS.sub("", svg), encoding="utf-8")


def typed(*commands: str) -> str:
    """A script that shows each command behind a prompt, and runs it."""
    lines = [f"printf '$ %s\\n' {shlex.quote(one)}\n{one}" for one in commands]
    return "\n".join([*lines, "printf '$ '"])


def _is_at_prompt(shown: str) -> bool:
    return shown.endswith("$")


def _costs(received: Received) -> Reply:
    if received.method == "GET":
        return Reply({"data": []})
    time.sleep(_POLL)
    meta = {"billed_units": {"search_units": 1}}  # as Cohere, which says no cost
    return Reply(ranks_all(received).body | {"meta": meta})


NOTES = """\
The wet brakes of a bicycle squeak.
A blue car with four doors.
The red bicycle stands in the cellar.
Red wine from the south.
Bicycles may be taken on the train.
"""
FAQ = """\
question,answer
How do I return an item?,Send it back within 30 days; the label is in the parcel.
When do I get my money back?,Five days after the parcel has arrived here.
Do you ship abroad?,"To all of Europe, in a week."
"""


def main() -> None:
    """Draw all pictures."""
    with TemporaryDirectory() as temporary, running(_costs) as server:
        folder = Path(temporary)
        (folder / "notes.txt").write_text(NOTES, encoding="utf-8")
        (folder / "faq.csv").write_text(FAQ, encoding="utf-8")
        rows = [
            {"id": f"q{n}", "query": f"question {n}", "documents": ["a", "b"]}
            for n in range(_ATTEMPTS)
        ]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (folder / "queries.jsonl").write_text(text, encoding="utf-8")
        told = {"CO_API_KEY": "'a-key'", "RERANK_MODEL": ""}
        run = 'rerank run "a red bicycle"'
        odd = "HTTPS_PROXY=http://me:secret@proxy.example:3128"
        for name, width, commands in (
            ("demo", 80, ["rerank demo"]),
            ("run", 80, [f"{run} notes.txt", f"{run} notes.txt -q | head -2"]),
            ("run-wide", 120, ['rerank run "money back" faq.csv --top-n 2']),
            ("doctor", 90, [f"{odd} rerank doctor --no-network"]),
        ):
            with terminal(typed(*commands), width=width, folder=folder, environment=told) as one:
                drawn(one.until(_is_at_prompt), width, name)
        told |= {"CO_API_KEY": "a-key", "CO_API_URL": server.url}
        model = "--model cohere:rerank-v3.5 --price-per-1000-searches 2"
        command = f"rerank batch queries.jsonl ranked.jsonl {model}"
        with terminal(typed(command), width=100, folder=folder, environment=told) as one:
            one.until(lambda _: len(server.received) > _ATTEMPTS / 2)
            drawn(one.shown(), 100, "batch")
            one.press("C-c")
            drawn(one.until(_is_at_prompt), 100, "batch-stopped")


if __name__ == "__main__":
    main()
