"""Programs that run and end like any other, in forks of one interpreter that has imported all.

A test that looks at what a program prints when it ends needs an interpreter for each; starting
them one by one takes a second each, most of it for imports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_RUNNER = """
import asyncio, gc, json, os, sys, tempfile
import anyio._backends._asyncio, anyio.streams.tls, httpcore, httpx  # as a first call does
from rerank_integrations import OpenRouter, RerankClient
imports, programs, arguments = json.load(sys.stdin)
sys.argv = ["program", *arguments]
exec(imports)
gc.freeze()  # what was imported is no garbage of a program
ends = {}
for name, code in programs.items():
    written = tempfile.TemporaryFile("w+")
    pid = os.fork()
    if pid == 0:
        os.dup2(written.fileno(), 1)
        os.dup2(written.fileno(), 2)
        written.close()
        break
    _, status = os.waitpid(pid, 0)
    written.seek(0)
    ends[name] = os.waitstatus_to_exitcode(status), written.read()
    written.close()
else:
    print(json.dumps(ends))
    code = ""
del imports, programs, ends, name, pid, written, gc, json, os, tempfile
exec(code)
"""


class End(NamedTuple):
    """How a program ended: its exit code, and what it printed."""

    status: int
    printed: str


def run_programs(
    imports: str, programs: Mapping[str, str], *arguments: str, flags: Sequence[str] = ()
) -> dict[str, End]:
    """Run each program by name, after the imports, with the arguments in `sys.argv`."""
    if not programs:
        return {}
    done = subprocess.run(  # this very Python
        [sys.executable, *flags, "-c", _RUNNER],
        input=json.dumps([imports, programs, arguments]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return {name: End(*end) for name, end in json.loads(done.stdout).items()}
