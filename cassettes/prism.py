"""Prism, a mock that serves a vendor's own OpenAPI file on loopback."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cassettes.readable import loaded

SHARED = Path(os.environ.get("RERANK_SHARED") or Path(__file__).parents[2] / "shared")
_PATIENCE = 180  # seconds; the first start installs Prism
VENDORS = {"openrouter": "OpenRouter", "together": "Together", "portkey": "Portkey"}


def tool() -> Path:
    """The script that starts Prism."""
    return SHARED / "tools" / "prism"


def spec_of(gateway: str) -> Path:
    """The vendor's OpenAPI file."""
    return SHARED / "specs" / f"{gateway}-rerank.yaml"


def missing() -> str:
    """Why the vendors' files cannot be served here; empty if they can."""
    for path in (tool(), *map(spec_of, VENDORS)):
        if not path.exists():
            return f"{path.name} is not there; set RERANK_SHARED to the folder that has it"
    absent = [name for name in ("bash", "node", "npm") if shutil.which(name) is None]
    return f"{', '.join(absent)} not installed" if absent else ""


def described(gateway: str) -> str:
    """Which Prism and which file, in words."""
    text = spec_of(gateway).read_text(encoding="utf-8")
    info = loaded(text)["info"]
    dated = re.search(r"commit \w+, (\d{4}-\d\d-\d\d)", text)
    found = re.search(r"^version=(\S+)$", tool().read_text(encoding="utf-8"), re.MULTILINE)
    prism = f"Prism {found[1]}" if found else "Prism"
    day = f", {dated[1]}" if dated else ""
    whose = VENDORS[gateway]
    return f"{prism}, a mock of {whose}'s OpenAPI file ({info['title']} {info['version']}{day})"


@contextmanager
def served(gateway: str) -> Iterator[str]:
    """The address where Prism serves a vendor's file, until the end."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = subprocess.Popen(  # noqa: S603  # ours
        [tool(), spec_of(gateway), str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        for line in process.stdout or ():
            said.append(line)
            if "Prism is listening" in line:
                ready.set()
        ready.set()  # it has ended

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        ready.wait(_PATIENCE)
        if not any("Prism is listening" in line for line in said):
            raise RuntimeError("Prism did not start: " + "".join(said[-10:]))
        yield f"http://127.0.0.1:{port}/rerank"
    finally:
        process.terminate()
        process.wait(20)
        listener.join(20)
        if process.stdout is not None:
            process.stdout.close()
